"""Writes that failed: counted by what the system says, told now and then; the run goes on.

Knows: what was told when, by any process of the run. Does not know: files, what becomes of what they lack.
Invariant: all writers of a run together tell of a failure at most once a second, however many there are; every one is
counted.

When the last one was told is the time of a file that all of them know (report/reserve.py), so that nothing has to be
made for it on a disk that is full.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from pipeline.errors import NoMoreFiles, OutputError

Tell: TypeAlias = Callable[[str, str], None]
"""Says something to a person: a message and a hint."""

FAILED: Final = "write_errors"
"""The counter of all of them, and the beginning of those by errno: ``write_errors.ENOSPC``."""

_LEAST: Final = 1_000_000_000  # ns between two messages of a run
_MOST: Final = 64 * _LEAST  # ... of a writer, to which its pauses grow
_GOES_ON: Final = "what is not written is counted, and told in the report; the exit status will be 4"


class Failures:
    """Of one writer."""

    def __init__(self, counters: dict[str, int] | None = None, tell: Tell | None = None, clock: Path | None = None):
        """``tell`` None: a failure ends the run. ``clock``: the file that the processes of the run share."""
        self._counters = {} if counters is None else counters
        self._tell = tell
        self._clock = clock
        self._next = 0
        self._pause = _LEAST
        self._untold = 0

    def took(self, error: OutputError) -> None:
        """Something could not be written, read back, or made, and the caller will do without it.

        Raises it when the run is to end of it.
        """
        if self._tell is None:
            raise error
        if isinstance(error, NoMoreFiles):
            self._count("limit.files")
            if self._counters["limit.files"] == 1:
                self._tell(error.message, error.hint or "")
            return
        self._count(FAILED)
        self._count(f"{FAILED}.{errno.errorcode.get(error.number, 'OTHER')}")
        now = time.monotonic_ns()
        if now < self._next or not self._is_due(now):
            self._untold += 1
            return
        more = f"; {self._untold:,} other failures were not told" if self._untold else ""
        self._tell(error.message + more, f"{error.hint}; {_GOES_ON}" if error.hint else _GOES_ON)
        self._next, self._pause, self._untold = now + self._pause, min(2 * self._pause, _MOST), 0

    def _count(self, name: str) -> None:
        self._counters[name] = self._counters.get(name, 0) + 1

    def _is_due(self, now: int) -> bool:
        """Whether no process of the run has told of a failure for a second; this one is about to."""
        if self._clock is None:
            return True
        with suppress(OSError):
            clock = os.open(self._clock, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(clock, fcntl.LOCK_EX)
                last = os.fstat(clock).st_mtime_ns
                if last <= now < last + _LEAST:
                    return False
                os.utime(clock, ns=(now, now))
            finally:
                os.close(clock)
        return True
