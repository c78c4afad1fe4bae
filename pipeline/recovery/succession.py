"""A worker that dies while packets keep coming has another one take its place, within bounds.

Knows: when that is possible, how many deaths are too many, which number the new one has.
Does not know: how a death is noticed (coordinator.py), how the others go on without the dead one (stages/).
Invariant: no more than MOST_A_MINUTE take a place within a minute; then the run ends in order, as it does at once when
a writer dies.

Only where the input cannot be read again: elsewhere the run begins anew (anew.py), and loses nothing. What is lost here
are the packets that were on their way to the dead worker, and what it knew of its connections. The new one knows none:
their streams end where they were, marked as lost, and what comes of them later begins other streams.

Not with -R: where in its file a later connection goes on is known to the dead worker alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.config import Config
from pipeline.sealing import confine
from pipeline.stages.inhand import Hands
from pipeline.stages.losses import goes_on, number
from pipeline.stages.process import run_stage
from pipeline.supervise import Process

if TYPE_CHECKING:
    from pipeline.recovery.zygote import Zygote

MOST_A_MINUTE: Final = 5
"""Beginnings anew, or workers replaced; a machine that kills more often than that has no room for us."""


class Succession:
    """Who comes after whom, in one run."""

    def __init__(self, workers: int, zygote: Zygote, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: any steady one, in seconds."""
        self.zygote = zygote
        self._workers = workers
        self._clock = clock
        self._lately: deque[float] = deque()

    def heir(self, name: str) -> Process | None:
        """A process in place of the one that died, begun; None: there is none, and the run has to end."""
        worker = number(name, "worker")
        if worker is None:
            return None
        now = self._clock()
        while self._lately and self._lately[0] <= now - 60:
            self._lately.popleft()
        if len(self._lately) >= MOST_A_MINUTE:
            return None
        self._lately.append(now)
        return self.zygote.make(worker + self._workers)

    def close(self) -> None:
        """Nobody comes any more."""
        self.zygote.close()


def begin(
    config: Config, folder: Path, hands: Hands, niceness: int, writable: Sequence[Path] | None, processes: list[Process]
) -> Succession | None:
    """Make ready for it, before there is a thread or a socket; the process that this takes is put on the list.

    ``folder``: of the sockets; ``niceness``, ``writable``: the workers' (stages/process.py). None: not on this system.
    """
    from pipeline.recovery.zygote import Zygote
    from pipeline.stages.worker import worker_stage

    def made(n: int) -> Callable[[], int]:
        stage = partial(worker_stage, n, config, hand=hands.of(f"worker-{n}"))
        return partial(run_stage, f"worker-{n}", folder, stage, niceness, writable)

    zygote = Zygote.start(made, lambda: writable is None or confine([folder, *writable]))
    if zygote is None:
        return None
    processes.append(zygote.process)
    return Succession(config.workers, zygote)


def may_replace(config: Config) -> bool:
    """Whether a worker that died can have another one in its place."""
    return goes_on(config) and not config.append
