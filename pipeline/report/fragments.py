"""A fragment: the rows of one writer, in the order in which they were made, with an index of them.

Knows: the two files, ``NAME`` (the rows, one behind the other) and ``NAME.index``.
Does not know: what a row says, or the order that the report wants.
Invariant: a fragment has its index under its final name only when all of it is written, so what a
process left half done cannot be merged. Rows that a full disk does not take wait in memory, and are
written when it takes them; space for as many as are known to come is taken ahead (reserve.py).

A stream has its own row, serial 0, and one for each file that was derived from it, serials 1, 2, 3. These
are made while the stream goes on, so they may have to be taken back: an entry of the index with the serial
VOID says that all of the stream's derived rows in front of it do not count.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.report.placing import output_error, place, remove
from pipeline.report.reserve import ahead, make

INDEX: Final = np.dtype(
    [("stream", "<u8"), ("offset", "<u8"), ("length", "<u8"), ("name", "<u8"), ("serial", "<u4")]
)  # fmt: skip
"""One row: its stream's id, where it lies in the rows, bytes; the ``name_key`` of the plain name that the
stream would like to have, 0 when the names in the row are final; and its serial within the stream."""

MARKED: Final = 1
"""In the place of a name_key: a derived row whose name waits for that of its stream."""

VOID: Final = 0xFFFF_FFFF
"""A serial that no row has."""

_BUFFER = 1 << 20  # rows gathered before they are written: a system call a MiB is no longer seen


_ROW: Final = 1536
"""Bytes that a row takes, and some more: 1,000 with times, MAC addresses and the like, 1,300 with a conflict."""

_AHEAD: Final = 512 << 10
"""Bytes for which space is taken at a time: those of two writers are the 1 MiB that a run begins with."""

_AGAIN: Final = 64 << 10
"""... it is asked for again when so many more are wanted."""

_MOST_HELD: Final = 256 << 20
"""Bytes that wait in memory when the disk takes none: the rows of 200,000 streams."""

_BUNCH: Final = 512  # rows of derived files made together: of few, each takes three times as long


class Derived(Protocol):
    """What a derived row is made of."""

    @property
    def stream(self) -> int: ...

    @property
    def serial(self) -> int: ...


Make: TypeAlias = Callable[[list[Any]], tuple[Sequence[bytes], Sequence[int]]]
"""Rows of derived files, and their names as ``FragmentWriter.add`` has them."""


def files_made(fragment: Path) -> tuple[Path, Path]:
    """What a fragment's files are called until they are complete."""
    made = fragment.with_name(fragment.name + ".part")
    return made, index_path(made)


def index_path(fragment: Path) -> Path:
    """Where the index of a fragment lies."""
    return fragment.with_name(fragment.name + ".index")


