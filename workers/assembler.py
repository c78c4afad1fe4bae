"""One direction of a TCP stream: which byte ranges have arrived, and where each was captured.

Knows: offsets, lengths, the place of a range's first byte.
Does not know: sequence numbers, flags, peers, bytes, time, policies.
Invariant: ranges are sorted, disjoint and not adjacent; every offset below ``floor`` is final.

Only the out-of-order path needs one: a direction whose bytes came in order is a single range that
the table keeps in its columns.
"""

from bisect import bisect_left, bisect_right
from typing import NamedTuple, TypeAlias


class Origin(NamedTuple):
    """Where a range's first byte was captured, and when the hole below the range was first seen."""

    place: int  # address
    packets: int  # the connection's, by then
    clock: int  # ns, packet clock


Span: TypeAlias = tuple[int, int]
"""Offset of the first byte, offset behind the last one."""


class Assembler:
    """The ranges of one direction."""

    __slots__ = ("ends", "floor", "origins", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.origins: list[Origin] = []
        self.floor: int | None = None

    def __len__(self) -> int:
        return len(self.starts)

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
        lowest = (self.starts.pop(0), self.ends.pop(0), self.origins.pop(0))
        self.floor = self.starts[0]
        return lowest

    def ranges(self) -> list[tuple[int, int, Origin]]:
        """All ranges as (start, end, origin), the lowest first."""
        return list(zip(self.starts, self.ends, self.origins, strict=True))

    def between(self, low: int, high: int) -> int:
        """How many bytes of [low, high) are there."""
        return sum(max(0, min(end, high) - max(start, low)) for start, end in zip(self.starts, self.ends, strict=True))
