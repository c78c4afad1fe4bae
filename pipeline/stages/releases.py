"""Which batches are not written yet: what the capture process waits for, and what it counts when somebody dies.

Knows: releases, who is whose heir. Does not know: how a batch is read, how it is sent.
Invariant: the bytes of a batch stay readable until all that came of it is written, or whoever should write it is dead;
of a worker that died every packet is counted, as done or as lost.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from pipeline.capture import Dealt
from pipeline.config import Config
from pipeline.stages.pace import Pace
from pipeline.stages.process import BEHIND, Outbox, targets
from pipeline.stages.writer import ALL, BURIED, RELEASE
from pipeline.transport import Receiver, Sender, Wires
from workers.wire import Note, encode_note

if TYPE_CHECKING:
    from pipeline.aside import Aside

UNRELEASED: Final = 64
"""Batches under way between reading and disk. The links' windows are narrower as a rule."""

_PIECES: Final = 2
"""Batches that what may be under way is divided into, when it is little."""

_TELL_EVERY: Final = 0.1  # seconds between two words on progress


@dataclass(slots=True)
class _Open:
    """A batch that is under way."""

    dealt: Dealt
    left: set[tuple[int, int]]  # of which worker and writer a release is to come
    size: int  # captured bytes
    packets: list[int]  # of each worker's share
    workers: list[int | None]  # who they were then; None: nobody does that share
    untaken: list[tuple[int, int]] = field(default_factory=list)


