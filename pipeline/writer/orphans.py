"""Streams whose worker died: what is known of them without its last word.

Knows: where each stream's bytes were captured, piece by piece. Does not know: files, hashes, processes.
Invariant: the runs that come out are the bytes that were given to be written, each once, and none that were not.

A worker that lives says at a stream's end what there is of it. Only where a dead worker's streams must be closed
without it (stages/losses.py) are these notes taken. What nobody else knew (packets without payload, frame lengths,
overlapping bytes) is 0 in such a stream's record, which is marked LOST.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pipeline.report.rows import Run
from workers.contract import INPUT_SHIFT, OFFSET_MASK, Closed, CloseReason, Completeness, Data, EventBatch, Opened
from workers.events import dtypes

_TYPES: Final = dtypes(Closed)


class _Known:
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

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

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
            self._known[stream] = _Known(*facts)

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

    def close_all(self) -> tuple[Closed, dict[int, list[Run]]] | None:
        """What there is to say of those that are left, and their runs; None: none is."""
        if not self._known:
            return None
        rows = []
        runs = {}
        for stream, known in sorted(self._known.items()):
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
        self._known.clear()
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
