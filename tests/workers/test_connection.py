"""Which packets belong to which connection of a tuple, and when a connection is over."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.workers.traffic import SECOND, Seg, everything, rows, run
from workers.contract import ACK, FIN, PSH, RST, SYN, CloseReason
from workers.limits import Limits

A, B, NEW, OTHER = 1000, 5000, 3_000_000_000, 77_000


def syn(isn: int = A, side: int = 0, **more: int) -> Seg:
    """The first packet of a connection."""
    return Seg(1, side, isn, SYN, **more)


def answer(isn: int = B, to: int = A, side: int = 1, **more: int) -> Seg:
    """Its SYN-ACK."""
    return Seg(1, side, isn, SYN | ACK, ack=to + 1, **more)


def say(offset: int, size: int, isn: int = A, side: int = 0, flags: int = PSH | ACK, **more: int) -> Seg:
    """Payload."""
    return Seg(1, side, isn + 1 + offset, flags, size, ack=(B if side == 0 else A) + 1, **more)


HELLO = [syn(), answer(), say(0, 10)]
BYE = [say(10, 0, flags=FIN | ACK), say(0, 0, B, 1, flags=FIN | ACK)]


class Case(NamedTuple):
    """Packets, and of each stream in order: its connection's first packet, bytes written, counter, reason."""

    name: str
    segments: list[Seg]
    streams: list[tuple[int, int, int, CloseReason]]


FINISHED, RESET, REUSED = CloseReason.FINISHED, CloseReason.RESET, CloseReason.REUSED
IDLE, INPUT_END = CloseReason.IDLE, CloseReason.INPUT_END

