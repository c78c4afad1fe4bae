"""The common path in columns: flows whose segments of a batch simply follow one another.

Knows: how to tell, for all flows of a batch at once, those that need no thought, and what they do to
the table and to the events. A leading SYN and a trailing FIN or RST count as simple, and so does what
reordered.py settles: retransmissions, and reordering within the batch.
Does not know: holes that stay, tuple reuse, expiry, midstream rebasing: a flow with any of them takes the
per-segment path (connection.py, direction.py) for the whole batch.
Invariant: the events and the table are the same as if every segment had taken that path.

Rows and groups are those of placing.py: a *group* is one flow's rows of one side.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers import connection as cn
from workers import direction as dr
from workers.contract import (
    ACK,
    FIN,
    I64,
    RST,
    SYN,
    U16,
    Bools,
    Data,
    Frontiers,
    Opened,
    Overlaps,
    PacketBatch,
)
from workers.events import Events
from workers.limits import Limits
from workers.overlap import POLICIES
from workers.placing import Groups, Rows, place
from workers.reordered import sort_out
from workers.table import Table, taken


def judge(batch: PacketBatch, table: Table, rows: I64) -> tuple[Rows, Groups, Bools, Bools | None]:
    """Sort, place, and tell the flows (u,) that are simple. ``rows`` (u,): table rows, -1 for new flows.

    Last come the groups that the batch reordered and mended (None: it has none): once their flows are
    known to be simple, ``say_frontiers`` must tell of them.
    """
    r, g = place(batch, table, rows)
    misplaced = r.paid & (r.offset != r.top)
    settled = None
    if misplaced.any():
        r, g, misplaced, settled = sort_out(batch, r, g, misplaced, table.limits)
    simple = ~_odd_flows(batch, table, rows, r, g, misplaced)
    return r, g, simple, settled


def _odd_flows(batch: PacketBatch, table: Table, rows: I64, r: Rows, g: Groups, misplaced: Bools) -> Bools:
    odd = np.zeros(len(rows), np.bool_)
    odd[g.flow[_odd_groups(batch, r, g)]] = True
    odd[g.flow[r.group[_odd_rows(batch, r, g, misplaced, table.limits)]]] = True
    known = np.flatnonzero(rows >= 0)
    at = rows[known]
    sides = table.sides["state"]
    odd[known] |= ((sides[2 * at] | sides[2 * at + 1]) & dr.HELD) != 0
    odd[known] |= (table.rows["state"][at] & cn.PENDING) != 0
    # Time: a pause within which the connection might expire is for the other path to judge.
    patience = min(table.limits.half_open_ns, table.limits.closed_ns, table.limits.idle_ns)
    earliest = np.full(len(rows), np.iinfo(np.int64).max)
    latest = np.full(len(rows), np.iinfo(np.int64).min)
    np.minimum.at(earliest, g.flow, r.clock[g.head])
    np.maximum.at(latest, g.flow, r.clock[g.last])
    earliest[known] = np.minimum(earliest[known], table.rows["clock"][at])
    odd |= latest - earliest > patience
    return odd


def _odd_rows(batch: PacketBatch, r: Rows, g: Groups, misplaced: Bools, limits: Limits) -> I64:
    """Rows that by themselves make their flow odd."""
    odd = misplaced | (batch.missing[r.order] > 0)
    special = np.flatnonzero(r.flags & (SYN | FIN | RST))
    if len(special):
        odd[special] |= _odd_special(r, g, special, limits)
    return np.flatnonzero(odd)


def _odd_special(r: Rows, g: Groups, special: I64, limits: Limits) -> Bools:
    """The same for rows with SYN, FIN or RST."""
    flags, group, top = r.flags[special], r.group[special], r.top[special]
    unbased = ~g.based[group] & ((r.flags[g.head[group]] & SYN) == 0)
    syn, fin, rst = (flags & SYN) != 0, (flags & FIN) != 0, (flags & RST) != 0
    odd: Bools = syn & ((special != g.head[group]) | rst)
    after = np.where(r.paid[special], np.maximum(top, r.end[special]), top)
    odd |= fin & ((r.end[special] != after) | (unbased & (special < g.first_paid[group])))
    odd |= rst & (r.paid[special] | fin)
    far = np.abs(r.offset[special] - top) > limits.window_bytes
    odd |= rst & np.where(unbased, g.first_paid[group] < len(r.order), far)
    return odd


def _odd_groups(batch: PacketBatch, r: Rows, g: Groups) -> Bools:
    """Groups that are not simple as a whole."""
    state = g.state["state"]
    has_paid = g.first_paid < len(r.order)
    odd: Bools = has_paid & (g.state["next"] != g.state["end"])
    syn = (r.flags[g.head] & SYN) != 0
    if syn.any():
        answer = (r.flags[g.head] & ACK) != 0
        again = ((state & dr.BEGUN) != 0) & (g.base == r.seq[g.head])
        first = np.full(len(batch.keys), np.iinfo(np.int64).max)
        np.minimum.at(first, g.flow, r.order[g.head])
        opens = g.fresh & (first[g.flow] == r.order[g.head])
        odd |= syn & ~np.where(g.based, again, answer | opens)
    return odd


# What simple flows do


def commit(batch: PacketBatch, table: Table, rows: I64, r: Rows, g: Groups, simple: Bools, out: Events) -> None:
    """Update the table and say the events of the simple flows. All of them have table rows by now."""
    chosen = np.flatnonzero(simple[g.flow])
    if not len(chosen):
        return
    _update_connections(batch, table, rows, r, g, chosen)
    keep = None if len(chosen) == len(g.head) else simple[g.flow][r.group]
    sums = _say_bytes(batch, table, rows, r, g, keep, out)
    opened = _update_directions(batch, table, rows, r, g, chosen, sums)
    _say_opened(batch, table, rows, r, g, chosen[opened], out)


def _update_connections(batch: PacketBatch, table: Table, rows: I64, r: Rows, g: Groups, chosen: I64) -> None:
    head, last, at = g.head[chosen], g.last[chosen], rows[g.flow[chosen]]
    columns = table.rows
    fresh = g.fresh[chosen]
    if fresh.any():
        # the side whose group holds the flow's first packet comes last, and so stays
        begin = np.flatnonzero(fresh)
        begin = begin[np.argsort(-r.order[head[begin]], kind="stable")]
        first = r.order[head[begin]]
        columns["ident"][at[begin]] = batch.packet[first]
        columns["opened"][at[begin]] = batch.time[first]
        columns["clock"][at[begin]] = r.clock[head[begin]]
        columns["first_side"][at[begin]] = g.side[chosen[begin]]
    np.add.at(columns["count"], at, (last - head + 1).astype(np.uint32))
    np.maximum.at(columns["clock"], at, r.clock[last])
    reset = np.bitwise_or.reduceat(r.flags, g.head)[chosen] & RST
    if reset.any():
        columns["state"][at[reset != 0]] |= np.uint8(cn.RESET)


class _Sums(NamedTuple):
    """Bytes of each group, by what became of them; None: all of its payload was new."""

    written: I64 | None
    overlap: I64 | None
    beyond: I64 | None


def _say_bytes(
    batch: PacketBatch, table: Table, rows: I64, r: Rows, g: Groups, keep: Bools | None, out: Events
) -> _Sums:
    """Data and Overlaps. ``keep`` (n,) masks the rows of simple flows; None: all are."""
    paid = np.flatnonzero(r.paid if keep is None else r.paid & keep)
    if not len(paid):
        return _Sums(None, None, None)
    order, group = r.order[paid], r.group[paid]
    sides = 2 * rows[g.flow] + g.side
    stream, shard = table.streams(sides)[group], table.rows["shard"][sides >> 1][group]
    start, packet, time = batch.start[order], batch.packet[order], batch.time[order]
    offset, end = r.offset[paid], r.end[paid]
    limit = table.limits.stream_bytes
    if limit is None and r.bottom is None:
        out.block("data", Data(stream, shard, offset, start, batch.size[order], packet, time))
        return _Sums(None, None, None)
    bottom = offset if r.bottom is None else r.bottom[paid]
    stop = end if limit is None else np.clip(g.state["origin"][group] + limit, offset, end)
    fresh, again = np.maximum(stop - bottom, 0), np.maximum(np.minimum(bottom, stop) - offset, 0)
    new = np.flatnonzero(fresh)
    skipped = (bottom - offset)[new].astype(np.uint64)
    out.block("data", Data(stream[new], shard[new], bottom[new], start[new] + skipped,
                           fresh[new].astype(np.uint32), packet[new], time[new]))  # fmt: skip
    old = np.flatnonzero(again)
    wins = np.full(len(old), POLICIES[table.limits.overlap].delivered, np.uint8)
    out.block("overlaps", Overlaps(stream[old], shard[old], offset[old], start[old],
                                   again[old].astype(np.uint32), packet[old], wins))  # fmt: skip
    count = len(g.head)
    return _Sums(*(
        np.bincount(group, weights=part, minlength=count).astype(np.int64) for part in (fresh, again, end - stop)
    ))  # fmt: skip


def _update_directions(
    batch: PacketBatch, table: Table, rows: I64, r: Rows, g: Groups, chosen: I64, sums: _Sums
) -> Bools:
    """Update the columns of the directions; return which of the chosen groups were opened now."""
    sides = 2 * rows[g.flow[chosen]] + g.side[chosen]
    head = g.head
    was = g.state if len(chosen) == len(g.head) else taken(g.state, chosen)
    new = taken(g.state, chosen)
    has_paid = (g.first_paid < len(r.order))[chosen]
    syn = (r.flags[head] & SYN)[chosen] != 0
    begins = ~g.based[chosen] & (syn | has_paid)
    state = was["state"] | dr.SEEN | np.where(has_paid, dr.OPENED, 0).astype(np.uint16)
    state |= np.where(begins, np.where(syn, dr.BASED | dr.BEGUN, dr.BASED | dr.WINDOW), 0).astype(np.uint16)
    new["base"] = np.where(begins, g.base[chosen], was["base"])
    _mark_windows(batch, table, rows, r, g, chosen, begins & ~syn, new)
    state |= _update_acks_and_fins(batch, r, g, chosen, new)
    new["state"] = state
    new["next"] = g.top[chosen]
    new["end"] = np.where(has_paid, g.top[chosen], was["end"])
    opened: Bools = has_paid & ((was["state"] & dr.OPENED) == 0)
    lowest = r.order[g.lowest[chosen[opened]]]
    new["place"][opened] = batch.start[lowest]
    seen = np.add.reduceat(r.size, head)[chosen]
    new["seen"] += seen
    new["written"] += seen if sums.written is None else sums.written[chosen]
    if sums.overlap is not None and sums.beyond is not None:
        new["overlap"] += sums.overlap[chosen]
        new["beyond"] += sums.beyond[chosen]
    _add_counts(batch, r, g, chosen, new)
    table.set_side_columns(sides, new)
    return opened


def _update_acks_and_fins(batch: PacketBatch, r: Rows, g: Groups, chosen: I64, new: NDArray[Any]) -> U16:
    """The latest acknowledgement and the highest FIN of each group; return the state bits they set."""
    n = len(r.order)
    acked = np.maximum.reduceat(np.where(r.flags & ACK, np.arange(n), -1), g.head)[chosen]
    some = acked >= 0
    new["ack"][some] = batch.ack[r.order[acked[some]]]
    state = np.where(some, dr.ACKED, 0).astype(np.uint16)
    fin_rows = np.flatnonzero(r.flags & FIN)
    if len(fin_rows):
        lowest = np.iinfo(np.int64).min
        fin = np.full(len(g.head), lowest)
        np.maximum.at(fin, r.group[fin_rows], r.end[fin_rows])
        fin = fin[chosen]
        ended = fin != lowest
        known = (new["state"] & dr.ENDED) != 0
        new["fin"] = np.where(ended, np.where(known, np.maximum(fin, new["fin"]), fin), new["fin"])
        state |= np.where(ended, dr.ENDED, 0).astype(np.uint16)
    return state


def _mark_windows(
    batch: PacketBatch,
    table: Table,
    rows: I64,
    r: Rows,
    g: Groups,
    chosen: I64,
    begins: Bools,
    new: NDArray[Any],
) -> None:
    """Midstream starts: note the connection's packets and the clock at the first payload."""
    if not begins.any():
        return
    mine = chosen[begins]
    first = g.first_paid[mine]
    flow_order = np.argsort(batch.flow, kind="stable")
    rank = np.empty(len(flow_order), np.int64)
    rank[flow_order] = np.arange(len(flow_order))
    begin = np.searchsorted(batch.flow[flow_order], g.flow[mine])
    upto = rank[r.order[first]] - begin + 1  # packets of the connection in this batch, up to that one
    total = np.bincount(batch.flow, minlength=len(rows))
    after = table.rows["count"][rows[g.flow[mine]]].astype(np.int64)  # counted already
    new["window_count"][begins] = after - total[g.flow[mine]] + upto
    new["window_clock"][begins] = r.clock[first]


