"""What was made of one connection: names of its files, rows of the report, and how all of it is taken back.

Knows: how files are called, numbers and serials. Does not know: analyzers, contents, who writes the bytes.
Invariant: what is handed out depends on the order within a direction only. Memory is that of the rows not yet
handed over, and some bytes for each file, which its sender has spent, too: many files are packed.

Files with ``-a`` are called NAME-KIND, and, from the second of its kind in a stream on, NAME-KIND-002. NAME is that
of the stream's file, its provisional suffix included; with ``-R``, where several connections have one file, that
which the stream's file would have without it.

Objects are ``objects/CONNECTION-N-SAFENAME``. N counts the objects of each direction: 1, 3, 5 ... those of the
connection's first direction, 2, 4, 6 ... those of the other, since which of two bodies that were under way
together began first nobody can say for certain.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from pipeline.errors import OutputError
from pipeline.report.derived import DerivedRecord
from pipeline.writer.closing import new_record
from pipeline.writer.findings.rendition import Store, md5_of
from pipeline.writer.folder import StoredFile
from pipeline.writer.names import OBJECTS
from pipeline.writer.stream import Stream
from workers.analyzers.naming import safe_name
from workers.analyzers.seam import Fact, Piece

if TYPE_CHECKING:
    from pipeline.writer.analysis import Connected

NO_ROOM: Final = "limit.output"
"""A fact: files that could not be made, or not wholly, since there was no room or the disk failed."""

NO_FACTS: Final[Mapping[str, Fact]] = {}
_NOTHING_MADE: Final[Mapping[str, list[int]]] = {}

_PACKED: Final = 512  # names of the journal that are packed together

AddRows: TypeAlias = Callable[[Sequence[DerivedRecord]], None]


class Origin(NamedTuple):
    """Where a file comes from: a stretch of a stream's file, framing included, and the times of its packets, ns."""

    side: int
    offset: int
    length: int
    first_ns: int
    last_ns: int


class Numbers(NamedTuple):
    """What an entity is to become."""

    file: int  # the number of its file among those of its kind; 0: it has none
    object: int  # the number of its object; 0: it is none


def file_name(stream: Stream, kind: str, number: int = 1) -> str:
    """The file NAME-KIND of a stream, or a further one."""
    name = f"{stream.own_name}{stream.provisional}-{kind}"
    return f"{name}-{number:03d}" if number > 1 else name


