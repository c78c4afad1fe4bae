"""Bytes on their way to the files that are to hold them: one, or several that hold the same.

Knows: which ranges are there, the digests, what waits in memory. Does not know: names, why the bytes are written.
Invariant: a file is made when its first byte is written; runs, size and digests are those of the file as it lies
on disk, holes being zeros. None of them depends on how the bytes were cut. Where there is no room, or the disk fails,
it ends with what all of its files have.

What is small is held until it is complete and then written at once, what is larger is written in blocks. A writer
has many connections under way, so what is held by all together has a bound (Store), beyond which nothing waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from pipeline.errors import OutputError
from pipeline.tree import FILE_COSTS
from pipeline.writer.closing import read_all
from pipeline.writer.folder import Folder, StoredFile
from workers.analyzers.seam import Piece
from workers.limits import MIB, Limits

HEAD: Final = 8192
"""Bytes by which the type of a content is told."""

MD5: Final = ("md5",)
BOTH: Final = ("md5", "sha256")
_MAKERS: Final[dict[str, Callable[..., Any]]] = {
    "md5": partial(hashlib.md5, usedforsecurity=False),
    "sha256": hashlib.sha256,
}

_HELD: Final = 64 << 10  # of one content; a larger block is written no faster
_ALL_HELD: Final = 64 * MIB
"""... of all contents and header blocks of a writer: of 100,000 connections, each of which takes ten times as much for
other things. Beyond it every piece is written as it comes, which takes three times as long."""
_ZEROS: Final = bytes(64 << 10)


def md5_of(data: Piece) -> str:
    """Of bytes that are all there."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def sha256_of(data: Piece) -> str:
    """Of bytes that are all there."""
    return hashlib.sha256(data).hexdigest()


class Store:
    """What the renditions of a writer share."""

    __slots__ = ("folder", "held", "limits", "md5")

    def __init__(self, folder: Folder, limits: Limits, *, md5: bool) -> None:
        """``md5``: of the files with ``-a``; objects have their digests in any case."""
        self.folder = folder
        self.limits = limits
        self.md5 = MD5 if md5 else ()
        self.held = 0  # bytes that wait in memory

    def fits(self, size: int) -> bool:
        """Whether there is room on the disk for so many bytes of a file, which may be a new one."""
        room = self.folder.room
        return not self.folder.is_behind() and (room is None or room.fits(size + FILE_COSTS))

    def discard(self, file: StoredFile) -> None:
        """Remove it, if it was made. It may stay where the disk fails, and nothing tells of it."""
        with self.tried():
            self.folder.discard(file)

    @contextmanager
    def tried(self) -> Iterator[None]:
        """An OutputError in here is counted and told, and need not end the run."""
        try:
            yield
        except OutputError as error:
            self.folder.failures.took(error)

    def has_room(self, held: int, size: int) -> bool:
        """Whether ``size`` bytes may wait behind the ``held`` ones of their content."""
        return held + size <= _HELD and self.held + size <= _ALL_HELD


