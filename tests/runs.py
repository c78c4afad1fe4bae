"""Whole runs of flowshard, as a user starts them, and what they leave behind.

Knows: how to start it in this process or as one of its own, what of a report describes the run itself.
Does not know: what a run should have found.
Invariant: nothing started here outlives its time limit.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli import main
from tests.report.reader import FileObject, Report, read

ROOT = Path(__file__).resolve().parent.parent
REPORT = "report.xml"
MARKER = "flowshard.incomplete"
COMMAND = [sys.executable, "-m", "pipeline"]

_THE_RUN_ITSELF = (
    rb"<execution_environment>.*?</execution_environment>\n?",
    rb"<rusage>.*?</rusage>\n?",
    rb"<tcpflow:processes [^>]*/>\n?",
)
_THE_INSTALLATION = (
    rb"<build_environment>.*?</build_environment>\n?",
    rb"(?<=</program>)<version>[^<]*</version>",
    rb"<library [^>]*/>\n?",
)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended and what it said."""

    status: int
    out: str
    err: str


def run_here(*argv: object, folder: Path | None = None) -> Finished:
    """A run in this process: no processes are made with ``--workers 0``. ``folder``: the current folder."""
    out, err = io.StringIO(), io.StringIO()
    collecting = gc.isenabled()
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            if folder is not None:
                stack.enter_context(contextlib.chdir(folder))
            status = main([str(word) for word in argv])
    finally:
        if collecting:
            gc.enable()  # a run switches it off for good
    return Finished(status, out.getvalue(), err.getvalue())


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that runs this tree, from whatever folder."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


def run_apart(
    *argv: object,
    folder: Path | None = None,
    timeout: float = 30,
    code: str | None = None,
    preexec: Callable[[], None] | None = None,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """A run as a process of its own. ``code`` replaces ``python -m pipeline``; it gets the same words."""
    start = COMMAND if code is None else [sys.executable, "-c", code]
    with subprocess.Popen(
        [*start, *(str(word) for word in argv)], cwd=folder, env=environment(**(env or {})),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=preexec, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return Finished(process.returncode, out, err)


def normalised(report: bytes, *, installation: bool = False) -> bytes:
    """A report without what describes the run itself and, if asked, without what was installed."""
    for pattern in (*_THE_RUN_ITSELF, *(_THE_INSTALLATION if installation else ())):
        report = re.sub(pattern, b"", report, flags=re.DOTALL)
    return report


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a folder: names and bytes; a link is what it points to, a folder has a slash."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            found[path.name] = b"-> " + os.fsencode(path.readlink())
        elif path.is_dir():
            found[path.name + "/"] = b""
        else:
            found[path.name] = path.read_bytes()
    return found


def output(folder: Path, *, installation: bool = False) -> dict[str, bytes]:
    """A finished run's folder: names and bytes, times as ``NAME mtime``, the report normalised."""
    found = files(folder)
    if REPORT in found:
        found[REPORT] = normalised(found[REPORT], installation=installation)
    times = {f"{name} mtime": b"%d" % (folder / name).stat().st_mtime_ns for name in found if name != REPORT}
    return found | times


def differences(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """What two outputs differ in, in few words; a difference of megabytes is no message."""
    found = [f"only in the first: {name}" for name in sorted(one.keys() - other.keys())]
    found += [f"only in the second: {name}" for name in sorted(other.keys() - one.keys())]
    for name in sorted(one.keys() & other.keys()):
        if one[name] != other[name]:
            pairs = enumerate(zip(one[name], other[name], strict=False))
            shorter = min(len(one[name]), len(other[name]))
            at = next((place for place, (a, b) in pairs if a != b), shorter)
            before, here = (text[max(0, at - 60) : at + 60] for text in (one[name], other[name]))
            found.append(f"{name} differs at {at}: {before!r} is not {here!r}")
    return found


def report_of(folder: Path, name: str = REPORT) -> Report:
    """The report in a folder, read in the manner of the reference library."""
    return read((folder / name).read_bytes())


def counters(report: Report) -> dict[str, int]:
    """The counters of a report's summary."""
    return {attributes["name"]: int(attributes["value"]) for tag, attributes in report.foreign if tag == "counter"}


def flows(report: Report) -> Iterator[tuple[FileObject, dict[str, str]]]:
    """Each stream's first file, and the attributes of its flow."""
    for file in report.files:
        for tag, attributes in file.foreign:
            if tag == "tcpflow":
                yield file, attributes


def reads(captures: Sequence[Path]) -> list[object]:
    """The words that name the inputs."""
    return [word for path in captures for word in ("-r", path)]
