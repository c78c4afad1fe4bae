"""Several inputs as one: their packets merged by time.

Knows: stretches of decoded packets, cutting and interleaving them, the order that the inputs begin in.
Does not know: formats, where bytes lie, what becomes of the packets.
Invariant: the order of packets depends on the inputs alone, not on how they were cut into stretches nor on
the order in which they were named; packets of one input stay in its order.

An input's packets may run backwards in time, and stay so: what is compared is the running maximum of
their times. Of equals the input that begins earlier comes first, then the one whose name is lower.

Rotated captures join exactly where they were cut, unless the times of packets cross there by a little (a
card with several queues does that): so an input that ends within OVERLAP_NS and a hundredth of its own
duration of another one's beginning is finished first, if no more than MOST_OVERLAP packets and bytes of it are left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from pipeline.decode.kernels import Decoded
from pipeline.source.records import Records
from workers.contract import I64, Extents

OVERLAP_NS: Final = 100_000_000
_SHARE: Final = 100

MOST_OVERLAP: Final = (1 << 16, 32 << 20)
"""Packets and captured bytes: they wait in memory until it is known that the input ends with them."""

_NEVER: Final = (1 << 63) - 1


class Held(Protocol):
    """Whatever keeps the bytes of a stretch where they are."""

    def take(self) -> None:
        """One more holds it."""

    def drop(self) -> None:
        """One less."""


class Stretch(NamedTuple):
    """Packets and what they were decoded to. ``start`` columns are addresses."""

    records: Records
    decoded: Decoded
    extents: tuple[tuple[int, int], ...] = ()  # (address, place in the spool) of each window that it lies in
    held: tuple[Held, ...] = ()  # to be dropped, each as often as it stands here, when the bytes were used

    def table(self) -> Extents:
        """The extents as columns."""
        columns = np.array(self.extents, np.uint64).reshape(-1, 2)
        return Extents(columns[:, 0], columns[:, 1])


class Lane(Protocol):
    """One input on its way into the timeline."""

    first: int
    """Time of its first packet, ns; a lane whose first time is not known beforehand says the lowest number."""

    def stretches(self) -> Iterator[Stretch]:
        """Its packets in order. Holds every stretch's windows once for whoever takes it."""


def cut(stretch: Stretch, begin: int, end: int) -> Stretch:
    """The packets [begin, end) of a stretch. Who holds what does not change."""
    if not begin and end == len(stretch.records.start):
        return stretch
    decoded = stretch.decoded
    low, high = np.searchsorted(decoded.row, [begin, end]).tolist()
    columns: list[Any] = [column[low:high] for column in decoded[2:]]
    return stretch._replace(
        records=Records._make(column[begin:end] for column in stretch.records),
        decoded=Decoded(decoded.reason[begin:end], decoded.row[low:high] - begin, *columns),
    )


def interleave(parts: Sequence[Stretch], order: I64 | None) -> Stretch:
    """The parts one behind the other, then in ``order`` (indices; None: as they stand)."""
    if len(parts) == 1 and order is None:
        return parts[0]
    records: list[Any] = [np.concatenate(column) for column in zip(*(part.records for part in parts), strict=True)]
    before = np.cumsum([0, *(len(part.records.start) for part in parts[:-1])])
    rows = np.concatenate([part.decoded.row + at for part, at in zip(parts, before.tolist(), strict=True)])
    columns: list[Any] = [np.concatenate(column) for column in zip(*(part.decoded[2:] for part in parts), strict=True)]
    reason = np.concatenate([part.decoded.reason for part in parts])
    if order is not None:
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        rows = place[rows]
        sort = np.argsort(rows)
        rows, columns = rows[sort], [column[sort] for column in columns]
        records, reason = [column[order] for column in records], reason[order]
    extents = sorted({extent for part in parts for extent in part.extents})
    held = tuple(held for part in parts for held in part.held)
    return Stretch(Records._make(records), Decoded(reason, rows, *columns), tuple(extents), held)


def pieces(stretch: Stretch, packets: int) -> Iterator[Stretch]:
    """The stretch in pieces of at most so many packets, each of which holds its windows."""
    count = len(stretch.records.start)
    for begin in range(0, count, packets):
        if begin + packets < count:
            for held in stretch.held:
                held.take()
        yield cut(stretch, begin, min(begin + packets, count))


