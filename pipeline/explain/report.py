"""A report of an earlier run, searched for one stream: its rows, and how the run was configured.

Knows: the elements of a report (pipeline.report.rows, .document) and how they are spelled.
Does not know: captures, how a stream is made.
Invariant: it is read as a stream; memory holds the rows that were asked for and a few names. A report is input:
what is missing or no number in it is a UsageError, never an exception of another kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from pipeline.errors import UsageError
from pipeline.report.rows import CONFLICTS
from pipeline.report.text import unescape
from workers.contract import Completeness

_BLOCK: Final = 1 << 20
_SIMILAR: Final = 3  # names that a mistyped one is answered with

_FLOW: Final = "tcpflow:tcpflow"
_KEPT: Final = frozenset({"tcpflow:configuration", "tcpflow:input", "tcpflow:summary", "tcpflow:counter"})

SHORT: Final = Completeness.UNWRITTEN | Completeness.ABSENT | Completeness.LOST
"""What keeps a file short that no replay of the captures can show."""

Attributes = dict[str, str]


@dataclass(slots=True)
class Conflict:
    """Bytes of a segment that differ from those that were there. The offset is the file's."""

    offset: int
    length: int
    packet: int


@dataclass(slots=True)
class Row:
    """What the report says of one stream."""

    stream: int
    filename: str
    size: int  # bytes of its (first) file
    base: int  # place of its first byte in the file; 0 but with -R
    facts: Attributes  # of the flow element
    conflicts: list[Conflict] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)  # names of further files

    def is_short(self) -> bool:
        """Whether the disk has less of it than was captured: a write failed, a limit was met, a process died."""
        return bool(self.flags() & SHORT) or ("limited" in self.words() and not self.count("beyond"))

    def flags(self) -> Completeness:
        """What keeps it from being whole; words that are not known count for nothing."""
        words = self.words()
        return Completeness(sum(flag for flag in Completeness if flag.name and flag.name.lower() in words))

    def words(self) -> frozenset[str]:
        """The same as the report has it."""
        return frozenset(self.facts.get("completeness", "").split())

    def count(self, name: str) -> int:
        """A number of it; the ones that a row may leave out are 0 then."""
        return whole(self.facts, name, 0)


@dataclass(slots=True)
class Found:
    """A report, as far as one stream is concerned."""

    rows: list[Row]
    options: Attributes
    inputs: list[Attributes]
    counters: dict[str, int]
    command: str
    similar: list[str]  # names in it that are like the one that was asked for, if there are no rows

    def failures(self) -> str:
        """What the system called the writes of the run that failed."""
        return ", ".join(sorted(name.partition(".")[2] for name in self.counters if name.startswith("write_errors.")))


