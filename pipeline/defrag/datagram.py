"""The fragments of one datagram, in whatever order they come.

Knows: coverage, overlaps and what becomes of them, where a datagram ends, what cannot be one.
Does not know: other datagrams, time, limits, where a datagram goes.
Invariant: pieces are disjoint and sorted; coverage is disjoint, sorted and joined where it touches. A fragment
costs time for its own bytes and for what it joins, however many came before: what it joins is never looked at again.
"""

from bisect import bisect_left, bisect_right, insort
from enum import Enum
from struct import Struct
from typing import Final, TypeAlias

from pipeline.defrag.fragments import Fragment

LONGEST: Final = {4: 65_535 - 20, 6: 65_535}
"""Payload bytes of a datagram, by IP version: its length field counts the IPv4 header too."""

_Piece: TypeAlias = tuple[int, int, bytes, int]
"""Offset of the first byte, offset behind the last one, what they are in, and where."""

_V4: Final = Struct(">BBHHHBBH")
_V6: Final = Struct(">IHBB")
_WORDS: Final = Struct(">10H")


class Outcome(Enum):
    """What a fragment is to its datagram."""

    NEW = 0  # it brought bytes
    COMPLETE = 1  # it brought the last ones
    DUPLICATE = 2  # it brought nothing that was not there
    IMPOSSIBLE = 3  # the datagram cannot be, or must not


class Datagram:
    """Fragments of one key. After IMPOSSIBLE nothing may be added."""

    __slots__ = (
        "_begins", "_ends", "_pieces", "_ranges", "_reached", "_top", "_total", "_whole", "conflicts", "first", "held",
        "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.waiting: list[Fragment] = []  # those that brought something, as they came
        self.first: Fragment | None = None  # of those at offset 0
        self.conflicts = 0  # fragments that say otherwise than the bytes that were there
        self.held = 0  # bytes of memory, for the table
        self._pieces: list[_Piece] = []
        self._begins: list[int] = []  # of what is covered, bytes that the capture cut off included
        self._ends: list[int] = []
        self._ranges: dict[int, tuple[int, bool]] = {}  # IPv6: offset to end and ``more`` of each fragment
        self._reached = 0  # the highest end of what is covered
        self._top = 0  # the highest end that was spoken of
        self._total: int | None = None
        self._whole: int | None = None  # the lowest byte that a capture cut off

    def add(self, fragment: Fragment) -> Outcome:
        """``fragment`` is of this key and has payload."""
        low, high, version = fragment.offset, fragment.offset + fragment.size, fragment.version
        if high > LONGEST[version] or not self._may_end(high, last=not fragment.more):
            return Outcome.IMPOSSIBLE
        if low < self._reached and self._overlaps(low, high):
            if version == 6:
                same = self._ranges.get(low) == (high, fragment.more)
                return Outcome.DUPLICATE if same else Outcome.IMPOSSIBLE
            self._compare(fragment)
        holes = self._cover(low, high)
        complete = self._ends[0] == self._total and not self._begins[0]
        if not holes and not complete:
            return Outcome.DUPLICATE
        for begin, end in holes:
            self._fill(fragment, begin, end)
        self.waiting.append(fragment)
        if self.first is None and not low:
            self.first = fragment
        if version == 6:
            self._ranges[low] = high, fragment.more
        return Outcome.COMPLETE if complete else Outcome.NEW

    def packet(self) -> tuple[bytes, int]:
        """The complete datagram: an IP packet without options or extension headers, as far as it is captured, and
        how long it is."""
        first, total = self.first, self._total
        assert first is not None
        assert total is not None
        whole = total if self._whole is None else self._whole
        pieces = [data[at : at + end - begin] for begin, end, data, at in self._pieces if begin < whole]
        payload = b"".join(pieces)[:whole]
        if first.version == 6:
            head = _V6.pack(6 << 28, total, first.protocol, 64) + first.addresses
        else:
            head = _V4.pack(0x45, 0, 20 + total, 0, 0, 64, first.protocol, 0) + first.addresses
            folded = sum(_WORDS.unpack(head))
            folded = (folded & 0xFFFF) + (folded >> 16)
            folded = (folded & 0xFFFF) + (folded >> 16)
            head = head[:10] + (~folded & 0xFFFF).to_bytes(2, "big") + head[12:]
        return head + payload, len(head) + total

    def _may_end(self, high: int, *, last: bool) -> bool:
        """Whether a fragment can end at ``high``, by what was said of the datagram's end."""
        if last:
            if high < self._top or self._total not in (None, high):
                return False
            self._total = high
        elif self._total is not None and high > self._total:
            return False
        if high > self._top:
            self._top = high
        return True

    def _overlaps(self, low: int, high: int) -> bool:
        at = bisect_right(self._begins, low)
        return (at > 0 and self._ends[at - 1] > low) or (at < len(self._begins) and self._begins[at] < high)

    def _compare(self, fragment: Fragment) -> None:
        """Counts a conflict when the fragment differs in a byte from those that are there."""
        frame, shift = fragment.frame, fragment.body - fragment.offset
        low, high = fragment.offset, min(fragment.offset + fragment.size, len(frame) - shift)
        at = max(bisect_left(self._pieces, low, key=_offset) - 1, 0)
        while at < len(self._pieces) and self._pieces[at][0] < high:
            begin, end, data, place = self._pieces[at]
            left, right = max(begin, low), min(end, high)
            ours, theirs, size = left + shift, place + left - begin, right - left
            if size > 0 and frame[ours : ours + size] != data[theirs : theirs + size]:
                self.conflicts += 1
                return
            at += 1

    def _cover(self, low: int, high: int) -> list[tuple[int, int]]:
        """Adds [low, high) to what is covered; the parts of it that were not."""
        begins, ends = self._begins, self._ends
        if low >= self._reached:
            self._reached = high
            if ends and ends[-1] == low:
                ends[-1] = high
            else:
                begins.append(low)
                ends.append(high)
            return [(low, high)]
        self._reached = max(self._reached, high)
        left = bisect_left(ends, low)  # the first that reaches up to low
        right = bisect_right(begins, high, left)  # behind the last that begins by high
        if left == right:
            begins.insert(left, low)
            ends.insert(left, high)
            return [(low, high)]
        holes = []
        position = low
        for begin, end in zip(begins[left:right], ends[left:right], strict=True):
            if begin > position:
                holes.append((position, begin))
            position = max(position, end)
        if position < high:
            holes.append((position, high))
        begins[left:right], ends[left:right] = [min(low, begins[left])], [max(high, ends[right - 1])]
        return holes

    def _fill(self, fragment: Fragment, begin: int, end: int) -> None:
        """The fragment's bytes for a hole, as far as they are captured."""
        shift = fragment.body - fragment.offset
        there = min(end, len(fragment.frame) - shift)
        if there < end:
            cut = max(begin, there)
            self._whole = cut if self._whole is None else min(self._whole, cut)
        if begin < there:
            piece = (begin, there, fragment.frame, begin + shift)
            if not self._pieces or self._pieces[-1][0] < begin:
                self._pieces.append(piece)
            else:
                insort(self._pieces, piece, key=_offset)


def _offset(piece: _Piece) -> int:
    return piece[0]
