"""Overlap policies: the table, the queue against a twin that keeps every segment, whole reassembly in any cut."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.effort import examples, thinned
from tests.workers.overlap_oracle import POLICY_NAMES, PREFERS, Oracle, arrangements, case
from tests.workers.traffic import Seg, batches, everything, mix, rows, run
from workers.contract import ACK, PSH, SYN
from workers.limits import Limits
from workers.overlap import POLICIES, PolicyName, Queue, Relation, relation
from workers.reassembler import Reassembler


def test_the_arrangements_are_all_there() -> None:
    """Allen's 13 relations of two intervals, the 409 consistent arrangements of three."""
    assert [len(arrangements(count)) for count in (2, 3)] == [13, 409]


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_rows_are_those_of_the_table(policy: PolicyName) -> None:
    """Every relation of two segments that overlap falls to the side that the table gives."""
    met = set()
    for (a, b), (c, d) in arrangements(2):
        if a < d and c < b:
            new, old = (a, b), (c, d)
            met.add(relation(new, old))
            expected = (case(range(*new), range(*old)), policy, "new") in PREFERS
            assert POLICIES[policy].rows[relation(new, old)] is expected, (new, old)
    assert met == set(Relation)
    assert POLICIES[policy].judges is (policy not in ("first", "last"))


spans = st.tuples(st.integers(0, 24), st.integers(1, 10)).map(lambda s: (s[0], s[0] + s[1]))


def runs_of(places: list[int]) -> list[tuple[int, int]]:
    """Sorted numbers as maximal ranges."""
    runs: list[tuple[int, int]] = []
    for at in places:
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs


@examples(300)
@given(st.lists(spans, max_size=12), st.sampled_from(["bsd", "linux", "solaris"]), st.integers(0, 30))
def test_the_queue_is_its_twin(segments: list[tuple[int, int]], policy: PolicyName, rises: int) -> None:
    """A byte goes to the later segment if that wins against every earlier one that has it; pieces are sound."""
    queue = Queue(2)
    twin = Oracle(policy)
    for i, (start, end) in enumerate(segments):
        if i == 4:
            queue.pass_by(rises := runs_of(sorted({*twin.held, -1}))[0][1] if rises % 2 else queue.floor)
        places = range(start, end)
        new = runs_of([at for at in places if at not in twin.held])
        old = runs_of([at for at in places if at in twin.held])
        verdicts = queue.judge((start, end), new, old, POLICIES[policy])
        told = {at: wins for low, high, wins in verdicts for at in range(low, high)}
        floor = queue.floor
        assert told == {at: twin.wins(at, places, floor) for at in places if at in twin.held}
        assert [(low, high) for low, high, _ in verdicts] == sorted((low, high) for low, high, _ in verdicts)
        assert not any(a.high == b.low and a.wins == b.wins for a, b in pairwise(verdicts))
        twin.held |= dict.fromkeys(places, 0)
        twin.segments.append(places)
        covered = [at for piece in queue.pieces for at in range(piece.low, piece.high)]
        assert covered == [at for at in sorted(twin.held) if at >= floor]


def test_what_the_limit_forgets_stays() -> None:
    """Beyond the limit the lowest pieces count as delivered; the others are judged as ever."""
    queue, policy = Queue(0), POLICIES["bsd"]
    for at in range(10, 50, 10):
        queue.judge((at, at + 5), [(at, at + 5)], [], policy)
    assert queue.forget(2) == 2
    assert queue.forget(2) == 0
    verdicts = queue.judge((1, 46), [(1, 10)], [(10, 15), (20, 25), (30, 35), (40, 45)], policy)
    assert verdicts == [(10, 15, False), (20, 25, False), (30, 35, True), (40, 45, True)]


# --------------------------------------------------------------------------- whole reassembly


def tangled(rng: random.Random) -> list[tuple[int, int]]:
    """(offset, size) of segments of one stream that overlap in every way; the last ones fill what is missing."""
    pieces = [(rng.randint(0, 40), rng.choice([1, 3, 8, 8, 15])) for _ in range(rng.randint(2, 14))]
    pieces += [rng.choice(pieces) for _ in range(rng.randint(0, 3))]
    rng.shuffle(pieces)
    return [*pieces, (0, rng.randint(1, 50))]


