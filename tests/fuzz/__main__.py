"""``python -m tests.fuzz --captures 10000 [--seed N] [--first N] [--jobs 2] [--made]``: mutated captures, whole runs.

Knows: how the cases are dealt to processes, what is told of them. Does not know: what is promised (promises.py).
Exit status 1 if a promise was broken; the captures are then in regressions/captures, or where ``--keep`` says.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.fuzz.found import CAPTURES, keep, outcome, reduced
from tests.fuzz.promises import case


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    numbers = range(options.first, options.first + options.captures)
    run = partial(_one, options.seed, not options.made)
    begin, broken, most, slowest = time.perf_counter(), 0, 0, (0.0, 0)
    with multiprocessing.get_context("fork").Pool(options.jobs, maxtasksperchild=500) as pool:
        for done, (number, problem, memory, took) in enumerate(pool.imap_unordered(run, numbers, chunksize=4), 1):
            most, slowest = max(most, memory), max(slowest, (took, number))
            if problem is not None:
                broken += 1
                print(f"case {number} of seed {options.seed}: {problem}", flush=True)
                if broken <= options.most:
                    _keep(options.seed, number, not options.made, problem, options.keep)
            if done % 1000 == 0:
                print(f"{done:,} captures, {broken} broken promises", flush=True)
    seconds = time.perf_counter() - begin
    print(f"{len(numbers):,} captures in {seconds:.0f} s, {broken} broken promises")
    print(f"at most {most >> 10} MiB a process, {slowest[0]:.1f} s a run (case {slowest[1]})")
    return 1 if broken else 0


def _one(seed: int, real: bool, number: int) -> tuple[int, str | None, int, float]:
    """A case: its number, what does not hold, the memory (KiB) that this process needed so far, seconds."""
    begin = time.perf_counter()
    problem = outcome(case(seed, number, real=real), timer=signal.ITIMER_REAL)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return number, problem, memory, time.perf_counter() - begin


def _keep(seed: int, number: int, real: bool, problem: str, folder: Path) -> None:
    small = reduced(case(seed, number, real=real), problem, timer=signal.ITIMER_REAL)
    print(f"kept as {keep(small, f'{seed}-{number}', folder)}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Whole runs over mutated captures.")
    add = parser.add_argument
    add("--captures", type=int, default=1000, help="how many (default: 1000)")
    add("--seed", type=int, default=1, help="the same seed makes the same captures (default: 1)")
    add("--first", type=int, default=0, help="number of the first one (default: 0)")
    add("--jobs", type=int, default=2, help="processes (default: 2)")
    add("--made", action="store_true", help="of captures of ours only, though there are shared ones")
    add("--most", type=int, default=10, help="how many are kept of those that break a promise (default: 10)")
    add("--keep", type=Path, default=CAPTURES, help="where")
    return parser


if __name__ == "__main__":
    sys.exit(main())