def name_key(name: str) -> int:
    """64 bits that stand for a name, never 0. A collision costs a stream no more than its plain name."""
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class FragmentWriter:
    """Appends rows as streams end. After an OutputError only ``abandon`` is of use, but see ``add``.

    With ``with``: ``close`` at a good end, ``abandon`` at a bad one.
    """

    def __init__(self, path: Path) -> None:
        """Makes ``path`` + ``.part`` and its index; OutputError when they exist or cannot be made."""
        self._rows: list[bytes] = []
        self._columns: dict[str, list[int]] = {"stream": [], "length": [], "name": [], "serial": []}
        self._waiting = 0  # bytes of rows not yet written
        self._later: list[Derived] = []  # rows that are not made yet
        self._make: Make | None = None
        self._begin(path)

    def _begin(self, path: Path) -> None:
        self._path = path
        self._made, self._index_made = files_made(path)
        self._end = 0  # of the rows that are counted
        self._backlogs: tuple[_Backlog, ...] = ()
        self._file = make(self._made)
        try:
            self._index = make(self._index_made)
        except BaseException:
            os.close(self._file)
            remove(self._made)
            raise
        self._open = [self._file, self._index]
        try:
            self._backlogs = _Backlog(self._file), _Backlog(self._index)
        except OSError as error:
            raise output_error("look at", self._made, error) from error

    def reserve(self, rows: int) -> None:
        """So many more rows will come: take space for them, if there is any."""
        rows += len(self._later) + len(self._columns["stream"])
        for backlog, size in zip(self._backlogs, (_ROW, INDEX.itemsize), strict=True):
            backlog.reserve(rows * size)

    def add(
        self,
        streams: Sequence[int],
        rows: Sequence[bytes],
        names: Sequence[int] | None = None,
        serials: Sequence[int] | None = None,
    ) -> None:
        """Appends a row of each stream. ``names`` are name_keys; without them all names are final.

        OutputError: so many wait that there is no memory for them, and the disk does not take them.
        A row made with a suffix must have one, MARKED if its serial is not 0: merge looks for marks in such
        rows only. Without ``serials`` all rows are their streams' own.
        """
        columns, count = self._columns, len(rows)
        lengths = list(map(len, rows))
        columns["stream"].extend(streams)
        columns["length"].extend(lengths)
        columns["name"].extend(names if names is not None else repeat(0, count))
        columns["serial"].extend(serials if serials is not None else repeat(0, count))
        self._hold(rows, sum(lengths))

    def add_made(self, streams: Sequence[int], rows: bytes, lengths: Sequence[int]) -> None:
        """As ``add`` of final names, the rows one behind the other."""
        count = len(streams)
        self._columns["stream"].extend(streams)
        self._columns["length"].extend(lengths)
        self._columns["name"].extend(repeat(0, count))
        self._columns["serial"].extend(repeat(0, count))
        self._hold([rows], len(rows))

    def _hold(self, rows: Sequence[bytes], size: int) -> None:
        self._rows.extend(rows)
        self._waiting += size
        self._backlogs[0].reserve(self._waiting)
        if self._waiting >= _BUFFER:
            self._flush()

    @property
    def behind(self) -> bool:
        """Rows wait in memory, since the disk does not take them."""
        rows, index = self._backlogs  # asked for each file that was derived
        return bool(rows.waiting or index.waiting)

    def add_later(self, records: Sequence[Derived], make: Make) -> None:
        """Appends rows of derived files that are made of these records, when there are so many that it is cheap, by
        the first ``make`` that was given: rows and names, one each. The records are the writer's from now on."""
        self._make = self._make or make
        self._later.extend(records)
        if len(self._later) >= _BUNCH:
            self._make_rows()

    def void(self, stream: int) -> None:
        """The derived rows of the stream that were added so far do not count; others may take their serials."""
        self._later = [record for record in self._later if record.stream != stream]
        for name, value in (("stream", stream), ("length", 0), ("name", 0), ("serial", VOID)):
            self._columns[name].append(value)
        self._waiting += INDEX.itemsize  # many of them are written, too

    def checkpoint(self) -> list[int] | None:
        """Writes what waits. The bytes of rows and the entries of the index that are on disk; None: the disk does not
        take them now. OutputError as of ``add``."""
        self._make_rows()
        self._flush()
        return None if self.behind else [self._end, self._backlogs[1].end_of_written // INDEX.itemsize]

    def turn(self, path: Path) -> None:
        """Closes the fragment and begins another one. OutputError."""
        self.close()
        self._begin(path)

    def close(self) -> None:
        """Writes what waits and gives both files their final names, the index last."""
        self._make_rows()
        self._flush()
        try:
            for backlog in self._backlogs:
                backlog.end()
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

    def _make_rows(self) -> None:
        records, self._later = self._later, []
        if records and self._make is not None:
            rows, names = self._make(records)
            self.add(
                [record.stream for record in records], rows, names, [record.serial for record in records]
            )  # fmt: skip

    def _flush(self) -> None:
        entries = np.zeros(len(self._columns["stream"]), INDEX)
        for name, values in self._columns.items():
            entries[name] = values
            values.clear()
        lengths = entries["length"]
        ends = np.cumsum(lengths) + np.uint64(self._end)
        entries["offset"] = ends - lengths
        rows, index = self._backlogs
        try:
            rows.add(b"".join(self._rows))
            index.add(entries.tobytes())
        except OSError as error:
            raise output_error("write", self._path, error) from error
        self._rows.clear()
        self._end = int(ends[-1]) if len(ends) else self._end
        self._waiting = 0

    def _close_files(self) -> None:
        while self._open:
            os.close(self._open.pop())


def finish_for(fragment: Path, rows: int, entries: int) -> None:
    """Makes the fragment of a process that is dead final, up to what its ``checkpoint`` gave. OutputError."""
    files = zip(files_made(fragment), (fragment, index_path(fragment)), (rows, entries * INDEX.itemsize), strict=True)
    for made, final, size in files:
        try:
            if os.stat(made, follow_symlinks=False).st_size < size:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            os.truncate(made, size)
        except OSError as error:
            raise output_error("read", made, error) from error
        place(made, final)


def leave_out(fragment: Path, streams: NDArray[np.uint64]) -> bool:
    """Makes void, in a fragment that is final, the derived rows of these streams; whether there are any.

    OutputError.
    """
    try:
        with index_path(fragment).open("r+b") as file:
            table = np.frombuffer(file.read(), INDEX)
            found = np.unique(table["stream"][np.isin(table["stream"], streams) & (table["serial"] > 0)])
            entries = np.zeros(len(found), INDEX)
            entries["stream"], entries["serial"] = found, VOID
            entries["offset"] = table["offset"][-1] + table["length"][-1] if len(table) else 0
            file.write(entries.tobytes())
    except OSError as error:
        raise output_error("write", fragment, error) from error
    return bool(len(found))


class _Backlog:
    """The end of a file that only grows: what could not be written yet, and space ahead."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.waiting: deque[bytes] = deque()
        """What could not be written yet."""
        self._held = 0  # bytes waiting
        self._end = 0  # of what is written
        self._taken = os.fstat(descriptor).st_size  # bytes of the file, zeros at its end
        self._next = 0  # take no more before so much is wanted

    def reserve(self, size: int) -> None:
        """Take space for so many bytes behind all there is, if that is easily had."""
        wanted = self._end + self._held + size
        if wanted > max(self._taken, self._next):
            least = wanted - self._taken
            self._taken += ahead(self._descriptor, self._taken, max(least, _AHEAD), least)
            self._next = wanted + _AGAIN

    @property
    def end_of_written(self) -> int:
        """Bytes that are written."""
        return self._end

    def add(self, data: bytes) -> None:
        """Write it behind all there is, now or later. OSError: later, and too much waits."""
        if data:
            self.waiting.append(data)
            self._held += len(data)
        try:
            self._write()
        except OSError:
            if self._held > _MOST_HELD:
                raise

    def _write(self) -> None:
        while self.waiting:
            data = memoryview(self.waiting[0])
            done = 0
            while done < len(data):
                done += os.pwrite(self._descriptor, data[done:], self._end + done)
            self._end += done
            self._held -= done
            self.waiting.popleft()

    def end(self) -> None:
        """Write what waits, and give back what is not needed. OSError."""
        self._write()
        if self._taken > self._end:
            os.ftruncate(self._descriptor, self._end)
