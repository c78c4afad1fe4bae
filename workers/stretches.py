"""Plain segments that follow one another in one direction of a connection, judged in one go.

Knows: which packets cannot begin, end or confirm a connection; what such a segment does when all its bytes are new,
are there, or are no longer taken.
Does not know: everything else: the first payload, partial overlaps, starts that move (direction.py), and what
packets with SYN, FIN or RST mean (connection.py).
Invariant: the connection and the events are the same as if each packet had been judged by itself.

A capture of tiny segments in the worst order has nothing that columns could tell at once: each segment depends on
what the ones before it left. So they go one by one, but what is the same for all of a stretch is asked once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from workers.connection import RESET, Connection
from workers.contract import ACK, FIN, I64, PACKET_COLUMNS, RST, SYN, U8, U64, Data, Overlaps, PacketBatch
from workers.direction import ACKED, ENDED, HELD, SEEN, WINDOW, Direction
from workers.events import Events
from workers.limits import Limits
from workers.overlap import POLICIES
from workers.segment import Segment
from workers.seq import MASK, distance

_HALF: Final = 1 << 31
_SURELY: Final = 1 << 30
"""A sequence number at most so far below another one is below it, whatever comes within as many bytes."""


class Stretch(NamedTuple):
    """Rows [low, high) of one side of a flow; those that are not ``plain`` stand alone."""

    flow: int
    side: int
    low: int
    high: int
    plain: bool
    first: int  # ns; the earliest of its packets
    last: int
    length: int  # of all of them, as the columns of a batch
    clipped: int
    acks: int  # the last row that acknowledges something, -1 where none does


def may_stretch(limits: Limits) -> bool:
    """Whether there are stretches: not where a limit or a policy looks at each segment."""
    bounded = limits.stream_bytes is not None or limits.ranges_per_shard is not None
    return not (bounded or POLICIES[limits.overlap].judges)


class Stretches:
    """The chosen rows of a batch, flow by flow, in capture order within."""

    def __init__(self, batch: PacketBatch, chosen: I64, limits: Limits, out: Events) -> None:
        self._limits = limits
        self._out = out
        self._patience = min(limits.half_open_ns, limits.closed_ns, limits.idle_ns)
        order = chosen[np.argsort(batch.flow[chosen], kind="stable")]
        rows = self._rows = batch._replace(**{name: getattr(batch, name)[order] for name in PACKET_COLUMNS})
        self._clocks = rows.time + rows.lag
        self._seq, self._size = rows.seq.tolist(), rows.size.tolist()
        self._start, self._clock = rows.start.tolist(), self._clocks.tolist()
        self._new = _Told()
        self._old = _Told()

    def __iter__(self) -> Iterator[Stretch]:
        rows = self._rows
        code = rows.flow * 2 + rows.side
        special = ((rows.flags & (SYN | FIN | RST)) != 0) | (rows.missing > 0)
        cut = np.ones(len(code), np.bool_)
        cut[1:] = (code[1:] != code[:-1]) | special[1:] | special[:-1]
        low = np.flatnonzero(cut)
        acks = np.where(rows.flags & ACK, np.arange(len(code)), -1)
        columns = (
            rows.flow[low], rows.side[low], low, np.append(low[1:], len(code)), ~special[low],
            np.minimum.reduceat(rows.time, low), np.maximum.reduceat(rows.time, low),
            np.add.reduceat(rows.length.astype(np.int64), low), np.add.reduceat(rows.clipped.astype(np.int64), low),
            np.maximum.reduceat(acks, low),
        )  # fmt: skip
        return map(Stretch._make, zip(*(column.tolist() for column in columns), strict=True))

    def segment(self, row: int) -> Segment:
        """A row by itself."""
        rows = self._rows
        columns = (rows.flow, rows.packet, rows.time, self._clocks, rows.seq, rows.ack, rows.flags, rows.side,
                   rows.start, rows.size, rows.missing, rows.mac, rows.length, rows.clipped)  # fmt: skip
        return Segment._make([column[row].item() for column in columns])

    def take(self, connection: Connection, stretch: Stretch, low: int) -> int:
        """Judge the rows of a stretch from ``low`` on; returns the first that is to be judged by itself."""
        high = stretch.high
        mine, peer = connection.sides[stretch.side], connection.sides[1 - stretch.side]
        if not stretch.plain or not connection.count or connection.pending is not None or connection.state & RESET:
            return low
        if mine.state & peer.state & ENDED or self._clock[high - 1] - connection.clock > self._patience:
            return low
        if not mine.opened:  # the first payload of a stream is judged by itself
            high = next((row for row in range(low, high) if self._size[row]), high)
            if low == high:
                return low
        before, part = connection.count, self._part(stretch, low, high)
        self._count(connection, mine, part)
        self._judge(mine, peer, low, high, before)
        if part.acks >= 0:
            mine.ack = self._rows.ack[part.acks].item()
            mine.state |= ACKED
        return high

    def _part(self, stretch: Stretch, low: int, high: int) -> Stretch:
        """Rows [low, high) of it."""
        if (low, high) == (stretch.low, stretch.high):
            return stretch
        rows = slice(low, high)
        time, length, clipped = self._rows.time[rows], self._rows.length[rows], self._rows.clipped[rows]
        acks = np.flatnonzero(self._rows.flags[rows] & ACK)
        return Stretch(
            stretch.flow, stretch.side, low, high, True, int(time.min()), int(time.max()), int(length.sum()),
            int(clipped.sum()), low + int(acks[-1]) if len(acks) else -1,
        )  # fmt: skip

    def _count(self, connection: Connection, mine: Direction, stretch: Stretch) -> None:
        """As Connection's, of all of a stretch."""
        count = stretch.high - stretch.low
        connection.count += count
        connection.clock = max(connection.clock, self._clock[stretch.high - 1])
        mine.first = min(mine.first, stretch.first) if mine.state & SEEN else stretch.first
        mine.last = max(mine.last, stretch.last) if mine.state & SEEN else stretch.last
        mine.state |= SEEN
        mine.packets += count
        mine.length += stretch.length
        mine.clipped += stretch.clipped

    def _judge(self, mine: Direction, peer: Direction, low: int, high: int, count: int) -> None:
        """The payload of rows [low, high), and the holes that these packets end. ``count``: packets before them.

        Longer than a function should be: what each of a million segments calls costs a fifth of what it takes.
        """
        limits, ranges, part = self._limits, mine.detail.ranges, mine.detail.parts[-1]
        most, window, bottom = limits.ranges_per_direction, limits.window_bytes, mine.bottom
        movable = mine.state & WINDOW and ranges.floor is None
        new_rows, new_offsets = self._new.begin(mine)
        old_rows, old_offsets = self._old.begin(mine)
        written = overlap = outside = disorder = 0
        far = mine.next + _SURELY
        loud = mine.end > far or _is_loud(mine, peer)
        columns = self._seq[low:high], self._size[low:high], self._start[low:high], self._clock[low:high]
        for row, seq, size, place, clock in zip(range(low, high), *columns, strict=True):
            count += 1
            if size:
                end, before = mine.end, mine.next
                ahead = ((seq - mine.base - end + _HALF) & MASK) - _HALF
                offset = end + ahead
                top = offset + size
                if not -window <= ahead <= window or (size == 1 and ahead == -1):
                    bottom = self._by_itself(mine, row, count)
                elif offset < bottom:
                    if movable or top > bottom:
                        bottom = self._by_itself(mine, row, count)
                    else:
                        disorder += 1
                        outside += size
                elif (at := ranges.add(offset, top, place, count, clock)) >= 0:
                    written += size
                    new_rows.append(row)
                    new_offsets.append(offset)
                    if ahead:
                        disorder += 1
                    if offset < part.high and offset >= part.start:
                        part.holes -= size
                    else:
                        mine.lay_out(offset, top, limits, self._out)
                        part = mine.detail.parts[-1]
                    if top > end:
                        mine.end = top
                    if ranges.starts[at] <= before < ranges.ends[at]:
                        mine.next = ranges.ends[at]
                        mine.jumped |= mine.next > (top if offset == before else before)
                    if len(ranges.starts) > most and len(ranges) > most:
                        bottom = self._fold(mine, row)
                elif ranges.holds(offset, top):
                    overlap += size
                    disorder += 1
                    old_rows.append(row)
                    old_offsets.append(offset)
                else:
                    bottom = self._by_itself(mine, row, count)
                loud = loud or mine.end > far
            if loud:
                self._look_for_gaps(mine, peer, row, count)
        mine.written += written
        mine.overlap += overlap
        mine.outside += outside
        mine.seen += written + overlap + outside
        mine.disorder += disorder
        mine.hold()

    def _by_itself(self, mine: Direction, row: int, count: int) -> int:
        """A row that needs more thought; returns the lowest offset that is taken behind it."""
        self._out.packet = self._rows.packet[row].item()
        mine.take(self.segment(row), count, self._limits, self._out)
        return mine.bottom

    def _fold(self, mine: Direction, row: int) -> int:
        self._out.packet = self._rows.packet[row].item()
        mine.fold(self._limits, self._out)
        return mine.bottom

    def _look_for_gaps(self, mine: Direction, peer: Direction, row: int, count: int) -> None:
        limits, out, clock = self._limits, self._out, self._clock[row]
        out.packet = self._rows.packet[row].item()
        if self._rows.flags[row] & ACK:
            mine.ack = self._rows.ack[row].item()
            mine.state |= ACKED
        mine.hold()
        mine.check_gap(peer, count, clock, limits, out)
        peer.check_gap(mine, count, clock, limits, out)

    def say(self) -> None:
        """The events of rows that were all new, or all there; those of the others are said already."""
        of, out = self._rows, self._out
        rows, stream, shard, offset = self._new.columns()
        start, size, packet = of.start[rows], of.size[rows], of.packet[rows]
        out.block("data", Data(stream, shard, offset, start, size, packet, of.time[rows]))
        rows, stream, shard, offset = self._old.columns()
        start, size, packet = of.start[rows], of.size[rows], of.packet[rows]
        wins = np.full(len(rows), POLICIES[self._limits.overlap].delivered, np.uint8)
        out.block("overlaps", Overlaps(stream, shard, offset, start, size, packet, wins))
        out.mixed = True


