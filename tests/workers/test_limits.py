"""Every limit: each default is as it was decided, and no limit lets go of the account."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.workers.traffic import Seg, batches, rows, run
from workers.contract import ACK, FIN, PSH, SYN, Completeness
from workers.limits import GIB, MIB, SECOND, Limits
from workers.reassembler import Reassembler


def test_the_defaults_are_the_documented_ones() -> None:
    """The numbers that README and the design promise."""
    limits = Limits()
    assert (limits.reorder_packets, limits.reorder_ns) == (256, 3 * SECOND)
    assert limits.window_bytes == GIB
    assert limits.hole_bytes == 16 * MIB
    assert limits.stream_bytes is None


@pytest.mark.parametrize(
    ("limits", "counter", "hits"),
    [
        (Limits(hole_bytes=50), "limit.hole_bytes", 3),
        (Limits(ranges_per_direction=2), "limit.ranges", 2),
        (Limits(ranges_per_direction=3, overlap="linux"), "limit.ranges", 1),
        (Limits(connections_per_shard=1), "limit.connections", 1),
        (Limits(), "limit.hole_bytes", 0),
        (Limits(), "limit.ranges", 0),
        (Limits(), "limit.connections", 0),
    ],
)
def test_a_limit_that_is_met_is_counted(limits: Limits, counter: str, hits: int) -> None:
    """Each time a limit does something, its counter says so."""
    segments = [Seg(1, 0, 0, SYN), *(Seg(1, 0, 1 + 100 * i, PSH | ACK, 10) for i in range(4)), Seg(257, 0, 5, SYN)]
    reassembler = Reassembler(limits)
    for batch in batches(segments):
        reassembler.handle(batch)
    list(reassembler.finish())
    assert reassembler.totals()[counter] == hits


@pytest.mark.parametrize("name", [field.name for field in fields(Limits) if field.name != "overlap"])
def test_the_smallest_value_of_each_limit_keeps_the_account(name: str) -> None:
    """With any limit at 1, every captured byte still has its fate, and the rows agree with the totals."""
    limits = Limits(**{name: 1})
    segments = [Seg(1, 0, 0, SYN), Seg(1, 1, 0, SYN | ACK, ack=1)]
    segments += [Seg(1, i % 2, 1 + 7 * (i * 5 % 11), PSH | ACK, 10, ack=1 + 7 * i, time=i) for i in range(40)]
    segments += [Seg(257, 0, 5 * i, ACK | FIN, 5, time=50 + i) for i in range(5)]
    for size in (1, 1000):
        records = rows(run(segments, size=size, limits=limits), "closed")
        assert sum(row["seen"] for row in records) == sum(segment.size for segment in segments)
        for row in records:
            fates = ("written", "overlap", "beyond", "outside", "not_data", "refused")
            assert row["seen"] == sum(row[fate] for fate in fates)
            assert not row["beyond"] or row["flags"] & Completeness.LIMITED
