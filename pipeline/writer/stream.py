"""One stream on its way to disk: which files it has, how far it is hashed, what conflicted.

Knows: a stream's parts, frontier, digest and conflicts. Does not know: descriptors, the report.
Invariant: ``digest`` is the MD5 of the file below ``frontier`` as it lies on disk, unless ``stale``.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right

from pipeline.report.rows import Conflict
from pipeline.writer.folder import StoredFile
from pipeline.writer.names import Endpoints, provisional


class Stream:
    """State of one open stream. Offsets are the contract's: they may be below 0."""

    __slots__ = (
        "conflict_bytes", "conflict_file", "conflicts", "digest", "ends", "files", "frontier", "kept", "macs",
        "name", "number", "origin", "provisional", "stale", "starts", "suffix",
    )  # fmt: skip

    def __init__(self, number: int, name: str, file: StoredFile, ends: Endpoints, macs: bytes, *, md5: bool) -> None:
        self.number = number
        self.suffix = provisional(number)  # added to a name that is taken
        self.name = name
        self.ends = ends
        self.macs = macs
        self.provisional = ""  # the end of its name that may be dropped when the run is over
        self.origin = 0
        self.files = [file]
        self.starts = [0]  # offset of each file's first byte
        self.frontier = 0
        self.digest = hashlib.md5(usedforsecurity=False) if md5 else None
        self.stale = False
        self.conflicts: list[Conflict] = []
        self.conflict_bytes = 0
        self.kept = 0  # losing bytes in the side file
        self.conflict_file: StoredFile | None = None

    def part(self, offset: int) -> tuple[StoredFile, int]:
        """The file that holds ``offset``, and the offset of its first byte."""
        if len(self.files) == 1:
            return self.files[0], self.starts[0]
        i = bisect_right(self.starts, offset) - 1
        return self.files[i], self.starts[i]

    def begin_part(self, offset: int) -> None:
        """A new file holds the stream from ``offset`` on."""
        i = bisect_right(self.starts, offset)
        self.files.insert(i, StoredFile(f"{self.files[0].name}@{offset - self.origin}"))
        self.starts.insert(i, offset)
        self.stale = True

    def move_origin(self, origin: int) -> int:
        """The first file starts lower; returns by how many bytes what it holds must move up."""
        shift = self.origin - origin
        self.origin = self.starts[0] = origin
        self.stale = True
        return shift
