"""Events in, files and rows of the report out: the writer/analyzer stage.

Knows: the order in which events apply, when bytes are hashed, what a finished stream's row says.
Does not know: TCP, sockets, how rows are spelled.
Invariant: every Data byte is written once, at its place, before anything is said about it; a row says
what lies on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.config import Config
from pipeline.errors import NoMoreFiles, OutputError
from pipeline.memory import Arrays
from pipeline.report.fragments import FragmentWriter, name_key
from pipeline.report.placing import output_error
from pipeline.report.reserve import reserve
from pipeline.report.rows import Run, StreamRecord, format_rows
from pipeline.writer.beside import Beside
from pipeline.writer.closing import complete_stream, hash_up_to, new_counters
from pipeline.writer.comparing import Comparing
from pipeline.writer.failures import Failures, Tell
from pipeline.writer.folder import Folder
from pipeline.writer.names import Names, endpoints, provisional
from pipeline.writer.payload import Payload, PieceColumns, cut, pieces
from pipeline.writer.plain.layout import Facts
from pipeline.writer.plain.streams import PlainStreams
from pipeline.writer.rebasing import rebase
from pipeline.writer.scattered import in_file_order, write_together
from pipeline.writer.spans import note_span
from pipeline.writer.stream import Stream
from pipeline.writer.streams import Streams, may_be_plain
from workers import contract
from workers.contract import INPUT_SHIFT, OFFSET_MASK, Closed, Data, EventBatch, Opened, Overlaps, Runs

if TYPE_CHECKING:
    from pipeline.parts.room import Room
    from pipeline.writer.analysis.analyses import Analyses
    from pipeline.writer.analysis.hosting import HostFor
    from pipeline.writer.appended import Appended
    from pipeline.writer.orphans import Counts, Orphans

_ROWS: Final = 2048  # rows formatted together
_FOUND_ROWS: Final = 4  # of a stream and of what is found in it, for which space is taken ahead


class Writer:
    """One writer's state. ``apply`` its events in order, then ``finish``."""

    def __init__(
        self, config: Config, fragment: Path, arrays: Arrays, host: HostFor | None = None, room: Room | None = None,
        tell: Tell | None = None,
    ) -> None:  # fmt: skip
        """``arrays`` are the captured bytes, see memory.py. Makes the fragment; OutputError when that fails.

        ``host`` is for those who listen to analyzers, if there are any; None: files and objects are made. ``room``:
        what may be written, where that has limits. ``tell``: what is told of writes that fail; None: the run ends then.
        """
        self._config = config
        self._arrays = arrays
        self._names = Names(config.name_format, timestamp=config.name_timestamp)
        self.folder = Folder(config.output)
        self.folder.room = self._room = room
        self._fragment = FragmentWriter(fragment)
        self._images = {number: str(path) for number, path in enumerate(config.inputs)}
        self._streams = Streams()
        self._runs: dict[int, list[Run]] = {}
        if may_be_plain(config) and room is None:
            facts = Facts(self.folder.root, self._names, list(self._images.values()))
            self._streams.plain = PlainStreams(facts, self.folder, self._fragment, self._runs, md5=config.md5)
        self._finished: list[StreamRecord] = []
        self._name_keys: list[int] = []
        self._beside = Beside(config, fragment, self.folder)
        self._appended = _appended(self.folder, self._fail) if config.append else None
        self.counters = new_counters()
        self.folder.failures = Failures(self.counters, tell, reserve(fragment.parent))
        self.analyses = self._read_by(host) if config.protocols else None
        self._comparing = Comparing(
            self._streams, self.folder, room, config.limits.conflict_bytes, self.counters, self._fail, self._changed
        )  # fmt: skip
        several = len(config.inputs) > 1 or config.append  # inputs, or streams of one file
        self._anyhow = room is None and not (several or config.console or config.protocols)
        """Whether it makes no difference in which order the bytes of a batch are written."""
        self._path = fragment
        self._orphans: Orphans | None = None
        if config.part:
            self._enter(config.part)

    def _read_by(self, host: HostFor | None) -> Analyses:
        from pipeline.writer.analysis.analyses import Analyses
        from workers.analyzers.protocols import protocol

        if host is None:
            from pipeline.report.derived import add_derived
            from pipeline.writer.findings.shelf import Shelf

            self.folder.is_behind = lambda: self._fragment.behind
            add_rows, lines = partial(add_derived, self._fragment), self._beside.objects
            host = Shelf(self._config, self.folder, add_rows, self._fragment.void, lines, self.counters).host
        protocols = [protocol(name) for name in self._config.protocols]
        return Analyses(self._config, self.folder, protocols, host, self.counters)

    def apply(self, events: EventBatch) -> None:
        """Do what a batch of events says."""
        payload = self._take_in(events)
        if payload is not None and events.overlaps is not None:
            self._compare(events.overlaps, payload)
        self._conclude(events)
        if self._orphans is not None:
            self._orphans.note(events)

    def _compare(self, overlaps: Overlaps, payload: Payload) -> None:
        plain = self._streams.plain
        left = overlaps if plain is None else plain.compare(overlaps, payload, self.counters)
        if left is not None:
            self._comparing.compare(left, payload)

    def note_orphans(self, counts: Counts | None = None) -> None:
        """Be ready to close the streams of a worker that dies. To be called before any event."""
        from pipeline.writer.orphans import Orphans

        self._orphans = Orphans(self._config.workers, counts)

    def distinct(self, events: EventBatch, worker: int) -> EventBatch:
        """A worker's events with which its streams have names that nobody's had who had its place before."""
        return events if self._orphans is None else self._orphans.distinct(events, worker)

    def bury(self, worker: int, before: Callable[[Closed], None] = lambda _: None) -> None:
        """It is dead, and all that it had said is applied: its streams end here. ``before`` is told which."""
        if self._orphans is not None and (left := self._orphans.close_all(worker)) is not None:
            before(left[0])
            self._runs.update(left[1])
            self._close(left[0])

    def checkpoint(self) -> dict[str, list[int]] | None:
        """Write the rows of all streams that were closed. Of each fragment what is on disk of it (report/fragments.py),
        that of the rows under ""; None: not all is. OutputError."""
        self._say_rows()
        ends = {"": self._fragment.checkpoint(), **self._beside.checkpoint()}
        whole = {name: end for name, end in ends.items() if end is not None}
        return whole if len(whole) == len(ends) else None

    def close_left(self, streams: Iterable[Stream], closed: Closed, runs: Mapping[int, list[Run]]) -> None:
        """Close streams that another writer wrote, who is dead."""
        self._streams |= {stream.number: stream for stream in streams}
        self._runs |= runs
        self._close(closed)

    def _take_in(self, events: EventBatch) -> Payload | None:
        """Streams that begin, and new bytes."""
        captured = events.data
        if self._anyhow:
            events = in_file_order(events, self._streams)
        opened, data, overlaps = events.opened, events.data, events.overlaps
        if self.analyses is not None:
            self.analyses.expect(events)
        payload = None
        if opened is not None or data is not None or overlaps is not None:
            payload = Payload(self._arrays, events)
        if payload is not None and opened is not None:
            self._open(opened, payload)
        if events.rebases is not None:
            for number, _, origin in _rows(events.rebases):
                if self.analyses is not None:
                    self.analyses.moved(number)
                rebase(self._streams[number], origin, self.folder, self._fail)
        if events.parts is not None:
            for number, _, offset in _rows(events.parts):
                self._streams[number].begin_part(offset)
        if payload is not None and data is not None:
            self._write(data, payload)
            if self._beside.map is not None and captured is not None:
                with self._beside.tried("map"):
                    self._beside.map.add(events.number, captured)
        return payload

    def _conclude(self, events: EventBatch) -> None:
        """What the bytes that are there now come to; streams that end."""
        if events.frontiers is not None and self._config.md5:
            for number, _, offset in _rows(events.frontiers):
                stream = self._streams[number]
                hash_up_to(stream, min(offset, stream.cap), self.folder)
        if events.runs is not None:  # they may come long before their stream closes, or a message before
            self._note(events.runs)
        if self.analyses is not None:
            self.analyses.drive()
        if events.closed is not None:
            self._close(events.closed)
        if self._beside.flows is not None and events.connections is not None:
            self._beside.flows.add(events.connections)

    @property
    def open_streams(self) -> int:
        """How many may still grow."""
        return self._streams.open

    def turn(self, part: str) -> None:
        """The part is over: the streams that have ended are its own, others are of that in which they end. OutputError.

        ``part``: the folder of the next one.
        """
        if self.analyses is not None:
            self.analyses.turn(self.folder.part)
        self._say_rows()
        if self._beside.map is not None:
            for stream in self._streams.values():
                self._beside.map.shift(stream.number, stream.base - stream.origin)
        self._enter(part)
        fragment = self._path.parent.parent / part / self._path.name
        try:
            fragment.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise output_error("create", fragment.parent, error) from error
        self._fragment.turn(fragment)
        self._beside.turn(fragment)

    def _enter(self, part: str) -> None:
        from pipeline.parts.folders import mark, number_of

        flows = self._config.flows
        folder = self.folder.turn(part)
        if self._room is not None:
            self._room.part = number_of(part)
        try:
            mark(folder, None if flows is None else flows.name)
        except OSError as error:  # without it the folder is not taken for ours, and stays when others are removed
            self.folder.failures.took(output_error("write to", self.folder.path / part, error))

    def finish(self) -> None:
        """Every stream is closed, or buried with its worker: make the fragment final."""
        self._say_rows()
        if self._appended is not None:
            coarse = self._names.coarse
            for streams, rows, names in self._appended.rows(self._images, self.counters, md5=self._config.md5):
                self._fragment.add(streams, rows, [name_key(name) if name else 0 for name in names] if coarse else None)
        self._fragment.close()
        self._beside.close()
        if self._room is not None and self._room.removed:
            self.counters["parts.removed"] = self._room.removed
        self.folder.shut()

    # Bytes

    def _open(self, opened: Opened, payload: Payload) -> None:
        plain = self._streams.plain
        left = opened if plain is None else plain.begin(opened, payload)
        if left is not None:
            self._open_streams(left, payload)
        told = self._streams.open + len(self._finished)
        self._fragment.reserve(told if self.analyses is None else _FOUND_ROWS * told)

    def _open_streams(self, opened: Opened, payload: Payload) -> None:
        several = len(self._config.inputs) > 1
        appended, coarse, name_of, analyses = self._appended, self._names.coarse, self._names.name, self.analyses
        with_md5 = self._config.md5 and appended is None
        macs = payload.slices(opened.start - opened.mac, np.where(opened.mac, 12, 0).tolist())
        rows = zip(_rows(opened), map(bytes, macs), strict=True)
        for (number, _, key, side, counter, time, _, _, base, midstream), pair in rows:
            ends = endpoints(key, side)
            name = name_of(ends, time, counter)
            suffix = provisional(number) if coarse else ""
            stream = Stream(number, name, suffix, ends, pair, md5=with_md5, spans=several)
            self._streams[number] = stream
            if appended is not None:
                stream.own_name = name_of(ends, time, appended.counter(number, key))
                appended.open(stream, key, side, base)
            if analyses is not None:
                analyses.open(stream, midstream=bool(midstream))

    def _write(self, data: Data, payload: Payload) -> None:
        if self.analyses is not None:
            self.analyses.begin(data)
        found, plain = cut(data), self._streams.plain
        if self._anyhow:
            found = write_together(found, data, payload, self._streams, self.folder)
        left = found if plain is None else plain.write(found, payload, self._streams.__getitem__)
        skipped = 0 if left is None else self._write_pieces(left, data, payload)
        self.counters["data_bytes"] += int(data.size.sum(dtype="int64")) - skipped
        self.counters["skipped"] += skipped

    def _write_pieces(self, found: PieceColumns, data: Data, payload: Payload) -> int:
        """One by one; how many bytes are not."""
        streams, write, gather, analyses = self._streams, self.folder.write, payload.gather, self.analyses
        skipped, room = 0, self._room
        for number, offset, low, high, size, even in pieces(found):
            stream = streams[number]
            if stream.spans is not None:
                note_span(stream.spans, offset, size, int(data.start[low]))
            file, start = stream.part(offset) if stream.parted else (stream.file, stream.origin - stream.base)
            if (room is not None or offset + size > stream.cap) and not stream.takes(offset, size, file, room):
                skipped += size
                if analyses is not None:
                    analyses.cut(number)
                continue
            whole = analyses is not None and analyses.wants(number)  # read as one; written and hashed sooner, too
            buffers = gather(low, high, even=even, whole=whole)
            try:
                write(file, buffers, size, offset - start)
            except OutputError as error:
                self._fail(stream, offset, error)
                skipped += size - error.written
                size, buffers = error.written, [memoryview(b"".join(buffers))[: error.written]]
            if analyses is not None and size:
                analyses.wrote(number, offset, size, low, high, buffers)
            if stream.digest is not None:
                stream.hash(offset, size, buffers)
        return skipped

    def _fail(self, stream: Stream, offset: int, error: OutputError) -> None:
        """What lies at this offset of a stream could not be written, or not be read back: the stream ends with the
        bytes that were. OutputError: the run does."""
        self.folder.failures.took(error)
        stream.failed = stream.failed or not isinstance(error, NoMoreFiles)
        stream.end_at(offset + error.written)
        if self.analyses is not None:
            self.analyses.cut(stream.number, bool(error.written))

    def _changed(self, number: int) -> None:
        if self.analyses is not None:
            self.analyses.changed(number)

    # The end of a stream

    def _note(self, runs: Runs) -> None:
        plain = self._streams.plain
        left = runs if plain is None else plain.note(runs)
        if left is not None:
            columns = left.offset, left.size, left.start >> INPUT_SHIFT, left.start & OFFSET_MASK
            for number, *run in zip(left.stream.tolist(), *(column.tolist() for column in columns), strict=True):
                self._runs.setdefault(number, []).append(tuple(run))

    def _close(self, closed: Closed) -> None:
        plain = self._streams.plain
        left = closed if plain is None else plain.close(closed, self.counters)
        row: tuple[int, ...]
        for row in () if left is None else _rows(left):
            stream = self._streams.taken(row[0])
            self._close_stream(stream, row, self._runs.pop(row[0], []))
            if len(self._finished) >= _ROWS:  # a message can close tens of thousands, whose records take 1 kB each
                self._say_rows()

    def _close_stream(self, stream: Stream, row: tuple[int, ...], runs: Sequence[Run]) -> None:
        shared = self._appended is not None
        row, runs, record = complete_stream(stream, row, runs, self.folder, self.counters, shared=shared)
        if self.analyses is None:
            self._keep(stream, record)
        else:  # what was found in a stream is known when its connection is over
            for each in self.analyses.close(stream, record, row[3], runs):
                self._keep(*each)

    def _keep(self, stream: Stream, record: StreamRecord) -> None:
        """Nothing more will be done to the stream's files but for what -R appends."""
        if self._beside.flows is not None:
            self._beside.flows.keep(record)
        if self._beside.map is not None:
            self._beside.map.shift(stream.number, stream.base - stream.origin)
        if self._appended is not None:
            self._appended.close(stream, record)
            return
        self._finished.append(record)
        if self._names.coarse:
            self._name_keys.append(0 if record.flags & contract.Completeness.ABSENT else name_key(stream.name))

    def _say_rows(self) -> None:
        if self._finished:
            rows = format_rows(self._finished, self._images)
            names = self._name_keys if self._names.coarse else None
            self._fragment.add([record.stream for record in self._finished], rows, names)
            self.counters["rows"] += len(rows)
            self._finished.clear()
            self._name_keys.clear()


def _appended(folder: Folder, fail: Callable[[Stream, int, OutputError], None]) -> Appended:
    from pipeline.writer.appended import Appended

    return Appended(folder, fail)


def _rows(table: Any) -> Iterator[tuple[Any, ...]]:
    """A table row by row, as plain numbers; some at a time, since these take five times the room of the columns."""
    for at in range(0, len(table[0]), _ROWS):
        yield from zip(*(column[at : at + _ROWS].tolist() for column in table), strict=True)
