"""A worker process: take a batch, judge it, send what happened to each writer that it concerns.

Knows: which writers its shards go to. Does not know: TCP (workers/reassembler.py).
Invariant: every batch is answered to every such writer, were it with nothing, so that it can be released.
"""

from __future__ import annotations

from typing import Any

from pipeline.config import Config
from pipeline.stages.process import Inbox, Outbox, targets
from pipeline.transport import Sender, Wires
from workers.contract import EventBatch
from workers.reassembler import Reassembler
from workers.wire import Note, Packets, encode_events, encode_note, for_writer


def worker_stage(number: int, config: Config, wires: Wires, outbox: Outbox, _: Sender) -> dict[str, Any]:
    """Take a batch, judge it, send what happened to each writer that it concerns."""
    receiver = wires.receiver(f"batches-{number}")
    senders = {
        m: outbox.add(wires.sender(f"events-{number}-{m}")) for m in targets(number, config.workers, config.writers)
    }
    reassembler = Reassembler(
        config.limits, append=config.append, untaken=config.unprocessed is not None,
        connections=config.flows is not None,
    )  # fmt: skip

    def say(events: EventBatch) -> None:
        for m, sender in senders.items():
            for frames in encode_events(for_writer(events, m, config.writers)):
                outbox.put(sender, frames)

    inbox = Inbox([receiver])
    while isinstance(message := inbox.next(), Packets):
        say(reassembler.handle(message.batch))
    for events in reassembler.finish():
        say(events)
    for sender in senders.values():
        outbox.put(sender, encode_note(Note("end", {})))
    outbox.drain()
    return {"counters": reassembler.totals()}
