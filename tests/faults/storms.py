"""Captures of millions of packets in a second: planned as columns, written as a classic pcap of raw IP.

Knows: IPv4, TCP and pcap headers, as columns; what a stream's bytes are, at any offset.
Does not know: flowshard.
Invariant: a byte of a stream depends on its sender's address, port and sequence number alone, so that whoever
reads a file back can tell each byte that is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

Rows = npt.NDArray[np.void]

PACKETS = np.dtype([
    ("time", "i8"),  # ns since 1970
    ("source", "u4"), ("target", "u4"), ("source_port", "u2"), ("target_port", "u2"),
    ("seq", "u4"), ("ack", "u4"), ("flags", "u1"), ("size", "u2"),
])  # fmt: skip
"""One packet."""

_RECORD = np.dtype([
    ("sec", "<u4"), ("ns", "<u4"), ("captured", "<u4"), ("length", "<u4"),
    ("version", "u1"), ("service", "u1"), ("total", ">u2"), ("id", ">u2"), ("fragment", ">u2"), ("ttl", "u1"),
    ("protocol", "u1"), ("ip_sum", ">u2"), ("source", ">u4"), ("target", ">u4"),
    ("source_port", ">u2"), ("target_port", ">u2"), ("seq", ">u4"), ("ack", ">u4"),
    ("offset", "u1"), ("flags", "u1"), ("window", ">u2"), ("tcp_sum", ">u2"), ("urgent", ">u2"),
])  # fmt: skip
_FILE_HEADER = np.array([0xA1B23C4D, 2 | 4 << 16, 0, 0, 1 << 18, 101], "<u4").tobytes()  # nanoseconds, raw IP
_HEADERS = 40
EPOCH_NS = 1_700_000_000 * 1_000_000_000


def packets(count: int, **columns: Any) -> Rows:
    """So many packets; a column is one value or one each. Times rise by 10 µs from EPOCH_NS unless they are given."""
    made = np.zeros(count, PACKETS)
    made["time"] = EPOCH_NS + 10_000 * np.arange(count)
    for name, values in columns.items():
        made[name] = values
    return made


def content(source: Any, port: Any, seq: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes that a sender has at these sequence numbers."""
    source, port = (np.atleast_1d(np.asarray(each, np.uint64)) for each in (source, port))
    mixed = np.uint64(2654435761) * (source << np.uint64(16) | port) + seq.astype(np.uint64)
    mixed = (mixed ^ mixed >> np.uint64(29)) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(56)).astype(np.uint8)


def stream_md5(source: int, port: int, first: int, size: int) -> str:
    """The MD5 of what a sender has in the ``size`` bytes from sequence number ``first`` on."""
    seq = (first + np.arange(size)) & 0xFFFF_FFFF
    return hashlib.md5(content(source, port, seq).tobytes()).hexdigest()


def write(path: Path, *stretches: Rows) -> Path:
    """The stretches, one behind the other, as a capture."""
    with path.open("wb") as file:
        file.write(_FILE_HEADER)
        for stretch in stretches:
            for at in range(0, len(stretch), 1 << 16):
                file.write(_frames(stretch[at : at + (1 << 16)]))
    return path


def merged(*stretches: Rows) -> Rows:
    """All of them by time."""
    together = np.concatenate(stretches)
    return together[np.argsort(together["time"], kind="stable")]


def _frames(rows: Rows) -> bytes:
    heads = np.zeros(len(rows), _RECORD)
    for name in ("source", "target", "source_port", "target_port", "seq", "ack", "flags"):
        heads[name] = rows[name]
    size = rows["size"].astype(np.int64)
    heads["sec"], heads["ns"] = rows["time"] // 10**9, rows["time"] % 10**9
    heads["captured"] = heads["length"] = heads["total"] = _HEADERS + size
    heads["version"], heads["ttl"], heads["protocol"], heads["offset"] = 0x45, 64, 6, 5 << 4
    heads["window"] = 0xFFFF
    width = int(size.max(initial=0))
    plain = heads.view(np.uint8).reshape(len(rows), -1)
    if not width:
        return plain.tobytes()
    column = np.arange(width)
    seq = (rows["seq"] + ((rows["flags"] & SYN) != 0))[:, None] + column
    payload = content(rows["source"][:, None], rows["source_port"][:, None], seq & 0xFFFF_FFFF)
    there = np.concatenate([np.ones(plain.shape, np.bool_), column < size[:, None]], axis=1)
    whole: npt.NDArray[np.uint8] = np.concatenate([plain, payload], axis=1)[there]
    return whole.tobytes()


def handshakes(source: npt.NDArray[Any], port: npt.NDArray[Any], target: int, time: npt.NDArray[Any]) -> Iterable[Rows]:
    """SYN, SYN-ACK and ACK of each of these clients on port 80 of ``target``; initial sequence numbers are 0."""
    count = len(source)
    client = {"source": source, "source_port": port, "target": target, "target_port": 80}
    server = {"target": source, "target_port": port, "source": target, "source_port": 80}
    yield packets(count, **client, time=time, flags=SYN)
    yield packets(count, **server, time=time + 1, flags=SYN | ACK, ack=1)
    yield packets(count, **client, time=time + 2, flags=ACK, seq=1, ack=1)
