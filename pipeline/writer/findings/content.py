"""One entity that an analyzer found: its file as sent, its file decoded, its object.

Knows: what of an entity becomes which file, and how complete it is. Does not know: protocols, other entities.
Invariant: whatever is told of it depends on its bytes and holes, not on how they were cut. The content as it was
sent is kept where decoding it leaves anything to be wished for.

    with -a    NAME-KIND           as sent, with its holes
               NAME-KIND-GZIP      decoded, as far as it decodes
               NAME-KIND-BR-GZIP   ... of codings one over the other, beside what was in between (NAME-KIND-BR)
    with -e    objects/...         decoded as far as it decodes; as sent where it does not at all, or is not coded
               objects/....coded   as sent, where it does not decode wholly and cleanly
               one more for each part of a form (parts.py)

A hole in a coded content ends its decoding: what is behind it cannot be decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.writer.findings.ledger import NO_FACTS, NO_ROOM, Ledger, Numbers, Origin, file_name
from pipeline.writer.findings.parts import Form
from pipeline.writer.findings.records import Extracted
from pipeline.writer.findings.rendition import BOTH, Rendition, Store
from pipeline.writer.folder import StoredFile
from workers.analyzers.coding import Undoing
from workers.analyzers.kinds import detect
from workers.analyzers.seam import Entity, Fact, Moment, Piece
from workers.contract import Completeness

CODED: Final = ".coded"
"""Behind the name of an object: the content as it was sent."""

_WHOLE: Final = Completeness(0)


class Finding:
    """The Content (seam.py) of an entity that needs all of this; most do not (waiting.py). OutputError of all that
    write."""

    __slots__ = (
        "_behind", "_between", "_chosen", "_codings", "_decoded", "_entity", "_first", "_form", "_ledger",
        "_missing", "_numbers", "_sent", "_store", "extracted",
    )  # fmt: skip

    def __init__(
        self, entity: Entity, numbers: Numbers, ledger: Ledger, store: Store, first: Moment | None = None
    ) -> None:
        """``first``: of its first byte, if that was asked already."""
        self.extracted: list[Extracted] = []
        """When it is over: the object, and those of its parts."""
        self._entity = entity
        self._ledger = ledger
        self._store = store
        self._numbers = numbers
        self._first = first  # of the first byte that is there
        self._missing = 0  # bytes so far
        self._behind = 0  # ... since the last byte that was there
        self._between: list[tuple[str, Rendition]] = []  # after each coding but the last; what was undone by then
        self._codings = self._undoing()
        self._form = Form(entity.boundary, entity.side, ledger, store) if numbers.object and entity.boundary else None
        self._sent, self._decoded = self._renditions()
        self._chosen = self._decoded or self._sent  # what the object is

    def _undoing(self) -> Undoing | None:
        if not self._entity.codings:
            return None
        stacked = self._numbers.file and len(self._entity.codings) > 1
        return Undoing(self._entity.codings, self._store.limits, self._take_between if stacked else None)

    def _renditions(self) -> tuple[Rendition, Rendition | None]:
        """As sent and, if there is something to undo, decoded. The object is the last file of the last of them."""
        entity, ledger, store = self._entity, self._ledger, self._store
        sent: list[StoredFile] = []
        decoded: list[StoredFile] = []
        suffix = self._codings.suffix if self._codings is not None else ""
        stream = ledger.stream(entity.side)
        if self._numbers.file:
            body = file_name(stream, entity.kind, self._numbers.file)
            sent.append(StoredFile(body, stream.number))
            decoded.append(StoredFile(body + suffix, stream.number))
            for layer in self._codings.suffixes[:-1] if self._codings is not None else ():
                between = StoredFile(body + layer, stream.number)
                self._between.append((layer, Rendition(store, (between,), store.md5)))
        if self._numbers.object:
            name = ledger.object_name(self._numbers.object, entity.name, entity.media_type)
            extracted = StoredFile(name, stream.number)
            sent.append(StoredFile(name + CODED, stream.number) if suffix else extracted)
            decoded.append(extracted)
        wanted = BOTH if self._numbers.object else store.md5
        if not suffix:
            return Rendition(store, tuple(sent), wanted), None
        return Rendition(store, tuple(sent), store.md5), Rendition(store, tuple(decoded), wanted)

    # What comes

    def data(self, piece: Piece) -> None:
        """See seam.py."""
        if self._first is None:
            self._first = self._ledger.connected.moment(self._entity.side, self._entity.offset + self._missing)
        self._behind = 0
        self._sent.add(piece)
        if self._decoded is None:
            if self._form is not None:
                self._form.feed(piece)
        elif not self._missing and self._codings is not None:
            self._take(self._codings.feed(piece))

    def hole(self, size: int) -> None:
        """See seam.py."""
        if self._decoded is None:
            if self._form is not None:
                self._form.hole(size)
        elif not self._missing and self._codings is not None:
            self._codings.hole()
        self._missing += size
        self._behind += size
        self._sent.hole(size)

    def _take(self, blocks: Iterable[bytes]) -> None:
        """What was decoded."""
        assert self._decoded is not None
        for block in blocks:
            self._decoded.add(block)
            if self._form is not None:
                self._form.feed(block)

    def _take_between(self, undone: int, block: bytes) -> None:
        """What came out of a coding that is not the last."""
        self._between[undone - 1][1].add(block)

    def abandon(self) -> None:
        """Remove what there is of it; it is not over."""
        for each in (self._sent, self._decoded, self._form, *(between for _, between in self._between)):
            if each is not None:
                each.abandon()

    # What it comes to

    def end(self, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> None:
        """See seam.py. What there is to say of the codings goes with the facts."""
        undone = self._end_codings()
        if self._form is not None:
            self._form.end()
        if self._missing:
            flags |= Completeness.GAPS
        if self._sent.cut:
            flags |= Completeness.LIMITED
            self._count("limit.hole_bytes")
        coded = self._choose(undone) if self._numbers.object and self._decoded is not None else None
        origin, packet = self._origin(offset)
        for rendition in (self._sent, self._decoded, *(between for _, between in self._between)):
            if rendition is not None:
                rendition.finish(origin.last_ns)
                if rendition.full:
                    self._count(NO_ROOM)
        if coded is not None and not self._sent.runs:
            coded = None
        self._say_rows(origin, flags, undone, coded)
        if self._numbers.object:
            self.extracted.append(self._extracted(origin, packet, flags, {**facts, **undone}, coded))
        if self._form is not None:
            self.extracted += self._form.tell(origin, packet, facts.get("role"))
            if self._form.beyond:
                self._count("limit.parts", self._form.beyond)
        self._form = None
        self._chosen.forget_head()

    def _end_codings(self) -> Mapping[str, Fact]:
        """The coded data are over: what is to be said of them."""
        if self._codings is None:
            return NO_FACTS
        if self._decoded is not None:
            self._take(self._codings.end())
        if self._codings.flags & Completeness.LIMITED:
            self._count("limit.codings" if self._decoded is None else "limit.decoded")
        return self._codings.facts()

    def _count(self, limit: str, amount: int = 1) -> None:
        self._ledger.count(self._entity.side, limit, amount)

    def _choose(self, undone: Mapping[str, Fact]) -> StoredFile | None:
        """What of a coded content the object is; and the file of the content as it was sent, if that is kept, too."""
        assert self._decoded is not None
        coded = self._sent.files[-1]
        if not self._missing and not self._damage and "trailing" not in undone:
            self._sent.drop(coded)  # which is so for nothing, too, if it was coded
            return None
        if self._decoded.size:
            return coded
        with self._store.tried():
            self._store.folder.rename(coded, self._decoded.files[-1].name)
        self._sent.want(BOTH)
        self._chosen = self._sent
        return None

    @property
    def _damage(self) -> Completeness:
        """What is wrong with the codings."""
        return _WHOLE if self._codings is None else self._codings.flags

    def _origin(self, offset: int) -> tuple[Origin, int]:
        """Where it came from, and the packet with its first byte."""
        entity, moment = self._entity, self._ledger.connected.moment
        first = self._first or moment(entity.side, entity.offset)
        last = moment(entity.side, max(offset - self._behind - 1, entity.offset))
        place = entity.offset + self._ledger.stream(entity.side).base
        return Origin(entity.side, place, offset - entity.offset, first.time, last.time), first.packet

    def _say_rows(
        self, origin: Origin, flags: Completeness, undone: Mapping[str, Fact], coded: StoredFile | None
    ) -> None:
        """Rows of its files: as sent, decoded, the object, as sent beside the object."""
        kind, md5, sent, decoded, chosen = self._entity.kind, self._store.md5, self._sent, self._decoded, self._chosen
        rows: list[tuple[StoredFile, str, Rendition, tuple[str, ...]]] = []
        if self._numbers.file:
            rows.append((sent.files[0], kind, sent, md5))
            rows += [(between.files[0], kind, between, md5) for _, between in self._between]
            if decoded is not None:
                rows.append((decoded.files[0], kind, decoded, md5))
        if self._numbers.object:
            rows.append((chosen.files[-1], "object", chosen, BOTH))
        if coded is not None:
            rows.append((coded, "coded", sent, md5))
        for file, what, rendition, digests in rows:
            limited = Completeness.LIMITED if rendition.full else 0
            if rendition.runs:
                self._ledger.row(
                    file.name, what, rendition.size, rendition.runs, origin,
                    {name: rendition.digests[name] for name in digests},
                    coding=",".join(self._undone(rendition)),
                    flags=limited | (flags if rendition is sent and what != "object" else flags | self._damage),
                    facts=undone, final=what != kind,
                )  # fmt: skip

    def _undone(self, rendition: Rendition) -> list[str]:
        """The codings that were undone to get it."""
        if rendition is self._sent or self._codings is None:
            return []
        suffix = next((layer for layer, between in self._between if between is rendition), self._codings.suffix)
        return suffix.lower().split("-")[1:]

    def _extracted(
        self, origin: Origin, packet: int, flags: Completeness, facts: Mapping[str, Fact], coded: StoredFile | None
    ) -> Extracted:
        chosen = self._chosen
        if chosen.full or (self._decoded is not None and self._decoded.full):
            flags |= Completeness.LIMITED
        return Extracted(
            self._numbers.object, origin.side, chosen.files[-1].name if chosen.runs else None, origin.offset,
            origin.length, packet, self._entity.media_type, detect(chosen.head), chosen.size,
            self._sent.size if self._decoded is not None else None, self._undone(chosen), chosen.digests,
            flags | self._damage, facts, coded.name if coded is not None else None,
        )  # fmt: skip
