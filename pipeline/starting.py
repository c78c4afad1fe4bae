"""Which processes a run has, what each does and may write to; all of them started.

Knows: stages, what they share that was made before the fork. Does not know: what becomes of them (coordinator.py).
Invariant: a process is on the list as soon as there is one; live, it is started when no right is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.config import Config
from pipeline.errors import OutputError
from pipeline.output import make_folder
from pipeline.reading import is_copied
from pipeline.recovery.succession import Succession, begin, may_replace
from pipeline.stages.inhand import Hands
from pipeline.stages.process import Stage, run_stage
from pipeline.supervise import Process, start

if TYPE_CHECKING:
    from pipeline.live.interface import Interface
    from pipeline.live.sensor import Sensor
    from pipeline.parts.room import Usage
    from pipeline.spool.slabs import Spool

_BEHIND_CAPTURE: Final = 10
"""Niceness of the other stages, live: what they leave waits in the spool, what the capture process leaves is lost."""


def start_all(
    config: Config, fragments: Sequence[Path], spool: Spool | None, folder: Path, sensor: Sensor | None,
    processes: list[Process], hands: Hands,
) -> Succession | None:  # fmt: skip
    """Start all, each put on the list at once; live, when the interfaces are open and no right is left.

    What makes further workers, where that may be wanted, comes last: it has all modules that they need.
    """
    interfaces = [] if sensor is None else sensor.interfaces()
    if config.save_crash is not None and sensor is not None:
        make_folder(config.save_crash)  # later the capture process could not
    usage = _usage(config)
    for name, stage in _stages(config, fragments, spool, interfaces, hands, usage):
        niceness = _BEHIND_CAPTURE if sensor is not None and processes else 0
        writable = None if sensor is None else _writable(config, fragments, name)
        processes.append(start(name, partial(run_stage, name, folder, stage, niceness, writable)))
        while interfaces:  # the capture process has them, and nobody else
            interfaces.pop().close()
    if not may_replace(config):
        return None
    from pipeline.stages.worker import worker_stage
    from pipeline.stages.writer import writer_stage

    def stage_of(name: str, others: Sequence[int]) -> tuple[Stage, list[Path]]:
        kind, _, digits = name.partition("-")
        n, hand, writable = int(digits), hands.of(name), _writable(config, fragments, name)
        if kind == "worker":
            return partial(worker_stage, n, config, hand=hand, writers_now=others), writable
        before, mine = (fragment_of(fragments, m) for m in (n - config.writers, n))
        return partial(
            writer_stage, n, config, mine, spool, usage=usage, hand=hand, workers_now=others, before=before
        ), writable  # fmt: skip

    niceness = 0 if sensor is None else _BEHIND_CAPTURE
    return begin(config, folder, stage_of, niceness, processes, confined=sensor is not None)


def make_spool(config: Config) -> Spool | None:
    """The spool, made before the fork. None: it cannot be made, and only IP fragments would need it."""
    from pipeline.spool.slabs import Spool, slab_bytes

    try:
        return Spool(config.spool_folder, config.spool_bytes, slab_bytes(config.spool_bytes))
    except OutputError:
        if not config.mapped or config.follow or any(map(is_copied, config.inputs)):
            raise
        return None


def names_in_hand(config: Config) -> list[str]:
    """Of those processes that have batches in hand."""
    return ["capture", *(f"worker-{n}" for n in range(config.workers)), *(f"writer-{m}" for m in range(config.writers))]


def _stages(
    config: Config, fragments: Sequence[Path], spool: Spool | None, interfaces: Sequence[Interface], hands: Hands,
    usage: Usage | None,
) -> Iterator[tuple[str, Stage]]:  # fmt: skip
    """Names and work of all processes, in the order in which they have something to do.

    Each is imported when its turn comes: the capture process reads while the others are still made.
    """
    from pipeline.stages.capture import capture_stage

    yield "capture", partial(capture_stage, config, spool, interfaces=tuple(interfaces), hand=hands.of("capture"))
    from pipeline.stages.worker import worker_stage

    for n in range(config.workers):
        yield f"worker-{n}", partial(worker_stage, n, config, hand=hands.of(f"worker-{n}"))
    from pipeline.stages.writer import import_all, writer_stage

    import_all(config)
    for m in range(config.writers):
        name = f"writer-{m}"
        yield name, partial(writer_stage, m, config, fragments[m], spool, usage=usage, hand=hands.of(name))
    if config.rotation is not None:
        from pipeline.stages.binder import binder_stage

        yield "binder", partial(binder_stage, config, fragments, usage=usage)
    if config.live is not None and config.live.keep is not None:
        from pipeline.stages.keeper import keeper_stage

        assert spool is not None
        yield "keeper", partial(keeper_stage, config, spool)


def _usage(config: Config) -> Usage | None:
    """What the run takes of the disk, shared by all that write; None: there is no limit."""
    if config.space is None:
        return None
    from pipeline.parts.room import Usage

    return Usage(config)


def _writable(config: Config, fragments: Sequence[Path], name: str) -> list[Path]:
    """The folders that a process makes files in."""
    stage, _, _ = name.partition("-")
    if stage == "writer":
        return [config.output, fragments[0].parent]
    if stage == "binder":
        return [config.output]
    if stage == "keeper" and config.live is not None and config.live.keep is not None:
        return [config.live.keep.folder]
    unfinished = None if config.unfinished is None else config.unfinished.parent
    return [folder for folder in (unfinished, config.save_crash) if folder is not None] if stage == "capture" else []


def fragment_of(fragments: Sequence[Path], writer: int) -> Path:
    """Where the rows of a writer are. ``fragments``: those of the first ones, in whose places the others are."""
    return fragments[writer % len(fragments)].with_name(f"fragment-{writer}")
