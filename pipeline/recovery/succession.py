"""A worker or a writer that dies while packets keep coming has another one take its place, within bounds.

Knows: when that is possible, how many deaths are too many, which number the new one has.
Does not know: how a death is noticed (coordinator.py), how the others go on without the dead one (stages/).
Invariant: no more than MOST_A_MINUTE take a place within a minute; then the run ends in order.

Only where the input cannot be read again: elsewhere the run begins anew (anew.py), and loses nothing.

What is lost with a worker are the packets that were on their way to it, and what it knew of its connections. The new
one knows none: their streams end where they were, marked as lost, and what comes of them later begins other streams.

What is lost with a writer are the bytes that it was told of and had not noted as written. Workers forget the
connections that they told it of, so what comes of these later begins other streams, too, which the new one writes.
The files of the dead one stay as they are until the end of the run (salvage.py).

Not with -R: where in its file a later connection goes on is known to the dead one alone. Not with --rotate: parts are
bound by what all processes of the run's beginning say.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from pipeline.config import Config
from pipeline.sealing import confine
from pipeline.stages.inhand import first_of
from pipeline.stages.losses import goes_on, number
from pipeline.stages.process import Stage, run_stage
from pipeline.supervise import Process

if TYPE_CHECKING:
    from pipeline.recovery.zygote import Zygote

MOST_A_MINUTE: Final = 5
"""Beginnings anew, or processes replaced; a machine that kills more often than that has no room for us."""

StageOf: TypeAlias = Callable[[str, Sequence[int]], tuple[Stage, list[Path]]]
"""The work of a new worker or writer, and the folders that it makes files in. By its name, and the numbers of those of
the other kind that there are now, in the order of their places."""


class Succession:
    """Who comes after whom, in one run."""

    def __init__(self, workers: int, writers: int, zygote: Zygote, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: any steady one, in seconds."""
        self.zygote = zygote
        self._shape = workers, writers
        self._now = {"worker": list(range(workers)), "writer": list(range(writers))}
        self._clock = clock
        self._lately: deque[float] = deque()

    def heir(self, name: str) -> Process | None:
        """A process in place of the one that died, begun; None: there is none, and the run has to end."""
        stage = name.partition("-")[0]
        dead = number(name, stage) if stage in self._now else None
        if dead is None:
            return None
        now = self._clock()
        while self._lately and self._lately[0] <= now - 60:
            self._lately.popleft()
        if len(self._lately) >= MOST_A_MINUTE:
            return None
        self._lately.append(now)
        mine, others = self._now[stage], self._now["writer" if stage == "worker" else "worker"]
        heir = dead + len(mine)
        made = self.zygote.make(" ".join([f"{stage}-{heir}", *map(str, others)]))
        if made is not None:
            mine[dead % len(mine)] = heir
        return made

    def first_of(self, name: str) -> str:
        """Whose place a process has."""
        return first_of(name, *self._shape)[0]

    def close(self) -> None:
        """Nobody comes any more."""
        self.zygote.close()


def begin(
    config: Config, folder: Path, stage_of: StageOf, niceness: int, processes: list[Process], *, confined: bool
) -> Succession | None:
    """Make ready for it, before there is a thread or a socket; the process that this takes is put on the list.

    ``folder``: of the sockets; ``niceness``: the stages' (stages/process.py); ``confined``: so are they. None: not on
    this system.
    """
    from pipeline.recovery.zygote import Zygote

    def made(asked: str) -> Callable[[], int]:
        name, *others = asked.split()
        stage, writable = stage_of(name, [int(each) for each in others])
        return partial(run_stage, name, folder, stage, niceness, writable if confined else None)

    folders = [folder, *stage_of("worker-0", [])[1], *stage_of("writer-0", [])[1]]
    zygote = Zygote.start(made, lambda: not confined or confine(folders))
    if zygote is None:
        return None
    processes.append(zygote.process)
    return Succession(config.workers, config.writers, zygote)


def may_replace(config: Config) -> bool:
    """Whether a worker or a writer that died can have another one in its place."""
    return goes_on(config) and not config.append
