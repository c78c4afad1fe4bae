"""When a byte of a stream was there: the packets that brought it, as few of them as will do.

Knows: rows of Data, in capture order, and where the stream is settled. Does not know: bytes, analyzers.
Invariant: what ``at`` answers depends on the rows and on what is asked, not on where batches were cut.

Packets are kept fine (fine.py) and coarse. Fine: those that are not fed yet and those of the latest bytes that were.
Coarse, for good: the first 64, then every second, and so on, which is 32 for each doubling. A moment is that of the
nearest packet kept, at or below the offset. So it is exact for a byte that is being fed or was of late; asked from the
coarse ones, which are there for what is told anew, it is so for the first 64 packets.

As long as a stream has no more than these and all were next when they came, which is so for most streams as long as
they are, the coarse ones are the fine ones, too. Between batches such a stream *rests*: nobody asks, and its packets
lie in one array, a fifth of the lists and numbers.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import MutableSequence, Sequence
from itertools import accumulate
from typing import Final

from pipeline.writer.analysis.fine import Fine
from workers.analyzers.seam import Moment

_COARSE: Final = 6  # bits of the number of packets that are all kept
_ALL: Final = 1 << _COARSE

_NONE: Final[MutableSequence[int]] = []  # of streams that have no packets, or rest; nobody adds to it

_new: Final = tuple.__new__


class Moments:
    """Of one stream."""

    __slots__ = ("_count", "_next", "_offsets", "_packets", "_resting", "_sorted", "_times", "fine")

    def __init__(self) -> None:
        self.fine: Fine | None = None
        """The fine ones, once they are not the same as the coarse ones."""
        self._count = 0  # packets so far
        self._next = 0  # number of the next packet that is kept
        self._offsets = self._packets = self._times = _NONE
        self._resting: array[int] | None = None  # all three, one behind the other
        self._sorted: tuple[list[int], list[Moment]] | None = None

    def rest(self) -> None:
        """The batch is over."""
        if self._resting is None and self.fine is None and self._sorted is None and 0 < self._count <= _ALL:
            self._resting = array("q", [*self._offsets, *self._packets, *self._times])
            self._offsets = self._packets = self._times = _NONE

    def _wake(self) -> None:
        if self._resting is not None:
            rows, self._resting = self._resting.tolist(), None
            count = len(rows) // 3
            self._offsets, self._packets, self._times = rows[:count], rows[count : 2 * count], rows[2 * count :]

    # Rows come in

    def note(self, offsets: Sequence[int], packets: Sequence[int], times: Sequence[int]) -> int:
        """Rows of Data: keep some of them for good. Returns the number of the first, to be told with them."""
        self._wake()
        first = self._count
        self._count = end = first + len(packets)
        at = self._next
        if at < end:
            if end > _ALL:
                self._pack()
                kept = []
                while at < end:
                    kept.append(at - first)
                    at += 1 << max(0, at.bit_length() - _COARSE)
                offsets, packets, times = ([column[i] for i in kept] for column in (offsets, packets, times))
            self._keep(offsets, packets, times)
            self._next = max(at, end)
        return first

    def _keep(self, offsets: Sequence[int], packets: Sequence[int], times: Sequence[int]) -> None:
        if self._offsets is _NONE:
            self._offsets, self._packets, self._times = [*offsets], [*packets], [*times]
            return
        self._offsets.extend(offsets)
        self._packets.extend(packets)
        self._times.extend(times)

    def _pack(self) -> None:
        """There are many: lists are quicker, but five times as large."""
        if isinstance(self._offsets, list):
            columns = self._offsets, self._packets, self._times
            self._offsets, self._packets, self._times = (array("q", column) for column in columns)

    def append(self, offsets: Sequence[int], packets: Sequence[int], times: Sequence[int]) -> None:
        """Rows that were next in the stream."""
        fine = self.fine
        if fine is None:
            end = self._count + len(packets)
            if end <= _ALL:
                if self._count:
                    self._wake()
                self._keep(offsets, packets, times)
                self._count = self._next = end
                return
            fine = self.unfold()
        fine.add(self.note(offsets, packets, times), offsets, packets, times)

    def unfold(self) -> Fine:
        """The fine ones, for what is more than one packet behind the other. Before any of that is noted."""
        fine = self.fine
        if fine is None:
            self._wake()
            fine = self.fine = Fine()
            fine.add(0, self._offsets, self._packets, self._times)
        return fine

    def drop(self) -> None:
        """Only the coarse ones will be asked for."""
        self.fine = None

    # Questions

    def at(self, offset: int) -> Moment:
        """When the byte at ``offset`` was there: of the fine ones."""
        if self.fine is not None:
            return self.fine.at(offset) or self.coarse(offset)
        if self._resting is not None:
            self._wake()
        i = bisect_right(self._offsets, offset) - 1
        if i < 0:
            return self.coarse(offset)
        packet = self._packets[i]
        return _new(Moment, (packet, self._times[i], packet))

    def coarse(self, offset: int) -> Moment:
        """The same, of the coarse ones. What was given up does not count into ``known``."""
        self._wake()
        if self._sorted is None or len(self._sorted[0]) != len(self._offsets):
            rows = sorted(zip(self._offsets, self._packets, self._times, strict=True))
            knowns = accumulate((packet for _, packet, _ in rows), max)
            moments = [Moment(packet, time, known) for (_, packet, time), known in zip(rows, knowns, strict=True)]
            self._sorted = [row[0] for row in rows], moments
        offsets, moments = self._sorted
        return moments[max(0, bisect_right(offsets, offset) - 1)]
