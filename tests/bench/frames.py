"""Planned packets to frames in a classic pcap file.

Knows: Ethernet, IPv4, TCP and pcap headers, checksums, the clock of a busy link, addresses of connections.
Does not know: what a connection says, or in which order packets go.
Invariant: every frame has the 66 bytes of headers that a TCP segment with timestamps has; both checksums
are right; times rise by at least a microsecond from packet to packet.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

SYN, PSH, ACK, FIN = 0x02, 0x08, 0x10, 0x01
CLIENT, SERVER = 0, 1

PACKETS = np.dtype(
    [
        ("time", "f8"),  # when, in turns: only the order matters
        ("connection", "u4"),
        ("direction", "u1"),  # CLIENT or SERVER: who sends
        ("flags", "u1"),
        ("seq", "u4"),
        ("ack", "u4"),
        ("size", "u2"),  # payload bytes
        ("at", "u4"),  # where the payload begins in what this side sends
        ("sum", "u4"),  # of the payload's 16-bit words, little endian
    ]
)
"""One planned packet."""

_FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
_RECORD = np.dtype(
    [
        *(("sec", "<u4"), ("usec", "<u4"), ("captured", "<u4"), ("length", "<u4")),
        *(("macs", "u1", (12,)), ("ethertype", ">u2")),
        *(("version", "u1"), ("service", "u1"), ("total", ">u2"), ("id", ">u2"), ("fragment", ">u2")),
        *(("ttl", "u1"), ("protocol", "u1"), ("ip_sum", "<u2"), ("source", ">u4"), ("target", ">u4")),
        *(("source_port", ">u2"), ("target_port", ">u2"), ("seq", ">u4"), ("ack", ">u4")),
        *(("offset", "u1"), ("flags", "u1"), ("window", ">u2"), ("tcp_sum", "<u2"), ("urgent", ">u2")),
        *(("timestamps", ">u4"), ("tsval", ">u4"), ("tsecr", ">u4")),
    ]
)
"""A record up to its payload: pcap 16, Ethernet 14, IPv4 20, TCP 20 and 12 of options."""
_PCAP, _HEADERS, _IP, _TCP = 16, 66, 30, 50  # sizes of pcap's and the frame's headers; offsets in _RECORD
_MACS = np.frombuffer(bytes.fromhex("020000000001020000000002020000000001"), np.uint8)
_START_NS = 1_700_000_000 * 1_000_000_000
_BYTE_NS = 8  # 1 Gbit/s
_BETWEEN_FRAMES = 24  # preamble, check sequence and gap of Ethernet
_CLIENTS = 4_000
_PORTS = 28_232


def endpoints(connection: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.int64], ...]:
    """Client address and port, server address, one of each a connection number (no two alike)."""
    number = connection.astype(np.int64)
    client, turn = number % _CLIENTS, number // _CLIENTS
    address = (10 << 24) + (1 << 16) + ((client // 250) << 8) + client % 250 + 1
    server = (192 << 24) + (2 << 8) + 1 + number * 31 % 200
    return address, 32_768 + turn * 37 % _PORTS, server


def payload_sums(payload: bytes | memoryview, segment: int) -> npt.NDArray[np.uint32]:
    """The sum of the 16-bit words (little endian) of each ``segment`` (even) bytes of ``payload``."""
    full = len(payload) // segment
    words = np.frombuffer(payload, "<u2", full * segment // 2).reshape(full, segment // 2)
    tail = bytes(payload[full * segment :])
    last = np.frombuffer(tail + b"\0" * (len(tail) % 2), "<u2").sum(dtype=np.uint32)
    sums = words.sum(axis=1, dtype=np.uint32)
    return np.append(sums, last) if tail else sums


def _fold(sums: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The Internet checksum of a sum of words; in either byte order (RFC 1071, 2 (B))."""
    low = np.uint64(0xFFFF)
    for _ in range(3):
        sums = (sums & low) + (sums >> np.uint64(16))
    return ~sums & low


