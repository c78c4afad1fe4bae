"""The packet map: which packet brought which bytes of which file. One line for each stored piece of payload.

Knows: the fragments of the map, how they merge, what a line says.
Does not know: files, names, who calls.
Invariant: a fragment has its index under its final name only when all of it is written; the map appears
under its name only when it is whole, and does not depend on how pieces were spread over fragments,
messages and batches.

A fragment is three files: ``NAME`` (rows, as they came), ``NAME.index`` (which of them are of which
batch) and ``NAME.shifts`` (by how much the file offsets of a stream differ from its offsets). Batches
follow one another in packet numbers, so sorting each by itself is enough, and memory holds one batch, the
index (24 bytes a message) and the shifts (16 bytes a stream that has one).
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InternalError
from pipeline.report.placing import create, output_error, place, remove, write_all, written
from workers.contract import I64, INPUT_SHIFT, OFFSET_MASK, U64, Data

HEADER: Final = b"packet\tconnection\tdirection\tfile_offset\tlength\ttime\timage\timg_offset\n"
"""The first line. ``file_offset`` counts from the first byte of the stream's first file; a further one,
``NAME@N``, begins at N. ``time`` is seconds.nanoseconds since 1970-01-01. ``image`` is the number of the
input, from 0, and ``img_offset`` the place in it of the piece's first byte, after decompression."""

PIECE: Final = np.dtype(
    [("packet", "u8"), ("stream", "u8"), ("offset", "i8"), ("start", "u8"), ("time", "i8"), ("size", "u4")]
)
"""One piece, with the units of workers.contract.Data; ``start`` is an address."""

ENTRY: Final = np.dtype([("batch", "u8"), ("place", "u8"), ("rows", "u8")])
"""Rows that came together: their batch (END_OF_INPUT is 2**64 - 1, the last), the first row, how many."""

SHIFT: Final = np.dtype([("stream", "u8"), ("by", "i8")])

_BUFFER: Final = 1 << 20  # bytes of rows gathered before they are written
_MASK: Final = (1 << 64) - 1
_SECOND: Final = np.uint64(1_000_000_000)
_LINE: Final = b"%d\t%d\t%d\t%d\t%d\t%b%d.%09d\t%d\t%d\n"
_LINES: Final = 16_384  # made into text at a time
_NO_SHIFTS: Final = np.empty(0, SHIFT)


def map_fragment(fragment: Path) -> Path:
    """Where the rows of the writer lie whose rows of the report are in ``fragment``."""
    return fragment.with_name(fragment.name + ".map")


class MapFragment:
    """One writer's pieces. ``close`` at a good end, ``abandon`` at a bad one."""

    def __init__(self, path: Path) -> None:
        """Makes the three files as ``.part``; OutputError when they exist or cannot be made."""
        self._open: list[int] = []
        self._waiting: list[bytes] = []
        self._held = 0  # bytes waiting
        self._begin(path)

    def _begin(self, path: Path) -> None:
        self._path = path
        self._made: list[Path] = []
        self._rows = 0
        self._entries = array("Q")
        self._shifts = array("Q")
        try:
            for final in _files(path):
                made = final.with_name(final.name + ".part")
                self._open.append(create(made))
                self._made.append(made)
        except BaseException:
            self.abandon()
            raise

    def add(self, batch: int, data: Data) -> None:
        """Appends the pieces of a table of this batch (0 or more, or END_OF_INPUT). OutputError."""
        count = len(data.stream)
        if not count:
            return
        rows = np.empty(count, PIECE)
        for name in PIECE.fields or ():
            rows[name] = getattr(data, name)
        self._entries.extend((batch & _MASK, self._rows, count))
        self._rows += count
        self._waiting.append(rows.tobytes())
        self._held += rows.nbytes
        if self._held >= _BUFFER:
            self._flush()

    def shift(self, stream: int, by: int) -> None:
        """What has ``offset`` in the stream lies at ``offset + by`` in its file. Once a stream; unsaid: 0."""
        if by:
            self._shifts.extend((stream, by & _MASK))

    def turn(self, path: Path) -> None:
        """Closes the fragment and begins another one, for which shifts are said anew. OutputError."""
        self.close()
        self._begin(path)

    def close(self) -> None:
        """Writes what waits and gives the files their final names, the index last. OutputError."""
        self._flush()
        try:
            for descriptor, words in zip(self._open[1:], (self._shifts, self._entries), strict=True):
                write_all(descriptor, [memoryview(words).cast("B")] if words else [])
            self._close_files()
        except OSError as error:
            raise output_error("write", self._path, error) from error
        for made, final in zip(self._made, _files(self._path), strict=True):
            place(made, final)

    def abandon(self) -> None:
        """Removes the unfinished files; never raises."""
        with suppress(OSError):
            self._close_files()
        for made in self._made:
            remove(made)

    def _flush(self) -> None:
        try:
            write_all(self._open[0], [b"".join(self._waiting)])
        except OSError as error:
            raise output_error("write", self._path, error) from error
        self._waiting.clear()
        self._held = 0

    def _close_files(self) -> None:
        while self._open:
            os.close(self._open.pop())