class _Track:
    """A lane, and the stretches of it that are waiting."""

    def __init__(self, lane: Lane, rank: int) -> None:
        self.rank = rank
        self.first = lane.first
        self.done = False  # nothing behind what waits
        self._coming = lane.stretches()
        self._waiting: deque[tuple[Stretch, I64]] = deque()  # with the running maxima of their times
        self._high = -_NEVER

    def pull(self) -> None:
        """One stretch more, if there is one."""
        stretch = next(self._coming, None)
        if stretch is None:
            self.done = True
            return
        times = np.maximum(np.maximum.accumulate(stretch.records.time), self._high)
        self._high = int(times[-1])
        self._waiting.append((stretch, times))

    @property
    def head(self) -> tuple[int, int]:
        """Order of the first packet that waits."""
        return int(self._waiting[0][1][0]), self.rank

    @property
    def tail(self) -> tuple[int, int]:
        """Order of the last one."""
        return self._high, self.rank

    @property
    def empty(self) -> bool:
        return not self._waiting

    def ends_by(self, time: int) -> bool:
        """Whether what waits is known to be all, not later and not much; pulls what it takes to see that."""
        while not self.done and self._high <= time and self._little_waits():
            self.pull()
        return self.done and self._high <= time and self._little_waits()

    def _little_waits(self) -> bool:
        packets = sum(len(times) for _, times in self._waiting)
        size = sum(int(stretch.records.captured.sum(dtype=np.int64)) for stretch, _ in self._waiting)
        return packets <= MOST_OVERLAP[0] and size <= MOST_OVERLAP[1]

    def take(self, bound: tuple[int, int]) -> list[tuple[Stretch, I64]]:
        """What waits up to ``bound``, which is included."""
        taken = []
        while self._waiting:
            stretch, times = self._waiting[0]
            count = int(np.searchsorted(times, bound[0], "right" if self.rank <= bound[1] else "left"))
            if not count:
                break
            taken.append((cut(stretch, 0, count), times[:count]))
            if count < len(times):
                for held in stretch.held:  # both pieces need their bytes
                    held.take()
                self._waiting[0] = cut(stretch, count, len(times)), times[count:]
                break
            self._waiting.popleft()
        return taken


def merge(lanes: Sequence[Lane]) -> Iterator[Stretch]:
    """All packets of the lanes, in order. ``lanes`` are in the order of their names."""
    ordered = sorted(lanes, key=lambda lane: lane.first)  # stable: the names decide between equals
    to_come = deque(_Track(lane, rank) for rank, lane in enumerate(ordered))
    tracks: list[_Track] = []
    while True:
        for track in tracks:
            if track.empty and not track.done:
                track.pull()
        tracks = [track for track in tracks if not track.empty]
        if not tracks and not to_come:
            return
        if to_come and (not tracks or (to_come[0].first, to_come[0].rank) <= min(track.head for track in tracks)):
            if _nearly_done(tracks, to_come[0]):
                yield _joined(tracks[0].take((_NEVER, tracks[0].rank)))
                continue
            tracks.append(to_come.popleft())
            tracks[-1].pull()
            continue
        bound = min((track.tail for track in tracks if not track.done), default=(_NEVER, _NEVER))
        if to_come:
            bound = min(bound, (to_come[0].first, to_come[0].rank - 1))
        taken = [piece for track in tracks for piece in track.take(bound)]
        yield _joined(taken)


def _nearly_done(tracks: Sequence[_Track], following: _Track) -> bool:
    """Whether the only open input ends so soon behind the next one's beginning that it may as well be finished."""
    if len(tracks) != 1:
        return False
    duration = following.first - tracks[0].first
    return duration > 0 and tracks[0].ends_by(following.first + min(OVERLAP_NS, duration // _SHARE))


def _joined(taken: Sequence[tuple[Stretch, I64]]) -> Stretch:
    """Pieces of several inputs, each in its order, as one."""
    times = np.concatenate([times for _, times in taken])
    parts = [stretch for stretch, _ in taken]
    in_order = len(parts) == 1 or bool((times[1:] >= times[:-1]).all())
    return interleave(parts, None if in_order else np.argsort(times, kind="stable"))
