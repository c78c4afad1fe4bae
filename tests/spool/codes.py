"""Compressed data made by hand or by the standard libraries, and feeds that tests control.

Knows: how each format is written. Does not know: how flowshard reads it.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import zstandard

from pipeline.source.records import Fault
from pipeline.spool.feed import Feed, Unreadable

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 6, mtime=0),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "lz4": lambda data: lz4.frame.compress(
        data, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_checksum=True, content_checksum=True
    ),
}


def text(size: int, seed: int = 0) -> bytes:
    """Bytes that compress somewhat."""
    rng = random.Random(seed)
    words = [rng.randbytes(rng.randrange(2, 12)) for _ in range(200)]
    out = bytearray()
    while len(out) < size:
        out += rng.choice(words) + rng.randbytes(1)
    return bytes(out[:size])


def rich_gzip(data: bytes) -> bytes:
    """A member with every field that a header may have (RFC 1952, 2.3)."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    header = b"\x1f\x8b\x08\x1e" + bytes(6) + struct.pack("<H", 300) + b"x" * 300 + b"name\0" + b"c" * 3000 + b"\0"
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    return header + deflate.compress(data) + deflate.flush() + struct.pack("<II", zlib.crc32(data), len(data))


class Bytes:
    """A feed of bytes: at most ``most`` at a time; ``waits`` says at which places it is silent once."""

    def __init__(self, data: bytes, most: int = 1 << 30, waits: tuple[int, ...] = ()) -> None:
        self.path = Path("made")
        self.unreadable: list[Unreadable] = []
        self.faults: list[Fault] = []
        self.stopped = False
        self.position = 0
        self.slack: int | None = None  # by how much ``left`` is too high; None: it says nothing
        self._data = data
        self._most = most
        self._waits = list(waits)

    @property
    def left(self) -> int | None:
        return len(self._data) + self.slack - self.position if self.slack is not None else None

    def ready(self, seconds: float) -> bool:
        if self._waits and self.position >= self._waits[0]:
            del self._waits[0]
            return self.stopped
        return True

    def readinto(self, view: memoryview) -> int:
        part = b"" if self.stopped else self._data[self.position : self.position + min(self._most, len(view))]
        view[: len(part)] = part
        self.position += len(part)
        return len(part)

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        self.stopped = True


def read_all(feed: Feed, size: int = 1 << 16) -> bytes:
    """Everything that the feed still gives, in reads of ``size``."""
    out = bytearray()
    room = bytearray(size)
    while count := feed.readinto(memoryview(room)):
        out += room[:count]
    assert not feed.readinto(memoryview(room)), "an end is an end"
    return bytes(out)
