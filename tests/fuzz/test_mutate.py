"""mutate.py: seeded, at home in every format, and of consequence."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import mutate
from tests.fuzz.promises import OPTIONS, case
from tests.fuzz.seeds import made
from tests.source.reading import read


@pytest.mark.parametrize("name", made())
def test_a_capture_is_taken_apart_by_its_records(name: str) -> None:
    """Joined, the parts are the capture; each packet's frame stands where the parts say."""
    data = made()[name]
    capture = mutate.taken_apart(data)
    assert capture.joined() == data
    places, at = set(), len(capture.head)
    for record in capture.records:
        places.add(at + capture.frame)
        at += len(record)
    starts = [start for start, *_ in read(data).rows]
    assert starts
    assert set(starts) <= places


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_any_bytes_can_be_mutated(data: bytes, seed: int) -> None:
    """What is no capture is mutated like any other, and the same seed makes the same of it."""
    for head in (b"", b"snoop\0\0\0", b"\x0a\x0d\x0d\x0a", b"\xd4\xc3\xb2\xa1"):
        assert mutate.taken_apart(head + data).joined() == head + data
        once, again = (mutate.mutated(head + data, random.Random(seed)) for _ in range(2))
        assert once == again
        assert len(once) <= len(head + data) + mutate.MOST_TURNS * mutate.MOST_GROWTH


@pytest.mark.parametrize("way", mutate._WAYS, ids=lambda way: way.__name__)
def test_every_way_changes_something(way: Callable[[bytes, random.Random], bytes]) -> None:
    """Each kind of mutation changes most captures that it is tried on; none of them is idle."""
    data = made()["rough.pcap"]
    changed = [way(data, random.Random(seed)) != data for seed in range(20)]
    assert sum(changed) >= 15


def test_a_case_is_known_by_its_number() -> None:
    """The same seed and number: the same capture and options; others are others, and all options come up."""
    cases = [case(5, number, real=False) for number in range(200)]
    assert cases == [case(5, number, real=False) for number in range(200)]
    assert len({each.data for each in cases}) > 190
    assert {each.options for each in cases} == set(OPTIONS)
    assert {"", ".gz", ".bz2", ".xz"} == {each.suffix for each in cases}
