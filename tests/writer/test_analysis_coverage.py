"""Coverage against a map of offsets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer.analysis.coverage import Coverage

steps = st.lists(st.tuples(st.sampled_from(["bytes", "bytes", "gap"]), st.integers(0, 40), st.integers(1, 8)))


class Map:
    """The slow twin: what became of each offset."""

    def __init__(self) -> None:
        self.what: dict[int, str] = {}

    def free(self, start: int, size: int) -> int:
        """How many of these are neither there nor given up, from the first on."""
        return next((i for i in range(size) if start + i in self.what), size)

    def reach(self) -> int:
        return next(at for at in range(100) if at not in self.what)

    def holes(self, end: int) -> set[int]:
        return {at for at in range(end) if self.what.get(at, "gap") == "gap"}


@given(steps, st.integers(0, 50))
def test_reach_and_holes_are_those_of_a_map(told: list[tuple[str, int, int]], end: int) -> None:
    """Bytes and gaps in any order: where it is settled, what is late, and at the end what is missing."""
    coverage, twin = Coverage(held=False), Map()
    for what, start, size in told:
        assert coverage.late(start) == (twin.what.get(start) == "gap" or start < twin.reach())
        size = twin.free(start, size)
        if not size:
            continue
        if what == "bytes":
            coverage.add(start, start + size)
        else:
            assert coverage.give_up(start, start + size, 1)
            assert coverage.give_up(start, start + size, 1), "told twice"
        twin.what |= dict.fromkeys(range(start, start + size), what)
        list(coverage.settle())
        assert coverage.reach == twin.reach()
        assert _offsets(coverage) == {at for at in range(twin.reach()) if twin.what[at] == "gap"}
    end = max(end, coverage.reach)
    coverage.finish(0, end)
    assert coverage.reach == end
    assert _offsets(coverage) == twin.holes(end)


def _offsets(coverage: Coverage) -> set[int]:
    return {at for start, end in coverage.holes for at in range(start, end)}


def test_a_gap_that_comes_behind_some_of_its_bytes() -> None:
    """Told of the bytes first, it is refused, whether they are settled or wait."""
    settled, waiting = Coverage(held=False), Coverage(held=False)
    settled.add(0, 6)
    waiting.add(0, 4)
    waiting.add(5, 6)
    assert not settled.give_up(4, 8, 1)
    assert not waiting.give_up(4, 8, 1)
    assert waiting.give_up(4, 5, 1)


def test_what_is_held_is_released_with_the_holes_of_its_start() -> None:
    """A start that moved down left a hole, of which no gap tells: it is given up by the packet that ends the wait."""
    coverage = Coverage(held=True)
    for start, end in ((0, 10), (-20, -15), (-5, -2), (12, 14)):
        assert not coverage.late(start)
        coverage.add(start, end)
    assert list(coverage.settle()) == []
    coverage.release(-20, 77)
    assert list(coverage.settle()) == [(-20, 0), (-15, 77), (-5, 0), (-2, 77), (0, 0)]
    assert (coverage.reach, coverage.holes) == (10, [(-15, -5), (-2, 0)])
    assert coverage.late(-1)
