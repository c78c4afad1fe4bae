"""A reader of reports in the manner of the DFXML reference library: SAX, states, whole numbers for ids.

It is strict where that library is, and stricter: a document whose elements come in another order than
metadata, creator, source, fileobjects, rusage, foreign elements is refused, as is a fileobject within a
fileobject.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.parsers import expat

NAMESPACE = "http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML"
FOREIGN = NAMESPACE + "#tcpflow"

_ORDER = {"metadata": 1, "creator": 2, "source": 3, "fileobject": 4, "rusage": 5}
_TIMES = {"mtime", "ctime", "atime", "crtime"}
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z")


@dataclass
class FileObject:
    """One fileobject: texts of its tags, runs and hashes, and the foreign elements in it."""

    tags: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)  # ns
    runs: list[dict[str, str]] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    foreign: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def id(self) -> int:
        return int(self.tags["id"])


@dataclass
class Report:
    """What a reader keeps of a document."""

    tags: dict[str, str] = field(default_factory=dict)  # texts of creator, source and rusage
    libraries: list[tuple[str, str]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    files: list[FileObject] = field(default_factory=list)
    foreign: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    elements: int = 0


class _Reader:
    def __init__(self) -> None:
        self.report = Report()
        self._stack: list[str] = []
        self._text: list[str] = []
        self._state = 0
        self._attributes: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, tag = name.rpartition(" ")
        self.report.elements += 1
        self._stack.append(tag if space == NAMESPACE else name)
        self._text = []
        self._attributes = attributes
        if space == FOREIGN:
            self._foreign(tag, attributes)
        elif space == NAMESPACE and len(self._stack) == 2:
            state = _ORDER[tag]
            if state < self._state or (state == self._state and tag != "fileobject"):
                raise ValueError(f"unexpected state transition: {self._state} -> {state}")
            self._state = state
            if tag == "fileobject":
                self.report.files.append(FileObject())
        elif tag in {"fileobject", "dfxml"} and len(self._stack) > 1:
            raise ValueError(f"{tag} inside {self._stack[-2]}")
        elif tag == "byte_run":
            self.report.files[-1].runs.append(attributes)
        elif tag == "library":
            self.report.libraries.append((attributes["name"], attributes["version"]))

    def _foreign(self, tag: str, attributes: dict[str, str]) -> None:
        if "fileobject" in self._stack:
            self.report.files[-1].foreign.append((tag, attributes))
        elif "creator" in self._stack or len(self._stack) == 1:
            raise ValueError(f"{tag} in {self._stack}")
        else:
            self._state = 6
            self.report.foreign.append((tag, attributes))

    def text(self, text: str) -> None:
        self._text.append(text)

    def end(self, name: str) -> None:
        tag = self._stack.pop()
        text, self._text = "".join(self._text), []
        if self._stack[-1:] == ["fileobject"]:
            self._property(self.report.files[-1], tag, text)
        elif tag == "image_filename":
            self.report.images.append(text)
        elif " " not in tag and not self._text:
            self.report.tags[tag] = text

    def _property(self, file: FileObject, tag: str, text: str) -> None:
        if tag in _TIMES:
            match = _TIME.fullmatch(text)
            if match is None:
                raise ValueError(f"no time: {text}")
            second = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
            file.times[tag] = round(second.timestamp()) * 10**9 + int(match[2])
        elif tag == "hashdigest":
            if file.foreign:
                raise ValueError("hashdigest behind a foreign element")
            file.hashes[self._attributes["type"]] = text
        elif " " not in tag and tag != "byte_runs":
            if tag in {"id", "filesize"}:
                int(text)
            file.tags[tag] = text


def read(document: bytes) -> Report:
    """The report; ValueError or ExpatError for one that is not in order."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.Parse(document, True)
    return reader.report
