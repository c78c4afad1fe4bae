"""The output folder before and after a run: made, checked, marked, cleared of an earlier run.

Knows: what tells an earlier run's folder, which of its files are ours.
Does not know: what a run writes into it.
Invariant: a folder whose run did not end well holds MARKER; a foreign file is never removed.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final
from xml.parsers import expat

from pipeline.config import Config
from pipeline.errors import OutputError, UsageError
from pipeline.report.placing import check_target, create, output_error, remove
from pipeline.report.text import unescape

MARKER: Final = "flowshard.incomplete"
"""Stands in the output folder from a run's start to its good end."""

_MARKER_TEXT: Final = (
    b"A run of flowshard that writes into this folder has not finished (or is still at it).\n"
    b"The stream files here may be cut short, and no report describes them.\n"
)
_SCRATCH: Final = ".flowshard-run-"
_OURS: Final = re.compile(
    r"(conflicts-)?(-?\d+T)?[0-9a-f.:]+\.\d+-[0-9a-f.:]+\.\d+(--\d+(\.\d+)*)?(c\d{4,})?"
    r"(~\d+(\.1)?)?(@\d+(~\d+(\.1)?)?)?"
)
"""Default names of streams, with all suffixes."""


class OutputFolder:
    """The output folder of one run, and a scratch folder in it."""

    def __init__(self, config: Config) -> None:
        """Make and mark it. Raises UsageError for one that an earlier run used, OutputError when it fails."""
        self.path = config.output
        self._make()
        reports = [path for path in {config.report, self.path / "report.xml"} if path is not None]
        used = [path for path in (*reports, self.path / MARKER) if os.path.lexists(path)]
        if used and not config.overwrite:
            raise UsageError(
                f"{self.path} holds the output of an earlier run: {used[0].name}",
                "choose another folder with -o, or replace that run's files with --overwrite",
            )
        if config.report is not None:
            check_target(config.report)
            if not config.report.parent.is_dir():
                raise OutputError(
                    f"cannot create {config.report}: no such folder",
                    "-X names a file in a folder that exists",
                )
        try:
            for path in used:
                self._clear(path)
        except OSError as error:
            raise output_error("clear", self.path, error) from error
        os.close(create(self.path / MARKER))
        try:
            (self.path / MARKER).write_bytes(_MARKER_TEXT)
            self.scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=self.path))
        except OSError as error:
            raise output_error("write to", self.path, error) from error

    def _make(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise OutputError(f"{self.path} is a file", "choose a folder with -o") from None
        except OSError as error:
            raise output_error("create", self.path, error) from error

    def _clear(self, trace: Path) -> None:
        """Remove what an earlier run left: what its report names, or, without one, what its names tell."""
        if trace.name == MARKER:
            names = [name for name in os.listdir(self.path) if _OURS.fullmatch(name)]
            for scratch in self.path.glob(_SCRATCH + "*"):
                if not scratch.is_symlink():
                    shutil.rmtree(scratch, ignore_errors=True)
        else:
            names = self._named_by(trace)
        for name in names:
            path = self.path / name
            if "/" not in name and name not in {"", ".", ".."} and _is_plain(path):
                path.unlink()
        if _is_plain(trace):
            trace.unlink()

    def _named_by(self, report: Path) -> list[str]:
        """The files that an earlier run's report names. One that lies elsewhere may speak of another folder's."""
        if not _is_plain(report):
            return []
        told = _Report(report)
        folder = self.path.resolve()
        return told.names if told.ours and str(folder) in {str(report.parent.resolve()), told.folder} else []

    def finished(self) -> None:
        """The run ended well: nothing but its output stays."""
        self.abandon()
        remove(self.path / MARKER)

    def abandon(self) -> None:
        """The run failed: the scratch folder goes, the marker stays."""
        shutil.rmtree(self.scratch, ignore_errors=True)


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return False


class _Report:
    """What a report says of its run's files; of a file that is no report of ours, nothing."""

    def __init__(self, path: Path) -> None:
        self.names: list[str] = []
        self.ours = False  # other programs write DFXML, too
        self.folder = ""  # where its run wrote to
        self._text: list[str] = []
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text.append
        try:
            with path.open("rb") as file:
                parser.ParseFile(file)
        except (OSError, expat.ExpatError):
            pass  # what could be read of it is a list of names all the same

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._text.clear()
        if "conflict_file" in attributes:
            self.names.append(unescape(attributes["conflict_file"]))
        if tag == "tcpflow:processes":
            self.folder = unescape(attributes.get("output", ""))

    def _end(self, tag: str) -> None:
        if tag == "program":
            self.ours = "".join(self._text) == "flowshard"
        elif tag == "filename":
            self.names.append(unescape("".join(self._text)))
