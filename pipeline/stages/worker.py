"""A worker process: take a batch, judge it, send what happened to each writer that it concerns.

Knows: which writers its shards go to. Does not know: TCP (workers/reassembler.py).
Invariant: every batch is answered to every such writer, were it with nothing, so that it can be released.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.config import Config
from pipeline.stages.binder import Teller
from pipeline.stages.inhand import NO_HAND, Hand
from pipeline.stages.losses import Loss, Losses, goes_on
from pipeline.stages.losses import number as number_of
from pipeline.stages.process import CUT, Inbox, Outbox, targets
from pipeline.transport import Sender, Wires
from workers.contract import END_OF_INPUT, EventBatch, PacketBatch
from workers.reassembler import Reassembler
from workers.wire import Note, Packets, encode_events, encode_note, for_writer


def worker_stage(
    number: int, config: Config, wires: Wires, outbox: Outbox, status: Sender, hand: Hand = NO_HAND
) -> dict[str, Any]:
    """Take a batch, judge it, send what happened to each writer that it concerns.

    ``number``: its own; one that takes the place of another worker has a number of its own, too (losses.py)."""
    receiver = wires.receiver(f"batches-{number}")
    writers = _Writers(number, config, wires, outbox)
    reassembler = Reassembler(
        config.limits, append=config.append, untaken=config.unprocessed is not None,
        connections=config.flows is not None,
    )  # fmt: skip
    inbox = Inbox([receiver])
    Losses(config, f"worker-{number}", wires, outbox, partial(_lose, writers, inbox), inbox)
    look = _watched(config, reassembler, status)
    parts = Teller(config, f"worker-{number}", wires, outbox)
    while True:
        message = inbox.next()
        if isinstance(message, Packets):
            hand.take(message.batch.number)
            writers.say(reassembler.handle(message.batch))
            hand.rest()
            look(message.batch)
        elif isinstance(message, Note) and message.kind == CUT:
            writers.say(reassembler.cut())
            writers.tell(message)
            parts.left(message.facts["folder"], {"counters": reassembler.totals()})
        else:
            break
    hand.take(END_OF_INPUT)
    for events in reassembler.finish():
        writers.say(events)
    writers.tell(Note("end", {}))
    parts.over()
    outbox.drain()
    hand.over()
    return {"counters": reassembler.totals() | writers.lost}


def _lose(writers: _Writers, inbox: Inbox, loss: Loss) -> None:
    """A process is dead; of the capture process, when it is done, no end comes if it did not know of us."""
    if (m := number_of(loss.name, "writer")) is not None:
        writers.lose(m)
    elif loss.name == "capture":
        inbox.give_up(0)


class _Writers:
    """The writers that a worker's shards go to."""

    def __init__(self, number: int, config: Config, wires: Wires, outbox: Outbox) -> None:
        self._count = config.writers
        self._senders = {
            m: outbox.add(wires.sender(f"events-{number}-{m}")) for m in targets(number, config.workers, config.writers)
        }
        self._outbox = outbox
        self._told: dict[int, Counter[str]] | None = defaultdict(Counter) if goes_on(config) else None
        self._dead: set[int] = set()

    def say(self, events: EventBatch) -> None:
        """Each gets its share."""
        for m, sender in self._senders.items():
            share = for_writer(events, m, self._count)
            if self._told is not None:
                self._note(self._told[m], share)
            for frames in encode_events(share):
                self._outbox.put(sender, frames)

    def tell(self, note: Note) -> None:
        """All get it."""
        for sender in self._senders.values():
            self._outbox.put(sender, encode_note(note))

    def lose(self, m: int) -> None:
        """A writer is dead."""
        if m in self._senders:
            self._dead.add(m)
            self._senders[m].give_up()

    @staticmethod
    def _note(told: Counter[str], events: EventBatch) -> None:
        """What a writer was told to write, in case that it dies: nobody else knows then."""
        if events.data is not None:
            told["lost.bytes"] += int(events.data.size.sum(dtype="int64"))
        if events.overlaps is not None:
            told["lost.overlap"] += int(events.overlaps.size.sum(dtype="int64"))
        if events.opened is not None:
            told["lost.streams"] += len(events.opened.stream)

    @property
    def lost(self) -> Counter[str]:
        """All that the dead ones were told."""
        return sum((self._told[m] for m in self._dead if self._told is not None), Counter())


def _watched(config: Config, reassembler: Reassembler, status: Sender) -> Callable[[PacketBatch], None]:
    """What looks at each batch: live, the coordinator is told each second how it is going."""
    if config.live is None:
        return lambda _: None
    from pipeline.watch.pulse import Pulse, of_worker, to_coordinator
    from pipeline.watch.talkers import Talkers

    talkers = Talkers()
    pulse = Pulse(lambda: of_worker(reassembler, talkers), to_coordinator(status))

    def look(batch: PacketBatch) -> None:
        talkers.add(batch)
        pulse.beat()

    return look
