"""All interfaces as one input: what comes goes into the spool at once, or is counted as dropped.

Knows: when to read, when the capture ends, what of the kernel's ring still belongs to it then.
Does not know: decoding, links between processes, who takes the blocks.
Invariant: nothing here waits but ``wait``, and that not long; ``handed`` = stored + dropped for want of a slab.

The capture ends with ``stop()``, after its duration, at a number of packets or bytes, or when the last interface
is lost. What the kernel had received by then is still read, packets that a limit leaves over are not.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from pipeline.config import Config, Live
from pipeline.live.columns import Columns
from pipeline.live.drops import Drops
from pipeline.live.interface import Counts, Interface, Lost
from pipeline.live.store import MOST_BYTES, Store
from pipeline.reading import Block, InputFacts
from pipeline.source.records import Fault
from pipeline.spool.slabs import Spool
from workers.contract import OFFSET_MASK

_ROUNDS: Final = 16
"""Reads of each interface before others get a turn."""

_QUIET: Final = 0.15
"""Seconds without a packet after which the ring is empty: it hands over every 50 ms."""

_LONGEST_END: Final = 1.0
"""Seconds after which what is left in a ring counts as dropped there."""

_BEHIND_NS: Final = 1_000_000_000
"""How far the packet clock stays behind the wall clock when nothing comes: what is in the ring is younger."""


class _Tap:
    """An interface, and how far it is read."""

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        self.handed = 0  # packets
        self.received = 0  # by the kernel, dropped ones included
        self.dropped = 0  # by the kernel
        self.counts = Counts(0, 0, 0)
        self.last = 0.0  # when there were packets
        self.lost = False
        self.problem = ""  # how it was lost, until that is told
        self.over = False  # nothing more is read of it

    @property
    def waits(self) -> int:
        """Packets that the kernel has counted and not yet handed over, as far as it can be told."""
        return self.received - self.dropped - self.handed


class LiveInput:
    """The input of a live run. ``facts`` are complete when it has ``ended``."""

    def __init__(self, config: Config, spool: Spool, interfaces: Sequence[Interface] = ()) -> None:
        """``interfaces``: open ones; else they are opened here. UsageError: one cannot be."""
        assert config.live is not None
        self._live: Live = config.live
        self.path = config.inputs[0]
        self.facts = InputFacts(self.path, None, format=f"live, snap length {config.live.snap_length}")
        self.drops = Drops()
        self.ended = False
        self.handed = 0
        """Packets that the kernel gave us."""
        self._store = Store(spool, config.batch_packets, config.live.snap_length)
        names = config.live.interfaces
        opened = interfaces or [Interface(name, config.live, config.expression) for name in names]
        self._taps = [_Tap(interface) for interface in opened]
        self._begun = self._next_second = time.monotonic()
        self._bytes = 0  # handed over
        self._most_bytes = min(config.live.bytes or OFFSET_MASK, OFFSET_MASK)
        self._stopping = False
        self._end: float | None = None  # when the kernel was asked how much it had received until then
        self._limited = False

    @property
    def position(self) -> int:
        """Captured bytes in blocks that were taken."""
        return self._store.handed_on

    @property
    def stopped(self) -> bool:
        """It has ended, or reads what was captured by then."""
        return self.ended or self._stopping

    @property
    def waiting(self) -> bool:
        """Whether anything is stored that was not taken."""
        return self._store.stored > self._store.handed_on

    def descriptors(self) -> list[int]:
        """What becomes readable when packets wait; nothing when it has ended."""
        return [] if self.ended else [tap.interface.descriptor for tap in self._taps if not tap.over]

    def wait(self, seconds: float) -> None:
        """Until packets wait, but not longer."""
        select.select(self.descriptors(), [], [], seconds)

    def stop(self) -> None:
        """The capture ends now."""
        self._stopping = True

    def read(self) -> bool:
        """Store what waits, and see to the time; whether a second has passed since that was last said."""
        now = time.monotonic()
        for _ in range(_ROUNDS):
            if self.ended or not self._round(now):
                break
        if self._live.duration is not None and now - self._begun >= self._live.duration:
            self.stop()
        self._see_to_end(now)
        if now < self._next_second:
            return False
        self._next_second = now + 1
        self._count()
        self.drops.second()
        self._store.shrink()
        return True

    def ready(self) -> bool:
        """Whether a block should be taken."""
        return self.ended or self._store.ready(time.monotonic())

    def next(self, most: int = MOST_BYTES) -> Block | None:
        """The oldest block, or as much of it as ``most`` bytes hold; None when nothing waits."""
        return self._store.next(most)

    def abandon(self) -> None:
        """Nobody takes what is left. It is counted."""
        self.drops.ours("unfinished", *self._store.abandon())

    def idle_clock(self) -> int:
        """What the packet clock may be moved on to when nothing waits, ns."""
        return time.time_ns() - _BEHIND_NS

    def blocks(self, each_second: Callable[[], None]) -> Iterator[Block | None]:
        """All blocks, each as soon as it is ready; None when nothing came for a second. For one process."""
        taken = time.monotonic()
        while True:
            if not self.ended:
                self.wait(0.1)
                if self.read():
                    each_second()
            while self.ready() and (block := self.next()) is not None:
                taken = time.monotonic()
                yield block
                if not self.ended and self.read():
                    each_second()
            if self.ended:
                return
            if time.monotonic() - taken >= 1:
                taken = time.monotonic()
                yield None

    def counters(self) -> dict[str, int]:
        """What was received and what was dropped."""
        exact = [tap for tap in self._taps if tap.interface.exact and not self._limited]
        return {
            "handed": self.handed,
            "handed.bytes": self._bytes,
            "received": sum(tap.received for tap in self._taps),
            "unaccounted": sum(abs(tap.waits) for tap in exact),
            **self.drops.counters(),
        }

    def close(self) -> None:
        """Gives the interfaces back."""
        for tap in self._taps:
            tap.interface.close()

    def _round(self, now: float) -> bool:
        """One batch of each interface; whether there was any."""
        parts: list[tuple[bytes, Columns]] = []
        for tap in self._taps:
            if tap.over or (self._end is not None and tap.waits <= 0):
                continue
            try:
                data, meta = tap.interface.read()
            except Lost as lost:
                self._lose(tap, lost, now)
                continue
            if meta:
                columns = Columns.of(meta, tap.interface.link)
                if self._end is not None:  # what came later is none of ours
                    columns = columns.part(0, min(len(columns.start), tap.waits), 0)
                tap.handed += len(columns.start)
                tap.last = now
                parts.append((data, self._within(columns)))
        if not parts:
            return False
        refused, size = self._store.add(parts, now)
        if refused:
            self.drops.ours("spool", refused, size)
        return True

    def _within(self, columns: Columns) -> Columns:
        """The packets that belong to the capture: up to the one that reaches a limit."""
        most = len(columns.start)
        if self._live.packets is not None:
            most = min(most, self._live.packets - self.handed)
        if self._most_bytes - self._bytes <= int(columns.captured.sum()):
            reached = np.searchsorted(columns.end, self._most_bytes - self._bytes)
            most = 0 if self._limited else min(most, int(reached) + 1)
        columns = columns.part(0, most, 0)
        self.handed += most
        self._bytes += int(columns.captured.sum())
        if self.handed == self._live.packets or self._bytes >= self._most_bytes:
            self._limited = self.ended = True
        return columns

    def _see_to_end(self, now: float) -> None:
        if self._stopping and self._end is None:
            self._count()
            self._end = now
        for tap in self._taps:
            if tap.lost or self._end is not None:
                since = max(tap.last, self._end or 0.0)
                tap.over |= tap.waits <= 0 or now - since > _QUIET
        self.ended |= all(tap.over for tap in self._taps)
        if not self.ended and self._end is not None and now - self._end > _LONGEST_END:
            self._leave()
        for tap in self._taps:
            if tap.problem and (tap.over or self.ended):
                self.facts.faults.append(Fault(self.path, self._store.stored, tap.problem))
                tap.problem = ""
        if self.ended:
            self._count()
            self.drops.second()
            self.facts.length = self._store.stored
            self._store.close()

    def _leave(self) -> None:
        """The time to read what is left in the rings is over."""
        self.ended = True
        for tap in self._taps:
            if tap.interface.exact and tap.waits > 0:
                self.drops.packets["kernel"] += tap.waits
                tap.dropped += tap.waits

    def _count(self) -> None:
        """Read the kernel's counters. They stand once the capture was stopped."""
        if self._end is not None:
            return
        for tap in self._taps:
            if not tap.over:
                self._count_of(tap)

    def _count_of(self, tap: _Tap) -> None:
        with suppress(Lost):  # the next read tells
            now = tap.interface.counts()
            received, dropped = self.drops.kernel(tap.counts, now)
            tap.counts = now
            tap.received += received
            tap.dropped += dropped

    def _lose(self, tap: _Tap, lost: Lost, now: float) -> None:
        """An interface broke off: what is in its ring is still read, and only behind that something is missing."""
        if tap.lost:
            tap.over = True
            return
        problem = str(lost).lower()
        if len(self._taps) > 1:
            problem = f"{tap.interface.name}: {problem}"
        self._count_of(tap)
        tap.lost, tap.problem, tap.last = True, problem, now
