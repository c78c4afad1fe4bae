"""One connection's findings: whom its analyzer tells (seam.py), when rows and records are due, how they are void.

Knows: header blocks, contents and exchanges of one connection. Does not know: protocols, how files are written.
Invariant: nothing is made before something is told. A record is written when its exchange is told, rows some of
them together, those of header blocks when the connection is over; ``discard`` leaves nothing of them, and no file.

The time of a file of header blocks is that of the last message in it: of the packet with its first byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pipeline.errors import InternalError
from pipeline.writer.findings.content import Finding
from pipeline.writer.findings.ledger import Ledger, Origin
from pipeline.writer.findings.records import NO_EXCHANGE, record_of
from pipeline.writer.findings.rendition import Rendition, Store
from workers.analyzers.seam import Content, Entity, Exchange, Fact, Moment, Piece, Protocol
from workers.contract import Completeness

if TYPE_CHECKING:
    from pipeline.report.objects import ObjectLines

_BUNCH: Final = 32
"""Rows that are made together: one alone takes twice as long."""


class FindingsHost:
    """A ConnectionHost (pipeline/writer/analysis). OutputError of all that write."""

    __slots__ = (
        "_accounts", "_append", "_connection", "_counters", "_files", "_findings", "_ledger", "_lines", "_messages",
        "_protocol", "_store", "_texts", "_voidable",
    )  # fmt: skip

    def __init__(
        self, protocol: Protocol, ledger: Ledger, store: Store, lines: ObjectLines | None, counters: dict[str, int], *,
        files: bool, append: bool,
    ) -> None:  # fmt: skip
        """``lines``: where records go; None: no objects are wanted. ``files``: as with -a; ``append``: as with -R."""
        self._connection = ledger.connected.connection
        self._protocol = protocol.name
        self._accounts = protocol.accounts
        self._ledger = ledger
        self._store = store
        self._lines = lines
        self._counters = counters
        self._files = files
        self._append = append
        self._start()

    def _start(self) -> None:
        self._texts: dict[tuple[int, str], tuple[Rendition, int]] = {}  # by side and kind; each with its serial
        self._findings: dict[Content, Finding] = {}  # those whose exchange was not told
        self._messages: list[tuple[int, int] | None] = [None, None]  # times of the first and the last, of each side
        self._voidable = False  # records were written

    # What an analyzer tells

    def moment(self, side: int, offset: int) -> Moment:
        """See seam.py."""
        return self._ledger.connected.moment(side, offset)

    def text(self, side: int, kind: str, piece: Piece) -> None:
        """See seam.py."""
        if self._files:
            text = self._texts.get((side, kind))
            if text is None:
                file = self._ledger.beside(side, kind)
                text = Rendition(self._store, (file,), self._store.md5), self._ledger.serial(side)
                self._texts[side, kind] = text
            text[0].add(piece)

    def begin(self, entity: Entity) -> Finding:
        """See seam.py."""
        finding = Finding(entity, self._ledger, self._store, files=self._files, objects=self._lines is not None)
        self._findings[finding] = finding
        return finding

    def whole(
        self, entity: Entity, piece: Piece, offset: int, flags: Completeness, facts: Mapping[str, Fact]
    ) -> Finding:
        """See seam.py."""
        content = self.begin(entity)
        content.data(piece)
        content.end(offset, flags, facts)
        return content

    def exchange(self, exchange: Exchange) -> None:
        """See seam.py."""
        for side, began in zip((exchange.side, 1 - exchange.side), exchange.began, strict=True):
            if began is not None:
                seen = self._messages[side]
                self._messages[side] = (seen[0], max(seen[1], began.time)) if seen else (began.time, began.time)
        for content in exchange.contents:
            self._tell(self._findings.pop(content), exchange)
        self._ledger.hand_over(_BUNCH)

    def count(self, side: int, name: str, amount: int = 1) -> None:
        """See seam.py."""
        self._ledger.count(side, name, amount)

    # The connection's end

    def close(self) -> None:
        """The connection is over: complete what is left, and count it."""
        for finding in self._findings.values():
            if not finding.over:
                raise InternalError(f"{self._protocol} left a content of connection {self._connection} open")
            self._tell(finding, NO_EXCHANGE)
        self._findings.clear()
        for (side, kind), (text, serial) in self._texts.items():
            self._end_text(side, kind, text, serial)
        self._texts.clear()
        self._ledger.hand_over()
        counters = self._counters
        for kind, (files, written) in self._ledger.made.items():
            for name, amount in (("found.files", files), ("found.bytes", written)):
                for counter in (name, f"{name}.{kind}"):
                    counters[counter] = counters.get(counter, 0) + amount

    def discard(self) -> None:
        """Nothing was ever told: no file, no row, no record, nothing counted."""
        for text, _ in self._texts.values():
            text.abandon()
        for finding in self._findings.values():
            if not finding.over:
                finding.abandon()
        self._ledger.discard()
        if self._voidable and self._lines is not None:
            self._lines.void(self._connection)
        self._start()

    def facts(self, side: int) -> Mapping[str, int]:
        """What was counted of a direction."""
        return self._ledger.facts[side]

    def _end_text(self, side: int, kind: str, text: Rendition, serial: int) -> None:
        """Header blocks may come from anywhere in the stream: from all of it, as far as a row can say."""
        first, last = self._messages[side] or (self.moment(side, 0).time,) * 2
        length = sum(self._ledger.facts[side].get(account, 0) for account in self._accounts)
        text.finish(last)
        self._ledger.row(
            text.files[0], kind, text.size, text.runs, Origin(side, self._ledger.place(side, 0), length, first, last),
            digests=text.digests, serial=serial,
        )  # fmt: skip

    def _tell(self, finding: Finding, exchange: Exchange) -> None:
        """The records of an entity's object, and of its parts'."""
        if self._lines is None:
            return
        for found in finding.extracted:
            stream = self._ledger.stream(found.side)
            name = stream.name + stream.provisional if self._append else stream.file.name
            suffixes = {"stream": stream.provisional} if stream.provisional else {}
            record = record_of(found, exchange, self._connection, self._protocol, stream.ends, name)
            self._lines.add(self._connection, found.n, record, suffixes)
            self._voidable = True
