"""Connections of one packet: kept small, and the same as others for whoever looks."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.workers.traffic import SECOND, Seg, batches, everything, run, words
from workers.contract import ACK, FIN, PSH, RST, SYN
from workers.limits import Limits
from workers.reassembler import Reassembler
from workers.table import Table

FIRST = {
    "SYN": Seg(1, 1, 2**32 - 1, SYN, time=7),
    "SYN-ACK": Seg(1, 0, 5, SYN | ACK, ack=9, time=7),
    "ACK": Seg(1, 0, 5, PSH | ACK, ack=9, time=7),
    "no flags": Seg(1, 1, 5, 0, ack=9, time=7),
}
NOT_QUIET = {
    "payload": Seg(1, 0, 5, ACK, 3),
    "payload on a SYN": Seg(1, 0, 5, SYN, 3),
    "payload that was cut off": Seg(1, 0, 5, ACK, 3, missing=3),
    "text in a RST": Seg(1, 0, 5, RST, 3),
    "FIN": Seg(1, 0, 5, FIN | ACK),
    "RST": Seg(1, 0, 5, RST),
}


def told(table: Table) -> tuple[object, ...]:
    """All that the row of flow 1 says."""
    [row] = table.find(words([1])).tolist()
    connection = table.load(row)
    return connection.row(), [side.columns() for side in connection.sides], connection.key, connection.expires(Limits())


def after(segments: list[Seg], *, vector: bool = True) -> Table:
    """The table behind one batch of them."""
    reassembler = Reassembler(Limits(), vector=vector)
    for batch in batches(segments):
        reassembler.handle(batch)
    return reassembler.table


@pytest.mark.parametrize("kind", FIRST)
def test_whoever_looks_sees_no_difference(kind: str) -> None:
    """The row of a lone connection is that of the path that goes segment by segment; there and back again."""
    plain, small = after([FIRST[kind]], vector=False), after([FIRST[kind]])
    assert (len(plain.lone), len(small.lone)) == (0, 1)
    expected = told(plain)
    assert told(small) == expected
    assert len(small.lone) == 0
    small.fold(small.live())
    assert (len(small), len(small.lone)) == (1, 1)
    assert told(small) == expected


@pytest.mark.parametrize("kind", NOT_QUIET)
def test_who_has_more_to_say_has_a_row(kind: str) -> None:
    """Payload, an end, a reset, and whatever made a second packet: none of them fits."""
    for segments in ([NOT_QUIET[kind]], [FIRST["SYN"], FIRST["SYN"]], [FIRST["SYN"], FIRST["SYN-ACK"]]):
        table = after(segments)
        table.fold(table.live())
        assert (len(table), len(table.lone)) == (1, 0)


def test_syns_among_other_traffic_become_small() -> None:
    """A slow scan: what nobody answers is lone after a sweep, though no batch is full of it."""
    segments = []
    for i in range(400):
        segments += [Seg(0, 0, 10 * i, ACK, 10), Seg(0, 0, 10 * i + 5, ACK, 5), Seg(1 + i, 1, 99, SYN)]
    reassembler = Reassembler(Limits())
    for batch in batches(segments, 300):  # four of them, and so a sweep
        reassembler.handle(batch)
    assert (len(reassembler.table), len(reassembler.table.lone)) == (401, 400)


@pytest.mark.parametrize("connections", [True, False])
def test_floods_say_the_same_whatever_the_batches(connections: bool) -> None:
    """SYN flood of tuples that come back, with answers to some: the same events and totals as segment by segment."""
    rng = random.Random(4)
    limits = Limits(half_open_per_shard=5, half_open_ns=3 * SECOND, connections_per_shard=8)
    flags = (SYN, SYN, SYN, SYN, SYN | ACK, ACK, RST, FIN | ACK)
    segments = []
    for i in range(900):
        flow, chosen = rng.randrange(900), rng.choice(flags)
        size = rng.randrange(2) * 9 if chosen == ACK else 0
        segments.append(Seg(flow, rng.randrange(2), rng.randrange(3), chosen, size, 1, time=i * SECOND // 100))
    whole = everything(run(segments, limits=limits, vector=False, connections=connections))
    assert len(whole["opened"]) > 50
    for size in (13, 200, 10**6):
        assert everything(run(segments, size=size, limits=limits, connections=connections)) == whole


def test_what_is_kept_of_a_syn() -> None:
    """Exhaustion of memory by half-open connections: what each of them takes comes to less than 150 bytes."""
    table = after([Seg(flow, 0, 1, SYN) for flow in range(20_000)])
    assert (len(table.lone), len(table.index)) == (20_000, 0)
    columns = [table.lone.packets, *(each for each in vars(table.lone.index).values() if isinstance(each, np.ndarray))]
    assert sum(each.nbytes / table.lone.index.size for each in columns) < 150
