"""An input file as a slab: opened, checked, mapped read-only, and at the end unmapped.

Knows: what can be wrong with a path, and which other formats to name when refusing a file.
Does not know: records, blocks, packets.
Invariant: the map never outlives ``close``; the generator that reads it is ended first.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from pipeline.errors import CaptureError, UsageError
from pipeline.source.records import Fault, Records
from workers.contract import U8

Buffer: TypeAlias = "bytes | mmap.mmap"
"""What the index kernels read: bytes with ``find``. Tests pass bytes, the sources a map."""

_DECOMPRESS: Final = "decompress it first"
_CONVERT: Final = "convert it first: editcap -F pcapng IN OUT"

_WHAT: Final = "flowshard reads pcap and pcapng files; the command 'file' tells what this one is"

FOREIGN: Final = (
    (b"\x1f\x8b", "gzip-compressed", f"{_DECOMPRESS}: gzip -dc"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", f"{_DECOMPRESS}: zstd -dc"),
    (b"\xfd7zXZ\0", "xz-compressed", f"{_DECOMPRESS}: xz -dc"),
    (b"BZh", "bzip2-compressed", f"{_DECOMPRESS}: bzip2 -dc"),
    (b"\x04\x22\x4d\x18", "lz4-compressed", f"{_DECOMPRESS}: lz4 -dc"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"snoop\0\0\0", "a snoop capture (RFC 1761)", _CONVERT),
    (b"GMBU", "a Microsoft Network Monitor 2 capture", _CONVERT),
    (b"RTSS", "a Microsoft Network Monitor 1 capture", _CONVERT),
    (b"TRSNIFF data    \x1a", "a Sniffer capture", _CONVERT),
)
"""First bytes, what such a file is, what to do about it."""

_OPEN_PROBLEMS: Final = {
    errno.ENOENT: ("no such file", "check the path given to -r"),
    errno.ENOTDIR: ("no such file", "check the path given to -r"),
    errno.EACCES: ("permission denied", "read access to the file and its folders is needed"),
    errno.EPERM: ("permission denied", "read access to the file and its folders is needed"),
    errno.ENXIO: ("not a regular file", "-r takes capture files"),
}


def map_file(path: Path) -> mmap.mmap:
    """The whole file, mapped for reading from front to back.

    UsageError when it cannot be opened or is no regular file; CaptureError when it is empty.
    """
    try:
        # Non-blocking, or else opening a FIFO waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as problem:
        raise _cannot_open(path, problem) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"cannot read {path}: it is a folder", "give each capture file its own -r")
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"cannot read {path}: not a regular file", "-r takes capture files")
        if not status.st_size:
            raise CaptureError(f"{path} is not a capture: the file is empty", _WHAT)
        data = mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
    except OSError as problem:
        raise _cannot_open(path, problem) from None
    finally:
        os.close(descriptor)
    with suppress(OSError):  # advice only
        data.madvise(mmap.MADV_SEQUENTIAL)
    return data


def _cannot_open(path: Path, problem: OSError | ValueError) -> UsageError:
    if isinstance(problem, ValueError):  # a NUL in the path
        return UsageError(f"cannot read {str(path)!r}: no such file", "check the path given to -r")
    text, hint = _OPEN_PROBLEMS.get(problem.errno or 0, (os.strerror(problem.errno or 0).lower(), None))
    return UsageError(f"cannot read {path}: {text}", hint)


def refuse(path: Path, head: bytes) -> CaptureError:
    """The error for a file that starts with ``head``, which no source recognised."""
    for magic, what, hint in FOREIGN:
        if head.startswith(magic):
            return CaptureError(f"{path} is {what}, not a pcap or pcapng capture", hint)
    return CaptureError(f"{path} is not a pcap or pcapng capture", _WHAT)


class MappedSource(ABC):
    """What the file sources share (see records.Source). A subclass gives ``pieces``."""

    def __init__(self, path: Path, data: mmap.mmap, name: str) -> None:
        self.path = path
        self.format = name
        self.fault: Fault | None = None
        self.data = data
        self.slab: U8 = np.frombuffer(data, dtype=np.uint8)
        self._running: list[Generator[Records, None, None]] = []

    @abstractmethod
    def pieces(self) -> Iterator[Records]:
        """Records in file order in stretches of any length. Sets ``fault`` where damage ends them."""

    def batches(self, packets: int) -> Iterator[Records]:
        """See records.Source. Each call starts again at the first record."""
        self.fault = None
        running = rebatch(self.pieces(), packets)
        self._running.append(running)
        return running

    def damage(self, offset: int, problem: str) -> None:
        self.fault = Fault(self.path, offset, problem)

    def close(self) -> None:
        """Unmap. BufferError when somebody still holds a view on ``slab``."""
        while self._running:
            self._running.pop().close()
        self.slab = np.empty(0, np.uint8)
        self.data.close()


def rebatch(pieces: Iterator[Records], packets: int) -> Generator[Records, None, None]:
    """The same records in batches of exactly ``packets``; the last one may be shorter, never empty."""
    held: list[Records] = []
    count = 0
    for piece in pieces:
        size = len(piece.start)
        at = 0
        while count + size - at >= packets:
            cut = at + packets - count
            yield _joined([*held, _sliced(piece, at, cut)])
            held, count, at = [], 0, cut
        if at < size:
            held.append(_sliced(piece, at, size))
            count += size - at
    if count:
        yield _joined(held)


def _sliced(piece: Records, begin: int, end: int) -> Records:
    return Records._make(column[begin:end] for column in piece)


def _joined(pieces: list[Records]) -> Records:
    pieces = [piece for piece in pieces if len(piece.start)]
    return pieces[0] if len(pieces) == 1 else Records._make(map(np.concatenate, zip(*pieces, strict=True)))
