"""What all readers share: the account of damage, and where the next window begins.

Knows: faults, windows, unreadable stretches. Does not know: any file format.
Invariant: faults rise by offset; what a reader says does not depend on where windows were cut.
"""

from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from pipeline.source.records import MOST_FAULTS, Fault, Window
from workers.contract import I64, Bools

UNREADABLE: Final = "cannot be read: input/output error"

EASY_RESTARTS: Final = 1000
EASY_BYTES: Final = 1 << 14
"""So many times, and once more for so many bytes read, reading goes on at the first record that looks right.
Where there is damage more often than that, it takes records that lead through CAREFUL bytes: what a restart
costs is then shared by many of them, and hostile captures take linear time."""

CAREFUL: Final = 1 << 16


class Found(Enum):
    """How a search ended."""

    RECORD = "a record begins there"
    MORE = "a larger window is needed to tell whether one does"
    NOTHING = "none up to there"


class Hit(NamedTuple):
    """Where a search ended, and for MORE how far the window must reach."""

    found: Found
    at: int
    wanted: int = 0


class Lost(NamedTuple):
    """Damage that is not over yet."""

    offset: int  # of its first byte, in the capture
    problem: str
    seconds: tuple[int, ...] = ()  # when packets are expected: of the last good records


class Account:
    """The part of a Reader (see records.Reader) that is the same for every format."""

    def __init__(self, path: Path, name: str, first: int, *, strict: bool) -> None:
        self.format = name
        self.faults: list[Fault] = []
        self.more_faults = 0
        self.consumed = 0
        self.wants = 0
        self.stopped = False
        self._path = path
        self._strict = strict
        self._next = first  # offset in the capture of what is to be read next
        self._lost: Lost | None = None
        self._restarts = 0
        self._told = (-1, "")  # where the last fault ends, and its problem

    def _tell(self, offset: int, problem: str, length: int) -> None:
        """Note a fault; joined with the one before when it goes on there."""
        joined = self._told == (offset, problem)
        self._told = (offset + length, problem)
        if joined:
            if not self.more_faults:
                last = self.faults[-1]
                self.faults[-1] = Fault(self._path, last.offset, problem, offset + length - last.offset)
        elif len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(self._path, offset, problem, length))
        else:
            self.more_faults += 1

    def _stop(self, offset: int, problem: str) -> None:
        """``strict``: the first fault ends the reading. How far the damage goes is not asked."""
        self._tell(offset, problem, 0)
        self._next = offset
        self.stopped = True

    def _lose(self, offset: int, problem: str, again: int, seconds: tuple[int, ...] = ()) -> None:
        """Damage from ``offset`` on; a sound record is looked for from ``again`` on."""
        self._lost = Lost(offset, problem, seconds)
        self._next = again

    def _regain(self, offset: int) -> None:
        """Sound records go on at ``offset``, or the capture ends there."""
        assert self._lost is not None
        self._tell(self._lost.offset, self._lost.problem, offset - self._lost.offset)
        self._lost = None
        self._next = offset
        self._restarts += 1

    def _searched(self, window: Window, hit: Hit) -> bool:
        """What a search for the end of the damage came to; whether there is more to do in this window."""
        if hit.found is Found.RECORD:
            self._regain(window.base + hit.at)
            return True
        if window.final:
            self._regain(window.base + window.end)
        else:
            self._pause(window, hit.at, hit.wanted)
        return False

    @property
    def _is_careful(self) -> bool:
        """Whether there were so many restarts that the next one must be worth it."""
        return self._restarts >= EASY_RESTARTS + self._next // EASY_BYTES

    def _pause(self, window: Window, place: int, wanted: int) -> None:
        """The next window begins at ``place`` of this one and should reach to ``wanted``."""
        self._next = window.base + place
        self.wants = max(wanted - place, 0)


def unreadable(window: Window, begin: I64, end: I64) -> Bools:
    """Which of the stretches [begin, end) overlap one that the storage did not give."""
    if not window.unreadable:
        return np.zeros(len(begin), np.bool_)
    zones = np.array(sorted(window.unreadable), np.int64)
    nearest = np.searchsorted(zones[:, 1], begin, "right")
    starts = np.append(zones[:, 0], np.iinfo(np.int64).max)
    overlap: Bools = starts[nearest] < end
    return overlap
