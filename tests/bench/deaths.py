"""Processes that die, a thousand times: ``python -m tests.bench.deaths``.

Knows: how many trials there are, what is said of them. Does not know: what a trial is (tests/faults/trials.py).
Invariant: every trial that had a problem is named, with what makes it again.

    python -m tests.bench.deaths                          1,000 trials of all kinds
    python -m tests.bench.deaths --runs 100 --kinds moment   kills at random moments, with how fast they are made good
    python -m tests.bench.deaths --first 371 --runs 1     the one with that seed

Figures to reach: noticed within 100 ms, replaced within 1 s, output the same in all of them, no batch
unaccounted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.faults.trials import KINDS, Told, Trial, Undisturbed, captures, make

_EACH = 50


def main(argv: Sequence[str] | None = None) -> int:
    """1 when a trial had a problem."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.deaths", description="Runs whose processes die.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--folder", type=Path, help="where they write (default: in TMPDIR)")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="fsd-", dir=asked.folder) as made:
        folder = Path(made)
        inputs, undisturbed = captures(folder), Undisturbed(folder)
        all_told = []
        for seed in range(asked.first, asked.first + asked.runs):
            told = make(Trial.of(seed, inputs, tuple(asked.kinds)), undisturbed, folder / "trial")
            all_told.append(told)
            for problem in told.problems:
                print(f"{told.trial}: {problem}", flush=True)
            if len(all_told) % _EACH == 0:
                print(summary(all_told), flush=True)
    print(summary(all_told))
    return 1 if any(told.problems for told in all_told) else 0


def summary(all_told: Sequence[Told]) -> str:
    """In one line."""
    kinds = Counter(told.trial.kind for told in all_told if told.hit)
    text = (
        f"{len(all_told)} runs, {sum(kinds.values())} hit ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), "
    )
    text += f"{sum(bool(told.problems) for told in all_told)} with a problem"
    for name in ("noticed", "replaced"):
        times = [seconds for told in all_told if (seconds := getattr(told, name)) is not None]
        if times:
            text += f"; {name} after {1000 * median(times):.0f} ms (median), {1000 * max(times):.0f} ms (most)"
    return text


if __name__ == "__main__":
    sys.exit(main())
