"""Events in, files and rows of the report out: the writer/analyzer stage.

Knows: the order in which events apply, when bytes are hashed, what a finished stream's row says.
Does not know: TCP, sockets, how rows are spelled.
Invariant: every Data byte is written once, at its place, before anything is said about it; a row says
what lies on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pipeline.config import Config
from pipeline.report.fragments import FragmentWriter, name_key
from pipeline.report.rows import CONFLICTS, Conflict, Run, StreamRecord, format_rows
from pipeline.writer.closing import close_stream, hash_up_to, new_counters, read_all
from pipeline.writer.folder import Folder, StoredFile
from pipeline.writer.names import Names, endpoints, provisional
from pipeline.writer.overlaps import Differing, differing, md5
from pipeline.writer.payload import Payload, pieces
from pipeline.writer.stream import Stream
from workers.contract import U8, Closed, Data, EventBatch, Opened, Overlaps

_ROWS: Final = 4096  # rows formatted together


class Writer:
    """One writer's state. ``apply`` its events in order, then ``finish``."""

    def __init__(self, config: Config, fragment: Path, slab: Callable[[int], U8]) -> None:
        """``slab`` maps a slab by its number. Makes the fragment; OutputError when that fails."""
        self._config = config
        self._slab = slab
        self._names = Names(config.name_format, timestamp=config.name_timestamp)
        self.folder = Folder(config.output)
        self._fragment = FragmentWriter(fragment)
        self._images = {number: str(path) for number, path in enumerate(config.inputs)}
        self._streams: dict[int, Stream] = {}
        self._runs: dict[int, list[Run]] = {}
        self._finished: list[StreamRecord] = []
        self._name_keys: list[int] = []
        self.counters = new_counters()

    def apply(self, events: EventBatch) -> None:
        """Do what a batch of events says."""
        opened, data, overlaps = events.opened, events.data, events.overlaps
        payload = None
        if opened is not None or data is not None or overlaps is not None:
            payload = Payload(self._slab(events.slab), data)
        if payload is not None and opened is not None:
            self._open(opened, payload)
        if events.rebases is not None:
            for number, _, origin in _rows(events.rebases):
                self._rebase(self._streams[number], origin)
        if events.parts is not None:
            for number, _, offset in _rows(events.parts):
                self._streams[number].begin_part(offset)
        if payload is not None and data is not None:
            self._write(data, payload)
        if payload is not None and overlaps is not None:
            self._compare(overlaps, payload)
        if events.frontiers is not None:
            for number, _, offset in _rows(events.frontiers):
                hash_up_to(self._streams[number], offset, self.folder)
        if events.runs is not None:  # they may come long before their stream closes, or a message before
            for number, _, *run in _rows(events.runs):
                self._runs.setdefault(number, []).append(tuple(run))
        if events.closed is not None:
            self._close(events.closed)

    def finish(self) -> None:
        """Every stream is closed: make the fragment final."""
        self._say_rows()
        self._fragment.close()
        self.folder.shut()

    # Bytes

    def _open(self, opened: Opened, payload: Payload) -> None:
        with_md5, coarse, name_of = self._config.md5, self._names.coarse, self._names.name
        for number, _, key, side, counter, time, start, mac in _rows(opened):
            ends = endpoints(key, side)
            name = name_of(ends, time, counter)
            suffix = provisional(number) if coarse else ""
            macs = bytes(payload.slice(start - mac, 12)) if mac else b""
            self._streams[number] = Stream(number, name, suffix, ends, macs, md5=with_md5)

    def _write(self, data: Data, payload: Payload) -> None:
        streams, write, gather = self._streams, self.folder.write, payload.gather
        for number, offset, low, high, size, even in pieces(data):
            stream = streams[number]
            file, start = stream.part(offset) if stream.parted else (stream.file, stream.origin)
            buffers = gather(low, high, even=even)
            write(file, buffers, size, offset - start)
            digest = stream.digest
            if digest is not None:
                if offset == stream.frontier:
                    for buffer in buffers:
                        digest.update(buffer)
                    stream.frontier += size
                elif offset < stream.frontier:
                    stream.stale = True
        self.counters["data_bytes"] += int(data.size.sum(dtype="int64"))

    def _rebase(self, stream: Stream, origin: int) -> None:
        """What the first file holds moves up; it is no more than a reorder window's worth."""
        shift = stream.move_origin(origin)
        file = stream.file
        if file.made:
            held = b"".join(read_all(file, self.folder))
            self.folder.cut(file, 0)
            self.folder.write(file, [held], len(held), shift)
        for start, part in reversed(stream.parted):  # names say offsets; the last moves out of the way first
            self.folder.rename(part, f"{file.name}@{start - origin}")

    # Overlaps

    def _compare(self, overlaps: Overlaps, payload: Payload) -> None:
        for number, _, offset, place, size, packet in _rows(overlaps):
            stream = self._streams[number]
            inner = [start for start, _ in stream.parted if offset < start < offset + size]
            for low, high in pairwise([offset, *inner, offset + size]):  # files may meet within an overlap
                self._compare_in_file(stream, low, payload.slice(place + low - offset, high - low), packet)

    def _compare_in_file(self, stream: Stream, offset: int, new: memoryview, packet: int) -> None:
        file, start = stream.part(offset)
        size = len(new)
        old = self.folder.read(file, size, offset - start)
        runs = differing(old, new) if len(old) == size else [Differing(0, size)]
        lost = sum(run.length for run in runs)
        self.counters["duplicate"] += size - lost
        self.counters["conflicting"] += lost
        for run in runs:
            self._conflict(stream, offset, run, packet, old, new)
        if runs and self._config.overlap == "last":
            self.folder.write(file, [new], size, offset - start)
            stream.stale = True

    def _conflict(self, stream: Stream, offset: int, run: Differing, packet: int, old: bytes, new: memoryview) -> None:
        """Record one conflict; keep the losing bytes, as many as the limit has room for."""
        part = slice(run.offset, run.offset + run.length)
        winner, loser = (old[part], new[part]) if self._config.overlap == "first" else (new[part], old[part])
        stream.conflict_bytes += run.length
        side = None
        if stream.kept + run.length <= self._config.limits.conflict_bytes:
            if stream.conflict_file is None:
                stream.conflict_file = StoredFile(CONFLICTS + stream.file.name, stream.number)
            side = stream.kept
            self.folder.write(stream.conflict_file, [loser], run.length, side)
            stream.kept += run.length
        at = offset + run.offset
        stream.conflicts = stream.conflicts or []
        stream.conflicts.append(Conflict(at, run.length, packet, md5(winner), md5(loser), side))
        self.counters["conflicts"] += 1

    # The end of a stream

    def _close(self, closed: Closed) -> None:
        for row in _rows(closed):
            stream, runs = self._streams.pop(row[0]), self._runs.pop(row[0], [])
            self._finished.append(close_stream(stream, row, runs, self.folder, self.counters))
            self._name_keys.append(name_key(stream.name) if self._names.coarse else 0)
        if len(self._finished) >= _ROWS:
            self._say_rows()

    def _say_rows(self) -> None:
        if self._finished:
            rows = format_rows(self._finished, self._images)
            names = self._name_keys if self._names.coarse else None
            self._fragment.add([record.stream for record in self._finished], rows, names)
            self.counters["rows"] += len(rows)
            self._finished.clear()
            self._name_keys.clear()


def _rows(table: Any) -> Iterator[tuple[Any, ...]]:
    """A table row by row, as plain numbers."""
    return zip(*(column.tolist() for column in table), strict=True)
