"""All connections of a writer that somebody may want to read: what the writer tells, whose turn it is.

Knows: the contract's tables. Does not know: protocols, files (but that a Side reads them).
Invariant: within a batch nothing is fed before its gaps and its bytes are noted; a connection that is nobody's costs
one look into a dictionary for each piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from pipeline.config import Config
from pipeline.errors import OutputError
from pipeline.report.rows import Run, StreamRecord
from pipeline.writer.analysis.connection import Analysis, Means
from pipeline.writer.analysis.hosting import HostFor
from pipeline.writer.analysis.side import Rows, Side
from pipeline.writer.closing import new_record
from pipeline.writer.folder import Folder
from pipeline.writer.stream import Stream
from workers.analyzers.seam import Protocol
from workers.contract import Data, EventBatch
from workers.overlap import POLICIES

Done: TypeAlias = tuple[Stream, StreamRecord]
"""A stream that is over, and what the report says of it."""


class _Names:
    """Counters of a protocol: bytes that its analyzers were fed, those that were missing, both; and its facts."""

    __slots__ = ("_protocol", "facts", "missing", "seen", "total")

    def __init__(self, protocol: str) -> None:
        self.total, self.missing, self.seen = f"{protocol}.bytes", f"{protocol}.missing", f"analysis.{protocol}.seen"
        self.facts: dict[str, str] = {}  # by the fact; there are not many
        self._protocol = protocol

    def add(self, fact: str) -> str:
        """The counter of a fact that was not counted before."""
        self.facts[fact] = name = f"{self._protocol}.{fact}"
        return name


class Analyses:
    """Told of each batch in this order: ``expect`` its gaps, ``open``, ``moved``, ``begin`` and ``wrote``, ``changed``,
    ``drive``, ``close``."""

    def __init__(
        self, config: Config, folder: Folder, protocols: Sequence[Protocol], host: HostFor, counters: dict[str, int]
    ) -> None:
        """``protocols`` in the order of their names; ``host`` makes their hosts. Counts into ``counters``."""
        limits = config.limits
        later_wins = POLICIES[limits.overlap].delivered
        self._means = Means(protocols, host, folder, limits, config.console, later_wins)
        self._counters = counters
        self._window = limits.reorder_packets + 1
        self._cap = limits.stream_bytes
        self._open: dict[int, Analysis] = {}  # by the numbers of their streams that are open
        self._touched: dict[Analysis, None] = {}
        self._done: dict[int, list[Done]] = {}  # streams that are over, of connections that are not
        self._expected: dict[int, list[tuple[int, int, int]]] = {}  # gaps of streams that are yet to open
        self._data: Data | None = None
        self._rows: Rows = [], [], [], []
        self._names = {each.name: _Names(each.name) for each in protocols}
        for names in self._names.values():
            counters.update(dict.fromkeys((names.total, names.missing, names.seen), 0))

    def __len__(self) -> int:
        """Streams that somebody may want to read."""
        return len(self._open)

    # A batch

    def expect(self, events: EventBatch) -> None:
        """The gaps of a batch: some of its bytes may come behind them. Those of a stream's end are told by its end.

        Who prints is to tell of the gaps of all messages of a batch before the first of them; again does no harm.
        """
        if events.gaps is None:
            return
        stream, _, offset, size, _, packet = (column.tolist() for column in events.gaps)
        for number, start, count, clear in zip(stream, offset, size, packet, strict=True):
            if clear:
                gap = (start, start + count, clear)
                analysis = self._open.get(number)
                if analysis is None:
                    self._expected.setdefault(number, []).append(gap)
                else:
                    self._give_up(analysis, number, gap)

    def _give_up(self, analysis: Analysis, number: int, gap: tuple[int, int, int]) -> None:
        if gap[1] > analysis.side(number).stream.cap:  # that there are bytes behind it does not matter any more
            return
        self._touched[analysis] = None
        if not analysis.stale and not analysis.side(number).give_up(*gap):
            analysis.stale = not self._means.final

    def open(self, stream: Stream, *, midstream: bool) -> None:
        """A stream begins. Told before anything else of it but its gaps."""
        number = stream.number
        analysis = self._open.get(number ^ 1)
        if analysis is None:
            analysis = Analysis(number >> 1, self._means)
        analysis.add(Side(stream, midstream=midstream, window=self._window, cap=self._cap))
        self._open[number] = analysis
        for gap in self._expected.pop(number, ()):
            self._give_up(analysis, number, gap)

    def moved(self, number: int) -> None:
        """A stream begins lower than was believed."""
        analysis = self._open.get(number)
        if analysis is not None and not analysis.side(number).held:  # it cannot be
            analysis.stale = not self._means.final

    def wants(self, number: int) -> bool:
        """Whether somebody may want to read a stream."""
        return number in self._open

    def begin(self, data: Data) -> None:
        """The rows that ``wrote`` will tell of."""
        self._data = data

    def wrote(self, number: int, offset: int, size: int, low: int, high: int, buffers: Sequence[memoryview]) -> None:
        """Rows [low, high) of the Data, which continue one another, lie in the stream's file."""
        analysis = self._open.get(number)
        if analysis is None:
            return
        if self._data is not None:
            data, self._data = self._data, None
            self._rows = data.offset.tolist(), data.size.tolist(), data.packet.tolist(), data.time.tolist()
        offsets, sizes, packets, times = self._rows
        rows = offsets[low:high], sizes[low:high], packets[low:high], times[low:high]
        side = analysis.sides[number & 1]
        assert side is not None, "a direction that was not opened"
        if analysis.stale:
            side.note(rows)
            return
        self._touched[analysis] = None
        if not side.take(offset, size, rows, buffers):
            analysis.stale = not self._means.final

    def changed(self, number: int) -> None:
        """Bytes of a stream are not what they were. Beyond the frontier nobody has seen them yet."""
        analysis = self._open.get(number)
        if analysis is not None and self._means.changing:
            analysis.stale = not self._means.final

    def cut(self, number: int, partly: bool = False) -> None:
        """A stream has ended before its end, since not all of it could be written: at ``stream.cap``. ``partly``: some
        of what lies in front of that was not told. What was told of bytes that are not kept is told anew."""
        analysis = self._open.get(number)
        if analysis is not None:
            side = analysis.side(number)
            beyond = side.coverage.reach > side.stream.cap or side.coverage.ranges
            if partly or beyond or side.held:
                analysis.stale = not self._means.final

    def drive(self) -> None:
        """All of the batch is noted, its bytes can be had for the last time: feed what can be fed. OutputError."""
        self._data = None
        self._expected.clear()
        for analysis in self._touched:
            try:
                mine = analysis.drive()
            except OutputError as error:  # what cannot be read back now can be, perhaps, at the end
                self._means.folder.failures.took(error)
                mine = analysis.stale = True
            if not mine:
                self._forget(analysis)
        self._touched.clear()

    def _forget(self, analysis: Analysis) -> None:
        for number in (analysis.connection << 1, analysis.connection << 1 | 1):
            self._open.pop(number, None)

    def turn(self, part: str) -> None:
        """This part of the output is over. OutputError."""
        for analysis in set(self._open.values()):
            analysis.turn(part)

    # The end

    def close(self, stream: Stream, record: StreamRecord, end: int, runs: Sequence[Run]) -> Sequence[Done]:
        """A stream is over, and lies on disk; it ends at the offset ``end``. Gives the streams that can be reported:
        those of a connection together, when all that was found in them is on disk. OutputError."""
        number = stream.number
        analysis = self._open.pop(number, None)
        if analysis is None:
            return [(stream, record)]
        analysis.side(number).finish(end, record.flags, runs)
        done = [*self._done.pop(analysis.connection, ()), (stream, record)]
        if number ^ 1 in self._open:
            self._done[analysis.connection] = done
            return []
        found = self._finish(analysis)
        for side in analysis.sides:
            if side is not None and side.reopened:
                for _, file in side.stream.files():
                    self._means.folder.close(file)
        if found is None:
            return done
        name, facts = found
        self._count(name, analysis.sides, facts)
        return [(each, _with_facts(kept, name, facts[each.number & 1])) for each, kept in done]

    def _finish(self, analysis: Analysis) -> tuple[str, tuple[Mapping[str, int], Mapping[str, int]]] | None:
        """As ``close`` of it; what cannot be read back is nobody's."""
        try:
            return analysis.close()
        except OutputError as error:
            self._means.folder.failures.took(error)
            analysis.give_up()
            return None

    def _count(self, name: str, sides: Sequence[Side | None], facts: Iterable[Mapping[str, int]]) -> None:
        counters, names = self._counters, self._names[name]
        for side in sides:
            if side is not None:
                counters[names.total] += side.bytes
                counters[names.missing] += side.missing
                counters[names.seen] += side.bytes + side.missing
        for counted in facts:
            for fact, count in counted.items():
                fact = names.facts.get(fact) or names.add(fact)
                counters[fact] = counters.get(fact, 0) + count


def _with_facts(record: StreamRecord, name: str, facts: Mapping[str, int]) -> StreamRecord:
    return new_record(StreamRecord, (*record[:-1], ((name, facts),))) if facts else record
