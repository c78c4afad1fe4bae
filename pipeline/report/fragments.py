"""A fragment: the rows of one writer, in the order in which its streams ended, with an index of them.

Knows: the two files, ``NAME`` (the rows, one behind the other) and ``NAME.index``.
Does not know: what a row says, or the order that the report wants.
Invariant: a fragment has its index under its final name only when all of it is written, so what a
process left half done cannot be merged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from pipeline.report.placing import create, output_error, place, remove, write_all

INDEX: Final = np.dtype([("stream", "<u8"), ("offset", "<u8"), ("length", "<u8"), ("name", "<u8")])
"""One row: its stream's id, where it lies in the rows, bytes; and the ``name_key`` of the plain name that
the stream would like to have, 0 when its name is final."""

_BUFFER = 1 << 20  # rows gathered before they are written: a system call a MiB is no longer seen


def index_path(fragment: Path) -> Path:
    """Where the index of a fragment lies."""
    return fragment.with_name(fragment.name + ".index")


def name_key(name: str) -> int:
    """64 bits that stand for a name, never 0. A collision costs a stream no more than its plain name."""
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class FragmentWriter:
    """Appends rows as streams end. After an OutputError only ``abandon`` is of use.

    With ``with``: ``close`` at a good end, ``abandon`` at a bad one.
    """

    def __init__(self, path: Path) -> None:
        """Makes ``path`` + ``.part`` and its index; OutputError when they exist or cannot be made."""
        self._path = path
        self._made = path.with_name(path.name + ".part")
        self._index_made = index_path(self._made)
        self._rows: list[bytes] = []
        self._entries: list[bytes] = []
        self._waiting = 0  # bytes of rows not yet written
        self._end = 0  # of all rows so far, bytes
        self._file = create(self._made)
        try:
            self._index = create(self._index_made)
        except BaseException:
            os.close(self._file)
            remove(self._made)
            raise
        self._open = [self._file, self._index]

    def add(self, streams: Sequence[int], rows: Sequence[bytes], names: Sequence[int] | None = None) -> None:
        """Appends a row of each stream. ``names`` are name_keys; without them all names are final.

        A row made with a suffix must have one: merge looks for marks in such rows only.
        """
        if not rows:
            return
        lengths = np.fromiter(map(len, rows), np.uint64, len(rows))
        ends = np.cumsum(lengths) + np.uint64(self._end)
        entries = np.zeros(len(rows), INDEX)
        entries["stream"] = streams
        entries["offset"] = ends - lengths
        entries["length"] = lengths
        if names is not None:
            entries["name"] = names
        self._entries.append(entries.tobytes())
        self._rows.extend(rows)
        self._waiting += int(ends[-1]) - self._end
        self._end = int(ends[-1])
        if self._waiting >= _BUFFER:
            self._flush()

    def close(self) -> None:
        """Writes what waits and gives both files their final names, the index last."""
        self._flush()
        try:
            self._close_files()
        except OSError as error:  # a file system that writes late may say only now that it is full
            raise output_error("write", self._path, error) from error
        place(self._made, self._path)
        place(self._index_made, index_path(self._path))

    def abandon(self) -> None:
        """Removes the unfinished files; never raises."""
        with suppress(OSError):
            self._close_files()
        remove(self._made)
        remove(self._index_made)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abandon()
            return
        try:
            self.close()
        except BaseException:
            self.abandon()
            raise

    def _flush(self) -> None:
        try:
            write_all(self._file, [b"".join(self._rows)])
            write_all(self._index, [b"".join(self._entries)])
        except OSError as error:
            raise output_error("write", self._path, error) from error
        self._rows.clear()
        self._entries.clear()
        self._waiting = 0

    def _close_files(self) -> None:
        while self._open:
            os.close(self._open.pop())
