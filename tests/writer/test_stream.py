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


@given(
    st.integers(-20, 0), st.integers(0, 50), st.lists(st.integers(1, 100), unique=True, max_size=3),
    st.integers(200, 300), st.lists(st.integers(-30, -1), max_size=3),
)  # fmt: skip
def test_a_stream_that_follows_leaves_the_files_before_it_where_they_are(
    origin: int, base: int, starts: list[int], behind: int, origins: list[int]
) -> None:
    """With -R, however often its own start moves down; its first byte stays at its base, its parts are named by
    their place."""
    before, later = stream(), Stream(8, "other", "", ENDS, b"", md5=False)
    before.base, before.origin = base, origin
    for start in starts:
        before.begin_part(start)
    there = [(start - before.origin + before.base, file) for start, file in before.files()]
    later.follow(before, behind)
    later.begin_part(40)
    for lower in sorted(origins, reverse=True):
        later.move_origin(lower)
    assert [(at - later.origin + behind, file) for at, file in later.files()[:-1]] == there
    place, file = there[-1]
    assert later.home() == (place - behind + later.origin, file)
    assert later.part(later.origin) == later.home()[::-1]
    assert later.own_parts() == [(40, later.files()[-1][1])]
    assert later.part_name(40) == f"name@{40 - later.origin + behind}"


def test_a_provisional_name_is_that_of_every_file() -> None:
    """Parts carry their stream's suffix, so that they can lose it together."""
    made = stream(suffix="~1")
    made.begin_part(50)
    assert [file.name for _, file in made.files()] == ["name~1", "name~1@50"]
    assert made.name == "name"


def test_hashing_is_by_request() -> None:
    """A stream without -md5 has no digest to feed."""
    assert stream(md5=False).digest is None
