"""The parts of a form (multipart/form-data, RFC 7578) as objects of their own, beside the form itself.

Knows: which parts become objects. Does not know: boundaries (workers/analyzers/formdata.py).
Invariant: a part's number and file depend on the form's bytes only, not on how they were cut.

A part becomes an object when its sender calls it a file, or says of which type it is, and it has a byte: the other
fields are text that stands in the form. It is called as the file is, or else as the field is. The parts beyond
limits.form_parts become none; they are counted ``limit.parts``.
"""

from __future__ import annotations

from pipeline.writer.findings.ledger import NO_ROOM, Ledger, Origin
from pipeline.writer.findings.records import Extracted
from pipeline.writer.findings.rendition import BOTH, Rendition, Store
from pipeline.writer.folder import StoredFile
from workers.analyzers.formdata import FormData, PartBegin, PartEnd, PartEvent, PartHole
from workers.analyzers.kinds import detect
from workers.analyzers.seam import Fact, Piece
from workers.contract import Completeness


class _Part:
    """One that becomes an object."""

    __slots__ = ("flags", "index", "number", "rendition", "told")

    def __init__(self, told: PartBegin, index: int, number: int, rendition: Rendition) -> None:
        self.told = told
        self.index = index
        self.number = number
        self.rendition = rendition
        self.flags = Completeness(0)


class Form:
    """The parts of one form. ``feed`` it and ``end`` it, then ``tell``. OutputError of all that write."""

    __slots__ = ("_done", "_form", "_index", "_ledger", "_part", "_side", "_store")

    def __init__(self, boundary: bytes, side: int, ledger: Ledger, store: Store) -> None:
        self._form = FormData(boundary, store.limits)
        self._side = side
        self._ledger = ledger
        self._store = store
        self._index = 0  # of the part that is under way
        self._part: _Part | None = None
        self._done: list[_Part] = []

    def feed(self, piece: Piece) -> None:
        """The next bytes of the form, decoded."""
        for event in self._form.feed(piece):
            self._take(event)

    def hole(self, size: int) -> None:
        """The next ``size`` bytes are missing."""
        for event in self._form.hole(size):
            self._take(event)

    def end(self) -> None:
        """The form is over."""
        for event in self._form.end():
            self._take(event)

    @property
    def beyond(self) -> int:
        """Parts of which nothing is told, because of the limit."""
        return max(0, self._form.parts - self._store.limits.form_parts)

    def abandon(self) -> None:
        """Remove the files of all parts."""
        for part in (*self._done, self._part):
            if part is not None:
                part.rendition.abandon()

    def tell(self, origin: Origin, packet: int, role: Fact) -> list[Extracted]:
        """Rows of all parts into the ledger, and what their records say. ``origin`` and ``packet``: the form's."""
        return [self._extracted(part, origin, packet, role) for part in self._done]

    def _take(self, event: PartEvent) -> None:
        part = self._part
        if isinstance(event, PartBegin):
            self._begin(event)
        elif part is None:
            return
        elif isinstance(event, PartHole):
            part.rendition.hole(event.size)
            part.flags |= Completeness.GAPS
        elif isinstance(event, PartEnd):
            part.flags |= event.flags
            self._part = None
            if part.rendition.finish(0) or part.rendition.size or part.rendition.full:
                self._done.append(part)
        else:
            part.rendition.add(event)

    def _begin(self, told: PartBegin) -> None:
        self._index += 1
        if not told.filename and not told.media_type:
            return
        number = self._ledger.number(self._side)
        name = self._ledger.object_name(number, told.filename or told.name, told.media_type)
        file = StoredFile(name, self._ledger.stream(self._side).number)
        self._part = _Part(told, self._index, number, Rendition(self._store, (file,), BOTH))

    def _extracted(self, part: _Part, origin: Origin, packet: int, role: Fact) -> Extracted:
        rendition, told, file = part.rendition, part.told, part.rendition.files[0]
        if rendition.cut or rendition.full:
            part.flags |= Completeness.LIMITED
        if rendition.full:
            self._ledger.count(self._side, NO_ROOM)
        if rendition.runs:
            with self._store.tried():
                self._store.folder.finish(file, origin.last_ns)  # only now its time is known
            self._ledger.row(
                file.name, "part", rendition.size, rendition.runs, origin, rendition.digests,
                flags=part.flags, final=True,
            )  # fmt: skip
        return Extracted(
            part.number, origin.side, file.name if rendition.runs else None, origin.offset, origin.length, packet,
            told.media_type, detect(rendition.head), rendition.size, None, [], rendition.digests, part.flags,
            {"role": role}, None, part.index, told.name, told.filename,
        )  # fmt: skip
