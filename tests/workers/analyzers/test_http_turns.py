"""A connection that takes turns has a short account of its own, which tells what the full one tells."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.effort import examples
from tests.workers.analyzers.conversations import chunked, get, head, ok
from tests.workers.analyzers.host import FakeHost, Side, run
from workers.analyzers.protocols.http import PROTOCOL
from workers.analyzers.protocols.http.analyzer import HttpAnalyzer
from workers.analyzers.protocols.http.both import Both
from workers.limits import Limits

FULL = PROTOCOL._replace(make=Both)

PLAIN = [
    (get("/a"), ok(b"body")),
    (get("/b", ("Referer", "x")), chunked(b"one", b"two")),
    (get("/c"), ok()),
    (get("/d"), chunked()),
    (get("/e"), head("HTTP/1.1 304 -", ("Content-Length", 5))),
    (head("HEAD /f HTTP/1.1"), head("HTTP/1.1 200 OK", ("Content-Length", 5))),
]
OTHER = [
    (head("POST /g HTTP/1.1", ("Content-Length", 2)) + b"hi", ok(b"body")),
    (get("/h", ("Upgrade", "x")), head("HTTP/1.1 101 -") + b"tunnel"),
    (get("/i"), head("HTTP/1.1 100 Continue") + ok(b"body")),
    (get("/j"), head("HTTP/1.1 200 OK") + b"until the end"),
    (get("/k"), head("HTTP/1.1 200 OK", ("Content-Length", 3), ("Content-Length", 4)) + b"body"),
    (get("/l"), chunked(b"one", trailers=[("T", "v")])),
    (get("/m") + get("/n"), ok(b"m") + ok(b"n")),
    (get("/o"), ok(b"body") + ok(b"nobody asked")),
    (b"\r\n" + get("/p"), ok(b"body")[:-1]),
    (get("/q"), b"garbage"),
    (ok(b"who answers"), get("/asks")),
    (b"", ok(b"unasked")),
    (get("/r"), b""),
]


def connection(rng: random.Random) -> tuple[list[Side], list[tuple[int, int]]]:
    """One that takes turns for a while, its packets, and how it is fed: piece by piece, now and then otherwise."""
    items: list[list[bytes | int]] = [[], []]
    cuts: list[tuple[int, int]] = []
    packets: list[list[tuple[int, int]]] = [[], []]
    ends = [0, 0]
    for pair in (
        rng.choices(PLAIN, k=rng.randrange(5))
        + rng.choices(OTHER, k=rng.randrange(2))
        + rng.choices(PLAIN, k=rng.randrange(4))
    ):
        for side, piece in enumerate(pair):
            if piece:
                items[side].append(len(piece) if rng.random() < 0.08 else piece)
                cuts.append((side, rng.choice([len(piece)] * 15 + [7])))
                packets[side].append((ends[side], len(cuts) + rng.choice([0, 0, 0, 5])))
                ends[side] += len(piece)
    if rng.random() < 0.2:
        rng.shuffle(cuts)
    flip = rng.random() < 0.3
    sides = [Side(items[side], rng.random() < 0.05, rng.random() < 0.7, packets[side]) for side in (0, 1)]
    cuts = cuts[: rng.choice([100, rng.randrange(1 + len(cuts))])]
    return (sides[::-1], [(1 - side, size) for side, size in cuts]) if flip else (sides, cuts)


@examples(1000)
@given(st.integers(0, 2**32), st.sampled_from([Limits(), Limits(open_exchanges=1), Limits(head_bytes=60)]))
def test_the_same_is_told(seed: int, limits: Limits) -> None:
    """Wherever a connection stops taking turns, by whatever."""
    sides, cuts = connection(random.Random(seed))
    assert run(PROTOCOL, *sides, cuts, limits).told() == run(FULL, *sides, cuts, limits).told()


@pytest.mark.parametrize("asker", [0, 1])
def test_no_more_is_made_of_most_connections(asker: int) -> None:
    """Those that are nothing but turns, from their first byte to their end, never have a full account."""
    host = FakeHost([Side([], packets=[]), Side([], packets=[])])
    analyzer = HttpAnalyzer(host, Limits())
    for number, pair in enumerate(PLAIN):
        for side, piece in ((asker, pair[0]), (1 - asker, pair[1])):
            host.sides[side].packets.append((host.fed[side], 2 * number + side))  # type: ignore[attr-defined]
            host.fed[side] += len(piece)
            assert analyzer.wants(side)
            assert analyzer.feed(side, piece) == len(piece)
            assert analyzer.claims()
    for side in (0, 1):
        analyzer.close(side, whole=True)
    assert analyzer._both is None
    assert len(host.exchanges) == len(PLAIN)
    assert host.counts[asker]["requests"] == host.counts[1 - asker]["responses"] == len(PLAIN)
