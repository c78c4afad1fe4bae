"""One connection's findings: whom its analyzer tells (seam.py), when rows and records are due, how they are void.

Knows: header blocks, contents and exchanges of one connection. Does not know: protocols, how files are written.
Invariant: nothing is made before something is told. A record is written when its exchange is told, rows some of
them together, those of header blocks when the connection is over; ``discard`` leaves nothing of them, and no file.

The time of a file of header blocks is that of the last message in it: of the packet with its first byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from pipeline.errors import InternalError
from pipeline.writer.closing import new_record
from pipeline.writer.findings.ledger import NO_ROOM, Ledger, Numbers, Origin, file_name
from pipeline.writer.findings.records import NO_EXCHANGE, record_of
from pipeline.writer.findings.rendition import Rendition, Store
from pipeline.writer.findings.waiting import NO_OBJECT, Over, Waiting, keep
from pipeline.writer.folder import StoredFile
from workers.analyzers.seam import Content, Entity, Exchange, Fact, Moment, Piece, Protocol
from workers.contract import Completeness

if TYPE_CHECKING:
    from pipeline.report.objects import ObjectLines


class _Text:
    """A file of header blocks: as long as it is small, what is to stand in it."""

    __slots__ = ("held", "kind", "serial", "side", "written")

    def __init__(self, side: int, kind: str, serial: int) -> None:
        self.side = side
        self.kind = kind
        self.serial = serial
        self.held: bytes | bytearray = b""
        self.written: Rendition | None = None  # it has grown large


class FindingsHost:
    """A ConnectionHost (pipeline/writer/analysis). OutputError of all that write."""

    __slots__ = (
        "_accounts", "_append", "_connection", "_contents", "_counters", "_files", "_ledger", "_lines", "_messages",
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
        self._texts: list[_Text] = []  # one a side and kind: there are few
        self._contents: dict[Content, Over | Waiting] = {}  # those whose exchange was not told
        self._messages: list[tuple[int, int] | None] = [None, None]  # times of the first and the last, of each side
        self._voidable = False  # records were written

    # What an analyzer tells

    def moment(self, side: int, offset: int) -> Moment:
        """See seam.py."""
        return self._ledger.connected.moment(side, offset)

    def text(self, side: int, kind: str, piece: Piece) -> None:
        """See seam.py."""
        if self._files:
            for text in self._texts:
                if text.side == side and text.kind == kind:
                    break
            else:
                text = _Text(side, kind, self._ledger.serial(side))
                self._texts.append(text)
            if text.written is None and self._store.has_room(len(text.held), len(piece)):
                if not text.held:
                    text.held = bytes(piece)  # nearly always all that there will be
                elif isinstance(text.held, bytes):
                    text.held = bytearray().join((text.held, piece))
                else:
                    text.held += piece
                self._store.held += len(piece)
            else:
                (text.written or self._write(text)).add(piece)

    def begin(self, entity: Entity) -> Waiting:
        """See seam.py."""
        return self._wait(entity, self._numbers(entity))

    def whole(
        self, entity: Entity, piece: Piece, offset: int, flags: Completeness, facts: Mapping[str, Fact]
    ) -> Over | Waiting:
        """See seam.py."""
        ledger, numbers = self._ledger, self._numbers(entity)
        if len(piece) and not (entity.boundary and numbers[1]):
            first = ledger.connected.moment(entity.side, entity.offset)
            found = keep(entity, numbers, ledger, self._store, first, piece, offset, flags, facts)
            if found is not None:
                over = NO_OBJECT
                if found:
                    over = Over(found)
                    self._contents[over] = over
                return over
        content = self._wait(entity, numbers)
        content.stop_waiting()  # it would only be tried again
        content.data(piece)
        content.end(offset, flags, facts)
        return content

    def _numbers(self, entity: Entity) -> Numbers:
        """Those of the next entity of this side and kind."""
        ledger, side = self._ledger, entity.side
        count = ledger.file_number(side, entity.kind) if self._files else 0
        return new_record(Numbers, (count, 0 if self._lines is None else ledger.number(side)))

    def _wait(self, entity: Entity, numbers: Numbers) -> Waiting:
        content = Waiting(entity, numbers, self._ledger, self._store)
        self._contents[content] = content
        return content

    def exchange(self, exchange: Exchange) -> None:
        """See seam.py."""
        side, messages = exchange.side, self._messages
        for moment in exchange.began:
            if moment is not None:
                time, seen = moment.time, messages[side]
                messages[side] = (time, time) if seen is None else (seen[0], max(seen[1], time))
            side = 1 - side
        for content in exchange.contents:
            if content is not NO_OBJECT:
                told = self._contents.pop(content)
                if told.extracted:
                    self._tell(told, exchange)
        self._ledger.hand_over()

    def count(self, side: int, name: str, amount: int = 1) -> None:
        """See seam.py."""
        facts = self._ledger.facts[side]
        facts[name] = facts.get(name, 0) + amount

    def turn(self, part: str) -> None:
        """See hosting.py."""
        self._ledger.turn()
        self._voidable = False
        for content in self._contents.values():
            content.part = content.part or (part if content.over else "")

    # The connection's end

    def close(self) -> None:
        """The connection is over: complete what is left, and count it."""
        for content in self._contents.values():
            if not content.over:
                raise InternalError(f"{self._protocol} left a content of connection {self._connection} open")
            self._tell(content, NO_EXCHANGE)
        self._contents.clear()
        for text in self._texts:
            self._end_text(text)
        self._texts.clear()
        self._ledger.hand_over()
        counters = self._counters
        for kind, (files, written) in self._ledger.made.items():
            all_files, files_of_kind, all_bytes, bytes_of_kind = _counted(kind)
            counters[all_files] = counters.get(all_files, 0) + files
            counters[files_of_kind] = counters.get(files_of_kind, 0) + files
            counters[all_bytes] = counters.get(all_bytes, 0) + written
            counters[bytes_of_kind] = counters.get(bytes_of_kind, 0) + written

    def discard(self) -> None:
        """Nothing was ever told: no file, no row, no record, nothing counted."""
        for text in self._texts:
            self._store.held -= len(text.held)
            if text.written is not None:
                text.written.abandon()
        for content in self._contents.values():
            if not content.over:
                content.abandon()
        self._ledger.discard()
        if self._voidable and self._lines is not None:
            self._lines.void(self._connection)
        self._start()

    def facts(self, side: int) -> Mapping[str, int]:
        """What was counted of a direction."""
        return self._ledger.facts[side]

    def _write(self, text: _Text) -> Rendition:
        """Header blocks that can wait no longer go to their file, with all that will come."""
        stream = self._ledger.stream(text.side)
        file = StoredFile(file_name(stream, text.kind), stream.number)
        text.written = Rendition(self._store, (file,), self._store.md5)
        self._store.held -= len(text.held)
        text.written.add(memoryview(text.held))
        text.held = b""
        return text.written

    def _end_text(self, text: _Text) -> None:
        """Header blocks may come from anywhere in the stream: from all of it, as far as a row can say."""
        side, kind, ledger = text.side, text.kind, self._ledger
        stream = ledger.stream(side)
        first, last = self._messages[side] or (self.moment(side, 0).time,) * 2
        facts = ledger.facts[side]
        length = sum([facts[account] for account in self._accounts if account in facts])
        origin = new_record(Origin, (side, stream.base, length, first, last))
        written = text.written
        if written is None and text.held:
            ledger.keep(file_name(stream, kind), kind, memoryview(text.held), origin, serial=text.serial)
            self._store.held -= len(text.held)
        elif written is not None and written.finish(last):
            name, flags = written.files[0].name, Completeness.LIMITED if written.full else 0
            ledger.row(name, kind, written.size, written.runs, origin, written.digests, "", flags, serial=text.serial)
        if written is not None and written.full:
            ledger.count(side, NO_ROOM)

    def _tell(self, content: Over | Waiting, exchange: Exchange) -> None:
        """The records of an entity's object, and of its parts'."""
        if self._lines is None:
            return
        for found in content.extracted:
            stream = self._ledger.stream(found.side)
            name = stream.name + stream.provisional if self._append else stream.file.name
            suffixes = {"stream": stream.provisional} if stream.provisional else {}
            record = record_of(found, exchange, self._connection, self._protocol, stream.ends, name)
            if content.part:
                record |= {key: f"../{content.part}/{record[key]}" for key in ("file", "coded_file") if record[key]}
            self._lines.add(self._connection, found.n, record, suffixes)
            self._voidable = True


@cache
def _counted(kind: str) -> tuple[str, str, str, str]:
    """The counters of files of a kind, of which there are few, and of their bytes."""
    return "found.files", f"found.files.{kind}", "found.bytes", f"found.bytes.{kind}"
