"""A host that writes down what an analyzer tells it, and a driver that feeds an analyzer as the writer would.

``run(PROTOCOL, ask, answer)`` feeds two sides whole and gives a ``FakeHost``; with ``cuts`` it feeds them in any pieces
and in any order. What was told is comparable: ``run(...).told() == run(..., cuts=...).told()``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.analyzers.seam import Analyzer, Entity, Exchange, Fact, Moment, Piece, Protocol
from workers.contract import Completeness
from workers.limits import Limits

SECOND = 1_000_000_000
WHOLE = Completeness(0)


@dataclass
class Body:
    """A content as it was told: bytes, and the sizes of holes."""

    entity: Entity
    parts: list[bytes | int] = field(default_factory=list)
    offset: int | None = None
    flags: Completeness = WHOLE
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def data(self, piece: Piece) -> None:
        assert self.offset is None, "data behind the end"
        assert len(piece) > 0, "empty data"
        self.parts.append(bytes(piece))

    def hole(self, size: int) -> None:
        assert self.offset is None, "a hole behind the end"
        assert size > 0, "an empty hole"
        self.parts.append(size)

    def end(self, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> None:
        assert self.offset is None, "ended twice"
        self.offset, self.flags, self.facts = offset, Completeness(flags), dict(facts)

    @property
    def pieces(self) -> list[bytes | int]:
        """Bytes and holes, neighbours joined: ``[b"first", 40, b"last"]``."""
        joined: list[bytes | int] = []
        for part in self.parts:
            if joined and type(joined[-1]) is type(part):
                joined[-1] += part  # type: ignore[operator]
            else:
                joined.append(part)
        return joined

    @property
    def content(self) -> bytes:
        """As it lies in a file: holes are zeros."""
        return b"".join(bytes(part) for part in self.parts)

    def told(self) -> object:
        return self.entity, self.pieces, self.offset, self.flags, self.facts


@dataclass
class Side:
    """One direction of a connection: bytes, and the sizes of gaps.

    ``packets``: (offset, packet number) where each packet begins, rising; else packets of 100 bytes, in turn with the
    other side's.
    """

    items: Sequence[bytes | int]
    midstream: bool = False
    whole: bool = True
    packets: Sequence[tuple[int, int]] = ()

    @classmethod
    def of(cls, given: Side | Sequence[bytes | int] | bytes) -> Side:
        if isinstance(given, Side):
            return given
        return cls([given] if isinstance(given, bytes) else given)

    def packet(self, side: int, offset: int) -> int:
        """Of the byte at ``offset``."""
        if not self.packets:
            return 1 + side + 2 * (offset // 100)
        return max((packet for begin, packet in self.packets if begin <= offset), default=0)


class FakeHost:
    """Collects. Refuses what an analyzer must not do."""

    def __init__(self, sides: Sequence[Side] = (Side([]), Side([]))) -> None:
        self.sides = sides
        self.fed = [0, 0]  # offset behind the bytes that the analyzer was shown
        self.texts: dict[tuple[int, str], bytearray] = {}
        self.bodies: list[Body] = []
        self.at_once = 0  # bodies that were told whole
        self.exchanges: list[Exchange] = []
        self.counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def moment(self, side: int, offset: int) -> Moment:
        assert 0 <= offset < self.fed[side], f"moment of byte {offset} of {self.fed[side]}"
        packet = self.sides[side].packet(side, offset)
        known = max(self.sides[side].packet(side, at) for at in {0, offset})
        return Moment(packet, packet * SECOND, known)

    def text(self, side: int, kind: str, piece: Piece) -> None:
        assert len(piece) > 0, "empty text"
        self.texts.setdefault((side, kind), bytearray()).extend(piece)

    def begin(self, entity: Entity) -> Body:
        self.bodies.append(Body(entity))
        return self.bodies[-1]

    def whole(self, entity: Entity, piece: Piece, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> Body:
        """See seam.py."""
        self.at_once += 1
        content = self.begin(entity)
        content.data(piece)
        content.end(offset, flags, facts)
        return content

    def exchange(self, exchange: Exchange) -> None:
        for content in exchange.contents:
            assert isinstance(content, Body)
            assert content.offset is not None, "an exchange was told before its contents had ended"
        self.exchanges.append(exchange)

    def count(self, side: int, name: str, amount: int = 1) -> None:
        assert name.replace(".", "").replace("_", "").isalnum(), name
        assert name == name.lower(), name
        assert amount >= 0, name
        self.counts[side][name] += amount

    def of(self, side: int) -> list[Body]:
        """The contents of a side, in order."""
        return [body for body in self.bodies if body.entity.side == side]

    def told(self) -> object:
        """All of it, comparable: how the two sides took turns does not show."""
        return (
            {key: bytes(text) for key, text in self.texts.items()},
            [[body.told() for body in self.of(side)] for side in (0, 1)],
            [
                (e.facts, e.asked, e.answered, [c.told() for c in e.contents], e.began, e.known, e.side)  # type: ignore[attr-defined]
                for e in self.exchanges
            ],
            [+counts for counts in self.counts],
        )


class _Feeder:
    """Feeds one side from its items; takes note of what the analyzer leaves."""

    def __init__(self, analyzer: Analyzer, host: FakeHost, number: int, side: Side) -> None:
        self.analyzer, self.host, self.number, self.side = analyzer, host, number, side
        self.items: list[bytes | int] = list(side.items)[::-1]
        self.closed = False
        if self.items:
            analyzer.begin(number, midstream=side.midstream)

    def step(self, size: int) -> bool:
        """Feed at most ``size`` bytes, or one gap. False: nothing moved."""
        if not self.items or size <= 0 or not self.analyzer.wants(self.number):
            return False
        item = self.items.pop()
        if isinstance(item, int):
            self.host.fed[self.number] += item
            self.analyzer.gap(self.number, item)
            return True
        piece, base = bytearray(item[:size]), self.host.fed[self.number]
        self.host.fed[self.number] = base + len(piece)
        taken = self.analyzer.feed(self.number, memoryview(piece))
        piece[:] = b"?" * len(piece)  # nobody may have kept a view of it
        assert 0 <= taken <= len(piece)
        assert taken == len(piece) or not self.analyzer.wants(self.number), "takes less, and yet wants more"
        self.host.fed[self.number] = base + taken
        if taken < len(item):
            self.items.append(item[taken:])
        return taken > 0

    def close(self) -> bool:
        """Say that it is over, if all was taken. False: nothing moved."""
        if self.closed or self.items or not self.analyzer.wants(self.number):
            return False
        self.closed = True
        self.analyzer.close(self.number, whole=self.side.whole)
        return True


def run(
    protocol: Protocol,
    first: Side | Sequence[bytes | int] | bytes,
    second: Side | Sequence[bytes | int] | bytes = (),
    cuts: Iterable[tuple[int, int]] = (),
    limits: Limits | None = None,
) -> FakeHost:
    """Feed both sides until nothing moves, and close them.

    ``cuts``: (side, how many bytes of it are fed next), in order; then the rest, in pieces as large as they are.
    Checks what every analyzer promises: all is taken in the end, every entity is ended, every byte is in one account.
    """
    sides = Side.of(first), Side.of(second)
    host = FakeHost(sides)
    analyzer = protocol.make(host, limits or Limits())
    feeders = [_Feeder(analyzer, host, number, side) for number, side in enumerate(sides)]
    claimed = None
    for side, size in cuts:
        feeders[side].step(size)
        assert claimed is None or analyzer.claims() is claimed, "a claim was taken back"
        claimed = analyzer.claims()
    while any([feeder.step(1 << 20) for feeder in feeders] + [feeder.close() for feeder in feeders]):
        pass
    assert all(feeder.closed for feeder in feeders), "not all was taken"
    assert claimed is None or analyzer.claims() is claimed
    check(protocol, host)
    return host


def check(protocol: Protocol, host: FakeHost) -> None:
    """What holds at the end of every connection."""
    for body in host.bodies:
        assert body.offset is not None, f"not ended: {body}"
        assert sum(bool(body is content) for e in host.exchanges for content in e.contents) == 1, body
    for side, counts in zip(host.sides, host.counts, strict=True):
        size = sum(item if isinstance(item, int) else len(item) for item in side.items)
        assert sum(counts[name] for name in protocol.accounts) == size, counts
    for kind in {kind for _, kind in host.texts} | {body.entity.kind for body in host.bodies}:
        assert kind in protocol.kinds