class Rendition:
    """``add`` what comes, in order; then ``finish``. OutputError of all that write, if the run is to end of it."""

    __slots__ = (
        "_at", "_hashing", "_head", "_held", "_holes", "_stale", "_store", "_wanted", "cut", "digests", "files", "full",
        "runs", "size",
    )  # fmt: skip

    def __init__(self, store: Store, files: tuple[StoredFile, ...], wanted: tuple[str, ...]) -> None:
        """``wanted``: which digests."""
        self.files = files
        self.size = 0
        self.runs: list[tuple[int, int]] = []
        """(offset, length) of what is there, in order."""
        self.digests: dict[str, str] = {}
        """Those that are wanted, when it is finished."""
        self.cut = False
        """The holes are larger than the limit: it ends in front of the one that is too much."""
        self.full = False
        """It could not be written further, or not at all."""
        self._store = store
        self._wanted = wanted
        self._held = bytearray()  # what waits: pieces one by one may take twenty times their bytes
        self._at = 0  # bytes written, and holes
        self._holes = 0
        self._hashing: dict[str, Any] | None = None  # from the first write on
        self._stale = False  # what is wanted was not hashed from the start
        self._head = b""

    @property
    def head(self) -> bytes:
        """The first HEAD bytes; those in front of the first hole."""
        return self._head_with(b"")

    def add(self, piece: Piece) -> None:
        """The next bytes."""
        if self.cut or self.full:
            return
        size = len(piece)
        self.size += size
        if self._store.has_room(len(self._held), size):
            self._held += piece
            self._store.held += size
        else:
            self._write(piece)

    def hole(self, size: int) -> None:
        """The next ``size`` bytes are missing."""
        self._holes += size
        self.cut = self.cut or self._holes > self._store.limits.hole_bytes
        if self.cut:
            return
        self._write()
        if not self.full:
            self.size += size
            self._at += size

    def forget_head(self) -> None:
        """Nobody asks for it any more: many contents may wait until their exchange is told."""
        self._head = b""

    def want(self, digests: tuple[str, ...]) -> None:
        """Other digests than was said."""
        self._stale = self._stale or self._at > 0
        self._wanted = digests

    def finish(self, time: int) -> bool:
        """All has come: complete the files, whose last packet's time is ``time``, ns. False: no byte, no file."""
        if self._at:
            self._write()
            if self.runs:
                self._complete(time)
        elif self.size:
            self._store_whole(time)
        return bool(self.runs)

    def drop(self, file: StoredFile) -> None:
        """Do without one of the files."""
        self.files = tuple(each for each in self.files if each is not file)
        self._store.discard(file)

    def abandon(self) -> None:
        """Remove what there is of the files."""
        self._forget()
        for file in self.files:
            self._store.discard(file)

    def _end_here(self) -> None:
        """What waits cannot be written: it ends with its last run."""
        self.full = True
        self.size = self._at = sum(self.runs[-1]) if self.runs else 0
        self._forget()
        try:
            for file in self.files:
                if self.runs:
                    self._store.folder.cut(file, self.size)
                else:
                    self._store.discard(file)
        except OutputError as error:
            self._give_up(error)

    def _give_up(self, error: OutputError) -> None:
        """Its files are not what they should be: there are none."""
        self._store.folder.failures.took(error)
        self.abandon()
        self.full = True
        self.runs, self.digests, self.size, self._at = [], {}, 0, 0

    def _store_whole(self, time: int) -> None:
        """Nothing was written yet: one call for each file, and for each digest."""
        data = memoryview(self._held)
        self._head = bytes(data[:HEAD])
        if not self._store.fits(self.size * len(self.files)):
            del data
            return self._end_here()
        try:
            for file in self.files:
                file.name = self._store.folder.store(file.name, file.stream, data, time)
                file.made, file.part = True, self._store.folder.part
        except OutputError as error:
            del data
            return self._give_up(error)
        self.runs.append((0, self.size))
        for name in self._wanted:
            self.digests[name] = _MAKERS[name](data).hexdigest()
        del data
        return self._forget()

    def _complete(self, time: int) -> None:
        try:
            self._complete_files(time)
        except OutputError as error:
            self._give_up(error)

    def _complete_files(self, time: int) -> None:
        folder = self._store.folder
        for file in self.files:
            if sum(self.runs[-1]) < self.size:  # a hole at the end
                folder.cut(file, self.size)
        if self._stale:
            self._hashing = None
            for block in read_all(self.files[0], folder):
                self._hash(block)
        else:
            self._hash_hole()
        self.digests = {name: digest.hexdigest() for name, digest in (self._hashing or {}).items()}
        for file in self.files:
            folder.finish(file, time)

    def _head_with(self, piece: Piece) -> bytes:
        """The head, ``piece`` being next."""
        if len(self._head) == self._at < HEAD:
            return b"".join((self._head, self._held[:HEAD], piece[:HEAD]))[:HEAD]
        return self._head

    def _write(self, piece: Piece = b"") -> None:
        """All that waits, and the piece behind it."""
        size = self.size - self._at
        if not size:
            return
        self._head = self._head_with(piece)
        pieces = [each for each in (memoryview(self._held), piece) if each]
        if not self._put(pieces, size):
            pieces.clear()
            self._end_here()
            return
        self._hash_hole()
        for each in pieces:
            self._hash(each)
        if self.runs and sum(self.runs[-1]) == self._at:
            self.runs[-1] = (self.runs[-1][0], self.runs[-1][1] + size)
        else:
            self.runs.append((self._at, size))
        self._at += size
        self._forget()

    def _put(self, pieces: Sequence[Piece], size: int) -> bool:
        """Write them into all files. False: not all of them have them."""
        if not self._store.fits(size * len(self.files)):
            return False
        try:
            for file in self.files:
                self._store.folder.write(file, pieces, size, self._at)
        except OutputError as error:
            self._store.folder.failures.took(error)
            return False
        return True

    def _hash(self, piece: Piece) -> None:
        if self._hashing is None:
            self._hashing = {name: _MAKERS[name]() for name in self._wanted}
        for digest in self._hashing.values():
            digest.update(piece)

    def _hash_hole(self) -> None:
        """The hole behind what was written, if there is one."""
        missing = self._at - (sum(self.runs[-1]) if self.runs else 0)
        while missing:
            self._hash(_ZEROS[:missing])
            missing -= min(missing, len(_ZEROS))

    def _forget(self) -> None:
        """Nothing waits any more."""
        self._store.held -= len(self._held)
        self._held = bytearray()
