"""The slow, obvious twin: fragments of one datagram as a map of bytes.

Knows: what is promised of overlaps, of a datagram's end, of cut captures. Does not know: the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass, field

HOLE = -1  # in place of a byte that the capture has not


@dataclass
class ByteMap:
    """Fragments of one key, in the order in which they come."""

    version: int
    there: dict[int, int] = field(default_factory=dict)
    ranges: list[tuple[int, int, bool]] = field(default_factory=list)
    last: int | None = None
    top: int = 0
    conflicts: int = 0

    def add(self, offset: int, size: int, more: bool, data: bytes) -> str:
        """``data`` is what was captured of ``size`` bytes. "new", "complete", "duplicate" or "impossible"."""
        end = offset + size
        if end > (65_515 if self.version == 4 else 65_535):
            return "impossible"
        if more and self.last is not None and end > self.last:
            return "impossible"
        if not more and (end < self.top or (self.last is not None and self.last != end)):
            return "impossible"
        overlapped = [place for place in range(offset, end) if place in self.there]
        if self.version == 6 and overlapped:
            return "duplicate" if (offset, size, more) in self.ranges else "impossible"
        self.last = self.last if more else end
        self.top = max(self.top, end)
        self.ranges.append((offset, size, more))
        theirs = {place: self.there[place] for place in overlapped}
        ours = {offset + i: data[i] if i < len(data) else HOLE for i in range(size)}
        self.conflicts += any(HOLE not in (byte, ours[place]) and byte != ours[place] for place, byte in theirs.items())
        self.there = ours | self.there
        if self.last is not None and all(place in self.there for place in range(self.last)):
            return "complete"
        return "new" if len(overlapped) < size else "duplicate"

    def payload(self) -> tuple[bytes, int]:
        """What is captured in front of the first hole, and how long the datagram is."""
        assert self.last is not None
        values = [self.there[place] for place in range(self.last)]
        return bytes(values[: values.index(HOLE)] if HOLE in values else values), self.last
