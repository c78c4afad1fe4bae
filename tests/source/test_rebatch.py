"""Stretches of records cut anew."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.source import rebatch
from pipeline.source.records import Records


def records(begin: int, end: int) -> Records:
    numbers = np.arange(begin, end)
    return Records(
        numbers.astype(np.uint64),
        numbers.astype(np.uint32),
        numbers.astype(np.uint32),
        numbers.astype(np.int64),
        numbers.astype(np.uint16),
    )


@pytest.mark.parametrize("size", [1, 7, 1000])
@given(sizes=st.lists(st.integers(0, 50), max_size=20))
def test_batches_are_full(size: int, sizes: list[int]) -> None:
    """Batches hold exactly as many packets as asked, but the last, which is not empty; and the same ones."""
    bounds = np.cumsum([0, *sizes]).tolist()
    batches = list(rebatch((records(low, high) for low, high in pairwise(bounds)), size))
    total = bounds[-1]
    assert [len(batch.start) for batch in batches] == [size] * (total // size) + [total % size] * (total % size > 0)
    for column in range(5):
        assert [int(value) for batch in batches for value in batch[column]] == list(range(total))
