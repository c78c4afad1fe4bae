"""Protocols that are easy to foretell, hosts that write down, and a writer whose streams are read by them.

Knows: the seam. Does not know: how a writer comes by what it feeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import Config
from pipeline.memory import Arrays
from pipeline.report.rows import StreamRecord
from pipeline.writer.analysis import Connected
from pipeline.writer.analysis.analyses import Analyses
from pipeline.writer.reading import read_back
from pipeline.writer.stream import Stream
from pipeline.writer.writer import Writer
from tests.workers.analyzers.host import FakeHost, Side
from workers.analyzers.seam import Host, Moment, Piece, Protocol
from workers.limits import Limits

ASKED = 7  # of every so many bytes the moment is asked


class Lockstep:
    """Takes of direction 1 no more than it was fed of direction 0, until that is over."""

    claim: int | None = 7
    """A byte by which it claims what does not begin with its first byte."""
    deny: int | None = None
    """... or one by which it denies it. Not both: then it would matter which direction was fed first."""

    def __init__(self, host: Host, _: Limits) -> None:
        self.host = host
        self.at = [0, 0]
        self.closed = [False, False]
        self.begun = [False, False]
        self.claimed: bool | None = None

    def begin(self, side: int, *, midstream: bool) -> None:
        assert not self.begun[side]
        self.begun[side] = True
        self.host.text(side, "BEGIN", b"midstream" if midstream else b"first")

    def claims(self) -> bool | None:
        return self.claimed

    def wants(self, side: int) -> bool:
        return side == 0 or self.closed[0] or self.at[1] < self.at[0]

    def feed(self, side: int, piece: Piece) -> int:
        assert self.begun[side]
        assert 0 < len(piece) <= 1 << 20
        start = self.at[side]
        size = len(piece) if side == 0 or self.closed[0] else min(len(piece), self.at[0] - start)
        taken = bytes(piece[:size])
        self.host.text(side, "BYTES", taken)
        self.host.count(side, "fed", size)
        for offset in range(start, start + size):
            if offset % ASKED == 0:
                self.host.moment(side, offset)
        if self.claim is not None and self.claim in taken:
            self.claimed = True
        elif self.deny is not None and self.deny in taken:
            self.claimed = False
        self.at[side] += size
        return size

    def gap(self, side: int, size: int) -> None:
        assert self.begun[side]
        assert size > 0
        self.host.text(side, "BYTES", b"\0" * size)
        self.host.text(side, "GAPS", b"%d+%d " % (self.at[side], size))
        self.host.count(side, "gone", size)
        self.at[side] += size

    def close(self, side: int, *, whole: bool) -> None:
        assert not self.closed[side]
        self.closed[side] = True
        self.host.text(side, "END", b"whole" if whole else b"cut")


class Denying(Lockstep):
    """Never claims."""

    claim, deny = None, 13


class Shy(Lockstep):
    """Claims by another byte."""

    claim = 11


def _recognize(head: Piece) -> bool | None:
    """Half of all bytes say yes or no at once, the others leave it to the next one, up to the fourth."""
    for byte in bytes(head[:4]):
        if byte < 128:
            return byte < 96
    return False if len(head) >= 4 else None


def _named(name: str, recognize: Callable[[Piece], bool | None], make: type[Lockstep]) -> Protocol:
    return Protocol(name, "", ("BYTES",), ("fed", "gone"), recognize, make)


DENYING = _named("denying", lambda _: False, Denying)
SHY = _named("shy", lambda _: False, Shy)
LOCKSTEP = _named("lockstep", _recognize, Lockstep)
PROTOCOLS = (DENYING, SHY, LOCKSTEP)


class Told(NamedTuple):
    """All that a host was told, comparable."""

    protocol: str
    texts: Mapping[tuple[int, str], bytes]
    facts: tuple[Mapping[str, int], Mapping[str, int]]


class WritingDown(FakeHost):
    """Of a connection of a writer."""

    def __init__(self, protocol: Protocol, connected: Connected, hosts: Hosts) -> None:
        super().__init__()
        self.protocol, self.connected, self.hosts = protocol, connected, hosts
        self.moments: dict[tuple[int, int], Moment] = {}

    def moment(self, side: int, offset: int) -> Moment:
        found = self.moments[side, offset] = self.connected.moment(side, offset)
        return found

    def discard(self) -> None:
        self.hosts.discarded += 1

    def close(self) -> None:
        connection = self.connected.connection
        assert connection not in self.hosts.told, "told twice"
        texts = {key: bytes(text) for key, text in self.texts.items()}
        self.hosts.told[connection] = Told(self.protocol.name, texts, self.counts)
        self.hosts.moments[connection] = self.moments

    def facts(self, side: int) -> Mapping[str, int]:
        return self.counts[side]


class Hosts:
    """Those of all connections."""

    def __init__(self) -> None:
        self.made = 0
        self.discarded = 0
        self.told: dict[int, Told] = {}
        self.moments: dict[int, dict[tuple[int, int], Moment]] = {}

    def host(self, protocol: Protocol, connected: Connected) -> WritingDown:
        self.made += 1
        return WritingDown(protocol, connected, self)


class Finished(NamedTuple):
    """A stream as it lies on disk: bytes and the sizes of holes; whether its end was seen."""

    items: Sequence[bytes | int]
    midstream: bool
    whole: bool


class ReadWriter(Writer):
    """A writer whose streams are read by these protocols. Keeps what became of each of them."""

    def __init__(
        self, config: Config, fragment: Path, arrays: Arrays, protocols: Sequence[Protocol] = PROTOCOLS
    ) -> None:
        super().__init__(config, fragment, arrays)
        self.hosts = Hosts()
        self._streams.plain = None  # nothing is made of those
        self.analyses = Analyses(config, self.folder, protocols, self.hosts.host, self.counters)
        self.finished: dict[int, Finished] = {}
        self.records: dict[int, StreamRecord] = {}

    def _keep(self, stream: Stream, record: StreamRecord) -> None:
        items: list[bytes | int] = []
        at = 0
        for offset, size, *_ in record.runs:
            items += [offset - at] if offset > at else []
            items.append(read_back(stream, self.folder, stream.origin + offset, size))
            at = offset + size
        end = at + record.gap_bytes - sum(item for item in items if isinstance(item, int))
        items += [end - at] if end > at else []
        cut = record.flags & (2 | 4 | 16) or end > at
        self.finished[record.stream] = Finished(items, False, not cut)
        self.records[record.stream] = record
        super()._keep(stream, record)


def foretold(protocol: Protocol, first: Finished | None, second: Finished | None) -> Told:
    """What a host is told of two finished streams."""
    host = FakeHost((Side([]), Side([])))
    host.moment = lambda side, offset: Moment(0, 0, 0)  # type: ignore[method-assign]
    analyzer = protocol.make(host, Limits())
    for number, side in enumerate((first, second)):
        if side is not None and side.items:
            analyzer.begin(number, midstream=side.midstream)
            for item in side.items:
                if isinstance(item, int):
                    analyzer.gap(number, item)
                else:
                    assert analyzer.feed(number, item) == len(item)
        analyzer.close(number, whole=side is not None and side.whole)
    return Told(protocol.name, {key: bytes(text) for key, text in host.texts.items()}, host.counts)


def accounted(writer: ReadWriter) -> bool:
    """Every byte and every gap that was told is in one account."""
    total: Counter[str] = Counter(writer.counters)
    return all(
        total[f"analysis.{name}.seen"] == total[f"{name}.fed"] + total[f"{name}.gone"]
        == total[f"{name}.bytes"] + total[f"{name}.missing"]
        for name in ("denying", "shy", "lockstep")
    )  # fmt: skip


Options = dict[str, Any]
