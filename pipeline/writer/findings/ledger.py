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

from pipeline.report.derived import DerivedRecord
from pipeline.writer.closing import new_record
from pipeline.writer.findings.rendition import Store
from pipeline.writer.folder import StoredFile
from pipeline.writer.names import OBJECTS
from pipeline.writer.stream import Stream
from workers.analyzers.naming import safe_name
from workers.analyzers.seam import Fact

if TYPE_CHECKING:
    from pipeline.writer.analysis import Connected

NO_FACTS: Final[Mapping[str, Fact]] = {}

_WHOLE_NAME: Final = 3  # an entry of the journal that is no name behind one of the three starts
_PACKED: Final = 64 << 10  # bytes of the journal that are packed together

AddRows: TypeAlias = Callable[[Sequence[DerivedRecord]], None]


class Origin(NamedTuple):
    """Where a file comes from: a stretch of a stream's file, framing included, and the times of its packets, ns."""

    side: int
    offset: int
    length: int
    first_ns: int
    last_ns: int


class Ledger:
    """One connection's. After ``discard`` it is as new."""

    __slots__ = (
        "_add_rows", "_counts", "_journal", "_names", "_objects", "_packed", "_rows", "_serials", "_store",
        "_void_rows", "_voidable", "connected", "facts", "made",
    )  # fmt: skip

    def __init__(self, store: Store, connected: Connected, add_rows: AddRows, void_rows: Callable[[int], None]) -> None:
        self.connected = connected
        self._store = store
        self._add_rows = add_rows
        self._void_rows = void_rows
        self._names: dict[int, str] = {}  # by side
        self._start()

    def _start(self) -> None:
        self.made: dict[str, tuple[int, int]] = {}
        """Files of each kind, and their bytes."""
        self.facts: tuple[dict[str, int], dict[str, int]] = ({}, {})
        """What is counted of each side."""
        self._objects = [0, 0]  # of each side, so far
        self._counts: dict[tuple[int, str], int] = {}  # files by side and kind
        self._serials = [0, 0]
        self._rows: list[DerivedRecord] = []
        self._voidable: set[int] = set()  # streams of which rows were handed over
        self._journal = bytearray()
        self._packed: list[bytes] = []

    def stream(self, side: int) -> Stream:
        """The stream that something was found in."""
        stream = self.connected.stream(side)
        assert stream is not None, "something was found in a stream that is not there"
        return stream

    def place(self, side: int, offset: int) -> int:
        """Where an offset of the stream is in its file: with ``-R`` it is not the first there."""
        return offset + self.stream(side).base

    # Names

    def file(self, side: int, kind: str) -> StoredFile:
        """The next file of this kind that is made of a stream."""
        count = self._counts[side, kind] = self._counts.get((side, kind), 0) + 1
        return self.beside(side, f"{kind}-{count:03d}" if count > 1 else kind)

    def beside(self, side: int, kind: str) -> StoredFile:
        """The file NAME-KIND of a stream."""
        stream = self.stream(side)
        name = self._names.get(side)
        if name is None:
            name = self._names[side] = stream.own_name + stream.provisional
        return StoredFile(f"{name}-{kind}", stream.number)

    def number(self, side: int) -> int:
        """The next object of a side."""
        self._objects[side] += 1
        return 2 * self._objects[side] - 1 + side

    def object_file(self, side: int, number: int, wanted: str, media_type: str) -> StoredFile:
        """The file of an object that its sender calls ``wanted``."""
        name = f"{OBJECTS}/{self.connected.connection}-{number}-{safe_name(wanted, media_type)}"
        return StoredFile(name, self.stream(side).number)

    # What is told

    def serial(self, side: int) -> int:
        """The next of a stream's derived files."""
        self._serials[side] += 1
        return self._serials[side]

    def row(
        self, file: StoredFile, kind: str, size: int, runs: Sequence[tuple[int, int]], origin: Origin, *,
        digests: Mapping[str, str], coding: str = "", flags: int = 0, facts: Mapping[str, Fact] = NO_FACTS,
        serial: int = 0, final: bool = False,
    ) -> None:  # fmt: skip
        """A file is complete. ``serial`` 0: the next one; ``final``: no suffix of the stream's is in its name."""
        stream = self.stream(origin.side)
        self._rows.append(new_record(DerivedRecord, (
            stream.number, serial or self.serial(origin.side), file.name, "" if final else stream.provisional,
            size, runs, origin.first_ns, origin.last_ns, digests.get("md5"), digests.get("sha256"), kind,
            origin.offset, origin.length, coding, flags, facts,
        )))  # fmt: skip
        self.remember(file)
        files, written = self.made.get(kind, (0, 0))
        self.made[kind] = files + 1, written + sum([run[1] for run in runs])

    def count(self, side: int, name: str, amount: int = 1) -> None:
        """Add to the facts of a side."""
        facts = self.facts[side]
        facts[name] = facts.get(name, 0) + amount

    def hand_over(self, least: int = 1) -> None:
        """The rows so far are due, if there are so many of them."""
        if len(self._rows) >= least:
            self._voidable.update([row.stream for row in self._rows])
            self._add_rows(self._rows)
            self._rows = []

    # Taking back

    def remember(self, file: StoredFile) -> None:
        """A file was made, and may have to go."""
        name = file.name
        for code, start in self._starts():
            if name.startswith(start):
                name = f"{code}{name[len(start) :]}"
                break
        else:
            name = f"{_WHOLE_NAME}{name}"
        self._journal += os.fsencode(name) + b"\0"
        if len(self._journal) >= _PACKED:
            self._packed.append(zlib.compress(self._journal, 1))
            self._journal.clear()

    def discard(self) -> None:
        """Remove the files and take the rows back. OutputError."""
        for name in self._remembered():
            file = StoredFile(name, 0)
            file.made = True
            self._store.folder.discard(file)
        for stream in sorted(self._voidable):
            self._void_rows(stream)
        self._start()

    def _starts(self) -> list[tuple[int, str]]:
        """What nearly all names begin with, each with its code in the journal."""
        return [*self._names.items(), (2, f"{OBJECTS}/{self.connected.connection}-")]

    def _remembered(self) -> Iterator[str]:
        starts = dict(self._starts())
        for block in (*map(zlib.decompress, self._packed), bytes(self._journal)):
            for entry in block.split(b"\0")[:-1]:
                yield starts.get(int(entry[:1]), "") + os.fsdecode(entry[1:])
