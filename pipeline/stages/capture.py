"""The capture process: read, decode, shard, send; keep count of what is not on disk yet.

Knows: releases, how far the run is, how reading is brought to an end. Does not know: what becomes of a
batch on its way.
Invariant: at most UNRELEASED batches are read and not yet written, and the bytes of each stay readable
until it is.
"""

from __future__ import annotations

import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pipeline.capture import Capture, Dealt, describe
from pipeline.config import Config
from pipeline.memory import nothing_spooled
from pipeline.reading import is_endless
from pipeline.stages.binder import Teller
from pipeline.stages.inhand import NO_HAND, Hand
from pipeline.stages.losses import Loss, Losses, goes_on
from pipeline.stages.losses import number as number_of
from pipeline.stages.pace import Pace
from pipeline.stages.process import CUT, Outbox, targets
from pipeline.stages.writer import ALL, BURIED
from pipeline.transport import Receiver, Sender, Wires
from workers.wire import Frame, Note, encode_note, encode_packets

if TYPE_CHECKING:
    from pipeline.aside import Aside
    from pipeline.live.interface import Interface
    from pipeline.spool.slabs import Spool
    from pipeline.stages.keeping import Keeping

UNRELEASED: Final = 64
"""Batches under way between reading and disk. The links' windows are narrower as a rule."""

_PIECES: Final = 2
"""Batches that what may be under way is divided into, when it is little."""

STOP: Final = signal.SIGINT
"""Asks the capture process to take the input for ended."""

ROTATE: Final = signal.SIGUSR2
"""Asks it to end the part of the output. Whoever starts the stages ignores it, so that they do until they hear it."""

_TELL_EVERY: Final = 0.1  # seconds between two words on progress


def capture_stage(
    config: Config, spool: Spool | None, wires: Wires, outbox: Outbox, status: Sender,
    interfaces: Sequence[Interface] = (), hand: Hand = NO_HAND,
) -> dict[str, Any]:  # fmt: skip
    """Read, decode, shard, send; keep count of what is not on disk yet."""
    workers = _Workers(config, wires, outbox)
    senders = workers.senders
    aside = _aside(config, spool, status)
    releases = _Releases(config, wires, outbox, status, aside)
    Losses(config, "capture", wires, outbox, partial(_lose, config, spool, status, workers, releases))
    capture = Capture(config, config.workers, spool, interfaces)
    if is_endless(config):
        signal.signal(STOP, lambda *_: capture.stop())
    parts = Teller(config, "capture", wires, outbox)
    if config.rotation is not None:
        _rotate(config, capture, senders, parts, outbox, status)

    def send(dealt: Dealt) -> None:
        hand.name(dealt.number, dealt.first_packet, capture.packets + 1)
        releases.expect(dealt)
        for sender, part in zip(tuple(senders), dealt.parts, strict=True):  # a dead one's share is not its heir's
            outbox.put(sender, encode_packets(part))
        dealt.parts.clear()
        if aside is None and config.save_crash is None:
            dealt.forget()
        hand.reads(dealt.number + 1, capture.packets + 1)

    hand.reads(0, 1)
    keeping = _keeping(config, wires, outbox)
    if config.live is not None:
        _live(config, capture, outbox, status, senders, releases, send, keeping, aside)
    else:
        _offline(capture, spool, releases, send, partial(outbox.waiter.wait, 0) if goes_on(config) else None)
    hand.rest()
    workers.end()
    releases.wait_for_all()
    _finish(capture, keeping, parts, outbox)
    failed = {} if aside is None else aside.close()
    hand.over()
    counters, inputs = capture.counters() | releases.lost | failed, [describe(facts) for facts in capture.inputs]
    return {"counters": counters, "inputs": inputs, "done": list(releases.done.items())}


def _finish(capture: Capture, keeping: Keeping | None, parts: Teller, outbox: Outbox) -> None:
    """All is written: what else there was to do."""
    capture.hash_rest()
    if keeping is not None:
        keeping.finish()
    parts.over()
    outbox.drain()


