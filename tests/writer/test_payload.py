"""Pieces of a Data table and their bytes, against a twin that goes row by row, over inputs and a spool."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.memory import SPOOL
from pipeline.writer.payload import Payload, Piece, cut, pieces
from tests.effort import examples
from tests.writer.feed import table
from workers.contract import INPUT_SHIFT, NO_EXTENTS, U8, Data, EventBatch, Extents

SIZE = 10_240  # bytes of each input
INPUTS = [np.random.default_rng(number).integers(0, 256, SIZE).astype(np.uint8) for number in range(4)]
SPOOLED = {2: 0, 3: 3000}
"""Inputs that lie in the spool, from this offset on; below it the input itself is read."""
HALF = 5000  # the second window of a spooled input
WINDOWS = [(2, 0, SIZE), (2, HALF, 40_000), (3, 3000, 20_000), (3, HALF, 3)]
"""Input, offset, and where in the spool: neighbours need not lie side by side."""


def extents() -> Extents:
    start = [number << INPUT_SHIFT | offset for number, offset, _ in WINDOWS]
    return Extents(np.array(start, np.uint64), np.array([place for _, _, place in WINDOWS], np.uint64))


def spool() -> U8:
    """The windows where the extents say."""
    made = np.zeros(60_000, np.uint8)
    for number, offset, place in WINDOWS[::-1]:
        stop = HALF if offset < HALF else SIZE
        made[place : place + stop - offset] = INPUTS[number][offset:stop]
    return made


ARRAYS = {0: INPUTS[0], 1: INPUTS[1], 3: INPUTS[3].copy(), SPOOL: spool()}
ARRAYS[3][3000:] = 0  # must not be read there


def payload_of(data: Data | None, table_of: Extents = NO_EXTENTS) -> Payload:
    return Payload(ARRAYS.__getitem__, EventBatch(0, table_of, data=data))


class Row(NamedTuple):
    stream: int
    offset: int
    start: int  # address
    size: int

    def bytes(self) -> bytes:
        at = self.start & (1 << INPUT_SHIFT) - 1
        return INPUTS[self.start >> INPUT_SHIFT][at : at + self.size].tobytes()


def data_of(rows: list[Row]) -> Data:
    made = table(Data, [(r.stream, 0, r.offset, r.start, r.size, 1, 0) for r in rows])
    assert isinstance(made, Data)
    return made


def slow_pieces(rows: list[Row]) -> list[Piece]:
    """Row by row."""
    found: list[list[int]] = []
    for i, row in enumerate(rows):
        before = rows[i - 1]
        follows = row.stream == before.stream and row.offset == before.offset + before.size
        if i and follows and row.start >> INPUT_SHIFT == before.start >> INPUT_SHIFT:
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
def tables(draw: st.DrawFn, inputs: int = 1) -> list[Row]:
    """Streams of one or two, with jumps; long rows of one size are frequent."""
    rows: list[Row] = []
    for _ in range(draw(st.integers(1, 6))):
        stream, offset = draw(st.integers(2, 3)), draw(st.integers(-50, 50))
        number = draw(st.integers(0, inputs - 1))
        size = draw(st.integers(1, 40))
        sizes = [size] * draw(st.integers(1, 60)) + draw(st.lists(st.integers(1, 40), max_size=2))
        for each in sizes:
            half = draw(st.sampled_from([0, 3000, HALF]))  # a packet lies in one window
            start = half + draw(st.integers(0, (3000 if not half else HALF - 3000 if half < HALF else HALF) - each))
            rows.append(Row(stream, offset, number << INPUT_SHIFT | start, each))
            offset += each
    return rows


def check_bytes(rows: list[Row], payload: Payload) -> None:
    found = pieces(cut(data_of(rows)))
    assert found == slow_pieces(rows)
    for piece in found:
        expected = b"".join(row.bytes() for row in rows[piece.low : piece.high])
        for even in {piece.even, False}:
            assert b"".join(payload.gather(piece.low, piece.high, even=even)) == expected
            assert [bytes(each) for each in payload.gather(piece.low, piece.high, even=even, whole=True)] == [expected]
    starts = np.array([row.start for row in rows], np.uint64)
    assert [bytes(each) for each in payload.slices(starts, [r.size for r in rows])] == [r.bytes() for r in rows]


@examples(60)
@given(tables())
def test_pieces_and_bytes_are_the_twins(rows: list[Row]) -> None:
    """A piece is all rows that continue one another; its buffers together are their bytes in order."""
    check_bytes(rows, payload_of(data_of(rows)))


@examples(60)
@given(tables(inputs=4))
def test_bytes_of_several_inputs_are_the_twins(rows: list[Row]) -> None:
    """Mapped inputs, spooled ones in several windows, and one of both kinds, in one batch: a piece ends with its
    input, and its bytes come from where the extents say."""
    check_bytes(rows, payload_of(data_of(rows), extents()))


@examples(60)
@given(tables(inputs=2))
def test_bytes_of_mapped_inputs_are_the_twins(rows: list[Row]) -> None:
    """The same where nothing is spooled."""
    check_bytes(rows, payload_of(data_of(rows)))


@pytest.mark.parametrize("count", [1, 2, 24, 25, 26, 200])
def test_rows_of_one_size_to_the_end_of_an_input(count: int) -> None:
    """The last byte of an input is within reach of every way of gathering."""
    size = 7
    rows = [Row(2, i * size, SIZE - size * (count - i), size) for i in range(count)]
    payload, expected = payload_of(data_of(rows)), INPUTS[0][-size * count :].tobytes()
    assert b"".join(payload.gather(0, count, even=True)) == expected
    assert bytes(payload.gather(0, count, even=True, whole=True)[0]) == expected
    rows[-1] = rows[-1]._replace(start=rows[-1].start + 3, size=4)
    assert bytes(payload_of(data_of(rows)).gather(0, count, even=True, whole=True)[0]) == expected[:-7] + expected[-4:]


def test_a_long_even_piece_is_few_buffers() -> None:
    """One write call takes at most 1,024 buffers: what is long and even comes as two."""
    rows = [Row(2, i * 8, 8 * i, 8) for i in range(1000)] + [Row(2, 8000, 0, 3)]
    assert len(payload_of(data_of(rows)).gather(0, 1001, even=True)) == 2


def test_slices_without_data() -> None:
    """A batch of overlaps alone needs its bytes too; a slice of nothing is nothing."""
    [found, nothing] = payload_of(None).slices(np.array([3, 9], np.uint64), [4, 0])
    assert bytes(found) == INPUTS[0][3:7].tobytes()
    assert bytes(nothing) == b""
