"""What the product takes by what a fixed reference takes, and whether that is more than it was.

Knows: which runs are compared. Does not know: wall time, what the machine is, who asks.
Invariant: product and reference run in turn, in one call, so that what slows the machine slows both; of each the least
CPU time counts, since others on the machine only ever add.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.generate import cached
from tests.bench.measure import timed
from tests.bench.run import empty, flowshard, into_page_cache

RECORDED = Path(__file__).with_name("recorded.json")
OUTPUT = next(folder for folder in (Path("/dev/shm"), Path(tempfile.gettempdir())) if folder.is_dir())
"""Where both write unless it is said: no disk."""

LIMIT = 1.5
"""Times the recorded ratio. CPU time of the same work differs by a quarter between busy and idle, with caches shared;
other machines weigh hashing and files otherwise."""

_WORK = (("bulk", 0.2, "md5"), ("tiny", 0.3, "streams"))
"""Long streams that are hashed, and many small ones: some 2 CPU seconds together, a third of them the start."""


@dataclass(frozen=True, slots=True)
class Found:
    """Least CPU seconds, user and system, of all processes."""

    product: float
    reference: float

    @property
    def ratio(self) -> float:
        """What is compared."""
        return self.product / self.reference


def measure(
    command: Sequence[str], captures: Path, output: Path, repeats: int, *, part: float = 1.0,
    say: Callable[[str], None] = lambda words: None,
) -> Found:  # fmt: skip
    """Run both so many times. ``part``: of the product's work. Raises RunFailed."""
    tool = flowshard([*command, "--workers=1", "--quiet"])
    products, references = [], []
    with tempfile.TemporaryDirectory(prefix="flowshard-guard-", dir=output) as made:
        folder = Path(made, "out")
        lines = []
        for kind, size, mode in _WORK:
            path, _ = cached(kind, size * part, 1, captures)
            into_page_cache(path)
            lines += tool.lines(mode, path, folder)
        for _ in range(repeats):
            references.append(_seconds([[sys.executable, "-m", "tests.bench.guard.reference", str(folder)]], folder))
            products.append(_seconds(lines, folder))
            say(f"product {products[-1]:.2f} CPU s, reference {references[-1]:.2f} CPU s")
        empty(folder)
    return Found(min(products), min(references))


def _seconds(lines: Sequence[Sequence[str]], folder: Path) -> float:
    """CPU seconds of these commands, one after the other, each with an empty folder."""
    seconds = 0.0
    for line in lines:
        empty(folder)
        seconds += timed(line).cpu
    return seconds


def recorded() -> float:
    """The ratio that is expected."""
    return float(json.loads(RECORDED.read_text())["ratio"])


def record(found: Found) -> None:
    """From now on this is expected."""
    RECORDED.write_text(json.dumps({"ratio": round(found.ratio, 3)}) + "\n")


def judge(ratio: float, expected: float) -> str | None:
    """What is wrong; None: nothing."""
    if ratio <= LIMIT * expected:
        return None
    return f"{ratio / expected:.2f} times the CPU time that it was; {LIMIT} times are allowed"
