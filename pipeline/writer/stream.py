"""One stream on its way to disk: which files it has, how far it is hashed, what conflicted.

Knows: a stream's parts, frontier, digest and conflicts. Does not know: descriptors, the report.
Invariant: ``digest`` is the MD5 of the file below ``frontier`` as it lies on disk, unless ``stale``.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from operator import itemgetter

from pipeline.report.rows import Conflict
from pipeline.writer.folder import StoredFile
from pipeline.writer.names import Endpoints


class Stream:
    """State of one open stream. Offsets are the contract's: they may be below 0."""

    __slots__ = (
        "conflict_bytes", "conflict_file", "conflicts", "digest", "ends", "file", "frontier", "kept", "macs",
        "name", "number", "origin", "parted", "provisional", "stale",
    )  # fmt: skip

    def __init__(self, number: int, name: str, suffix: str, ends: Endpoints, macs: bytes, *, md5: bool) -> None:
        """``suffix`` is the end of the file's name that may be dropped when the run is over."""
        self.number = number
        self.name = name
        self.provisional = suffix
        self.file = StoredFile(name + suffix, number)  # the first one
        self.parted: list[tuple[int, StoredFile]] = []  # further ones, by the offset of their first byte
        self.ends = ends
        self.macs = macs
        self.origin = 0  # offset of the first file's first byte
        self.frontier = 0
        self.digest = hashlib.md5(usedforsecurity=False) if md5 else None
        self.stale = False
        self.conflicts: list[Conflict] | None = None
        self.conflict_bytes = 0
        self.kept = 0  # losing bytes in the side file
        self.conflict_file: StoredFile | None = None

    def files(self) -> list[tuple[int, StoredFile]]:
        """All files, each with the offset of its first byte, in order."""
        return [(self.origin, self.file), *self.parted]

    def part(self, offset: int) -> tuple[StoredFile, int]:
        """The file that holds ``offset``, and the offset of its first byte."""
        i = bisect_right(self.parted, offset, key=itemgetter(0))
        return (self.parted[i - 1][1], self.parted[i - 1][0]) if i else (self.file, self.origin)

    def begin_part(self, offset: int) -> None:
        """A new file holds the stream from ``offset`` on."""
        i = bisect_right(self.parted, offset, key=itemgetter(0))
        self.parted.insert(i, (offset, StoredFile(f"{self.file.name}@{offset - self.origin}", self.number)))
        self.stale = True

    def move_origin(self, origin: int) -> int:
        """The first file starts lower; returns by how many bytes what it holds must move up."""
        shift = self.origin - origin
        self.origin = origin
        self.stale = True
        return shift
