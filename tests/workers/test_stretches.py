"""Stretches of plain segments: the same events as packet by packet, for the worst orders and whatever else is there."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.effort import thinned
from tests.workers.test_reordered import TIGHT
from tests.workers.traffic import SECOND, Seg, View, everything, replay, run
from workers.contract import ACK, FIN, PSH, RST, SYN, GapReason
from workers.limits import Limits
from workers.reassembler import Reassembler

HELLO = [Seg(1, 0, 99, SYN), Seg(1, 1, 499, SYN | ACK, ack=100), Seg(1, 0, 100, ACK, ack=500)]


def worst_order(rng: random.Random, count: int) -> list[int]:
    """Numbers below ``count``, backwards, every other one first, or at random."""
    numbers = list(range(count))
    odd_first = numbers[1::2] + numbers[::2]
    return rng.choice([numbers[::-1], odd_first, odd_first[::-1], rng.sample(numbers, count)])


def storm(rng: random.Random, flow: int) -> list[Seg]:
    """Tiny segments in the worst order; some twice, longer than their place, lost or cut; a peer that acknowledges
    now and then; flags that end the connection, or do not."""
    isn, peer, step = rng.getrandbits(32), rng.getrandbits(32), rng.choice([1, 1, 2, 5])
    out = [] if rng.random() < 0.3 else [Seg(flow, 0, isn - 1, SYN), Seg(flow, 1, peer - 1, SYN | ACK, ack=isn)]
    reach = 0
    for number in worst_order(rng, rng.randint(5, 60)):
        at, chance = step * number, rng.random()
        size = step if chance < 0.8 else rng.choice([1, step + 1, 2 * step])
        reach = max(reach, at + size)
        segment = Seg(flow, 0, isn + at, rng.choice([ACK, ACK, PSH | ACK]), size, ack=peer)
        out += [segment] * rng.choice([0, 1, 1, 1, 1, 1, 1, 2])
        if rng.random() < 0.15:
            acked = isn + rng.randint(0, reach)
            out.append(Seg(flow, 1, peer, ACK, rng.choice([0, 0, 0, 2]), ack=acked))
        if chance > 0.98:
            out.append(segment._replace(missing=size))
    for _ in range(rng.choice([0, 0, 1, 3])):
        odd = Seg(flow, rng.randint(0, 1), isn + rng.randint(-3, reach + 3), rng.choice([FIN | ACK, RST, SYN, ACK]))
        out.insert(rng.randint(0, len(out)), odd._replace(size=rng.choice([0, 1]), ack=isn + rng.randint(0, reach)))
    return out


def check(seed: int) -> None:
    """One storm, with one limit: both paths say the same, and a writer's frontier is right."""
    rng = random.Random(seed)
    talks = [storm(rng, flow) for flow in range(rng.randint(1, 3))]
    segments: list[Seg] = []
    while talks := [talk for talk in talks if talk]:
        time = len(segments) * rng.choice([1, 1, 1, SECOND // 20])
        segments.append(rng.choice(talks).pop(0)._replace(time=time))
    limits = rng.choice([Limits(), Limits(ranges_per_shard=4), *TIGHT])
    limits = replace(limits, overlap=rng.choice(["first", "first", "last", "linux"]), stream_bytes=None)
    size = rng.choice([3, 10, 30, 10**6])
    what = f"seed {seed}, batches of {size}, {limits}"
    events = run(segments, size=size, limits=limits)
    assert everything(events) == everything(run(segments, size=10**6, limits=limits, vector=False)), what
    if limits.window_bytes < 10**6:
        views: dict[int, View] = {}
        for batch in events:
            closed = replay(views, batch)
            for view in views.values():
                assert view.frontier <= view.settled(), what
            for stream in closed:
                del views[stream]


def test_storms() -> None:
    """Adversarial reordering: whatever the order, the cuts and the limits, a stretch says what its packets would."""
    for seed in range(75):
        check(seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(5))
def test_storms_at_length(block: int) -> None:
    """The same for many more seeds, and four times as many with the nightly profile."""
    for seed in thinned(range(1000 + 1000 * block, 2000 + 1000 * block), 4):
        check(seed)


def test_ranges_have_their_limit_in_stretches_too() -> None:
    """Adversarial reordering, alternating holes: ten ranges are held, then the lowest is given up, one a segment."""
    segments = [*HELLO, *(Seg(1, 0, 101 + 2 * i, size=1) for i in range(1000))]
    limits = Limits(ranges_per_direction=10)
    events = run(segments, size=100, limits=limits)
    gaps = [gap for batch in events if batch.gaps is not None for gap in batch.gaps.reason.tolist()]
    assert gaps.count(GapReason.LIMIT) == 1000 - 10 + 1  # one for each that goes; the first has one on both sides
    assert everything(events) == everything(run(segments, size=7, limits=limits, vector=False))


@pytest.mark.parametrize("order", ["reversed", "alternating", "random"])
def test_a_storm_does_not_go_packet_by_packet(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversarial reordering: of thousands of segments of a byte, less than one in a hundred is judged by itself."""
    count = 4000
    numbers = {
        "reversed": list(range(count))[::-1],
        "alternating": [*range(1, count, 2), *range(0, count, 2)],
        "random": random.Random(1).sample(range(count), count),
    }[order]
    judged = []
    packet = Reassembler._packet
    monkeypatch.setattr(Reassembler, "_packet", lambda *args: judged.append(1) or packet(*args))
    events = run([*HELLO, *(Seg(1, 0, 100 + i, PSH | ACK, 1) for i in numbers)], size=1000)
    assert sum(int(batch.data.size.sum()) for batch in events if batch.data is not None) == count
    assert len(judged) < count // 100