def _offline(
    capture: Capture, spool: Spool | None, releases: _Releases, send: Callable[[Dealt], None],
    hear: Callable[[], object] | None,
) -> None:  # fmt: skip
    """Everything that is not live: it waits for us. ``hear``: what has been said, so that nothing more goes to the
    dead; None: none dies while this goes on."""
    if spool is not None:
        spool.make_room = releases.wait_for_one
    for dealt in capture.batches():
        if hear is not None:
            hear()
        send(dealt)


class _Workers:
    """The workers of this moment, in the order of their shares."""

    def __init__(self, config: Config, wires: Wires, outbox: Outbox) -> None:
        self.senders = [outbox.add(wires.sender(f"batches-{n}")) for n in range(config.workers)]
        self._wires = wires
        self._outbox = outbox
        self._ended = False

    def lose(self, worker: int, heir: int | None) -> None:
        """One is dead; what was not sent to it yet goes to its heir, or nowhere."""
        n = worker % len(self.senders)
        if heir is None:
            self.senders[n].give_up()
            return
        self._outbox.remove(self.senders[n])
        sender = self.senders[n] = self._outbox.add(self._wires.sender(f"batches-{heir}"))
        if self._ended:
            sender.send(encode_note(Note("end", {})))

    def end(self) -> None:
        """All was sent."""
        self._ended = True
        for sender in tuple(self.senders):
            self._outbox.put(sender, encode_note(Note("end", {})))


def _lose(
    config: Config, spool: Spool | None, status: Sender, workers: _Workers, releases: _Releases, loss: Loss
) -> None:
    """A process is dead: nothing is sent to it, and nothing is waited for that it alone could bring."""
    if loss.place is not None and config.save_crash is not None:
        from pipeline.recovery.saving import save_open

        view = nothing_spooled if spool is None else spool.view
        status.send(_remark(*save_open(config, loss.place, view, releases.dealt())))
    if (n := number_of(loss.name, "worker")) is not None:
        workers.lose(n, loss.heir)
        releases.worker_lost(n, loss.heir)
    elif (m := number_of(loss.name, "writer")) is not None:
        releases.writer_lost(m)


def _keeping(config: Config, wires: Wires, outbox: Outbox) -> Keeping | None:
    if config.live is None or config.live.keep is None:
        return None
    from pipeline.stages.keeping import Keeping

    return Keeping(config, wires, outbox)


def _live(
    config: Config, capture: Capture, outbox: Outbox, status: Sender, senders: Sequence[Sender],
    releases: _Releases, send: Callable[[Dealt], None], keeping: Keeping | None, aside: Aside | None,
) -> None:  # fmt: skip
    from pipeline.stages.live import capture_live
    from pipeline.watch.pulse import Pulse, of_capture, to_coordinator

    spool = capture.spool
    assert spool is not None
    facts = partial(
        of_capture, capture, spool, config.spool_bytes, senders, releases.count,
        lambda: releases.lost if aside is None else releases.lost | aside.failed,
    )  # fmt: skip
    beat = Pulse(facts, to_coordinator(status)).beat
    has_room = partial(releases.has_room, senders)
    capture_live(config, capture, outbox, status, has_room, send, beat, releases.piece, keeping)


def _rotate(
    config: Config, capture: Capture, senders: Sequence[Sender], parts: Teller, outbox: Outbox, status: Sender
) -> None:
    """Parts end when they should, and a marker says so to all behind."""
    from pipeline.parts.cutting import Cut, Cuts

    assert config.rotation is not None
    cuts = capture.cuts = Cuts(config.rotation, config.part, config.output)

    def mark(cut: Cut) -> None:
        if cut.taken:
            outbox.put(status, _remark(*cut.told))
        for sender in senders:
            outbox.put(sender, encode_note(Note(CUT, cut.facts)))
        parts.left(cut.folder, {"counters": cut.counters, "inputs": cut.inputs, **cut.facts})

    capture.on_cut = mark
    signal.signal(ROTATE, lambda *_: cuts.ask())


def _aside(config: Config, spool: Spool | None, status: Sender) -> Aside | None:
    if config.unprocessed is None:
        return None
    from pipeline.aside import Aside

    def tell(message: str, hint: str) -> None:  # it is told in the midst of a release: nothing is waited for
        status.send(_remark(message, hint))

    return Aside(config, nothing_spooled if spool is None else spool.view, tell)


