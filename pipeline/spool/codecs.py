"""The formats of compressed data: where their streams, frames and blocks begin and end, and what undoes them.

Knows: RFC 1952 (gzip), RFC 8878 (zstd), the xz and the LZ4 frame format documents. Does not know: how the data
inside is coded, which libraries know; what is in it; where it goes.
Invariant: memory is bounded whatever the ratio and whatever a header says. What decodes before damage is yielded
before Damaged is raised; of gzip, bzip2 and xz less than PIECE bytes before a *corrupt* place may be missing.

A codec is a generator: it yields pieces of what it decoded, and None when it cannot go on without more input
(``Input.refill``). Streams and frames may follow one another, with zeros between or behind them as padding.
Anything else behind them is damage. Work is linear in input and output, however small the streams are.
"""

from collections.abc import Callable, Generator
from typing import Any, Final, TypeAlias, cast

from pipeline.spool.feed import Feed

MOST_WINDOW: Final = 1 << 27
"""Bytes that a decoder may look back, which is its memory: zstd's own bound (``--long=27``). ``xz -9`` takes 64 MiB.
What needs more is refused; the program that made it can undo it and pipe it in."""

PIECE: Final = 16 << 10
"""Most that gzip, bzip2 and xz decode in one call: their decoders drop what a failing call had decoded."""

_CHUNK: Final = 1024 << 10
_FIRST_SLICE: Final = 1 << 10
_MOST_SLICE: Final = 32 << 10

ZSTD: Final = b"\x28\xb5\x2f\xfd"
LZ4: Final = b"\x04\x22\x4d\x18"
_ZSTD_BLOCK: Final = 128 << 10

Steps: TypeAlias = Generator[bytes | None, None, None]
Asked: TypeAlias = Generator[None, None, bool]


class Damaged(Exception):
    """What is wrong with the compressed data."""


class Input:
    """Compressed bytes, taken from a feed as a codec asks for them."""

    def __init__(self, feed: Feed, head: bytes) -> None:
        self.ended = False
        self.problem: str | None = None  # that ended it
        self._feed = feed
        self._data = bytearray(_CHUNK)
        self._data[: len(head)] = head
        self._begin, self._end = 0, len(head)
        self._count = len(head)  # taken from the feed
        self._wanted = 0

    @property
    def there(self) -> int:
        return self._end - self._begin

    def has(self, count: int) -> Asked:
        """Whether so many bytes are there; asks for them as long as there may be more."""
        while self._end - self._begin < count:
            if self.ended:
                return False
            self._wanted = count
            yield None
        return True

    def peek(self, count: int) -> bytes:
        return bytes(self._data[self._begin : min(self._begin + count, self._end)])

    def take(self, count: int) -> memoryview:
        """The next bytes, which must be there; valid until more is read."""
        self._begin += count
        return memoryview(self._data)[self._begin - count : self._begin]

    def back(self, count: int) -> None:
        """The last so many bytes taken were not used."""
        self._begin -= count

    def find(self, byte: int) -> int:
        """How many bytes lie before the next such one; ``there`` when there is none."""
        found = self._data.find(byte, self._begin, self._end)
        return self.there if found < 0 else found - self._begin

    def skip_zeros(self) -> None:
        """At least one, at most _FIRST_SLICE: more would cost tiny streams with zeros between them too much."""
        part = self.peek(_FIRST_SLICE)
        self._begin += len(part) - len(part.lstrip(b"\0"))

    def refill(self) -> None:
        """Waits for more from the feed. Where that was not readable, the input ends: zeros are no code."""
        if self._begin == self._end or self._begin + self._wanted > len(self._data):
            kept = self._data[self._begin : self._end]
            if len(self._data) < self._wanted:
                self._data = bytearray(self._wanted)
            self._data[: len(kept)] = kept
            self._begin, self._end = 0, len(kept)
        count = self._feed.readinto(memoryview(self._data)[self._end :])
        self.ended = not count
        self._count += count
        self._end += count
        bad = self._feed.unreadable
        if bad and bad[0].offset < self._count:
            self._end = max(self._end - (self._count - bad[0].offset), 0)
            self.ended = True
            self.problem = f"the compressed data cannot be read on: {bad[0].problem}"
        elif self.ended and self._feed.faults:
            self.problem = self._feed.faults[0].problem


