"""Packets of which no stream took a byte, and why: nothing that was sharded is lost without a word."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.effort import thinned
from tests.workers.test_direction import HELLO, ISN, PAST, put
from tests.workers.test_inorder import LIMITS
from tests.workers.traffic import Seg, mix, rows, run
from workers.contract import ACK, RST, SYN, Untaken
from workers.limits import GIB, Limits

OUTSIDE, NOT_DATA, STRAY = Untaken.OUTSIDE_WINDOW, Untaken.NOT_DATA, Untaken.STRAY


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([put(0, 10), put(10, 10)], []),
        ([put(0, 10), put(0, 10)], []),  # a duplicate is compared
        ([put(0, 10), put(10 + GIB + 1, 10)], [(5, OUTSIDE)]),
        ([put(-10, 10)], [(4, OUTSIDE)]),
        ([put(-10, 15)], []),  # a part of it is data
        ([put(0, 10), put(9, 1, ACK)], [(5, NOT_DATA)]),
        ([put(0, 10), put(10, 7, RST)], [(5, NOT_DATA)]),
        ([put(0, 10), Seg(1, 1, 90_000, SYN | ACK, 6, ack=ISN + 1)], [(5, STRAY)]),
        ([put(0, 10), Seg(1, 0, ISN + 7_000_000, SYN, 6)], [(5, OUTSIDE)]),  # held for a SYN-ACK: no Fast Open
        ([put(0, 10), put(10, 10, missing=10), put(20, 0)], []),  # nothing of it was captured
        ([put(0, 10, RST, missing=10)], []),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_each_reason(segments: list[Seg], expected: list[tuple[int, int]], size: int) -> None:
    """A table of cases: the packet and why none of its bytes is in a stream; packets count from HELLO's first."""
    found = rows(run([*HELLO, *segments], size=size, untaken=True), "untaken")
    assert [(row["packet"], row["reason"]) for row in found] == expected


def test_below_a_limit_s_floor() -> None:
    """Beyond the limit of ranges what still comes for the lowest of them is outside."""
    sent = [put(0, 10), put(20, 10), put(40, 10), put(10, 10)]
    [row] = rows(run([*HELLO, *sent], limits=Limits(ranges_per_direction=2), untaken=True), "untaken")
    assert (row["packet"], row["reason"]) == (7, OUTSIDE)


def test_a_midstream_start_that_no_longer_moves() -> None:
    """Data in front of a start that has become final is told."""
    sent = [put(50, 10), put(60, 1), put(61, 1), put(30, 20)]
    [row] = rows(run(sent, limits=PAST, untaken=True), "untaken")
    assert (row["packet"], row["reason"]) == (4, OUTSIDE)


def check_untaken(seed: int) -> None:
    """Told packets are those with captured payload that no Data and no Overlap names."""
    rng = random.Random(seed)
    segments = mix(rng, range(rng.randint(1, 4)))
    limits = replace(rng.choice(LIMITS), stream_bytes=None)
    if rng.random() < 0.5:
        limits = replace(limits, window_bytes=rng.choice([500, 5000]))
    events = run(segments, size=rng.choice([1, 7, 10**6]), limits=limits, vector=rng.random() < 0.7, untaken=True)
    taken = {row["packet"] for name in ("data", "overlaps") for row in rows(events, name)}
    paid = {number for number, segment in enumerate(segments, 1) if segment.size > segment.missing}
    told = [row["packet"] for row in rows(events, "untaken")]
    assert sorted(told) == sorted(paid - taken), f"seed {seed}"
    limited = run(segments, size=50, limits=replace(limits, stream_bytes=rng.choice([0, 30])), untaken=True)
    assert rows(limited, "untaken") == rows(events, "untaken"), f"seed {seed}: what lies beyond -C is known"


def test_told_are_all_that_no_stream_took_and_none_else() -> None:
    """Random traffic, however it is cut, on either path: every packet with payload is data, an overlap, or told."""
    for seed in range(20):
        check_untaken(seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_told_are_all_that_no_stream_took_at_length() -> None:
    """The same for many more seeds, and four times as many with the nightly profile."""
    for seed in thinned(range(1000, 1800), 4):
        check_untaken(seed)


def test_untold_unless_asked() -> None:
    """Without the option the table does not exist."""
    assert rows(run([*HELLO, put(-10, 10)]), "untaken") == []
