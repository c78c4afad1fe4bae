"""Whatever the cut of the streams, and whichever side is read first: the same is told. And nothing raises."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.analyzers.conversations import conversation, mutated
from tests.workers.analyzers.host import Side, run
from workers.analyzers.protocols.http import PROTOCOL
from workers.limits import Limits

CUTS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([1, 2, 3, 7, 60, 400])), max_size=300)
SEEDS = st.integers(0, 2**32)
LIMITS = st.sampled_from([Limits(), Limits(head_bytes=60), Limits(head_fields=2), Limits(open_exchanges=2)])


def with_gaps(rng: random.Random, data: bytes) -> list[bytes | int]:
    """Packets of ``data``, one in five of them lost."""
    items: list[bytes | int] = []
    while data:
        size = rng.randint(1, 120)
        items.append(data[:size] if rng.random() < 0.8 else len(data[:size]))
        data = data[size:]
    return items


def compare(sides: list[Side], cuts: list[tuple[int, int]], limits: Limits) -> None:
    whole = run(PROTOCOL, *sides, limits=limits).told()
    assert run(PROTOCOL, *sides, cuts, limits).told() == whole
    ones = [(side, 1) for _ in range(2000) for side in (0, 1)]
    assert run(PROTOCOL, *sides, ones, limits).told() == whole


def some_side(rng: random.Random, items: list[bytes | int]) -> Side:
    return Side(items, midstream=rng.random() < 0.3, whole=rng.random() < 0.5)


@settings(deadline=None)
@given(SEEDS, CUTS, LIMITS)
def test_cuts_do_not_matter(seed: int, cuts: list[tuple[int, int]], limits: Limits) -> None:
    """Of a valid conversation, byte by byte and in any turns of the two sides the same is told as of the whole."""
    ask, answer = conversation(random.Random(seed))
    compare([Side([ask]), Side([answer])], cuts, limits)


@settings(deadline=None)
@given(SEEDS, CUTS, LIMITS)
def test_cuts_do_not_matter_around_gaps(seed: int, cuts: list[tuple[int, int]], limits: Limits) -> None:
    """The same with lost packets, and with streams that begin anywhere."""
    rng = random.Random(seed)
    compare([some_side(rng, with_gaps(rng, data)) for data in conversation(rng)], cuts, limits)


@settings(deadline=None)
@given(SEEDS, CUTS, LIMITS)
def test_cuts_do_not_matter_to_damage(seed: int, cuts: list[tuple[int, int]], limits: Limits) -> None:
    """The same of messages with bytes changed, lost and doubled; nothing raises, and every byte is accounted for."""
    rng = random.Random(seed)
    compare([some_side(rng, [mutated(rng, data)]) for data in conversation(rng)], cuts, limits)


@settings(deadline=None)
@given(SEEDS, CUTS)
def test_roles_do_not_depend_on_turns(seed: int, cuts: list[tuple[int, int]]) -> None:
    """The same of sides that both ask, both answer, or one of which is no HTTP, or is HTTP/0.9."""
    rng = random.Random(seed)
    ask, answer = conversation(rng)
    pool = [ask, answer, b"junk\n" + ask, b"junk", b"GET /\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""]
    compare([Side([data] if data else []) for data in rng.choices(pool, k=2)], cuts, Limits())


@given(st.lists(st.one_of(st.binary(max_size=300), st.integers(1, 99)), max_size=5), SEEDS)
def test_random_bytes_never_raise(items: list[bytes | int], seed: int) -> None:
    """Bytes without any sense are skipped, and accounted for."""
    rng = random.Random(seed)
    given_items = [item for item in items if item]
    run(PROTOCOL, some_side(rng, given_items), some_side(rng, given_items[::-1]))
