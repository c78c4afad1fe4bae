"""Rows and blocks become tables: types, order, and None for nothing."""

from __future__ import annotations

import numpy as np
import pytest

from workers.contract import KEY_WORDS, NO_EXTENTS, EventBatch, Frontiers, Opened, PacketBatch
from workers.events import TABLES, Events, dtypes


def test_every_table_has_its_place() -> None:
    """The tables are the fields of EventBatch, in the order in which they apply, and each begins with its stream."""
    assert ("number", "extents", *TABLES) == EventBatch._fields
    for table in TABLES.values():
        assert table._fields[:2] == ("stream", "shard")


def test_types_are_the_contract_s() -> None:
    """Column types are read off the annotations; plain numbers and the extents are no columns."""
    assert dtypes(Frontiers) == {"stream": np.uint64, "shard": np.uint8, "offset": np.int64}
    assert set(PacketBatch._fields) - set(dtypes(PacketBatch)) == {"number", "clock", "extents"}


def test_nothing_is_none() -> None:
    """Tables that hold nothing are None; an empty block is nothing."""
    events = Events(4, NO_EXTENTS)
    empty = np.zeros(0, np.int64)
    events.block("frontiers", Frontiers(empty.astype(np.uint64), empty.astype(np.uint8), empty))
    assert events.build() == EventBatch(4, NO_EXTENTS)


def test_rows_stand_by_stream_in_the_order_said() -> None:
    """Rows are sorted by stream; within one they stay as they were said. Blocks come first, untouched."""
    events = Events(0, NO_EXTENTS)
    block = Frontiers(np.array([9, 9], np.uint64), np.zeros(2, np.uint8), np.array([1, 0], np.int64))
    events.block("frontiers", block)
    for row in ((7, 0, 5), (3, 0, -8), (7, 0, 2), (3, 0, -(2**63))):
        events.row("frontiers", row)
    table = events.build().frontiers
    assert table is not None
    assert table.stream.tolist() == [9, 9, 3, 3, 7, 7]
    assert table.offset.tolist() == [1, 0, -8, -(2**63), 5, 2]
    assert [column.dtype for column in table] == list(dtypes(Frontiers).values())


@pytest.mark.parametrize("name", TABLES)
def test_a_row_becomes_typed_columns(name: str) -> None:
    """Each table's rows get the contract's types, at the bounds of what they hold; a key is KEY_WORDS words."""
    expected = dtypes(TABLES[name])
    row = tuple((2**64 - 1,) * KEY_WORDS if field == "key" else np.iinfo(kind).max for field, kind in expected.items())
    events = Events(0, NO_EXTENTS)
    events.row(name, tuple(value if isinstance(value, tuple) else int(value) for value in row))
    table = getattr(events.build(), name)
    assert {field: column.dtype for field, column in zip(table._fields, table, strict=True)} == expected
    assert [tuple(column[0].tolist()) if column.ndim == 2 else int(column[0]) for column in table] == list(row)


def test_a_key_in_a_row() -> None:
    """The words of a key in a row become a row of the table's key column."""
    events = Events(0, NO_EXTENTS)
    events.row("opened", (2, 0, (6, 7, 8, 9, 10, 11, 12), 0, 0, 0, 0, 0, 0, 0))
    opened = events.build().opened
    assert isinstance(opened, Opened)
    assert opened.key.tolist() == [[6, 7, 8, 9, 10, 11, 12]]
