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
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from pipeline.config import Config
from pipeline.errors import NoMoreFiles, OutputError

Tell: TypeAlias = Callable[[str, str], None]
"""Says something to a person: a message and a hint."""

FAILED: Final = "write_errors"
"""The counter of all of them, and the beginning of those by errno: ``write_errors.ENOSPC``."""

_LEAST: Final = 1_000_000_000  # ns between two messages of a run
_MOST: Final = 64 * _LEAST  # ... of a writer, to which its pauses grow
_GOES_ON: Final = "what is not written is counted; the exit status will be 4"


def count_failure(counters: dict[str, int], error: OutputError) -> None:
    """One more, of its kind."""
    for name in (FAILED, f"{FAILED}.{errno.errorcode.get(error.number, 'OTHER')}"):
        counters[name] = counters.get(name, 0) + 1


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
            self._counters["limit.files"] = self._counters.get("limit.files", 0) + 1
            if self._counters["limit.files"] == 1:
                self._tell(error.message, error.hint or "")
            return
        count_failure(self._counters, error)
        now = time.monotonic_ns()
        if now < self._next or not self._is_due(now):
            self._untold += 1
            return
        more = f"; {self._untold:,} other failures were not told" if self._untold else ""
        self._tell(error.message + more, f"{error.hint}; {_GOES_ON}" if error.hint else _GOES_ON)
        self._next, self._pause, self._untold = now + self._pause, min(2 * self._pause, _MOST), 0

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


def after(config: Config, counters: Mapping[str, int]) -> tuple[str, str]:
    """Of a run with output that failed, of which little was told while it did: a message and a hint."""
    failed, streams = counters[FAILED], counters.get("limit.disk", 0)
    kinds = ", ".join(
        f"{count:,} {name.partition('.')[2]}" for name, count in counters.items() if name.startswith(f"{FAILED}.")
    )
    lacks = [f"{streams:,} streams are cut short or have no file"] if streams else []
    keep = None if config.live is None else config.live.keep
    for where, unit, name in (
        (config.unprocessed, "packets", "packets.unwritten"),
        ("standard output", "bytes", "bytes.unprinted"),
        (keep and keep.folder, "packets", "dropped.keep"),
    ):
        if count := counters.get(name):
            lacks.append(f"{where} lacks {count:,} {unit}")
    what, hint = f"output failed {failed:,} time{'s' if failed > 1 else ''} ({kinds})", "run again where there is room"
    if streams and config.report is not None:
        hint = f'the report says which: their completeness has "unwritten"; {hint}'
    return ": ".join(filter(None, [what, ", ".join(lacks)])), hint
