"""libpcap's batches as columns: a slow twin, packets in order over interfaces, lengths of what was cut."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.live.columns import Columns, by_time, records
from tests.build import arp_frame, tcp4, tcp6

NANO = 1_000_000_000


def batch(packets: list[tuple[int, int, int]]) -> bytes:
    """What ``next_batch`` gives of (seconds, microseconds, bytes)."""
    meta, at = b"", 0
    for seconds, micro, size in packets:
        meta += struct.pack("=IIII", seconds, micro, at, size)
        at += size
    return meta


numbers = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 999_999), st.integers(1, 2000))


@given(st.lists(numbers, max_size=20), st.integers(0, 300))
def test_columns_are_what_the_records_say(packets: list[tuple[int, int, int]], link: int) -> None:
    """Number by number, times in nanoseconds, also when the seconds pass 2038."""
    columns = Columns.of(batch(packets), link)
    at = 0
    for row, (seconds, micro, size) in zip(zip(*columns, strict=True), packets, strict=True):
        assert list(row) == [at, size, seconds * NANO + micro * 1000, link]
        at += size


@given(st.lists(numbers, min_size=1, max_size=20), st.data())
def test_a_part_stands_where_it_was_put(packets: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """A stretch of packets keeps its gapless places, from another beginning on."""
    begin = data.draw(st.integers(0, len(packets)))
    end = data.draw(st.integers(begin, len(packets)))
    whole = Columns.of(batch(packets), 1)
    part = whole.part(begin, end, 1000)
    assert part.captured.tolist() == whole.captured[begin:end].tolist()
    assert part.end.tolist() == [1000 + sum(part.captured[: i + 1].tolist()) for i in range(end - begin)]


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), min_size=1, max_size=4))
def test_several_interfaces_are_merged_by_time(clocks: list[list[int]]) -> None:
    """Always the earliest first packet goes next, by the latest time that its interface has had."""
    parts = [
        Columns.of(batch([(second, i, 10) for i, second in enumerate(seconds)]), link)
        for link, seconds in enumerate(clocks)
    ]
    expected, waiting = [], [list(map(tuple, zip(*part, strict=True))) for part in parts]
    high = [0] * len(parts)
    while any(waiting):
        heads = [(max(high[i], rows[0][2]), i) for i, rows in enumerate(waiting) if rows]
        time, i = min(heads)
        high[i] = time
        expected.append(waiting[i].pop(0))
    assert list(map(tuple, zip(*by_time(parts), strict=True))) == expected


SNAP = 70


@pytest.mark.parametrize(
    ("frame", "length"),
    [
        (tcp4(payload=bytes(500)), 554),
        (tcp6(payload=bytes(500)), 574),
        (tcp4(payload=bytes(500), vlans=(7,)), 558),
        (tcp4(payload=bytes(500), total_length=0), SNAP),
        (arp_frame() + bytes(100), SNAP),
        (bytes(SNAP), SNAP),
        (tcp4(payload=bytes(16)), SNAP),
        (tcp4(), 54),
    ],
    ids=["IPv4", "IPv6", "VLAN", "no length", "ARP", "zeros", "as long as the snap length", "short"],
)
def test_the_length_of_what_was_cut_is_that_of_ip(frame: bytes, length: int) -> None:
    """Where IP does not tell, the length is what was captured; what was not cut is not asked."""
    frame = frame[:SNAP]
    before = bytes(100)
    columns = Columns.of(batch([(1, 0, len(frame))]), 1).part(0, 1, len(before))
    found = records(np.frombuffer(before + frame, np.uint8), columns, SNAP)
    assert found.length.tolist() == [length]
    assert found.start.tolist() == [100]
    assert found.captured.tolist() == [len(frame)]
