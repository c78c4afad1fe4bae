"""The analyzer of one connection: as long as it takes turns its short account, from then on the full one.

Knows: which of the two there is. Does not know: bytes.
Invariant: as seam.Analyzer promises, whenever the one takes the other's place.
"""

from __future__ import annotations

from workers.analyzers.protocols.http.both import Both
from workers.analyzers.protocols.http.turns import Turns
from workers.analyzers.seam import Host, Piece
from workers.limits import Limits


class HttpAnalyzer:
    """As seam.Analyzer says."""

    __slots__ = ("_both", "_host", "_limits", "_turns")

    def __init__(self, host: Host, limits: Limits) -> None:
        self._host = host
        self._limits = limits
        self._turns: Turns | None = Turns(host, limits) if limits.open_exchanges else None
        self._both: Both | None = None  # from when on it is needed

    def begin(self, side: int, *, midstream: bool) -> None:
        if midstream:
            self._in_full().begin(side, midstream=True)

    def claims(self) -> bool | None:
        turns = self._turns
        if turns is None:
            return self._in_full().claims()
        return True if turns.asker >= 0 else None

    def wants(self, side: int) -> bool:
        return self._both is None or self._both.wants(side)

    def feed(self, side: int, piece: Piece) -> int:
        if self._turns is not None and self._turns.take(side, piece):
            return len(piece)
        return self._in_full().feed(side, piece)

    def gap(self, side: int, size: int) -> None:
        self._in_full().gap(side, size)

    def close(self, side: int, *, whole: bool) -> None:
        if self._turns is None or not self._turns.close(side, whole=whole):
            self._in_full().close(side, whole=whole)

    def _in_full(self) -> Both:
        both = self._both
        if both is None:
            both = self._both = Both(self._host, self._limits)
            if self._turns is not None:
                both.go_on(self._turns)
                self._turns = None
        return both
