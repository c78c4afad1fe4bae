"""The command line: argv to Config, then one call, then an exit status. No work is done here.

Knows: which options go together, what their values may be, how a run's outcome is told.
Does not know: how options are spelled (options.py), captures, streams, reports. It looks at the disk only to
see that the inputs are there, how large they are, and that what is written does not go over them.
Invariant: what is not understood is refused (exit status 2) before anything is written, and in one line.

It starts fast: numpy and all that needs it are imported only once there is something to run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from pipeline import console, remarks
from pipeline.config import (
    DEFAULT_BATCH_PACKETS,
    DEFAULT_HASH_KEY,
    DEFAULT_SPOOL_BYTES,
    LEAST_MEMORY,
    LEAST_SPOOL_BYTES,
    MOST_MEMORY,
    MOST_PROCESSES,
    MOST_SPOOL_BYTES,
    Config,
    OverlapPolicy,
    byte_size,
    check_protocols,
    choose_processes,
    point_in_time,
    whole_number,
)
from pipeline.destinations import with_output
from pipeline.errors import FlowshardError, PipeClosed, UsageError
from pipeline.inputs import Found, find_inputs
from pipeline.live.asked import is_live, listing, with_live
from pipeline.options import HelpAsked, read_options
from pipeline.parts.asked import with_parts
from workers.limits import Limits
from workers.overlap import POLICIES

if TYPE_CHECKING:
    from pipeline.source.records import Fault

CAPTURE_NAME: Final = r".*\.(pcap|pcapng|cap|dmp|snoop)[0-9]*(\.(gz|bz2|xz|zst|lz4))?"

PACKED_GROWS: Final = 3
"""A compressed capture counts as so many times its size: what compression usually saves of one."""

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
INTERNAL: Final = 70


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


def command() -> NoReturn:
    """The command: ``main``, and out at once. Taking the interpreter apart would cost every run 20 ms."""
    signal.signal(signal.SIGTERM, _end)
    console.hold_descriptors()
    status = main()
    if sys.stdout is not None:
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
        if words[:1] == ["explain"]:
            from pipeline.explain import explain

            return explain(words[1:])
        if words[:1] == ["verify"]:
            from pipeline.manifest.command import verify

            return verify(words[1:])
        wanted, found = _understood(words)
        return _answer(wanted) if isinstance(wanted, Answer) else _run(wanted, found)
    except PipeClosed as error:
        return error.status
    except FlowshardError as error:
        console.error(error.message, error.hint)
        return error.status
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - whatever else comes is a defect, told in one line
        if KeyboardInterrupt in {type(error), type(error.__cause__)}:  # Python 3.11 wraps it while a class is made
            console.error("interrupted", "what was written so far is not complete")
            return INTERRUPTED
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


def _run(config: Config, found: Found) -> int:
    for message, hint in remarks.of_inputs(found) + remarks.before(config, found.size, found.packed):
        console.warning(message, hint)
    from pipeline.run import run

    outcome: Outcome = run(config)
    for what, advice in remarks.of_faults(config, outcome.faults):
        console.warning(what, advice)
    if config.verbose:
        console.details(outcome.inputs, outcome.counters)
    if not config.quiet and (config.verbose or not config.console):  # a pager need not show what -c did not print
        console.summary(outcome.counters, outcome.seconds)
    return outcome.status


def parse(argv: Sequence[str]) -> Config | Answer:
    """What ``argv`` (without the program's name) asks for. Raises UsageError."""
    return _understood(argv)[0]


_NOTHING: Final = Found((), 0, 0, (), ())


def _understood(argv: Sequence[str]) -> tuple[Config | Answer, Found]:
    """What is asked for, and how its inputs were found."""
    try:
        options, words = read_options(argv)
    except HelpAsked as asked:
        return Answer(asked.text if asked.wanted == "help" else _version()), _NOTHING
    if options.list_interfaces:
        return Answer(listing()), _NOTHING
    found = _NOTHING._replace(size=None) if is_live(options) else find_inputs(options.read)
    _check_words(words)
    config = with_live(options, _config(options, found, " ".join(words), shlex.join(["flowshard", *argv])))
    return with_parts(options, config), found


def _config(options: argparse.Namespace, found: Found, expression: str, command_line: str) -> Config:
    start, end = _range(options)
    config = Config(
        inputs=found.paths,
        console=options.console,
        analyze=options.analyze,
        extract=check_protocols(options.extract),
        append=options.append,
        expression=expression,
        start_ns=start,
        end_ns=end,
        ignore_vlan=options.ignore_vlan,
        follow=options.follow,
        strict=options.strict,
        name_timestamp=options.timestamp,
        md5=options.md5,
        verify_checksums=options.verify_checksums,
        overwrite=options.overwrite,
        verbose=options.verbose,
        quiet=options.quiet,
        limits=_limits(options),
        command_line=command_line,
    )
    return _with_resources(options, found, with_output(options, config))


def _limits(options: argparse.Namespace) -> Limits:
    defaults = Limits()
    decoded, ratio = options.max_decoded, _number(options, "max_ratio", 1, 1 << 40)
    if not options.analyze and not options.extract:
        for option, value in (("--max-decoded", decoded), ("--max-ratio", ratio)):
            if value is not None:
                raise UsageError(
                    f"{option}: nothing is decoded without -a or -e", f"add one of them, or leave {option} away"
                )
    limits = replace(
        defaults,
        stream_bytes=_number(options, "max_bytes", 0, 1 << 62, "-C"),
        overlap=_overlap(options.overlap),
        decoded_bytes=defaults.decoded_bytes if decoded is None else byte_size("--max-decoded", decoded, 1, 1 << 40),
        decoded_ratio=defaults.decoded_ratio if ratio is None else ratio,
    )
    if options.memory is None:
        return limits
    from workers.budget import within

    memory = byte_size("--memory", options.memory, LEAST_MEMORY, MOST_MEMORY)
    return within(limits, memory, analyzed=options.analyze or bool(options.extract))


def _with_resources(options: argparse.Namespace, found: Found, config: Config) -> Config:
    """Processes, and room for what is on its way."""
    if options.save_crash is not None and options.workers == "0":
        raise UsageError("--save-crash and --workers 0 exclude one another", "in one process nobody is left to save it")
    workers, writers = choose_processes(
        None
        if found.size is None or options.save_crash is not None
        else found.size + (PACKED_GROWS - 1) * found.packed,
        _cores(),
        _number(options, "workers", 0, MOST_PROCESSES),
        _number(options, "writers", 1, MOST_PROCESSES),
    )
    hash_key = _number(options, "hash_key", 0, (1 << 64) - 1)
    batch_packets = _number(options, "batch_packets", 1, 1 << 20)
    return replace(
        config,
        workers=workers,
        writers=writers,
        hash_key=DEFAULT_HASH_KEY if hash_key is None else hash_key,
        batch_packets=DEFAULT_BATCH_PACKETS if batch_packets is None else batch_packets,
        save_crash=_crash_folder(options.save_crash),
        spool_folder=_spool_folder(options.spool_dir),
        spool_bytes=_spool_bytes(options.spool_size),
    )


def _number(options: argparse.Namespace, name: str, least: int, most: int, shown: str | None = None) -> int | None:
    text: str | None = getattr(options, name)
    return None if text is None else whole_number(shown or "--" + name.replace("_", "-"), text, least, most)


def _range(options: argparse.Namespace) -> tuple[int | None, int | None]:
    start = None if options.start is None else point_in_time("--start", options.start)
    end = None if options.end is None else point_in_time("--end", options.end)
    if start is not None and end is not None and end <= start:
        raise UsageError(
            f"--end {options.end} is not behind --start {options.start}",
            "--end is the first moment that is left out; times without a zone are UTC",
        )
    return start, end


def _spool_folder(text: str | None) -> Path | None:
    if text is None:
        return None
    hint = "give --spool-dir a folder that exists and that you may write to"
    if not os.path.isdir(text):
        raise UsageError(f"--spool-dir: '{text}' is not a folder", hint)
    if not os.access(text, os.W_OK | os.X_OK):
        raise UsageError(f"--spool-dir: {text} may not be written", hint)
    return Path(text)


def _crash_folder(text: str | None) -> Path | None:
    """It is made when it is needed; what it lies in must be there."""
    if text is None:
        return None
    if not text or (os.path.lexists(text) and not os.path.isdir(text)) or not Path(text).absolute().parent.is_dir():
        raise UsageError(f"--save-crash: '{text}' is not a folder", "give --save-crash a folder; it is made if missing")
    return Path(text).absolute()


def _spool_bytes(text: str | None) -> int:
    if text is None:
        return DEFAULT_SPOOL_BYTES
    return byte_size("--spool-size", text, LEAST_SPOOL_BYTES, MOST_SPOOL_BYTES)


def _check_words(words: Sequence[str]) -> None:
    """``-r *.pcap`` gives the second file to the expression: say so, rather than "syntax error"."""
    for word in words:
        if re.fullmatch(CAPTURE_NAME, word, re.IGNORECASE) and os.path.isfile(word):
            raise UsageError(
                f"{word}: a capture where a filter expression is expected",
                "give each capture an -r of its own, or -r a folder",
            )


def _overlap(text: str) -> OverlapPolicy:
    for name in POLICIES:
        if text == name:
            return name
    hint = "--overlap takes first (what is there stays), last (the later bytes win), bsd, linux or solaris"
    raise UsageError(f"--overlap: unknown policy '{text}'", hint)


def _cores() -> int:
    """Cores that this process may run on, which a container may have cut."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version() -> str:
    from pipeline.versions import versions

    return "".join(f"{name} {version}\n" for name, version in versions())
