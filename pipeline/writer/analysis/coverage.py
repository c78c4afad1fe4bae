"""Which bytes of a stream are there, which were given up, and up to where that is settled.

Knows: offsets of the contract. Does not know: bytes, files, packets' times, who is fed.
Invariant: all below ``reach`` is there or in a hole; ``ranges`` and ``gaps`` lie beyond, in order and disjoint.

A stream that began midstream is *held*: nothing is settled, since its start may still move down. A hole that such a
move leaves is told by no Gap; it lies below offset 0 and is given up when the stream is released.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from operator import itemgetter
from typing import Final, TypeAlias

Span: TypeAlias = tuple[int, int]
"""First offset, and the one behind the last."""

HELD: Final = -(1 << 62)
"""The reach of a stream that is held."""

_NO_SPANS: Final[list[Span]] = []  # these two: of streams that have none, which are nearly all; nobody adds to them
_NO_GAPS: Final[list[tuple[int, int, int]]] = []

_START = itemgetter(0)
_END = itemgetter(1)


class Coverage:
    """Of one stream. The worker bounds how many separate ranges it can have (limits.ranges_per_direction)."""

    __slots__ = ("gaps", "holes", "ranges", "reach")

    def __init__(self, *, held: bool) -> None:
        self.reach = HELD if held else 0
        self.ranges: list[Span] = _NO_SPANS  # there, beyond the reach
        self.gaps: list[tuple[int, int, int]] = _NO_GAPS  # given up, beyond the reach; with the packet that told
        self.holes: list[Span] = _NO_SPANS  # given up, below the reach

    def late(self, start: int) -> bool:
        """Whether bytes that begin there come too late: they were given up. New bytes lie in a gap wholly or not."""
        if start < self.reach:
            return True
        gaps = self.gaps
        if not gaps:
            return False
        at = bisect_left(gaps, start + 1, key=_START) - 1
        return at >= 0 and start < gaps[at][1]

    def add(self, start: int, end: int) -> None:
        """New bytes, which are not late."""
        if start == self.reach:
            self.reach = end
            return
        if not self.ranges:
            self.ranges = [(start, end)]
            return
        ranges = self.ranges
        at = bisect_left(ranges, start, key=_END)
        if at < len(ranges) and ranges[at][1] == start:
            start = ranges.pop(at)[0]
        if at < len(ranges) and ranges[at][0] == end:
            end = ranges.pop(at)[1]
        ranges.insert(at, (start, end))

    def give_up(self, start: int, end: int, packet: int) -> bool:
        """The bytes up to ``end`` are missing. False: some of them are there by now, and came too late.

        To be told twice of a gap that is not settled does no harm.
        """
        ranges = self.ranges
        at = bisect_left(ranges, start + 1, key=_END)
        if start < self.reach or (at < len(ranges) and ranges[at][0] < end):
            return False
        gap = (start, end, packet)
        if not self.gaps:
            self.gaps = [gap]
            return True
        at = bisect_left(self.gaps, start, key=_START)
        if gap not in self.gaps[at : at + 1]:
            self.gaps.insert(at, gap)
        return True

    def settle(self) -> Iterator[tuple[int, int]]:
        """Move on over what lies at the reach: after each step, where it began, and the packet of a gap; 0: bytes."""
        ranges, gaps = self.ranges, self.gaps
        while True:
            if ranges and ranges[0][0] == self.reach:
                start, self.reach = ranges.pop(0)
                yield start, 0
            elif gaps and gaps[0][0] == self.reach:
                start, self.reach, packet = gaps.pop(0)
                if self.holes:
                    self.holes.append((start, self.reach))
                else:
                    self.holes = [(start, self.reach)]
                yield start, packet
            else:
                return

    def release(self, origin: int, packet: int) -> None:
        """The start will not move any more: what is missing below offset 0 is given up, as of ``packet``."""
        self.reach = origin
        for start, end in list(self.missing(origin, 0)):
            if not self.late(start):
                self.give_up(start, end, packet)

    def finish(self, origin: int, end: int) -> None:
        """The stream ends there: whatever is not there is missing."""
        if self.reach == end and not (self.ranges or self.gaps):
            return
        self.reach = max(self.reach, origin)
        self.holes = [*self.holes, *self.missing(self.reach, end)]
        self.ranges, self.gaps = _NO_SPANS, _NO_GAPS
        self.reach = end

    def missing(self, start: int, end: int) -> Iterator[Span]:
        """What is not there of [start, end), which lies beyond the reach."""
        for low, high in self.ranges:
            if start < min(low, end):
                yield start, min(low, end)
            start = max(start, high)
        if start < end:
            yield start, end