def _add_counts(batch: PacketBatch, r: Rows, g: Groups, chosen: I64, new: NDArray[Any]) -> None:
    time = batch.time[r.order]
    earliest = np.minimum.reduceat(time, g.head)[chosen]
    latest = np.maximum.reduceat(time, g.head)[chosen]
    before = (g.state["state"][chosen] & dr.SEEN) != 0
    new["first"] = np.where(before, np.minimum(new["first"], earliest), earliest)
    new["last"] = np.where(before, np.maximum(new["last"], latest), latest)
    new["packets"] += (g.last - g.head + 1)[chosen]
    new["length"] += np.add.reduceat(batch.length[r.order].astype(np.int64), g.head)[chosen]
    if batch.clipped.any():
        new["clipped"] += np.add.reduceat(batch.clipped[r.order].astype(np.int64), g.head)[chosen]
    disorder = np.flatnonzero(r.paid & (r.offset != r.top))
    if len(disorder):
        new["disorder"] += np.bincount(r.group[disorder], minlength=len(g.head))[chosen]


def _say_opened(batch: PacketBatch, table: Table, rows: I64, r: Rows, g: Groups, mine: I64, out: Events) -> None:
    """Streams whose first payload this is; their connections get their counter."""
    if not len(mine):
        return
    flow = g.flow[mine]
    at = rows[flow]
    fresh = np.sort(at[(table.rows["state"][at] & cn.PAID) == 0])
    fresh = fresh[np.diff(fresh, prepend=-1) != 0]  # np.unique would import numpy.ma, for 6 ms in each worker
    table.rows["counter"][fresh] = table.next_counters(table.index.hashes(fresh).tolist())
    table.rows["state"][fresh] |= np.uint8(cn.PAID)
    first = r.order[g.first_paid[mine]]
    begun = ((g.state["state"][mine] & dr.BEGUN) != 0) | ((r.flags[g.head[mine]] & SYN) != 0)
    out.block("opened", Opened(
        table.streams(2 * at + g.side[mine]), table.rows["shard"][at], batch.keys[flow],
        g.side[mine].astype(np.uint8), table.rows["counter"][at], table.rows["opened"][at],
        batch.start[first], batch.mac[first], table.bases(at, g.side[mine]), (~begun).astype(np.uint8),
    ))  # fmt: skip


def say_frontiers(table: Table, rows: I64, g: Groups, settled: Bools, out: Events) -> None:
    """Of reordered groups, which Data alone does not tell, the frontier at the end of the batch."""
    mine = np.flatnonzero(settled)
    sides = 2 * rows[g.flow[mine]] + g.side[mine]
    out.block("frontiers", Frontiers(table.streams(sides), table.rows["shard"][sides >> 1], g.top[mine]))
