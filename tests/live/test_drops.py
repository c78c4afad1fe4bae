"""Counters of the kernel that wrap, and what is said of drops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.live.drops import Drops
from pipeline.live.interface import Counts

steps = st.lists(st.tuples(*[st.integers(0, 2**31 - 1)] * 3), max_size=10)


@given(steps)
def test_the_kernels_counters_may_wrap(moves: list[tuple[int, int, int]]) -> None:
    """Whatever they begin with, the sums are those of what happened."""
    drops, now = Drops(), Counts(0, 0, 0)
    totals = [0, 0, 0]
    received = 0
    for move in moves:
        then = Counts._make((a + b) % 2**32 for a, b in zip(now, move, strict=True))
        received += drops.kernel(now, then)[0]
        now = then
        totals = [a + b for a, b in zip(totals, move, strict=True)]
    assert [received, drops.packets["kernel"], drops.packets["interface"]] == totals


def test_an_interface_that_begins_anew_has_dropped_nothing() -> None:
    """A driver that is loaded anew counts from 0: that is no drop of four milliards."""
    drops = Drops()
    drops.kernel(Counts(5, 0, 1000), Counts(9, 0, 3))
    assert not drops.packets["interface"]


def test_seconds_with_drops_are_counted() -> None:
    """Once each, whatever was dropped in it."""
    drops = Drops()
    for packets in (0, 3, 0, 1, 0):
        drops.ours("spool", packets, 10 * packets)
        drops.second()
    found = drops.counters()
    assert (found["dropped.seconds"], found["dropped.spool"], found["dropped.spool.bytes"]) == (2, 4, 40)
    assert found["dropped.kernel"] == found["dropped.unfinished"] == 0
