"""The command line: argv to Config, then one call, then an exit status. No work is done here.

Knows: how options are spelled, which ones later versions bring, how a run's outcome is told.
Does not know: captures, streams, reports. It looks at the disk only to see that the inputs are there,
how large they are, and that the output is not a file.
Invariant: what is not understood is refused (exit status 2) before anything is written, and in one line.

It starts fast: numpy and all that needs it are imported only once there is something to run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import stat
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from pipeline import console
from pipeline.config import (
    DEFAULT_BATCH_PACKETS,
    DEFAULT_HASH_KEY,
    MOST_PROCESSES,
    Config,
    OverlapPolicy,
    check_name_format,
    choose_processes,
    whole_number,
)
from pipeline.errors import FlowshardError, UsageError
from workers.limits import Limits

if TYPE_CHECKING:
    from pipeline.source.records import Fault

LATER: Final = (
    (("-i", "--interface"), "live capture"),
    (("-a", "--analyze"), "protocol analysis"),
    (("-e", "--extract"), "extracting objects"),
    (("-c", "--console"), "printing streams on the console"),
    (("-R", "--no-duplicate-check"), "appending later connections to the same file"),
    (("-w", "--write-unprocessed"), "writing packets not processed"),
    (("-s", "--snap-length"), "live capture and its snap length"),
)
"""Options of later versions: refused in every spelling, never silently accepted."""

LATER_POLICIES: Final = ("bsd", "linux", "solaris")

CAPTURE_ENDINGS: Final = (".pcap", ".pcapng", ".cap", ".dmp")

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
INTERNAL: Final = 70

EXAMPLES: Final = """\
by task:
  rebuild all streams, with their MD5s     flowshard -r day.pcap -o out -md5
  several captures, one after the other    flowshard -r a.pcap -r b.pcapng -o out
  only some of the traffic                 flowshard -r day.pcap -o out host 10.0.0.1 and port 80
  the first 4 kB of each stream            flowshard -r day.pcap -o out -C 4096
  names of your own                        flowshard -r day.pcap -o out -F %T-%A.%a-%B.%b
  streams only, no report                  flowshard -r day.pcap -o out --no-report

exit status: 0 done; 2 usage; 3 an input is damaged (the rest of it was processed); 4 output failed;
70 a defect of flowshard; 130 interrupted

not in this version yet: """ + " ".join(names[0] for names, _ in LATER)


class Outcome(Protocol):
    """What the command line needs to know of a finished run (pipeline.stats has it)."""

    @property
    def status(self) -> int: ...
    @property
    def faults(self) -> Sequence[Fault]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def counters(self) -> Mapping[str, int]: ...
    @property
    def inputs(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """The command line asked for words on standard output, not for a run."""

    text: str


class _AnswerAsked(Exception):
    """Leaves argparse at once, so that -h and -V need nothing else on the line to be right."""


class _Parser(argparse.ArgumentParser):
    """argparse, with errors as values of ours instead of usage text and an exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "), "flowshard -h lists the options")


class _Later(argparse.Action):
    def __call__(self, *_: object, **__: object) -> None:
        raise UsageError(f"{self.option_strings[0]}: {self.const} is not in this version yet")


class _Ask(argparse.Action):
    def __call__(self, *_: object, **__: object) -> None:
        raise _AnswerAsked(self.dest)


def command() -> NoReturn:
    """The command: ``main``, and out at once. Taking the interpreter apart would cost every run 20 ms."""
    signal.signal(signal.SIGTERM, _end)
    status = main()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)


def _end(*_: object) -> NoReturn:
    """SIGTERM ends a run as an interrupt does: no process and no scratch folder stays."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Do what ``argv`` (default: the process's own) says; returns the exit status and raises nothing."""
    # OpenBLAS would start a thread a core when numpy is imported. We use none of it: the threads cost
    # start-up time and memory in every process, and a process is forked with as few of them as can be.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        wanted = parse(words)
        return _answer(wanted) if isinstance(wanted, Answer) else _run(wanted)
    except FlowshardError as error:
        console.error(error.message, error.hint)
        return error.status
    except KeyboardInterrupt:
        console.error("interrupted", "what was written so far is not complete")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever else comes is a defect of ours, told in one line
        if not {"-v", "--verbose"}.isdisjoint(words):
            traceback.print_exc()
        console.error(
            f"internal error: {type(error).__name__}: {error}",
            "this is a defect of flowshard; -v shows where it happened",
        )
        return INTERNAL


