"""All connections of a writer that somebody may want to read: what the writer tells, whose turn it is.

Knows: the contract's tables. Does not know: protocols, files (but that a Side reads them).
Invariant: within a batch nothing is fed before its gaps and its bytes are noted; a connection that is nobody's costs
one look into a dictionary for each piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from pipeline.config import Config
from pipeline.report.rows import Run, StreamRecord
from pipeline.writer.analysis.connection import Analysis, Means
from pipeline.writer.analysis.hosting import HostFor
from pipeline.writer.analysis.side import Side
from pipeline.writer.folder import Folder
from pipeline.writer.stream import Stream
from workers.analyzers.seam import Protocol
from workers.contract import Data, EventBatch
from workers.overlap import POLICIES

_NO_LIMIT: Final = 1 << 62

Done: TypeAlias = tuple[Stream, StreamRecord]
"""A stream that is over, and what the report says of it."""


class _Entry:
    """A stream that is open: its direction, and the connection's analysis."""

    __slots__ = ("analysis", "side")

    def __init__(self, analysis: Analysis, side: Side) -> None:
        self.analysis = analysis
        self.side = side


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
        self._cap = _NO_LIMIT if limits.stream_bytes is None else limits.stream_bytes
        self._entries: dict[int, _Entry] = {}
        self._touched: dict[Analysis, None] = {}
        self._done: dict[int, list[Done]] = {}  # streams that are over, of connections that are not
        self._expected: dict[int, list[tuple[int, int, int]]] = {}  # gaps of streams that are yet to open
        self._data: Data | None = None
        self._rows: tuple[list[int], list[int], list[int]] = [], [], []
        for each in protocols:
            counters.update(dict.fromkeys(_names(each.name), 0))

    def __len__(self) -> int:
        """Streams that somebody may want to read."""
        return len(self._entries)

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
                entry = self._entries.get(number)
                if entry is None:
                    self._expected.setdefault(number, []).append(gap)
                else:
                    self._give_up(entry, gap)

    def _give_up(self, entry: _Entry, gap: tuple[int, int, int]) -> None:
        self._touched[entry.analysis] = None
        if not entry.analysis.stale and not entry.side.give_up(*gap):
            entry.analysis.stale = not self._means.final

    def open(self, stream: Stream, *, midstream: bool) -> None:
        """A stream begins. Told before anything else of it but its gaps."""
        number = stream.number
        other = self._entries.get(number ^ 1)
        analysis = Analysis(number >> 1, self._means) if other is None else other.analysis
        window = self._means.limits.reorder_packets + 1
        side = Side(stream, midstream=midstream, window=window, cap=self._cap)
        analysis.sides[number & 1] = side
        entry = self._entries[number] = _Entry(analysis, side)
        for gap in self._expected.pop(number, ()):
            self._give_up(entry, gap)

    def moved(self, number: int) -> None:
        """A stream begins lower than was believed."""
        entry = self._entries.get(number)
        if entry is not None and not entry.side.held:  # it cannot be
            entry.analysis.stale = not self._means.final

    def begin(self, data: Data) -> None:
        """The rows that ``wrote`` will tell of."""
        self._data = data

    def wrote(self, number: int, offset: int, size: int, low: int, high: int, buffers: Sequence[memoryview]) -> None:
        """Rows [low, high) of the Data, which continue one another, lie in the stream's file."""
        entry = self._entries.get(number)
        if entry is None:
            return
        if self._data is not None:
            data, self._data = self._data, None
            self._rows = data.size.tolist(), data.packet.tolist(), data.time.tolist()
        sizes, packets, times = self._rows
        analysis, side = entry.analysis, entry.side
        if analysis.stale:
            side.note(offset, sizes[low:high], packets[low:high], times[low:high])
            return
        self._touched[analysis] = None
        on_time = side.take(offset, sizes[low:high], packets[low:high], times[low:high], size, buffers)
        if not on_time:
            analysis.stale = not self._means.final

    def changed(self, number: int) -> None:
        """Bytes of a stream are not what they were. Beyond the frontier nobody has seen them yet."""
        entry = self._entries.get(number)
        if entry is not None and self._means.changing:
            entry.analysis.stale = not self._means.final

    def drive(self) -> None:
        """All of the batch is noted, its bytes can be had for the last time: feed what can be fed. OutputError."""
        self._data = None
        self._expected.clear()
        for analysis in self._touched:
            if not analysis.drive():
                self._forget(analysis)
        self._touched.clear()

    def _forget(self, analysis: Analysis) -> None:
        for number in (analysis.connection << 1, analysis.connection << 1 | 1):
            self._entries.pop(number, None)

    # The end

    def close(self, stream: Stream, record: StreamRecord, end: int, runs: Sequence[Run]) -> Sequence[Done]:
        """A stream is over, and lies on disk; it ends at the offset ``end``. Gives the streams that can be reported:
        those of a connection together, when all that was found in them is on disk. OutputError."""
        entry = self._entries.pop(stream.number, None)
        if entry is None:
            return [(stream, record)]
        entry.side.finish(end, record.flags, runs)
        analysis = entry.analysis
        done = [*self._done.pop(analysis.connection, ()), (stream, record)]
        if stream.number ^ 1 in self._entries:
            self._done[analysis.connection] = done
            return []
        found = analysis.close()
        for each, _ in done:
            for _, file in each.files():
                self._means.folder.close(file)  # if it was read back
        if found is None:
            return done
        name, facts = found
        self._count(name, analysis.sides, facts)
        return [(each, _with_facts(kept, name, facts[each.number & 1])) for each, kept in done]

    def _count(self, name: str, sides: Sequence[Side | None], facts: Iterable[Mapping[str, int]]) -> None:
        counters = self._counters
        total, missing, seen = _names(name)
        for side in sides:
            if side is not None:
                counters[total] += side.bytes
                counters[missing] += side.missing
                counters[seen] += side.bytes + side.missing
        for counted in facts:
            for fact, count in counted.items():
                fact = f"{name}.{fact}"
                counters[fact] = counters.get(fact, 0) + count


def _with_facts(record: StreamRecord, name: str, facts: Mapping[str, int]) -> StreamRecord:
    return record._replace(found=((name, facts),)) if facts else record


def _names(name: str) -> tuple[str, str, str]:
    """Counters of a protocol: bytes that its analyzers were fed, those that were missing, and both."""
    return f"{name}.bytes", f"{name}.missing", f"analysis.{name}.seen"
