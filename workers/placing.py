"""A batch sorted and placed: rows by (flow, side), each with its offset in its stream.

Knows: the batch's columns and the table's state before it. Does not know: what is simple and what odd.
Invariant: nothing is changed. Offsets are right wherever a flow turns out to be simple; elsewhere nobody
looks at them.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers import direction as dr
from workers.contract import I64, SYN, U8, U32, Bools, PacketBatch
from workers.seq import distances
from workers.table import Table

_GROUP_SHIFT = 44
"""Offsets of different groups are kept apart by this many bits in one running maximum."""


class Rows(NamedTuple):
    """Columns of the batch, sorted; and what follows from the table's state."""

    order: I64  # place in the batch
    group: I64  # index of the row's group
    seq: U32  # of the first payload byte
    flags: U8
    size: I64
    offset: I64
    end: I64  # offset + size
    top: I64  # end of the highest byte before this row; where nothing is odd, all below it is there
    clock: I64
    paid: Bools  # has payload
    bottom: I64 | None  # where the row's new bytes begin, in simple flows; None: all are new


class Groups(NamedTuple):
    """One entry per (flow, side) in the batch."""

    head: I64  # first row
    last: I64  # last row
    flow: I64
    side: I64
    fresh: Bools  # the flow has no row in the table
    state: NDArray[Any]  # columns of the direction, see direction.FIELDS
    base: U32  # sequence number of offset 0, now known or not
    based: Bools  # ... known before the batch
    first_paid: I64  # first row with payload; n where there is none
    lowest: I64  # row whose payload lies lowest, in simple flows
    top: I64  # end of the contiguous bytes after the batch


def sort_rows(batch: PacketBatch) -> I64:
    """Rows by (flow, side), capture order within."""
    code = batch.flow * 2 + batch.side
    if len(batch.keys) < 1 << 15:
        code = code.astype(np.uint16)  # numpy sorts 16-bit numbers by radix
    return np.argsort(code, kind="stable")


def place(batch: PacketBatch, table: Table, rows: I64) -> tuple[Rows, Groups]:
    """Sort and place. ``rows`` (u,): table rows of the flows, -1 for new ones."""
    order = sort_rows(batch)
    n = len(order)
    flow, side = batch.flow[order].astype(np.int64), batch.side[order]
    changes = np.empty(n, np.bool_)
    changes[0] = True
    np.not_equal(flow[1:] * 2 + side[1:], flow[:-1] * 2 + side[:-1], out=changes[1:])
    head = np.flatnonzero(changes)
    last = np.append(head[1:], n) - 1
    group = np.cumsum(changes) - 1
    flags, size = batch.flags[order], batch.size[order].astype(np.int64)
    paid = size > 0
    seq = batch.seq[order] + ((flags & SYN) != 0)
    first_paid = np.minimum.reduceat(np.where(paid, np.arange(n), n), head)
    fresh = rows[flow[head]] < 0
    state = table.side_columns_or_none(np.where(fresh, -1, 2 * rows[flow[head]] + side[head]))
    based = (state["state"] & dr.BASED) != 0
    guess = seq[np.where((flags[head] & SYN) != 0, head, np.minimum(first_paid, n - 1))]
    base = np.where(based, state["base"], guess)
    before = state["next"]
    offset = before[group] + distances((base + before.astype(np.uint32))[group], seq)
    end = offset + size
    top, reach = _contiguous(np.where(paid, end, before[group]), group, head, before)
    clock = (batch.time + batch.lag)[order]
    sorted_rows = Rows(order, group, seq, flags, size, offset, end, top, clock, paid, None)
    return sorted_rows, Groups(
        head,
        last,
        flow[head],
        side[head].astype(np.int64),
        fresh,
        state,
        base,
        based,
        first_paid,
        first_paid,
        reach[last],
    )


def _contiguous(reach: I64, group: I64, head: I64, before: I64) -> tuple[I64, I64]:
    """Running maxima of ``reach`` within each group, which starts from ``before``: before and after each row."""
    apart = (np.arange(len(head), dtype=np.int64) << _GROUP_SHIFT)[group]
    reach[head] = np.maximum(reach[head], before)
    after = np.maximum.accumulate(reach + apart) - apart
    top = np.empty(len(reach), np.int64)
    top[1:] = after[:-1]
    top[head] = before
    return top, after
