"""What a writer has open, told to a file as it goes, so that its streams can be closed when it is dead.

Knows: which bytes of which stream are written, which rows of the report are on disk, and where each byte was captured.
Does not know: files of streams, who reads this (recovery/salvage.py).
Invariant: what is DONE is on disk; of what was about to be done when the writer died no more than one message of a
worker is there, and nothing is believed of it but that it was about to be done.

Only where a run goes on without a writer (stages/losses.py). The file lies beside the writer's fragment and begins with
a page of words that are mapped: the one that says how far the records are done is stored whole or not at all. Behind it
are records. What they say of streams whose rows are on disk is dropped whenever the file has doubled.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from pipeline.report.placing import output_error
from pipeline.writer.orphans import Counts
from workers.contract import INPUT_SHIFT, NO_EXTENTS, SHARDS, Closed, Data, EventBatch, Opened, Parts, Rebases
from workers.events import add_told, dtypes

SPAN: Final = np.dtype(
    [("stream", "<u8"), ("low", "<i8"), ("high", "<i8"), ("start", "<u8"), ("time", "<i8"), ("packets", "<i8")]
)
"""Bytes of a stream that were captured one behind the other: offsets, the address of the first one, the time of the
last packet (ns), how many packets they came in."""

COMPARED: Final = ("duplicate", "conflicting", "uncompared", "conflicts")
"""Counters that are known at every message, not just when rows are made final."""

_HEADER: Final = 8192
_DONE: Final = 0  # twice the end of what is done, and which of two places holds the counters of then
_USELESS: Final = -1
_COUNTERS: Final = 1
_COUNTS: Final = 16
_LEAST: Final = 8 << 20  # bytes of a file that is not worth being made shorter
_TOLD, _CHECKED, _MADE = 0, 1, 2
_NOBODY: Final = -1
_FILE: Final = np.dtype([("stream", "<u8"), ("device", "<u8"), ("inode", "<u8")])
_TABLES: Final = {"opened": Opened, "rebases": Rebases, "parts": Parts}


_MADE_ONE: Final = struct.Struct("<Q4s3Q")
"""A record of one file, for which msgpack and numpy would take three times as long: its size, what is in front, it."""
_MADE_HEAD: Final = msgpack.packb([_MADE, bytes(_FILE.itemsize)])[: -_FILE.itemsize]
_MADE_SIZE: Final = len(_MADE_HEAD) + _FILE.itemsize


def notes_of(fragment: Path) -> Path:
    """Where the notes of the writer are whose rows of the report are in ``fragment``."""
    return fragment.with_name(fragment.name + ".notes")


def begin(fragment: Path, workers: int, before: Path | None) -> Notes:
    """Of a new writer; ``before``: the fragment of the one whose place it takes. OutputError."""
    path = notes_of(fragment)
    try:
        notes = Notes(path, workers)
    except OSError as error:
        raise output_error("create", path, error) from error
    if before is not None:
        notes.inherit(notes_of(before))
    return notes


@dataclass(slots=True)
class Undone:
    """What was about to be done when the writer died; any share of it may be."""

    worker: int
    opened: Opened | None
    """Streams that had no file yet, for all that is known."""
    moved: set[int]
    """Streams whose files were about to be moved, or to be followed by another one."""
    spans: NDArray[np.void]


@dataclass(slots=True)
class Known:
    """What notes say. Tables are those of all streams that have no row on disk yet."""

    opened: Opened | None = None
    spans: NDArray[np.void] = field(default_factory=lambda: np.empty(0, SPAN))
    moves: list[tuple[int, str, int]] = field(default_factory=list)
    """In their order: streams whose origin moved (``rebases``), or of which a new file began (``parts``), and where."""
    files: dict[int, set[tuple[int, int]]] = field(default_factory=dict)
    """Of each stream, device and inode of its files."""
    undone: Undone | None = None
    told: dict[int, list[int]] = field(default_factory=dict)
    """By worker: bytes, overlapping bytes and streams that it told of, and all that was done."""
    counters: dict[str, int] = field(default_factory=dict)
    ends: dict[str, list[int]] = field(default_factory=dict)
    """Of each fragment the length of its rows, and how many there are; none: nothing is on disk for certain."""


class _File:
    """Records behind a page of words."""

    def __init__(self, path: Path, more: int = 0) -> None:
        """OSError: it cannot be made."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | more, 0o600)
        os.posix_fallocate(self._descriptor, 0, _HEADER)  # a page that the disk has no room for would end us
        self.words = memoryview(mmap.mmap(self._descriptor, _HEADER)).cast("q")
        self.end = _HEADER

    def append(self, data: bytes) -> None:
        """A record as it lies there, behind all others. OSError."""
        if os.pwrite(self._descriptor, data, self.end) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.end += len(data)

    def done(self, compared: Sequence[int] = ()) -> None:
        """All of it is; ``compared``: what the counters are now."""
        slot = self.words[_DONE] & 1
        if compared:
            slot ^= 1
            for i, count in enumerate(compared, _COUNTERS + slot * len(COMPARED)):
                self.words[i] = count
        self.words[_DONE] = self.end << 1 | slot

    def close(self) -> None:
        """Nothing more is written."""
        os.close(self._descriptor)


