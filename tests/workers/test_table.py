"""The table of connections: growth, expiry, eviction, counters."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

from tests.workers.traffic import SECOND, Seg, batches, everything, mix, rows, run, words
from workers.contract import ACK, BACK, FIN, NO_EXTENTS, RST, SYN, CloseReason, Completeness, Progress
from workers.events import Events
from workers.index import keyed_hashes
from workers.limits import Limits
from workers.reassembler import Reassembler
from workers.table import Table


def test_a_table_grows_and_keeps_its_rows() -> None:
    """Beyond its first size the table doubles: every key still finds its own row, with what it held."""
    table = Table(Limits())
    flows = list(range(40_000))
    where = []
    for at in range(0, len(flows), 7000):
        part = flows[at : at + 7000]
        keys = words(part)
        new = table.add(keys, np.array(part, np.uint64).astype(np.uint8))
        table.rows["ident"][new] = part
        table.sides["seen"][2 * new + 1] = part
        where += new.tolist()
    assert len(set(where)) == len(flows)
    found = table.find(words(flows))
    assert found.tolist() == where
    assert table.rows["ident"][found].tolist() == flows
    assert table.sides["seen"][2 * found + 1].tolist() == flows
    assert not table.sides["seen"][2 * found].any()
    assert len(table.live()) == len(flows)
    assert table.find(words([99_999])).tolist() == [-1]


def test_rows_are_used_again() -> None:
    """A row that was closed is given to the next connection, empty."""
    table = Table(Limits())
    keys = words([1])
    [first] = table.add(keys, np.array([3], np.uint8)).tolist()
    table.sides["seen"][2 * first] = 9
    table.close(np.array([first]), CloseReason.IDLE, Events(0, NO_EXTENTS))
    assert (len(table.of_shards(np.array([3]))), len(table.index)) == (0, 0)
    keys = words([2])
    [second] = table.add(keys, np.array([4], np.uint8)).tolist()
    assert second == first
    assert table.sides["seen"][2 * second] == 0
    assert (len(table.of_shards(np.array([3]))), len(table.of_shards(np.array([4])))) == (0, 1)


@pytest.mark.parametrize(
    ("segments", "patience"),
    [
        ([Seg(1, 0, 1, SYN)], "half_open_ns"),
        ([Seg(1, 0, 1, SYN), Seg(1, 1, 9, SYN | ACK, ack=2)], "idle_ns"),
        ([Seg(1, 0, 1, ACK, 5)], "idle_ns"),
        ([Seg(1, 0, 1, ACK, 5), Seg(1, 1, 9, RST)], "closed_ns"),
        ([Seg(1, 0, 1, ACK | FIN, 5), Seg(1, 1, 9, FIN | ACK, ack=7)], "closed_ns"),
        ([Seg(1, 0, 1, ACK, 5), Seg(1, 0, 9, ACK | FIN), Seg(1, 1, 9, FIN | ACK)], "idle_ns"),
    ],
)
def test_how_long_a_connection_is_remembered(segments: list[Seg], patience: str) -> None:
    """Half open, open, closed (RST, FINs and all data): each has its own time, and both paths agree on it."""
    limits = Limits(half_open_ns=10, closed_ns=20, idle_ns=30)
    wait: int = getattr(limits, patience)
    for vector in (True, False):
        for clock, alive in ((wait, 1), (wait + 1, 0)):
            reassembler = Reassembler(limits, vector=vector)
            for batch in batches(segments):
                reassembler.handle(batch)
            [row] = reassembler.table.find(words([1])).tolist()
            assert reassembler.table.load(row).expires(limits) == wait
            reassembler.table.expire(clock, Events(0, NO_EXTENTS))
            assert len(reassembler.table.live()) == alive


def test_sweeps_change_nothing() -> None:
    """Expired connections are closed with the same rows whether a sweep finds them, a packet, or the end."""
    rng = random.Random(3)
    limits = Limits(idle_ns=5 * SECOND, closed_ns=2 * SECOND, half_open_ns=SECOND)
    segments = []
    for i in range(400):
        flags = rng.choice([ACK, ACK, ACK, SYN, FIN | ACK, RST])
        size = 0 if flags & (SYN | RST) else 10
        segments.append(Seg(rng.randrange(6), rng.randrange(2), 10 * i, flags, size, time=i * SECOND // 2))
    whole = everything(run(segments, size=10**6, limits=limits))
    assert sum(row["reason"] == CloseReason.IDLE for row in whole["closed"]) > 20
    for size in (1, 3, 11):  # sweeps come every 16 batches
        assert everything(run(segments, size=size, limits=limits)) == whole


def test_a_clock_that_only_other_flows_move_expires_too() -> None:
    """Time is the input's: a batch without packets of a worker still carries the clock."""
    reassembler = Reassembler(Limits(idle_ns=SECOND))
    first, second = batches([Seg(1, 0, 1, ACK, 5), Seg(2, 0, 1, ACK, 5, time=9 * SECOND)], size=1)
    reassembler.handle(first)
    none = second._replace(**{name: getattr(second, name)[:0] for name in second._fields[3:]})
    reassembler.handle(none)
    [closed] = rows(list(reassembler.finish()), "closed")
    assert closed["reason"] == CloseReason.IDLE


