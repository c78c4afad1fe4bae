"""A batch sorted and placed: order, offsets, and what was there before each row."""

from __future__ import annotations

import random

from tests.workers.traffic import Seg, batches
from workers.contract import PSH, SYN
from workers.limits import Limits
from workers.placing import place, sort_rows
from workers.reassembler import Reassembler


def test_rows_are_sorted_by_direction() -> None:
    """``sort_rows`` is a stable sort by flow, then side; also where flows no longer fit 16 bits."""
    rng = random.Random(1)
    for flows in (5, 40_000):
        keys = [rng.randrange(flows) for _ in range(3000)] + list(range(flows) if flows > 5 else [])
        [batch] = batches([Seg(flow, rng.randrange(2), 1) for flow in keys], 10**6)
        codes = [(flow, side, i) for i, (flow, side) in enumerate(zip(batch.flow, batch.side, strict=True))]
        assert sort_rows(batch).tolist() == [i for _, _, i in sorted(codes)]
    assert len(batch.keys) >= 1 << 15


def test_offsets_and_what_was_there_before() -> None:
    """Offsets go on from the table's state, over a wrap of the number; ``top`` is the highest end before a row."""
    isn = 2**32 - 5
    before = [Seg(1, 0, isn, SYN), Seg(1, 0, isn + 1, PSH, 100)]
    after = [
        Seg(1, 0, isn + 101, PSH, 10),
        Seg(2, 1, 70, PSH, 7),
        Seg(1, 0, isn + 111, PSH, 10),
        Seg(1, 0, isn + 51, PSH, 10),
        Seg(1, 0, isn + 121, PSH, 5),
        Seg(2, 1, 77, PSH, 3),
    ]
    reassembler = Reassembler(Limits())
    first, _ = batches([*before, *after[:2]], 2)
    reassembler.handle(first)
    [batch] = batches(after)
    rows = reassembler.table.find(batch.keys)
    r, g = place(batch, reassembler.table, rows)
    assert r.order.tolist() == [0, 2, 3, 4, 1, 5]
    assert r.offset.tolist() == [100, 110, 50, 120, 0, 7]
    assert r.end.tolist() == [110, 120, 60, 125, 7, 10]
    assert r.top.tolist() == [100, 110, 120, 120, 0, 7]
    assert g.top.tolist() == [125, 10]
    assert g.fresh.tolist() == [False, True]
    assert [(g.flow[i], g.side[i], g.head[i], g.last[i]) for i in range(2)] == [(0, 0, 0, 3), (1, 1, 4, 5)]
