"""One stream on its way to disk: which files it has, how far it is hashed, what conflicted.

Knows: a stream's parts, frontier, digest and conflicts. Does not know: descriptors, the report.
Invariant: ``digest`` is the MD5 of the file below ``frontier`` as it lies on disk, unless ``stale``.

With -R a stream may go on in the files of another (appended.py): then it begins ``base`` bytes into them,
and the first ``inherited`` of its parts are the other's. It is the last in them until it is closed.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from pipeline.report.rows import Conflict
from pipeline.tree import FILE_COSTS
from pipeline.writer.folder import Piece, StoredFile
from pipeline.writer.names import Endpoints
from pipeline.writer.spans import Span

if TYPE_CHECKING:
    from pipeline.parts.room import Room

NO_CAP: Final = 1 << 62


class Stream:
    """State of one open stream. Offsets are the contract's: they may be below 0."""

    __slots__ = (
        "base", "cap", "conflict_bytes", "conflict_file", "conflicts", "digest", "ends", "failed", "file", "frontier",
        "inherited", "kept", "macs", "name", "number", "origin", "own_name", "parted", "provisional", "side_start",
        "spans", "stale",
    )  # fmt: skip

    def __init__(
        self, number: int, name: str, suffix: str, ends: Endpoints, macs: bytes, *, md5: bool, spans: bool = False
    ) -> None:
        """``suffix`` is the end of the file's name that may be dropped when the run is over; ``spans``: note
        which input each byte came from, since there are several."""
        self.number = number
        self.name = name
        self.own_name = name  # with -R: that which it would have without
        self.provisional = suffix
        self.file = StoredFile(name + suffix, number)  # the first one
        self.parted: list[tuple[int, StoredFile]] = []  # further ones, by the offset of their first byte
        self.ends = ends
        self.macs = macs
        self.origin = 0  # offset of the stream's first byte
        self.cap = NO_CAP  # offset from which on there was no room for it, or it could not be written
        self.failed = False  # it was so, or it could not be read back
        self.base = 0  # place of that byte in its files
        self.inherited = 0  # parts of streams before this one
        self.frontier = 0
        self.digest = hashlib.md5(usedforsecurity=False) if md5 else None
        self.stale = False
        self.conflicts: list[Conflict] | None = None
        self.conflict_bytes = 0
        self.side_start = 0  # place in the side file of its first losing byte
        self.kept = 0  # losing bytes there
        self.conflict_file: StoredFile | None = None
        self.spans: list[Span] | None = [] if spans else None

    def hash(self, offset: int, size: int, pieces: Sequence[Piece]) -> None:
        """These bytes lie at ``offset`` now: the next ones are hashed, and where others were hashed that is void. Only
        with a digest."""
        assert self.digest is not None
        if offset == self.frontier:
            for piece in pieces:
                self.digest.update(piece)
            self.frontier += size
        elif offset < self.frontier:
            self.stale = True

    def files(self) -> list[tuple[int, StoredFile]]:
        """All files, each with the offset of its first byte, in order."""
        return [(self.origin - self.base, self.file), *self.parted]

    def part(self, offset: int) -> tuple[StoredFile, int]:
        """The file that holds ``offset``, and the offset of its first byte."""
        i = bisect_right(self.parted, offset, key=itemgetter(0))
        return (self.parted[i - 1][1], self.parted[i - 1][0]) if i else (self.file, self.origin - self.base)

    def home(self) -> tuple[int, StoredFile]:
        """The file that holds the stream's first byte, behind the offset of that file's own first byte."""
        return self.parted[self.inherited - 1] if self.inherited else (self.origin - self.base, self.file)

    def own_parts(self) -> list[tuple[int, StoredFile]]:
        """The parts that begin within this stream, by the offset of their first byte."""
        return self.parted[self.inherited :]

    def part_name(self, offset: int) -> str:
        """The name of a part that begins at ``offset``."""
        return f"{self.file.name}@{offset - self.origin + self.base}"

    def begin_part(self, offset: int) -> None:
        """A new file holds the stream from ``offset`` on."""
        i = bisect_right(self.parted, offset, key=itemgetter(0))
        self.parted.insert(i, (offset, StoredFile(self.part_name(offset), self.number)))
        self.stale = True

    def move_origin(self, origin: int) -> int:
        """The stream starts lower; returns by how many bytes what its first file holds of it must move up."""
        shift = self.origin - origin
        self.origin = origin
        before = self.parted[: self.inherited]
        self.parted[: self.inherited] = [(start - shift, file) for start, file in before]  # they stay in their place
        self.stale = True
        return shift

    def takes(self, offset: int, size: int, file: StoredFile, room: Room | None) -> bool:
        """Whether there is room for a piece. If not, the stream ends in front of it: nothing behind is kept."""
        if offset + size <= self.cap and (room is None or room.fits(size if file.made else size + FILE_COSTS)):
            return True
        self.end_at(offset)
        return False

    def end_at(self, offset: int) -> None:
        """Nothing from there on is kept."""
        if offset < self.cap:
            self.cap = offset
            self.stale = self.stale or offset < self.frontier

    def follow(self, before: Stream, base: int) -> None:
        """Go on in the files of ``before``, which is closed, ``base`` bytes into them. It has none of its own yet."""
        moved = self.origin - base - (before.origin - before.base)
        self.base = base
        self.file, self.conflict_file = before.file, before.conflict_file
        self.side_start = before.side_start + before.kept
        self.parted = [(start + moved, file) for start, file in before.parted]
        self.inherited = len(self.parted)
