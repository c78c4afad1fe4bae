"""The slow, obvious readers: one record, one struct, one step at a time.

Knows: the formats, read here a second time from their documents.
Does not know: pipeline.source. Each reader ends at the first damage, as ``--strict`` does, and
returns (rows, damage offset or None); a row is
(start, captured, length, time in ns, link type).
"""

from __future__ import annotations

import struct
from typing import TypeAlias

Row: TypeAlias = tuple[int, int, int, int, int]

HIGHEST = (1 << 63) - 1


def chain(data: bytes, at: int, order: str, size_at: int, extra: int, least: int, head: int) -> list[int]:
    """Where the records of a chain are (walk.Chain)."""
    found = []
    while at + head <= len(data):
        found.append(at)
        (size,) = struct.unpack_from(order + "I", data, at + size_at)
        at += max(size + extra, least)
    return found


def pcap(data: bytes) -> tuple[list[Row], int | None]:
    """A classic capture file with a whole file header."""
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1", b"\x34\xcd\xb2\xa1") else ">"
    magic, _, _, _, _, snaplen, link = struct.unpack_from(order + "IHHiIII", data)
    unit = 1 if magic == 0xA1B23C4D else 1000
    head = 24 if magic == 0xA1B2CD34 else 16
    link = {12: 101, 14: 101}.get(link % 65536, link % 65536)
    rows: list[Row] = []
    at = 24
    while at < len(data):
        if at + head > len(data):
            return rows, at
        seconds, fraction, captured, length = struct.unpack_from(order + "IIII", data, at)
        if captured > max(snaplen, 262144) or at + head + captured > len(data):
            return rows, at
        if data[at : at + 16] == bytes(16):
            return rows, at
        time = seconds * 10**9 + fraction * unit
        rows.append((at + head, captured, max(captured, length), time, link))
        at += head + captured
    return rows, None


def snoop(data: bytes) -> tuple[list[Row], int | None]:
    """A snoop file with a whole file header, of Ethernet."""
    rows: list[Row] = []
    at = 16
    while at < len(data):
        if at + 24 > len(data):
            return rows, at
        length, captured, whole, _, seconds, fraction = struct.unpack_from(">6I", data, at)
        if captured > 262144 or whole < 24 + captured or at + whole > len(data):
            return rows, at
        rows.append((at + 24, captured, max(captured, length), seconds * 10**9 + fraction * 1000, 1))
        at += whole
    return rows, None


def tick_time(ticks: int, resolution: int, offset_seconds: int) -> int:
    """ns, exact, then held inside 64 bits."""
    power = resolution & 127
    whole = ticks * 10**9 >> power if resolution & 128 else ticks * 10**9 // 10**power
    shift = max(min(offset_seconds * 10**9, HIGHEST), -HIGHEST - 1)
    return min(min(whole, HIGHEST) + shift, HIGHEST)


def pcapng(data: bytes) -> tuple[list[Row], int | None]:
    """A block-structured file. Any damage ends it."""
    rows: list[Row] = []
    at, order, time = 0, "<", 0
    interfaces: list[tuple[int, int, int, int]] = []
    while at < len(data):
        if data[at : at + 4] == b"\n\r\r\n":
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(data[at + 8 : at + 12], order)
        if at + 12 > len(data):
            return rows, at
        kind, total = struct.unpack_from(order + "II", data, at)
        if total < 12 or total % 4 or at + total > len(data):
            return rows, at
        block = data[at : at + total]
        if struct.unpack(order + "I", block[-4:])[0] != total:
            return rows, at
        if total < {0x0A0D0D0A: 28, 1: 20, 2: 32, 3: 16, 6: 32}.get(kind, 12):
            return rows, at
        if kind == 0x0A0D0D0A:
            magic, major = struct.unpack_from(order + "IH", block, 8)
            if magic != 0x1A2B3C4D or major != 1:
                return rows, at
            interfaces = []
        elif kind == 1:
            interfaces.append(_interface(block, order))
        elif kind in (2, 3, 6):
            row = _packet(block, at, kind, order, interfaces, time)
            if row is None:
                return rows, at
            time = row[3]
            rows.append(row)
        at += total
    return rows, None


def _interface(block: bytes, order: str) -> tuple[int, int, int, int]:
    link, _, snaplen = struct.unpack_from(order + "HHI", block, 8)
    resolution, offset = 6, 0
    options = block[16:-4]
    while len(options) >= 4:
        code, size = struct.unpack_from(order + "HH", options)
        if code == 0 or 4 + size > len(options):
            break
        value = options[4 : 4 + size]
        if code == 9 and size == 1:
            resolution = value[0]
        if code == 14 and size == 8:
            (offset,) = struct.unpack(order + "q", value)
        options = options[4 + (size + 3) // 4 * 4 :]
    return {12: 101, 14: 101}.get(link, link), snaplen, resolution, offset


def _packet(
    block: bytes, at: int, kind: int, order: str, interfaces: list[tuple[int, int, int, int]], before: int
) -> Row | None:
    if kind == 3:
        if not interfaces:
            return None
        (length,) = struct.unpack_from(order + "I", block, 8)
        link, snaplen, _, _ = interfaces[0]
        captured = min(length, snaplen or length, len(block) - 16)
        return at + 12, captured, length, before, link
    number, high, low, captured, length = struct.unpack_from(order + "IIIII", block, 8)
    if kind == 2:
        (number,) = struct.unpack_from(order + "H", block, 8)
    if number >= len(interfaces) or captured > len(block) - 32:
        return None
    link, _, resolution, offset = interfaces[number]
    return at + 28, captured, max(captured, length), tick_time(high << 32 | low, resolution, offset), link
