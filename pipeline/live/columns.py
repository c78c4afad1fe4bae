"""libpcap's batches to record columns.

Knows: the 16-byte records of pcapy-ng's ``next_batch``; where an IP header says how long a packet is.
Does not know: where bytes are stored, interfaces.
Invariant: a length is never less than what was captured.

A batch carries no length on the wire. A packet that is as long as the snap length counts as cut: its length is
that of its outermost IP datagram and of what stands before it; a trailer behind is not known of, and what is not
IP counts as it was captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from pipeline.decode.kernels import decode
from pipeline.decode.packets import Notes, gather, u8, u16
from pipeline.source.records import Records
from workers.contract import I64, U8, U16, U32, U64

_IPV6_HEADER = 40


class Columns(NamedTuple):
    """Packets of a stretch of bytes, in which they stand without gaps. Columns of equal length n."""

    start: I64  # place of the first byte, rising
    captured: U32
    time: I64  # ns since 1970-01-01
    link: U16

    @classmethod
    def of(cls, meta: bytes, link: int) -> Self:
        """The records (seconds, microseconds, place, captured bytes, native numbers of 32 bits) of a batch."""
        table = np.frombuffer(meta, np.uint32).reshape(-1, 4)
        seconds, micro = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        time = (seconds * 1_000_000 + micro) * 1000
        return cls(table[:, 2].astype(np.int64), table[:, 3].copy(), time, np.full(len(table), link, np.uint16))

    @property
    def end(self) -> I64:
        """Place behind the last byte of each."""
        return self.start + self.captured

    def part(self, begin: int, end: int, at: int) -> Self:
        """The packets [begin, end), the first of them at place ``at``."""
        some = slice(begin, end)
        start = self.start[some]
        return type(self)(start - start[:1].sum() + at, self.captured[some], self.time[some], self.link[some])


def by_time(parts: Sequence[Columns]) -> Columns:
    """Packets of several interfaces as one, by the running maximum of each one's times; the order of each is kept.

    The places are then no longer rising.
    """
    if len(parts) == 1:
        return parts[0]
    joined = Columns._make(map(np.concatenate, zip(*parts, strict=True)))
    order = np.argsort(np.concatenate([np.maximum.accumulate(part.time) for part in parts]), kind="stable")
    return Columns._make(column[order] for column in joined)


def records(slab: U8, columns: Columns, snap_length: int) -> Records:
    """The same as records. Reads the bytes of what was cut only."""
    start, captured = columns.start.view(np.uint64), columns.captured
    found = Records(start, captured, captured, columns.time, columns.link)
    cut = np.flatnonzero(captured >= snap_length)
    if not len(cut):
        return found
    length = captured.copy()
    length[cut] = _declared(slab, Records._make(column[cut] for column in found))
    return found._replace(length=length)


def _declared(slab: U8, cut: Records) -> U32:
    """(n,) The frame's length as its outermost IP header has it."""
    notes = Notes([], [], [])
    decode(slab, cut, notes=notes)
    length: U64 = cut.captured.astype(np.uint64)
    for packets in notes.outermost:
        header = gather(slab, packets.at, 8)
        is_six = u8(header, 0) >> 4 == 6
        size = np.where(is_six, _IPV6_HEADER + u16(header, 4).astype(np.int64), u16(header, 2))
        before = packets.at - cut.start[packets.row].view(np.int64)
        length[packets.row] = np.maximum(length[packets.row], (before + size).view(np.uint64))
    return length.astype(np.uint32)
