"""How fast the writers have been lately, and so how much may be under way to them.

Knows: when bytes were sent and written. Does not know: batches, clocks.
Invariant: what is under way was always written within SECONDS before, at the pace of the last few; there is room
for LEAST bytes at any pace, and for no more than MOST.

A run that is to end gives up what lies in the spool, but what is under way is written: a disk that takes 1 MB/s
would need a minute for 64 MB.
"""

from __future__ import annotations

from typing import Final

SECONDS: Final = 0.75
LEAST: Final = 256 << 10
MOST: Final = 64 << 20

_LATELY: Final = 1.0
"""Seconds of work after which what was before counts half."""


class Pace:
    """Bytes written in the time in which there was something to write. Times in seconds, by any steady clock."""

    def __init__(self) -> None:
        self._bytes = 0.0
        self._seconds = 0.0
        self._since = 0.0  # what is written next has been worked on since then

    def sent(self, now: float, *, first: bool) -> None:
        """Bytes are under way; ``first``: nothing else is."""
        if first:
            self._since = now

    def written(self, size: int, now: float) -> None:
        """The oldest of them are written; a batch without bytes says nothing of the pace."""
        if not size:
            self._since = now
            return
        self._bytes, self._seconds = self._after(now)
        self._bytes += size
        self._since = now

    def room(self, now: float, *, waits: bool) -> int:
        """Bytes that may be under way; ``waits``: some are, and nothing has been written since."""
        size, seconds = self._after(now) if waits else (self._bytes, self._seconds)
        return LEAST if not seconds else int(min(max(SECONDS * size / seconds, LEAST), MOST))

    def _after(self, now: float) -> tuple[float, float]:
        """Bytes and seconds when one has worked until now: those of the past fade."""
        worked = now - self._since
        fades = 0.5 ** (worked / _LATELY)
        return self._bytes * fades, self._seconds * fades + worked
