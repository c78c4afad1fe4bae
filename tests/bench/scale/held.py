"""What a packet in flight takes, and what a worker holds of a connection that is there and says nothing.

Knows: the messages of a batch, the memory of this process. Does not know: processes, links.
Invariant: each measurement is a process of its own; memory is private and anonymous (Pss_Anon), what the allocator
keeps for later not counted.

    python -m tests.bench.scale.held flight CAPTURE       bytes a packet in the messages of each link
    python -m tests.bench.scale.held half-open COUNT      a SYN and no more
    python -m tests.bench.scale.held idle COUNT           a handshake, a request, an answer
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.capture import Capture
from pipeline.cli import parse
from pipeline.config import Config
from tests.bench.measure import private_memory
from tests.bench.scale.children import child
from tests.bench.scale.settings import Settings
from tests.faults.storms import ACK, EPOCH_NS, PSH, SYN, Rows, handshakes, merged, packets, write
from workers.reassembler import Reassembler
from workers.wire import Frame, encode_events, encode_packets

GOALS = {"flight": 100, "half-open": 300, "idle": 1_000}
"""Bytes: of a packet, of a connection."""

_FLIGHT = ("bulk", "web", "tiny", "chat")
_COUNTS = (50_000, 100_000, 200_000)
_SERVER = 0xC000_0201
_CLIENTS = 50_000  # a port each, of one address


def flight(path: Path) -> dict[str, Any]:
    """Bytes of the messages from capture to worker and from worker to writer, and the packets that they are of."""
    config = _config(path)
    capture, worker = Capture(config, 1), Reassembler(config.limits)
    to_worker = to_writer = 0
    for dealt in capture.batches():
        to_worker += _size(encode_packets(dealt.parts[0]))
        to_writer += sum(map(_size, encode_events(worker.handle(dealt.parts[0]))))
        dealt.drop()
    return {"packets": capture.packets, "to_worker": to_worker, "to_writer": to_writer}


def _size(frames: Iterable[Frame]) -> int:
    return sum(memoryview(frame).nbytes for frame in frames)


def connections(kind: str, count: int) -> dict[str, Any]:
    """How much a worker grew by so many connections, after it had met a thousand others."""
    with tempfile.TemporaryDirectory() as folder:
        first = write(Path(folder, "first.pcap"), _talk(kind, 1_000, 0x0B00_0000))
        rest = write(Path(folder, "rest.pcap"), _talk(kind, count, 0x0A00_0000))
        gc.disable()
        worker = Reassembler(_config(first).limits)
        _feed(worker, first)
        before = _held()
        _feed(worker, rest)
        return {"count": count, "grown": _held() - before}


def _talk(kind: str, count: int, network: int) -> Rows:
    """What so many connections say, one soon after the other."""
    number = np.arange(count)
    source, port = network + 1 + number // _CLIENTS, 1_024 + number % _CLIENTS
    time = EPOCH_NS + 10_000 * number
    client = {"source": source, "source_port": port, "target": _SERVER, "target_port": 80}
    if kind == "half-open":
        return packets(count, **client, time=time, flags=SYN)
    server = {"target": source, "target_port": port, "source": _SERVER, "source_port": 80}
    asked = packets(count, **client, time=time + 3, flags=PSH | ACK, seq=1, ack=1, size=100)
    told = packets(count, **server, time=time + 4, flags=PSH | ACK, seq=1, ack=101, size=100)
    return merged(*handshakes(source, port, _SERVER, time), asked, told)


def _config(path: Path) -> Config:
    config = parse(["-r", str(path), "-o", "/nowhere", "--workers=1"])
    assert isinstance(config, Config)
    return config


def _feed(worker: Reassembler, path: Path) -> None:
    for dealt in Capture(_config(path), 1).batches():
        worker.handle(dealt.parts[0])
        dealt.drop()


def _held() -> int:
    ctypes.CDLL(None).malloc_trim(0)
    found = private_memory(os.getpid())
    assert found is not None
    return found[0]


def measure(settings: Settings) -> dict[str, Any]:
    """All three, connections in several numbers: tables grow in steps."""
    module = "tests.bench.scale.held"
    flights = []
    for kind in _FLIGHT:
        path, _ = settings.capture(kind)
        flights.append({"kind": kind, **child(module, "flight", path)})
    rows = []
    for kind in ("half-open", "idle"):
        for count in _COUNTS:
            settings.say(f"{count} connections, {kind}")
            rows.append({"kind": kind, **child(module, kind, int(settings.scaled(count)))})
    return {"goals": GOALS, "flight": flights, "connections": rows}


if __name__ == "__main__":
    what, asked = sys.argv[1:]
    print(json.dumps(flight(Path(asked)) if what == "flight" else connections(what, int(asked))))
