"""How much is measured, with what, and where: the same for all measurements of scale.

Knows: sizes, repetitions, the folders of captures and of output. Does not know: what is measured.
Invariant: quick and whole measurements differ in sizes and repetitions only, never in what is done.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.generate import Expected, cached
from tests.bench.measure import RunFailed
from tests.bench.run import into_page_cache

_QUICK = 0.05
"""Of the size of each capture: enough to see that all works, too little for figures to be trusted."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one call of the benchmark."""

    folder: Path  # of the captures
    output: Path  # below which programs write
    command: tuple[str, ...]  # how flowshard is started
    quick: bool = False
    huge: bool = False  # the capture of 16 GB, too
    seed: int = 1
    say: Callable[[str], None] = lambda words: None

    @property
    def runs(self) -> int:
        """Of each command; the one with the least CPU time counts."""
        return 1 if self.quick else 2

    def capture(self, kind: str, size: float = 1.0) -> tuple[Path, Expected]:
        """The capture with ``size`` times its connections, in the page cache. Raises RunFailed where it has no room."""
        self.say(f"{kind}: capture")
        made = cached(kind, self.scaled(size), self.seed, self.folder)
        into_page_cache(made[0])
        return made

    def scaled(self, size: float) -> float:
        """What a size comes to."""
        return size * _QUICK if self.quick else size

    @contextmanager
    def room(self, need: int) -> Iterator[Path]:
        """A name for an output folder where ``need`` bytes fit; gone at the end. Raises RunFailed."""
        if (free := shutil.disk_usage(self.output).free) < need:
            lack = f"{self.output}: {free >> 20} MiB free, {need >> 20} are needed"
            raise RunFailed(f"{lack}\nhint: write elsewhere with --output")
        with tempfile.TemporaryDirectory(prefix="flowshard-bench-", dir=self.output) as folder:
            yield Path(folder, "out")


def room_for(expected: Expected) -> int:
    """Bytes that the streams of a capture may take."""
    return expected.capture_bytes * 5 // 4 + 8_192 * len(expected.streams)