def too_deep(source: Input) -> Steps:
    """In place of a codec where no further layer is undone."""
    if (yield from source.has(1)):
        raise Damaged("it is compressed more than twice over")


def _early(name: str) -> Damaged:
    return Damaged(f"the {name} data ends too early")


def _corrupt(name: str, why: object) -> Damaged:
    """Libraries name themselves and the function before the last colon."""
    return Damaged(f"the {name} data is damaged: {str(why).rsplit(': ', 1)[-1].rstrip('.')}")


def _another(source: Input, name: str, width: int, begins: Callable[[bytes], bool]) -> Asked:
    """Whether one more stream follows, as its first ``width`` bytes say."""
    while (yield from source.has(1)) and source.peek(1) == b"\0":
        source.skip_zeros()
    if not source.there:
        return False
    if (yield from source.has(width)) and begins(source.peek(width)):
        return True
    raise Damaged(f"what follows the {name} data is not {name}")


# --------------------------------------------------------------------------- streams: gzip, bzip2, xz


def _run(source: Input, decoder: Any, failures: type[Exception], name: str) -> Steps:
    """One stream through a decoder that keeps what it was given and cannot decode yet.

    Slices begin small, so that many tiny streams do not cost a large copy each.
    """
    size = _FIRST_SLICE
    while not decoder.eof:
        if not (yield from source.has(1)):
            raise _early(name)
        given: memoryview | bytes = source.take(min(size, source.there))
        size = min(2 * size, _MOST_SLICE)
        while True:
            try:
                piece = decoder.decompress(given, PIECE)
            except failures as error:
                raise _corrupt(name, error) from None
            if piece:
                yield piece
            if decoder.eof or decoder.needs_input:
                break
            given = b""
    source.back(len(decoder.unused_data))


def _gzip(source: Input) -> Steps:
    """RFC 1952. The decoder sees bare deflate data: it would drop what comes out with a wrong checksum."""
    from isal import igzip_lib, isal_zlib

    failure = cast("type[Exception]", igzip_lib.error)  # its stub calls it an instance
    more = True
    while more:
        yield from _gzip_header(source)
        checksum = size = 0
        for piece in _run(source, igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE), failure, "gzip"):
            if piece:
                checksum = isal_zlib.crc32(piece, checksum)
                size += len(piece)
            yield piece
        if not (yield from source.has(8)):
            raise _early("gzip")
        trailer = bytes(source.take(8))
        if trailer != checksum.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little"):
            raise _corrupt("gzip", "wrong checksum")
        more = yield from _another(source, "gzip", 2, b"\x1f\x8b".__eq__)


def _gzip_header(source: Input) -> Generator[None, None, None]:
    if not (yield from source.has(10)):
        raise _early("gzip")
    head = source.take(10)
    method, flags = head[2], head[3]
    if method != 8 or flags & 0xE0:
        raise _corrupt("gzip", "unknown method")
    if flags & 4:  # extra field
        if not (yield from source.has(2)):
            raise _early("gzip")
        yield from _skip(source, int.from_bytes(source.take(2), "little"), "gzip")
    for bit in (8, 16):  # name, comment
        while flags & bit:
            if not (yield from source.has(1)):
                raise _early("gzip")
            before = source.find(0)
            if before < source.there:
                source.take(before + 1)
                break
            source.take(before)
    if flags & 2:
        yield from _skip(source, 2, "gzip")


def _skip(source: Input, count: int, name: str) -> Generator[None, None, None]:
    while count:
        if not (yield from source.has(1)):
            raise _early(name)
        count -= len(source.take(min(count, source.there)))


def _bzip2(source: Input) -> Steps:
    import bz2

    more = True
    while more:
        yield from _run(source, bz2.BZ2Decompressor(), OSError, "bzip2")
        more = yield from _another(source, "bzip2", 3, b"BZh".__eq__)


def _xz(source: Input) -> Steps:
    import lzma

    more = True
    while more:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_WINDOW)
        yield from _run(source, decoder, lzma.LZMAError, "xz")
        more = yield from _another(source, "xz", 6, b"\xfd7zXZ\0".__eq__)


# --------------------------------------------------------------------------- frames: zstd, lz4


