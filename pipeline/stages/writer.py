"""A writer process: take events, write what they say, release their batch.

Knows: when a batch is on disk. Does not know: what a file is made of (writer/writer.py).
Invariant: a batch is released only when all its bytes are written.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pipeline.config import Config
from pipeline.memory import Memory, allow_files, nothing_spooled
from pipeline.stages.binder import Teller
from pipeline.stages.inhand import NO_HAND, Hand
from pipeline.stages.losses import Loss, Losses, goes_on
from pipeline.stages.losses import number as number_of
from pipeline.stages.process import BEHIND, CUT, LOST, Inbox, Outbox, targets
from pipeline.transport import Sender, Wires
from pipeline.writer.failures import Tell
from pipeline.writer.writer import Writer
from workers.contract import END_OF_INPUT
from workers.events import untaken_in
from workers.wire import Frame, Happened, Note, encode_note

if TYPE_CHECKING:
    from pipeline.parts.room import Room, Usage
    from pipeline.spool.slabs import Spool
    from pipeline.writer.notes import Notes


_Apply: TypeAlias = Callable[[Happened, int], list[int]]
"""Does what a message of a worker says; gives the batches of which the worker's share, with -c all, is written now."""

_Bury: TypeAlias = Callable[[int], None]
"""Ends the streams of a worker that died."""

RELEASE: Final = "release"
"""Kind of the note that a worker's share of a batch is written."""

BURIED: Final = "buried"
"""Kind of the note that no further release comes of what a worker said: it has ``died``, or is done."""

_CHECK_EVERY: Final = 1.0
"""Seconds until the rows of streams that have ended are on disk, where a writer may die and the run goes on."""

ALL: Final = -1
"""In place of a worker: what all of them said is written."""


def import_all(config: Config) -> None:
    """What only some runs need, once for all writers: to be called before they are forked."""
    if config.protocols:
        import pipeline.writer.analysis.analyses
        from workers.analyzers.protocols import protocol

        for name in config.protocols:
            protocol(name)
    if config.protocols and not config.console:
        import pipeline.report.derived
        import pipeline.writer.findings.shelf  # noqa: F401 - each writer imports it again, and finds it


