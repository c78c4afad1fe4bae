"""zstd (RFC 8878).

Knows: frames and their blocks, and which window a content coding may have. Does not know: limits on output.
Invariant: each block is given to the library alone, when it is there whole. So a block is the least that is lost, and
where one breaks is where it begins; and no more than a block's output (128 KiB) comes out at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Final

import zstandard

from workers.analyzers.coding.decoder import Decoder

MOST_WINDOW: Final = 8 << 20
"""RFC 9659 3: a content coding's frames need no more; who sends others cannot be read by browsers either."""

_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = b"\x2a\x4d\x18"  # behind a byte from 0x50 to 0x5f
_MOST_BLOCK: Final = 128 << 10  # RFC 8878 3.1.1.2.3
_NOTHING: Final = b"\x01\x00\x00"
"""The last block of a frame, with nothing in it. Each frame gets this one as its last: what is wrong with a frame as
a whole the library says with its last block, and that one's content would be lost."""


class Zstd(Decoder):
    """Frames, one behind the other, and what may be skipped (RFC 8878 3.1)."""

    name: ClassVar[str] = "zstd"

    def __init__(self) -> None:
        super().__init__()
        self._library = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
        self._frame: Any = None
        self._left: int | None = None  # of the content that the frame's header declares
        self._checksum = 0  # size of the frame's checksum
        self._due = 0  # ... of which so many bytes are to come, once its last block was there
        self._skip = 0  # bytes of a skippable frame to come

    def _decode(self, block: bytes) -> Iterator[bytes]:
        data, at = self._held + block, 0
        base = self.taken - len(data)
        while (size := self._next(data, at, base)) is not None and at + size <= len(data):
            yield from self._take(data[at : at + size], base + at)
            at += size
        self._held = b"" if self.over else data[at:]

    def _next(self, data: bytes, at: int, base: int) -> int | None:
        """Size of what comes next: a header, a block, a checksum, something to skip. None: more is needed to say, or
        it is over."""
        if self.over:
            return None
        left = len(data) - at
        if self._skip:
            return min(self._skip, left) or None
        if self._due:
            return self._due
        if self._frame is not None:
            return self._block_size(int.from_bytes(data[at : at + 3], "little"), base + at) if left >= 3 else None
        magic = data[at : at + 4]
        if len(magic) < 4 and _may_begin(magic):
            return None
        if is_skippable(magic):
            return 8
        if magic == _MAGIC:
            return self._header_size(data[at : at + 18], base + at)
        if self.whole:
            self._ended(left)
        else:
            self._broken(base + at, "not zstd")
        return None

    def _take(self, part: bytes, offset: int) -> Iterator[bytes]:
        """What ``_next`` gave the size of."""
        if self._skip:
            self._skip -= len(part)
            self.whole = self._skip == 0 and self.members > 0
        elif self._due:
            self._due = 0
            yield from self._give(part, offset)
            self._frame, self.whole = None, self.broke_at is None
        elif self._frame is not None:
            # the same block without its mark, if it is the last
            yield from self._give(bytes([part[0] & 0xFE]) + part[1:], offset)
            if part[0] & 1 and not self.over:
                self._last_block(offset)
        elif part[:4] == _MAGIC:
            self._frame, self.whole = self._library.decompressobj(), False
            self.members += 1
            yield from self._give(part, offset)
        else:
            self._skip = int.from_bytes(part[4:], "little")
            self.whole = self._skip == 0 and self.members > 0

    def _last_block(self, offset: int) -> None:
        for _ in self._give(_NOTHING, offset):
            pass
        if self._left:  # of an empty block the library does not ask for it
            self._broken(offset, "content shorter than declared")
        self._due = self._checksum
        if not self._due and not self.over:
            self._frame, self.whole = None, True

    def _give(self, part: bytes, offset: int) -> Iterator[bytes]:
        try:
            out = self._frame.decompress(part)
        except zstandard.ZstdError as error:
            self._broken(offset, _reason(error))
            return
        if out:
            if self._left is not None:
                self._left -= len(out)
            yield out

    def _block_size(self, head: int, offset: int) -> int | None:
        """RFC 8878 3.1.1.2: last, type (raw, run, compressed, reserved), size."""
        kind, size = head >> 1 & 3, head >> 3
        if kind == 3 or size > _MOST_BLOCK:
            self._broken(offset, "block too long" if kind < 3 else "reserved type of block")
            return None
        return 3 + (1 if kind == 1 else size)

    def _header_size(self, head: bytes, offset: int) -> int | None:
        """RFC 8878 3.1.1.1. ``head``: its first bytes, all if they are there."""
        if len(head) < 5:
            return None
        flags = head[4]
        single = flags >> 5 & 1
        dictionary = (0, 1, 2, 4)[flags & 3]
        content = (single, 2, 4, 8)[flags >> 6]
        size = 5 + (1 - single) + dictionary + content
        if len(head) < size:
            return None
        if flags & 8:
            self._broken(offset, "reserved bit in frame header")
        elif (window := _window(head[:size], single, content)) > MOST_WINDOW:
            self._broken(offset, f"window of {window} bytes")
        elif any(head[size - content - dictionary : size - content]):
            self._broken(offset, "needs a dictionary")
        if self.broke_at is not None:
            return None
        self._left = _content_size(head[:size], content)
        self._checksum = 4 * (flags >> 2 & 1)
        return size


def _window(head: bytes, single: int, content: int) -> int:
    """Bytes of history that a frame needs (RFC 8878 3.1.1.1.2); in a single segment all of its content."""
    if single:
        return _content_size(head, content) or 0
    base = 1 << 10 + (head[5] >> 3)
    return base + (base >> 3) * (head[5] & 7)


def _content_size(head: bytes, field: int) -> int | None:
    """RFC 8878 3.1.1.1.4. ``field``: its size at the end of the header, 0 if it is not there."""
    size = int.from_bytes(head[len(head) - field :], "little") + (256 if field == 2 else 0)
    return size if field else None


def is_skippable(magic: bytes) -> bool:
    """RFC 8878 3.1.2."""
    return magic[0] >> 4 == 5 and magic[1:] == _SKIPPABLE


def _may_begin(magic: bytes) -> bool:
    """Less than a magic number, or nothing."""
    return _MAGIC.startswith(magic) or (magic[0] >> 4 == 5 and _SKIPPABLE.startswith(magic[1:]))


def _reason(error: Exception) -> str:
    """The library's own words: "zstd decompressor error: Data corruption detected" without what is not its own."""
    return str(error).rpartition(": ")[2].lower()
