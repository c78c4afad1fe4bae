"""Where a run's output goes, before and after the run: made, checked, marked, cleared of an earlier run.

Knows: what tells an earlier run's folder, which of its files are ours, which single files a run writes.
Does not know: what a run writes into them.
Invariant: a folder whose run did not end well holds MARKER; a foreign file is never removed, nor is an
input, nor anything outside the folder but the files that options name, and these with ``--overwrite`` only.

How files are told to be ours. The report of an earlier run names them. Without one (a run was killed, or
was to make none) their names tell: MARKER or TRACE says which ``-F`` made them, whether ``-a`` and ``-e``
were given, and which of such names were there before. What somebody puts into the folder later under such a
name is taken for ours.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from pipeline.config import Config
from pipeline.destinations import FIXED, LISTS, MANIFEST, OBJECT_LINES, PACKET_MAP, REPORT, Target, check_apart, targets
from pipeline.errors import OutputError, UsageError
from pipeline.report.placing import check_target, create, output_error, remove, write_all
from pipeline.tree import Shape, Tree, fits

if TYPE_CHECKING:
    from pipeline.parts.output import PartedOutput
    from pipeline.traces import ReportedFiles, Trace


MARKER: Final = "flowshard.incomplete"
"""Stands in the output folder from a run's start to its good end."""

TRACE: Final = "flowshard.run"
"""Stays in the output folder of a run with ``--no-report``."""

_NEVER_A_STREAM: Final = frozenset({REPORT, PACKET_MAP, OBJECT_LINES, MANIFEST, MARKER, TRACE})
"""By the default format, which need not be looked at for them."""

_MARKER_TEXT: Final = (
    b"A run of flowshard that writes into this folder has not finished (or is still at it).\n"
    b"The stream files here may be cut short, and no report describes them.\n"
)
_TRACE_TEXT: Final = (
    b"A run of flowshard wrote into this folder and made no report.\n"
    b"By the next line a later run with --overwrite tells its files from yours.\n"
)
SCRATCH: Final = ".flowshard-run-"
_UNPLACED: Final = re.compile(r"\.flowshard-[0-9a-f]{16}")
"""Files that were to be renamed into place (report/placing.py) when their run was killed."""


def open_output(config: Config) -> Output:
    """Where the run's files go, checked and made. Raises UsageError, OutputError."""
    if config.rotation is not None:
        from pipeline.parts.output import PartedOutput

        return PartedOutput(config)
    return ConsoleOutput(config) if config.console else OutputFolder(config)


