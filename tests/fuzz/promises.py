"""One run of one capture, and what must hold of it whatever the capture is.

Knows: how to run flowshard in this process, what is promised of every run (``broken_promise``).
Does not know: what the capture holds, what a run should find.
Invariant: a run that does not end is ended; what it wrote is left to the caller's folder.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import ITIMER_PROF
from types import FrameType
from typing import Final

from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import made, packed, shared
from tests.report.reader import read
from tests.runs import run_here

HOLES: Final = 16 << 20
"""Bytes of holes that a file may lay out (workers.limits.Limits.hole_bytes)."""

SECONDS: Final = 20
"""A run that takes longer hangs."""

OPTIONS: Final = (
    ("-md5",),
    ("-md5", "--overlap", "last", "--flows", "{out}/flows.jsonl"),
    ("-C", "100"),
    ("--overlap", "linux", "-md5"),
    ("--overlap", "bsd", "--batch-packets", "7"),
    ("--overlap", "solaris", "--verify-checksums"),
    ("-R", "-md5"),
    ("-R", "-C", "1000", "--overlap", "last"),
    ("-c",),
    ("-c", "-X", "{out}/report.xml", "--ignore-vlan"),
    ("--flows", "{out}/flows.jsonl", "-w", "{out}/rest.pcapng"),
    ("--packet-map", "--ignore-vlan"),
    ("-w", "{out}/rest.pcapng", "--batch-packets", "50", "--verify-checksums"),
    ("--strict", "-T"),
    ("-F", "%A/%b-%V", "-md5"),
    ("-md5", "--end", "2021-05-03T00:00:10", "tcp or ip6"),
    ("-a", "-e", "http", "-e", "smtp", "-md5"),
    ("-a", "--overlap", "linux", "--batch-packets", "7"),
    ("-e", "http", "-R", "-C", "3000", "--overlap", "last"),
    ("-c", "-a"),
)
"""Words of a run. What is written besides the streams goes into the output folder."""


@dataclass(frozen=True, slots=True)
class Case:
    """A capture, how its name ends, and the options it is run with."""

    data: bytes
    suffix: str
    options: tuple[str, ...]


class Hang(BaseException):
    """The run took too long. No Exception, so that the run does not take it for an error of its own."""


def case(seed: int, number: int, *, real: bool = True) -> Case:
    """Case ``number`` of a seed. ``real``: of the shared captures too, where there are any."""
    rng = random.Random(f"{seed}:{number}")
    seeds = list(made().values())
    if real and shared() and rng.random() < 0.6:
        seeds = list(shared().values())
    data = mutated(rng.choice(seeds), rng)
    suffix, data = packed(data, rng)
    return Case(data, suffix, rng.choice(OPTIONS))


def broken_promise(case: Case, folder: Path, *, timer: int = ITIMER_PROF) -> str | None:
    """Runs the case inside ``folder``, which is empty; what does not hold, in a line or more, or None.

    ``timer``: whether processor time counts (the default; pytest has the other one) or time (ITIMER_REAL).
    """
    source = folder / f"in.pcap{case.suffix}"
    source.write_bytes(case.data)
    out, here = folder / "a" / "b" / "out", folder / "here"
    here.mkdir()
    words = [word.replace("{out}", str(out)) for word in case.options]
    if any("{out}" in word for word in case.options):
        out.mkdir(parents=True)
    try:
        with _unheard(), _at_most(SECONDS, timer):
            done = run_here("-r", source, "-o", out, "--workers", 0, "--quiet", "-v", *words, folder=here)
    except Hang:
        return f"did not end within {SECONDS} s"
    if done.status == 2 and "filter expression" in done.err and not out.exists():
        return (
            None  # what the first packet is on is nothing that libpcap can filter: refused before anything is written
        )
    if done.status not in (0, 3):
        return f"status {done.status}\n{done.err}"
    if source.read_bytes() != case.data:
        return "the capture was changed"
    strangers = [path for path in folder.rglob("*") if path not in (source, here) and not path.is_relative_to(out)]
    if any(path not in (out.parent, out.parent.parent) for path in strangers):
        return f"outside of the output folder: {strangers}"
    return _wrong_output(case, out, done.status)


def _wrong_output(case: Case, out: Path, status: int) -> str | None:
    """What is wrong with the files."""
    most = HOLES + _size(case)
    for path in out.rglob("*"):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            return f"{path.name} is no file"
        if path.is_file() and path.suffix not in (".xml", ".tsv", ".jsonl", ".pcapng") and path.stat().st_size > most:
            return f"{path.name} has {path.stat().st_size} bytes, more than {most}"
    report = out / "report.xml"
    if report.exists():
        try:
            read(report.read_bytes())
        except (ValueError, KeyError, ArithmeticError, LookupError, SyntaxError) as error:
            return f"the report cannot be read: {error!r}"
        except Exception as error:  # noqa: BLE001 - expat's own
            return f"the report is no XML: {error!r}"
    elif status == 0 and "-c" not in case.options:
        return "no report"
    return None


def _size(case: Case) -> int:
    """Bytes that the capture can hold; a compressed one of ours is no larger than the largest seed can become."""
    return len(case.data) if not case.suffix else max(map(len, (*made().values(), *shared().values()))) * 8


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """What is printed (``-c`` writes to the descriptor) goes nowhere."""
    before, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(nowhere)


@contextlib.contextmanager
def _at_most(seconds: int, timer: int) -> Iterator[None]:
    """Raises Hang inside when the time is over."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    number = signal.SIGPROF if timer == ITIMER_PROF else signal.SIGALRM
    before = signal.signal(number, ring)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)
