"""What was captured waits in slabs: all of it, in order, or refused and counted."""

from __future__ import annotations

import mmap
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.live.columns import Columns
from pipeline.live.store import MOST_AGE, Store
from pipeline.reading import Block
from pipeline.spool.slabs import Spool
from tests.live.test_columns import batch

PAGE = mmap.PAGESIZE
SLABS = 4


@pytest.fixture
def spool() -> Spool:
    return Spool(None, SLABS * PAGE, PAGE)


def moment(sizes: list[int], number: int, second: int = 0) -> tuple[bytes, Columns]:
    """Packets that say which they are: each is filled with its number, counted from ``number`` on."""
    data = b"".join(bytes([(number + i) % 251]) * size for i, size in enumerate(sizes))
    return data, Columns.of(batch([(second, 0, size) for size in sizes]), 1)


def frames(block: Block) -> list[bytes]:
    """The packets of a block; nobody refers to it any more."""
    records = block.records
    stops = (records.start + records.captured).tolist()
    found = [block.data[a:b].tobytes() for a, b in zip(records.start.tolist(), stops, strict=True)]
    assert block.lease is not None
    block.lease.drop()
    return found


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_all_that_was_stored_comes_out_in_order(seed: int, packets: int) -> None:
    """However reading and taking alternate; what is refused is refused from some packet of a moment on."""
    rng = random.Random(seed)
    spool = Spool(None, SLABS * PAGE, PAGE)
    store = Store(spool, packets, 1 << 18)
    stored: list[bytes] = []
    out: list[bytes] = []
    number = 0
    for _ in range(30):
        sizes = [rng.randrange(1, 600) for _ in range(rng.randrange(1, 10))]
        data, columns = moment(sizes, number)
        refused, lost = store.add([(data, columns)], 0.0)
        kept = len(sizes) - refused
        assert lost == sum(sizes[kept:])
        stored += [bytes([(number + i) % 251]) * size for i, size in enumerate(sizes[:kept])]
        number += len(sizes)
        for _ in range(rng.randrange(3)):
            most = rng.choice([1, 700, 1 << 40])
            if (block := store.next(most)) is not None:
                assert len(block.records.start) == 1 or block.records.captured.sum() <= most
                assert block.base + int(block.records.start[0]) == sum(map(len, out))
                out += frames(block)
                assert store.handed_on == sum(map(len, out))
    store.close()
    while (block := store.next()) is not None:
        out += frames(block)
    assert out == stored
    assert store.stored == store.handed_on == sum(map(len, stored))
    assert spool.in_use == 0


def test_the_spool_is_all_that_may_wait(spool: Spool) -> None:
    """When no slab is to be had packets are refused; when one was given back they are taken again."""
    store = Store(spool, 1000, 1 << 18)
    whole = [PAGE // 4] * 4
    for number in range(SLABS):
        assert store.add([moment(whole, number)], 0.0) == (0, 0)
    assert store.add([moment(whole, 0)], 0.0) == (4, PAGE)
    block = store.next()
    assert block is not None
    frames(block)
    assert store.add([moment(whole, 0)], 0.0) == (0, 0)
    assert store.abandon() == (4 * SLABS, SLABS * PAGE)
    store.close()
    assert spool.in_use == 0


def test_a_block_waits_until_it_is_full_or_old(spool: Spool) -> None:
    """Few packets wait for others, but not for long; a full block does not wait."""
    store = Store(spool, 3, 1 << 18)
    store.add([moment([10, 10], 0)], 5.0)
    assert not store.ready(5.0 + MOST_AGE / 2)
    assert store.ready(5.0 + MOST_AGE)
    store.add([moment([10, 10], 2)], 5.0)
    assert store.ready(5.0)
    sizes = [len(block.records.start) for block in iter(store.next, None)]
    assert sizes == [2, 2]


def test_interfaces_are_put_in_order(spool: Spool) -> None:
    """Packets of one moment are merged by time, also where the slab before had no room for all."""
    store = Store(spool, 1000, 1 << 18)
    store.add([moment([PAGE - 100], 9)], 0.0)
    late, early = moment([60, 60], 1, second=2), moment([60], 5, second=1)
    assert store.add([late, early], 0.0) == (0, 0)
    assert [frame[0] for block in iter(store.next, None) for frame in frames(block)] == [9, 5, 1, 2]


def test_lengths_are_those_of_ip_when_cut(spool: Spool) -> None:
    """The snap length reaches the records."""
    store = Store(spool, 10, 64)
    store.add([(bytes(64), Columns.of(batch([(0, 0, 64)]), 1))], 0.0)
    block = store.next()
    assert block is not None
    assert np.array_equal(block.records.length, block.records.captured)