class OutputFolder:
    """The output folder of one run, and a scratch folder in it."""

    part = ""
    """It has no parts (--rotate)."""

    def __init__(self, config: Config) -> None:
        """Make and mark it. Raises UsageError for one that an earlier run used, OutputError when it fails.

        When it raises, what it made is gone again; what it cleared of an earlier run is gone, too.
        """
        self.path = config.output
        self._config = config
        self._targets = targets(config)
        self._made = make_folder(self.path)
        try:
            self._prepare()
        except BaseException:
            self._unmake()
            raise

    def _prepare(self) -> None:
        config = self._config
        reports = [path for path in {config.report, self.path / REPORT} if path is not None]
        used = [path for path in (*reports, self.path / MARKER, self.path / TRACE) if os.path.lexists(path)]
        if used and not config.overwrite:
            raise UsageError(
                f"{self.path} holds the output of an earlier run: {used[0].name}",
                "choose another folder with -o, or replace that run's files with --overwrite",
            )
        _check_targets(config, self._targets)
        check_names(config, self._targets, [MARKER, TRACE])
        try:
            for path in used:
                self._clear(path)
            _unlink(self._targets)
            self._kept = self._present()
        except OSError as error:
            raise output_error("clear", self.path, error) from error
        marker = self.path / MARKER
        self._write(marker, _MARKER_TEXT)
        try:
            self.scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=self.path))
        except OSError as error:
            remove(marker)
            raise output_error("write to", self.path, error) from error

    @cached_property
    def _shapes(self) -> list[Shape]:
        return _shapes(trace_of(self._config))

    def _present(self) -> tuple[str, ...]:
        """The files, there now, whose names could be ours: they are not."""
        if self._made or not any(self.path.iterdir()):
            return ()
        with Tree(self.path) as tree:
            return tuple(_found(tree, self._shapes))

    def _clear(self, left: Path) -> None:
        """Remove what an earlier run left: what its report names, or, without one, what its names tell."""
        from pipeline.traces import is_plain, read_trace

        names: Iterable[str]
        with Tree(self.path) as tree:
            if left.name in {MARKER, TRACE}:
                told = read_trace(left)
                kept = frozenset(told.kept)
                found = (name for name in _found(tree, _shapes(told)) if name not in kept)
                names = chain(found, _lists(told))
            else:
                names = self._named_by(left)
            self._remove(tree, names)
            if left.name == MARKER:
                for scratch in self.path.glob(SCRATCH + "*"):
                    if not scratch.is_symlink():
                        shutil.rmtree(scratch, ignore_errors=True)
        if is_plain(left):
            os.unlink(left)

    def _remove(self, tree: Tree, names: Iterable[str]) -> None:
        """Remove files of ours, but no input of this run, and what was not renamed into place."""
        inputs = {inside(self.path, path) for path in self._config.inputs}
        tree.remove_all(name for name in names if name not in inputs)
        tree.remove_all([name for name in os.listdir(tree.root) if _UNPLACED.fullmatch(name)])

    def _named_by(self, report: Path) -> list[str]:
        """The files that an earlier run's report names, and those that it lists its findings in.

        A report that lies elsewhere may speak of another folder's files.
        """
        from pipeline.traces import ReportedFiles, is_plain

        if not is_plain(report):
            return []
        told = ReportedFiles(report)
        folder = self.path.resolve()
        if not told.ours or str(folder) not in {str(report.parent.resolve()), told.folder}:
            return []
        return told.names + _lists(told)

    def _write(self, path: Path, text: bytes) -> None:
        """A marker or a trace. OutputError; then it is not there."""
        line = trace_of(self._config, self._kept).line()
        descriptor = create(path)
        try:
            try:
                write_all(descriptor, [text, line, b"\n"])
            finally:
                os.close(descriptor)
        except OSError as error:
            remove(path)
            raise output_error("write to", self.path, error) from error

    def finished(self) -> None:
        """The run ended well: nothing but its output stays, and a trace where no report tells of it. OutputError."""
        self.abandon()  # there may be no space but that
        if self._config.report is None:
            self._write(self.path / TRACE, _TRACE_TEXT)
        remove(self.path / MARKER)

    def abandon(self) -> None:
        """The run failed: the scratch folder goes, the marker stays."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def restart(self) -> None:
        """The run begins again from its first packet: what its stages made is removed.

        Those are the files whose names can be ours and were not there when the run began, the files that
        options name, and what is in the scratch folder. No stage may be at work. OutputError.
        """
        kept = frozenset(self._kept)
        try:
            with Tree(self.path) as tree:
                self._remove(tree, (name for name in _found(tree, self._shapes) if name not in kept))
            _unlink(self._targets)
            _empty(self.scratch)
        except OSError as error:
            raise output_error("clear", self.path, error) from error

    def withdraw(self) -> None:
        """Nothing came of the run, and it wrote nothing: no marker stays, and no folder that it made."""
        self.abandon()
        remove(self.path / MARKER)
        self._unmake()

    def _unmake(self) -> None:
        for folder in self._made:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


class ConsoleOutput:
    """The folder of a run that prints its streams: a private one, for as long as the run takes.

    It lies where TMPDIR says, and holds streams while they are open. There is no marker and no trace.
    """

    part = ""

    def __init__(self, config: Config) -> None:
        """Raises UsageError for a file of the run that is there already, OutputError when it fails."""
        self._targets = targets(config)
        _check_targets(config, self._targets)
        try:
            _unlink(self._targets)
            self.scratch = Path(tempfile.mkdtemp(prefix="flowshard-"))
            self.path = self.scratch / "streams"
            self.path.mkdir(mode=0o700)
        except OSError as error:
            raise OutputError(
                f"cannot make a temporary folder: {error.strerror or error}",
                "name a folder with some space in the environment variable TMPDIR",
            ) from error

    def finished(self) -> None:
        """The run ended well: no stream stays."""
        self.abandon()

    def abandon(self) -> None:
        """The run failed: no stream stays either."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def restart(self) -> None:
        """The run begins again from its first packet. No stage may be at work. OutputError."""
        try:
            _unlink(self._targets)
            _empty(self.scratch)
            self.path.mkdir(mode=0o700)
        except OSError as error:
            raise output_error("clear", self.scratch, error) from error

    def withdraw(self) -> None:
        """Nothing came of the run."""
        self.abandon()


