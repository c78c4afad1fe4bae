"""``flowshard verify DIR``: is all that a run read and wrote as it was?

Knows: the words of the command, its lines and its exit status. Does not know: how anything is compared.
Invariant: nothing is written but a line on standard output for each difference, and a summary on standard error.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from pipeline import console
from pipeline.errors import CaptureError, OutputError, PipeClosed, UsageError
from pipeline.manifest.document import Manifest
from pipeline.manifest.verifying import Difference, differences, read_manifest

_CHANGED: Final = 1
_UNREADABLE: Final = CaptureError.status

_EXAMPLES: Final = """\
by task:
  is everything as it was?                   flowshard verify out
  all parts of a run with --rotate           flowshard verify out/part-*
  the captures are elsewhere now             flowshard verify out --read /evidence/day.pcap
  sign what was made, and check both         gpg --armor --detach-sign out/manifest.json
                                             gpg --verify out/manifest.json.asc && flowshard verify out

A line on standard output for each difference: changed, missing, added; unreadable and unchecked for what could not
be compared. An input that is not there any more is unchecked, and does not change the status.

exit status: 0 all is as it was; 1 something has changed; 2 usage, or no manifest; 3 something could not be read
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"verify: {message}", "flowshard verify -h shows how")


def verify(argv: Sequence[str]) -> int:
    """Do what ``argv`` (behind the word ``verify``) says; returns the exit status.

    Raises UsageError where there is no manifest, CaptureError for one that is damaged, OutputError and PipeClosed for
    standard output.
    """
    parser = _parser()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal's encoding cannot say
        sys.stdout.reconfigure(errors="backslashreplace")
    if not {"-h", "--help"}.isdisjoint(argv):
        _say(parser.format_help().rstrip("\n"))
        return 0
    options = parser.parse_args(argv)
    given = [Path(name) for name in options.read]
    found = {_verify(Path(name), given, quiet=options.quiet) for name in options.output}
    return next((status for status in (_CHANGED, _UNREADABLE) if status in found), 0)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="flowshard verify", usage="flowshard verify DIR [DIR ...] [option ...]", epilog=_EXAMPLES,
        description="Compare what a run with --manifest read and wrote with what is there now.",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, add_help=False,
    )  # fmt: skip
    add = parser.add_argument
    add("output", metavar="DIR", nargs="+", help="an output folder, or a part of one")
    add("--read", "-r", metavar="FILE", action="append", default=[],
        help="the run's inputs, if they are elsewhere now: one for each, in their order")  # fmt: skip
    add("--quiet", action="store_true", help="no summary")
    add("-h", "--help", action="store_true", help="show this")
    return parser


def _verify(folder: Path, given: Sequence[Path], *, quiet: bool) -> int:
    manifest = read_manifest(folder)
    try:
        found = _told(differences(folder, manifest, given, len(os.sched_getaffinity(0))))
    except OSError as error:
        raise CaptureError(f"cannot read {folder}: {error.strerror}", "read access to all of it is needed") from None
    kinds = {kind for kind, *_ in found}
    if not quiet:
        _summarise(folder, manifest, found)
    if kinds & {"changed", "missing", "added"}:
        return _CHANGED
    return _UNREADABLE if "unreadable" in kinds else 0


def _told(found: Iterable[Difference]) -> list[Difference]:
    """Say each, a line for it."""
    told = []
    for each in found:
        why = f" ({each.why})" if each.why else ""
        _say(f"{each.kind} {each.what} {console.printable(each.name)}{console.printable(why)}")
        told.append(each)
    return told


def _summarise(folder: Path, manifest: Manifest, found: Sequence[Difference]) -> None:
    files, inputs = len(manifest.files) + len(manifest.elsewhere) + 1, len(manifest.inputs)
    unchecked = sum(each.kind == "unchecked" for each in found)
    rest = len(found) - unchecked
    outcome = "all as they were" if not rest else f"{rest:,} differ or cannot be read"
    if unchecked:
        outcome += f"; {unchecked:,} of the inputs could not be checked"
    if sys.stderr is not None:
        what = f"{_counted(files, 'file')}, {_counted(inputs, 'input')}"
        sys.stderr.write(f"{console.printable(str(folder))}: {what}: {outcome}\n")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _say(line: str) -> None:
    if sys.stdout is None:
        raise OutputError("standard output is closed", "what has changed is said there")
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains as it ends
        raise PipeClosed from None
    except OSError as error:
        raise OutputError(f"standard output: {(error.strerror or 'cannot be written').lower()}") from None
