"""Room in a shard: who goes, when, and what finding that out costs."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.workers.traffic import Seg, batches, everything, rows, run
from workers.contract import ACK, PSH, SYN, CloseReason
from workers.limits import SECOND, Limits
from workers.reassembler import Reassembler

FLOOD = Limits(half_open_per_shard=64, connections_per_shard=256)


def flood(count: int, *, every: int = 10, step: int = 1000) -> list[Seg]:
    """SYNs of ever new tuples in one shard, 1 and 257 and so on, among the segments of ten established connections."""
    made = []
    for flow in range(10):
        key = 1 + 256 * flow
        made += [Seg(key, 0, 0, SYN), Seg(key, 1, 0, SYN | ACK, ack=1), Seg(key, 0, 1, PSH | ACK, 10, ack=1)]
    for i in range(count):
        made.append(Seg(1 + 256 * (10 + i), 0, 7 * i, SYN))
        if i % every == 0:
            turn = i // every
            made.append(Seg(1 + 256 * (turn % 10), 0, 11 + 10 * (turn // 10), PSH | ACK, 10, ack=1))
    return [segment._replace(time=i * step) for i, segment in enumerate(made)]


def counted(segments: list[Seg], limits: Limits, size: int = 1000) -> dict[str, int]:
    """The totals of a run."""
    reassembler = Reassembler(limits)
    for batch in batches(segments, size):
        reassembler.handle(batch)
    list(reassembler.finish())
    return reassembler.totals()


def test_a_flood_of_syns_takes_the_room_of_half_open_connections_only() -> None:
    """SYN flood: every byte of the connections that were there is written, and what had to go is counted exactly."""
    segments = flood(1000)
    totals = counted(segments, FLOOD)
    assert totals["written"] == sum(segment.size for segment in segments)
    assert (totals["limit.connections"], totals["connections"]) == (0, 1010)
    evicted = totals["limit.half_open"]
    assert 1000 - 64 <= evicted <= 1000 - 32
    closed = rows(run(segments, limits=FLOOD), "closed")
    assert [row["reason"] for row in closed] == [CloseReason.INPUT_END] * 10


@pytest.mark.parametrize(
    "limits",
    [
        *(pytest.param(limits, marks=pytest.mark.slow) for limits in (
            FLOOD, Limits(half_open_per_shard=1), Limits(connections_per_shard=20)
        )),
        Limits(half_open_per_shard=7, connections_per_shard=9),
        replace(FLOOD, half_open_ns=SECOND // 20, idle_ns=SECOND // 4),
    ],
)  # fmt: skip
def test_who_goes_does_not_depend_on_batches_or_the_path(limits: Limits) -> None:
    """At the limit of a shard, with connections that expire meanwhile, come back, and are evicted while they carry."""
    segments = flood(300, every=3, step=SECOND // 1000)
    whole = everything(run(segments, size=10**6, limits=limits))
    for size, vector in ((1, True), (7, True), (64, True), (200, True), (64, False)):
        assert everything(run(segments, size=size, vector=vector, limits=limits)) == whole


def seconds(count: int, limits: Limits) -> float:
    """Processor time of so many connections in a shard, the lesser of two."""
    segments = list(batches([Seg(1 + 256 * i, 0, 0, PSH | ACK, 5, time=i * SECOND) for i in range(count)], 1000))
    spent = []
    for _ in range(2):
        reassembler = Reassembler(limits)
        begin = time.process_time()
        for batch in segments:
            reassembler.handle(batch)
        spent.append(time.process_time() - begin)
        assert reassembler.totals()["connections"] >= count - limits.connections_per_shard
    return min(spent)


def test_a_full_shard_costs_little_more_than_one_with_room() -> None:
    """A shard at its limit, where one expires for each that comes: no search of the table for each of them."""
    full = seconds(8_000, Limits(connections_per_shard=2_000, idle_ns=1_999 * SECOND, closed_ns=1_999 * SECOND))
    assert full < 8 * seconds(8_000, Limits()), full
