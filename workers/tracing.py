"""The reassembly, told segment by segment: what a Reassembler did with each packet, and how each stream ended.

Knows: which events and counts one packet made, which of them a connection's end made.
Does not know: what the words for it are, which streams anyone wants to hear of.
Invariant: it judges as any Reassembler does; the counts of a stream's Steps add up to those of its Ending.

It takes every flow segment by segment, so it is for a few flows only.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

from workers import connection as cn
from workers import direction as dr
from workers.connection import Connection, Verdict
from workers.contract import ACK, I64, RST, SYN, Closed, CloseReason
from workers.direction import Direction
from workers.events import Events
from workers.known import Known
from workers.limits import Limits
from workers.reassembler import Reassembler
from workers.segment import Segment
from workers.seq import MASK
from workers.table import Table

COUNTS: Final = ("written", "overlap", "beyond", "outside", "not_data", "refused")
"""What can become of a captured payload byte, in the order of ``Step.counts``."""

TELLING: Final = ("data", "overlaps", "gaps", "rebases", "parts", "runs")


class Overlap(NamedTuple):
    """Bytes of a segment that lie where the stream has bytes."""

    offset: int
    size: int
    wins: bool


class Gap(NamedTuple):
    """As contract.Gaps."""

    stream: int
    offset: int
    size: int
    reason: int


class Step(NamedTuple):
    """One packet, and what was done with it. Offsets are the contract's: a later Rebase moves the origin."""

    segment: Segment
    stream: int
    verdict: Verdict  # what it was to the connection that had its tuple before it
    idle: bool  # ... which had expired
    offset: int | None  # of its first payload byte; None: no offset 0 is known
    floor: int  # lowest offset that was still taken
    frontier: int  # before it
    end: int  # before it: behind the highest accepted segment
    counts: tuple[int, ...]  # change of each of COUNTS; a Rebase under -C makes one of them negative
    data: list[tuple[int, int]]  # new bytes: (offset, size)
    overlaps: list[Overlap]
    gaps: list[Gap]  # declared because of it, in either direction
    rebased: int | None  # its stream's origin moved down to there
    parts: list[int]  # offsets at which a new file begins
    learned: int  # state bits of its direction that it set: direction.BEGUN, ENDED ...
    reset: bool  # it ended the connection
    cut: tuple[int, int]  # offsets [low, high) that it would have filled, had the capture kept them
    acked: int | None  # offset of the other direction that it acknowledges; None: nothing of it is known
    lacking: int  # bytes in front of that, behind all that segments brought
    origins: tuple[int, int]  # of direction 0 and of direction 1, now
    settled: bool  # neither can move any more


class Ending(NamedTuple):
    """A stream is finished."""

    closed: Closed  # one row, of plain numbers
    gaps: list[Gap]  # what was given up because of it
    runs: list[tuple[int, int]]  # what the stream has: (offset, size)


class _Before(NamedTuple):
    """A direction, as the packet found it."""

    counts: tuple[int, ...]
    frontier: int
    end: int
    state: int
    reset: int


Told: TypeAlias = Step | Ending


class _TracedTable(Table):
    """A table that tells of each stream that it closes."""

    def __init__(self, limits: Limits, tell: Callable[[Told], None], *, append: bool) -> None:
        super().__init__(limits, append=append)
        self.runs: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._tell = tell

    def close(self, rows: I64, reason: CloseReason, out: Events) -> None:
        """As Table's."""
        gaps, runs, blocks, whole = (
            len(out.rows["gaps"]), len(out.rows["runs"]), len(out.blocks["closed"]), len(out.blocks["runs"])
        )  # fmt: skip
        super().close(rows, reason, out)
        for stream, _, offset, size, *_ in out.rows["runs"][runs:]:
            self.runs[stream].append((offset, size))
        for block in out.blocks["runs"][whole:]:
            columns = (block.stream.tolist(), block.offset.tolist(), block.size.tolist())
            for stream, offset, size in zip(*columns, strict=True):
                self.runs[stream].append((offset, size))
        lost = [Gap(row[0], *row[2:5]) for row in out.rows["gaps"][gaps:]]
        for block in out.blocks["closed"][blocks:]:
            for row in zip(*(column.tolist() for column in block), strict=True):
                stream = row[0]
                mine = [gap for gap in lost if gap.stream == stream]
                self._tell(Ending(Closed._make(row), mine, sorted(self.runs.pop(stream, []))))


