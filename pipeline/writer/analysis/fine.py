"""The packets of the bytes of a stream that are not fed yet, and of the latest that were.

Knows: rows of Data, those that were next and those that came ahead, gaps, where the stream is settled.
Does not know: bytes, analyzers, what is kept for good.
Invariant: what is kept depends on the rows and on what was fed, not on where batches were cut.

Kept are the packets of the latest ``KEPT`` bytes that were fed: of a stream's first 65,536 packets each, then every
second, from 131,072 on every fourth, and so on. So a moment is exact in a stream of some 90 MB. A gap stands among
them, too, with the moment of the bytes before it, known by the packet that made it clear.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from workers.analyzers.seam import Moment

KEPT: Final = 128 << 10
"""Bytes behind what was fed for which packets are kept: twice what is understood of a head."""

_FINE: Final = 16  # bits of the number of packets that are all kept
_MANY: Final = 64  # packets that are worth being forgotten


def _thinned(number: int) -> bool:
    """Whether the packet of this number, from 0, is left out."""
    return number >> _FINE != 0 and number % (1 << (number.bit_length() - _FINE)) != 0


class Fine:
    """Of one stream."""

    __slots__ = ("_ahead", "_knowns", "_offsets", "_packets", "_times", "known")

    def __init__(self) -> None:
        self.known = 0  # packet by which all that is settled had arrived, or was given up
        self._offsets = array("q")
        self._packets = array("q")
        self._times = array("q")
        self._knowns = array("q")
        self._ahead: list[tuple[int, int, int]] = []  # of what is not settled: offset, packet, time; by offset

    def add(self, first: int, offsets: Sequence[int], packets: Sequence[int], times: Sequence[int]) -> None:
        """Rows that were next in the stream; ``first`` is the number of the first."""
        if first + len(packets) > 1 << _FINE:
            kept = [i for i in range(len(packets)) if not _thinned(first + i)]
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
        if not _thinned(number):
            row = (offset, packet, time)
            self._ahead.insert(bisect_left(self._ahead, row), row)

    def give_up(self, start: int, packet: int) -> None:
        """What begins there is missing, as ``packet`` made clear. Its moment is that of the bytes before, if any."""
        self.known = max(self.known, packet)
        if self._offsets or self._ahead:
            _, number, time = self._ahead[0] if not self._offsets else (0, self._packets[-1], self._times[-1])
            self._append(start, number, time)

    def settle(self, reach: int) -> None:
        """All below ``reach`` is settled."""
        ahead = self._ahead
        count = bisect_left(ahead, (reach,))
        for offset, number, time in ahead[:count]:
            self.known = max(self.known, number)
            self._append(offset, number, time)
        del ahead[:count]

    def _append(self, offset: int, packet: int, time: int) -> None:
        self._offsets.append(offset)
        self._packets.append(packet)
        self._times.append(time)
        self._knowns.append(self.known)

    def forget(self, fed: int) -> None:
        """The bytes below ``fed`` were fed."""
        offsets = self._offsets
        if len(offsets) > _MANY and offsets[_MANY] <= fed - KEPT:
            count = bisect_right(offsets, fed - KEPT) - 1
            for column in (offsets, self._packets, self._times, self._knowns):
                del column[:count]

    def at(self, offset: int) -> Moment | None:
        """When the byte at ``offset`` was there; None: its packet is not kept."""
        i = bisect_right(self._offsets, offset) - 1
        return None if i < 0 else Moment(self._packets[i], self._times[i], self._knowns[i])
