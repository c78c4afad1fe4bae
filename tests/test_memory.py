"""Addresses to places: against a walk over the extents, and inputs that are mapped when they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config
from pipeline.memory import SPOOL, Memory, places
from workers.contract import INPUT_SHIFT, NO_EXTENTS, OFFSET_MASK, Extents

TOP = OFFSET_MASK
"""The highest offset of an input."""

addresses = st.builds(
    lambda number, offset: number << INPUT_SHIFT | offset,
    st.sampled_from([0, 1, 2, 65535]),
    st.one_of(st.integers(0, 60), st.sampled_from([TOP, TOP - 1, 1 << 32])),
)


def slow_place(extents: list[tuple[int, int]], address: int) -> tuple[int, int]:
    """One address: the last window of its input that starts at or before it, else the input itself."""
    found = address >> INPUT_SHIFT, address & OFFSET_MASK
    for start, place in extents:
        if start >> INPUT_SHIFT == address >> INPUT_SHIFT and start <= address:
            found = SPOOL, place + address - start
    return found


@given(
    st.dictionaries(addresses, st.integers(0, 1 << 40), max_size=5).map(lambda made: sorted(made.items())),
    st.lists(addresses, max_size=12),
)
def test_places_are_the_twins(extents: list[tuple[int, int]], asked: list[int]) -> None:
    """Mapped and spooled inputs in one batch, several windows of one, addresses at the bounds of 48 bits."""
    table = Extents(*(np.array([row[i] for row in extents], np.uint64) for i in (0, 1)))
    source, place = places(table, np.array(asked, np.uint64))
    sources = [source] * len(asked) if isinstance(source, int) else source.tolist()
    assert place.dtype == np.int64
    assert list(zip(sources, place.tolist(), strict=True)) == [slow_place(extents, each) for each in asked]


@pytest.mark.parametrize(
    ("extents", "asked", "number"),
    [
        (NO_EXTENTS, [0, 5, TOP], 0),
        (NO_EXTENTS, [7 << INPUT_SHIFT, (7 << INPUT_SHIFT) + 9], 7),
        (Extents(np.array([3 << INPUT_SHIFT], np.uint64), np.array([8], np.uint64)), [(3 << INPUT_SHIFT) + 1], SPOOL),
    ],
)
def test_one_array_is_one_number(extents: Extents, asked: list[int], number: int) -> None:
    """The common cases, one mapped input and one that is all in the spool, cost no column of array numbers."""
    source, _ = places(extents, np.array(asked, np.uint64))
    assert source == number
    assert isinstance(source, int)


def test_inputs_are_mapped_when_asked_for(tmp_path: Path) -> None:
    """By number, the latest few at a time; what was handed out stays valid when the mapping is given up."""
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode() * 3)
    spool = np.arange(4, dtype=np.uint8)
    memory = Memory(Config(inputs=tuple(paths)), lambda: spool, keep=2)
    first = memory(0)
    assert memory(0) is first
    assert memory(SPOOL) is spool
    assert [bytes(memory(number)) for number in (1, 2)] == [b"bbb", b"ccc"]
    assert bytes(first) == b"aaa"
    assert memory(0) is not first
    assert bytes(memory(0)) == b"aaa"
