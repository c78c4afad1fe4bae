"""One connection, packet by packet: SYN, FIN, RST and tuple reuse; both directions in capture order.

Knows: which packets belong to this connection, when it is closed, when a SYN opens the next one.
Does not know: other connections, byte ranges (direction.py), batches.
Invariant: a SYN opens a new connection on a tuple in use only if it brings another initial sequence
number and the old connection is closed, or once its SYN-ACK acknowledges that number.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from workers.contract import ACK, FIN, RST, SYN
from workers.direction import ACKED, BASED, BEGUN, ENDED, HELD, OPENED, SEEN, WINDOW, Direction
from workers.events import Events
from workers.limits import Limits
from workers.segment import Segment
from workers.seq import MASK, distance

# State bits of a connection.
RESET: Final = 1
PENDING: Final = 2  # a SYN waits for its SYN-ACK
PAID: Final = 4  # it has carried payload, and so counts among its tuple's connections

NO_COUNTER: Final = 0xFFFF_FFFF
"""Of a connection that does not count among them yet."""

FIELDS: Final = (
    ("ident", "u8"),  # packet number of its first packet
    ("opened", "i8"),  # ns; time of that packet
    ("clock", "i8"),  # ns; packet clock at its latest packet
    ("count", "u4"),  # its packets
    ("counter", "u4"),  # how many connections with payload its tuple had before it
    ("state", "u1"),
    ("shard", "u1"),
    ("first_side", "u1"),  # which endpoint of the key sent its first packet
)
"""Columns of the table of connections, in the order of a Connection's first attributes."""


class Verdict(Enum):
    """What a packet is to the connection that holds its tuple."""

    BELONGS = auto()
    STRAY = auto()  # a SYN-ACK with another number: the packet counts, its payload is no data
    NEW = auto()  # it opens the tuple's next connection
    HOLD = auto()  # a SYN that may do so: its SYN-ACK will tell
    CONFIRM = auto()  # it confirms the SYN held before


