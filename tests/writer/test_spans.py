"""Runs cut where the input changes, against a map of bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer import spans as spans_module
from pipeline.writer.spans import Span, by_input, note_span
from workers.contract import INPUT_SHIFT, OFFSET_MASK


def told(seed: int, inputs: int) -> tuple[list[tuple[int, int, int]], dict[int, int]]:
    """Pieces of Data in the order of writing, and of each byte the address."""
    rng = random.Random(seed)
    pieces = []
    at = rng.randint(-30, 5)
    for _ in range(rng.randint(1, 12)):
        size = rng.randint(1, 9)
        if rng.random() < 0.85:
            pieces.append((at, size, rng.randrange(inputs) << INPUT_SHIFT | rng.randrange(1000)))
        at += size
    if rng.random() < 0.5:
        rng.shuffle(pieces)
    return pieces, {offset + i: start + i for offset, size, start in pieces for i in range(size)}


def slow_runs(where: dict[int, int], *, by_image: bool) -> list[tuple[int, int, int, int]]:
    """Contiguous bytes as (offset, size, input, place of the first); ``by_image``: of one input each."""
    runs: list[list[int]] = []
    for at in sorted(where):
        image = where[at] >> INPUT_SHIFT
        if at - 1 in where and not (by_image and where[at - 1] >> INPUT_SHIFT != image):
            runs[-1][1] += 1
        else:
            runs.append([at, 1, image, where[at] & OFFSET_MASK])
    return [(offset, size, image, place) for offset, size, image, place in runs]


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3]))
def test_a_run_is_cut_where_its_input_changes(seed: int, inputs: int) -> None:
    """In whatever order bytes were written: the same bytes, each stretch where its first byte was captured."""
    pieces, where = told(seed, inputs)
    spans: list[Span] = []
    for piece in pieces:
        note_span(spans, *piece)
    runs = slow_runs(where, by_image=False)
    assert sorted(by_input(runs[::-1], spans)) == slow_runs(where, by_image=True)


def test_neighbours_in_one_input_are_one_span() -> None:
    """A stream in order takes one entry for each change of input, not for each piece."""
    spans: list[Span] = []
    for i in range(1000):
        note_span(spans, 10 * i, 10, (i // 500) << INPUT_SHIFT | 70 * i)
    assert spans == [(0, 5000, 0), (5000, 10_000, 1 << INPUT_SHIFT | 70 * 500)]


def test_too_many_spans_leave_the_runs_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a run lies where its first byte does; what is kept does not grow."""
    monkeypatch.setattr(spans_module, "MOST_SPANS", 4)
    spans: list[Span] = []
    for i in range(9):
        note_span(spans, 10 * i, 10, i % 2 << INPUT_SHIFT)
    assert len(spans) == 4
    runs = [(0, 90, 0, 0)]
    assert by_input(runs, spans) == runs
