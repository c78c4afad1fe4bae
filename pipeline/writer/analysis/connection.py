"""One connection: which analyzer gets it, how both directions are fed, how all of it is told anew.

Knows: the seam (workers/analyzers/seam.py). Does not know: any protocol, tables, how bytes come to a Side.
Invariant: an analyzer is fed a direction only when it is known what that direction is; each has one host.

Whose it is. A direction that begins with its first byte belongs to the protocol that recognizes it, the first one if
both directions are recognized; the other direction goes with it. A direction that begins midstream, with a gap, or
with too few bytes, is fed to the analyzers one after the other, by name, and the first that claims it gets it; the
next one has its turn when the one before denies or the connection is over. What was recognized takes it from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.errors import InternalError
from pipeline.writer.analysis.hosting import ConnectionHost, HostFor
from pipeline.writer.analysis.side import Side, Start, Verdict
from pipeline.writer.folder import Folder
from pipeline.writer.stream import Stream
from workers.analyzers.seam import Analyzer, Moment, Protocol
from workers.limits import Limits

_BOTH: Final = 0b11  # sides


class Means(NamedTuple):
    """What all connections of a writer share."""

    protocols: Sequence[Protocol]  # by name
    host: HostFor
    folder: Folder
    limits: Limits
    final: bool  # what was told cannot be taken back
    changing: bool  # bytes that were there may be replaced


class Analysis:
    """``add`` its directions; ``drive`` it when bytes have come; ``close`` it when both are finished."""

    __slots__ = (
        "_analyzer", "_claimed", "_coarse", "_ended", "_host", "_means", "_protocol", "_settled", "_turn", "closing",
        "connection", "sides", "stale",
    )  # fmt: skip

    def __init__(self, connection: int, means: Means) -> None:
        self.connection = connection
        self.sides: list[Side | None] = [None, None]
        self.stale = False  # it will be told anew
        self.closing = False
        self._means = means
        self._protocol: Protocol | None = None  # these three: whoever is fed
        self._analyzer: Analyzer | None = None
        self._host: ConnectionHost | None = None
        self._claimed = False  # ... and will be
        self._settled = False  # it is known what all directions are that are open
        self._ended = 0  # bits of the sides of which the analyzer was told that there is nothing more
        self._turn = 0  # of the protocols: who may claim next
        self._coarse = False  # moments are asked of the coarse ones

    def add(self, side: Side) -> None:
        """A direction has payload."""
        self.sides[side.stream.number & 1] = side
        self._settled = False

    def side(self, number: int) -> Side:
        """The direction of a stream, which is open."""
        side = self.sides[number & 1]
        assert side is not None, "a direction that has no bytes"
        return side

    def turn(self, part: str) -> None:
        """This part of the output is over. OutputError."""
        if self._host is not None:
            self._host.turn(part)

    # As Connected

    def stream(self, side: int) -> Stream | None:
        """The stream of a direction."""
        found = self.sides[side]
        return None if found is None else found.stream

    def moment(self, side: int, offset: int) -> Moment:
        """When a byte was there."""
        found = self.sides[side]
        assert found is not None, "a direction that has no bytes"
        at = offset + found.stream.origin
        return found.moments.coarse(at) if self._coarse or found.foreign else found.moments.at(at)

    # Turns

    def drive(self) -> bool:
        """Feed what there is. False: it is nobody's, whatever comes, unless a direction is yet to open."""
        if self._claimed and self._settled and not self.stale:
            self._feed()
        elif not (self.stale or (self._means.final and self._means.changing)):
            self._look()
            while self._choose():
                self._feed()
                if self._analyzer is not None:
                    break
        claimed = self._claimed
        for side in self.sides:
            if side is not None:
                side.pause(fed=claimed or self.stale)
        return claimed or not self._nobodys()

    def close(self) -> tuple[str, tuple[Mapping[str, int], Mapping[str, int]]] | None:
        """The connection is over: feed the rest. What protocol it was, and what was counted; None: nobody's."""
        self.closing = True
        if self.stale or self._is_doubtful():
            self._renew()
        self._look()
        while self._choose():
            self._feed()
            analyzer, host, protocol = self._analyzer, self._host, self._protocol
            if analyzer is None or host is None or protocol is None:
                continue  # it denied, the next one's turn
            if self._claimed or analyzer.claims():
                host.close()
                self._host = self._analyzer = None  # a cycle
                return protocol.name, (host.facts(0), host.facts(1))
            self._drop()
            self._turn += 1
        return None

    def give_up(self) -> None:
        """Its bytes cannot be had any more: nothing was told of it."""
        self._drop()

    # Whose is it?

    def _look(self) -> None:
        """At the first bytes of directions of which it is not known what they are."""
        if self._settled:
            return
        self._settled = True
        for side in self.sides:
            if side is not None and side.verdict is None:
                verdict = self._judge(side)
                if verdict is None:
                    self._settled = False
                else:
                    side.settle_on(verdict, finely=self._means.final)

    def _judge(self, side: Side) -> Verdict | None:
        if side.midstream:
            return None if side.held else Start.OPEN
        head, more = side.first(), True
        verdict = None if head is None else self._recognized(head)
        if verdict is None:
            head, more = side.head(self._means.folder)
            verdict = self._recognized(head) if head else None
        return Start.OPEN if verdict is None and not more else verdict

    def _recognized(self, head: bytes | memoryview) -> Verdict | None:
        """By the first protocol that does; None: one of those before it needs more to say."""
        for protocol in self._means.protocols:
            answer = protocol.recognize(head)
            if answer is not False:
                return protocol if answer else None
        return Start.FOREIGN

    def _choose(self) -> bool:
        """Whether somebody is to be fed."""
        first, second = (None if side is None else side.verdict for side in self.sides)
        if isinstance(first, Protocol):
            self._give_to(first)
        elif isinstance(second, Protocol):
            self._give_to(second)
        elif self._analyzer is None and (first is Start.OPEN or second is Start.OPEN):
            means, turn = self._means, self._turn
            if turn < len(means.protocols) and (turn == 0 or self.closing or not means.final):
                self._begin(means.protocols[turn])
        return self._analyzer is not None

    def _give_to(self, wanted: Protocol) -> None:
        """A direction was recognized."""
        if self._protocol is not None and self._protocol is not wanted:
            if self._claimed:
                self.stale = not self._means.final
                return
            self._drop()
        if self._analyzer is None:
            self._begin(wanted)
        self._claimed = True

    def _nobodys(self) -> bool:
        """Both directions were looked at, and nobody wants them; nor will their first bytes change."""
        for side in self.sides:
            if side is None or side.verdict is not Start.FOREIGN:
                return False
        return not self._means.changing

    def _is_doubtful(self) -> bool:
        """Whether it depends on batches how fine its moments are: another analyzer may have had some of it before."""
        if self._means.final or self._protocol is None or self._protocol is self._means.protocols[0]:
            return False
        verdicts = {None if side is None else side.verdict for side in self.sides}
        return Start.OPEN in verdicts and self._protocol in verdicts

    # Analyzers

    def _begin(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._host = self._means.host(protocol, self)
        self._analyzer = protocol.make(self._host, self._means.limits)

    def _drop(self) -> None:
        """It is not that protocol."""
        if self._host is not None:
            self._host.discard()
        self._protocol = self._host = self._analyzer = None
        self._claimed = False
        self._ended = 0
        for side in self.sides:
            if side is not None:
                side.rewind()

    def _renew(self) -> None:
        self._drop()
        self._settled = False
        self._coarse, self._turn, self.stale = True, 0, False
        for side in self.sides:
            if side is not None:
                side.renew()

    # Bytes

    def _feed(self) -> None:
        """All that can be, and the ends when the connection is over."""
        analyzer = self._analyzer
        assert analyzer is not None, "nobody to feed"
        going = True
        while going:
            moved = left = False
            for number, side in enumerate(self.sides):
                more = False
                if side is not None and side.verdict is not None and side.fed < (stop := side.stop):
                    moved = self._push(analyzer, number, side, stop) or moved
                    if self._analyzer is None:
                        return
                    more = side.fed < stop
                if not more and self.closing and not self._ended >> number & 1:
                    more = not analyzer.wants(number)
                    if not more:
                        moved = True
                        self._ended |= 1 << number
                        analyzer.close(number, whole=side is not None and side.whole)
                left = left or more
            going = moved and left
        if self.closing and self._ended != _BOTH:
            raise InternalError(f"an analyzer of {self._protocol} left some of connection {self.connection}")

    def _ask(self, analyzer: Analyzer) -> bool:
        """Whether it goes on: False when the analyzer denies."""
        answer = analyzer.claims()
        if answer:
            self._claimed = True
        elif answer is False:
            self._drop()
            self._turn += 1
            return False
        return True

    def _push(self, analyzer: Analyzer, number: int, side: Side, stop: int) -> bool:
        """All that a direction has up to ``stop`` and the analyzer wants. False: that is nothing."""
        moved = False
        while side.fed < stop and analyzer.wants(number):
            if not side.begun:
                side.begun = True
                analyzer.begin(number, midstream=side.midstream)
            if side.coverage.holes and (gap := side.hole()):
                side.passed()
                analyzer.gap(number, gap)
            else:
                taken = analyzer.feed(number, side.piece(self._means.folder))
                if not taken:
                    return moved
                side.took(taken)
            moved = True
            if not self._claimed and not self._ask(analyzer):
                break
        return moved
