"""Who wins where a later segment overlaps earlier ones: the policies as rows of a table, and what they judge.

Knows: how two segments can lie to one another; which segment holds each byte beyond the frontier.
Does not know: bytes, sequence numbers, what the frontier is (its caller says where it stands).
Invariant: pieces are sorted, disjoint and not empty, and cover every byte at or beyond ``floor`` that is there.

The rows descend from the target-based reassembly of Novak and Sturges, as Suricata reads them: where a byte
lies in several segments, the later one must win against each of them, at its full extent. For the three OS
policies the rows are an order (``bsd``: by start; ``linux``: by start, then end; ``solaris``: by end, then
start), so it is enough to ask the one that holds the byte: it has won against all others.

They say what a receiver would make of its queue. What the frontier has passed was delivered: there the first
bytes stay, except under ``last``.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from enum import IntEnum
from operator import attrgetter
from typing import Final, Literal, NamedTuple, TypeAlias

from workers.assembler import Span

PolicyName: TypeAlias = Literal["first", "last", "bsd", "linux", "solaris"]


class Relation(IntEnum):
    """How a later segment lies to an earlier one that it overlaps."""

    AFTER_WITHIN = 0  # starts after it, ends inside or with it
    AFTER_BEYOND = 1  # starts after it, ends beyond
    SAME_SHORTER = 2  # starts with it, ends before
    SAME = 3
    SAME_LONGER = 4
    BEFORE_WITHIN = 5  # starts before it, ends inside
    BEFORE_COVERS = 6  # starts before it, ends with it or beyond


class Policy(NamedTuple):
    """Whether the later bytes win: where what is there was delivered, and beyond that for each Relation."""

    delivered: bool
    rows: tuple[bool, ...]
    judges: bool  # whether it depends on the segments at all


_ROWS: Final[dict[PolicyName, str]] = {
    # starts: after it,  after,  with it, with,  with,   before, before
    # ends:   within,    beyond, before,  with,  beyond, within, with it or beyond
    "first":   "old      old     old      old    old     old     old",
    "last":    "new      new     new      new    new     new     new",
    "bsd":     "old      old     old      old    old     new     new",
    "linux":   "old      old     old      old    new     new     new",
    "solaris": "old      new     old      new    new     old     new",
}  # fmt: skip
"""Which data wins? ``bsd`` is Windows' and macOS's row too."""

POLICIES: Final = {
    name: Policy(name == "last", tuple(word == "new" for word in rows.split()), len(set(rows.split())) > 1)
    for name, rows in _ROWS.items()
}
"""By name. Each has one row for each Relation."""


def relation(later: Span, earlier: Span) -> Relation:
    """How two segments that share a byte lie to one another."""
    (start, end), (old_start, old_end) = later, earlier
    if start > old_start:
        return Relation.AFTER_BEYOND if end > old_end else Relation.AFTER_WITHIN
    if start < old_start:
        return Relation.BEFORE_COVERS if end >= old_end else Relation.BEFORE_WITHIN
    if end == old_end:
        return Relation.SAME
    return Relation.SAME_LONGER if end > old_end else Relation.SAME_SHORTER


class Verdict(NamedTuple):
    """Of bytes that were there already: do the later ones win?"""

    low: int
    high: int
    wins: bool


class _Piece(NamedTuple):
    """Bytes [low, high), held by the segment that spans ``owner``."""

    low: int
    high: int
    owner: Span


_low = attrgetter("low")
_high = attrgetter("high")


class Queue:
    """Which segment holds each byte beyond the frontier of one direction.

    A segment costs no more than its bytes: each piece that it meets holds one of them at least.
    """

    __slots__ = ("floor", "pieces")

    def __init__(self, floor: int) -> None:
        """What lies below ``floor`` was delivered."""
        self.floor = floor
        self.pieces: list[_Piece] = []

    def pass_by(self, frontier: int) -> None:
        """The frontier stands there: what lies below is no longer judged. It never cuts a piece."""
        if frontier > self.floor:
            self.floor = frontier
            del self.pieces[: bisect_right(self.pieces, frontier, key=_high)]

    def forget(self, most: int) -> int:
        """Keep the highest ``most`` pieces; return how many go. What they hold counts as delivered."""
        count = max(0, len(self.pieces) - most)
        if count:
            self.floor = self.pieces[count - 1].high
            del self.pieces[:count]
        return count

    def judge(self, segment: Span, new: Iterable[Span], old: Iterable[Span], policy: Policy) -> list[Verdict]:
        """A segment's bytes: those that are ``new``, and what becomes of those that were there.

        ``segment`` is its full extent, ``new`` and ``old`` its captured bytes, each in order. The verdicts
        cover ``old``, in order, and are maximal.
        """
        floor = self.floor
        verdicts: list[Verdict] = []
        for low, high in old:
            if low < floor:
                verdicts.append(Verdict(low, min(high, floor), policy.delivered))
            if high > floor:
                verdicts += self._contend(max(low, floor), high, segment, policy)
        for low, high in new:
            if high > floor:
                low = max(low, floor)
                at = bisect_left(self.pieces, low, key=_low)
                self._put(at, at, [_Piece(low, high, segment)])
        return _maximal(verdicts)

    def _contend(self, low: int, high: int, segment: Span, policy: Policy) -> list[Verdict]:
        """Bytes [low, high), all of them there: who keeps each piece of them?"""
        pieces = self.pieces
        first = bisect_right(pieces, low, key=_high)
        stop = bisect_left(pieces, high, key=_low)
        verdicts, after = [], []
        for piece in pieces[first:stop]:
            begin, end = max(piece.low, low), min(piece.high, high)
            wins = policy.rows[relation(segment, piece.owner)]
            verdicts.append(Verdict(begin, end, wins))
            if not wins:
                after.append(piece)
                continue
            if piece.low < begin:
                after.append(piece._replace(high=begin))
            after.append(_Piece(begin, end, segment))
            if end < piece.high:
                after.append(piece._replace(low=end))
        self._put(first, stop, after)
        return verdicts

    def _put(self, first: int, stop: int, after: list[_Piece]) -> None:
        """Pieces [first, stop) become ``after``; neighbours of one segment are joined."""
        pieces = self.pieces
        if first and after:
            first -= 1
            after.insert(0, pieces[first])
        if stop < len(pieces) and after:
            after.append(pieces[stop])
            stop += 1
        joined: list[_Piece] = []
        for piece in after:
            if joined and joined[-1].high == piece.low and joined[-1].owner == piece.owner:
                joined[-1] = joined[-1]._replace(high=piece.high)
            else:
                joined.append(piece)
        pieces[first:stop] = joined


def _maximal(verdicts: list[Verdict]) -> list[Verdict]:
    """Neighbours that say the same are one."""
    joined: list[Verdict] = []
    for verdict in verdicts:
        if joined and joined[-1].high == verdict.low and joined[-1].wins == verdict.wins:
            joined[-1] = joined[-1]._replace(high=verdict.high)
        else:
            joined.append(verdict)
    return joined