def skippable(head: bytes) -> bool:
    """Both formats have such frames (RFC 8878, 3.1.2)."""
    return len(head) >= 4 and head[0] >> 4 == 5 and head[1:4] == b"\x2a\x4d\x18"


def _frames(source: Input) -> Steps:
    """zstd and lz4 frames and what both may skip; zstd at the beginning unless it is lz4."""
    import zstandard

    decoder = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
    more, name = True, "zstd"
    while more:
        if not (yield from source.has(4)):
            raise _early(name)
        magic = source.peek(4)
        if magic == ZSTD:
            name = "zstd"
            yield from _zstd_frame(source, decoder.decompressobj(), zstandard.ZstdError)
        elif magic == LZ4:
            name = "lz4"
            yield from _lz4_frame(source)
        else:
            if not (yield from source.has(8)):
                raise _early(name)
            yield from _skip(source, int.from_bytes(source.take(8)[4:], "little"), name)
        more = yield from _another(source, name, 4, _begins_frame)


def _begins_frame(magic: bytes) -> bool:
    return magic in {ZSTD, LZ4} or skippable(magic)


def _zstd_frame(source: Input, decoder: Any, failure: type[Exception]) -> Steps:
    """RFC 8878, 3.1.1: each block on its own, so that a bad one takes no good one along."""
    part, checksum = yield from _zstd_header(source)
    last = False
    while part:
        if not (yield from source.has(part)):
            raise _early("zstd")
        try:
            piece = decoder.decompress(source.take(part))
        except failure as error:
            raise _corrupt("zstd", error) from None
        if piece:
            yield piece
        if last:
            part, checksum = checksum, 0
            continue
        if not (yield from source.has(3)):
            raise _early("zstd")
        word = int.from_bytes(source.peek(3), "little")
        last, run, size = bool(word & 1), word & 6 == 2, word >> 3
        if size > _ZSTD_BLOCK and not run:
            raise _corrupt("zstd", "block too long")
        part = 3 + (1 if run else size)


def _zstd_header(source: Input) -> Generator[None, None, tuple[int, int]]:
    """Bytes of the header, which are there, and of the checksum; refuses what needs too much memory."""
    if not (yield from source.has(5)):
        raise _early("zstd")
    flags = source.peek(5)[4]
    single = flags >> 5 & 1
    size_bytes = (single, 2, 4, 8)[flags >> 6]
    header = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + size_bytes
    if not (yield from source.has(header)):
        raise _early("zstd")
    head = source.peek(header)
    if single:
        window = int.from_bytes(head[header - size_bytes :], "little") + (256 if size_bytes == 2 else 0)
    else:
        window = (8 + (head[5] & 7)) << (7 + (head[5] >> 3))
    if window > MOST_WINDOW:
        raise Damaged(f"the zstd data needs {window >> 20} MiB to decode, more than {MOST_WINDOW >> 20} MiB")
    return header, 4 if flags & 4 else 0


def _lz4_frame(source: Input) -> Steps:
    """LZ4 frame format 1.6: each block on its own, as above."""
    import lz4.frame

    if not (yield from source.has(7)):
        raise _early("lz4")
    flags, largest = source.peek(6)[4:]
    largest = 1 << (8 + 2 * (largest >> 4 & 7))
    trailer = 4 if flags & 4 else 0
    part = 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    context = lz4.frame.create_decompression_context()
    last = False
    while True:
        if not (yield from source.has(part)):
            raise _early("lz4")
        try:
            # One byte of room to spare, or it would stop at the block's end before its checksum.
            piece, used, _ = lz4.frame.decompress_chunk(context, source.take(part), max_length=largest + 1)
        except RuntimeError as error:
            raise _corrupt("lz4", error) from None
        if used != part:
            raise _corrupt("lz4", "block longer than its frame allows")
        if piece:
            yield piece
        if last:
            break
        if not (yield from source.has(4)):
            raise _early("lz4")
        size = int.from_bytes(source.peek(4), "little") & 0x7FFFFFFF
        last = not size
        if size > largest:
            raise _corrupt("lz4", "block too long")
        part = 4 + (trailer if last else size + (4 if flags & 16 else 0))


CODECS: Final[dict[str, Callable[[Input], Steps]]] = {
    "gzip": _gzip, "bzip2": _bzip2, "xz": _xz, "zstd": _frames, "lz4": _frames,
}  # fmt: skip