class CaptureFile:
    """Writes planned packets, in the order given, as frames on a link that is never idle."""

    def __init__(self, file: BinaryIO, server_port: int) -> None:
        self._file = file
        self._port = server_port
        self._clock = _START_NS
        self.packets = 0
        file.write(_FILE_HEADER)

    def write(self, rows: npt.NDArray[np.void], sent: Mapping[int, memoryview]) -> None:
        """Append ``rows`` (PACKETS). ``sent[2 * connection + direction]`` is all that a side sends."""
        heads = memoryview(self._heads(rows).tobytes())
        step = _RECORD.itemsize
        parts: list[memoryview] = []
        sides = 2 * rows["connection"].astype(np.int64) + rows["direction"]
        begins, sizes = rows["at"].tolist(), rows["size"].tolist()
        for index, (side, begin, size) in enumerate(zip(sides.tolist(), begins, sizes, strict=True)):
            parts.append(heads[index * step : (index + 1) * step])
            if size:
                parts.append(sent[side][begin : begin + size])
        self._file.write(b"".join(parts))
        self.packets += len(rows)

    def _heads(self, rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The records' bytes before the payload."""
        heads = np.zeros(len(rows), _RECORD)
        size = rows["size"].astype(np.int64)
        heads["captured"] = heads["length"] = _HEADERS + size
        from_client = rows["direction"] == CLIENT
        heads["macs"] = np.where(from_client[:, None], _MACS[:12], _MACS[6:])
        heads["ethertype"] = 0x0800
        self._network(heads, rows, from_client, size)
        self._transport(heads, rows, from_client)
        self._times(heads, size)
        _checksums(heads, rows["sum"])
        return heads

    def _network(
        self,
        heads: npt.NDArray[np.void],
        rows: npt.NDArray[np.void],
        from_client: npt.NDArray[np.bool_],
        size: npt.NDArray[np.int64],
    ) -> None:
        client, port, server = endpoints(rows["connection"])
        heads["version"], heads["ttl"], heads["protocol"], heads["fragment"] = 0x45, 64, 6, 0x4000
        heads["total"] = _HEADERS - 14 + size
        heads["id"] = (self.packets + np.arange(len(rows))) & 0xFFFF
        heads["source"] = np.where(from_client, client, server)
        heads["target"] = np.where(from_client, server, client)
        heads["source_port"] = np.where(from_client, port, self._port)
        heads["target_port"] = np.where(from_client, self._port, port)

    def _transport(
        self, heads: npt.NDArray[np.void], rows: npt.NDArray[np.void], from_client: npt.NDArray[np.bool_]
    ) -> None:
        for field in ("seq", "ack", "flags"):
            heads[field] = rows[field]
        heads["offset"], heads["window"], heads["timestamps"] = 32 // 4 << 4, 0xFFFF, 0x0101080A
        heads["tsecr"] = (rows["flags"] & ACK) != 0  # turned into a time beside tsval

    def _times(self, heads: npt.NDArray[np.void], size: npt.NDArray[np.int64]) -> None:
        """Frames back to back at the link's speed; one that takes less than a microsecond takes one."""
        took = np.maximum((_HEADERS + size + _BETWEEN_FRAMES) * _BYTE_NS, 1_000)
        ends = self._clock + np.cumsum(took)
        heads["sec"], heads["usec"] = ends // 1_000_000_000, ends % 1_000_000_000 // 1_000
        milliseconds = (ends // 1_000_000) & 0xFFFF_FFFF
        heads["tsval"] = milliseconds
        heads["tsecr"] = np.where(heads["tsecr"] != 0, milliseconds - 1, 0)  # a round trip of 1 ms
        self._clock = int(ends[-1]) if len(ends) else self._clock


def _checksums(heads: npt.NDArray[np.void], payload: npt.NDArray[np.uint32]) -> None:
    """Fill in IPv4's and TCP's (RFC 9293, 3.1, with the pseudo header)."""
    words = heads.view("<u2").reshape(len(heads), -1)
    heads["ip_sum"] = _fold(words[:, _IP // 2 : _TCP // 2].sum(axis=1, dtype=np.uint64))
    addresses = words[:, _TCP // 2 - 4 : _TCP // 2].sum(axis=1, dtype=np.uint64)
    length = (heads["total"].astype("<u2") - 20).byteswap()
    segment = words[:, _TCP // 2 :].sum(axis=1, dtype=np.uint64)
    heads["tcp_sum"] = _fold(addresses + segment + payload + length + (6 << 8))
