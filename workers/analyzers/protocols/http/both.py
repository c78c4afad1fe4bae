"""Both directions of a connection, whatever comes, and what lies between them.

Knows: which side is to be looked at again when something became known. Does not know: bytes.
Invariants: as seam.Analyzer promises; nothing here makes cycles, so that nobody has to look for them.
"""

from __future__ import annotations

from workers.analyzers.protocols.http.direction import Direction
from workers.analyzers.protocols.http.lines import Role
from workers.analyzers.protocols.http.pairing import Lane, Parties
from workers.analyzers.protocols.http.standing import REQUESTS, RESPONSES
from workers.analyzers.protocols.http.turns import Turns
from workers.analyzers.seam import Host, Piece
from workers.limits import Limits


class Both:
    """As seam.Analyzer says."""

    __slots__ = ("_lanes", "_parties", "_sides")

    def __init__(self, host: Host, limits: Limits) -> None:
        self._parties = parties = Parties()
        first, second = self._lanes = Lane(host, limits, 0, parties), Lane(host, limits, 1, parties)
        self._sides = (
            Direction(0, host, limits, parties, first, second),
            Direction(1, host, limits, parties, second, first),
        )

    def go_on(self, turns: Turns) -> None:
        """From where a connection stands that took turns until now. Nothing was told to this one."""
        side, roles = turns.asker, self._parties.roles
        if side < 0:
            return
        roles[side] = Role.ASKS
        asked = turns.answered + (turns.request is not None)
        self._sides[side].stand_at(turns.requests, turns.requests, 0, 0, (REQUESTS, asked))
        self._lanes[side].go_on(turns.request, turns.last_answer, turns.known)
        if turns.answered:
            roles[1 - side] = Role.ANSWERS
            self._sides[1 - side].stand_at(
                turns.answers, turns.heads, turns.bodies, turns.framing, (RESPONSES, turns.answered)
            )  # fmt: skip
        if turns.closed is not None:
            self.close(turns.closed[0], whole=turns.closed[1])

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
