"""The vector path: what it takes, and that it says the same as the path that goes segment by segment."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.effort import thinned
from tests.workers.traffic import SECOND, Seg, batches, conversation, everything, mix, run
from workers import inorder
from workers.contract import ACK, FIN, PSH, RST, SYN
from workers.limits import Limits
from workers.reassembler import Reassembler

LIMITS = [
    Limits(),
    Limits(stream_bytes=0),
    Limits(stream_bytes=10),
    Limits(stream_bytes=2000),
    Limits(reorder_packets=3),
    Limits(reorder_ns=SECOND),
    Limits(hole_bytes=1000),
    Limits(ranges_per_direction=2),
    Limits(window_bytes=3000),
    Limits(half_open_ns=5 * SECOND, closed_ns=3 * SECOND, idle_ns=20 * SECOND),
]


def compare(seed: int) -> None:
    """One random capture, both paths, one limit in turn."""
    rng = random.Random(seed)
    segments = mix(rng, range(rng.randint(1, 6)))
    limits = LIMITS[seed % len(LIMITS)]
    size = rng.choice([1, 2, 7, 30, 10**6])
    plain = everything(run(segments, size=size, limits=limits, vector=False))
    assert everything(run(segments, size=size, limits=limits)) == plain, f"seed {seed}, batches of {size}, {limits}"


def test_both_paths_say_the_same() -> None:
    """Whatever the traffic, batches and limits, the events are those of the segment-by-segment path."""
    for seed in range(30):
        compare(seed)


def test_bytes_beyond_the_limit_lengthen_no_file() -> None:
    """Where all bytes lie beyond -C and a hole too large to lay out, the end told does not depend on batches."""
    segments = mix(random.Random(141), range(1, 6))
    limits = Limits(stream_bytes=900, reorder_packets=4, hole_bytes=100)
    plain = everything(run(segments, size=1, limits=limits, vector=False))
    for size in (1, 3, 10**6):
        assert everything(run(segments, size=size, limits=limits)) == plain, f"batches of {size}"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(10))
def test_both_paths_say_the_same_at_length(block: int) -> None:
    """The same for many more seeds, and four times as many with the nightly profile."""
    for seed in thinned(range(1000 + 150 * block, 1150 + 150 * block), 4):
        compare(seed)


def simple_flows(segments: list[Seg], before: list[Seg] | None = None) -> list[bool]:
    """Which flows of ``segments``, one batch, are simple, after a batch of ``before``."""
    reassembler = Reassembler(Limits())
    parts = list(batches([*(before or []), *segments], len(before) if before else 10**6))
    if before:
        reassembler.handle(parts.pop(0))
    [batch] = parts
    rows = reassembler.table.find(batch.keys)
    return inorder.judge(batch, reassembler.table, rows)[2].tolist()


HELLO = [Seg(1, 0, 99, SYN), Seg(1, 1, 499, SYN | ACK, ack=100), Seg(1, 0, 100, ACK, ack=500)]


@pytest.mark.parametrize(
    ("what", "segments", "simple"),
    [
        ("in order", [Seg(1, 0, 100, size=10), Seg(1, 0, 110, size=5)], True),
        ("sent again", [Seg(1, 0, 100, size=10), Seg(1, 0, 100, size=10)], True),
        ("sent again and more", [Seg(1, 0, 100, size=10), Seg(1, 0, 105, size=10)], True),
        ("the end", [Seg(1, 0, 100, PSH | ACK | FIN, 10), Seg(1, 1, 500, FIN | ACK, ack=111)], True),
        ("a reset", [Seg(1, 0, 100, size=10), Seg(1, 1, 500, RST | ACK, ack=110)], True),
        ("a hole", [Seg(1, 0, 101, size=10)], False),
        ("swapped", [Seg(1, 0, 110, size=5), Seg(1, 0, 100, size=10)], True),
        ("swapped, in part the same", [Seg(1, 0, 108, size=5), Seg(1, 0, 100, size=10)], False),
        ("cut by the snap length", [Seg(1, 0, 100, size=10, missing=4)], False),
        ("a SYN of another", [Seg(1, 0, 7000, SYN)], False),
        ("text in a reset", [Seg(1, 0, 100, RST, 10)], False),
        ("before the start", [Seg(1, 0, 90, size=10)], False),
    ],
)
def test_what_is_simple(what: str, segments: list[Seg], simple: bool) -> None:
    """The common shapes take the vector path; what needs thought does not."""
    assert simple_flows(segments, before=HELLO) == [simple]


def test_whole_conversations_are_simple() -> None:
    """Connections that begin and end within the batch are no reason to go segment by segment."""
    segments = [segment for flow in range(50) for segment in conversation(flow, random.Random(flow), 5)]
    assert all(simple_flows(segments))


def test_a_flow_that_waits_for_bytes_is_not_simple() -> None:
    """Once bytes are held beyond a hole, the next segment may close it: the other path judges that."""
    assert simple_flows([Seg(1, 0, 100, size=10)], before=[*HELLO, Seg(1, 0, 110, size=10)]) == [False]


def test_a_long_pause_is_not_simple() -> None:
    """A pause that a connection may not survive is judged at its place."""
    pause = Limits().closed_ns + 1
    assert simple_flows([Seg(1, 0, 100, size=10, time=pause)], before=HELLO) == [False]


def test_many_flows_of_one_batch_do_not_mix() -> None:
    """Each flow of a large batch has the events it has alone."""
    rng = random.Random(5)
    talks = [conversation(flow, rng, 3) for flow in range(300)]
    segments = [segment for turn in zip(*(talk[:6] for talk in talks), strict=True) for segment in turn]
    told = everything(run(segments, size=10**6))
    for flow in (0, 17, 299):
        alone = everything(run([s for s in segments if s.flow == flow], size=10**6))
        streams = {row["stream"] for row in told["opened"] if row["key"][1] == flow}
        mine = [(row["offset"], row["size"]) for row in told["data"] if row["stream"] in streams]
        assert mine == [(row["offset"], row["size"]) for row in alone["data"]]
        ends = [row["written"] for row in told["closed"] if row["stream"] in streams]
        assert ends == [row["written"] for row in alone["closed"]]
    assert np.array_equal(np.unique([row["key"][1] for row in told["opened"]]), np.arange(300))
