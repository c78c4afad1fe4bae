"""Fragments into one report, rows in the order of stream ids, each stream's own row before its derived ones.

Knows: indexes, mapped fragments, which stream gets a name that several would like.
Does not know: what rows, head and tail say.
Invariant: the report appears under its name only when it is whole, and of each stream every serial stands
in it once. Memory holds the index (under 100 bytes a row); rows go from the page cache to the report without passing
through here, but for those whose name is settled.

Names. With a coarse ``-F`` several streams would like one name. Each is written as ``NAME~ID``, and at
the end the lowest stream of each name gets ``NAME``: ``plain_streams`` says which, the caller renames
the files, and ``merge`` makes the rows agree, those of the stream's derived files with it.
"""

import errno
import gc
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InternalError, OutputError
from pipeline.report.fragments import INDEX, VOID, index_path
from pipeline.report.placing import output_error, remove, write_all, written
from pipeline.report.rows import settle_name
from workers.contract import U16, U32, U64, Bools

Settle: TypeAlias = Callable[[bytes, bool], bytes]
"""Makes the names in a row final: the row, and whether the names of its stream are plain."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PIECES = 1024  # of one writev: IOV_MAX on Linux
_COPIED = 1 << 18  # bytes of rows held at a time because their names are settled


class Index(NamedTuple):
    """The rows of all fragments by stream and serial. Columns of equal length n."""

    stream: U64  # rising
    serial: U32  # rising within a stream, each once
    fragment: U16  # number of the fragment
    offset: U64  # where the row lies in it
    length: U64  # bytes
    name: U64  # 0: the name is final


def first_of_each(names: U64, streams: U64) -> Bools:
    """Which rows (n,) have the lowest stream of their name; False where the name is 0."""
    order = np.lexsort((streams, names))
    ordered = names[order]
    found = np.empty(len(names), np.bool_)
    found[order[:1]] = True
    found[order[1:]] = ordered[1:] != ordered[:-1]
    found[names == 0] = False
    return found


def read_index(fragments: Sequence[Path]) -> Index:
    """The indexes of all fragments, together, without what is void. InternalError for one missing or unsound."""
    counts = [_rows_in(fragment) for fragment in fragments]
    table = np.empty(sum(counts), INDEX)
    owners = np.empty(len(table), np.uint16)
    at = 0
    for number, (path, count) in enumerate(zip(fragments, counts, strict=True)):
        end = at + _read(path, table[at : at + count])
        owners[at:end] = number
        at = end
    table = table[:at]
    order = _order(table)
    columns = {name: table[name][order] for name in INDEX.names or ()}  # each in one piece, which is faster below
    stream, serial = columns["stream"], columns["serial"]
    twice = np.flatnonzero((stream[1:] == stream[:-1]) & (serial[1:] == serial[:-1]))
    if len(twice):
        raise InternalError(f"stream {stream[twice[0]]} has two rows {serial[twice[0]]} in the report's fragments")
    return Index(fragment=owners[:at][order], **columns)


def _order(table: NDArray[np.void]) -> NDArray[np.intp]:
    """The rows by stream, and by serial where there are any."""
    serial = table["serial"]
    if serial.any():
        return np.lexsort((serial, table["stream"]))
    return np.argsort(table["stream"], kind="stable")


def plain_streams(index: Index) -> U64:
    """The streams, rising, whose provisional names lose their suffix."""
    wanted = np.where(index.serial == 0, index.name, np.uint64(0))
    return index.stream[first_of_each(wanted, index.stream)]


def merge(
    fragments: Sequence[Path],
    out: Path,
    head: bytes,
    tail: bytes,
    plain: U64 | None = None,
    settle: Settle = settle_name,
) -> int:
    """Makes the report ``out`` and returns how many rows it has.

    A plain file of that name is replaced at the end, and stays as it was on failure; whether it may be
    replaced is for the caller to say. Where the disk is full the fragments go first. ``plain`` are the
    streams whose files have their plain names; None:
    as ``plain_streams`` says.
    Raises OutputError (disk full, permission, ``out`` is a link or a device), InternalError for fragments.
    """
    index = read_index(fragments)
    chosen = plain_streams(index) if plain is None else plain
    try:
        with written(out) as descriptor:
            write_rows(descriptor, fragments, index, chosen, head, tail, settle)
        return len(index.stream)
    except OutputError as error:
        if error.number not in _FULL:
            raise
    views = _taken_in(fragments)  # out here, where no traceback keeps them mapped, and so their space in use
    with written(out) as descriptor:
        _write_rows(descriptor, views, index, chosen, head, tail, settle)
    return len(index.stream)


def _taken_in(fragments: Sequence[Path]) -> list[memoryview]:
    """The rows of fragments, in memory: their space is needed for what is made of them. OutputError."""
    try:
        views = [memoryview(fragment.read_bytes()) for fragment in fragments]
    except OSError as error:
        raise output_error("read", fragments[0], error) from error
    for fragment in fragments:
        remove(fragment)
        remove(index_path(fragment))
    gc.collect()
    return views


def write_rows(
    descriptor: int,
    fragments: Sequence[Path],
    index: Index,
    plain: U64 | None,
    head: bytes,
    tail: bytes,
    settle: Settle = settle_name,
) -> None:
    """Head, rows and tail to an open file, or a pipe. Raises OSError."""
    chosen = plain_streams(index) if plain is None else plain
    _write_rows(descriptor, [_mapped(fragment) for fragment in fragments], index, chosen, head, tail, settle)


def _write_rows(
    descriptor: int, views: list[memoryview], index: Index, chosen: U64, head: bytes, tail: bytes, settle: Settle
) -> None:
    write_all(descriptor, [head])
    for pieces in _pieces(index, views, np.isin(index.stream, chosen), settle):
        write_all(descriptor, pieces)
    write_all(descriptor, [tail])


def _pieces(index: Index, views: list[memoryview], plain: Bools, settle: Settle) -> Iterator[list[bytes | memoryview]]:
    """The rows in order, up to 1,024 pieces at a time; neighbours in one fragment are one piece."""
    first, last = _stretches(index)
    stops = index.offset + index.length
    for at in range(0, len(first), _PIECES):
        begin, end = first[at : at + _PIECES], last[at : at + _PIECES]
        named = index.name[begin] != 0
        columns = (index.fragment[begin], index.offset[begin], stops[end], named, plain[begin])
        rows = zip(*(column.tolist() for column in columns), strict=True)
        pieces: list[bytes | memoryview] = []
        copied = 0
        for fragment, start, stop, provisional, drop in rows:
            piece = views[fragment][start:stop]
            if provisional:
                copied += len(piece)
                pieces.append(settle(bytes(piece), drop))
            else:
                pieces.append(piece)
            if copied >= _COPIED:
                yield pieces
                pieces, copied = [], 0
        yield pieces


def _stretches(index: Index) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last row of each stretch of rows that lie one behind the other and need no change."""
    behind = (index.offset + index.length)[:-1]
    changed = index.name != 0
    apart = (index.fragment[1:] != index.fragment[:-1]) | (index.offset[1:] != behind)
    apart |= changed[1:] | changed[:-1]
    rows = np.arange(len(index.stream))
    apart = np.concatenate((apart, np.ones(1, np.bool_)))[: len(rows)]  # a stretch ends with the last row
    return rows[np.roll(apart, 1)], rows[apart]


