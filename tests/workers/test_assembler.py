"""Byte ranges of one direction, against a plain map of bytes."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.assembler import Assembler, Origin
from workers.limits import Limits


def origin(number: int) -> Origin:
    """Tells the insertions apart."""
    return Origin(1000 * number, number, number)


@pytest.mark.parametrize(
    ("there", "span", "new", "old", "left"),
    [
        ([], (0, 5), [(0, 5)], [], [(0, 5)]),
        ([(0, 5)], (5, 9), [(5, 9)], [], [(0, 9)]),
        ([(5, 9)], (0, 5), [(0, 5)], [], [(0, 9)]),
        ([(0, 5)], (6, 9), [(6, 9)], [], [(0, 5), (6, 9)]),
        ([(6, 9)], (0, 5), [(0, 5)], [], [(0, 5), (6, 9)]),
        ([(0, 5)], (0, 5), [], [(0, 5)], [(0, 5)]),
        ([(0, 9)], (2, 5), [], [(2, 5)], [(0, 9)]),
        ([(2, 5)], (0, 9), [(0, 2), (5, 9)], [(2, 5)], [(0, 9)]),
        ([(0, 5)], (3, 9), [(5, 9)], [(3, 5)], [(0, 9)]),
        ([(3, 9)], (0, 5), [(0, 3)], [(3, 5)], [(0, 9)]),
        ([(0, 2), (4, 6), (8, 9)], (1, 9), [(2, 4), (6, 8)], [(1, 2), (4, 6), (8, 9)], [(0, 9)]),
        ([(-9, -5)], (-5, 0), [(-5, 0)], [], [(-9, 0)]),
        ([(0, 5), (6, 9)], (5, 6), [(5, 6)], [], [(0, 9)]),
    ],
)
def test_an_insertion_splits_into_new_and_old(
    there: list[tuple[int, int]],
    span: tuple[int, int],
    new: list[tuple[int, int]],
    old: list[tuple[int, int]],
    left: list[tuple[int, int]],
) -> None:
    """Every way in which a segment can meet what is there: its new pieces, its old ones, the ranges after."""
    ranges = Assembler()
    for number, (start, end) in enumerate(there):
        ranges.insert(start, end, origin(number))
    assert ranges.insert(*span, origin(9)) == (new, old)
    assert [(start, end) for start, end, _ in ranges.ranges()] == left


SPANS = st.lists(st.tuples(st.integers(-60, 60), st.integers(1, 25)), max_size=40)


@given(SPANS)
def test_the_ranges_are_the_bytes(spans: list[tuple[int, int]]) -> None:
    """After any insertions: sorted, disjoint, not adjacent; the bytes, first come; the first byte's place."""
    ranges = Assembler()
    places: dict[int, int] = {}
    for number, (start, size) in enumerate(spans):
        end = start + size
        new, old = ranges.insert(start, end, origin(number))
        fresh = [at for at in range(start, end) if at not in places]
        assert [at for low, high in new for at in range(low, high)] == fresh
        assert sorted([at for low, high in [*new, *old] for at in range(low, high)]) == list(range(start, end))
        for at in fresh:
            places[at] = 1000 * number + at - start
    found = ranges.ranges()
    assert [at for start, end, _ in found for at in range(start, end)] == sorted(places)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    assert [source.place for _, _, source in found] == [places[start] for start, _, _ in found]
    assert len(ranges) == len(found)


@given(SPANS, st.integers(-80, 100), st.integers(0, 60))
def test_questions_about_the_ranges(spans: list[tuple[int, int]], at: int, size: int) -> None:
    """``reach``, ``after`` and ``between`` say what a map of bytes says."""
    ranges = Assembler()
    there: set[int] = set()
    for number, (start, length) in enumerate(spans):
        ranges.insert(start, start + length, origin(number))
        there.update(range(start, start + length))
    reach = at
    while reach in there:
        reach += 1
    assert ranges.reach(at) == reach
    begins = [byte for byte in sorted(there) if byte > at and byte - 1 not in there]
    after = ranges.after(at)
    assert (after and after[0]) == (begins[0] if begins else None)
    assert ranges.between(at, at + size) == len(there.intersection(range(at, at + size)))


def test_folding_makes_the_lowest_range_final() -> None:
    """``fold`` hands out the lowest range, and all below the next one is final from then on."""
    ranges = Assembler()
    for number, start in enumerate((0, 10, 20)):
        ranges.insert(start, start + 5, origin(number))
    assert ranges.floor is None
    assert ranges.fold() == (0, 5, origin(0))
    assert ranges.floor == 10
    assert ranges.fold() == (10, 15, origin(1))
    assert ranges.floor == 20
    assert [(start, end) for start, end, _ in ranges.ranges()] == [(20, 25)]


def test_a_hole_keeps_its_age() -> None:
    """Data that makes a hole smaller from above does not make it younger; the place is the new first byte's."""
    ranges = Assembler()
    ranges.insert(10, 20, Origin(500, 7, 70))
    ranges.insert(8, 10, Origin(900, 8, 80))
    assert ranges.ranges() == [(8, 20, Origin(900, 7, 70))]


def test_an_insertion_among_many_ranges_costs_little() -> None:
    """With as many ranges as the limit allows, an insertion in the worst order does not walk them all."""
    ranges = Assembler()
    count = Limits().ranges_per_direction
    begin = time.process_time()
    for at in range(count, 0, -1):  # downwards: each goes to the front
        ranges.insert(2 * at, 2 * at + 1, Origin(at, 0, 0))
    for at in range(1, count):
        ranges.insert(2 * at + 1, 2 * at + 2, Origin(at, 0, 0))
    assert time.process_time() - begin < 100e-6 * 2 * count  # measured: 6 us each; a walk takes 300
    assert len(ranges) == 1
