"""Compressed inputs as feeds of what they hold: gzip, bzip2, xz, zstd and lz4, known by content.

Knows: how each begins, how many layers are undone. Does not know: the formats beyond that (codecs.py), captures.
Invariant: what decodes before damage is given, then there is one fault and the end. Nothing is waited for while
the codec could still give something.

Measured on a capture of web pages, in MB of capture a second of one core, slabs filled: zstd and lz4 900, gzip 530,
xz 65, bzip2 45. isal alone decodes gzip at 740, zlib at 260, which is why it is used.
"""

import time
from collections.abc import Callable
from typing import Final

from pipeline.source.records import Fault
from pipeline.spool.codecs import CODECS, LZ4, ZSTD, Damaged, Input, Steps, skippable, too_deep
from pipeline.spool.feed import Feed, Unreadable

MOST_LAYERS: Final = 2

HEAD: Final = 16
"""First bytes that tell a format."""

_MOST_READ: Final = 1 << 20
_WAIT: Final = 0.1


def coding(head: bytes) -> str | None:
    """The compression of what begins so (HEAD bytes are enough), or None."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"BZh") and head[4:10] in {b"1AY&SY", b"\x17rE8P\x90"}:
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    if head.startswith(LZ4):
        return "lz4"
    return "zstd" if head.startswith(ZSTD) or skippable(head) else None


def plain(feed: Feed) -> tuple[Feed, bytes, tuple[str, ...]]:
    """The feed with its compression undone, its first bytes (taken from it), what was undone, the outermost first.

    Waits for HEAD bytes, or the end. More than MOST_LAYERS layers are a fault of a feed that gives nothing.
    """
    codings: tuple[str, ...] = ()
    head = _head(feed)
    while name := coding(head):
        codings += (name,)
        feed = decompressed(feed, head, layer=len(codings))
        head = _head(feed)
    return feed, head, codings


def decompressed(feed: Feed, head: bytes, layer: int = 1) -> "Decompressed":
    """What the feed holds, whose first bytes ``head`` were taken already. ``coding(head)`` must not be None."""
    name = coding(head)
    assert name is not None
    return Decompressed(feed, head, CODECS[name] if layer <= MOST_LAYERS else too_deep)


def _head(feed: Feed) -> bytes:
    head = bytearray(HEAD)
    count = 0
    while count < HEAD and (more := feed.readinto(memoryview(head)[count:])):
        count += more
    return bytes(head[:count])


class Decompressed:
    """A feed (see feed.Feed) of what a compressed feed holds. ``position`` counts compressed bytes."""

    def __init__(self, feed: Feed, head: bytes, codec: Callable[[Input], Steps]) -> None:
        self.path = feed.path
        self.unreadable: list[Unreadable] = []
        self.faults: list[Fault] = []
        self._feed = feed
        self._input = Input(feed, head)
        self._steps = codec(self._input)
        self._piece = memoryview(b"")
        self._given = 0
        self._over = False

    @property
    def position(self) -> int:
        return self._feed.position

    @property
    def stopped(self) -> bool:
        return self._feed.stopped

    @property
    def left(self) -> int | None:
        return None

    def ready(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not (self._piece or self._over):
            if self._step():
                continue
            if not self._feed.ready(max(deadline - time.monotonic(), 0.0)):
                return False
            self._input.refill()
        return True

    def readinto(self, view: memoryview) -> int:
        while not self.ready(_WAIT):
            pass
        count, most = 0, min(len(view), _MOST_READ)
        while count < most and self.ready(0.0):
            part = self._piece[: most - count]
            if not part:
                break
            view[count : count + len(part)] = part
            self._piece = self._piece[len(part) :]
            count += len(part)
            self._given += len(part)
        return count

    def stop(self) -> None:
        self._over = True
        self._piece = memoryview(b"")
        self._feed.stop()

    def close(self) -> None:
        self.stop()
        self._steps.close()
        self._feed.close()

    def _step(self) -> bool:
        """One piece on, or over. False: the codec waits for input."""
        try:
            piece = next(self._steps)
        except StopIteration:
            self._end(None)
        except Damaged as damage:
            self._end(str(damage))
        else:
            self._piece = memoryview(piece or b"")
            return piece is not None
        return True

    def _end(self, problem: str | None) -> None:
        self._over = True
        if self.stopped:  # it is our doing that nothing more came
            return
        problem = self._input.problem or problem
        if problem is not None:
            self.faults.append(Fault(self.path, self._given, problem))
