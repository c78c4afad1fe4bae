"""-R in the worker: where in its file each stream begins, and that nothing else changes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.effort import thinned
from tests.workers.test_direction import HELLO, put
from tests.workers.test_inorder import LIMITS
from tests.workers.traffic import SECOND, Seg, batches, everything, mix, rows, run
from workers.contract import ACK, FIN, RST, SYN, CloseReason, EventBatch
from workers.limits import Limits
from workers.reassembler import Reassembler

NEXT = 50_000_000  # initial sequence numbers this far apart are those of other connections


def talk(number: int, a: int, b: int = 0, *, first: int = 0, time: int = 0) -> list[Seg]:
    """A connection of one tuple: its opener says ``a`` bytes, the other side ``b``."""
    x, y = 1000 + NEXT * number, 7000 + NEXT * number
    sent = [
        Seg(1, first, x, SYN), Seg(1, 1 - first, y, SYN | ACK, ack=x + 1), Seg(1, first, x + 1, ACK, a, y + 1),
        Seg(1, 1 - first, y + 1, ACK, b, x + 1 + a), Seg(1, first, x + 1 + a, FIN | ACK, ack=y + 1 + b),
        Seg(1, 1 - first, y + 1 + b, FIN | ACK, ack=x + 2 + a),
    ]  # fmt: skip
    return [segment._replace(time=time) for segment in sent]


def bases(events: list[EventBatch]) -> list[tuple[int, int]]:
    """(side of the key, base) of each stream, in the order of streams."""
    return [(row["side"], row["base"]) for row in rows(events, "opened")]


@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("segments", "expected", "limits"),
    [
        ([*talk(0, 10, 20), *talk(1, 5, 7), *talk(2, 1)], [(0, 0), (1, 0), (0, 10), (1, 20), (0, 15)], Limits()),
        # the other endpoint opens: the file is that of who sends
        ([*talk(0, 10, 20), *talk(1, 5, 7, first=1)], [(0, 0), (1, 0), (1, 20), (0, 10)], Limits()),
        # a connection without payload leaves no trace
        ([*talk(0, 10), *talk(1, 0), *talk(2, 4)], [(0, 0), (0, 10)], Limits()),
        # -C is a limit of each connection
        ([*talk(0, 10), *talk(1, 9), *talk(2, 4)], [(0, 0), (0, 6), (0, 12)], Limits(stream_bytes=6)),
        ([*talk(0, 10), *talk(1, 9)], [(0, 0), (0, 0)], Limits(stream_bytes=0)),
        # one that was forgotten for idleness
        ([put(0, 10), put(500, 3, time=9 * SECOND)], [(0, 0), (0, 10)], Limits(idle_ns=SECOND)),
        # holes count, those at the end that the snap length left too
        ([*HELLO, put(20, 10), put(30, 10, missing=4), put(40, 0, RST), *talk(3, 5)], [(0, 0), (0, 40)], Limits()),
        # a start that moved down
        ([put(50, 10), put(20, 10), put(60, 0, RST), *talk(3, 5)], [(0, 0), (0, 40)], Limits()),
    ],
)
def test_a_stream_begins_where_the_one_before_it_ended(
    segments: list[Seg], expected: list[tuple[int, int]], limits: Limits, size: int, vector: bool
) -> None:
    """A table of cases, for both paths and any cut; each direction of a tuple counts for itself."""
    found = run(segments, size=size, limits=limits, vector=vector, append=True)
    assert bases(found) == expected
    assert {row["counter"] for row in rows(found, "opened")} == {0}


def summed(events: list[EventBatch]) -> list[int]:
    """The obvious twin: of each stream, what those before it in its direction came to."""
    sizes = {row["stream"]: row["end"] - row["origin"] for row in rows(events, "closed")}
    ends: dict[tuple[Any, ...], int] = {}
    found = []
    for row in rows(events, "opened"):
        whose = (*row["key"], row["side"])
        found.append(ends.get(whose, 0))
        ends[whose] = found[-1] + sizes[row["stream"]]
    return found


def check_any_cut(seed: int) -> None:
    rng = random.Random(seed)
    segments = mix(rng, [256 * i + shard for shard in range(2) for i in range(rng.randint(1, 3))])
    limits = rng.choice([*LIMITS, Limits(connections_per_shard=rng.choice([1, 2]))])
    plain = everything(run(segments, size=10**6, limits=limits))
    assert not any(row["base"] for row in plain["opened"])
    for size, workers, vector in ((1, 1, True), (rng.randint(2, 40), 2, True), (10**6, 1, False), (10**6, 3, True)):
        events = run(segments, size=size, limits=limits, workers=workers, vector=vector, append=True)
        found = everything(events)
        assert [row["base"] for row in found["opened"]] == summed(events), f"seed {seed}"
        for row, like in zip(found["opened"], plain["opened"], strict=True):
            row["base"], row["counter"] = like["base"], like["counter"]
        assert found == plain, f"seed {seed}, batches of {size}, {workers} workers, {limits}"


def test_bases_are_sums_and_nothing_else_changes() -> None:
    """Random traffic and limits, evictions too: without the counters, the events are those of a run without -R."""
    for seed in range(8):
        check_any_cut(seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_bases_are_sums_and_nothing_else_changes_at_length() -> None:
    """The same for many more seeds, and four times as many with the nightly profile."""
    for seed in thinned(range(1000, 1150), 4):
        check_any_cut(seed)


def test_a_stream_is_closed_before_its_successor_is_opened() -> None:
    """Whatever ends a connection, a batch that opens the next one on its tuple closes it, or an earlier one did."""
    limits = Limits(idle_ns=30 * SECOND)
    again = talk(3, 4)[:4]
    segments = [*talk(0, 9), *talk(1, 9), *again, *(s._replace(time=60 * SECOND) for s in talk(5, 2))]
    for size in (1, 2, 5, 1000):
        reassembler = Reassembler(limits, append=True)
        closed: set[int] = set()
        last = 0
        for batch in batches(segments, size):
            events = reassembler.handle(batch)
            closed |= {row["stream"] for row in rows([events], "closed")}
            for row in rows([events], "opened"):
                assert not last or last in closed
                last = row["stream"]
    assert [row["reason"] for row in rows(run(segments, limits=limits, append=True), "closed")] == [
        CloseReason.FINISHED, CloseReason.FINISHED, CloseReason.IDLE, CloseReason.FINISHED,
    ]  # fmt: skip
