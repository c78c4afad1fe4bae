"""A feed as windows for a Reader, each in a slab of its own.

Knows: how much of a window the reader used, how long to wait for more, how large a slab is worth it.
Does not know: capture formats, who gives slabs back and when.
Invariant: the windows' bytes are the feed's, in order and all of them, but for those that ``consumed`` leaves out
beyond a window's end; each begins with the first byte that the one before did not consume.

A window is delivered when its slab is full, when the feed ends, or PATIENCE after its first new byte came,
whichever is first; so a packet waits no longer than that. The next slab has room for twice what came this time,
within LEAST_SLAB and SLAB_BYTES: a fast feed soon fills whole slabs, and a slow one holds 64 KiB a window.
"""

import time
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.source.records import MOST_RECORD, Fault, Window
from pipeline.spool.compressed import plain
from pipeline.spool.feed import Feed, Unreadable
from pipeline.spool.slabs import SLAB_BYTES, Slab, Spool

PATIENCE: Final = 0.2
"""Seconds."""

LEAST_SLAB: Final = 64 << 10
FIRST_SLAB: Final = 256 << 10
"""Of a feed that does not say how much will come."""

MOST_WINDOW: Final = MOST_RECORD + (1 << 20)
"""The longest record with its headers, and room for new bytes behind what was kept."""

_AHEAD: Final = 4096


class Filled(NamedTuple):
    window: Window  # its data is the slab's map
    slab: Slab


class Windows:
    """``feed`` is raw; compression is undone here. The feed is closed with ``close``, slabs are the caller's.

    A slab must not be given back before the call of ``next`` that follows it: what was not consumed is copied
    out of it.
    """

    def __init__(self, feed: Feed, spool: Spool, path: Path, slab_bytes: int = SLAB_BYTES) -> None:
        self.path = path
        self._raw = feed
        self._feed = feed
        self._spool = spool
        self._slab_bytes = slab_bytes
        self._codings: tuple[str, ...] | None = None
        self._ahead = b""  # taken from the feed and not delivered
        self._ended = False  # the feed gives nothing beyond ``_ahead``
        self._last: Filled | None = None
        self._came = 0  # new bytes of the last window
        self._base = 0

    @property
    def position(self) -> int:
        """Raw bytes taken from the input, for progress."""
        return self._raw.position

    @property
    def coding(self) -> tuple[str, ...]:
        """Compression that is undone, the outermost first: ("gzip",). Waits for the first bytes."""
        return self._opened()

    @property
    def faults(self) -> list[Fault]:
        """What went wrong with the bytes so far, but for unreadable stretches of windows, which readers tell."""
        return self._feed.faults

    def head(self, count: int) -> bytes:
        """The first bytes of the capture, fewer only if it is shorter; nothing is consumed.

        Only before the first ``next``. Waits until they are there.
        """
        self._opened()
        while len(self._ahead) < count and not self._ended:
            self._look_ahead(count - len(self._ahead))
        return self._ahead[:count]

    def next(self, consumed: int = 0, wants: int = 0) -> Filled | None:
        """The next window; None behind the final one. Waits for at least one new byte, or the end.

        ``consumed`` is the place in the last window where this one begins, ``wants`` how many bytes it should have
        (see records.Reader); it has them unless the feed ends. OutputError: there is no room in the spool.
        """
        self._opened()
        tail = b"" if self._last is None else self._turn(self._last, consumed)
        if tail is None:
            return None
        slab = self._spool.take(self._room(len(tail), wants))
        slab.data[: len(tail)] = tail
        end = self._fill(memoryview(slab.data), len(tail), slab.size, min(wants, slab.size))
        self._came = end - len(tail)
        final = self._ended and not self._ahead
        window = Window(slab.data, end, self._base, final, self._unreadable(end), idle=end < slab.size and not final)
        self._last = Filled(window, slab)
        return self._last

    def stop(self) -> None:
        """The capture ends with what is there (feed.Feed.stop); what was taken of compressed bytes is decoded."""
        self._raw.stop()

    def close(self) -> None:
        self._last = None
        self._feed.close()

    def _opened(self) -> tuple[str, ...]:
        if self._codings is None:
            self._feed, self._ahead, self._codings = plain(self._raw)
            self._ended = not self._ahead
        return self._codings

    def _turn(self, last: Filled, consumed: int) -> bytes | None:
        """Goes on to the next window; the bytes that it begins with, or None when there is none."""
        window = last.window
        if window.final:
            return None
        tail = window.data[consumed : window.end] if consumed < window.end else b""
        self._base += min(consumed, window.end)
        self._discard(consumed - window.end)
        return tail

    def _discard(self, count: int) -> None:
        scratch = memoryview(bytearray(min(max(count, 0), LEAST_SLAB)))
        while count > 0 and (got := self._read(scratch[:count])):
            count -= got
            self._base += got

    def _room(self, tail: int, wants: int) -> int:
        """Bytes that the next slab should have; no more than can come, where that is known."""
        usual = min(max(2 * self._came if self._last else FIRST_SLAB, LEAST_SLAB), self._slab_bytes)
        if self._feed.left is not None:
            left = self._feed.left + len(self._ahead)
            usual, wants = min(left, self._slab_bytes), min(wants, tail + left)
        assert tail < MOST_WINDOW, "a reader consumed nothing of the longest window"
        return min(max(wants, usual, tail + min(usual, LEAST_SLAB)), MOST_WINDOW)

    def _fill(self, view: memoryview, end: int, room: int, wants: int) -> int:
        """Reads until the window is full, over, or late. Returns its end."""
        begin = end
        deadline = 0.0
        while end < room and not (self._ended and not self._ahead):
            if end > begin and end >= wants:
                deadline = deadline or time.monotonic() + PATIENCE
                if not self._ready(deadline - time.monotonic()):
                    break
            end += self._read(view[end:room])
        if end == room and not self._ahead and not self._ended and self._ready(0.0):
            self._look_ahead(_AHEAD)  # is there more, or is this window the final one?
        return end

    def _ready(self, seconds: float) -> bool:
        """Whether more is there in time. After PATIENCE it is late even if it is there."""
        return bool(self._ahead) or self._ended or (seconds >= 0 and self._feed.ready(seconds))

    def _read(self, view: memoryview) -> int:
        count = min(len(self._ahead), len(view))
        if count:
            view[:count] = self._ahead[:count]
            self._ahead = self._ahead[count:]
            return count
        if self._ended:
            return 0
        count = self._feed.readinto(view)
        self._ended = not count
        return count

    def _look_ahead(self, count: int) -> None:
        more = bytearray(count)
        got = self._feed.readinto(memoryview(more))
        self._ended = not got
        self._ahead += more[:got]

    def _unreadable(self, end: int) -> tuple[tuple[int, int], ...]:
        """Places in the present window."""
        return tuple(
            (max(bad.offset - self._base, 0), min(bad.offset + bad.length - self._base, end))
            for bad in self._feed.unreadable
            if _overlaps(bad, self._base, self._base + end)
        )


def _overlaps(bad: Unreadable, begin: int, end: int) -> bool:
    return bad.offset < end and bad.offset + bad.length > begin