Output: TypeAlias = "OutputFolder | ConsoleOutput | PartedOutput"


def trace_of(config: Config, kept: tuple[str, ...] = ()) -> Trace:
    """What the names of a run's files are made of."""
    from pipeline.traces import Trace

    return Trace(
        config.name_format, config.name_timestamp, config.packet_map, config.analyze, bool(config.extract), kept,
        config.manifest,
    )  # fmt: skip


def check_names(config: Config, wanted: list[Target], own: Sequence[str]) -> None:
    """No stream may get a name that the run needs for a file of its own, and no such file that of an object.

    ``own``: names in the output folder besides those of ``wanted``. UsageError.
    """
    shapes = _shapes(trace_of(config))
    if config.extract:
        from pipeline.writer.names import OBJECTS

        own = [*own, OBJECTS]
    for option, path in [*wanted, *(Target("-F", config.output / name) for name in own)]:
        name = inside(config.output, path)
        if name is None:
            continue
        if (config.name_format is not None or name not in _NEVER_A_STREAM) and fits(shapes[0], name):
            raise UsageError(
                f"{option}: {path} is a name that a stream's file, or a folder for it, could get",
                "choose another name, or another format with -F",
            )
        if config.extract and option != "-F" and fits(shapes[1], name):
            raise UsageError(f"{option}: {path} is where objects go", "choose another name")


def make_folder(path: Path) -> list[Path]:
    """Make the folder and those above; return the ones that were not there, the lowest first."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    try:
        for folder in (*reversed(missing), path):  # not parents=True, which leaves those to the umask
            folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"{path} is a file", "choose a folder with -o") from None
    except OSError as error:
        raise output_error("create", path, error) from error
    return missing


def _check_targets(config: Config, wanted: list[Target]) -> None:
    """Every single file of the run can be made, and replaces nothing that may not be replaced."""
    check_apart(config, wanted)
    for option, path in wanted:
        if os.path.lexists(path) and not config.overwrite:
            other = "folder with -o" if option in FIXED else "name"
            raise UsageError(f"{option}: {path} exists", f"choose another {other}, or replace it with --overwrite")
        try:
            check_target(path)
        except OutputError as error:
            advice = "choose another folder with -o" if option in FIXED else f"give {option} the name of a plain file"
            raise OutputError(f"{option}: {error.message}", advice) from None
        if not path.parent.is_dir():
            raise OutputError(f"cannot create {path}: no such folder", f"{option} names a file in a folder that exists")


def _unlink(wanted: list[Target]) -> None:
    """Remove files that the run makes anew: check_target found them plain, or not there. OSError."""
    for _, path in wanted:
        path.unlink(missing_ok=True)


def _empty(folder: Path) -> None:
    """Remove what is in a folder of ours. OSError."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def inside(folder: Path, path: Path) -> str | None:
    """The path relative to the folder; None when it lies elsewhere."""
    real = os.path.join(os.path.realpath(path.parent), path.name)
    name = os.path.relpath(real, os.path.realpath(folder))
    return None if name.split("/")[0] in {"..", "."} else name


def _lists(told: Trace | ReportedFiles) -> list[str]:
    """Files of a fixed name that an earlier run made in its folder."""
    made = (told.packet_map, told.extracted, told.manifest)
    return [name for name, there in zip(LISTS, made, strict=True) if there]


def _shapes(told: Trace) -> list[Shape]:
    """The names that a run gives: to what comes of its streams, and with ``-e`` to objects."""
    from pipeline.writer.names import ObjectNames, Pattern  # which a run in processes has no need of before

    streams = Pattern(told.name_format, timestamp=told.timestamp, derived=told.analyzed)
    return [streams, ObjectNames()] if told.extracted else [streams]


def _found(tree: Tree, shapes: list[Shape]) -> Iterator[str]:
    return chain.from_iterable(map(tree.found, shapes))
