"""A capture read to its end, in windows of any size, as rows; and small captures of each format.

Knows: how windows are to be presented. Does not know: what damage does.
Behind each window's end lies what must not be read: good records that are not there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.source import reader_for
from pipeline.source.records import Fault, Records, Window
from tests.build import Packet, pcap_bytes, pcapng_blocks
from tests.source.oracle import Row

PATH = Path("made.pcap")


class Result(NamedTuple):
    """All that a reader said."""

    rows: list[Row]
    faults: list[Fault]
    more_faults: int
    stopped: bool
    windows: int

    @property
    def spans(self) -> list[tuple[int, int, str]]:
        """The faults as (offset, length, problem)."""
        return [(fault.offset, fault.length, fault.problem) for fault in self.faults]


def read(
    data: bytes, sizes: Iterable[int] = (), *, strict: bool = False, unreadable: Sequence[tuple[int, int]] = ()
) -> Result:
    """Everything in a capture. ``sizes`` are those of its windows, unless the reader wants more; at last, or
    without any, what is left comes at once. ``unreadable`` are places in the capture."""
    reader = reader_for(PATH, data[:64], final=len(data) < 64, strict=strict)
    rows: list[Row] = []
    begin, windows = 0, 0
    asked = iter(sizes)
    while True:
        size = max(next(asked, len(data)), reader.wants)
        part = data[begin : begin + size]
        windows += 1
        window = Window(
            part + data[:200],
            len(part),
            min(begin, len(data)),
            final=begin + size >= len(data),
            unreadable=tuple((low - begin, high - begin) for low, high in unreadable),
        )
        for records in reader.pieces(window):
            rows.extend(_rows(records, window))
        assert reader.consumed >= 0
        assert reader.wants >= 0
        begin = window.base + reader.consumed
        if reader.stopped or window.final:
            return Result(rows, reader.faults, reader.more_faults, reader.stopped, windows)


def _rows(records: Records, window: Window) -> Iterator[Row]:
    assert [column.dtype for column in records] == [np.uint64, np.uint32, np.uint32, np.int64, np.uint16]
    assert len(records.start)
    for start, captured, length, time, link in zip(*(column.tolist() for column in records), strict=True):
        assert start + captured <= window.end
        yield start + window.base, captured, length, time, link


def in_windows(data: bytes, size: int, *, strict: bool = False) -> Result:
    """Read in windows of one size."""
    return read(data, repeat(size), strict=strict)


def snoop_bytes(packets: Iterable[Packet], *, datalink: int = 4, version: int = 2, pad: int = 4) -> bytes:
    """A snoop file (RFC 1761), each record padded to a multiple of ``pad`` bytes."""
    made = [b"snoop\0\0\0" + struct.pack(">II", version, datalink)]
    for packet in packets:
        seconds, fraction = divmod(packet.time_ns, 1_000_000_000)
        filler = -len(packet.frame) % pad
        size = 24 + len(packet.frame) + filler
        made.append(
            struct.pack(">6I", packet.wire_length, len(packet.frame), size, 0, seconds, fraction // 1000)
            + packet.frame
            + bytes(filler)
        )
    return b"".join(made)


def pcapng_bytes(packets: Iterable[Packet], *, big_endian: bool = False) -> bytes:
    """A pcapng capture of enhanced packet blocks."""
    return b"".join(pcapng_blocks(packets, big_endian=big_endian))


FORMATS = {
    "pcap": pcap_bytes,
    "pcap-big": lambda packets: pcap_bytes(packets, big_endian=True),
    "pcap-nano": lambda packets: pcap_bytes(packets, nanoseconds=True),
    "pcap-kuznetzov": lambda packets: pcap_bytes(packets, kuznetzov=True),
    "snoop": snoop_bytes,
    "pcapng": pcapng_bytes,
    "pcapng-big": lambda packets: pcapng_bytes(packets, big_endian=True),
}
"""Each format and byte order, as packets to bytes."""
