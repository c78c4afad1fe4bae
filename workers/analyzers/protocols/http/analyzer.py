"""The analyzer of one connection: two directions, and what lies between them.

Knows: which side is to be looked at again when something became known. Does not know: bytes.
Invariants: as seam.Analyzer promises; nothing here makes cycles, so that nobody has to look for them.
"""

from __future__ import annotations

from workers.analyzers.protocols.http.direction import Direction
from workers.analyzers.protocols.http.pairing import Lane, Parties
from workers.analyzers.seam import Host, Piece
from workers.limits import Limits


class HttpAnalyzer:
    """As seam.Analyzer says."""

    __slots__ = ("_lanes", "_parties", "_sides")

    def __init__(self, host: Host, limits: Limits) -> None:
        self._parties = parties = Parties()
        first, second = self._lanes = Lane(host, limits, 0, parties), Lane(host, limits, 1, parties)
        self._sides = (
            Direction(0, host, limits, parties, first, second),
            Direction(1, host, limits, parties, second, first),
        )

    def begin(self, side: int, *, midstream: bool) -> None:
        if midstream:
            self._sides[side].begin_midstream()

    def claims(self) -> bool | None:
        parties = self._parties
        if parties.roles[0] is not None or parties.roles[1] is not None:
            return True
        return False if all(parties.closed) else None

    def wants(self, side: int) -> bool:
        return self._sides[side].waits is None

    def feed(self, side: int, piece: Piece) -> int:
        direction = self._sides[side]
        taken = direction.feed(piece)
        self._go_on()
        while taken < len(piece) and direction.waits is None:
            taken += direction.feed(memoryview(piece)[taken:])
            self._go_on()
        return taken

    def gap(self, side: int, size: int) -> None:
        self._sides[side].gap(size)
        self._go_on()

    def close(self, side: int, *, whole: bool) -> None:
        self._sides[side].close(whole=whole)
        self._go_on()

    def _go_on(self) -> None:
        """What had to wait, and need not any more, goes on."""
        one, other = self._sides
        if self._parties.calm and one.waits is None and other.waits is None:
            return
        first, second = self._lanes
        while (
            (one.waits is not None and one.resume())
            or (other.waits is not None and other.resume())
            or first.settle()
            or second.settle()
        ):
            pass
