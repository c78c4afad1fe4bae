"""Bytes on their way to the files that are to hold them: one, or several that hold the same.

Knows: which ranges are there, the digests, what waits in memory. Does not know: names, why the bytes are written.
Invariant: a file is made when its first byte is written; runs, size and digests are those of the file as it lies
on disk, holes being zeros. None of them depends on how the bytes were cut.

What is small is held until it is complete and then written at once, what is larger is written in blocks. A writer
has many connections under way, so what is held by all together has a bound (Store), beyond which nothing waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

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

_HELD: Final = 64 << 10  # by one rendition; a larger block is written no faster
_ALL_HELD: Final = 16 * MIB
_ZEROS: Final = bytes(64 << 10)


class Store:
    """What the renditions of a writer share."""

    __slots__ = ("folder", "held", "limits", "md5")

    def __init__(self, folder: Folder, limits: Limits, *, md5: bool) -> None:
        """``md5``: of the files with ``-a``; objects have their digests in any case."""
        self.folder = folder
        self.limits = limits
        self.md5 = MD5 if md5 else ()
        self.held = 0  # bytes that wait in memory


class Rendition:
    """``add`` what comes, in order; then ``finish``. OutputError of all that write."""

    __slots__ = (
        "_at", "_hashing", "_head", "_held", "_holes", "_pieces", "_stale", "_store", "_wanted", "cut", "digests",
        "files", "runs", "size",
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
        self._store = store
        self._wanted = wanted
        self._pieces: list[Piece] = []
        self._held = 0
        self._at = 0  # bytes written, and holes
        self._holes = 0
        self._hashing: dict[str, Any] | None = None  # from the first write on
        self._stale = False  # what is wanted was not hashed from the start
        self._head = b""

    @property
    def head(self) -> bytes:
        """The first HEAD bytes; those in front of the first hole."""
        if len(self._head) == self._at < HEAD and self._pieces:
            return (self._head + b"".join(self._pieces))[:HEAD]
        return self._head

    def add(self, piece: Piece) -> None:
        """The next bytes."""
        if self.cut:
            return
        size = len(piece)
        self.size += size
        if self._held + size > _HELD or self._store.held + size > _ALL_HELD:
            self._pieces.append(piece)
            self._write()
        else:
            self._pieces.append(bytes(piece))  # it is valid during the call only
            self._held += size
            self._store.held += size

    def hole(self, size: int) -> None:
        """The next ``size`` bytes are missing."""
        self._holes += size
        self.cut = self.cut or self._holes > self._store.limits.hole_bytes
        if self.cut:
            return
        self._write()
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
        self._store.folder.discard(file)

    def abandon(self) -> None:
        """Remove what there is of the files."""
        self._forget()
        for file in self.files:
            self._store.folder.discard(file)

    def _store_whole(self, time: int) -> None:
        """Nothing was written yet: one call for each file, and for each digest."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._head = bytes(data[:HEAD])
        self.runs.append((0, self.size))
        for file in self.files:
            self._store.folder.store(file, data, time)
        for name in self._wanted:
            self.digests[name] = _MAKERS[name](data).hexdigest()
        self._forget()

    def _complete(self, time: int) -> None:
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

    def _write(self) -> None:
        """All that is in ``_pieces``, whether it is held or only shown."""
        size = self.size - self._at
        if not size:
            return
        self._head = self.head
        for file in self.files:
            self._store.folder.write(file, self._pieces, size, self._at)
        self._hash_hole()
        for piece in self._pieces:
            self._hash(piece)
        if self.runs and sum(self.runs[-1]) == self._at:
            self.runs[-1] = (self.runs[-1][0], self.runs[-1][1] + size)
        else:
            self.runs.append((self._at, size))
        self._at += size
        self._forget()

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
        self._store.held -= self._held
        self._held = 0
        self._pieces = []
