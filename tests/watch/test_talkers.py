"""Who talks most: a sketch that holds few connections, against the whole truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.watch.talkers import Talkers
from tests.workers.traffic import Seg, batches

FRAME = 54  # what tests.workers.traffic adds to a payload


def truth(segments: Sequence[Seg]) -> Counter[int]:
    """Bytes of every flow: the sketch's slow and obvious twin."""
    found: Counter[int] = Counter()
    for segment in segments:
        found[segment.flow] += segment.size + FRAME
    return found


def sketched(segments: Sequence[Seg], most: int, size: int) -> tuple[dict[int, int], int]:
    """Bytes of the flows that the sketch holds, and its error."""
    talkers = Talkers(most)
    for batch in batches(segments, size):
        talkers.add(batch)
    error = talkers.error
    return {talker.key[1]: talker.bytes for talker in talkers.take(most)}, error


segments = st.lists(
    st.builds(lambda flow, side, size: Seg(flow, side, 0, size=size), st.integers(1, 30), st.integers(0, 1),
              st.integers(0, 5000)),
    max_size=100,
)  # fmt: skip


@given(segments, st.integers(1, 8), st.integers(1, 60))
def test_no_count_is_far_from_the_truth(traffic: list[Seg], most: int, size: int) -> None:
    """However few it holds and however the traffic is cut: a count lacks no more than its part of all bytes."""
    true = truth(traffic)
    found, error = sketched(traffic, most, size)
    assert len(found) <= most
    assert found.keys() <= true.keys()
    assert error * (most + 1) <= true.total()
    assert all(true[flow] - error <= found.get(flow, 0) <= true[flow] for flow in true)


@given(segments)
def test_with_room_for_all_it_is_exact(traffic: list[Seg]) -> None:
    """Where every connection has a place, counts are the truth, the largest first."""
    found, error = sketched(traffic, 30, 17)
    assert (found, error) == (truth(traffic), 0)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_it_begins_anew_when_it_is_taken() -> None:
    """What was told once is not told again."""
    talkers = Talkers()
    for batch in batches([Seg(1, 0, 0, size=10)]):
        talkers.add(batch)
    assert [(talker.key[1], talker.bytes) for talker in talkers.take(5)] == [(1, 64)]
    assert talkers.take(5) == []