class Ledger:
    """One connection's. After ``discard`` it is as new."""

    __slots__ = (
        "_add_rows", "_counts", "_journal", "_kept", "_objects", "_packed", "_rows", "_serials", "_store", "_void_rows",
        "_voidable", "connected", "facts", "made",
    )  # fmt: skip

    def __init__(self, store: Store, connected: Connected, add_rows: AddRows, void_rows: Callable[[int], None]) -> None:
        self.connected = connected
        self._store = store
        self._add_rows = add_rows
        self._void_rows = void_rows
        self._kept: Mapping[str, list[int]] = _NOTHING_MADE  # what was made in parts of the output that are over
        self._start()

    def _start(self) -> None:
        self.made: dict[str, list[int]] = {kind: [*made] for kind, made in self._kept.items()}
        """Files of each kind, and their bytes, of the rows that were handed over."""
        self.facts: tuple[dict[str, int], dict[str, int]] = ({}, {})
        """What is counted of each side."""
        self._objects = [0, 0]  # of each side, so far
        self._counts: dict[tuple[int, str], int] = {}  # files by side and kind
        self._serials = [0, 0]
        self._rows: list[DerivedRecord] = []
        self._voidable = False  # rows were handed over
        self._journal: list[str] | None = None  # these two: names of files whose rows were handed over
        self._packed: list[bytes] | None = None

    def stream(self, side: int) -> Stream:
        """The stream that something was found in."""
        stream = self.connected.stream(side)
        assert stream is not None, "something was found in a stream that is not there"
        return stream

    # Names

    def file_number(self, side: int, kind: str) -> int:
        """The next file of this kind that is made of a stream."""
        count = self._counts[side, kind] = self._counts.get((side, kind), 0) + 1
        return count

    def number(self, side: int) -> int:
        """The next object of a side."""
        self._objects[side] += 1
        return 2 * self._objects[side] - 1 + side

    def object_name(self, number: int, wanted: str, media_type: str) -> str:
        """The file of an object that its sender calls ``wanted``."""
        return f"{OBJECTS}/{self.connected.connection}-{number}-{safe_name(wanted, media_type)}"

    # What is told

    def serial(self, side: int) -> int:
        """The next of a stream's derived files."""
        self._serials[side] += 1
        return self._serials[side]

    def keep(
        self, name: str, kind: str, data: Piece, origin: Origin, coding: str = "", flags: int = 0,
        digests: Mapping[str, str] | None = None, *, serial: int = 0,
    ) -> str | None:  # fmt: skip
        """A file of bytes that are all there, and its row: ``digests`` are those of an object, which has no suffix.
        The name that it got; None: it could not be made, which is counted. OutputError: the run is to end of it."""
        side, place, length, first, last = origin
        store, size, stream = self._store, len(data), self.stream(side)
        number, made = stream.number, None
        if store.fits(size):
            try:
                made = store.folder.store(name, number, data, last)
            except OutputError as error:  # as in Store.tried, which costs, for each file
                store.folder.failures.took(error)
        if made is None:
            self.count(side, NO_ROOM)
            return None
        suffix, md5, sha256 = stream.provisional, None, None
        if digests is not None:
            suffix, md5, sha256 = "", digests["md5"], digests["sha256"]
        elif store.md5:
            md5 = md5_of(data)
        if not serial:
            serial = self._serials[side] = self._serials[side] + 1
        self._rows.append(new_record(DerivedRecord, (
            number, serial, made, suffix, size, [(0, size)], first, last, md5, sha256, kind, place, length, coding,
            flags, NO_FACTS,
        )))  # fmt: skip
        return made

    def row(
        self, name: str, kind: str, size: int, runs: Sequence[tuple[int, int]], origin: Origin,
        digests: Mapping[str, str], coding: str = "", flags: int = 0,
        facts: Mapping[str, Fact] = NO_FACTS, *, serial: int = 0, final: bool = False,
    ) -> None:  # fmt: skip
        """A file is complete. ``serial`` 0: the next one; ``final``: no suffix of the stream's is in its name."""
        side, place, length, first, last = origin
        stream = self.stream(side)
        if not serial:
            serial = self._serials[side] = self._serials[side] + 1
        self._rows.append(new_record(DerivedRecord, (
            stream.number, serial, name, "" if final else stream.provisional, size, runs, first, last,
            digests.get("md5"), digests.get("sha256"), kind, place, length, coding, flags, facts,
        )))  # fmt: skip

    def count(self, side: int, name: str, amount: int = 1) -> None:
        """Add to the facts of a side."""
        facts = self.facts[side]
        facts[name] = facts.get(name, 0) + amount

    def hand_over(self) -> None:
        """The rows so far are due."""
        rows = self._rows
        if not rows:
            return
        for row in rows:
            kind, runs = row.kind, row.runs
            made = self.made.get(kind)
            if made is None:
                made = self.made[kind] = [0, 0]
            made[0] += 1
            made[1] += runs[0][1] if len(runs) == 1 else sum([length for _, length in runs])
        self.remember([row.filename for row in rows])
        self._voidable = True
        self._rows = []
        self._add_rows(rows)

    def turn(self) -> None:
        """The part of the output is over: what was made in it is told there, and stays whatever comes. OutputError."""
        self.hand_over()
        self._kept = {kind: [*made] for kind, made in self.made.items()}
        self._voidable = False
        self._journal = self._packed = None

    # Taking back

    def remember(self, names: list[str]) -> None:
        """Files whose rows were handed over may have to go. The list is the ledger's from now on."""
        if self._journal is not None:
            self._journal += names
            names = self._journal
        self._journal = names
        if len(names) >= _PACKED:
            self._packed = self._packed or []
            self._packed.append(zlib.compress(os.fsencode("\0".join(names)), 1))
            self._journal = None

    def discard(self) -> None:
        """Remove the files and take the rows back, but those in parts of the output that are over. OutputError."""
        part = self._store.folder.part
        for name in self._remembered():
            file = StoredFile(name, 0)
            file.made, file.part = True, part
            self._store.discard(file)
        for side in (0, 1):
            if self._voidable and self._serials[side]:
                self._void_rows(self.stream(side).number)
        self._start()

    def _remembered(self) -> Iterator[str]:
        for block in self._packed or ():
            yield from os.fsdecode(zlib.decompress(block)).split("\0")
        yield from self._journal or ()
        yield from [row.filename for row in self._rows]