def check(seed: int, policy: PolicyName) -> None:
    """One tangle: the bytes that stay are the oracle's, whatever the cut and the path."""
    rng = random.Random(seed)
    pieces = tangled(rng)
    isn = rng.choice([1000, 2**32 - 10])
    segments = [Seg(1, 0, isn, SYN), *(Seg(1, 0, isn + 1 + offset, ACK | PSH, size) for offset, size in pieces)]
    payloads = {i: bytes(rng.choices(b"ab", k=size)) for i, (_, size) in enumerate(pieces, 2)}
    oracle = Oracle(policy)
    for i, (offset, _) in enumerate(pieces, 2):
        oracle.take(offset, payloads[i], i)
    limits = Limits(overlap=policy)
    told = run(segments, vector=False, limits=limits)
    for size in (1, 2, rng.randint(3, 9), 1000):
        again = run(segments, size=size, limits=limits)
        assert everything(again) == everything(told), (seed, policy, size)
    held: dict[int, int] = {}
    for name in ("data", "overlaps"):
        for row in rows(told, name):
            base = pieces[row["packet"] - 2][0]
            for at in range(row["offset"], row["offset"] + row["size"]):
                assert (at in held) is (name == "overlaps")
                if name == "data" or row["wins"]:
                    held[at] = payloads[row["packet"]][at - base]
    assert held == oracle.held, (seed, policy)


def test_tangles_in_any_cut() -> None:
    """Segments that overlap in every way, retransmitted and out of order: the oracle's bytes, for any batch size."""
    for seed in range(10):
        for policy in POLICY_NAMES:
            check(seed, policy)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_tangles_in_any_cut_at_length() -> None:
    """The same for many more seeds, and four times as many with the nightly profile."""
    for seed in thinned(range(100, 500), 4):
        for policy in POLICY_NAMES:
            check(seed, policy)


@pytest.mark.parametrize("policy", ["bsd", "linux", "solaris"])
def test_disturbed_conversations(policy: PolicyName) -> None:
    """Loss, reordering, reuse, snap lengths and tiny limits under the OS policies: columns and segments agree, in
    any cut."""
    for seed in range(8):
        rng = random.Random(seed)
        segments = mix(rng, range(1, 4))
        limits = rng.choice([
            Limits(overlap=policy), Limits(overlap=policy, reorder_packets=4, ranges_per_direction=2),
            Limits(overlap=policy, stream_bytes=500), Limits(overlap=policy, hole_bytes=100),
        ])  # fmt: skip
        told = everything(run(segments, vector=False, limits=limits))
        for size in (1, 7, 1000):
            assert everything(run(segments, size=size, limits=limits)) == told, (seed, limits, size)


def test_a_duplicate_beyond_the_frontier() -> None:
    """Within one batch that mends itself: the first copy stays under ``linux``, the second one wins under
    ``solaris``; below the frontier neither does."""
    pieces = [(10, 5), (10, 5), (0, 10), (10, 5)]
    segments = [Seg(1, 0, 0, SYN), *(Seg(1, 0, 1 + offset, ACK, size) for offset, size in pieces)]
    for policy, wins in (("linux", [0, 0]), ("solaris", [1, 0])):
        for vector in (True, False):
            told = run(segments, limits=Limits(overlap=policy), vector=vector)
            assert [row["wins"] for row in rows(told, "overlaps")] == wins


def test_the_queue_is_bounded() -> None:
    """A stream whose hole stays keeps no more pieces than the limit: what it forgets is counted, and stays."""
    pieces = [(10 + 2 * i, 2) for i in range(50)]
    segments = [Seg(1, 0, 0, SYN), *(Seg(1, 0, 1 + at, ACK | PSH, size) for at, size in [*pieces, (9, 101)])]
    for size in (1, 1000):
        reassembler = Reassembler(Limits(overlap="bsd", ranges_per_direction=10))
        told = [*map(reassembler.handle, batches(segments, size)), *reassembler.finish()]
        assert reassembler.totals()["limit.ranges"] == 40
        found = [(row["offset"], row["size"], row["wins"]) for row in rows(told, "overlaps")]
        assert found == [(10, 80, 0), (90, 20, 1)]


def test_a_cut_segment_is_judged_as_it_was_sent() -> None:
    """The receiver had the bytes that the snap length cut: under ``linux`` the longer of two segments wins."""
    cut = Seg(1, 0, 11, ACK | PSH, 8, missing=4)
    for first, later, wins in (
        (Seg(1, 0, 11, ACK | PSH, 6), cut, 1), (cut, Seg(1, 0, 11, ACK | PSH, 6), 0)
    ):  # fmt: skip
        told = run([Seg(1, 0, 0, SYN), first, later], limits=Limits(overlap="linux"))
        assert [(row["size"], row["wins"]) for row in rows(told, "overlaps")] == [(4, wins)]