def test_who_is_evicted() -> None:
    """At a shard's limit an eighth goes: half-open ones first, then closed ones, then the longest idle."""
    limits = Limits(connections_per_shard=8)
    shard = [256 * i for i in range(20)]
    opened = [Seg(shard[i], 0, 1, ACK, 5) for i in range(5)]
    closed = [Seg(shard[5], 0, 1, ACK, 5), Seg(shard[5], 1, 9, RST)]
    half = [Seg(shard[6], 0, 1, SYN), Seg(shard[7], 0, 1, SYN)]
    late = [Seg(shard[i], 0, 1, ACK, 5) for i in range(8, 13)]
    segments = [s._replace(time=i) for i, s in enumerate([*opened, *closed, *half, opened[0], *late])]
    reassembler = Reassembler(limits)
    gone = []
    before: set[int] = set()
    for batch in batches(segments, size=1):
        reassembler.handle(batch)
        indices = reassembler.table.index, reassembler.table.lone.index
        after = {int(key) for index in indices for key in index.keys[index.live()][:, 1]}
        gone += sorted(before - after)
        before = after
    assert [flow // 256 for flow in gone] == [6, 7, 5, 1, 2]
    assert reassembler.totals()["limit.connections"] == 5


def test_a_limit_of_one_shard_is_no_other_shard_s() -> None:
    """Evictions in one virtual shard leave the others alone."""
    limits = Limits(connections_per_shard=2)
    segments = [Seg(flow, 0, 1, ACK, 5) for flow in (1, 2, 3, 256 + 1, 512 + 1, 768 + 1)]
    reasons = {row["stream"] >> 1: row["reason"] for row in rows(run(segments, limits=limits), "closed")}
    assert [packet for packet, reason in reasons.items() if reason == CloseReason.EVICTED] == [1, 4]


def test_counters_outlive_connections() -> None:
    """The counter of a tuple goes on after its connections were forgotten: names stay unique."""
    limits = Limits(idle_ns=SECOND, connections_per_shard=1)
    segments = [Seg(256 * (i % 2), 0, 1000 * i, ACK, 5, time=3 * SECOND * (i // 4)) for i in range(12)]
    counters = [(row["key"][1], row["counter"]) for row in rows(run(segments, limits=limits), "opened")]
    assert len(set(counters)) == len(counters)
    assert sorted(counters) == [(flow, counter) for flow in (0, 256) for counter in range(6)]


@pytest.mark.parametrize("vector", [True, False])
def test_connections_are_told_when_asked_for(vector: bool) -> None:
    """One row for each connection, whether it had payload or not; together they have every packet, and what
    they say of a stream is what its row of Closed says. Nothing else changes, and unasked there are none."""
    for seed in range(16):
        segments = mix(random.Random(seed), range(6))
        quiet = everything(run(segments, vector=vector))
        found = everything(run(segments, size=37, vector=vector, connections=True))
        told = found.pop("connections")
        assert quiet.pop("connections") == []
        assert found == quiet
        assert len({row["stream"] for row in told}) == len(told)
        assert not any(row["stream"] & 1 for row in told)
        assert sum(row["packets"] + row["back_packets"] for row in told) == len(segments)
        by_stream = {row["stream"]: row for row in told}
        opened = 0
        for closed in found["closed"]:
            row, prefix = by_stream[closed["stream"] & ~1], "back_" if closed["stream"] & 1 else ""
            for name in ("packets", "length", "clipped", "seen", "flags"):
                assert row[prefix + name] == closed[name]
            assert (row["shard"], row["reason"]) == (closed["shard"], closed["reason"])
            assert row["first"] <= closed["first"] <= closed["last"] <= row["last"]
            opened += 1
        data = [row["state"] & Progress.DATA for row in told] + [row["state"] >> BACK & Progress.DATA for row in told]
        assert np.count_nonzero(data) == opened


def test_what_a_connection_s_row_says() -> None:
    """Times are of the earliest and latest packet of either side; a SYN that was held and never answered counts."""
    segments = [
        Seg(3, 1, 10, SYN, time=50),
        Seg(3, 0, 70, SYN | ACK, ack=11, time=20),
        Seg(3, 1, 11, ACK | FIN, 5, 71, time=90, missing=2),
        Seg(3, 1, 5000, SYN, time=99),
        Seg(4, 0, 1, RST, 3, time=-9),
    ]
    one, other = rows(run(segments, connections=True), "connections")
    assert one == {
        "stream": 2, "shard": 3, "key": [0, 3, 0, 0, 0, 4, 0], "side": 1,
        "state": Progress.SEEN | Progress.SYN | Progress.FIN | Progress.DATA | (Progress.SEEN | Progress.SYN) << BACK,
        "reason": CloseReason.INPUT_END, "first": 20, "last": 99,
        "flags": Completeness.SNAPPED, "packets": 3, "length": 3 * 54 + 5, "clipped": 2, "seen": 3,
        "back_flags": Completeness.OPEN, "back_packets": 1, "back_length": 54, "back_clipped": 0, "back_seen": 0,
    }  # fmt: skip
    assert (other["state"], other["reason"]) == (Progress.SEEN | Progress.RESET, CloseReason.RESET)
    assert (other["seen"], other["flags"], other["back_flags"]) == (3, *[Completeness.MIDSTREAM] * 2)
    assert (other["first"], other["last"]) == (-9, -9)  # before 1970, too


def test_what_is_known_of_closed_connections_is_small() -> None:
    """Buffer exhaustion by connections of one byte: what stays of each, that names be unique, takes some 90 bytes."""
    count = 50_000
    table = Table(Limits())
    tracemalloc.start()
    try:
        for at in range(0, count, 1000):
            assert not any(table.next_counters(keyed_hashes(words(list(range(at, at + 1000)))).tolist()))
        assert tracemalloc.get_traced_memory()[0] < 120 * count
    finally:
        tracemalloc.stop()
    for expected in ([1, 1, 0], [2, 2, 1]):
        assert table.next_counters(keyed_hashes(words([7, 9, count])).tolist()) == expected
