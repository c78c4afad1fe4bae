"""Captured bytes into slabs of the spool; blocks of packets in a queue.

Knows: slabs, when a block is full or old enough. Does not know: interfaces, decoding, who takes the blocks.
Invariant: nothing here waits. What no slab can be had for is refused, and the queue is never longer than the
spool; a block lies in one slab.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Self

import numpy as np

from pipeline.live.columns import Columns, by_time, records
from pipeline.reading import Block, Lease
from pipeline.spool.slabs import Slab, Spool

MOST_AGE: Final = 0.2
"""Seconds that a packet may wait for others before it is sent on."""

_KEPT: Final = 128 << 20
"""Bytes of the spool that are kept ready: making storage costs 0.25 s a gigabyte."""

MOST_BYTES: Final = 1 << 62
"""No bound: a block is no longer than a slab."""

_SHRINKS: Final = 8
"""Slabs in one go."""


class _Sealed:
    """A block that is complete. Its columns are looked at when its turn comes."""

    __slots__ = ("base", "bytes", "columns", "lease", "slab")

    def __init__(self, slab: Slab, lease: Lease, base: int, columns: Columns) -> None:
        self.slab, self.lease, self.base, self.columns = slab, lease, base, columns
        self.bytes = int(columns.captured.sum())

    def split(self, most: int) -> tuple[Self, Self]:
        """The first packets, as many as ``most`` bytes hold, and the others (there are some), as blocks."""
        slab, lease, base, columns = self.slab, self.lease, self.base, self.columns
        count = max(1, int(np.searchsorted(np.cumsum(columns.captured, dtype=np.int64), most, "right")))
        lease.take()
        parts = (Columns._make(column[some] for column in columns) for some in (slice(count), slice(count, None)))
        first, rest = (type(self)(slab, lease, base, part) for part in parts)
        return first, rest


class Store:
    """What was captured and not yet taken."""

    def __init__(self, spool: Spool, packets: int, snap_length: int) -> None:
        """``packets``: at most so many in a block."""
        self.stored = 0
        """Bytes, since the beginning: the address of what comes next."""
        self.handed_on = 0
        """... of them in blocks that were taken, or abandoned."""
        self._spool = spool
        self._packets = packets
        self._snap_length = snap_length
        self._queue: deque[_Sealed] = deque()
        self._slab: Slab | None = None
        self._lease: Lease | None = None
        self._base = 0  # address of the slab's first byte
        self._at = 0  # place in it
        self._open: list[Columns] = []
        self._waiting = 0  # packets of the open block
        self._since = 0.0

    def add(self, parts: Sequence[tuple[bytes, Columns]], now: float) -> tuple[int, int]:
        """Take the packets of one moment, an interface's each; gives the packets and bytes there was no room for.

        Several interfaces' packets are put in the order of their times, if one slab has room for all of them.
        """
        if len(parts) > 1:
            size = sum(len(data) for data, _ in parts)
            if self._slab is not None and self._at + size > self._slab.size:
                self.close()
        refused = lost = 0
        placed: list[Columns] = []
        for data, columns in parts:
            done = 0
            while done < len(columns.start):
                taken = self._fitting(columns, done)
                if not taken:  # no slab yet, or a full one
                    self._put(placed, now)
                    placed = []
                    if not self._next_slab():
                        break
                    continue
                begin, end = int(columns.start[done]), int(columns.end[done + taken - 1])
                assert self._slab is not None
                self._slab.data[self._at : self._at + end - begin] = memoryview(data)[begin:end]
                placed.append(columns.part(done, done + taken, self._at))
                self._at += end - begin
                self.stored += end - begin
                done += taken
            refused += len(columns.start) - done
            lost += int(columns.captured[done:].sum())
        self._put(placed, now)
        return refused, lost

    def ready(self, now: float) -> bool:
        """Whether a block is full, or old enough."""
        return bool(self._queue) or (self._waiting > 0 and now - self._since >= MOST_AGE)

    def next(self, most: int = MOST_BYTES) -> Block | None:
        """The oldest block, full or not, or as much of it as ``most`` bytes hold, but a packet at least.

        Whoever takes it drops its lease.
        """
        if not self._queue:
            self._seal()
        if not self._queue:
            return None
        sealed = self._queue.popleft()
        if sealed.bytes > most and len(sealed.columns.start) > 1:
            sealed, rest = sealed.split(most)
            self._queue.appendleft(rest)
        self.handed_on += sealed.bytes
        data = np.frombuffer(sealed.slab.data, np.uint8, sealed.slab.size)
        return Block(data, records(data, sealed.columns, self._snap_length), sealed.base, sealed.lease)

    def shrink(self) -> None:
        """To be called each second: what a burst took of the spool is given back bit by bit when nothing waits."""
        if not self._queue:
            self._spool.shrink(_KEPT, _SHRINKS)

    def abandon(self) -> tuple[int, int]:
        """Nobody will take what waits: its packets and bytes."""
        self._seal()
        packets = sum(len(sealed.columns.start) for sealed in self._queue)
        lost = sum(sealed.bytes for sealed in self._queue)
        while self._queue:
            self._queue.popleft().lease.drop()
        self.handed_on += lost
        return packets, lost

    def close(self) -> None:
        """The slab gets no more, for now or for good."""
        self._seal()
        if self._lease is not None:
            self._lease.drop()
        self._slab = self._lease = None

    def _fitting(self, columns: Columns, begin: int) -> int:
        """How many of the packets from ``begin`` on have room in the slab."""
        if self._slab is None:
            return 0
        room = self._slab.size - self._at
        return int(np.searchsorted(columns.end[begin:] - columns.start[begin], room, "right"))

    def _next_slab(self) -> bool:
        """Leave the slab for an empty one, in which any packet has room; False when there is none to be had."""
        self.close()
        self._slab = self._spool.take_at_once(self._spool.slab_bytes)
        if self._slab is None:
            return False
        self._lease, self._base, self._at = Lease(self._spool, self._slab), self.stored, 0
        return True

    def _put(self, placed: list[Columns], now: float) -> None:
        if not placed:
            return
        columns = by_time(placed)
        if self._waiting and self._waiting + len(columns.start) > self._packets:
            self._seal()
        if not self._waiting:
            self._since = now
        self._open.append(columns)
        self._waiting += len(columns.start)

    def _seal(self) -> None:
        """The open block is complete."""
        if not self._waiting:
            return
        assert self._slab is not None
        assert self._lease is not None
        columns = Columns._make(map(np.concatenate, zip(*self._open, strict=True)))
        self._lease.take()
        self._queue.append(_Sealed(self._slab, self._lease, self._base, columns))
        self._open, self._waiting = [], 0