def writer_stage(
    number: int, config: Config, fragment: Path, spool: Spool | None, wires: Wires, outbox: Outbox, status: Sender,
    usage: Usage | None = None, hand: Hand = NO_HAND, workers_now: Sequence[int] = (), before: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Take events, write, release. ``usage``: what the run takes of the disk, where that has a limit.

    Of one in the place of another writer: ``workers_now`` are the workers of this moment, ``before`` is the fragment of
    that one."""
    sources = _sources(number, config, workers_now or range(config.workers))
    inbox = Inbox([wires.receiver(f"events-{n}-{number}") for n in sources])
    release = outbox.add(wires.sender(f"releases-{number}"))
    memory = Memory(config, nothing_spooled if spool is None else spool.view, keep=len(sources) + 1)
    tell = _teller(outbox, status)
    if config.console:
        writer, apply, bury = _printing(config, fragment, memory, len(sources), tell)
    else:
        room = _room(number % config.writers, config, fragment, usage, tell)
        writer, apply, bury = _writing(config, fragment, memory, room, tell, before)
    allow_files(len(config.inputs))  # now that the writer has taken its share for streams
    Losses(config, f"writer-{number}", wires, outbox, partial(_lose, number, sources, inbox, release, wires), inbox)
    ended: set[int] = set()
    untaken: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    beat = _pulse(config, writer, status)
    parts = Teller(config, f"writer-{number}", wires, outbox)
    while len(ended) < len(sources):
        message = inbox.next()
        beat()
        if isinstance(message, Happened):
            hand.take(message.events.number)
            untaken[message.events.number] += untaken_in(message.events)
            worker = ALL if config.console else sources[inbox.source]
            for batch in apply(message, worker):
                outbox.put(release, _released(batch, worker, untaken.pop(batch, [])))
            hand.rest()
        elif isinstance(message, Note) and message.kind == CUT:
            writer.turn(message.facts["next"])
            parts.left(message.facts["folder"], {"counters": writer.counters})
        elif isinstance(message, Note) and message.kind == BEHIND:
            outbox.put(release, encode_note(Note(BEHIND, {**message.facts, "worker": sources[inbox.source]})))
        elif inbox.source not in ended:
            ended.add(inbox.source)
            _say_ended(message, sources[inbox.source], bury, partial(outbox.put, release))
    _finish(writer, parts, outbox, hand)
    return {"counters": writer.counters, "renamed": writer.folder.renamed}


def _say_ended(message: object, worker: int, bury: _Bury, say: Callable[[list[Frame]], None]) -> None:
    """A worker has said its last word, or somebody says for it that there is none."""
    if isinstance(message, Note) and message.kind == LOST:
        if message.facts["died"]:
            bury(worker)
        say(encode_note(Note(BURIED, {**message.facts, "worker": worker})))


def _finish(writer: Writer, parts: Teller, outbox: Outbox, hand: Hand) -> None:
    """All workers have ended."""
    hand.take(END_OF_INPUT)
    writer.finish()
    parts.over()
    outbox.drain()
    hand.over()


def _released(batch: int, worker: int, untaken: list[tuple[int, int]]) -> list[Frame]:
    """What a worker's share of a batch came to is on disk."""
    return encode_note(Note(RELEASE, {"number": batch, "untaken": untaken, "worker": worker}))


def _sources(number: int, config: Config, workers: Sequence[int]) -> list[int]:
    """The workers, of these, that have shards of this writer's."""
    return [n for n in workers if number % config.writers in targets(n, config.workers, config.writers)]


def _lose(number: int, sources: list[int], inbox: Inbox, release: Sender, wires: Wires, loss: Loss) -> None:
    """A process is dead, or done: what a worker had sent is all that comes of it; behind that comes its heir."""
    if (worker := number_of(loss.name, "worker")) is not None and worker in sources:
        inbox.give_up(sources.index(worker), died=not loss.done)
        if loss.heir is not None:
            sources.append(loss.heir)
            inbox.add(wires.receiver(f"events-{loss.heir}-{number}"))
    elif loss.name == "capture":
        release.give_up()


def _pulse(config: Config, writer: Writer, status: Sender) -> Callable[[], None]:
    """Live, tells the coordinator each second how it is going."""
    if config.live is None:
        return lambda: None
    from pipeline.watch.pulse import Pulse, of_writer, to_coordinator

    return Pulse(lambda: of_writer(writer), to_coordinator(status)).beat


def _teller(outbox: Outbox, status: Sender) -> Tell:
    """Says something to whoever watches the run."""

    def tell(message: str, hint: str) -> None:
        outbox.put(status, encode_note(Note("remark", {"message": message, "hint": hint})))

    return tell


def _room(number: int, config: Config, fragment: Path, usage: Usage | None, tell: Tell) -> Room | None:
    """What this writer may write; None: it need not ask."""
    if usage is None:
        return None
    from pipeline.parts.room import Room

    return Room(config, fragment, usage, number, tell)


def _writing(
    config: Config, fragment: Path, memory: Memory, room: Room | None, tell: Tell, before: Path | None
) -> tuple[Writer, _Apply, _Bury]:
    """Events are applied as they come."""
    writer = Writer(config, fragment, memory, room=room, tell=tell)
    keeping = _Keeping(config, writer, fragment, before)
    return writer, keeping.apply, keeping.bury


class _Keeping:
    """Where the run goes on without this writer, should it die, it is noted what it has done."""

    def __init__(self, config: Config, writer: Writer, fragment: Path, before: Path | None) -> None:
        self._writer = writer
        self._notes: Notes | None = None
        self._next = 0.0
        if not goes_on(config):
            return
        if not config.append:
            from pipeline.writer.notes import begin

            self._notes = begin(fragment, config.workers, before)
            writer.folder.made = self._notes.made
        writer.note_orphans(None if self._notes is None else self._notes.counts)

    def apply(self, message: Happened, worker: int) -> list[int]:
        """What a worker says."""
        events, notes = self._writer.distinct(message.events, worker), self._notes
        if notes is None:
            self._writer.apply(events)
        else:
            notes.about(events, worker)
            self._writer.apply(events)
            self._done(notes, whole=message.last)
        number = message.events.number
        return [number] if message.last and number != END_OF_INPUT else []  # nobody waits for that

    def bury(self, worker: int) -> None:
        """It is dead."""
        if self._notes is None:
            self._writer.bury(worker)
        else:
            self._writer.bury(worker, self._notes.closing)
            self._done(self._notes, whole=True)

    def _done(self, notes: Notes, *, whole: bool) -> None:
        """``whole``: both directions of each connection that has ended are closed."""
        notes.done(self._writer.counters)
        if whole and time.monotonic() >= self._next:
            self._next = time.monotonic() + _CHECK_EVERY
            if (ends := self._writer.checkpoint()) is not None:
                notes.check(ends, self._writer.counters)


def _printing(config: Config, fragment: Path, memory: Memory, workers: int, tell: Tell) -> tuple[Writer, _Apply, _Bury]:
    """Events are applied when all workers have spoken, and printed."""
    from pipeline.stages.in_step import InStep
    from pipeline.writer.printing_writer import console_writer

    writer, in_step = console_writer(config, fragment, memory, tell), InStep(workers)

    def apply(message: Happened, _: int) -> list[int]:
        released = []
        for together in in_step.take(message):
            writer.apply_together(together)
            number = together[0].number
            released += [number] if number != END_OF_INPUT else []
        return released

    return writer, apply, writer.bury
