"""Abstract segments to PacketBatches, and events to comparable values: no capture files involved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from workers.contract import EventBatch, PacketBatch
from workers.events import TABLES
from workers.limits import Limits
from workers.reassembler import Reassembler

SECOND = 1_000_000_000


class Seg(NamedTuple):
    """One packet of flow ``flow``; ``start`` is given by its place in the list when 0."""

    flow: int
    side: int
    seq: int
    flags: int = 0x10
    size: int = 0
    ack: int = 0
    time: int = 0
    missing: int = 0
    start: int = 0


def batches(segments: Sequence[Seg], size: int = 1000) -> Iterator[PacketBatch]:
    """Cut the segments into batches of ``size``; packet numbers count from 1, the clock is the running maximum."""
    clock = 0
    for number, begin in enumerate(range(0, len(segments), size)):
        part = segments[begin : begin + size]
        flows = sorted({s.flow for s in part}, key=[s.flow for s in part].index)
        index = {flow: i for i, flow in enumerate(flows)}
        times = np.array([s.time for s in part], np.int64)
        clocks = np.maximum(np.maximum.accumulate(times), clock)
        clock = int(clocks[-1])
        keys = np.zeros((len(flows), 6), np.uint64)
        keys[:, 1] = flows
        keys[:, 5] = 4
        n = len(part)
        yield PacketBatch(
            number=number, slab=0, clock=clock, keys=keys,
            hashes=np.array(flows, np.uint64), shards=np.array(flows, np.uint64).astype(np.uint8),
            flow=np.array([index[s.flow] for s in part], np.uint32),
            packet=np.arange(begin + 1, begin + n + 1, dtype=np.uint64),
            time=times, lag=clocks - times,
            seq=np.array([s.seq & 0xFFFFFFFF for s in part], np.uint32),
            ack=np.array([s.ack & 0xFFFFFFFF for s in part], np.uint32),
            flags=np.array([s.flags for s in part], np.uint8), side=np.array([s.side for s in part], np.uint8),
            start=np.array([s.start or 10_000 * (begin + i + 1) for i, s in enumerate(part)], np.uint64),
            size=np.array([s.size for s in part], np.uint32), missing=np.array([s.missing for s in part], np.uint32),
            mac=np.full(n, 54, np.uint16), length=np.array([s.size + 54 for s in part], np.uint32),
            clipped=np.array([s.missing for s in part], np.uint32),
        )  # fmt: skip


def run(segments: Sequence[Seg], *, size: int = 1000, limits: Limits | None = None, vector: bool = True) -> list[EventBatch]:
    """All events of the segments, the closing ones included."""
    reassembler = Reassembler(limits or Limits(), vector=vector)
    events = [reassembler.handle(batch) for batch in batches(segments, size)]
    return [*events, *reassembler.finish()]


def rows(events: Sequence[EventBatch], name: str) -> list[dict[str, Any]]:
    """The rows of one table over all batches, as plain dictionaries, by stream, in order within."""
    found = []
    for batch in events:
        table = getattr(batch, name)
        if table is not None:
            columns = [column.tolist() for column in table]
            found += [dict(zip(table._fields, row, strict=True)) for row in zip(*columns, strict=True)]
    return sorted(found, key=lambda row: row["stream"])


def everything(events: Sequence[EventBatch]) -> dict[str, list[dict[str, Any]]]:
    """All tables."""
    return {name: rows(events, name) for name in TABLES if name != 'frontiers'}
