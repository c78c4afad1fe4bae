"""Pieces of a Data table and their bytes, against a twin that goes row by row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer.payload import Payload, Piece, pieces
from tests.writer.feed import table
from workers.contract import Data

SLAB = np.frombuffer(bytes(range(256)) * 40, np.uint8)


class Row(NamedTuple):
    stream: int
    offset: int
    start: int
    size: int


def data_of(rows: list[Row]) -> Data:
    made = table(Data, [(r.stream, 0, r.offset, r.start, r.size, 1, 0) for r in rows])
    assert isinstance(made, Data)
    return made


def slow_pieces(rows: list[Row]) -> list[Piece]:
    """Row by row."""
    found: list[list[int]] = []
    for i, row in enumerate(rows):
        before = rows[i - 1]
        if i and row.stream == before.stream and row.offset == before.offset + before.size:
            found[-1].append(i)
        else:
            found.append([i])
    told = []
    for group in found:
        sizes = [rows[i].size for i in group]
        even = len(set(sizes[:-1])) <= 1
        first = rows[group[0]]
        told.append(Piece(first.stream, first.offset, group[0], group[-1] + 1, sum(sizes), even))
    return told


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Streams of one or two, with jumps; long rows of one size are frequent."""
    rows: list[Row] = []
    for _ in range(draw(st.integers(1, 6))):
        stream, offset = draw(st.integers(2, 3)), draw(st.integers(-50, 50))
        size = draw(st.integers(1, 40))
        sizes = [size] * draw(st.integers(1, 60)) + draw(st.lists(st.integers(1, 40), max_size=2))
        for each in sizes:
            rows.append(Row(stream, offset, draw(st.integers(0, len(SLAB) - each)), each))
            offset += each
    return rows


@given(tables())
def test_pieces_and_bytes_are_the_twins(rows: list[Row]) -> None:
    """A piece is all rows that continue one another; its buffers together are their bytes in order."""
    data = data_of(rows)
    found = pieces(data)
    assert found == slow_pieces(rows)
    payload = Payload(SLAB, data)
    for piece in found:
        expected = b"".join(SLAB[r.start : r.start + r.size].tobytes() for r in rows[piece.low : piece.high])
        for even in {piece.even, False}:
            assert b"".join(payload.gather(piece.low, piece.high, even=even)) == expected


@pytest.mark.parametrize("count", [1, 2, 24, 25, 26, 200])
def test_rows_of_one_size_to_the_end_of_the_slab(count: int) -> None:
    """The last byte of the slab is within reach of every way of gathering."""
    size = 7
    rows = [Row(2, i * size, len(SLAB) - size * (count - i), size) for i in range(count)]
    payload = Payload(SLAB, data_of(rows))
    buffers = payload.gather(0, count, even=True)
    assert b"".join(buffers) == SLAB[-size * count :].tobytes()


def test_a_long_even_piece_is_few_buffers() -> None:
    """One write call takes at most 1,024 buffers: what is long and even comes as two."""
    rows = [Row(2, i * 8, 8 * i, 8) for i in range(1000)] + [Row(2, 8000, 0, 3)]
    assert len(Payload(SLAB, data_of(rows)).gather(0, 1001, even=True)) == 2


def test_a_slice_of_a_slab_without_data() -> None:
    """A batch of overlaps alone needs its slab too."""
    assert bytes(Payload(SLAB, None).slice(3, 4)) == bytes([3, 4, 5, 6])
