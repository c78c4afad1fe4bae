"""What a run leaves in its folder that tells its files from those of others, and how that is read.

Knows: the line in a marker or a trace, which names a report gives. Does not know: who removes what.
Invariant: whatever such a file holds, reading it is no error; what cannot be understood tells nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self, TypeGuard

from pipeline.config import check_name_format
from pipeline.errors import UsageError
from pipeline.report.text import unescape

_VERSION: Final = 1
_BLOCK: Final = 1 << 18  # bytes of a report that are read at a time
_MOST: Final = 64 << 20  # bytes of a trace that are read: a million kept names


@dataclass(frozen=True, slots=True)
class Trace:
    """What the names of a run's files are made of. As JSON it is a line of the marker."""

    name_format: str | None = None
    timestamp: bool = False
    packet_map: bool = False
    analyzed: bool = False  # -a: files beside those of the streams
    extracted: bool = False  # -e: objects, and their index
    kept: tuple[str, ...] = ()
    """Files that were there when the run began though their names could be ours."""
    manifest: bool = False

    def line(self) -> bytes:
        """The line, without its end."""
        import json

        return json.dumps({"flowshard": _VERSION, **asdict(self)}).encode()


def read_trace(path: Path) -> Trace:
    """What a marker or a trace says; of one that says nothing, that the names are the default ones."""
    if not is_plain(path):
        return Trace()
    with path.open("rb") as file:
        lines = file.read(_MOST).splitlines()
    told = next((found for found in map(_parsed, lines) if found), {})
    name_format, kept = told.get("name_format"), told.get("kept")
    if not isinstance(kept, list) or not all(isinstance(name, str) for name in kept):
        kept = []
    flags = {name: told.get(name) is True for name in ("timestamp", "packet_map", "analyzed", "extracted", "manifest")}
    return Trace(name_format if _is_format(name_format) else None, kept=tuple(kept), **flags)


def _is_format(value: object) -> TypeGuard[str]:
    if not isinstance(value, str):
        return False
    try:
        check_name_format(value)
    except UsageError:
        return False
    return True


def _parsed(line: bytes) -> dict[str, object]:
    """An object of ours; {} for any other line."""
    if not line.startswith(b"{"):
        return {}
    import json

    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("flowshard") == _VERSION else {}


class ReportedFiles:
    """What a report says of its run's files; of a file that is no report of ours, nothing."""

    def __init__(self, path: Path) -> None:
        self._begin()
        try:
            with path.open("rb") as file:
                self._parser.ParseFile(file)
        except (OSError, self.malformed):
            pass  # what could be read of it is a list of names all the same

    @classmethod
    def begun(cls) -> Self:
        """One that is to be fed."""
        told = cls.__new__(cls)
        told._begin()
        return told

    def feed(self, block: bytes) -> None:
        """The next bytes of the report. Raises ``malformed``."""
        self._parser.Parse(block)

    def _begin(self) -> None:
        from xml.parsers import expat  # 5 ms, which a run into a new folder need not wait for

        self.malformed = expat.ExpatError
        self.names: list[str] = []
        self.ours = False  # other programs write DFXML, too
        self.folder = ""  # where its run wrote to
        self.packet_map = False  # its run made one
        self.extracted = False  # its run made an index of objects
        self.manifest = False  # its run made one
        self._text: list[str] = []
        self._parser = parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text.append

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._text.clear()
        if "conflict_file" in attributes:
            self.names.append(unescape(attributes["conflict_file"]))
        if tag == "tcpflow:processes":
            self.folder = unescape(attributes.get("output", ""))
        elif tag == "tcpflow:configuration":
            self.packet_map = attributes.get("packet_map") == "true"
            self.extracted = bool(attributes.get("extract"))
            self.manifest = attributes.get("manifest") == "true"

    def _end(self, tag: str) -> None:
        if tag == "program":
            self.ours = "".join(self._text) == "flowshard"
        elif tag == "filename":
            self.names.append(unescape("".join(self._text)))


class ReportedNames:
    """The files that a report names, a few at a time: a part can have a million of them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[str]:
        """In the report's order. What is no report of ours names nothing more, from where it is none."""
        told = ReportedFiles.begun()
        try:
            with open(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                while block := file.read(_BLOCK):
                    told.feed(block)
                    yield from told.names if told.ours else ()
                    told.names.clear()
        except (OSError, told.malformed):
            return


def is_plain(path: Path) -> bool:
    """A regular file, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return False