def merge_maps(fragments: Sequence[Path], out: Path) -> int:
    """Makes the map ``out`` of closed fragments, by packet, then offset; returns how many pieces it has.

    A plain file of that name is replaced at the end, and stays as it was on failure.
    Raises OutputError (disk full, permission, ``out`` is a link or a device), InternalError for fragments.
    """
    index = _read_index(fragments)
    shifts = _read_shifts(fragments)
    with written(out) as descriptor:
        write_all(descriptor, [HEADER])
        for rows in _batches(fragments, index):
            _write_rows(descriptor, _in_order(rows), shifts)
    return int(index.entries["rows"].sum())


def _write_rows(descriptor: int, rows: NDArray[np.void], shifts: NDArray[np.void]) -> None:
    for at in range(0, len(rows), _LINES):
        some = rows[at : at + _LINES]
        write_all(descriptor, [lines(some, shifted(some["stream"], some["offset"], shifts))])


def lines(rows: NDArray[np.void], file_offset: I64) -> bytes:
    """The lines of pieces (n,), in their order. 0.8 us a line."""
    time = np.abs(rows["time"]).view(np.uint64)  # right for -2**63 too
    columns: tuple[NDArray[np.generic], ...] = (
        rows["packet"],
        rows["stream"] >> np.uint64(1),
        rows["stream"] & np.uint64(1),
        file_offset,
        rows["size"],
        np.where(rows["time"] < 0, b"-", b""),
        time // _SECOND,
        time % _SECOND,
        rows["start"] >> np.uint64(INPUT_SHIFT),
        rows["start"] & np.uint64(OFFSET_MASK),
    )
    return b"".join(map(_LINE.__mod__, zip(*(column.tolist() for column in columns), strict=True)))


def shifted(stream: U64, offset: I64, shifts: NDArray[np.void]) -> I64:
    """File offsets (n,) of pieces; ``shifts`` rise by stream."""
    if not len(shifts):
        return offset
    place = np.minimum(np.searchsorted(shifts["stream"], stream), len(shifts) - 1)
    found: I64 = offset + np.where(shifts["stream"][place] == stream, shifts["by"][place], 0)
    return found


def _in_order(rows: NDArray[np.void]) -> NDArray[np.void]:
    """A batch's pieces by packet, then offset. Few packets have several, so the second key is a rare need."""
    packet = rows["packet"].copy()  # sorting by a strided column costs more
    order = np.argsort(packet)
    packet = packet[order]
    if (packet[1:] == packet[:-1]).any():
        order = np.lexsort((rows["offset"], rows["packet"]))
    return rows[order]


class _Index(NamedTuple):
    """The entries of all fragments, by batch. Equal length."""

    entries: NDArray[np.void]  # ENTRY
    fragment: I64  # number of the fragment


def _files(fragment: Path) -> list[Path]:
    """Rows, shifts, index: in the order in which they get their names."""
    return [fragment, fragment.with_name(fragment.name + ".shifts"), fragment.with_name(fragment.name + ".index")]


def _batches(fragments: Sequence[Path], index: _Index) -> Iterator[NDArray[np.void]]:
    """The pieces of each batch, batches rising."""
    entries, numbers = index
    if not len(entries):
        return
    turns = np.flatnonzero(entries["batch"][1:] != entries["batch"][:-1]) + 1
    views = [np.memmap(path, PIECE, "r") if path.stat().st_size else np.empty(0, PIECE) for path in fragments]
    for begin, end in zip([0, *turns.tolist()], [*turns.tolist(), len(entries)], strict=True):
        columns = (numbers[begin:end], entries["place"][begin:end], entries["rows"][begin:end])
        yield np.concatenate([views[f][at : at + n] for f, at, n in zip(*map(np.ndarray.tolist, columns), strict=True)])


def _read_index(fragments: Sequence[Path]) -> _Index:
    """All entries by batch; InternalError for a fragment that is missing or not what its index says."""
    tables = []
    for fragment in fragments:
        rows, _, index = _files(fragment)
        table = _table(index, ENTRY)
        ends = np.cumsum(table["rows"])
        if _size(rows) != int(table["rows"].sum()) * PIECE.itemsize or (ends - table["rows"] != table["place"]).any():
            raise InternalError(f"{fragment} of the packet map is not what its index says")
        tables.append(table)
    entries = np.concatenate(tables or [np.empty(0, ENTRY)])
    numbers = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    order = np.argsort(entries["batch"], kind="stable")
    return _Index(entries[order], numbers[order])


def _read_shifts(fragments: Sequence[Path]) -> NDArray[np.void]:
    """All shifts by stream."""
    table = np.concatenate([_NO_SHIFTS, *(_table(_files(fragment)[1], SHIFT) for fragment in fragments)])
    table = table[np.argsort(table["stream"], kind="stable")]
    twice = np.flatnonzero(table["stream"][1:] == table["stream"][:-1])
    if len(twice):
        raise InternalError(f"stream {table['stream'][twice[0]]} was shifted twice in the packet map")
    return table


def _table(path: Path, kind: np.dtype[np.void]) -> NDArray[np.void]:
    """A whole file of rows."""
    if _size(path) % kind.itemsize:
        raise InternalError(f"{path} of the packet map is cut")
    return np.fromfile(path, kind)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InternalError(f"{path} of the packet map is not there: {error.strerror}") from error
