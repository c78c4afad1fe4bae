"""Streams whose worker died: what is known of them without its last word.

Knows: where each stream's bytes were captured, piece by piece. Does not know: files, hashes, processes.
Invariant: the runs that come out are the bytes that were given to be written, each once, and none that were not; no
two streams have one name, though a worker that takes a dead one's place knows nothing of its connections.

A worker that lives says at a stream's end what there is of it. Only where a dead worker's streams must be closed
without it (stages/losses.py) are these notes taken. What nobody else knew (packets without payload, frame lengths,
overlapping bytes) is 0 in such a stream's record, which is marked LOST.

A worker counts the connections of each tuple. The one in its place begins with 0 again, so what it counts is added to
the highest number that was given before it: a connection that goes on, or a later one, gets a name that none had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipeline.report.rows import Run
from workers.contract import INPUT_SHIFT, OFFSET_MASK, Closed, CloseReason, Completeness, Data, EventBatch, Opened
from workers.events import dtypes

_TYPES: Final = dtypes(Closed)


@dataclass(slots=True)
class Counts:
    """Of each worker's place: behind the highest counter of a connection, who is there, and what is added to its."""

    next: Any
    owner: Any
    base: Any

    @classmethod
    def new(cls, workers: int) -> Counts:
        """As a run begins."""
        return cls([0] * workers, list(range(workers)), [0] * workers)


class Orphan:
    """What is known of a stream."""

    __slots__ = ("first", "last", "midstream", "origin", "packets", "shard", "spans")

    def __init__(self, shard: int, time: int, midstream: int) -> None:
        self.shard = shard
        self.first = self.last = time
        self.midstream = midstream
        self.origin = 0
        self.packets = 0
        self.spans: list[tuple[int, int, int]] = []  # offset, the one behind it, address of the first byte


class Orphans:
    """Notes on all open streams of a writer."""

    def __init__(self, workers: int, counts: Counts | None = None) -> None:
        """``workers``: how many there are at a time; worker n's place is taken by worker n + workers. ``counts``: where
        it is kept what was counted; None: here."""
        self._workers = workers
        self._known: dict[int, Orphan] = {}
        self._counts = Counts.new(workers) if counts is None else counts

    def distinct(self, events: EventBatch, worker: int) -> EventBatch:
        """The events of a worker with counters that no worker in its place has given before."""
        opened = events.opened
        if opened is None or not len(opened.counter):
            return events
        place = worker % self._workers
        counts = self._counts
        if counts.owner[place] != worker:
            counts.base[place] = counts.next[place]
            counts.owner[place] = worker
        base = counts.base[place]
        if base:
            opened = opened._replace(counter=opened.counter + np.uint32(base))
            events = events._replace(opened=opened)
        counts.next[place] = max(counts.next[place], int(opened.counter.max()) + 1)
        return events

    def note(self, events: EventBatch) -> None:
        """What a batch of events says of them."""
        if events.opened is not None:
            self._opened(events.opened)
        if events.rebases is not None:
            for stream, origin in zip(events.rebases.stream.tolist(), events.rebases.origin.tolist(), strict=True):
                self._known[stream].origin = origin
        if events.data is not None:
            self._data(events.data)
        if events.closed is not None:
            for stream in events.closed.stream.tolist():
                self._known.pop(stream, None)

    def _opened(self, opened: Opened) -> None:
        columns = (opened.stream, opened.shard, opened.time, opened.midstream)
        for stream, *facts in zip(*(column.tolist() for column in columns), strict=True):
            self._known[stream] = Orphan(*facts)

    def _data(self, data: Data) -> None:
        stream, offset, size = data.stream, data.offset, data.size.astype(np.int64)
        end = offset + size
        joined = (stream[1:] == stream[:-1]) & (offset[1:] == end[:-1])
        begin = np.flatnonzero(np.concatenate(([True], ~joined)))
        stop = np.append(begin[1:], len(stream)) - 1
        columns: tuple[Any, ...] = (
            stream[begin], offset[begin], end[stop], data.start[begin], data.time[stop], stop - begin + 1
        )  # fmt: skip
        for number, low, high, start, time, packets in zip(*(column.tolist() for column in columns), strict=True):
            known = self._known[number]
            known.last = max(known.last, time)
            known.packets += packets
            if known.spans and known.spans[-1][1] == low:
                known.spans[-1] = known.spans[-1][0], high, known.spans[-1][2]
            else:
                known.spans.append((low, high, start))

    def close_all(self, worker: int) -> tuple[Closed, dict[int, list[Run]]] | None:
        """What there is to say of the streams that a worker left, and their runs; None: it left none."""
        place = worker % self._workers
        left = sorted(stream for stream, known in self._known.items() if known.shard % self._workers == place)
        if not left:
            return None
        return closed({stream: self._known.pop(stream) for stream in left})


def closed(left: Mapping[int, Orphan]) -> tuple[Closed, dict[int, list[Run]]]:
    """What there is to say of streams, one or more, and their runs."""
    rows = []
    runs = {}
    for stream, known in left.items():
        runs[stream] = _runs(known.spans)
        end = max((high for _, high, _ in known.spans), default=known.origin)
        written = sum(run[1] for run in runs[stream])
        flags = Completeness.LOST | Completeness.OPEN
        flags |= Completeness.MIDSTREAM if known.midstream else 0
        flags |= Completeness.GAPS if written < end - known.origin else 0
        rows.append((
            stream, known.shard, known.origin, end, written, written, 0, 0, 0, 0, 0, known.first, known.last,
            known.packets, 0, 0, 0, int(flags), int(CloseReason.INPUT_END),
        ))  # fmt: skip
    columns = zip(zip(*rows, strict=True), _TYPES.values(), strict=True)
    return Closed(*(np.array(values, kind) for values, kind in columns)), runs


def _runs(spans: list[tuple[int, int, int]]) -> list[Run]:
    """Contiguous ranges of one input, each where its first byte was captured."""
    found: list[Run] = []
    for low, high, start in sorted(spans):
        if found and found[-1][0] + found[-1][1] == low and found[-1][2] == start >> INPUT_SHIFT:
            offset, size, image, place = found[-1]
            found[-1] = offset, size + high - low, image, place
        else:
            found.append((low, high - low, start >> INPUT_SHIFT, start & OFFSET_MASK))
    return found