def _rows_in(fragment: Path) -> int:
    """How many rows a fragment has, by the size of its index."""
    try:
        size = index_path(fragment).stat().st_size
    except OSError as error:
        raise InternalError(f"the report's fragment {fragment} is not there: {error.strerror}") from error
    if size % INDEX.itemsize:
        raise InternalError(f"the index of the report's fragment {fragment} is cut")
    return size // INDEX.itemsize


def _read(fragment: Path, table: NDArray[np.void]) -> int:
    """One fragment's index into ``table``, every row of which lies inside the fragment; how many rows count.

    These stand at its beginning, in the order in which they were added.
    """
    try:
        with index_path(fragment).open("rb") as file:
            taken = file.readinto(table.view(np.uint8).data) if len(table) else 0
        size = np.uint64(fragment.stat().st_size)
    except OSError as error:
        raise InternalError(f"the report's fragment {fragment} is not there: {error.strerror}") from error
    short = (table["offset"] > size) | (table["length"] > size - np.minimum(table["offset"], size))
    if taken != table.nbytes or short.any():
        raise InternalError(f"the report's fragment {fragment} is shorter than its index says")
    voids = np.flatnonzero(table["serial"] == VOID)
    if not len(voids):
        return len(table)
    living = _living(table, voids)
    table[: len(living)] = table[living]
    return len(living)


def _living(table: NDArray[np.void], voids: NDArray[np.intp]) -> NDArray[np.intp]:
    """The rows of a fragment that no entry behind them makes void; ``voids`` (k,) are those entries."""
    stream, serial = table["stream"], table["serial"]
    streams, last = np.unique(stream[voids][::-1], return_index=True)  # the first from behind
    until = voids[::-1][last]
    place = np.minimum(np.searchsorted(streams, stream), len(streams) - 1)
    void = (streams[place] == stream) & (np.arange(len(table)) < until[place]) & (serial > 0)
    return np.flatnonzero(~void & (serial != VOID))


def _mapped(fragment: Path) -> memoryview:
    """The rows of a fragment, mapped; unmapped when nothing refers to them any more."""
    descriptor = os.open(fragment, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not os.fstat(descriptor).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
