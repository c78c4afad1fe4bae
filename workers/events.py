"""Collects what a worker has to say about one batch, and makes an EventBatch of it.

Knows: the event tables of the contract. Does not know: TCP.
Invariant: the rows of one stream stand together in their table and in capture order, whichever path
(vector blocks or single rows) they came from; a stream takes one path only within a batch.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from workers.contract import (
    I64,
    KEY_WORDS,
    U8,
    U16,
    U32,
    U64,
    Closed,
    Connections,
    Data,
    EventBatch,
    Extents,
    Frontiers,
    Gaps,
    Opened,
    Overlaps,
    Parts,
    Rebases,
    Runs,
    Untakens,
)

TABLES: dict[str, Any] = {
    "opened": Opened,
    "rebases": Rebases,
    "parts": Parts,
    "data": Data,
    "overlaps": Overlaps,
    "gaps": Gaps,
    "frontiers": Frontiers,
    "untaken": Untakens,
    "runs": Runs,
    "closed": Closed,
    "connections": Connections,
}
"""Fields of EventBatch and their tables, in the order in which they are to be applied."""

_NUMPY: dict[object, Any] = {U8: np.uint8, U16: np.uint16, U32: np.uint32, U64: np.uint64, I64: np.int64}


def dtypes(table: type[Any]) -> dict[str, np.dtype[Any]]:
    """Column names of a table and their dtypes, read off the contract's annotations; what is no column left out."""
    return {name: np.dtype(_NUMPY[kind]) for name, kind in table.__annotations__.items() if kind in _NUMPY}


_DTYPES = {name: dtypes(table) for name, table in TABLES.items()}


class Events:
    """Rows (tuples in the order of the table's columns) and blocks (whole tables) of one batch."""

    def __init__(self, number: int, extents: Extents, counters: Counter[str] | None = None) -> None:
        """``counters`` gets what is counted and belongs to no row."""
        self.number = number
        self.extents = extents
        self.packet = 0  # the one that is being judged; 0: connections are being closed
        self.counters = Counter() if counters is None else counters
        self.mixed = False  # rows of one stream's bytes may be in a block and by themselves
        self.rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
        self.blocks: dict[str, list[Any]] = {name: [] for name in TABLES}

    def row(self, name: str, row: tuple[Any, ...]) -> None:
        """One event. Its first column is the stream."""
        self.rows[name].append(row)

    def block(self, name: str, table: Any) -> None:
        """A table of events whose streams stand together already."""
        if len(table.stream):
            self.blocks[name].append(table)

    def build(self) -> EventBatch:
        """All of it; the tables that hold nothing are None."""
        return EventBatch(self.number, self.extents, **{name: self._table(name) for name in TABLES})

    def _table(self, name: str) -> Any:
        blocks = self.blocks[name]
        if rows := self.rows[name]:
            rows.sort(key=_stream)  # stable: capture order stays
            columns = zip(*rows, strict=True)
            blocks = [*blocks, TABLES[name](*map(_column, columns, _DTYPES[name].items()))]
        if not blocks:
            return None
        if len(blocks) == 1:
            return blocks[0]
        table = TABLES[name](*(np.concatenate(column) for column in zip(*blocks, strict=True)))
        if self.mixed and name in ("data", "overlaps"):
            order = np.lexsort((table.packet, table.stream))
            table = TABLES[name](*(column[order] for column in table))
        return table


def untaken_in(events: EventBatch) -> list[tuple[int, int]]:
    """Packet numbers and reasons of the segments that no stream took."""
    table = events.untaken
    return [] if table is None else list(zip(table.packet.tolist(), table.reason.tolist(), strict=True))


def add_told(told: list[int], events: EventBatch) -> None:
    """Adds what a writer is told of: bytes, overlapping bytes, streams.

    A worker counts it as it says it, a writer as it has done it; what is between the two when a writer dies is lost."""
    if events.data is not None:
        told[0] += int(events.data.size.sum(dtype="int64"))
    if events.overlaps is not None:
        told[1] += int(events.overlaps.size.sum(dtype="int64"))
    if events.opened is not None:
        told[2] += len(events.opened.stream)


def _stream(row: tuple[Any, ...]) -> int:
    return int(row[0])


def _column(values: tuple[Any, ...], field: tuple[str, np.dtype[Any]]) -> Any:
    name, dtype = field
    column = np.array(values, dtype=dtype)
    return column.reshape(-1, KEY_WORDS) if name == "key" else column
