"""Batches in, events out: against a map of bytes, however the input is cut, however many workers share it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.effort import examples, thinned
from tests.workers.test_inorder import LIMITS
from tests.workers.traffic import SECOND, Seg, View, batches, everything, mix, replay, rows, run
from workers.contract import ACK, FIN, PSH, SYN, CloseReason
from workers.limits import Limits
from workers.reassembler import Reassembler

FATES = ("written", "overlap", "beyond", "outside", "not_data", "refused")


# One stream against a map of bytes


def sendings(rng: random.Random, isn: int) -> list[Seg]:
    """One direction: cut anywhere, sent again from anywhere, shuffled, with or without SYN and FIN."""
    pieces = []
    at = 0
    for _ in range(rng.randint(1, 15)):
        size = rng.choice([1, 2, 7, 50])
        if rng.random() < 0.85:
            pieces.append((at, size))
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            begin = rng.randint(max(0, at - 40), at + size - 1)
            pieces.append((begin, rng.randint(1, at + size - begin)))
        at += size
    reach = rng.choice([0, 0, 2, 20])
    order = sorted(range(len(pieces)), key=lambda i: i + rng.random() * reach)
    out = []
    for i in order:
        begin, size = pieces[i]
        cut = rng.randint(0, size - 1) if rng.random() < 0.1 else 0
        out.append(Seg(1, 0, isn + 1 + begin, PSH | ACK, size, missing=cut))
    if rng.random() < 0.7:
        size = rng.choice([0, 0, 0, 3])
        out.insert(rng.choice([0, 0, rng.randint(0, len(out))]), Seg(1, 0, isn, SYN, size))
    if rng.random() < 0.5:
        out.insert(rng.choice([len(out), rng.randint(0, len(out))]), Seg(1, 0, isn + 1 + at, FIN | ACK))
    return [segment._replace(start=1 + 1000 * i, time=i) for i, segment in enumerate(out)]


def check_against_bytes(segments: list[Seg], isn: int, size: int, *, vector: bool) -> None:
    """The events of one direction against ``first wins``, byte by byte."""
    first: dict[int, tuple[int, int]] = {}
    later: Counter[tuple[int, int, int]] = Counter()
    end = 0
    for packet, segment in enumerate(segments, 1):
        begin = segment.seq - isn - 1 + bool(segment.flags & SYN)
        for i in range(segment.size - segment.missing):
            if begin + i in first:
                later[begin + i, packet, segment.start + i] += 1
            else:
                first[begin + i] = packet, segment.start + i
        end = max(end, begin + segment.size) if segment.size else end
    begun = any(segment.flags & SYN for segment in segments)
    low = 0 if begun else min(first, default=0)
    events = run(segments, size=size, vector=vector)
    closed = rows(events, "closed")
    if not first:
        assert not closed
        return
    [record] = closed

    def place(offset: int) -> int:
        return offset - record["origin"] + low

    placed = [
        (place(row["offset"]) + i, (row["packet"], row["start"] + i))
        for row in rows(events, "data")
        for i in range(row["size"])
    ]
    assert len(placed) == len(first), "each byte once"
    assert dict(placed) == first
    overlapping: Counter[tuple[int, int, int]] = Counter()
    for row in rows(events, "overlaps"):
        overlapping.update((place(row["offset"]) + i, row["packet"], row["start"] + i) for i in range(row["size"]))
    assert overlapping == later
    starts = [at for at in sorted(first) if at - 1 not in first]
    ends = [at + 1 for at in sorted(first) if at + 1 not in first]
    runs = [(place(row["offset"]), row["size"], row["start"]) for row in rows(events, "runs")]
    assert sorted(runs) == [(a, b - a, first[a][1]) for a, b in zip(starts, ends, strict=True)]
    captured = sum(segment.size - segment.missing for segment in segments)
    assert record["written"] == len(first)
    assert record["overlap"] == sum(later.values())
    assert record["seen"] == captured == record["written"] + record["overlap"]
    assert record["end"] - record["origin"] == end - low
    assert record["packets"] == len(segments)
    assert record["length"] == sum(segment.size + 54 for segment in segments)
    assert (record["first"], record["last"]) == (segments[0].time, segments[-1].time)


@given(
    st.integers(0, 2**32),
    st.sampled_from([0, 1, 12345, 2**31 - 5, 2**31, 2**32 - 1, 2**32 - 2, 2**32 - 100, 2**32 - 65536]),
    st.sampled_from([1, 3, 1000]),
    st.booleans(),
)
@examples(150)
def test_every_byte_is_where_a_map_of_bytes_has_it(seed: int, isn: int, size: int, vector: bool) -> None:
    """Any order, any repetition, any initial number: places, overlaps, ranges and sums are the obvious ones."""
    check_against_bytes(sendings(random.Random(seed), isn), isn, size, vector=vector)


# How the input is cut, and who gets what


def check_any_cut(seed: int) -> None:
    """Batches of 1, some and all packets; one, two or three workers; flows that share virtual shards."""
    rng = random.Random(seed)
    flows = [256 * i + shard for shard in range(3) for i in range(rng.randint(1, 4))]
    segments = mix(rng, flows)
    limits = rng.choice([*LIMITS, Limits(connections_per_shard=rng.choice([1, 2, 3]))])
    whole = everything(run(segments, size=10**6, limits=limits))
    for size, workers in ((1, 1), (rng.randint(2, 40), 2), (10**6, 3)):
        found = everything(run(segments, size=size, limits=limits, workers=workers))
        assert found == whole, f"seed {seed}, batches of {size}, {workers} workers, {limits}"
    for row in whole["closed"]:
        assert row["seen"] == sum(row[fate] for fate in FATES), f"seed {seed}: {row}"
    captured = sum(segment.size - segment.missing for segment in segments)
    assert sum(row["seen"] for row in whole["closed"]) <= captured


def test_events_do_not_depend_on_the_cut() -> None:
    """The same rows for any batch size and any number of workers, limits and evictions included."""
    for seed in range(6):
        check_any_cut(seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(8))
def test_events_do_not_depend_on_the_cut_at_length(block: int) -> None:
    """The same for many more seeds, and four times as many with the nightly profile."""
    for seed in thinned(range(1000 + 40 * block, 1040 + 40 * block), 4):
        check_any_cut(seed)


def test_an_eviction_does_not_wait_for_a_sweep() -> None:
    """A connection that expired makes room, whether or not the batches were swept for it since."""
    limits = Limits(connections_per_shard=12, idle_ns=10 * SECOND)
    segments = []
    for i in range(120):  # three are alive at any time
        segments += [Seg(256 * (i % 20), 0, 10 * k, ACK, 10, time=4 * SECOND * i) for k in (i, i + 1)]
    whole = everything(run(segments, size=10**6, limits=limits))
    assert {row["reason"] for row in whole["closed"]} == {CloseReason.IDLE, CloseReason.INPUT_END}
    for size in (1, 3, 10):
        assert everything(run(segments, size=size, limits=limits)) == whole


# The totals


@pytest.mark.parametrize("vector", [True, False])
def test_totals_are_the_sums_of_what_was_told(vector: bool) -> None:
    """Counters count every packet and every payload byte once, with or without a file."""
    for seed in range(20):
        segments = mix(random.Random(seed), range(4))
        reassembler = Reassembler(Limits(), vector=vector)
        events = [reassembler.handle(batch) for batch in batches(segments, 50)]
        events += list(reassembler.finish())
        totals = reassembler.totals()
        closed = rows(events, "closed")
        assert totals["delivered"] == totals["packets"] == len(segments)
        assert totals["seen"] == sum(segment.size - segment.missing for segment in segments)
        assert totals["seen"] == sum(totals[fate] for fate in FATES)
        assert totals["written"] == sum(row["size"] for row in rows(events, "data"))
        assert totals["streams"] == len(closed) == len(rows(events, "opened"))
        assert totals["payload_segments"] + totals["no_payload"] == totals["delivered"]
        assert totals["payload_segments"] == sum(segment.size > 0 for segment in segments)
        assert totals["connections_with_payload"] == len({row["stream"] >> 1 for row in closed})


# The frontier


def check_frontier(seed: int) -> None:
    """Replay the writer's view batch by batch."""
    rng = random.Random(seed)
    segments = mix(rng, range(rng.randint(1, 4)))
    near = Limits(window_bytes=100_000)  # the replay goes byte by byte
    limits = rng.choice(
        [near, *(replace(near, **{name: 2}) for name in ("reorder_packets", "reorder_ns", "ranges_per_direction"))]
    )
    views: dict[int, View] = {}
    for events in run(segments, size=rng.choice([1, 5, 30, 10**6]), limits=limits):
        closed = replay(views, events)
        for stream, view in views.items():
            assert view.frontier <= view.settled(), f"seed {seed}: the frontier of stream {stream} runs ahead"
            assert stream in closed or view.frontier == view.settled(), f"seed {seed}: that of {stream} lags"
        for stream in closed:
            del views[stream]
    assert not views, "every stream that was opened is closed"


def test_the_frontier_is_what_is_there_or_given_up() -> None:
    """At the end of every batch a writer's frontier is the first byte that is neither there nor given up."""
    for seed in range(20):
        check_frontier(seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(5))
def test_the_frontier_is_what_is_there_or_given_up_at_length(block: int) -> None:
    """The same for many more seeds, and four times as many with the nightly profile."""
    for seed in thinned(range(1000 + 200 * block, 1200 + 200 * block), 4):
        check_frontier(seed)