class Tracer(Reassembler):
    """``handle`` every batch in order, then exhaust ``finish``; ``tell`` hears of everything as it happens."""

    table: _TracedTable

    def __init__(self, limits: Limits, tell: Callable[[Told], None], *, append: bool = False) -> None:
        """``append`` as Reassembler's."""
        super().__init__(limits, vector=False, append=append)
        self.table = _TracedTable(limits, tell, append=append)
        self._tell = tell

    def _packet(
        self, connection: Connection, segment: Segment, known: Known, loaded: dict[int, Connection], out: Events
    ) -> Connection:  # fmt: skip
        idle = bool(connection.count) and segment.clock > connection.expires(self.limits)
        verdict = Verdict.BELONGS
        if connection.count and not idle:
            verdict = connection.judge(segment, self.limits)
        held, ident = connection.pending, connection.ident
        before = _before(connection, segment.side)
        found = {name: len(out.rows[name]) for name in TELLING}
        now = super()._packet(connection, segment, known, loaded, out)
        if now.ident != ident:
            before = _NOTHING
        if verdict is Verdict.CONFIRM and held is not None:
            self._tell(_step(now, held, Verdict.NEW, _NOTHING, {}, self.limits))
            before = before._replace(state=before.state | (dr.SEEN | dr.BASED | dr.BEGUN) * (held.side == segment.side))
        events = {name: out.rows[name][since:] for name, since in found.items()}
        for stream, _, offset, size, *_ in events["runs"]:
            if stream >> 1 == now.ident:  # that of a connection that was closed meanwhile were told
                self.table.runs[stream].append((offset, size))
        self._tell(_step(now, segment, verdict, before, events, self.limits)._replace(idle=idle))
        return now


_NOTHING: Final = _Before((0,) * len(COUNTS), 0, 0, 0, 0)


def _before(connection: Connection, side: int) -> _Before:
    mine = connection.sides[side]
    return _Before(_counts(mine), mine.next, mine.end, mine.state, connection.state & cn.RESET)


def _counts(direction: Direction) -> tuple[int, ...]:
    return (direction.written, direction.overlap, direction.beyond, direction.outside, direction.not_data,
            direction.refused)  # fmt: skip


def _step(
    connection: Connection, segment: Segment, verdict: Verdict, before: _Before, events: dict[str, list[Any]],
    limits: Limits,
) -> Step:  # fmt: skip
    """What became of ``segment``; ``connection`` as it left it, ``events`` the rows that it made."""
    mine, peer = connection.sides[segment.side], connection.sides[1 - segment.side]
    stream, floor = mine.stream, mine.bottom
    seq = (segment.seq + 1 if segment.flags & SYN else segment.seq) & MASK
    offset = mine.offset_of(seq) if mine.state & dr.BASED else None
    rows = {name: [row for row in events.get(name, ()) if row[0] == stream] for name in TELLING}
    first = connection.sides[connection.first_side]
    other = connection.sides[1 - connection.first_side]
    tells = segment.flags & ACK and not segment.flags & RST and peer.state & dr.BASED
    acked = peer.offset_of(segment.ack) if tells else None
    return Step(
        segment, stream, verdict, idle=False, offset=offset, floor=floor, frontier=before.frontier, end=before.end,
        counts=tuple(now - then for now, then in zip(_counts(mine), before.counts, strict=True)),
        data=[(row[2], row[4]) for row in rows["data"]],
        overlaps=[Overlap(row[2], row[4], bool(row[6])) for row in rows["overlaps"]],
        gaps=[Gap(row[0], *row[2:5]) for row in events.get("gaps", ()) if row[0] >> 1 == stream >> 1],
        rebased=rows["rebases"][-1][2] if rows["rebases"] else None,
        parts=[row[2] for row in rows["parts"]],
        learned=mine.state & ~before.state,
        reset=bool(connection.state & cn.RESET and not before.reset),
        cut=_cut(mine, segment, offset, floor, verdict, limits),
        acked=acked,
        lacking=0 if acked is None else _lacking(acked, peer),
        origins=(first.origin, other.origin),
        settled=not any(side.unsettled(connection.count, segment.clock, limits) for side in connection.sides),
    )  # fmt: skip


def _cut(
    mine: Direction, segment: Segment, offset: int | None, floor: int, verdict: Verdict, limits: Limits
) -> tuple[int, int]:
    """Offsets of the bytes that the snap length cut from a segment that was taken."""
    if not segment.missing or offset is None or segment.flags & RST or verdict in (Verdict.STRAY, Verdict.HOLD):
        return 0, 0
    if abs(offset - mine.end) > limits.window_bytes:
        return 0, 0
    high = offset + segment.size
    return min(max(high - segment.missing, floor), high), high


def _lacking(acked: int, peer: Direction) -> int:
    """How far an acknowledgement is ahead of all that was seen to be sent; a FIN counts as one byte."""
    ahead = acked - (max(peer.end, peer.fin) if peer.state & dr.ENDED else peer.end)
    return ahead if ahead > 1 else 0