def whole(facts: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A number from the report. UsageError when it is none."""
    text = facts.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "", 16 if (text or "").startswith("0x") else 10)
    except ValueError:
        raise UsageError(f"the report has no number where '{name}' is expected", _HINT) from None


_HINT: Final = "give the report of a flowshard run, unchanged: --report FILE"


def read_report(path: Path, name: str, connection: int | None) -> Found:
    """The rows of the file ``name`` or, where no file has that name, of ``connection``.

    Raises UsageError when there is no report, or it is not one of ours.
    """
    search = _Search(name, connection)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse  # ours have none, and entities could grow without bound
    parser.StartElementHandler = search.start
    parser.EndElementHandler = search.end
    parser.CharacterDataHandler = search.text
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                parser.Parse(block, False)
            parser.Parse(b"", True)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{path}: no such report",
            "explain takes the output folder of a finished run; --report FILE names another report",
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'unreadable').lower()}", _HINT) from None
    except expat.ExpatError as error:
        raise UsageError(f"{path}: not a whole report: {error}", _HINT) from None
    if search.configuration is None:
        raise UsageError(f"{path}: not a report of flowshard's", _HINT)
    return search.found()


def _refuse(*_: object) -> None:
    raise UsageError("the report has a document type, which none of flowshard's has", _HINT)


class _Search:
    """What the parser meets."""

    def __init__(self, name: str, connection: int | None) -> None:
        self._name = name
        self._file = name.rpartition("/")[0::2]
        self._connection = connection
        self._texts: list[str] | None = None
        self._tags: Attributes = {}
        self._rows: list[Row] = []  # of the fileobject that is being read
        self._pending: list[tuple[Attributes, list[Conflict]]] = []
        self._named: list[Row] = []
        self._numbered: list[Row] = []
        self._last: list[Row] = []  # of the stream before, whose parts may follow
        self._similar: list[tuple[int, int, str]] = []
        self.configuration: Attributes | None = None
        self._inputs: list[Attributes] = []
        self._counters: dict[str, int] = {}
        self._command = ""

    def start(self, tag: str, attributes: Attributes) -> None:
        """An element begins."""
        if tag in {"filename", "id", "filesize", "command_line"}:
            self._texts = []
        elif tag == "fileobject":
            self._tags, self._pending = {}, []
        elif tag == _FLOW:
            self._pending.append((attributes, []))
        elif tag == "tcpflow:conflict" and self._pending:
            conflict = Conflict(*(whole(attributes, each) for each in ("offset", "length", "packet")))
            self._pending[-1][1].append(conflict)
        elif tag == "tcpflow:part_of":
            self._part()
        elif tag in _KEPT:
            self._keep(tag, attributes)

    def text(self, text: str) -> None:
        """Characters of an element."""
        if self._texts is not None:
            self._texts.append(text)

    def end(self, tag: str) -> None:
        """An element ends."""
        if self._texts is not None:
            text, self._texts = unescape("".join(self._texts)), None
            if tag == "command_line":
                self._command = text
            else:
                self._tags[tag] = text
        elif tag == "fileobject" and self._pending:
            self._row()

    def _keep(self, tag: str, attributes: Attributes) -> None:
        values = {name: unescape(value) for name, value in attributes.items()}
        if tag == "tcpflow:configuration":
            self.configuration = values
        elif tag == "tcpflow:input":
            self._inputs.append(values)
        elif tag == "tcpflow:counter":
            self._counters[values.get("name", "")] = whole(values, "value")

    def _row(self) -> None:
        """A stream's file is known: is it asked for?"""
        name = self._tags.get("filename", "")
        rows = self._last = [
            Row(whole(facts, "connection") << 1 | whole(facts, "direction"), name, whole(self._tags, "filesize"),
                whole(facts, "file_offset", 0), facts, conflicts)
            for facts, conflicts in self._pending
        ]  # fmt: skip
        if name == self._name or self._is_side_file(name):
            self._named += rows
        if self._connection is not None:
            self._numbered += [row for row in rows if row.stream >> 1 == self._connection]
        elif not self._named:
            self._note_similar(name)

    def _part(self) -> None:
        """A further file of the stream before."""
        name = self._tags.get("filename", "")
        for row in self._last:
            row.parts.append(name)
        if name == self._name and not self._named:
            self._named += self._last

    def _is_side_file(self, name: str) -> bool:
        folder, file = self._file
        return file.startswith(CONFLICTS) and name == (folder + "/" if folder else "") + file.removeprefix(CONFLICTS)

    def _note_similar(self, name: str) -> None:
        score = _alike(name, self._name)
        entry = (score, -len(self._similar), name)
        if len(self._similar) < _SIMILAR:
            heappush(self._similar, entry)
        elif score > self._similar[0][0]:
            heappushpop(self._similar, entry)

    def found(self) -> Found:
        """All of it, once the report is read."""
        similar = [name for *_, name in sorted(self._similar, reverse=True)]
        return Found(
            self._named or self._numbered, self.configuration or {}, self._inputs, self._counters, self._command,
            similar,
        )  # fmt: skip


def _alike(one: str, other: str) -> int:
    """How many characters two names have in common in front and behind."""
    pairs: Any = zip(one, other, strict=False), zip(reversed(one), reversed(other), strict=False)
    total = 0
    for each in pairs:
        for a, b in each:
            if a != b:
                break
            total += 1
    return total
