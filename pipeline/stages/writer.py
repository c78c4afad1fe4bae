"""A writer process: take events, write what they say, release their batch.

Knows: when a batch is on disk. Does not know: what a file is made of (writer/writer.py).
Invariant: a batch is released only when all its bytes are written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.capture import Slabs
from pipeline.config import Config
from pipeline.stages.process import Inbox, Outbox, targets
from pipeline.transport import Sender, Wires
from pipeline.writer.writer import Writer
from workers.contract import END_OF_INPUT
from workers.wire import Happened, Note, encode_note


def writer_stage(
    number: int, config: Config, fragment: Path, wires: Wires, outbox: Outbox, _: Sender
) -> dict[str, Any]:
    """Take events, write, release."""
    sources = [n for n in range(config.workers) if number in targets(n, config.workers, config.writers)]
    inbox = Inbox([wires.receiver(f"events-{n}-{number}") for n in sources])
    release = outbox.add(wires.sender(f"releases-{number}"))
    writer = Writer(config, fragment, Slabs(config, keep=len(sources) + 1))
    left = len(sources)
    while left:
        message = inbox.next()
        if isinstance(message, Happened):
            writer.apply(message.events)
            if message.last and message.events.number != END_OF_INPUT:  # nobody waits for that
                outbox.put(release, encode_note(Note("release", {"number": message.events.number})))
        else:
            left -= 1
    writer.finish()
    outbox.drain()
    return {"counters": writer.counters, "renamed": writer.folder.renamed}
