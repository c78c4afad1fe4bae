"""PacketBatch in, EventBatch out: the reassembly of one worker's share of the traffic.

Knows: which flows of a batch take the vector path (inorder.py) and which go segment by segment
(connection.py, direction.py); connections opening, replacing one another, expiring.
Does not know: sockets, files, other workers.
Invariant: the events do not depend on where the input was cut into batches, nor on which path a flow
took (``vector=False`` sends everything segment by segment; the tests compare the two).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from workers import connection as cn
from workers import direction as dr
from workers import inorder
from workers.connection import Connection, Verdict
from workers.contract import (
    END_OF_INPUT,
    I64,
    NO_EXTENTS,
    SHARDS,
    Bools,
    CloseReason,
    EventBatch,
    PacketBatch,
    Untaken,
)
from workers.crowding import Crowding, may_begin
from workers.events import Events
from workers.known import Known, part_of
from workers.limits import Limits
from workers.lone import may_wait
from workers.segment import Segment
from workers.stretches import Stretches, may_stretch
from workers.table import Table

_flow = attrgetter("flow")

_SWEEP_EVERY = 4
"""Batches between two sweeps for expired connections; their result is the same at any rhythm."""

_FLOOD = 4
"""One of so many packets of a batch is the only one of a new connection: it pays to take them out."""

_CLOSE_AT_ONCE = 8192
"""Connections closed in one set of events at the end: so many rows are easily held."""


class Reassembler:
    """A worker's state. ``handle`` every batch in order, then ``finish``."""

    def __init__(
        self, limits: Limits, *, vector: bool = True, append: bool = False, untaken: bool = False,
        connections: bool = False,
    ) -> None:  # fmt: skip
        """``append``: later connections of a tuple go on where the one before ended, without a counter of their
        own. ``untaken``: tell of every packet with payload of which no stream took a byte. ``connections``: tell
        of every connection, payload or not."""
        self.limits = limits
        self.vector = vector
        self.untaken = untaken
        self.table = Table(limits, append=append, connections=connections)
        self.crowding = Crowding(limits, self.table)
        self.counters: Counter[str] = Counter(
            dict.fromkeys(("delivered", "no_payload", "payload_segments", "moved_beyond", "limit.hole_bytes",
                           "limit.ranges", "limit.connections", "limit.half_open"), 0)
        )  # fmt: skip
        self._batches = 0
        self._clock = 0

    def handle(self, batch: PacketBatch) -> EventBatch:
        """Judge every packet of a batch."""
        out = Events(batch.number, batch.extents, self.counters)
        self._batches += 1
        count = len(batch.packet)
        if count:
            paid = int(np.count_nonzero(batch.size))
            self.counters["delivered"] += count
            self.counters["payload_segments"] += paid
            self.counters["no_payload"] += count - paid
            self._judge(batch, out)
        self._clock = batch.clock
        if self._batches % _SWEEP_EVERY == 0:
            self.table.expire(batch.clock, out)
        return out.build()

    def cut(self) -> EventBatch:
        """A part of the output ends behind the last batch: close what has expired, count the tuples' connections anew.

        What is closed here is so at any rhythm of sweeps: which part a stream ends in depends on the cut alone.
        """
        out = Events(END_OF_INPUT, NO_EXTENTS, self.counters)
        self.table.expire(self._clock, out)
        self.table.forget_counts()
        return out.build()

    def forget(self, shards: I64) -> Iterator[EventBatch]:
        """Close every connection of these virtual shards now: whoever was told of them is dead. What is said here is
        for nobody; packets that come later begin other connections."""
        yield from self._close(self.table.of_shards(shards))

    def finish(self) -> Iterator[EventBatch]:
        """The input is over: close every connection. Those that had expired by then did so for idleness."""
        out = Events(END_OF_INPUT, NO_EXTENTS, self.counters)
        self.table.expire(self._clock, out)
        yield out.build()
        yield from self._close(self.table.live())

    def _close(self, rows: I64) -> Iterator[EventBatch]:
        for at in range(0, len(rows), _CLOSE_AT_ONCE):
            out = Events(END_OF_INPUT, NO_EXTENTS, self.counters)
            self.table.close(rows[at : at + _CLOSE_AT_ONCE], CloseReason.INPUT_END, out)
            yield out.build()

    def totals(self) -> dict[str, int]:
        """Counters of the run so far; those of the streams as of their closing."""
        return {**self.counters, **self.table.totals}

    def _judge(self, batch: PacketBatch, out: Events) -> None:
        self._judge_known(Known(batch, self.table.find(batch.keys)), out)

    def _judge_known(self, known: Known, out: Events) -> None:
        rest: Known | None = known
        while rest is not None and len(rest.batch.packet):
            rest = self._judge_some(rest, out)

    def _judge_some(self, known: Known, out: Events) -> Known | None:
        """All of the batch, or what comes before shards have to make room in it; then what comes behind is returned."""
        table = self.table
        batch, rows = known
        odd: Bools = np.ones(len(rows), np.bool_)
        if self.vector:
            cuts = self._cuts_for_lone(batch, rows)
            if cuts is not None:
                return self._cut(known, cuts, out)
            if (rest := self._begin_lone(known)) is not None:
                return rest
            r, g, simple, settled = inorder.judge(batch, table, rows)
            crowded = self._crowded(batch, rows, simple)
            if crowded.any():
                plain = simple.copy()
                if settled is not None:
                    plain[g.flow[settled]] = False
                cuts = self.crowding.cuts(batch, crowded, rows < 0, plain)
                if cuts is not None:
                    return self._cut(known, cuts, out)
                simple &= ~crowded
            fresh = np.flatnonzero(simple & (rows < 0))
            if len(fresh):
                self.crowding.began(np.bincount(batch.shards[fresh], minlength=SHARDS))
                rows[fresh] = table.add(batch.keys[fresh], batch.shards[fresh])
            inorder.commit(batch, table, rows, r, g, simple, out)
            if settled is not None:
                inorder.say_frontiers(table, rows, g, settled & simple[g.flow], out)
            odd = ~simple
            if not self.untaken and may_stretch(self.limits):
                self._in_stretches(known, np.flatnonzero((odd & ~crowded)[batch.flow]), out)
                odd &= crowded
        if odd.any():
            self._one_by_one(known, np.flatnonzero(odd[batch.flow]), out)
        return None

    def _begin_lone(self, known: Known) -> Known | None:
        """If many packets of the batch are alone, as in a flood, remember them before the others are judged, which are
        returned. Only where no shard may have to make room: that depends on the order of all of its packets."""
        batch, rows = known
        fresh, count = rows < 0, len(batch.packet)
        if _FLOOD * np.count_nonzero(fresh) <= count:
            return None
        alone = fresh & (np.bincount(batch.flow, minlength=len(rows)) == 1)
        alone &= ~self.crowding.crowded(np.bincount(batch.shards[batch.flow], minlength=SHARDS))[batch.shards]
        packets = np.flatnonzero(alone[batch.flow])
        packets = packets[may_wait(batch, packets)]
        if _FLOOD * len(packets) <= count:
            return None
        self.crowding.began(np.bincount(batch.shards[batch.flow[packets]], minlength=SHARDS))
        self.table.lone.add(batch, packets)
        others = np.ones(count, np.bool_)
        others[packets] = False
        return known.part(others)[0]

    def _crowded(self, batch: PacketBatch, rows: I64, simple: Bools) -> Bools:
        """Flows of shards that may have to make room for a connection within this batch."""
        shards = batch.shards
        beginning = np.bincount(shards[simple & (rows < 0)], minlength=SHARDS)
        if not simple.all():
            others = np.where(simple, 0, may_begin(batch, self.table, rows))
            beginning = beginning + np.bincount(shards, others, SHARDS).astype(np.int64)
        return self.crowding.crowded(beginning)[shards]

    def _cuts_for_lone(self, batch: PacketBatch, rows: I64) -> I64 | None:
        """Cuts that are certain before the batch is judged: a flood's flows have one packet, which begins a connection
        whatever it is. Only the others are judged then; None: the whole batch is to be."""
        fresh = rows < 0
        if np.count_nonzero(fresh) <= self.crowding.room.min():
            return None
        lone = fresh & (np.bincount(batch.flow, minlength=len(rows)) == 1)
        crowded = self.crowding.crowded(np.bincount(batch.shards[lone], minlength=SHARDS))[batch.shards]
        if not crowded.any():
            return None
        plain = lone.copy()
        part, others = part_of(batch, ~lone[batch.flow])
        if len(others):
            _, g, simple, settled = inorder.judge(part, self.table, rows[others])
            if settled is not None:
                simple[g.flow[settled]] = False
            plain[others] = simple
        return self.crowding.cuts(batch, crowded, fresh, plain)

    def _cut(self, known: Known, cuts: I64, out: Events) -> Known:
        """Judge what comes before the cuts (256,) of the shards, and make room there; returns what comes behind."""
        batch = known.batch
        behind = np.arange(len(batch.packet)) >= cuts[batch.shards][batch.flow]
        self._judge_known(known.part(~behind)[0], out)
        shards = np.flatnonzero(cuts < len(batch.packet))
        clocks = (batch.time + batch.lag)[cuts[shards]]
        self._look(dict(zip(shards.tolist(), clocks.tolist(), strict=True)), out)
        before = np.zeros(len(batch.keys), np.bool_)
        before[batch.flow[~behind]] = True
        rest, flows = known.part(behind)
        moved = np.flatnonzero((rest.rows >= 0) | before[flows])  # of the others none has begun
        rest.rows[moved] = self.table.find(rest.batch.keys[moved])
        return rest

    def _look(self, clocks: dict[int, int], out: Events) -> None:
        crowd, flood = self.crowding.look(clocks, out)
        self.counters["limit.connections"] += crowd
        self.counters["limit.half_open"] += flood

    # Segment by segment

    def _in_stretches(self, known: Known, chosen: I64, out: Events) -> None:
        """The chosen rows, connection by connection: no shard of theirs has to make room within the batch."""
        if not len(chosen):
            return
        stretches = Stretches(known.batch, chosen, self.limits, out)
        loaded: dict[int, Connection] = {}
        for flow, mine in groupby(stretches, _flow):
            connection = self._load(known, flow)
            for stretch in mine:
                at = stretch.low
                while at < stretch.high:
                    if connection is not None:
                        at = stretches.take(connection, stretch, at)
                        if at == stretch.high:
                            break
                    segment = stretches.segment(at)
                    if connection is None:
                        connection = self._open(known, segment, loaded, out)
                    connection = self._packet(connection, segment, known, loaded, out)
                    at += 1
            if connection is not None:
                self._store(connection, out)
        stretches.say()

    def _load(self, known: Known, flow: int) -> Connection | None:
        row = int(known.rows[flow])
        return None if row < 0 else self.table.load(row)

    def _store(self, connection: Connection, out: Events) -> None:
        for direction in connection.sides:
            direction.tell_frontier(out)
        self.table.store(connection)

    def _one_by_one(self, known: Known, chosen: I64, out: Events) -> None:
        """The chosen rows in capture order, over all their connections."""
        loaded: dict[int, Connection] = {}
        for segment in _segments(known.batch, chosen):
            connection = loaded.get(segment.flow)
            if connection is None:
                connection = self._load(known, segment.flow) or self._open(known, segment, loaded, out)
                loaded[segment.flow] = connection
            loaded[segment.flow] = self._packet(connection, segment, known, loaded, out)
        for connection in loaded.values():
            self._store(connection, out)

    def _packet(
        self, connection: Connection, segment: Segment, known: Known, loaded: dict[int, Connection], out: Events
    ) -> Connection:  # fmt: skip
        """One packet of one flow; returns the connection that the flow has now."""
        limits = self.limits
        out.packet = segment.packet
        if connection.count and segment.clock > connection.expires(limits):
            connection = self._replace(connection, CloseReason.IDLE, known, segment, loaded, out)
        verdict = connection.judge(segment, limits) if connection.count else Verdict.BELONGS
        if verdict is Verdict.HOLD:
            connection.hold(segment)
            if self.untaken and segment.size > segment.missing:
                self._tell_untaken(connection, segment, Untaken.OUTSIDE_WINDOW, out)
            return connection
        if verdict is Verdict.NEW:
            connection = self._replace(connection, CloseReason.REUSED, known, segment, loaded, out)
        elif verdict is Verdict.CONFIRM and connection.pending is not None:
            held = connection.pending._replace(flow=segment.flow)  # it may be of an earlier batch
            connection.pending = None
            connection = self._replace(connection, CloseReason.REUSED, known, held, loaded, out)
            connection.take(held, limits, out)
        mine = connection.sides[segment.side]
        before = mine.written + mine.overlap + mine.beyond, mine.not_data, mine.refused
        most, further = limits.ranges_per_shard, 0
        if most is not None:
            further = mine.further
        connection.take(segment, limits, out, stray=verdict is Verdict.STRAY)
        if most is not None and mine.further != further:
            self._bound_ranges(mine, mine.further - further, most, out)
        if self.untaken and segment.size > segment.missing and mine.written + mine.overlap + mine.beyond == before[0]:
            reason = Untaken.OUTSIDE_WINDOW
            if mine.not_data != before[1]:
                reason = Untaken.STRAY if verdict is Verdict.STRAY else Untaken.NOT_DATA
            elif mine.refused != before[2]:
                reason = Untaken.REFUSED
            self._tell_untaken(connection, segment, reason, out)
        self._tell_opened(connection, segment, out)
        return connection

    def _bound_ranges(self, mine: dr.Direction, more: int, most: int, out: Events) -> None:
        """So many ranges more wait; where its shard has too many, the stream that added to them gives some up."""
        held = self.table.ranges
        held[mine.shard] += more
        while held[mine.shard] > most and mine.further:
            mine.fold(self.limits, out)
            held[mine.shard] -= 1

    @staticmethod
    def _tell_untaken(connection: Connection, segment: Segment, reason: Untaken, out: Events) -> None:
        stream = connection.sides[segment.side].stream
        out.row("untaken", (stream, connection.shard, segment.packet, int(reason)))

    def _tell_opened(self, connection: Connection, segment: Segment, out: Events) -> None:
        """If this segment brought its stream's first payload, say so before anything else of it."""
        mine = connection.sides[segment.side]
        if not mine.state & dr.OPENED or mine.opened:
            return
        mine.opened = True
        table, rows = self.table, np.array([connection.index])
        if not connection.state & cn.PAID:
            [connection.counter] = table.next_counters(table.index.hashes(rows).tolist())
            connection.state |= cn.PAID
        [base] = table.bases(rows, np.array([segment.side])).tolist()
        out.row("opened", (
            mine.stream, connection.shard, connection.key, segment.side, connection.counter, connection.opened,
            segment.start, segment.mac, base, int(not mine.state & dr.BEGUN),
        ))  # fmt: skip

    def _open(self, known: Known, segment: Segment, loaded: dict[int, Connection], out: Events) -> Connection:
        """A new connection whose first packet is ``segment``; makes room for it at the shard's limit."""
        batch, flow = known.batch, segment.flow
        shard = int(batch.shards[flow])
        if self.crowding.room[shard] <= 0:
            self._make_room(shard, segment.clock, known, loaded, out)
        self.crowding.room[shard] -= 1
        [row] = self.table.add(batch.keys[flow : flow + 1], batch.shards[flow : flow + 1]).tolist()
        known.rows[flow] = row
        self.table.rows[row] = (
            segment.packet, segment.time, segment.clock, 0, cn.NO_COUNTER, 0, shard, segment.side
        )  # fmt: skip
        return self.table.load(row)

    def _make_room(self, shard: int, clock: int, known: Known, loaded: dict[int, Connection], out: Events) -> None:
        mine = [(flow, connection) for flow, connection in loaded.items() if connection.shard == shard]
        for _, connection in mine:
            self.table.store(connection)
        self._look({shard: clock}, out)
        known.rows[:] = self.table.find(known.batch.keys)
        for flow, connection in mine:
            if known.rows[flow] != connection.index:
                del loaded[flow]

    def _replace(
        self, old: Connection, reason: CloseReason, known: Known, first: Segment,
        loaded: dict[int, Connection], out: Events,
    ) -> Connection:  # fmt: skip
        """The old connection is over, ``first`` begins the next one of its tuple."""
        self.table.store(old)
        self.table.close(np.array([old.index]), reason, out)
        loaded.pop(first.flow, None)
        return self._open(known, first, loaded, out)


def _segments(batch: PacketBatch, chosen: I64) -> Any:
    """The chosen rows as Segments, in capture order."""
    clock = batch.time + batch.lag
    columns = (batch.flow, batch.packet, batch.time, clock, batch.seq, batch.ack, batch.flags, batch.side,
               batch.start, batch.size, batch.missing, batch.mac, batch.length, batch.clipped)  # fmt: skip
    return map(Segment._make, zip(*(column[chosen].tolist() for column in columns), strict=True))
