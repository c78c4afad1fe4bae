"""All stages in one process: small captures, debugging (``--workers 0``).

Knows: the order of the stages. Does not know: processes, links.
Invariant: the output is that of the processes, bit for bit.

Inputs are copied through the spool, not mapped: here a page that the storage does not give would end all.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.capture import Capture, describe
from pipeline.config import Config
from pipeline.console import Progress
from pipeline.memory import Memory
from pipeline.results import Results
from pipeline.spool.slabs import Spool, slab_bytes
from pipeline.writer.writer import Writer
from workers.events import untaken_in
from workers.reassembler import Reassembler

if TYPE_CHECKING:
    from pipeline.aside import Aside


def run_inline(
    config: Config, fragment: Path, progress: Progress, stopping: Callable[[Callable[[], None]], None]
) -> Results:
    """All stages in this process, one after the other, batch by batch.

    ``stopping`` is told what ends the reading.
    """
    gc.disable()  # as in the processes, see stages/process.py
    config = replace(config, mapped=False)
    spool = Spool(config.spool_folder, config.spool_bytes, slab_bytes(config.spool_bytes))
    try:
        return _run(config, fragment, progress, stopping, spool)
    finally:
        spool.close()


def _run(
    config: Config,
    fragment: Path,
    progress: Progress,
    stopping: Callable[[Callable[[], None]], None],
    spool: Spool,
) -> Results:
    capture = Capture(config, 1, spool)
    stopping(capture.stop)
    worker = Reassembler(
        config.limits, append=config.append, untaken=config.unprocessed is not None,
        connections=config.flows is not None,
    )  # fmt: skip
    writer = _writer(config, fragment, Memory(config, spool.view, keep=1))
    aside = _aside(config, spool)
    if config.live is not None:
        progress.say(f"capturing on {capture.begin_live().path}")
    for dealt in capture.batches():
        events = worker.handle(dealt.parts[0])
        writer.apply(events)
        if aside is not None:
            aside.write(dealt, untaken_in(events))
        dealt.drop()
        progress.moved_to(dealt.bytes_read)
    for events in worker.finish():
        writer.apply(events)
    writer.finish()
    if aside is not None:
        aside.close()
    spool.close()
    return Results(
        capture.counters(), [describe(facts) for facts in capture.inputs], [worker.totals()], [writer.counters],
        writer.folder.renamed,
    )  # fmt: skip


def _aside(config: Config, spool: Spool) -> Aside | None:
    if config.unprocessed is None:
        return None
    from pipeline.aside import Aside

    return Aside(config, spool.view)


def _writer(config: Config, fragment: Path, memory: Memory) -> Writer:
    if not config.console:
        return Writer(config, fragment, memory)
    from pipeline.writer.printing_writer import console_writer

    return console_writer(config, fragment, memory)
