"""How many connections a virtual shard may hold, and which of them make room for new ones.

Knows: the limits per shard, who goes first, when a shard is looked at.
Does not know: how segments are judged, what is said of a connection that goes.
Invariant: a shard is looked at when as many connections have begun in it as it had room for at its last look. So
the moment is a place among its packets, whatever the batches, the sweeps and the number of workers; and since each
look leaves room for a share of the limit, what it costs is shared by as many connections.
"""

from __future__ import annotations

import numpy as np

from workers.connection import PENDING
from workers.contract import FIN, I64, RST, SHARDS, SYN, Bools, CloseReason, PacketBatch
from workers.events import Events
from workers.limits import Limits
from workers.table import Table

_SHARE = 8
"""A look leaves room for at least an eighth of the connections ..."""
_HALF_OPEN_SHARE = 2
"""... and half of the half-open ones: a flood of SYNs fills that soon, and what goes has the least to lose."""

_CUT_COSTS = 50
"""What it takes to cut a batch, in packets that are judged segment by segment."""


def may_begin(batch: PacketBatch, table: Table, rows: I64) -> I64:
    """How many connections each flow (u,) may begin with the packets of a batch, were all but its SYNs plain ones.

    Once a connection may be over, each packet may begin one."""
    flow, flags = batch.flow, batch.flags
    wild = np.zeros(len(rows), np.bool_)
    wild[flow[(flags & (FIN | RST)) != 0]] = True
    known = np.flatnonzero(rows >= 0)
    at, limits = rows[known], table.limits
    patience = min(limits.half_open_ns, limits.closed_ns, limits.idle_ns)
    earliest = np.minimum(table.rows["clock"][at], batch.time[0] + batch.lag[0])
    wild[known] |= table.over(at) | ((table.rows["state"][at] & PENDING) != 0)
    wild[known] |= batch.clock - earliest > patience
    if batch.clock - batch.time[0] - batch.lag[0] > patience:
        wild[:] = True
    syns = np.bincount(flow[(flags & SYN) != 0], minlength=len(rows)) + (rows < 0)
    most: I64 = np.where(wild, np.bincount(flow, minlength=len(rows)), syns)
    return most


class Crowding:
    """The room of each shard."""

    def __init__(self, limits: Limits, table: Table) -> None:
        self._table = table
        self._most = limits.connections_per_shard
        self._half_open = min(limits.half_open_per_shard, self._most)
        self.room: I64 = np.full(SHARDS, self._half_open, np.int64)
        """How many connections may begin in each shard before it is looked at."""

    def crowded(self, beginning: I64) -> Bools:
        """Which shards (256,) may have to be looked at before so many connections (256,) have begun in them."""
        found: Bools = beginning > self.room
        return found

    def began(self, beginning: I64) -> None:
        """So many (256,) have."""
        self.room -= beginning

    def cuts(self, batch: PacketBatch, crowded: Bools, fresh: Bools, plain: Bools) -> I64 | None:
        """Of each shard (256,) the row at which it must make room, or the number of rows; None: go segment by segment.

        By flow (u,): which are of ``crowded`` shards, ``fresh`` in the table, and ``plain``: those begin a connection
        with their first packet if they are fresh, and else none, wherever the batch is cut.
        """
        shards, count = batch.shards, len(batch.packet)
        cutting = np.zeros(SHARDS, np.bool_)
        cutting[shards[crowded]] = True
        cutting[shards[crowded & ~plain]] = False
        mine = cutting[shards]
        first = np.full(len(shards), count)
        np.minimum.at(first, batch.flow, np.arange(count))
        beginning = np.flatnonzero(mine & fresh)
        if not len(beginning):
            return None
        least = max(1, min(self._half_open // _HALF_OPEN_SHARE, self._most // _SHARE))
        looks = int(np.bincount(shards[beginning]).max()) / least
        if looks * _CUT_COSTS > np.count_nonzero(mine[batch.flow]):
            return None
        beginning = beginning[np.lexsort((first[beginning], shards[beginning]))]
        of = shards[beginning]
        rank = np.arange(len(of)) - np.searchsorted(of, of)
        at = rank == np.maximum(self.room[of], 0)
        cuts = np.full(SHARDS, count)
        cuts[of[at]] = first[beginning[at]]
        return cuts

    def look(self, clocks: dict[int, int], out: Events) -> tuple[int, int]:
        """Forget what has expired, and evict until there is room again: half-open connections first, then closed ones,
        the longest idle first. ``clocks`` says when it is, by shard.

        Returns how many were evicted for all connections, and for the half-open ones alone.
        """
        table = self._table
        shards = np.array(sorted(clocks), np.int64)
        standing = table.standing(table.of_shards(shards))
        now = np.zeros(SHARDS, np.int64)
        now[shards] = [clocks[shard] for shard in shards.tolist()]
        expired = standing.due(table.limits) < now[standing.shard]
        if expired.any():
            table.close(standing.numbers[expired], CloseReason.IDLE, out)
            standing = standing.but(expired)
        numbers, of, half, over, clock, ident = standing
        count, pending = np.bincount(of, minlength=SHARDS), np.bincount(of[half], minlength=SHARDS)
        crowd = np.minimum(self._lacking(self._most, count, _SHARE), count)
        flood = np.minimum(self._lacking(self._half_open, pending, _HALF_OPEN_SHARE), count)
        going = np.maximum(crowd, flood)
        if going[shards].any():
            rank = np.where(half, 0, np.where(over, 1, 2))
            order = np.lexsort((ident, clock, rank, of))
            by_shard = of[order]
            goes = order[np.arange(len(order)) - np.searchsorted(by_shard, by_shard) < going[by_shard]]
            pending -= np.bincount(of[goes[half[goes]]], minlength=SHARDS)
            table.close(numbers[goes], CloseReason.EVICTED, out)
        self.room[shards] = np.minimum(self._most - count + going, self._half_open - pending)[shards]
        return int(crowd[shards].sum()), int((going - crowd)[shards].sum())

    @staticmethod
    def _lacking(most: int, count: I64, share: int) -> I64:
        return np.maximum(0, max(1, most // share) - (most - count))
