"""All stages in one process: small captures, debugging (``--workers 0``).

Knows: the order of the stages. Does not know: processes, links.
Invariant: the output is that of the processes, bit for bit.

Inputs are copied through the spool, not mapped: here a page that the storage does not give would end all.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.capture import Capture, describe
from pipeline.config import Config
from pipeline.console import Progress, Seldom, warning
from pipeline.memory import Memory
from pipeline.results import Results
from pipeline.spool.slabs import Spool, slab_bytes
from pipeline.writer.failures import Tell
from pipeline.writer.writer import Writer
from workers.contract import PacketBatch
from workers.events import untaken_in
from workers.reassembler import Reassembler

if TYPE_CHECKING:
    from pipeline.aside import Aside
    from pipeline.live.sensor import Sensor
    from pipeline.live.source import LiveInput
    from pipeline.parts.binding import Binder
    from pipeline.parts.room import Usage


def run_inline(
    config: Config,
    fragment: Path,
    progress: Progress,
    stopping: Callable[[Callable[[], None]], None],
    rotating: Callable[[Callable[[], None]], None] = lambda _: None,
    sensor: Sensor | None = None,
) -> Results:
    """All stages in this process, one after the other, batch by batch.

    ``stopping`` is told what ends the reading, ``rotating`` what ends a part of the output; ``sensor`` is the
    operator's side of a live run.
    """
    gc.disable()  # as in the processes, see stages/process.py
    config = replace(config, mapped=False)
    spool = Spool(config.spool_folder, config.spool_bytes, slab_bytes(config.spool_bytes))
    try:
        return _run(config, fragment, progress, stopping, rotating, spool, sensor)
    finally:
        spool.close()


def _run(
    config: Config,
    fragment: Path,
    progress: Progress,
    stopping: Callable[[Callable[[], None]], None],
    rotating: Callable[[Callable[[], None]], None],
    spool: Spool,
    sensor: Sensor | None,
) -> Results:
    capture = Capture(config, 1, spool, () if sensor is None else sensor.interfaces())
    stopping(capture.stop)
    worker, usage, tell = _worker(config), _usage(config), Seldom()
    writer = _writer(config, fragment, Memory(config, spool.view, keep=1), usage, tell)
    aside = _aside(config, spool, tell)
    binder = _rotate(config, fragment, capture, worker, writer, usage, rotating, tell)
    beat = None if sensor is None else _heartbeat(sensor, capture, worker, writer, spool, config.spool_bytes)
    if config.live is not None:
        _begin_live(config, capture, progress)
    for dealt in capture.batches():
        events = worker.handle(dealt.parts[0])
        writer.apply(events)
        if aside is not None:
            aside.write(dealt, untaken_in(events))
        dealt.drop()
        progress.moved_to(dealt.bytes_read)
        if beat is not None:
            beat(dealt.parts[0])
    for events in worker.finish():
        writer.apply(events)
    writer.finish()
    failed = {} if aside is None else aside.close()
    tell.rest()
    capture.hash_rest()
    spool.close()
    return Results(
        capture.counters() | failed, [describe(facts) for facts in capture.inputs], [worker.totals()],
        [writer.counters], writer.folder.renamed, None if binder is None else binder.state(),
    )  # fmt: skip


def _begin_live(config: Config, capture: Capture, progress: Progress) -> None:
    source = capture.begin_live()
    progress.say(f"capturing on {source.path}")
    capture.each_second = _lookout(config, source)


def _worker(config: Config) -> Reassembler:
    return Reassembler(
        config.limits, append=config.append, untaken=config.unprocessed is not None,
        connections=config.flows is not None,
    )  # fmt: skip


def _lookout(config: Config, source: LiveInput) -> Callable[[], None]:
    """What there is to say while it runs."""
    from pipeline.live.told import Lookout

    lookout = Lookout(config)

    def look() -> None:
        remark = lookout.look(source.handed, source.drops.packets)
        if remark is not None:
            warning(*remark)

    return look


def _rotate(
    config: Config, fragment: Path, capture: Capture, worker: Reassembler, writer: Writer, usage: Usage | None,
    rotating: Callable[[Callable[[], None]], None], tell: Tell,
) -> Binder | None:  # fmt: skip
    """At each cut all stages leave the part, and it is bound; None: the output has no parts."""
    if config.rotation is None:
        return None
    from pipeline.parts.binding import Binder
    from pipeline.parts.cutting import Cut, Cuts

    capture.cuts = Cuts(config.rotation, config.part, config.output)
    binder = Binder(config, [fragment], ["capture", "worker", "writer"], time.time_ns(), usage)

    def turn(cut: Cut) -> None:
        if cut.taken:
            tell(*cut.told)
        writer.apply(worker.cut())
        writer.turn(cut.next)
        binder.take(cut.folder, "capture", {"counters": cut.counters, "inputs": cut.inputs, **cut.facts})
        binder.take(cut.folder, "worker", {"counters": worker.totals()})
        binder.take(cut.folder, "writer", {"counters": dict(writer.counters)})

    capture.on_cut = turn
    rotating(capture.cuts.ask)
    return binder


def _aside(config: Config, spool: Spool, tell: Tell) -> Aside | None:
    if config.unprocessed is None:
        return None
    from pipeline.aside import Aside

    return Aside(config, spool.view, tell)


def _usage(config: Config) -> Usage | None:
    if config.space is None:
        return None
    from pipeline.parts.room import Usage

    return Usage(config)


def _writer(config: Config, fragment: Path, memory: Memory, usage: Usage | None, tell: Tell) -> Writer:
    if usage is not None:
        from pipeline.parts.room import Room

        return Writer(config, fragment, memory, room=Room(config, fragment, usage, 0, tell), tell=tell)
    if not config.console:
        return Writer(config, fragment, memory, tell=tell)
    from pipeline.writer.printing_writer import console_writer

    return console_writer(config, fragment, memory, tell)


def _heartbeat(
    sensor: Sensor, capture: Capture, worker: Reassembler, writer: Writer, spool: Spool, budget: int
) -> Callable[[PacketBatch], None]:
    """What looks at each batch of a live run: all stages say each second how they are doing."""
    from pipeline.watch.pulse import Pulse, of_capture, of_worker, of_writer
    from pipeline.watch.talkers import Talkers

    talkers = Talkers()
    pulses = [
        Pulse(partial(of_capture, capture, spool, budget, (), lambda: 0), partial(sensor.hear, "capture")),
        Pulse(partial(of_worker, worker, talkers), partial(sensor.hear, "worker-0")),
        Pulse(partial(of_writer, writer), partial(sensor.hear, "writer-0")),
    ]

    def look(batch: PacketBatch) -> None:
        talkers.add(batch)
        for pulse in pulses:
            pulse.beat()
        sensor.tick()

    return look