class Connection:
    """A row of the table, unpacked, with its two directions."""

    __slots__ = ("clock", "count", "counter", "first_side", "ident", "index", "key", "opened", "pending",
                 "shard", "sides", "state")  # fmt: skip

    def __init__(
        self,
        index: int,
        row: tuple[int, ...],
        key: tuple[int, ...],
        sides: tuple[Direction, Direction],
        pending: Segment | None,
    ) -> None:
        (self.ident, self.opened, self.clock, self.count, self.counter, self.state, self.shard,
         self.first_side) = row  # fmt: skip
        self.index = index
        self.key = key
        self.sides = sides
        self.pending = pending

    def row(self) -> tuple[int, ...]:
        """The columns."""
        self.state = self.state & ~PENDING if self.pending is None else self.state | PENDING
        return (self.ident, self.opened, self.clock, self.count, self.counter, self.state, self.shard,
                self.first_side)  # fmt: skip

    # When is it over?

    def closed(self) -> bool:
        """RST, or FIN from both sides and all data up to them."""
        a, b = self.sides
        return bool(self.state & RESET or (a.state & b.state & ENDED and a.next >= a.fin and b.next >= b.fin))

    def expires(self, limits: Limits) -> int:
        """Packet clock after which it is forgotten."""
        if self.closed():
            return self.clock + limits.closed_ns
        a, b = self.sides
        if not (a.state | b.state) & OPENED and not a.state & b.state & SEEN:
            return self.clock + limits.half_open_ns
        return self.clock + limits.idle_ns

    # Whose packet is it?

    def judge(self, segment: Segment, limits: Limits) -> Verdict:
        """What ``segment`` is to this connection. Changes nothing."""
        if segment.flags & RST:
            return Verdict.BELONGS
        if segment.flags & SYN:
            if segment.flags & ACK:
                return self._judge_syn_ack(segment, limits)
            return self._judge_syn(segment, limits)
        if self.pending is not None and self._begins_pending(segment):
            return Verdict.CONFIRM
        if segment.size and self.closed() and self._is_far(segment, limits):
            return Verdict.NEW
        return Verdict.BELONGS

    def _judge_syn(self, segment: Segment, limits: Limits) -> Verdict:
        mine, peer = self.sides[segment.side], self.sides[1 - segment.side]
        first = (segment.seq + 1) & MASK
        if mine.state & BEGUN and mine.base == first:
            return Verdict.BELONGS  # retransmitted
        if self.closed():
            return Verdict.NEW
        if not mine.state & BASED:
            ahead = distance(first, peer.ack) if peer.state & ACKED else 0
            return Verdict.BELONGS if 0 <= ahead <= limits.window_bytes else Verdict.HOLD
        return Verdict.BELONGS if self._may_be_late_syn(segment, limits) else Verdict.HOLD

    def _judge_syn_ack(self, segment: Segment, limits: Limits) -> Verdict:
        mine = self.sides[segment.side]
        waits = self.pending
        if waits is not None and waits.side != segment.side and segment.ack == (waits.seq + 1) & MASK:
            return Verdict.CONFIRM
        if not mine.state & BASED or (mine.state & BEGUN and mine.base == (segment.seq + 1) & MASK):
            return Verdict.BELONGS
        if self.closed():
            return Verdict.NEW
        return Verdict.BELONGS if self._may_be_late_syn(segment, limits) else Verdict.STRAY

    def _may_be_late_syn(self, segment: Segment, limits: Limits) -> bool:
        """A SYN that was captured behind data of its own connection."""
        mine = self.sides[segment.side]
        offset = mine.offset_of((segment.seq + 1) & MASK)
        if mine.state & BEGUN or offset > mine.origin:
            return False
        return offset == mine.origin or mine.may_begin_at(offset, segment, self.count, limits)

    def _begins_pending(self, segment: Segment) -> bool:
        """Data right behind a held SYN, where only one side was captured and no SYN-ACK can come."""
        waits = self.pending
        assert waits is not None
        return (
            segment.side == waits.side
            and segment.seq == (waits.seq + 1) & MASK
            and not self.sides[1 - segment.side].state & SEEN
        )

    def _is_far(self, segment: Segment, limits: Limits) -> bool:
        """Too far from a closed connection's data to be a straggler of it."""
        mine = self.sides[segment.side]
        if not mine.state & BASED:
            return False
        offset = mine.offset_of(segment.seq)
        return not mine.origin - limits.hole_bytes <= offset <= mine.end + limits.hole_bytes

    # What it does

    def hold(self, segment: Segment) -> None:
        """Keep a SYN until its SYN-ACK tells. Its payload (if any) is not data of this connection."""
        self.absorb_pending()
        mine = self.sides[segment.side]
        mine.seen += segment.size - segment.missing
        mine.outside += segment.size - segment.missing
        self.pending = segment._replace(size=0, missing=0)

    def absorb_pending(self) -> None:
        """A held SYN came to nothing: it counts as a packet of this connection."""
        if self.pending is not None:
            self._count(self.pending)
            self.pending = None

    def _count(self, segment: Segment) -> None:
        mine = self.sides[segment.side]
        self.count += 1
        self.clock = max(self.clock, segment.clock)
        mine.first = segment.time if not mine.state & SEEN else min(mine.first, segment.time)
        mine.last = segment.time if not mine.state & SEEN else max(mine.last, segment.time)
        mine.state |= SEEN
        mine.packets += 1
        mine.length += segment.length
        mine.clipped += segment.clipped

    def take(self, segment: Segment, limits: Limits, out: Events, *, stray: bool = False) -> None:
        """Judge a packet that belongs here."""
        mine, peer = self.sides[segment.side], self.sides[1 - segment.side]
        self._count(segment)
        if segment.flags & ACK:
            mine.ack = segment.ack
            mine.state |= ACKED
        if segment.flags & RST or stray:
            mine.seen += segment.size - segment.missing
            mine.not_data += segment.size - segment.missing  # RFC 9293 3.5.3: text for people, no data
            if not stray and self._plausible(mine, segment.seq, limits):
                self.state |= RESET
        else:
            if segment.flags & SYN:
                self._learn_syn(mine, segment, limits, out)
            if segment.size:
                mine.take(segment, self.count, limits, out)
            if segment.flags & FIN:
                self._learn_fin(mine, segment, limits)
        if (mine.state | peer.state) & HELD:
            mine.check_gap(peer, self.count, segment.clock, limits, out)
            peer.check_gap(mine, self.count, segment.clock, limits, out)

    @staticmethod
    def _plausible(mine: Direction, seq: int, limits: Limits) -> bool:
        return not mine.state & BASED or abs(mine.offset_of(seq) - mine.end) <= limits.window_bytes

    @staticmethod
    def _learn_syn(mine: Direction, segment: Segment, limits: Limits, out: Events) -> None:
        first = (segment.seq + 1) & MASK
        if not mine.state & BASED:
            mine.base = first
            mine.state |= BASED | BEGUN
        elif not mine.state & BEGUN:
            offset = mine.offset_of(first)
            if offset < mine.origin:
                mine.move_origin(offset, limits, out)
            mine.state = (mine.state | BEGUN) & ~WINDOW

    def _learn_fin(self, mine: Direction, segment: Segment, limits: Limits) -> None:
        seq = (segment.seq + 1 if segment.flags & SYN else segment.seq) & MASK
        if not mine.state & BASED:
            mine.begin((seq + segment.size) & MASK, self.count, segment.clock)
        if self._plausible(mine, seq, limits):
            offset = mine.offset_of(seq) + segment.size
            mine.fin = max(mine.fin, offset) if mine.state & ENDED else offset
            mine.state |= ENDED
