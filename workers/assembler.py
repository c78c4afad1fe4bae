"""One direction of a TCP stream: which byte ranges have arrived, and where each was captured.

Knows: offsets, lengths, the place of a range's first byte.
Does not know: sequence numbers, flags, peers, bytes, time, policies.
Invariant: ranges are sorted, disjoint and not adjacent; every offset below ``floor`` is final.

Only the out-of-order path needs one: a direction whose bytes came in order is a single range that
the table keeps in its columns.
"""

from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple, TypeAlias


class Origin(NamedTuple):
    """Where a range's first byte was captured, and when the hole below the range was first seen."""

    place: int  # address
    packets: int  # the connection's, by then
    clock: int  # ns, packet clock


_FINAL: Final = 256

Span: TypeAlias = tuple[int, int]
"""Offset of the first byte, offset behind the last one."""


class Assembler:
    """The ranges of one direction."""

    __slots__ = ("_final", "ends", "floor", "origins", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.origins: list[Origin] = []
        self.floor: int | None = None
        self._final = 0  # so many of the lists' first entries were folded: nobody looks below the floor

    def __len__(self) -> int:
        return len(self.starts) - self._final

    def insert(self, start: int, end: int, origin: Origin) -> tuple[list[Span], list[Span]]:
        """Add [start, end), not empty; return its new pieces and its pieces that were there, each in order."""
        starts, ends = self.starts, self.ends
        low = bisect_left(ends, start)  # the first range that touches or lies behind start
        high = bisect_right(starts, end)  # the first that lies wholly behind end
        if low == high:
            starts.insert(low, start)
            ends.insert(low, end)
            self.origins.insert(low, origin)
            return [(start, end)], []
        new: list[Span] = []
        old: list[Span] = []
        at = start
        for i in range(low, high):
            if at < starts[i]:
                new.append((at, starts[i]))
                at = starts[i]
            if at < min(end, ends[i]):
                old.append((at, min(end, ends[i])))
                at = min(end, ends[i])
        if at < end:
            new.append((at, end))
        if start < starts[low]:
            starts[low] = start
            known = self.origins[low]  # the hole below is as old as it was, though smaller
            self.origins[low] = Origin(origin.place, known.packets, known.clock)
        ends[low] = max(end, ends[high - 1])
        del starts[low + 1 : high], ends[low + 1 : high], self.origins[low + 1 : high]
        return new, old

    def add(self, start: int, end: int, place: int, packets: int, clock: int) -> int:
        """``insert`` of what is all new: the range that has it now, by its index. -1: some of it is there already, and
        nothing is changed."""
        starts, ends = self.starts, self.ends
        at = bisect_left(ends, start)
        if at == len(starts) or end < starts[at]:
            starts.insert(at, start)
            ends.insert(at, end)
            self.origins.insert(at, tuple.__new__(Origin, (place, packets, clock)))  # a third of its constructor
            return at
        if ends[at] == start:
            above = at + 1
            if above == len(starts) or end < starts[above]:
                ends[at] = end
                return at
            if end > starts[above]:
                return -1
            del ends[at], starts[above], self.origins[above]
            return at
        if end > starts[at]:
            return -1
        starts[at] = start
        known = self.origins[at]  # as in insert
        self.origins[at] = Origin(place, known.packets, known.clock)
        return at

    def holds(self, start: int, end: int) -> bool:
        """Whether all of [start, end), not empty, is there."""
        at = bisect_right(self.starts, start) - 1
        return at >= 0 and end <= self.ends[at]

    def reach(self, offset: int) -> int:
        """The end of the range that holds or touches ``offset``; ``offset`` itself where none does."""
        i = bisect_right(self.starts, offset) - 1
        return max(offset, self.ends[i]) if i >= 0 else offset

    def after(self, offset: int) -> tuple[int, Origin] | None:
        """Start and origin of the first range behind ``offset``, if there is one."""
        i = bisect_right(self.starts, offset)
        return (self.starts[i], self.origins[i]) if i < len(self.starts) else None

    def fold(self) -> tuple[int, int, Origin]:
        """Take out the lowest range: it is final, and so is all below the next one's start. Needs two."""
        at = self._final
        lowest = self.starts[at], self.ends[at], self.origins[at]
        self.floor = self.starts[at + 1]
        self._final += 1
        if self._final == _FINAL:  # what is moved for it is shared by so many
            del self.starts[:_FINAL], self.ends[:_FINAL], self.origins[:_FINAL]
            self._final = 0
        return lowest

    def second(self) -> int:
        """Where the second range starts. Needs two."""
        return self.starts[self._final + 1]

    def ranges(self) -> list[tuple[int, int, Origin]]:
        """All ranges as (start, end, origin), the lowest first."""
        return list(zip(self.starts, self.ends, self.origins, strict=True))[self._final :]

    def between(self, low: int, high: int) -> int:
        """How many bytes of [low, high) are there."""
        return sum(max(0, min(end, high) - max(start, low)) for start, end, _ in self.ranges())
