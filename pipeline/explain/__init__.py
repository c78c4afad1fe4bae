"""``flowshard explain OUT STREAM``: what was done with each segment of a stream, and why its file is as it is.

Knows: the words of the command. Does not know: how a stream is made, how a line looks.
Invariant: nothing is written but lines on standard output; the output folder is only read.

    report.py    the rows of the stream in the run's report, and the run's options
    replay.py    the run's captures read again, for the connections of one tuple
    words.py     one packet's fate in words
    missing.py   which bytes a stream lacks, and why
    summary.py   one stream in sentences
    telling.py   the lines, as text or JSON

The judging is that of the run: workers/tracing.py tells what the Reassembler did, packet by packet.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from pipeline import console
from pipeline.errors import CaptureError, OutputError, PipeClosed, UsageError

if TYPE_CHECKING:
    from pipeline.explain.summary import Account

_HINT: Final = "flowshard explain -h shows how"

_CHANGED: Final = "the captures have changed, or another version made the report"
_EVICTED: Final = "the run forgot connections at its limit; what came later went to a new connection there"

_EXAMPLES: Final = """\
by task:
  why is this file short?            flowshard explain out 10.0.0.1.40000-10.0.0.2.80
  both directions of a connection    flowshard explain out 17
  one line of JSON for each packet   flowshard explain out 17 --json
  a run that read a pipe             flowshard explain out 17 --read copy.pcap
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"explain: {message}", _HINT)


def explain(argv: Sequence[str]) -> int:
    """Do what ``argv`` (behind the word ``explain``) says; returns the exit status.

    Raises UsageError for a stream, a report or a capture that there is not, CaptureError when the captures do not
    hold the stream any more, OutputError and PipeClosed for standard output.
    """
    parser = _parser()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal's encoding cannot say
        sys.stdout.reconfigure(errors="backslashreplace")
    if not {"-h", "--help"}.isdisjoint(argv):
        _say(parser.format_help().rstrip("\n"))
        _write(None)
        return 0
    _explain(parser.parse_args(argv))
    _write(None)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="flowshard explain", usage="flowshard explain OUT STREAM [option ...]", epilog=_EXAMPLES,
        description="Read the captures of an earlier run again, and tell what was done with each segment of a stream.",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, add_help=False,
    )  # fmt: skip
    add = parser.add_argument
    add("output", metavar="OUT", help="the output folder of the run")
    add("stream", metavar="STREAM", help="a stream by the name of its file, or a connection by its number")
    add("--report", "-X", metavar="FILE", help="the run's report, if it is not OUT/report.xml")
    add("--read", "-r", metavar="FILE", action="append", default=[],
        help="the run's captures, if they are elsewhere now: one for each, in their order")  # fmt: skip
    add("--json", action="store_true", help="a line of JSON for each segment, gap and stream")
    add("-h", "--help", action="store_true", help="show this")
    return parser


def _explain(options: argparse.Namespace) -> None:
    from pipeline.explain.replay import Replay, config_of, locate
    from pipeline.explain.report import read_report
    from pipeline.explain.telling import Teller, heading

    folder = Path(options.output)
    name = stream_name(folder, options.stream)
    number = int(name) if re.fullmatch(r"[0-9]{1,15}", name, re.ASCII) else None
    found = read_report(Path(options.report) if options.report else folder / "report.xml", name, number)
    if not found.rows:
        raise _unknown(options.stream, number, found.similar)
    paths, warnings = locate(found, folder, options.read)
    for warning in warnings:
        console.warning(warning, "what follows need not be what the run did")
    config = config_of(found, paths)
    teller = Teller(found.rows, config.limits, _say, as_json=options.json, failures=found.failures())
    for line in [] if options.json else heading(found.rows):
        _say(line)
    replay = Replay(config, found.rows[0], teller.hear)
    evicted = found.counters.get("limit.connections", 0) > 0
    replay.run(evicted=evicted)
    teller.conclude()
    if not options.json:
        for line in selection(found.options):
            _say(line)
    _check(teller.accounts.values(), evicted=evicted, lost="lost_with_worker.packets" in found.counters)


def _check(accounts: Iterable[Account], *, evicted: bool, lost: bool) -> None:
    """Say where what was found now is not what the run found. ``lost``: a worker of the run died."""
    for account in accounts:
        name = account.row.filename
        if account.ending is None and lost:
            raise CaptureError(
                f"{name}: this stream is what came of its connection after a worker had died",
                "its packets are told with the stream of that connection that is 'lost'",
            )
        if account.ending is None:
            raise CaptureError(f"{name}: its packets are not in these captures", "--read FILE says where the run's are")
        for line in account.disagreements():
            console.warning(f"{name}: {line}", _EVICTED if evicted else _CHANGED)


def stream_name(folder: Path, stream: str) -> str:
    """The name as the report has it: a path into the folder, as a shell completes it, is shortened."""
    inside = os.path.relpath(os.path.abspath(stream), os.path.abspath(folder))
    return stream if inside.startswith("..") or not os.path.exists(stream) else inside


def selection(options: dict[str, str]) -> list[str]:
    """What the run was told to leave out, and so is not explained."""
    told = []
    if "expression" in options:
        told.append(f"packets that the expression '{console.printable(options['expression'])}' does not match")
    if "start_ns" in options or "end_ns" in options:
        told.append("packets outside of --start and --end")
    return ["", "The run left out, and so does this: " + ", ".join(told) + "."] if told else []


def _unknown(stream: str, number: int | None, similar: Sequence[str]) -> UsageError:
    if number is not None:
        return UsageError(
            f"no stream of a connection {number} in the report",
            "a connection's number is in its row of the report (connection=); one without payload has no stream",
        )
    likely = ", ".join(console.printable(name) for name in similar)
    hint = f"there are {likely}" if likely else "the run found no streams"
    return UsageError(f"{stream}: no such stream in the report", hint)


def _say(line: str) -> None:
    _write(line + "\n")


def _write(text: str | None) -> None:
    """On to standard output; None: all that was said so far must be there."""
    if sys.stdout is None:
        raise OutputError("standard output is closed", "what explain says goes there")
    try:
        if text is None:
            sys.stdout.flush()
        else:
            sys.stdout.write(text)
    except BrokenPipeError:
        # The reader has seen enough. Point stdout elsewhere, or the interpreter complains as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise PipeClosed from None
    except OSError as error:
        raise OutputError(f"standard output: {(error.strerror or 'cannot be written').lower()}") from None