class Releases:
    """Which batches are not written yet, and how far the run is.

    A batch is done by a worker when all writers have all that it says of it. Of one that died this is known when all
    of them have buried it: what it had sent by then still counts, what it had not is lost. What a writer had not
    released when it died is done, for a worker that lives, when that one says to the heir that it speaks to it now.
    """

    def __init__(self, config: Config, wires: Wires, outbox: Outbox, status: Sender, aside: Aside | None) -> None:
        self._workers: list[int | None] = list(range(config.workers))  # of this moment; None: nobody
        self._writers: list[int | None] = list(range(config.writers))  # so, too
        self._targets = [targets(n, config.workers, config.writers) for n in range(config.workers)]
        self._dead: dict[int, set[int]] = {}  # workers of whom it is not known what they had done: who has to bury them
        self._buried: defaultdict[int, set[int]] = defaultdict(set)  # of others, whose death we have not heard of
        self._receivers: dict[int, Receiver] = {}  # by writer
        self.done: Counter[int] = Counter()
        """Packets that each worker has done, dead ones too, of batches that are written."""
        self.lost: dict[str, int] = {}
        """What is counted when a worker dies: packets that it had not done."""
        self._open: dict[int, _Open] = {}  # in the order of their numbers
        self._wires = wires
        self._outbox = outbox
        self._status = status
        self._aside = aside
        self._told = time.monotonic()
        self._latest = 0  # bytes read when the latest batch was
        self._pace = Pace()
        self._bytes = 0  # under way
        for m in range(config.writers):
            self._listen(m)

    def _listen(self, writer: int) -> None:
        receiver = self._receivers[writer] = self._wires.receiver(f"releases-{writer}")
        self._outbox.waiter.watch(receiver, partial(self._hear, receiver, writer))

    def expect(self, dealt: Dealt) -> None:
        """A batch is about to be sent; waits while too many are under way."""
        while len(self._open) >= UNRELEASED:
            self._outbox.waiter.wait()
        size = dealt.bytes_read - self._latest
        self._pace.sent(time.monotonic(), first=not self._open)
        packets, workers = [len(part.packet) for part in dealt.parts], self._workers.copy()
        left = {
            (worker, m) for place, worker in enumerate(workers) if worker is not None for m in self._written(place)
        }  # fmt: skip
        self._open[dealt.number] = _Open(dealt, left, size, packets, workers)
        for worker, count in zip(workers, packets, strict=True):
            if worker is None:
                self._lose(count)
        self._latest = dealt.bytes_read
        self._bytes += size

    def worker_lost(self, worker: int, heir: int | None) -> None:
        """From now on its share goes to its heir, if it has one."""
        place = worker % len(self._workers)
        self._workers[place] = heir
        self._dead[worker] = self._written(place) - self._buried.pop(worker, set())
        self._bury(worker)

    def writer_lost(self, writer: int, heir: int | None) -> None:
        """It releases nothing any more, and buries nobody. From now on its share goes to its heir, if it has one."""
        receiver = self._receivers.pop(writer)
        while self._take(receiver, writer):
            pass
        self._outbox.waiter.forget(receiver)
        receiver.close()
        self._writers[writer % len(self._writers)] = heir
        if heir is not None:
            self._listen(heir)
        for batch in self._open.values():
            for pair in [pair for pair in batch.left if pair[1] == writer]:
                if pair[0] in self._dead:  # of a dead worker nobody will say more: what is left stays, and is lost
                    continue
                batch.left.discard(pair)
                if heir is not None:
                    batch.left.add((pair[0], heir))
        self._settle()
        for worker, missing in tuple(self._dead.items()):
            missing.discard(writer)
            self._bury(worker)

    def _written(self, place: int) -> set[int]:
        """The writers of a worker's share."""
        return {writer for m in self._targets[place] if (writer := self._writers[m]) is not None}

    def _bury(self, worker: int) -> None:
        """Once all have buried it: its share of what the writers do not have whole is lost."""
        place = worker % len(self._workers)
        if worker not in self._dead or self._dead[worker]:
            return
        del self._dead[worker]
        self._lose(0)
        for batch in self._open.values():
            if any(one == worker for one, _ in batch.left):
                self._lose(batch.packets[place])
                batch.workers[place] = None
        self._without(lambda one, _: one == worker)

    def _lose(self, packets: int) -> None:
        self.lost["lost.packets"] = self.lost.get("lost.packets", 0) + packets

    def _without(self, dead: Callable[[int, int], bool]) -> None:
        for batch in list(self._open.values()):
            batch.left = {pair for pair in batch.left if not dead(*pair)}
        self._settle()

    def dealt(self) -> list[Dealt]:
        """Those that are under way."""
        return [batch.dealt for batch in self._open.values()]

    def count(self) -> int:
        """Batches under way."""
        return len(self._open)

    def has_room(self, senders: Sequence[Sender]) -> bool:
        """Live: whether a batch can be sent without waiting, to all ``senders``, and will be written soon: the rest
        stays in the spool, where it can be given up when the run has to end."""
        if not all(sender.ready() for sender in senders):
            return False
        return not self._open or (len(self._open) < UNRELEASED and self._bytes < self._room())

    def piece(self) -> int:
        """Bytes that a batch should have at most, so that a slow writer does not take too long for it."""
        return self._room() // _PIECES

    def _room(self) -> int:
        return self._pace.room(time.monotonic(), waits=bool(self._open))

    def wait_for_one(self) -> bool:
        """Wait for a word from the writers; False when nothing is under way."""
        if not self._open:
            return False
        self._outbox.waiter.wait()
        return True

    def wait_for_all(self) -> None:
        """Wait until every batch is written."""
        while self.wait_for_one():
            pass

    def _hear(self, receiver: Receiver, writer: int) -> None:
        self._take(receiver, writer)

    def _take(self, receiver: Receiver, writer: int) -> bool:
        """Whether something was there."""
        message = receiver.take()
        if isinstance(message, Note):
            worker = message.facts["worker"]
            if message.kind == BURIED:
                self._is_buried(worker, writer, died=message.facts["died"])
            elif message.kind == BEHIND:
                self._is_done(worker, writer, message.facts["number"])
            elif message.kind == RELEASE:
                self._release(message, writer)
        return message is not None

    def _is_buried(self, worker: int, writer: int, *, died: bool) -> None:
        if not died:  # it counted itself what it had done
            self._without(lambda *pair: pair == (worker, writer))
        elif worker in self._dead:
            self._dead[worker].discard(writer)
            self._bury(worker)
        else:
            self._buried[worker].add(writer)

    def _is_done(self, worker: int, writer: int, upto: int) -> None:
        """What the worker had to say of batches up to that one went to whom ``writer`` is the heir of."""
        for number, batch in self._open.items():
            if number <= upto:
                batch.left.discard((worker, writer))
        self._settle()

    def _release(self, message: Note, writer: int) -> None:
        batch = self._open.get(message.facts["number"])
        if batch is None:
            return
        worker = message.facts["worker"]
        batch.left = {pair for pair in batch.left if pair[1] != writer or worker not in {pair[0], ALL}}
        batch.untaken += message.facts.get("untaken", ())
        if batch.left:
            return
        if self._aside is None:
            self._close(batch)
        else:
            self._settle()

    def _settle(self) -> None:
        """Close the batches that nobody has any more."""
        if self._aside is None:
            for batch in [each for each in self._open.values() if not each.left]:
                self._close(batch)
        else:  # in their order
            for waiting in list(self._open.values()):
                if waiting.left:
                    break
                self._aside.write(waiting.dealt, waiting.untaken)
                self._close(waiting)

    def _close(self, batch: _Open) -> None:
        """A batch is on disk."""
        del self._open[batch.dealt.number]
        for worker, packets in zip(batch.workers, batch.packets, strict=True):
            if worker is not None:
                self.done[worker] += packets
        batch.dealt.drop()
        now = time.monotonic()
        self._bytes -= batch.size
        self._pace.written(batch.size, now)
        if now - self._told > _TELL_EVERY and self._status.ready():
            self._told = now
            self._status.send(encode_note(Note("progress", {"bytes": batch.dealt.bytes_read})))