class Notes:
    """A writer's own. For each message ``about``, and ``done`` when it is; ``check`` when all rows are on disk.

    Where the disk has no room for them they are marked as useless, and no more are made.
    """

    def __init__(self, path: Path, workers: int) -> None:
        """OSError: the file cannot be made."""
        self._path = path
        self._told: dict[int, list[int]] = {}
        self._most = _LEAST
        self._file: _File | None = _File(path, os.O_EXCL)
        self.counts = Counts(*_views(self._file.words, workers))
        for place in range(len(self.counts.owner)):
            self.counts.owner[place] = place
        self._file.done()

    def inherit(self, path: Path) -> None:
        """Count connections on from where a dead writer was. Without its notes: anew."""
        if self._file is not None:
            with suppress(OSError, ValueError):
                found = memoryview(np.fromfile(path, np.int64, _HEADER // 8).tobytes()).cast("q")
                self._file.words[_COUNTS:] = found[_COUNTS:]

    def about(self, events: EventBatch, worker: int) -> None:
        """It is about to be done."""
        if self._file is None:
            return
        told = self._told.setdefault(worker, [0, 0, 0])
        add_told(told, events)
        tables = {name: _packed(table) for name in _TABLES if (table := getattr(events, name)) is not None}
        spans = b"" if events.data is None else joined(events.data).tobytes()
        closed = b"" if events.closed is None else events.closed.stream.tobytes()
        self._add([_TOLD, {worker: told}, tables, spans, closed])

    def closing(self, closed: Closed) -> None:
        """Streams are about to be closed, though no worker says so."""
        self.about(EventBatch(0, NO_EXTENTS, closed=closed), _NOBODY)

    def made(self, stream: int, device: int, inode: int) -> None:
        """A file of a stream was made."""
        self._append(_MADE_ONE.pack(_MADE_SIZE, _MADE_HEAD, stream, device, inode))

    def done(self, counters: Mapping[str, int]) -> None:
        """What it was about to do is on disk."""
        if self._file is not None:
            self._file.done([counters[name] for name in COMPARED])

    def check(self, ends: dict[str, list[int]], counters: Mapping[str, int]) -> None:
        """All streams that were closed have their rows on disk, up to these ``ends``; ``counters``: of now."""
        self._add([_CHECKED, ends, dict(counters)])
        if self._file is not None:
            self._file.done()
            if self._file.end > self._most:
                self._shorten(self._file)

    def _add(self, record: list[Any]) -> None:
        if self._file is not None:
            self._append(_packed_record(record))

    def _append(self, data: bytes) -> None:
        if self._file is not None:
            try:
                self._file.append(data)
            except OSError:
                self._file.words[_DONE] = _USELESS
                self._file.close()
                self._file = None

    def _shorten(self, old: _File) -> None:
        """Make the file anew, without what nobody needs any more; where that cannot be done it stays."""
        self._most = 2 * old.end
        with suppress(OSError, ValueError):
            known = read(self._path)
            new = _File(self._path.with_name(self._path.name + ".new"), os.O_TRUNC)
            try:
                new.words[_COUNTS:] = old.words[_COUNTS:]
                for record in _records(known):
                    new.append(_packed_record(record))
                new.done([known.counters[name] for name in COMPARED])
                os.rename(new.path, self._path)
            except OSError:
                new.close()
                raise
            self.counts.next, self.counts.owner, self.counts.base = _views(new.words, len(self.counts.next))
            self._file = new
            old.close()
            self._most = max(_LEAST, 2 * new.end)


def _records(known: Known) -> Iterator[list[Any]]:
    """What is known, as it is noted."""
    opened = {} if known.opened is None else {"opened": _packed(known.opened)}
    yield [_TOLD, known.told, opened, known.spans.tobytes(), b"", known.moves]
    made = [(stream, *each) for stream, files in known.files.items() for each in files]
    yield [_MADE, np.array(made, _FILE).tobytes()]
    yield [_CHECKED, known.ends, known.counters]


def _packed_record(record: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(record)
    return len(packed).to_bytes(8, "little") + packed


def joined(data: Data) -> NDArray[np.void]:
    """Pieces as SPANs: neighbours in the table that go on in their stream, and in one input, are one."""
    stream, offset = data.stream, data.offset
    end = offset + data.size.astype(np.int64)
    source = data.start >> np.uint64(INPUT_SHIFT)
    goes_on = (stream[1:] == stream[:-1]) & (offset[1:] == end[:-1]) & (source[1:] == source[:-1])
    begin = np.flatnonzero(np.concatenate(([True], ~goes_on)))
    stop = np.append(begin[1:], len(stream)) - 1
    spans = np.empty(len(begin), SPAN)
    columns = (stream[begin], offset[begin], end[stop], data.start[begin], data.time[stop], stop - begin + 1)
    for name, column in zip(SPAN.names or (), columns, strict=True):
        spans[name] = column
    return spans


def merged(spans: NDArray[np.void]) -> NDArray[np.void]:
    """The same, in the order of streams and offsets, as few as there can be."""
    spans = spans[np.lexsort((spans["low"], spans["stream"]))]
    if not len(spans):
        return spans
    source = spans["start"] >> np.uint64(INPUT_SHIFT)
    goes_on = (spans["stream"][1:] == spans["stream"][:-1]) & (spans["low"][1:] == spans["high"][:-1])
    goes_on &= source[1:] == source[:-1]
    begin = np.flatnonzero(np.concatenate(([True], ~goes_on)))
    found = spans[begin].copy()
    found["high"] = spans["high"][np.append(begin[1:], len(spans)) - 1]
    found["time"] = np.maximum.reduceat(spans["time"], begin)
    found["packets"] = np.add.reduceat(spans["packets"], begin)
    return found


def read(path: Path) -> Known:
    """What notes say; of a writer that died before it had done anything: nothing.

    OSError; ValueError: they are useless."""
    try:
        return _read(path.read_bytes())
    except (TypeError, KeyError, IndexError, AttributeError, OverflowError, msgpack.UnpackException) as problem:
        raise ValueError(f"malformed notes: {problem}") from problem


def _read(text: bytes) -> Known:
    if len(text) < _HEADER:
        return Known()
    head = np.frombuffer(text[:_HEADER], "<i8")
    if head[_DONE] == _USELESS:
        raise ValueError("there was no room for notes of it")
    end, slot = int(head[_DONE]) >> 1, int(head[_DONE]) & 1
    known, reading = Known(), _Reading()
    at = _HEADER
    while at + 8 <= len(text):
        begin = at + 8
        at = begin + int.from_bytes(text[begin - 8 : begin], "little")
        if at > len(text) or (begin > end and at == begin):
            break
        reading.take(known, msgpack.unpackb(text[begin:at], strict_map_key=False), done=at <= end)
    reading.finish(known)
    compared = head[_COUNTERS + slot * len(COMPARED) :][: len(COMPARED)].tolist()
    known.counters |= dict(zip(COMPARED, compared, strict=True))
    return known


class _Reading:
    """Records, one after the other."""

    def __init__(self) -> None:
        self._opened: list[Opened] = []
        self._spans: list[NDArray[np.void]] = []
        self._closed: list[NDArray[np.uint64]] = []
        self._final = 0  # of these: their rows are on disk

    def take(self, known: Known, record: Sequence[Any], *, done: bool) -> None:
        """One of them; ``done``: and what it says."""
        if record[0] == _MADE:  # which is done as soon as it is said
            for stream, device, inode in np.frombuffer(record[1], _FILE).tolist():
                known.files.setdefault(stream, set()).add((device, inode))
        elif record[0] == _TOLD and not done:
            known.undone = _undone(record)
        elif record[0] == _TOLD:
            self._told(known, *record[1:])
        elif done:
            known.ends, known.counters = record[1], record[2]
            self._final = len(self._closed)

    def _told(
        self, known: Known, told: dict[int, Sequence[int]], tables: dict[str, Any], spans: bytes, closed: bytes,
        *moves: Iterable[Sequence[Any]],
    ) -> None:  # fmt: skip
        known.told |= {worker: list(counts) for worker, counts in told.items()}
        if "opened" in tables:
            self._opened.append(_unpacked(Opened, tables["opened"]))
        for name in ("rebases", "parts"):
            if name in tables:
                table = _unpacked(_TABLES[name], tables[name])
                known.moves += zip(table[0].tolist(), [name] * len(table[0]), table[2].tolist(), strict=True)
        for stream, name, at in (move for each in moves for move in each):
            known.moves.append((stream, name, at))
        self._spans.append(np.frombuffer(spans, SPAN))
        self._closed.append(np.frombuffer(closed, "<u8"))

    def finish(self, known: Known) -> None:
        """All were taken. Of streams that were about to begin those have, and nothing more, that have a file."""
        if (undone := known.undone) is not None and undone.opened is not None:
            begun = np.array([stream in known.files for stream in undone.opened.stream.tolist()], np.bool_)
            self._opened.append(_some(undone.opened, begun))
            known.told.setdefault(undone.worker, [0, 0, 0])[2] += int(begun.sum())
            undone.opened = _some(undone.opened, ~begun)
        gone = np.unique(np.concatenate([np.empty(0, "<u8"), *self._closed[: self._final]]))
        spans = np.concatenate([np.empty(0, SPAN), *self._spans])
        known.spans = merged(spans[~np.isin(spans["stream"], gone)])
        known.moves = [move for move in known.moves if not _has(gone, move[0])]
        known.files = {stream: files for stream, files in known.files.items() if not _has(gone, stream)}
        if self._opened:
            columns = [np.concatenate(column) for column in zip(*self._opened, strict=True)]
            left = ~np.isin(columns[0], gone)
            if left.any():
                known.opened = _some(Opened(*columns), left)


def _undone(record: Sequence[Any]) -> Undone:
    _, told, tables, spans, *_ = record
    moved = [_unpacked(_TABLES[name], tables[name])[0].tolist() for name in ("rebases", "parts") if name in tables]
    opened = _unpacked(Opened, tables["opened"]) if "opened" in tables else None
    [worker] = told
    return Undone(worker, opened, {stream for each in moved for stream in each}, np.frombuffer(spans, SPAN))


def _some(table: Any, rows: NDArray[np.bool_]) -> Any:
    return type(table)(*(column[rows] for column in table))


def _has(rising: NDArray[np.uint64], value: int) -> bool:
    at = int(np.searchsorted(rising, np.uint64(value)))
    return at < len(rising) and int(rising[at]) == value


def _packed(table: Iterable[NDArray[Any]]) -> list[bytes]:
    return [np.ascontiguousarray(column).tobytes() for column in table]


def _unpacked(kind: Any, columns: Sequence[bytes]) -> Any:
    found: list[NDArray[Any]] = []
    for (name, dtype), column in zip(dtypes(kind).items(), columns, strict=True):
        values = np.frombuffer(column, dtype)
        found.append(values.reshape(len(found[0]), -1) if name == "key" else values)
    if len(set(map(len, found))) != 1:
        raise ValueError("columns of different lengths")
    return kind(*found)


def _views(words: Any, workers: int) -> list[Any]:
    return [words[_COUNTS + i * SHARDS :][: min(workers, SHARDS)] for i in range(3)]