def _remark(message: str, hint: str) -> list[Frame]:
    """For whoever watches the run."""
    return encode_note(Note("remark", {"message": message, "hint": hint}))


@dataclass(slots=True)
class _Open:
    """A batch that is under way."""

    dealt: Dealt
    left: set[tuple[int, int]]  # of which worker and writer a release is to come
    size: int  # captured bytes
    packets: list[int]  # of each worker's share
    workers: list[int | None]  # who they were then; None: nobody does that share
    untaken: list[tuple[int, int]] = field(default_factory=list)


class _Releases:
    """Which batches are not written yet, and how far the run is.

    A batch is done by a worker when all writers have all that it says of it. Of one that died this is known when all
    of them have buried it: what it had sent by then still counts, what it had not is lost.
    """

    def __init__(self, config: Config, wires: Wires, outbox: Outbox, status: Sender, aside: Aside | None) -> None:
        self._workers: list[int | None] = list(range(config.workers))  # of this moment; None: nobody
        self._targets = [set(targets(n, config.workers, config.writers)) for n in range(config.workers)]
        self._dead: set[int] = set()  # workers of whom it is not known what they had done
        self._buried: defaultdict[int, set[int]] = defaultdict(set)  # by worker: the writers that have done so
        self.done: Counter[int] = Counter()
        """Packets that each worker has done, dead ones too, of batches that are written."""
        self.lost: dict[str, int] = {}
        """What is counted when a worker dies: packets that it had not done."""
        self._open: dict[int, _Open] = {}  # in the order of their numbers
        self._outbox = outbox
        self._status = status
        self._aside = aside
        self._told = time.monotonic()
        self._latest = 0  # bytes read when the latest batch was
        self._pace = Pace()
        self._bytes = 0  # under way
        for m in range(config.writers):
            receiver = wires.receiver(f"releases-{m}")
            outbox.waiter.watch(receiver, lambda receiver=receiver, m=m: self._take(receiver, m))  # type: ignore[misc]

    def expect(self, dealt: Dealt) -> None:
        """A batch is about to be sent; waits while too many are under way."""
        while len(self._open) >= UNRELEASED:
            self._outbox.waiter.wait()
        size = dealt.bytes_read - self._latest
        self._pace.sent(time.monotonic(), first=not self._open)
        packets, workers = [len(part.packet) for part in dealt.parts], self._workers.copy()
        left = {
            (worker, m)
            for worker, written in zip(workers, self._targets, strict=True) if worker is not None for m in written
        }  # fmt: skip
        self._open[dealt.number] = _Open(dealt, left, size, packets, workers)
        for worker, count in zip(workers, packets, strict=True):
            if worker is None:
                self._lose(count)
        self._latest = dealt.bytes_read
        self._bytes += size

    def worker_lost(self, worker: int, heir: int | None) -> None:
        """From now on its share goes to its heir, if it has one."""
        self._workers[worker % len(self._workers)] = heir
        self._dead.add(worker)
        self._bury(worker)

    def writer_lost(self, writer: int) -> None:
        """It releases nothing any more, and buries nobody."""
        for written in self._targets:
            written.discard(writer)
        self._without(lambda _, m: m == writer)
        for worker in tuple(self._dead):
            self._bury(worker)

    def _bury(self, worker: int) -> None:
        """Once all have buried it: its share of what the writers do not have whole is lost."""
        place = worker % len(self._workers)
        if worker not in self._dead or not self._targets[place] <= self._buried[worker]:
            return
        self._dead.discard(worker)
        del self._buried[worker]
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

    def _take(self, receiver: Receiver, writer: int) -> None:
        message = receiver.take()
        if not isinstance(message, Note):
            return
        if message.kind == BURIED:
            self._buried[message.facts["worker"]].add(writer)
            self._bury(message.facts["worker"])
            return
        batch = self._open.get(message.facts["number"])
        if batch is None:
            return
        worker = message.facts["worker"]
        batch.left -= {pair for pair in batch.left if pair[1] == writer and worker in {pair[0], ALL}}
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
