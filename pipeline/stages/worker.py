"""A worker process: take a batch, judge it, send what happened to each writer that it concerns.

Knows: which writers its shards go to. Does not know: TCP (workers/reassembler.py).
Invariant: every batch is answered to every such writer, were it with nothing, so that it can be released.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import numpy as np

from pipeline.config import Config
from pipeline.stages.binder import Teller
from pipeline.stages.inhand import NO_HAND, Hand
from pipeline.stages.losses import Loss, Losses, goes_on
from pipeline.stages.losses import number as number_of
from pipeline.stages.process import BEHIND, CUT, Inbox, Outbox, targets
from pipeline.transport import Sender, Wires
from workers.contract import END_OF_INPUT, SHARDS, EventBatch, PacketBatch
from workers.events import add_told
from workers.reassembler import Reassembler
from workers.wire import Note, Packets, encode_events, encode_note, for_writer

_END: Final = Note("end", {})


def worker_stage(
    number: int, config: Config, wires: Wires, outbox: Outbox, status: Sender, hand: Hand = NO_HAND,
    writers_now: Sequence[int] = (),
) -> dict[str, Any]:  # fmt: skip
    """Take a batch, judge it, send what happened to each writer that it concerns.

    ``number``: its own; one that takes the place of another worker has a number of its own, too (losses.py).
    ``writers_now``: the writers of this moment, in the order of their places; none: the first ones."""
    receiver = wires.receiver(f"batches-{number}")
    reassembler = Reassembler(
        config.limits, append=config.append, untaken=config.unprocessed is not None,
        connections=config.flows is not None,
    )  # fmt: skip
    writers = _Writers(number, config, wires, outbox, reassembler, writers_now or range(config.writers))
    inbox = Inbox([receiver])
    Losses(config, f"worker-{number}", wires, outbox, partial(_lose, writers, inbox), inbox)
    look = _watched(config, reassembler, status)
    parts = Teller(config, f"worker-{number}", wires, outbox)
    while True:
        with writers.changing():
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
    writers.end()
    parts.over()
    with writers.changing():
        outbox.drain()
    hand.over()
    return {"counters": reassembler.totals(), "told": writers.told}


def _lose(writers: _Writers, inbox: Inbox, loss: Loss) -> None:
    """A process is dead; of the capture process, when it is done, no end comes if it did not know of us."""
    if (m := number_of(loss.name, "writer")) is not None:
        writers.lose(m, loss.heir)
    elif loss.name == "capture":
        inbox.give_up(0)


class _Writers:
    """The writers that a worker's shards go to.

    When another one takes the place of a dead one this is not in the middle of what is said of a batch: a share goes
    where its connections are known. They are forgotten with the dead one, whose heir gets what begins behind that.
    """

    def __init__(
        self, number: int, config: Config, wires: Wires, outbox: Outbox, reassembler: Reassembler, now: Sequence[int]
    ) -> None:
        places = targets(number, config.workers, config.writers)
        self._number = number
        self._count = config.writers
        self._wires = wires
        self._outbox = outbox
        self._reassembler = reassembler
        self._now = {place: now[place] for place in places}
        self._senders = {place: self._sender(m) for place, m in self._now.items()}
        self._told: dict[int, list[int]] | None = (
            {m: [0, 0, 0] for m in self._now.values()} if goes_on(config) else None
        )
        self._heirs: deque[tuple[int, int]] = deque()  # dead writers, and who comes in their places
        self._between = False  # nothing is being said
        self._latest = -1  # batch of which all was said
        self._ended = False

    def _sender(self, writer: int) -> Sender:
        return self._outbox.add(self._wires.sender(f"events-{self._number}-{writer}"))

    def say(self, events: EventBatch) -> None:
        """Each gets its share."""
        for place, sender in self._senders.items():
            share = for_writer(events, place, self._count)
            if self._told is not None:
                add_told(self._told[self._now[place]], share)
            for frames in encode_events(share):
                self._outbox.put(sender, frames)
        if events.number != END_OF_INPUT:
            self._latest = events.number

    def tell(self, note: Note) -> None:
        """All get it."""
        for sender in self._senders.values():
            self._outbox.put(sender, encode_note(note))

    def end(self) -> None:
        """All was said, and no connection is open."""
        with self.changing():
            pass
        self.tell(_END)
        self._ended = True

    def lose(self, writer: int, heir: int | None) -> None:
        """A writer is dead; nothing is waited for that it alone could do."""
        place = writer % self._count
        if self._now.get(place) == writer:
            self._senders[place].give_up()
        if heir is not None and place in self._now:
            self._heirs.append((writer, heir))
            if self._between:
                self._change()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Heirs may take their places meanwhile."""
        self._between = True
        self._change()
        yield
        self._between = False

    def _change(self) -> None:
        while self._heirs:
            writer, heir = self._heirs.popleft()
            place = writer % self._count
            assert self._told is not None
            for unsaid in self._reassembler.forget(np.arange(place, SHARDS, self._count)):
                add_told(self._told[writer], unsaid)
            self._outbox.remove(self._senders[place])
            sender = self._senders[place] = self._sender(heir)
            self._now[place], self._told[heir] = heir, [0, 0, 0]
            sender.send(encode_note(Note(BEHIND, {"number": self._latest})))
            if self._ended:
                sender.send(encode_note(_END))

    @property
    def told(self) -> dict[int, list[int]]:
        """Of each writer, living or dead, what it was told to write: bytes, overlapping bytes, streams."""
        return self._told or {}


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
