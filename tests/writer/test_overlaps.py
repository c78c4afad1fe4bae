"""Differing runs, against a twin that goes byte by byte."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer.overlaps import Differing, differing, md5


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"", b"", []),
        (b"same", b"same", []),
        (b"a", b"b", [(0, 1)]),
        (b"abcd", b"Xbcd", [(0, 1)]),
        (b"abcd", b"abcX", [(3, 1)]),
        (b"abcd", b"aXXd", [(1, 2)]),
        (b"abcde", b"XbXdX", [(0, 1), (2, 1), (4, 1)]),
        (b"abcd", b"wxyz", [(0, 4)]),
        (b"\0", b"\x80", [(0, 1)]),
    ],
)
def test_runs(old: bytes, new: bytes, expected: list[tuple[int, int]]) -> None:
    """At the edges, in the middle, everywhere, nowhere; a view is as good as bytes."""
    assert differing(old, memoryview(new)) == [Differing(*run) for run in expected]


@given(st.lists(st.tuples(st.sampled_from(b"ab"), st.sampled_from(b"ab")), max_size=60))
def test_runs_are_maximal(pairs: list[tuple[int, int]]) -> None:
    """Within a run every byte differs; in front of it, behind it and between runs none does."""
    old, new = bytes(a for a, _ in pairs), bytes(b for _, b in pairs)
    slow: list[list[int]] = []
    for at, (a, b) in enumerate(pairs):
        if a != b and slow and sum(slow[-1]) == at:
            slow[-1][1] += 1
        elif a != b:
            slow.append([at, 1])
    assert [list(run) for run in differing(old, new)] == slow


def test_a_version_is_named_by_its_md5() -> None:
    """Views and bytes give one digest."""
    assert md5(b"abc") == md5(memoryview(b"abc")) == hashlib.md5(b"abc").hexdigest()
