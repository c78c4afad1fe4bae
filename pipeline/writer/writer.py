"""Events in, files and rows of the report out: the writer/analyzer stage.

Knows: the order in which events apply, when bytes are hashed, what a finished stream's row says.
Does not know: TCP, sockets, how rows are spelled.
Invariant: every Data byte is written once, at its place, before anything is said about it; a row says
what lies on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from pipeline.config import Config
from pipeline.report.fragments import FragmentWriter, name_key
from pipeline.report.rows import Conflict, StreamRecord, format_rows
from pipeline.writer.closing import close_stream, hash_up_to, new_counters, read_all
from pipeline.writer.folder import Folder, StoredFile
from pipeline.writer.names import Names, endpoints
from pipeline.writer.overlaps import Differing, differing, md5
from pipeline.writer.payload import Payload, pieces
from pipeline.writer.stream import Stream
from workers.contract import U8, Closed, Data, EventBatch, Opened, Overlaps, Runs

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
        self._finished: list[tuple[StreamRecord, int]] = []
        self.counters = new_counters()

    def apply(self, events: EventBatch) -> None:
        """Do what a batch of events says."""
        payload = Payload(self._slab(events.slab)) if events.opened or events.data or events.overlaps else None
        if payload is not None:
            if events.opened is not None:
                self._open(events.opened, payload)
        if events.rebases is not None:
            for number, _, origin in _rows(events.rebases):
                self._rebase(self._streams[number], origin)
        if events.parts is not None:
            for number, _, offset in _rows(events.parts):
                self._streams[number].begin_part(offset)
        if payload is not None:
            if events.data is not None:
                self._write(events.data, payload)
            if events.overlaps is not None:
                self._compare(events.overlaps, payload)
        if events.frontiers is not None:
            for number, _, offset in _rows(events.frontiers):
                hash_up_to(self._streams[number], offset, self.folder)
        if events.closed is not None:
            self._close(events.closed, events.runs)

    def finish(self) -> None:
        """Every stream is closed: make the fragment final."""
        self._say_rows()
        self._fragment.close()
        self.folder.shut()

    # Bytes

    def _open(self, opened: Opened, payload: Payload) -> None:
        with_md5, coarse = self._config.md5, self._names.coarse
        for number, _, key, side, counter, time, start, mac in _rows(opened):
            ends = endpoints(key, side)
            name = self._names.name(ends, time, counter)
            macs = bytes(payload.slice(start - mac, 12)) if mac else b""
            stream = Stream(number, name, StoredFile(name), ends, macs, md5=with_md5)
            if coarse:
                stream.provisional = stream.suffix
                stream.files[0].name += stream.suffix
            self._streams[number] = stream

    def _write(self, data: Data, payload: Payload) -> None:
        streams, folder = self._streams, self.folder
        for piece in pieces(data):
            stream = streams[piece.stream]
            file, start = stream.part(piece.offset)
            buffers = payload.gather(data, piece)
            folder.write(file, stream.suffix, buffers, piece.size, piece.offset - start)
            if stream.digest is not None:
                if piece.offset == stream.frontier:
                    for buffer in buffers:
                        stream.digest.update(buffer)
                    stream.frontier += piece.size
                elif piece.offset < stream.frontier:
                    stream.stale = True
        self.counters["data_bytes"] += int(data.size.sum(dtype="int64"))

    def _rebase(self, stream: Stream, origin: int) -> None:
        """What the first file holds moves up; it is no more than a reorder window's worth."""
        shift = stream.move_origin(origin)
        file = stream.files[0]
        if file.made:
            held = b"".join(read_all(file, stream, self.folder))
            self.folder.cut(file, stream.suffix, 0)
            self.folder.write(file, stream.suffix, [held], len(held), shift)

    # Overlaps

    def _compare(self, overlaps: Overlaps, payload: Payload) -> None:
        for number, _, offset, place, size, packet in _rows(overlaps):
            stream = self._streams[number]
            file, start = stream.part(offset)
            new = payload.slice(place, size)
            old = self.folder.read(file, stream.suffix, size, offset - start)
            runs = differing(old, new) if len(old) == size else [Differing(0, size)]
            lost = sum(run.length for run in runs)
            self.counters["duplicate"] += size - lost
            self.counters["conflicting"] += lost
            for run in runs:
                self._conflict(stream, offset, run, packet, old, new)
            if runs and self._config.overlap == "last":
                self.folder.write(file, stream.suffix, [new], size, offset - start)
                stream.stale = True

    def _conflict(
        self, stream: Stream, offset: int, run: Differing, packet: int, old: bytes, new: memoryview
    ) -> None:
        """Record one conflict; keep the losing bytes, as many as the limit has room for."""
        part = slice(run.offset, run.offset + run.length)
        winner, loser = (old[part], new[part]) if self._config.overlap == "first" else (new[part], old[part])
        stream.conflict_bytes += run.length
        side = None
        if stream.kept + run.length <= self._config.limits.conflict_bytes:
            if stream.conflict_file is None:
                stream.conflict_file = StoredFile(f"conflicts-{stream.files[0].name}")
            side = stream.kept
            self.folder.write(stream.conflict_file, stream.suffix, [loser], run.length, side)
            stream.kept += run.length
        at = offset + run.offset
        stream.conflicts.append(Conflict(at, run.length, packet, md5(winner), md5(loser), side))
        self.counters["conflicts"] += 1

    # The end of a stream

    def _close(self, closed: Closed, runs: Runs | None) -> None:
        of: dict[int, list[tuple[int, ...]]] = {}
        if runs is not None:
            for number, rows in groupby(_rows(runs), itemgetter(0)):
                of.setdefault(number, []).extend(rows)
        for row in _rows(closed):
            stream = self._streams.pop(row[0])
            record = close_stream(stream, row, of.pop(row[0], []), self.folder, self.counters)
            self._finished.append((record, name_key(stream.name) if self._names.coarse else 0))
        if len(self._finished) >= _ROWS:
            self._say_rows()

    def _say_rows(self) -> None:
        if self._finished:
            records = [record for record, _ in self._finished]
            keys = [key for _, key in self._finished] if self._names.coarse else None
            self._fragment.add([record.stream for record in records], format_rows(records, self._images), keys)
            self.counters["rows"] += len(records)
            self._finished.clear()


def _rows(table: Any) -> Iterator[tuple[Any, ...]]:
    """A table row by row, as plain numbers."""
    return zip(*(column.tolist() for column in table), strict=True)
