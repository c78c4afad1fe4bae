"""One direction of a connection, segment by segment: which bytes are new, which are missing.

Knows: sequence numbers, the window, the reorder window, holes and parts, the limit of ``-C``.
Does not know: the other direction's data, SYN and RST rules (connection.py), who wins an overlap (overlap.py).
Invariant: ``seen == written + overlap + beyond + outside + not_data + refused`` after every segment.

This is the path of everything that is not simply the next segment; what is, inorder.py judges in
columns, with the same events. A Direction is loaded from a row of the table and stored back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from workers.assembler import Assembler, Origin, Span
from workers.contract import ACK, SYN, GapReason
from workers.events import Events
from workers.limits import Limits
from workers.overlap import POLICIES, Queue, Verdict
from workers.segment import Segment
from workers.seq import MASK, distance

# State bits of a direction.
BASED: Final = 1  # the sequence number of offset 0 is known
BEGUN: Final = 2  # its SYN was seen
ENDED: Final = 4  # its FIN was seen
OPENED: Final = 8  # it has payload
ACKED: Final = 16  # it has acknowledged something
WINDOW: Final = 32  # it began midstream: its origin may still move down
HELD: Final = 64  # ranges lie beyond the frontier
DETAIL: Final = 128  # its ranges do not fit the columns
SEEN: Final = 256  # it sent a packet
GAPPED: Final = 512  # closed with bytes missing
CAPPED: Final = 1024  # a limit made some of it final early

FIELDS: Final = (
    ("base", "u4"),  # sequence number of offset 0
    ("ack", "u4"),  # its latest acknowledgement
    ("state", "u2"),
    ("place", "u8"),  # address of the first byte of a single range
    ("window_count", "u4"),  # the connection's packets, and the clock, when WINDOW was set
    ("window_clock", "i8"),
    ("next", "i8"),  # the frontier
    ("end", "i8"),  # offset behind the highest accepted segment
    ("origin", "i8"),  # offset of the lowest
    ("fin", "i8"),  # offset of the FIN
    ("written", "i8"),  # these as in contract.Closed
    ("seen", "i8"),
    ("overlap", "i8"),
    ("beyond", "i8"),
    ("outside", "i8"),
    ("not_data", "i8"),
    ("refused", "i8"),
    ("snapped", "i8"),  # accepted bytes that the snap length cut
    ("first", "i8"),
    ("last", "i8"),
    ("packets", "i8"),
    ("length", "i8"),
    ("clipped", "i8"),
    ("disorder", "i8"),
)
"""Columns of the table of directions, and attributes of a Direction, in this order."""


@dataclass(slots=True)
class Part:
    """One file of a stream: from ``start`` on, its highest byte, and what its holes come to."""

    start: int
    high: int
    holes: int


class Detail:
    """What a direction needs that is more than one range without holes."""

    __slots__ = ("parts", "queue", "ranges")

    def __init__(self) -> None:
        self.ranges = Assembler()
        self.parts: list[Part] = []
        self.queue: Queue | None = None  # while ranges lie beyond the frontier, if the policy looks at segments


class Direction:
    """See FIELDS for the attributes that are columns."""

    __slots__ = (*(name for name, _ in FIELDS), "detail", "jumped", "loaded", "opened", "shard", "stream")

    base: int
    ack: int
    state: int
    place: int
    window_count: int
    window_clock: int
    next: int
    end: int
    origin: int
    fin: int
    written: int
    seen: int
    overlap: int
    beyond: int
    outside: int
    not_data: int
    refused: int
    snapped: int
    first: int
    last: int
    packets: int
    length: int
    clipped: int
    disorder: int

    def __init__(self, row: tuple[int, ...], detail: Detail | None, stream: int, shard: int) -> None:
        (self.base, self.ack, self.state, self.place, self.window_count, self.window_clock,
         self.next, self.end, self.origin, self.fin, self.written, self.seen, self.overlap, self.beyond,
         self.outside, self.not_data, self.refused, self.snapped, self.first, self.last, self.packets,
         self.length, self.clipped, self.disorder) = row  # fmt: skip
        self.loaded = row
        self.stream = stream
        self.shard = shard
        self.jumped = False  # the frontier moved other than with Data at it
        self.opened = bool(self.state & OPENED)  # and Opened was said
        if detail is None:
            detail = Detail()
            detail.parts.append(Part(self.origin, self.next, 0))
            if self.state & OPENED:
                detail.ranges.insert(self.origin, self.next, Origin(self.place, 0, 0))
        elif detail.ranges.ends and self.next > detail.ranges.ends[-1]:
            # in-order bytes that came since it was stored lengthen the last range, and the last part if that is
            # where it ends: beyond the limit of -C it does not
            if detail.parts[-1].high == detail.ranges.ends[-1]:
                detail.parts[-1].high = self.next
            detail.ranges.ends[-1] = self.next
        self.detail = detail

    def row(self) -> tuple[int, ...]:
        """The columns, after a look at whether they tell all of it."""
        ranges = self.detail.ranges
        simple = len(ranges) <= 1 and len(self.detail.parts) == 1 and ranges.floor is None
        if simple and ranges.starts:
            origin = ranges.origins[0]
            simple = ranges.starts[0] == self.origin and ranges.ends[0] == self.next
            self.place = origin.place
        self.state = self.state & ~DETAIL if simple else self.state | DETAIL
        return self.columns()

    def columns(self) -> tuple[int, ...]:
        """The columns as they are."""
        return _columns(self)

    @property
    def further(self) -> int:
        """How many ranges it has beyond the first."""
        return max(0, len(self.detail.ranges) - 1)

    # Sequence numbers

    def offset_of(self, seq: int) -> int:
        """The offset of a sequence number, the one nearest to the highest accepted byte."""
        return self.end + distance((self.base + self.end) & MASK, seq)

    def begin(self, seq: int, count: int, clock: int) -> None:
        """The sequence number of offset 0, where no SYN gave it: it holds for the reorder window only."""
        self.base = seq
        self.state |= BASED | WINDOW
        self.window_count, self.window_clock = count, clock

    def unsettled(self, count: int, clock: int, limits: Limits) -> bool:
        """Whether it began midstream and the reorder window behind that is not over: its start may move down."""
        return bool(
            self.state & WINDOW
            and count - self.window_count < limits.reorder_packets
            and clock - self.window_clock < limits.reorder_ns
        )

    def may_begin_at(self, offset: int, segment: Segment, count: int, limits: Limits) -> bool:
        """Whether a midstream start may still move down to ``offset``."""
        part = self.detail.parts[0]
        return bool(
            self.unsettled(count, segment.clock, limits)
            and self.detail.ranges.floor is None
            and part.holes + self.origin - offset <= limits.hole_bytes
        )

    def move_origin(self, offset: int, limits: Limits, out: Events) -> None:
        """The stream starts at ``offset``, below its origin."""
        if limits.stream_bytes is not None:  # what -C keeps moves down too
            low, high = offset + limits.stream_bytes, self.origin + limits.stream_bytes
            cut = self.detail.ranges.between(low, high)
            self.written -= cut
            self.beyond += cut
            out.counters["moved_beyond"] += cut
        if self.state & OPENED:
            part = self.detail.parts[0]
            part.start = offset
            part.holes += self.origin - offset
            out.row("rebases", (self.stream, self.shard, offset))
        else:  # no byte yet, so no offset was told: offset 0 itself goes there
            self.base = (self.base + offset) & MASK
            self.fin -= offset
            self.end = self.end - offset if self.snapped else 0
            self.next = offset = 0
            self.detail.parts[0] = Part(0, 0, 0)
        self.origin = offset

    @property
    def bottom(self) -> int:
        """The lowest offset that is still taken."""
        floor = self.detail.ranges.floor
        return self.origin if floor is None else floor

    # Payload

    def take(self, segment: Segment, count: int, limits: Limits, out: Events) -> None:
        """Judge the payload of one segment; ``count`` is the connection's packets so far."""
        captured = segment.size - segment.missing
        self.seen += captured
        seq = segment.seq + 1 if segment.flags & SYN else segment.seq
        if not self.state & BASED:
            self.begin(seq & MASK, count, segment.clock)
        offset = self.offset_of(seq & MASK)
        self.disorder += offset != self.end
        if abs(offset - self.end) > limits.window_bytes:
            self.outside += captured
            return
        if segment.size == 1 and offset == self.end - 1 and segment.flags == ACK:
            self.not_data += captured  # keep-alive, RFC 9293 3.8.4: its byte may be garbage
            return
        skip = self._below(offset, segment, count, limits, out)
        offset = self.offset_of(seq & MASK)  # a start without bytes takes offset 0 with it
        self.outside += min(skip, captured)
        if skip >= segment.size:
            return
        self.end = max(self.end, offset + segment.size)
        self.snapped += segment.missing
        if captured > skip:
            self._place(offset + skip, offset + captured, segment.start + skip, segment, count, limits, out)

    def _below(self, offset: int, segment: Segment, count: int, limits: Limits, out: Events) -> int:
        """How many leading bytes lie below the stream's start; 0 when the start moves down to them."""
        bottom = self.bottom
        if offset >= bottom:
            return 0
        if segment.missing < segment.size and self.may_begin_at(offset, segment, count, limits):
            self.move_origin(offset, limits, out)
            return 0
        return bottom - offset

    def _place(
        self, start: int, end: int, place: int, segment: Segment, count: int, limits: Limits, out: Events
    ) -> None:
        """Captured bytes [start, end), inside the window and above the start: what of them is new?"""
        self.state |= OPENED
        keep = 1 << 62 if limits.stream_bytes is None else self.origin + limits.stream_bytes
        ranges = self.detail.ranges
        new, old = ranges.insert(start, end, Origin(place, count, segment.clock))
        before = self.next
        told = before  # the frontier as the Data tells it
        for low, high in new:
            top = max(low, min(high, keep))
            self.beyond += high - top
            if top > low:
                self.lay_out(low, top, limits, out)
                self.written += top - low
                row = self.stream, self.shard, low, place + low - start, top - low, segment.packet, segment.time
                out.row("data", row)
                told = top if low == told else told
        for low, high, wins in self._verdicts((start, end + segment.missing), new, old, limits, out):
            top = max(low, min(high, keep))
            self.beyond += high - top
            if top > low:
                self.overlap += top - low
                judged = self.stream, self.shard, low, place + low - start, top - low, segment.packet, wins
                out.row("overlaps", judged)
        self.next = ranges.reach(before)
        self.jumped |= min(self.next, keep) > told
        self.hold()
        if len(ranges) > limits.ranges_per_direction:
            self.fold(limits, out)

    def _verdicts(self, segment: Span, new: list[Span], old: list[Span], limits: Limits, out: Events) -> list[Verdict]:
        """Who wins the bytes that were there. ``self.next`` is the frontier as the segment found it."""
        policy = POLICIES[limits.overlap]
        if not policy.judges:
            return [Verdict(low, high, policy.delivered) for low, high in old]
        queue = self.detail.queue
        if queue is None:
            if not old and new[0][0] <= self.next:
                return []  # the next segment, and nothing lies beyond
            queue = self.detail.queue = Queue(self.next)
        queue.pass_by(self.next)
        verdicts = queue.judge(segment, new, old, policy)
        out.counters["limit.ranges"] += queue.forget(limits.ranges_per_direction)
        return verdicts

    def lay_out(self, low: int, high: int, limits: Limits, out: Events) -> None:
        """New bytes [low, high) go into a part; a new part where the holes would be too large."""
        parts = self.detail.parts
        i = len(parts) - 1
        while i and parts[i].start > low:
            i -= 1
        part = parts[i]
        if low < part.high:
            part.holes -= high - low
        elif part.holes + low - part.high <= limits.hole_bytes:
            part.holes += low - part.high
            part.high = high
        else:
            parts.insert(i + 1, Part(low, high, 0))
            out.counters["limit.hole_bytes"] += 1
            out.row("parts", (self.stream, self.shard, low))

    # The frontier

    def hold(self) -> None:
        """Note whether ranges lie beyond the frontier."""
        ends = self.detail.ranges.ends
        if ends and ends[-1] > self.next:
            self.state |= HELD
        else:
            self.state &= ~HELD
            self.detail.queue = None

    def tell_frontier(self, out: Events) -> None:
        """At the end of a batch, where Data alone does not say where the frontier is."""
        if self.jumped:
            out.row("frontiers", (self.stream, self.shard, self.next))

    def give_up(self, to: int, reason: GapReason, out: Events) -> None:
        """Step over the holes below ``to``, one Gap each."""
        ranges = self.detail.ranges
        packet = 0 if reason is GapReason.END else out.packet
        while self.next < to:
            after = ranges.after(self.next)
            behind = to if after is None else min(to, after[0])
            out.row("gaps", (self.stream, self.shard, self.next, behind - self.next, int(reason), packet))
            self.next = ranges.reach(behind)
            self.jumped = True
        self.hold()

    def fold(self, limits: Limits, out: Events) -> None:
        """Too many ranges: the lowest becomes final. Needs two."""
        keep = 1 << 62 if limits.stream_bytes is None else self.origin + limits.stream_bytes
        self.give_up(self.detail.ranges.second(), GapReason.LIMIT, out)
        low, high, origin = self.detail.ranges.fold()
        out.counters["limit.ranges"] += 1
        self._run(low, min(high, keep), origin, out)

    def check_gap(self, peer: "Direction", count: int, clock: int, limits: Limits, out: Events) -> None:
        """Declare the holes that the peer has acknowledged past, once their reorder window is over.

        A peer that sent nothing at all cannot acknowledge: there the window decides alone.
        """
        while self.state & HELD:
            after = self.detail.ranges.after(self.next)
            if after is None:
                return
            behind, origin = after
            acked = peer.state & ACKED and distance((self.base + behind) & MASK, peer.ack) >= 0
            if peer.state & SEEN and not acked:
                return
            if count - origin.packets < limits.reorder_packets and clock - origin.clock < limits.reorder_ns:
                return
            self.give_up(behind, GapReason.ACKED_BUT_UNSEEN if acked else GapReason.ONE_SIDED, out)

    # The end

    def _run(self, low: int, high: int, origin: Origin, out: Events) -> None:
        if low < high:
            out.row("runs", (self.stream, self.shard, low, high - low, origin.place))

    def close(self, limits: Limits, out: Events) -> None:
        """Give up what is still missing and say which ranges there are. The columns say the rest."""
        if not self.state & OPENED:
            return
        ranges = self.detail.ranges
        part = self.detail.parts[-1]
        if self.end - part.high > limits.hole_bytes - part.holes:
            self.end = part.high  # cut bytes alone do not lay out more holes than the limit
        keep = self.end if limits.stream_bytes is None else min(self.end, self.origin + limits.stream_bytes)
        self.give_up(keep, GapReason.END, out)
        for low, high, origin in ranges.ranges():
            self._run(low, min(high, keep), origin, out)
        if keep - self.origin - ranges.between(self.origin, keep) > self.snapped:
            self.state |= GAPPED
        if ranges.floor is not None:
            self.state |= GAPPED | CAPPED


_columns: Callable[[Direction], tuple[int, ...]] = attrgetter(*(name for name, _ in FIELDS))
