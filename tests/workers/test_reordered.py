"""Reordering that a batch itself mends: the same events as segment by segment, and a frontier to match."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.effort import thinned
from tests.workers.test_inorder import LIMITS
from tests.workers.traffic import SECOND, Seg, View, everything, replay, run
from workers.contract import ACK, PSH, SYN
from workers.limits import Limits

TIGHT = [
    *LIMITS,
    Limits(window_bytes=20),
    Limits(hole_bytes=20),
    Limits(reorder_packets=8),
    Limits(reorder_ns=5),
    Limits(ranges_per_direction=3),
]


def shuffled(rng: random.Random) -> list[Seg]:
    """Segments of a few streams, moved about and doubled; nearly none missing, so that a batch mends itself."""
    out = []
    for flow in range(rng.randint(1, 3)):
        at = isn = rng.choice([rng.getrandbits(32), 2**32 - 30])
        segments = []
        for _ in range(rng.randint(2, 25)):
            size = rng.choice([1, 10, 10, 10, 25])
            at += size
            if rng.random() < 0.98:
                segments += [Seg(flow, 0, at - size, rng.choice([ACK, PSH | ACK]), size)] * rng.choice([1, 1, 1, 1, 2])
        reach = rng.choice([0, 0, 1.5, 3, 8])
        segments = [s for _, s in sorted(enumerate(segments), key=lambda item: item[0] + reach * rng.random())]
        if rng.random() < 0.7:
            segments.insert(0, Seg(flow, 0, isn - 1, SYN))
        if rng.random() < 0.5:
            acks = [Seg(flow, 1, 500, ACK, rng.choice([0, 0, 3]), ack=segment.seq) for segment in segments]
            segments = [each for pair in zip(segments, acks, strict=True) for each in pair]
        out.append(segments)
    mixed = []
    while talks := [talk for talk in out if talk]:
        mixed.append(rng.choice(talks).pop(0)._replace(time=len(mixed) * rng.choice([1, 1, 1, SECOND // 50])))
    return mixed


def check(seed: int) -> None:
    """One shuffled capture: both paths say the same, and a writer's frontier is right."""
    rng = random.Random(seed)
    segments = shuffled(rng)
    limits = rng.choice([Limits(), Limits(), *TIGHT])
    size = rng.choice([3, 10, 30, 10**6])
    what = f"seed {seed}, batches of {size}, {limits}"
    events = run(segments, size=size, limits=limits)
    assert everything(events) == everything(run(segments, size=size, limits=limits, vector=False)), what
    near = replace(limits, window_bytes=min(limits.window_bytes, 10_000), stream_bytes=None)
    views: dict[int, View] = {}
    for batch in run(segments, size=size, limits=near):
        closed = replay(views, batch)
        for stream, view in views.items():
            assert view.frontier <= view.settled(), what
            assert stream in closed or view.frontier == view.settled(), what
        for stream in closed:
            del views[stream]


def test_shuffled_streams() -> None:
    """Whatever the disorder and the limits, columns and segments agree."""
    for seed in range(30):
        check(seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(10))
def test_shuffled_streams_at_length(block: int) -> None:
    """The same for many more seeds, and four times as many with the nightly profile."""
    for seed in thinned(range(1000 + 200 * block, 1200 + 200 * block), 4):
        check(seed)
