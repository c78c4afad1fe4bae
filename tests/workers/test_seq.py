"""32-bit serial arithmetic: the scalar and the vector form, and what RFC 9293 3.4 asks of both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.seq import MASK, distance, distances

NUMBERS = st.one_of(st.integers(0, MASK), st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**31 + 1, MASK - 1, MASK]))


@pytest.mark.parametrize(
    ("a", "b", "steps"),
    [
        (0, 0, 0),
        (0, 1, 1),
        (1, 0, -1),
        (MASK, 0, 1),
        (0, MASK, -1),
        (MASK - 9, 10, 20),
        (0, 2**31 - 1, 2**31 - 1),
        (0, 2**31, -(2**31)),
        (2**31, 0, -(2**31)),
    ],
)
def test_the_short_way_round_the_circle(a: int, b: int, steps: int) -> None:
    """A distance is the short way round; exactly half the circle counts as behind."""
    assert distance(a, b) == steps


@given(NUMBERS, NUMBERS)
def test_walking_the_distance_arrives(a: int, b: int) -> None:
    """``a`` plus the distance to ``b`` is ``b`` on the circle, and no more than half of it."""
    steps = distance(a, b)
    assert (a + steps) & MASK == b
    assert -(2**31) <= steps < 2**31


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=50))
def test_the_vector_form_agrees(pairs: list[tuple[int, int]]) -> None:
    """``distances`` is ``distance`` of each pair, without an overflow on the way."""
    a, b = np.array(pairs, np.uint32).T
    found = distances(np.ascontiguousarray(a), np.ascontiguousarray(b))
    assert found.dtype == np.int64
    assert found.tolist() == [distance(x, y) for x, y in pairs]
