"""A worker process: take a batch, judge it, send what happened to each writer that it concerns.

Knows: which writers its shards go to. Does not know: TCP (workers/reassembler.py).
Invariant: every batch is answered to every such writer, were it with nothing, so that it can be released.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from pipeline.config import Config
from pipeline.stages.binder import Teller
from pipeline.stages.inhand import NO_HAND, Hand
from pipeline.stages.losses import Losses, goes_on
from pipeline.stages.losses import number as number_of
from pipeline.stages.process import CUT, Inbox, Outbox, targets
from pipeline.transport import Sender, Wires
from workers.contract import END_OF_INPUT, EventBatch, PacketBatch
from workers.reassembler import Reassembler
from workers.wire import Note, Packets, encode_events, encode_note, for_writer


def worker_stage(
    number: int, config: Config, wires: Wires, outbox: Outbox, status: Sender, hand: Hand = NO_HAND
) -> dict[str, Any]:
    """Take a batch, judge it, send what happened to each writer that it concerns."""
    receiver = wires.receiver(f"batches-{number}")
    senders = {
        m: outbox.add(wires.sender(f"events-{number}-{m}")) for m in targets(number, config.workers, config.writers)
    }
    reassembler = Reassembler(
        config.limits, append=config.append, untaken=config.unprocessed is not None,
        connections=config.flows is not None,
    )  # fmt: skip

    told = Told() if goes_on(config) else None

    def say(events: EventBatch) -> None:
        for m, sender in senders.items():
            share = for_writer(events, m, config.writers)
            if told is not None:
                told.add(m, share)
            for frames in encode_events(share):
                outbox.put(sender, frames)

    def lose(name: str) -> None:
        if (m := number_of(name, "writer")) in senders:
            senders[m].give_up()

    inbox = Inbox([receiver])
    losses = Losses(config, f"worker-{number}", wires, outbox, lose, inbox)
    look = _watched(config, reassembler, status)
    parts = Teller(config, f"worker-{number}", wires, outbox)
    while True:
        message = inbox.next()
        if isinstance(message, Packets):
            hand.take(message.batch.number)
            say(reassembler.handle(message.batch))
            hand.rest()
            look(message.batch)
        elif isinstance(message, Note) and message.kind == CUT:
            say(reassembler.cut())
            for sender in senders.values():
                outbox.put(sender, encode_note(message))
            parts.left(message.facts["folder"], {"counters": reassembler.totals()})
        else:
            break
    hand.take(END_OF_INPUT)
    for events in reassembler.finish():
        say(events)
    for sender in senders.values():
        outbox.put(sender, encode_note(Note("end", {})))
    parts.over()
    outbox.drain()
    hand.rest()
    lost = {} if told is None else told.to({number_of(name, "writer") for name in losses.names})
    return {"counters": reassembler.totals() | lost}


class Told:
    """What each writer was told to write, in case that it dies: nobody else knows then."""

    def __init__(self) -> None:
        self._told: dict[int, Counter[str]] = defaultdict(Counter)

    def add(self, writer: int, events: EventBatch) -> None:
        """A writer's share of a batch."""
        told = self._told[writer]
        if events.data is not None:
            told["lost.bytes"] += int(events.data.size.sum(dtype="int64"))
        if events.overlaps is not None:
            told["lost.overlap"] += int(events.overlaps.size.sum(dtype="int64"))
        if events.opened is not None:
            told["lost.streams"] += len(events.opened.stream)

    def to(self, writers: Iterable[int | None]) -> Counter[str]:
        """All that these were told."""
        return sum((self._told[m] for m in writers if m is not None), Counter())


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
