"""Which file of a stream holds an offset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer.names import Endpoints
from pipeline.writer.stream import Stream

ENDS = Endpoints("10.0.0.1", 1, "10.0.0.2", 2, (), 2)


def stream(*, md5: bool = True, suffix: str = "") -> Stream:
    return Stream(2, "name", suffix, ENDS, b"", md5=md5)


@given(st.lists(st.integers(1, 100), unique=True, max_size=8), st.integers(-5, 110))
def test_a_byte_is_in_the_last_part_that_starts_at_or_before_it(starts: list[int], offset: int) -> None:
    """In whatever order parts begin; an offset in front of all of them is the first file's."""
    made = stream()
    for start in starts:
        made.begin_part(start)
    file, start = made.part(offset)
    below = [at for at in starts if at <= offset]
    assert start == (max(below) if below else 0)
    assert file.name == (f"name@{max(below)}" if below else "name")
    assert [at for at, _ in made.files()] == [0, *sorted(starts)]


def test_moving_the_origin_says_how_far() -> None:
    """The file shifts by the distance from the start before, not from 0; what was hashed is hashed again."""
    made = stream()
    assert not made.stale
    assert made.move_origin(-10) == 10
    assert made.move_origin(-25) == 15
    assert made.stale
    made.begin_part(100)
    assert [file.name for _, file in made.files()] == ["name", "name@125"]


def test_a_provisional_name_is_that_of_every_file() -> None:
    """Parts carry their stream's suffix, so that they can lose it together."""
    made = stream(suffix="~1")
    made.begin_part(50)
    assert [file.name for _, file in made.files()] == ["name~1", "name~1@50"]
    assert made.name == "name"


def test_hashing_is_by_request() -> None:
    """A stream without -md5 has no digest to feed."""
    assert stream(md5=False).digest is None
