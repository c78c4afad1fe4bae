"""Streams beyond 4 GiB, and tuples with thousands of connections."""

from __future__ import annotations

import time

import pytest

from tests.workers.traffic import Seg, batches, everything, rows, run
from workers.contract import ACK, FIN, PSH, RST, SYN
from workers.limits import MIB, Limits
from workers.reassembler import Reassembler

PIECE = 512 * MIB
COUNT = 11  # pieces: 5.5 GiB


def long_stream(isn: int) -> list[Seg]:
    """A stream of 5.5 GiB in pieces that no wire carries; one is sent again, two change places, one differs in cut."""
    pieces = [Seg(1, 0, isn + 1 + i * PIECE, ACK, PIECE) for i in range(COUNT)]
    pieces.insert(9, pieces[8])
    pieces[10], pieces[11] = pieces[11], pieces[10]
    end = isn + 1 + COUNT * PIECE
    again = Seg(1, 0, end - PIECE - 5, PSH | ACK, 10)
    return [Seg(1, 0, isn, SYN), *pieces, again, Seg(1, 0, end, FIN | ACK)]


@pytest.mark.parametrize("isn", [0, 1000, 2**32 - 1, 2**32 - PIECE, 2**31 - 5])
@pytest.mark.parametrize("overlap", ["first", "solaris"])
def test_offsets_beyond_four_gibibytes(isn: int, overlap: str) -> None:
    """Offsets go on where sequence numbers wrap, in any cut and on both paths; nothing is taken twice or lost."""
    limits = Limits(overlap=overlap, hole_bytes=2 * PIECE)  # type: ignore[arg-type]
    told = run(long_stream(isn), limits=limits)
    assert sorted((row["offset"], row["size"]) for row in rows(told, "data")) == [
        (i * PIECE, PIECE) for i in range(COUNT)
    ]
    assert [(row["offset"], row["size"]) for row in rows(told, "overlaps")] == [
        (8 * PIECE, PIECE), ((COUNT - 1) * PIECE - 5, 10)
    ]  # fmt: skip
    (closed,) = rows(told, "closed")
    assert (closed["end"], closed["written"], closed["flags"]) == (COUNT * PIECE, COUNT * PIECE, 0)
    assert [(row["offset"], row["size"]) for row in rows(told, "runs")] == [(0, COUNT * PIECE)]
    for size, vector in ((1, True), (3, True), (1000, False)):
        assert everything(run(long_stream(isn), size=size, vector=vector, limits=limits)) == everything(told)


def one_tuple(count: int) -> list[Seg]:
    """So many connections one after the other on one tuple, in every way in which one makes room for the next."""
    made = []
    for i in range(count):
        isn = 100_000 * i
        made += [Seg(1, 0, isn, SYN), Seg(1, 1, isn, SYN | ACK, 0, isn + 1), Seg(1, 0, isn + 1, PSH | ACK, 9, isn + 1)]
        if i % 3 == 0:
            made.append(Seg(1, 0, isn + 10, RST))
        elif i % 3 == 1:
            made += [Seg(1, 0, isn + 10, FIN | ACK, 0, isn + 1), Seg(1, 1, isn + 1, FIN | ACK, 0, isn + 11)]
    return made


def seconds(count: int, times: int) -> float:
    """Processor time of reassembling them, the least of so many times."""
    parts = list(batches(one_tuple(count), 1000))
    spent = []
    for _ in range(times):
        begin = time.process_time()
        reassembler = Reassembler(Limits())
        opened = [events.opened for part in parts if (events := reassembler.handle(part)).opened is not None]
        spent.append(time.process_time() - begin)
        assert sorted(n for table in opened for n in table.counter.tolist()) == list(range(count))
    return min(spent)


def test_many_connections_on_one_tuple_in_linear_time() -> None:
    """Four times the connections take four times as long, not sixteen; each has its number."""
    few, many = seconds(400, 2), seconds(1_600, 1)
    assert many < 8 * few, (few, many)
