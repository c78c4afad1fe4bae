"""What each process has in hand: told by memory that outlives it, so that a death can be laid at a batch's door.

Knows: which batch each process is at, and the numbers of each batch's packets. Does not know: what is done to it.
Invariant: whoever dies has said before what it was about to do. A word costs one store, and there are a few a batch.

A process that is killed has no last words; these words were there before. They lie in anonymous memory that all
processes share, made before the fork, each slot written by one process.

The tests need deaths at a given moment. ``FLOWSHARD_FAULT=NAME@BATCH`` in the environment, read once when the
processes are started, has the process of that name end itself by SIGKILL when it takes up that batch (-1: the end of
the input). ``xTIMES`` behind it: so many times, each time the run begins anew (default: once), or another one takes
its place, which suffers at its first batch. ``:raise`` behind that: by an exception; ``:slow``: it lives, but takes
20 ms over each batch from there on.
"""

from __future__ import annotations

import mmap
import os
import re
import signal
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from workers.contract import END_OF_INPUT

FAULT: Final = "FLOWSHARD_FAULT"

_NOTHING: Final = -2
_BATCHES: Final = 256
"""Of so many the packets are remembered: more than can be under way."""
_FIELDS: Final = 3  # of a batch: its number, its first packet, the packet behind its last one
_OVER: Final = -5
_NEVER: Final = -3
_FIRST: Final = -4
_SLOW: Final = 0.02


class Place(NamedTuple):
    """Where a process was. Packet numbers; ``beyond`` 0: not known, the batch was still being read."""

    process: str
    batch: int
    first: int
    beyond: int

    def told(self) -> str:
        """For a message: at which packets."""
        if self.batch == END_OF_INPUT:
            return "at the end of the input"
        if not self.beyond:
            return f"at packet {self.first:,} and those behind it"
        return f"at packets {self.first:,} to {self.beyond - 1:,}"


class Hand:
    """A process's own slot."""

    def __init__(
        self, words: memoryview | None = None, slot: int = 0, fault: _Fault | None = None, *, again: bool = False
    ) -> None:
        """Without memory: nobody asks. ``again``: the fault's batch is past."""
        self._words = words
        self._slot = slot
        self._fault = fault
        self._at = _NEVER if fault is None else _FIRST if again else fault.batch

    def take(self, batch: int) -> None:
        """From now on it has this batch in hand, or END_OF_INPUT."""
        if self._words is not None:
            self._words[self._slot] = batch
        if self._at != _NEVER and self._fault is not None:
            self._suffer(batch, self._fault)

    def rest(self) -> None:
        """It has nothing in hand."""
        if self._words is not None:
            self._words[self._slot] = _NOTHING

    def over(self) -> None:
        """It has done all there was; what is left is to say so."""
        if self._words is not None:
            self._words[self._slot] = _OVER

    def reads(self, batch: int, first: int) -> None:
        """It is about to read this batch, from that packet on."""
        self.name(batch, first, 0)
        self.take(batch)

    def name(self, batch: int, first: int, beyond: int) -> None:
        """A batch's packets. Only the capture process knows them."""
        if self._words is not None:
            at = batch % _BATCHES * _FIELDS
            self._words[at], self._words[at + 1], self._words[at + 2] = batch, first, beyond

    def _suffer(self, batch: int, fault: _Fault) -> None:
        if self._at == _FIRST:
            self._at = batch
        if fault.how == "slow" and (batch >= self._at or batch == END_OF_INPUT):
            time.sleep(_SLOW)
        elif batch == self._at and fault.how == "raise":
            raise RuntimeError(f"{FAULT} asks for it")
        elif batch == self._at and fault.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)


NO_HAND: Final = Hand()


class Hands:
    """The memory of one run. Made before the fork; read when a process has died."""

    def __init__(self, names: Sequence[str], begun: int = 0) -> None:
        """``begun``: how often the run has begun before."""
        self._slots = {name: _BATCHES * _FIELDS + i for i, name in enumerate(names)}
        self._shape = tuple(sum(name.startswith(stage) for name in names) for stage in ("worker-", "writer-"))
        self._begun = begun
        self._memory = mmap.mmap(-1, 8 * (_BATCHES * _FIELDS + len(names)))
        self._words = memoryview(self._memory).cast("q")
        for at in (*range(0, _BATCHES * _FIELDS, _FIELDS), *self._slots.values()):
            self._words[at] = _NOTHING
        self._fault = _Fault.asked()

    def of(self, name: str) -> Hand:
        """The slot of a process; one in the place of another one has that one's (losses.py)."""
        first, life = first_of(name, *self._shape)
        fault = self._fault
        if fault is not None and (fault.name != first or self._begun + life >= fault.times):
            fault = None
        return Hand(self._words, self._slots[first], fault, again=life > 0)

    def pass_on(self, name: str) -> None:
        """It is dead, and another process is about to take its place: that one has nothing in hand."""
        self._words[self._slots[first_of(name, *self._shape)[0]]] = _NOTHING

    def place(self, name: str) -> Place | None:
        """Where a process was; None: it had nothing in hand."""
        batch = self._word(name)
        if batch in {_NOTHING, _OVER}:
            return None
        known, first, beyond = self._words[batch % _BATCHES * _FIELDS :][:_FIELDS]
        return Place(name, batch, first, beyond) if known == batch else Place(name, batch, 0, 0)

    def may_be_over(self, name: str) -> bool:
        """Whether a process that died may have done all there was, and its last words are on their way."""
        return self._word(name) == _OVER

    def _word(self, name: str) -> int:
        """Of one that never has batches in hand: that it is over."""
        slot = self._slots.get(first_of(name, *self._shape)[0])
        return _OVER if slot is None else self._words[slot]

    def close(self) -> None:
        """Nobody asks any more."""
        self._words.release()
        self._memory.close()


def first_of(name: str, workers: int, writers: int) -> tuple[str, int]:
    """The process whose place one of that name has, and how many were there before it: of N workers, worker n + N comes
    after worker n, and of M writers writer m + M after writer m."""
    stage, _, number = name.partition("-")
    if stage not in {"worker", "writer"}:
        return name, 0
    life, first = divmod(int(number), workers if stage == "worker" else writers)
    return f"{stage}-{first}", life


class _Fault(NamedTuple):
    """What FLOWSHARD_FAULT asks for."""

    name: str
    batch: int
    times: int
    how: str

    @classmethod
    def asked(cls) -> _Fault | None:
        """None: nothing, as in every run but a test's."""
        found = re.fullmatch(r"([\w-]+)@(-?\d+)(?:x(\d+))?(?::(\w+))?", os.environ.get(FAULT, ""))
        return None if found is None else cls(found[1], int(found[2]), int(found[3] or 1), found[4] or "kill")