CASES = [
    Case("open at the end", HELLO, [(1, 10, 0, INPUT_END)]),
    Case("FIN from both sides", [*HELLO, *BYE], [(1, 10, 0, FINISHED)]),
    Case("FIN from one side", [*HELLO, BYE[0]], [(1, 10, 0, INPUT_END)]),
    Case("FIN from both, data missing", [*HELLO, say(20, 0, flags=FIN | ACK), BYE[1]], [(1, 10, 0, INPUT_END)]),
    Case(
        "FIN from both, data late", [*HELLO, say(20, 0, flags=FIN | ACK), BYE[1], say(10, 10)],
        [(1, 20, 0, FINISHED)],
    ),
    Case("reset", [*HELLO, say(10, 0, flags=RST)], [(1, 10, 0, RESET)]),
    Case("a reset far outside the window", [*HELLO, say(2**30 + 99, 0, flags=RST)], [(1, 10, 0, INPUT_END)]),
    Case("a SYN sent again", [syn(), syn(), answer(), say(0, 10), syn(), say(10, 5)], [(1, 15, 0, INPUT_END)]),
    Case("a SYN-ACK sent again", [*HELLO, answer(), say(10, 5)], [(1, 15, 0, INPUT_END)]),
    Case(
        "another SYN while open, unanswered", [*HELLO, syn(NEW), say(10, 5)],
        [(1, 15, 0, INPUT_END)],
    ),
    Case(
        "another SYN while open, answered for the old", [*HELLO, syn(NEW), answer(), say(10, 5)],
        [(1, 15, 0, INPUT_END)],
    ),
    Case(
        "another SYN while open, answered", [*HELLO, syn(NEW), answer(OTHER, NEW), say(0, 7, NEW)],
        [(1, 10, 0, REUSED), (4, 7, 1, INPUT_END)],
    ),
    Case(
        "data of the old one between SYN and SYN-ACK",
        [*HELLO, syn(NEW), say(10, 5), answer(OTHER, NEW), say(0, 7, NEW)],
        [(1, 15, 0, REUSED), (4, 7, 1, INPUT_END)],
    ),
    Case(
        "the last of several SYNs is the one answered",
        [*HELLO, syn(OTHER), syn(NEW), answer(9, NEW), say(0, 7, NEW)],
        [(1, 10, 0, REUSED), (5, 7, 1, INPUT_END)],
    ),
    Case(
        "another SYN when closed", [*HELLO, *BYE, syn(NEW), say(0, 7, NEW)],
        [(1, 10, 0, FINISHED), (6, 7, 1, INPUT_END)],
    ),
    Case(
        "another SYN after a reset", [*HELLO, say(10, 0, flags=RST), syn(NEW), say(0, 7, NEW)],
        [(1, 10, 0, RESET), (5, 7, 1, INPUT_END)],
    ),
    Case("the same SYN when closed", [*HELLO, *BYE, syn()], [(1, 10, 0, FINISHED)]),
    Case(
        "the other end opens the next", [*HELLO, *BYE, syn(NEW, 1), say(0, 7, NEW, 1)],
        [(1, 10, 0, FINISHED), (6, 7, 1, INPUT_END)],
    ),
    Case("data after FIN", [*HELLO, *BYE, say(10, 5)], [(1, 15, 0, FINISHED)]),
    Case("data after a reset", [*HELLO, say(10, 0, flags=RST), say(10, 5)], [(1, 15, 0, RESET)]),
    Case(
        "data far from a closed connection's", [*HELLO, *BYE, say(0, 7, NEW)],
        [(1, 10, 0, FINISHED), (6, 7, 1, INPUT_END)],
    ),
    Case(
        "connections without payload do not count",
        [syn(), answer(), say(0, 0, flags=RST), syn(NEW), answer(OTHER, NEW), say(0, 7, NEW)],
        [(4, 7, 0, INPUT_END)],
    ),
    Case(
        "three that do, one that does not",
        [say(0, 1), say(1, 0, flags=RST), syn(NEW), say(0, 0, NEW, flags=RST), syn(OTHER), say(0, 2, OTHER),
         say(2, 0, OTHER, flags=RST), syn(9), say(0, 3, 9)],
        [(1, 1, 0, RESET), (5, 2, 1, RESET), (8, 3, 2, INPUT_END)],
    ),
    Case(
        "one-sided: data right behind a held SYN", [say(0, 10), say(10, 5), syn(NEW), say(0, 7, NEW)],
        [(1, 15, 0, REUSED), (3, 7, 1, INPUT_END)],
    ),
    Case(
        "two-sided: data right behind a held SYN does not do", [*HELLO, syn(NEW), say(0, 7, NEW)],
        [(1, 10, 0, INPUT_END)],
    ),
    Case("a late SYN", [say(0, 10), syn(), say(10, 5)], [(1, 15, 0, INPUT_END)]),
    Case("a SYN-ACK with another number: its payload is no data",
         [*HELLO, say(0, 5, B, 1), Seg(1, 1, NEW, SYN | ACK, 9, ack=1)],
         [(1, 10, 0, INPUT_END), (1, 5, 0, INPUT_END)]),
    Case("idle for a day", [*HELLO, say(10, 5, time=86_400 * SECOND + 1)],
         [(1, 10, 0, IDLE), (4, 5, 1, INPUT_END)]),
    Case("nearly idle for a day", [*HELLO, say(10, 5, time=86_400 * SECOND)], [(1, 15, 0, INPUT_END)]),
    Case("half open for 4 minutes", [syn(), say(0, 5, time=240 * SECOND + 1)], [(2, 5, 0, INPUT_END)]),
    Case("half open for less", [syn(), say(0, 5, time=240 * SECOND)], [(1, 5, 0, INPUT_END)]),
    Case("a straggler of a closed one", [*HELLO, *BYE, say(10, 5, time=240 * SECOND)], [(1, 15, 0, FINISHED)]),
    Case("too late for one", [*HELLO, *BYE, say(10, 5, time=240 * SECOND + 1)],
         [(1, 10, 0, FINISHED), (6, 5, 1, INPUT_END)]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_which_connection_a_packet_belongs_to(case: Case, size: int) -> None:
    """Tuple reuse, closing and expiry, row by row of the design's table; whole and in batches of 1 and 2."""
    events = run(case.segments, size=size)
    counters = {row["stream"]: row["counter"] for row in rows(events, "opened")}
    found = [
        (row["stream"] >> 1, row["written"], counters[row["stream"]], row["reason"]) for row in rows(events, "closed")
    ]
    assert found == case.streams
    assert everything(run(case.segments, size=size, vector=False)) == everything(events)


def test_a_held_syn_counts_once() -> None:
    """A SYN that waited for its SYN-ACK is a packet of the one connection or of the other, never of none."""
    for tail, packets in (([say(10, 5)], [4]), ([answer(OTHER, NEW), say(0, 7, NEW)], [2, 2])):
        segments = [*HELLO, syn(NEW), *tail]
        for size in (1, 1000):
            records = rows(run(segments, size=size), "closed")
            assert [row["packets"] for row in records] == packets


def test_payload_of_a_held_syn_is_told() -> None:
    """Data on a SYN that nobody confirmed is counted, never written."""
    [record] = rows(run([*HELLO, syn(NEW, size=9), say(10, 5)]), "closed")
    assert (record["seen"], record["written"], record["outside"]) == (24, 15, 9)


def test_an_acknowledgement_counts_at_its_place() -> None:
    """Directions are judged together: a gap is declared by the acknowledgement before, not by one behind."""
    limits = Limits(reorder_packets=2)
    acked = Seg(1, 1, B + 1, ACK, ack=A + 31)
    before = [*HELLO, say(20, 10), acked, say(30, 10), say(10, 10)]
    behind = [*HELLO, say(20, 10), say(30, 10), say(10, 10), acked]
    assert [len(rows(run(segments, limits=limits), "gaps")) for segments in (before, behind)] == [1, 0]


def test_direction_0_is_that_of_the_first_packet() -> None:
    """Stream numbers follow the capture, not the order of addresses."""
    events = run([syn(side=1), answer(side=0), say(0, 3, A, 1), say(0, 4, B, 0)])
    assert [(row["stream"], row["side"]) for row in rows(events, "opened")] == [(2, 1), (3, 0)]
