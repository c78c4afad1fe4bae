"""The captures of the benchmark, made from a seed: what the traffic is, and what must come out of it.

Knows: the kinds of traffic; which connections are open at the same time.
Does not know: what is measured with the captures.
Invariant: the same kind, size and seed give the same bytes (with the same numpy and zlib), in memory that
does not grow with the size.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from tests.bench.content import MIB, Content, Sizes
from tests.bench.frames import CLIENT, SERVER, CaptureFile, endpoints
from tests.bench.segments import Disorder, packets_of

FORMAT = 1
"""Raised with every change of what is generated, so that older captures are made again."""
_CHUNK_PACKETS = 24_576


@dataclass(frozen=True, slots=True)
class Traffic:
    """One kind of traffic. At size 1 it has this many connections."""

    connections: int
    at_once: int
    sizes: Sizes
    http: bool = True
    keep_alive: float = 0.0
    disorder: Disorder = field(default_factory=Disorder)
    packets: int | None = None  # of a connection; the capture ends there
    turn: int | None = None  # bytes that a side says before it is the other's turn; None: servers say it all at once

    @property
    def port(self) -> int:
        """The servers'."""
        return 80 if self.http else 5_001


OPEN_AT_ONCE = (100, 1_000, 10_000, 100_000)
"""Connections of the captures that differ in nothing else."""
_WEB = Sizes(mean=52_000, spread=1.0, most=MIB)
KINDS = {
    "bulk": Traffic(2_000, 100, Sizes(mean=500_000, spread=0.3, most=4 * MIB), http=False),
    "web": Traffic(6_000, 200, _WEB, keep_alive=0.3),
    "tiny": Traffic(33_000, 2_000, Sizes(mean=3_000, spread=0.5, most=MIB)),
    "disorder": Traffic(6_000, 200, _WEB, keep_alive=0.3, disorder=Disorder(0.02, 0.02)),
    "chat": Traffic(1_000, 200, Sizes(mean=40_000, spread=0.3, most=MIB), http=False, turn=200),
    **{f"open-{count}": Traffic(100_000, count, Sizes(mean=3_000, spread=0.5, most=MIB)) for count in OPEN_AT_ONCE},
    "start": Traffic(1, 1, Sizes(mean=800, spread=0.0, most=1_000), packets=5),
}
"""bulk, web, tiny and disorder (web's streams, out of order); chat is small packets; open-N the same connections, so
many of them open at a time; start is five packets."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What a file of the output must hold."""

    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a capture is, and the streams in it by name (``10.1.0.1.32768-192.0.2.1.80``)."""

    kind: str
    size: float
    seed: int
    format: int
    packets: int
    connections: int
    capture_bytes: int
    streams: dict[str, Stream]


def generate(kind: str, size: float, seed: int, path: Path) -> Expected:
    """Write the capture of ``kind`` with ``size`` times its connections to ``path``."""
    traffic = KINDS[kind]
    count = max(1, round(traffic.connections * size))
    order_rng, content_rng = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(2))
    content = Content(traffic.sizes, traffic.keep_alive, traffic.http, content_rng, traffic.turn)
    streams: dict[str, Stream] = {}
    with path.open("wb", buffering=0) as file:
        schedule = _Schedule(CaptureFile(file, traffic.port), min(traffic.at_once, count), order_rng)
        for number in range(count):
            messages = content.messages()
            rows = packets_of(number, messages, traffic.disorder, order_rng)[: traffic.packets]
            sent = [b"".join([m.payload for m in messages if m.sender == side]) for side in (CLIENT, SERVER)]
            schedule.add(number, rows, sent)
            names = stream_names(number, traffic.port)
            streams |= {
                name: Stream(len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())
                for name, data in zip(names, sent, strict=True)
                if data
            }
        packets = schedule.finish()
    return Expected(kind, size, seed, FORMAT, packets, count, path.stat().st_size, streams)


def stream_names(number: int, port: int) -> tuple[str, str]:
    """File names of what connection ``number``'s client and server send."""
    client, client_port, server = (int(column[0]) for column in endpoints(np.array([number], np.uint32)))
    here = f"{_dotted(client)}.{client_port}"
    there = f"{_dotted(server)}.{port}"
    return f"{here}-{there}", f"{there}-{here}"


def _dotted(address: int) -> str:
    return socket.inet_ntoa(address.to_bytes(4, "big"))


class _Schedule:
    """Lays connections beside one another: a new one starts where one ends; writes what is settled."""

    def __init__(self, out: CaptureFile, at_once: int, rng: np.random.Generator) -> None:
        self._out = out
        self._free = sorted(rng.uniform(0.0, 10.0, at_once).tolist())
        self._waiting: list[npt.NDArray[np.void]] = []
        self._added = 0
        self._sent: dict[int, memoryview] = {}

    def add(self, number: int, rows: npt.NDArray[np.void], sent: Iterable[bytes]) -> None:
        """Starts come in order, so nothing is added any more before the start of this connection."""
        start = heappop(self._free)
        if self._added >= _CHUNK_PACKETS:
            self._write(start)
        rows["time"] += start
        heappush(self._free, float(rows["time"][-1]) + 1.0)
        self._waiting.append(rows)
        self._added += len(rows)
        self._sent.update((2 * number + side, memoryview(data)) for side, data in enumerate(sent))

    def finish(self) -> int:
        """Write the rest; packets written in all."""
        self._write(np.inf)
        return self._out.packets

    def _write(self, before: float) -> None:
        rows = np.concatenate(self._waiting)
        rows = rows[np.argsort(rows["time"], kind="stable")]
        settled = int(np.searchsorted(rows["time"], before))
        for begin in range(0, settled, _CHUNK_PACKETS):
            self._out.write(rows[begin : min(begin + _CHUNK_PACKETS, settled)], self._sent)
        rest = rows[settled:].copy()
        self._waiting, self._added = [rest], 0
        open_ones = set(np.unique(rest["connection"]).tolist())
        self._sent = {side: data for side, data in self._sent.items() if side // 2 in open_ones}


def cached(kind: str, size: float, seed: int, folder: Path) -> tuple[Path, Expected]:
    """The capture in ``folder``, made there unless it is there already, and what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    name = kind if size == 1 else f"{kind}-{size:g}"
    path, notes = folder / f"{name}.pcap", folder / f"{name}.json"
    if notes.exists() and path.exists():
        known = _read(notes)
        wanted = (kind, size, seed, FORMAT, path.stat().st_size)
        if (known.kind, known.size, known.seed, known.format, known.capture_bytes) == wanted:
            return path, known
    notes.unlink(missing_ok=True)  # the notes stand for a capture that is complete
    expected = generate(kind, size, seed, path)
    notes.write_text(json.dumps(asdict(expected), indent=0))
    return path, expected


def packed(capture: Path) -> Path:
    """The capture compressed with zstd, level 3, beside it; made there unless a newer one is there already."""
    path = capture.with_name(capture.name + ".zst")
    if not path.exists() or path.stat().st_mtime_ns < capture.stat().st_mtime_ns:
        unfinished = path.with_name(path.name + ".part")
        with capture.open("rb") as plain, unfinished.open("wb") as out:
            zstandard.ZstdCompressor(level=3).copy_stream(plain, out, size=capture.stat().st_size)
        unfinished.replace(path)
    return path


def _read(notes: Path) -> Expected:
    fields = json.loads(notes.read_text())
    streams = {name: Stream(**stream) for name, stream in fields.pop("streams").items()}
    return Expected(**fields, streams=streams)
