"""When a byte of a stream was there: the packets that brought it, as few of them as will do.

Knows: rows of Data, in capture order, and where the stream is settled. Does not know: bytes, analyzers.
Invariant: what ``at`` answers depends on the rows and on what is asked, not on where batches were cut.

Packets are kept fine and coarse. Fine: those that are not fed yet and those of the latest ``KEPT`` bytes that were;
of a stream's first 65,536 packets each, then every second, from 131,072 on every fourth, and so on. Coarse, for good:
the first 64, then every second, and so on, which is 32 for each doubling. A moment is that of the nearest packet kept,
at or below the offset. So it is exact for a byte that is being fed or was of late, in a stream of some 90 MB; asked
from the coarse ones, which are there for what is told anew, it is so for the first 64 packets. Among the fine ones a
gap stands, too, with the moment of the bytes before it, known by the packet that made it clear.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from workers.analyzers.seam import Moment

KEPT: Final = 128 << 10
"""Bytes behind what was fed for which packets are kept: twice what is understood of a head."""

_FINE: Final = 16  # bits of the number of packets that are all kept
_COARSE: Final = 6
_ALL: Final = 1 << _COARSE
_MANY: Final = 64  # packets that are worth being forgotten


def _thinned(number: int, bits: int) -> bool:
    """Whether the packet of this number, from 0, is left out."""
    return number >> bits != 0 and number % (1 << (number.bit_length() - bits)) != 0


class Moments:
    """Of one stream."""

    __slots__ = (
        "_ahead", "_coarse_offsets", "_coarse_packets", "_coarse_times", "_count", "_knowns", "_next", "_offsets",
        "_packets", "_sorted", "_times", "known",
    )  # fmt: skip

    def __init__(self) -> None:
        self.known = 0  # packet by which all that is settled had arrived, or was given up
        self._count = 0  # packets so far
        self._next = 0  # number of the next packet that is kept for good
        self._offsets = array("q")
        self._packets = array("q")
        self._times = array("q")
        self._knowns = array("q")
        self._ahead: list[tuple[int, int, int]] = []  # of what is not settled: offset, packet, time; by offset
        self._coarse_offsets = array("q")
        self._coarse_packets = array("q")
        self._coarse_times = array("q")
        self._sorted: tuple[list[int], list[Moment]] = [], []

    # Rows come in

    def note(self, offsets: Sequence[int], packets: Sequence[int], times: Sequence[int]) -> int:
        """Rows of Data: keep some of them for good. Returns the number of the first, to be told with them."""
        first = self._count
        self._count = end = first + len(packets)
        at = self._next
        if at < end:
            if end > _ALL:
                kept = []
                while at < end:
                    kept.append(at - first)
                    at += 1 << max(0, at.bit_length() - _COARSE)
                offsets, packets, times = ([column[i] for i in kept] for column in (offsets, packets, times))
            self._coarse_offsets.extend(offsets)
            self._coarse_packets.extend(packets)
            self._coarse_times.extend(times)
            self._next = max(at, end)
        return first

    def add(self, first: int, offsets: Sequence[int], packets: Sequence[int], times: Sequence[int]) -> None:
        """The same rows, if they were next in the stream; ``first`` is the number of the first."""
        if first + len(packets) > 1 << _FINE:
            kept = [i for i in range(len(packets)) if not _thinned(first + i, _FINE)]
            offsets, packets, times = ([column[i] for i in kept] for column in (offsets, packets, times))
        self._offsets.extend(offsets)
        self._packets.extend(packets)
        self._times.extend(times)
        if packets and packets[0] < self.known:  # a gap in front of them became clear later
            packets = [max(packet, self.known) for packet in packets]
        self._knowns.extend(packets)
        self.known = max(self.known, packets[-1]) if packets else self.known

    def add_ahead(self, number: int, offset: int, packet: int, time: int) -> None:
        """One row of what is not settled yet."""
        if not _thinned(number, _FINE):
            row = (offset, packet, time)
            self._ahead.insert(bisect_left(self._ahead, row), row)

    def give_up(self, start: int, packet: int) -> None:
        """What begins there is missing, as ``packet`` made clear. Its moment is that of the bytes before, if any."""
        self.known = max(self.known, packet)
        if self._offsets or self._ahead:
            _, number, time = self._ahead[0] if not self._offsets else (0, self._packets[-1], self._times[-1])
            self._offsets.append(start)
            self._packets.append(number)
            self._times.append(time)
            self._knowns.append(self.known)

    def settle(self, reach: int) -> None:
        """All below ``reach`` is settled."""
        ahead = self._ahead
        count = bisect_left(ahead, (reach,))
        for offset, number, time in ahead[:count]:
            self.known = max(self.known, number)
            self._offsets.append(offset)
            self._packets.append(number)
            self._times.append(time)
            self._knowns.append(self.known)
        del ahead[:count]

    def forget(self, fed: int) -> None:
        """The bytes below ``fed`` were fed."""
        offsets = self._offsets
        if len(offsets) > _MANY and offsets[_MANY] <= fed - KEPT:
            count = bisect_right(offsets, fed - KEPT) - 1
            for column in (offsets, self._packets, self._times, self._knowns):
                del column[:count]

    def drop(self) -> None:
        """Only the coarse ones will be asked for."""
        for column in (self._offsets, self._packets, self._times, self._knowns):
            del column[:]
        self._ahead.clear()

    # Questions

    def at(self, offset: int) -> Moment:
        """When the byte at ``offset`` was there: of the fine ones."""
        i = bisect_right(self._offsets, offset) - 1
        if i < 0:
            return self.coarse(offset)
        return Moment(self._packets[i], self._times[i], self._knowns[i])

    def coarse(self, offset: int) -> Moment:
        """The same, of the coarse ones. What was given up does not count into ``known``."""
        offsets, moments = self._sorted
        if len(offsets) != len(self._coarse_offsets):
            rows = sorted(zip(self._coarse_offsets, self._coarse_packets, self._coarse_times, strict=True))
            knowns = accumulate((packet for _, packet, _ in rows), max)
            offsets = [row[0] for row in rows]
            moments = [Moment(packet, time, known) for (_, packet, time), known in zip(rows, knowns, strict=True)]
            self._sorted = offsets, moments
        return moments[max(0, bisect_right(offsets, offset) - 1)]
