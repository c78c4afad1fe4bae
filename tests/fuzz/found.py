"""What was found: cases that broke a promise, made small, kept as files, replayed with the suite.

Knows: how a case lies in regressions/captures: the capture, and beside it ``NAME.options``, its words in one line.
Does not know: how cases are made. Invariant: what is written is read back as it was.
"""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.fuzz.mutate import taken_apart
from tests.fuzz.promises import Case, broken_promise

REGRESSIONS: Final = Path(__file__).resolve().parent / "regressions"
CAPTURES: Final = REGRESSIONS / "captures"

MOST_TRIES: Final = 80


def keep(case: Case, name: str, folder: Path = CAPTURES) -> Path:
    """Writes the case; returns the capture's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.pcap{case.suffix}"
    path.write_bytes(case.data)
    (folder / f"{name}.options").write_text(shlex.join(case.options) + "\n")
    return path


def kept(folder: Path = CAPTURES) -> dict[str, Case]:
    """All cases of a folder by name."""
    found = {}
    for options in sorted(folder.glob("*.options")):
        [path] = folder.glob(f"{options.stem}.pcap*")
        suffix = path.name.removeprefix(f"{options.stem}.pcap")
        found[options.stem] = Case(path.read_bytes(), suffix, tuple(shlex.split(options.read_text())))
    return found


def outcome(case: Case, *, timer: int) -> str | None:
    """``broken_promise`` in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return broken_promise(case, Path(folder), timer=timer)


def reduced(case: Case, problem: str, *, timer: int) -> Case:
    """The case with fewer records that ends with the same last words but one (the error); at most MOST_TRIES runs."""
    if case.suffix:
        return case
    tries, step = 0, max(1, len(taken_apart(case.data).records) // 2)
    while step and tries < MOST_TRIES:
        at = 0
        while at < len((capture := taken_apart(case.data)).records) and tries < MOST_TRIES:
            records = capture.records[:at] + capture.records[at + step :]
            smaller = replace(case, data=capture._replace(records=records).joined())
            tries += 1
            if _same(outcome(smaller, timer=timer), problem):
                case = smaller
            else:
                at += step
        step //= 2
    return case


def _same(one: str | None, other: str) -> bool:
    """Whether two problems are one: by the first line, and the error where there is one."""

    def essence(problem: str) -> list[str]:
        return [line for line in problem.splitlines() if not line.startswith((" ", "hint:", "Traceback"))]

    return one is not None and essence(one) == essence(other)
