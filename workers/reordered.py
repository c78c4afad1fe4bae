"""Segments that are not simply next, in columns: retransmissions, and reordering that the batch itself mends.

Knows: when a group's bytes are all there at the end of the batch, each in a segment of its own.
Does not know: partial overlaps among segments that came out of order, holes that stay: those groups are odd.
What overlaps here was delivered, or is the same segment again beyond the frontier; where the policy lets that
one win (``solaris``) its group is odd too.
Invariant: as for inorder.py, the events are those of the per-segment path.
"""

import numpy as np

from workers import direction as dr
from workers.contract import I64, Bools, PacketBatch
from workers.limits import Limits
from workers.overlap import POLICIES, Relation
from workers.placing import Groups, Rows


def sort_out(
    batch: PacketBatch, r: Rows, g: Groups, misplaced: Bools, limits: Limits
) -> tuple[Rows, Groups, Bools, Bools]:
    """Rows and groups with ``bottom`` and ``lowest`` set; which rows stay misplaced; which groups were reordered.

    ``misplaced`` (n,): rows with payload that do not lie at ``top``.
    """
    plain = (g.state["state"] & dr.DETAIL) == 0
    again = misplaced & (r.offset < r.top) & (r.offset >= g.state["origin"][r.group]) & (r.size > 1)
    again &= plain[r.group] & (r.top - r.offset <= limits.window_bytes)
    ahead = np.zeros(len(g.head), np.bool_)
    ahead[r.group[misplaced & (r.offset > r.top)]] = True
    bottom = np.maximum(r.offset, np.minimum(r.top, r.end))
    settled = ahead & plain & _short(batch, r, g, limits)
    lowest = g.first_paid
    if settled.any():
        policy = POLICIES[limits.overlap]
        once = policy.judges and policy.rows[Relation.SAME]
        settled, lowest = _chain(r, g, settled, misplaced & ~again & (r.offset < r.top), bottom, once=once)
    stays = misplaced & ~again & ~settled[r.group]
    stays |= misplaced & (ahead & ~settled)[r.group]
    return r._replace(bottom=bottom), g._replace(lowest=lowest), stays, settled


def _short(batch: PacketBatch, r: Rows, g: Groups, limits: Limits) -> Bools:
    """Groups in which no hole could be given up, nor laid out in another part, within the batch."""
    if limits.stream_bytes is not None:
        return np.zeros(len(g.head), np.bool_)
    flows = len(batch.keys)
    packets = np.bincount(batch.flow, minlength=flows)
    begin = np.full(flows, np.iinfo(np.int64).max)
    end = np.full(flows, np.iinfo(np.int64).min)
    np.minimum.at(begin, g.flow, r.clock[g.head])
    np.maximum.at(end, g.flow, r.clock[g.last])
    short: Bools = (packets < min(limits.reorder_packets, limits.ranges_per_direction))[g.flow]
    short &= (end - begin < limits.reorder_ns)[g.flow]
    short &= g.top - g.state["next"] <= limits.hole_bytes
    return short


def _chain(r: Rows, g: Groups, settled: Bools, barred: Bools, bottom: I64, *, once: bool = False) -> tuple[Bools, I64]:
    """Which of the ``settled`` groups are a chain of segments without gap or partial overlap.

    ``once``: nor with a segment twice beyond the frontier.

    Sets ``bottom`` of their rows: the first of equal segments is new, the others and what lies below the
    frontier are not. Returns those groups, and the lowest row of each group.
    """
    rows = np.flatnonzero(r.paid & settled[r.group])
    rows = rows[np.lexsort((rows, r.offset[rows], r.group[rows]))]
    group, offset, end = r.group[rows], r.offset[rows], r.end[rows]
    before = g.state["next"][group]
    old = end <= before
    fresh = np.flatnonzero(~old)
    f_group, f_offset, f_end = group[fresh], offset[fresh], end[fresh]
    first = np.append(True, f_group[1:] != f_group[:-1])
    expected = np.where(first, before[fresh], np.roll(f_end, 1))
    equal = ~first & (f_offset == np.roll(f_offset, 1)) & (f_end == np.roll(f_end, 1))
    settled = settled.copy()
    settled[f_group[~equal & (f_offset != expected)]] = False
    settled[r.group[barred]] = False
    if once:
        arrived = rows[fresh]  # groups follow one another, so one running maximum serves them all
        complete = np.maximum.accumulate(np.where(equal, 0, arrived))  # when the frontier passed that segment
        settled[f_group[equal & (arrived < complete)]] = False
    lowest = g.first_paid.copy()
    lowest[f_group[first]] = rows[fresh[first]]
    bottom[rows] = np.where(old, end, offset)
    bottom[rows[fresh[equal]]] = f_end[equal]
    return settled, lowest