def _answer(answer: Answer) -> int:
    try:
        sys.stdout.write(answer.text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough. Point stdout elsewhere, or the interpreter complains as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return 0


def _run(config: Config) -> int:
    from pipeline.run import run

    outcome: Outcome = run(config)
    for fault in outcome.faults:
        if fault.offset:
            where, hint = f" (at byte {fault.offset:,})", "everything before it was processed"
        else:
            where, hint = "", "the other inputs were processed"
        console.warning(f"{fault.path}: {fault.problem}{where}", hint)
    if config.verbose:
        console.details(outcome.inputs, outcome.counters)
    if not config.quiet:
        console.summary(outcome.counters, outcome.seconds)
    return outcome.status


def parse(argv: Sequence[str]) -> Config | Answer:
    """What ``argv`` (without the program's name) asks for. Raises UsageError."""
    end = argv.index("--") if "--" in argv else len(argv)
    parser = _parser()
    try:
        # Two of argparse's habits are kept out: "-md5" as an option of its own would make "-m" and "-md"
        # mean it too, and words that are left over include options it does not know.
        options, rest = parser.parse_known_args(["--md5" if word == "-md5" else word for word in argv[:end]])
    except _AnswerAsked as asked:
        return Answer(parser.format_help() if str(asked) == "help" else _version())
    for word in rest:
        if word.startswith("-") and word != "-":
            raise UsageError(
                f"unknown option {word}", "flowshard -h lists the options; a filter expression may follow --"
            )
    words = [*rest, *argv[end + 1 :]]
    return _config(options, words, shlex.join(["flowshard", *argv]))


def _config(options: argparse.Namespace, words: Sequence[str], command_line: str) -> Config:
    """The checks that need more than one option, or the disk."""
    if not options.read:
        raise UsageError("nothing to read", "give a capture with -r FILE")
    inputs = [_input(name) for name in options.read]
    _check_words(words)
    if options.format is not None:
        check_name_format(options.format)
    output = Path(options.output)
    if os.path.exists(output) and not output.is_dir():
        raise UsageError(f"{output}: not a folder", "give -o a folder; it is made if missing")
    workers, writers = choose_processes(
        sum(size for _, size in inputs),
        _cores(),
        _number(options, "workers", 0, MOST_PROCESSES),
        _number(options, "writers", 1, MOST_PROCESSES),
    )
    hash_key = _number(options, "hash_key", 0, (1 << 64) - 1)
    batch_packets = _number(options, "batch_packets", 1, 1 << 20)
    return Config(
        inputs=tuple(path for path, _ in inputs),
        output=output,
        report=_report(options, output),
        expression=" ".join(words),
        name_format=options.format,
        name_timestamp=options.timestamp,
        md5=options.md5,
        overlap=_overlap(options.overlap),
        workers=workers,
        writers=writers,
        overwrite=options.overwrite,
        verbose=options.verbose,
        quiet=options.quiet,
        hash_key=DEFAULT_HASH_KEY if hash_key is None else hash_key,
        batch_packets=DEFAULT_BATCH_PACKETS if batch_packets is None else batch_packets,
        limits=Limits(stream_bytes=_number(options, "max_bytes", 0, (1 << 62), "-C")),
        command_line=command_line,
    )


def _number(options: argparse.Namespace, name: str, least: int, most: int, shown: str | None = None) -> int | None:
    text: str | None = getattr(options, name)
    return None if text is None else whole_number(shown or "--" + name.replace("_", "-"), text, least, most)


def _input(name: str) -> tuple[Path, int]:
    """A capture's path and its size. Only regular files: their bytes are mapped, not copied."""
    later = "piped and compressed input is not in this version yet: write it to a file first"
    if name == "-":
        raise UsageError("-r -: cannot read standard input", later)
    try:
        found = os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{name}: no such file", "-r takes the path of a capture file") from None
    except OSError as error:
        problem = (error.strerror or "unreadable").lower()
        raise UsageError(f"{name}: {problem}", "-r takes the path of a capture file") from None
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{name}: a folder, not a capture", "give each capture in it with an -r of its own")
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{name}: not a regular file", later)
    if not os.access(name, os.R_OK):
        raise UsageError(f"{name}: permission denied", "make it readable, or run as its owner")
    return Path(name), found.st_size


def _check_words(words: Sequence[str]) -> None:
    """``-r *.pcap`` gives the second file to the expression: say so, rather than "syntax error"."""
    for word in words:
        if word.lower().endswith(CAPTURE_ENDINGS) and os.path.isfile(word):
            raise UsageError(
                f"{word}: a capture where a filter expression is expected",
                "give each capture an -r of its own",
            )


def _report(options: argparse.Namespace, output: Path) -> Path | None:
    if options.report is None:
        return None if options.no_report else output / "report.xml"
    if options.no_report:
        raise UsageError("-X and --no-report exclude one another", "give one of them")
    report = Path(options.report)
    if not options.report or os.path.isdir(report):
        raise UsageError(f"-X: '{options.report}' is not the name of a file", "give -X FILE")
    if any(os.path.realpath(name) == os.path.realpath(report) for name in options.read):
        raise UsageError(f"-X: {report} is an input of this run", "give the report a name of its own")
    return report


def _overlap(text: str) -> OverlapPolicy:
    hint = "--overlap takes first (what is there stays) or last (the later bytes win)"
    if text == "first":
        return "first"
    if text == "last":
        return "last"
    if text in LATER_POLICIES:
        raise UsageError(f"--overlap {text}: not in this version yet", hint)
    raise UsageError(f"--overlap: unknown policy '{text}'", hint)


def _cores() -> int:
    """Cores that this process may run on, which a container may have cut."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version() -> str:
    from pipeline.versions import versions

    return "".join(f"{name} {version}\n" for name, version in versions())


def _parser() -> _Parser:
    parser = _Parser(
        prog="flowshard",
        usage="flowshard -r FILE [-r FILE ...] [-o DIR] [option ...] [filter expression]",
        description="Rebuild the TCP streams of captures into files, with a DFXML report.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add_input(parser)
    _add_output(parser)
    _add_running(parser)
    for names, what in LATER:
        parser.add_argument(*names, nargs="?", action=_Later, const=what, help=argparse.SUPPRESS)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to read").add_argument
    add("-r", "--read", metavar="FILE", action="append", help="read a capture: pcap or pcapng; repeatable")
    add(
        "--overlap",
        metavar="POLICY",
        default="first",
        help="which bytes win where segments overlap: first (default) or last",
    )
    parser.add_argument_group(
        "filter expression",
        "The words that are left select packets, in the language of pcap-filter(7);\n"
        "give them last, and behind -- when one starts with a dash.",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to write").add_argument
    add(
        "-o",
        "--output",
        metavar="DIR",
        default=".",
        help="folder for all output, made if missing (default: this one)",
    )
    add("-C", "--max-bytes", metavar="N", help="keep only the first N bytes of each stream")
    add(
        "-F",
        "--format",
        metavar="FORMAT",
        help="names of files: %%A %%a source address and port, %%B %%b destination, %%T time, %%V VLAN, %%%%",
    )
    add("-T", "--timestamp", action="store_true", help="put the connection's first time into the name")
    add("--md5", action="store_true", help="MD5 of each stream; -md5 will do as well")
    add("-X", "--report", metavar="FILE", help="where the DFXML report goes (default: DIR/report.xml)")
    add("--no-report", action="store_true", help="write no report")
    add("--overwrite", action="store_true", help="replace the output of an earlier run")


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how to run").add_argument
    add(
        "--workers",
        metavar="N",
        help="processes that reassemble, and as many that write; 0: all in one (default: by cores and size)",
    )
    add("--writers", metavar="M", help="processes that write and hash")
    add(
        "--batch-packets",
        metavar="N",
        help=f"packets that travel together (default: {DEFAULT_BATCH_PACKETS})",
    )
    add("--hash-key", metavar="KEY", help="number that keys the spread of connections over processes")
    add("--quiet", action="store_true", help="no progress bar, no summary")
    add(
        "-v", "--verbose", action="store_true", help="say what was read and show every counter; where a defect happened"
    )
    add("-V", "--version", nargs=0, action=_Ask, help="show the versions of flowshard and its libraries")
    add("-h", "--help", nargs=0, action=_Ask, help="show this")
