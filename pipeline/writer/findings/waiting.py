"""An entity that waits in memory until it is complete, as most do: then each of its files is made by one call.

Knows: what becomes of an entity that is there whole, and decodes cleanly. Does not know: protocols, other entities.
Invariant: what comes of it is what a Finding (content.py) makes of it. That one takes over where there is a hole, where
it is too large to wait, where there is anything to be said of its coding, and where it is a form.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.writer.closing import new_record
from pipeline.writer.findings.content import Finding
from pipeline.writer.findings.ledger import Ledger, Numbers, Origin, file_name
from pipeline.writer.findings.records import Extracted
from pipeline.writer.findings.rendition import HEAD, Store, md5_of, sha256_of
from workers.analyzers.coding import at_once
from workers.analyzers.kinds import detect
from workers.analyzers.seam import Entity, Fact, Moment, Piece
from workers.contract import Completeness


class Waiting:
    """The Content (seam.py) of an entity. OutputError of all that write."""

    __slots__ = (
        "_entity", "_finding", "_first", "_held", "_ledger", "_numbers", "_store", "extracted", "over",
    )  # fmt: skip

    def __init__(self, entity: Entity, numbers: Numbers, ledger: Ledger, store: Store) -> None:
        self.extracted: list[Extracted] = []
        """When it is over: the object, and those of its parts."""
        self.over = False
        self._entity = entity
        self._numbers = numbers
        self._ledger = ledger
        self._store = store
        self._first: Moment | None = None  # of the first byte
        self._held = bytearray()  # what waits
        self._finding = Finding(entity, numbers, ledger, store) if entity.boundary and numbers[1] else None

    def data(self, piece: Piece) -> None:
        """See seam.py."""
        if self._finding is None and self._store.has_room(len(self._held), len(piece)):
            if self._first is None:
                self._first = self._ledger.connected.moment(self._entity.side, self._entity.offset)
            self._held += piece
            self._store.held += len(piece)
        else:
            (self._finding or self._hand_on()).data(piece)

    def hole(self, size: int) -> None:
        """See seam.py."""
        (self._finding or self._hand_on()).hole(size)

    def end(self, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> None:
        """See seam.py."""
        if self._finding is None and self._held and self._keep(memoryview(self._held), offset, flags, facts):
            self._let_go()
        else:
            self._end_finding(offset, flags, facts)

    def whole(self, piece: Piece, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> None:
        """All of it: ``data`` and ``end``."""
        self._first = self._ledger.connected.moment(self._entity.side, self._entity.offset)
        if self._finding is not None or not len(piece) or not self._keep(piece, offset, flags, facts):
            (self._finding or self._hand_on()).data(piece)
            self._end_finding(offset, flags, facts)

    def abandon(self) -> None:
        """Remove what there is of it; it is not over."""
        self._let_go()
        if self._finding is not None:
            self._finding.abandon()

    def _let_go(self) -> None:
        """Nothing waits any more."""
        self._store.held -= len(self._held)
        self._held = bytearray()

    def _hand_on(self) -> Finding:
        """It is none of the simple ones."""
        held = memoryview(self._held)
        self._let_go()
        finding = self._finding = Finding(self._entity, self._numbers, self._ledger, self._store, self._first)
        if held:
            finding.data(held)
        return finding

    def _end_finding(self, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> None:
        finding = self._finding or self._hand_on()
        finding.end(offset, flags, facts)
        self.extracted = finding.extracted
        self.over, self._finding = True, None

    def _keep(self, data: Piece, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> bool:
        """Files, rows and the object of its bytes, of which there is one at least. False, and nothing is done: there is
        more to be done than that."""
        entity, ledger, store, first = self._entity, self._ledger, self._store, self._first
        assert first is not None, "there is a first byte"
        suffix, decoded = "", data
        if entity.codings:
            undone = at_once(entity.codings, data, store.limits)
            if undone is None:
                return False
            suffix, decoded = undone
        self.over = True
        side, start, (count, number) = entity.side, entity.offset, self._numbers
        time = ledger.connected.moment(side, max(offset - 1, start)).time
        stream = ledger.stream(side)
        origin = new_record(Origin, (side, start + stream.base, offset - start, first.time, time))
        if count:
            name = file_name(stream, entity.kind, count)
            ledger.keep(name, entity.kind, data, origin, "", flags)
            if suffix and decoded:
                ledger.keep(name + suffix, entity.kind, decoded, origin, suffix[1:].lower(), flags)
        if number:
            coded = len(data) if suffix else None
            self._make_object(decoded, suffix[1:].lower(), coded, origin, first.packet, flags, facts)
        return True

    def _make_object(
        self, data: Piece, coding: str, coded_size: int | None, origin: Origin, packet: int, flags: Completeness,
        facts: Mapping[str, Fact],
    ) -> None:  # fmt: skip
        entity, number = self._entity, self._numbers[1]
        made, digests = None, {}
        if data:
            digests = {"md5": md5_of(data), "sha256": sha256_of(data)}
            name = self._ledger.object_name(number, entity.name, entity.media_type)
            made = self._ledger.keep(name, "object", data, origin, coding, flags, digests)
        self.extracted.append(Extracted(
            number, origin.side, made, origin.offset, origin.length, packet, entity.media_type,
            detect(bytes(data[:HEAD])), len(data), coded_size, [coding] if coding else [], digests, flags, {**facts},
        ))  # fmt: skip