class _Told:
    """Rows of stretches, and their offsets."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._offsets: list[int] = []
        self._begun: list[tuple[int, int, int]] = []  # at which of them, stream, shard

    def begin(self, mine: Direction) -> tuple[list[int], list[int]]:
        """What a stretch adds to: rows, offsets."""
        self._begun.append((len(self._rows), mine.stream, mine.shard))
        return self._rows, self._offsets

    def columns(self) -> tuple[I64, U64, U8, I64]:
        """Rows; stream, shard and offset of each."""
        begun = np.array(self._begun, np.uint64).reshape(-1, 3)
        many = np.diff(np.append(begun[:, 0].astype(np.int64), len(self._rows)))
        stream, shard = np.repeat(begun[:, 1], many), np.repeat(begun[:, 2].astype(np.uint8), many)
        return np.array(self._rows, np.int64), stream, shard, np.array(self._offsets, np.int64)


def _is_loud(mine: Direction, peer: Direction) -> bool:
    """Whether each packet must be asked if a hole is given up: what the peer has acknowledged tells, and stays so."""
    if peer.state & HELD or not peer.state & SEEN:
        return True
    ahead = distance((mine.base + mine.next) & MASK, peer.ack)
    return bool(peer.state & ACKED) and not -_SURELY < ahead <= 0
