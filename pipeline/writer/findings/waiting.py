"""An entity that waits in memory until it is complete, as most do: then each of its files is made by one call.

Knows: what becomes of an entity that is there whole, and decodes cleanly. Does not know: protocols, other entities.
Invariant: what comes of it is what a Finding (content.py) makes of it. That one takes over where there is a hole, where
it is too large to wait, where there is anything to be said of its coding, and where it is a form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.errors import InternalError
from pipeline.writer.closing import new_record
from pipeline.writer.findings.content import Finding
from pipeline.writer.findings.ledger import Ledger, Numbers, Origin, file_name
from pipeline.writer.findings.records import Extracted
from pipeline.writer.findings.rendition import HEAD, Store, md5_of, sha256_of
from workers.analyzers.coding import at_once
from workers.analyzers.kinds import detect
from workers.analyzers.seam import Entity, Fact, Moment, Piece
from workers.contract import Completeness


class Over:
    """The Content (seam.py) of an entity that was told whole: nothing more may be told of it."""

    __slots__ = ("extracted", "part")

    def __init__(self, extracted: Sequence[Extracted]) -> None:
        self.extracted = extracted
        """Its object, if it is one."""
        self.part = ""
        """The part of the output (--rotate) that its files lie in, if that one is over."""

    @property
    def over(self) -> bool:
        """Always so."""
        return True

    def data(self, piece: Piece) -> None:
        """See seam.py."""
        raise InternalError(f"{len(piece)} bytes of a content that is over")

    def hole(self, size: int) -> None:
        """See seam.py."""
        raise InternalError(f"a hole of {size} bytes in a content that is over")

    def end(self, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> None:
        """See seam.py."""
        raise InternalError(f"a content that is over ends again, at {offset}: {flags!r}, {facts}")

    def abandon(self) -> None:
        """There is nothing to remove."""


NO_OBJECT: Final = Over(())
"""The content of every entity of which nothing is left to be told."""


class Waiting:
    """The Content of an entity that comes in pieces. OutputError of all that write."""

    __slots__ = (
        "_entity", "_finding", "_first", "_held", "_ledger", "_numbers", "_store", "extracted", "over", "part",
    )  # fmt: skip

    def __init__(self, entity: Entity, numbers: Numbers, ledger: Ledger, store: Store) -> None:
        self.extracted: Sequence[Extracted] = ()
        """When it is over: the object, and those of its parts."""
        self.over = False
        self.part = ""
        """As in Over."""
        self._entity = entity
        self._numbers = numbers
        self._ledger = ledger
        self._store = store
        self._first: Moment | None = None  # of the first byte
        self._held = bytearray()  # what waits
        self._finding = Finding(entity, numbers, ledger, store) if entity.boundary and numbers[1] else None

    def stop_waiting(self) -> None:
        """It is none of the simple ones, as is known already."""
        self._finding = self._finding or self._hand_on()

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
        extracted: Sequence[Extracted] | None = None
        if self._held and self._first is not None:
            extracted = keep(
                self._entity, self._numbers, self._ledger, self._store, self._first, memoryview(self._held),
                offset, flags, facts,
            )  # fmt: skip
        if extracted is None:
            finding = self._finding or self._hand_on()
            finding.end(offset, flags, facts)
            extracted = finding.extracted
        else:
            self._let_go()
        self.extracted = extracted
        self.over, self._finding = True, None

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


def keep(
    entity: Entity, numbers: Numbers, ledger: Ledger, store: Store, first: Moment, data: Piece, offset: int,
    flags: Completeness, facts: Mapping[str, Fact],
) -> Sequence[Extracted] | None:  # fmt: skip
    """Files and rows of an entity's bytes, of which there is one at least, and its object, if it is to be one.

    ``first``: of its first byte; ``offset``: behind its last one. None, and nothing is done: there is more to be done
    than that. OutputError."""
    suffix, decoded = "", data
    if entity.codings:
        undone = at_once(entity.codings, data, store.limits)
        if undone is None:
            return None
        suffix, decoded = undone
    coding = suffix[1:].lower()
    side, start, (count, number) = entity.side, entity.offset, numbers
    time = ledger.connected.moment(side, offset - 1 if offset > start else start).time
    stream = ledger.stream(side)
    origin = new_record(Origin, (side, start + stream.base, offset - start, first.time, time))
    if count:
        name = file_name(stream, entity.kind, count)
        ledger.keep(name, entity.kind, data, origin, "", flags)
        if suffix and decoded:
            ledger.keep(name + suffix, entity.kind, decoded, origin, coding, flags)
    if not number:
        return ()
    made, digests = None, {}
    if decoded:
        digests = {"md5": md5_of(decoded), "sha256": sha256_of(decoded)}
        name = ledger.object_name(number, entity.name, entity.media_type)
        made = ledger.keep(name, "object", decoded, origin, coding, flags, digests)
        if made is None:
            flags, digests = flags | Completeness.LIMITED, {}
    return [Extracted(
        number, side, made, origin.offset, origin.length, first.packet, entity.media_type,
        detect(bytes(decoded[:HEAD])), len(decoded) if made else 0, len(data) if suffix else None,
        [coding] if coding else [], digests, flags, {**facts},
    )]  # fmt: skip
