"""The capture process: read, decode, shard, send; keep count of what is not on disk yet.

Knows: releases, how far the run is, how reading is brought to an end. Does not know: what becomes of a
batch on its way.
Invariant: at most UNRELEASED batches are read and not yet written, and the bytes of each stay readable
until it is.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pipeline.capture import Capture, Dealt, describe
from pipeline.config import Config
from pipeline.memory import nothing_spooled
from pipeline.reading import is_endless
from pipeline.stages.binder import Teller
from pipeline.stages.inhand import NO_HAND, Hand, Place
from pipeline.stages.losses import Losses
from pipeline.stages.losses import number as number_of
from pipeline.stages.pace import Pace
from pipeline.stages.process import CUT, Outbox, targets
from pipeline.stages.writer import ALL
from pipeline.transport import Receiver, Sender, Wires
from workers.wire import Note, encode_note, encode_packets

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
    senders = [outbox.add(wires.sender(f"batches-{n}")) for n in range(config.workers)]
    aside = _aside(config, spool)
    releases = _Releases(config, wires, outbox, status, aside)
    Losses(config, "capture", wires, outbox, partial(_lose, config, spool, status, senders, releases))
    capture = Capture(config, config.workers, spool, interfaces)
    if is_endless(config):
        signal.signal(STOP, lambda *_: capture.stop())
    parts = Teller(config, "capture", wires, outbox)
    if config.rotation is not None:
        _rotate(config, capture, senders, parts, outbox)

    def send(dealt: Dealt) -> None:
        hand.name(dealt.number, dealt.first_packet, capture.packets + 1)
        releases.expect(dealt)
        for sender, part in zip(senders, dealt.parts, strict=True):
            outbox.put(sender, encode_packets(part))
        dealt.parts.clear()
        if aside is None and config.save_crash is None:
            dealt.forget()
        hand.reads(dealt.number + 1, capture.packets + 1)

    hand.reads(0, 1)
    keeping = _keeping(config, wires, outbox)
    if config.live is not None:
        _live(config, capture, outbox, status, senders, releases, send, keeping)
    else:
        _offline(capture, spool, releases, send)
    hand.rest()
    _end(senders, releases, outbox)
    _finish(capture, keeping, parts, outbox)
    if aside is not None:
        aside.close()
    return {"counters": capture.counters() | releases.lost, "inputs": [describe(facts) for facts in capture.inputs]}


def _finish(capture: Capture, keeping: Keeping | None, parts: Teller, outbox: Outbox) -> None:
    """All is written: what else there was to do."""
    capture.hash_rest()
    if keeping is not None:
        keeping.finish()
    parts.over()
    outbox.drain()


def _offline(capture: Capture, spool: Spool | None, releases: _Releases, send: Callable[[Dealt], None]) -> None:
    """Everything that is not live: it waits for us."""
    if spool is not None:
        spool.make_room = releases.wait_for_one
    for dealt in capture.batches():
        send(dealt)


def _end(senders: Sequence[Sender], releases: _Releases, outbox: Outbox) -> None:
    """All was sent: wait until it is written."""
    for sender in senders:
        outbox.put(sender, encode_note(Note("end", {})))
    releases.wait_for_all()


def _lose(
    config: Config, spool: Spool | None, status: Sender, senders: Sequence[Sender], releases: _Releases, name: str,
    place: Place | None,
) -> None:  # fmt: skip
    """A process is dead: nothing is sent to it, and nothing is waited for that it alone could bring."""
    if place is not None and config.save_crash is not None:
        from pipeline.recovery.saving import save_open

        message, hint = save_open(config, place, nothing_spooled if spool is None else spool.view, releases.dealt())
        status.send(encode_note(Note("remark", {"message": message, "hint": hint})))
    if (n := number_of(name, "worker")) is not None:
        senders[n].give_up()
        releases.worker_lost(n)
    elif (m := number_of(name, "writer")) is not None:
        releases.writer_lost(m)


def _keeping(config: Config, wires: Wires, outbox: Outbox) -> Keeping | None:
    if config.live is None or config.live.keep is None:
        return None
    from pipeline.stages.keeping import Keeping

    return Keeping(config, wires, outbox)


def _live(
    config: Config, capture: Capture, outbox: Outbox, status: Sender, senders: Sequence[Sender],
    releases: _Releases, send: Callable[[Dealt], None], keeping: Keeping | None,
) -> None:  # fmt: skip
    from pipeline.stages.live import capture_live
    from pipeline.watch.pulse import Pulse, of_capture, to_coordinator

    spool = capture.spool
    assert spool is not None
    facts = partial(of_capture, capture, spool, config.spool_bytes, senders, releases.count)
    beat = Pulse(facts, to_coordinator(status)).beat
    has_room = partial(releases.has_room, senders)
    capture_live(config, capture, outbox, status, has_room, send, beat, releases.piece, keeping)


def _rotate(config: Config, capture: Capture, senders: Sequence[Sender], parts: Teller, outbox: Outbox) -> None:
    """Parts end when they should, and a marker says so to all behind."""
    from pipeline.parts.cutting import Cut, Cuts

    assert config.rotation is not None
    cuts = capture.cuts = Cuts(config.rotation, config.part)

    def mark(cut: Cut) -> None:
        for sender in senders:
            outbox.put(sender, encode_note(Note(CUT, cut.facts)))
        parts.left(cut.folder, {"counters": cut.counters, "inputs": cut.inputs, **cut.facts})

    capture.on_cut = mark
    signal.signal(ROTATE, lambda *_: cuts.ask())


def _aside(config: Config, spool: Spool | None) -> Aside | None:
    if config.unprocessed is None:
        return None
    from pipeline.aside import Aside

    return Aside(config, nothing_spooled if spool is None else spool.view)


@dataclass(slots=True)
class _Open:
    """A batch that is under way."""

    dealt: Dealt
    left: set[tuple[int, int]]  # of which worker and writer a release is to come
    size: int  # captured bytes
    packets: tuple[int, ...]  # of each worker's share
    untaken: list[tuple[int, int]] = field(default_factory=list)


class _Releases:
    """Which batches are not written yet, and how far the run is."""

    def __init__(self, config: Config, wires: Wires, outbox: Outbox, status: Sender, aside: Aside | None) -> None:
        self._each = {(n, m) for n in range(config.workers) for m in targets(n, config.workers, config.writers)}
        self._dead: set[int] = set()  # workers
        self._done: Counter[int] = Counter()  # packets of each worker's share, of batches that are written
        self.lost: dict[str, int] = {}
        """What is counted when a worker dies: packets that it had not done, and that it had."""
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
        packets = tuple(len(part.packet) for part in dealt.parts)
        self._open[dealt.number] = _Open(dealt, set(self._each), size, packets)
        for n in self._dead:
            self.lost["lost.packets"] += packets[n]
        self._latest = dealt.bytes_read
        self._bytes += size

    def worker_lost(self, worker: int) -> None:
        """What it had not done when it died is lost: its share of the batches that the writers do not have whole."""
        self._dead.add(worker)
        self._each = {(n, m) for n, m in self._each if n != worker}
        lost = sum(batch.packets[worker] for batch in self._open.values() if any(n == worker for n, _ in batch.left))
        self.lost["lost.packets"] = self.lost.get("lost.packets", 0) + lost
        done = sum(batch.packets[worker] for batch in self._open.values()) - lost + self._done[worker]
        self.lost["lost.done"] = self.lost.get("lost.done", 0) + done
        self._without(lambda n, _: n == worker)

    def writer_lost(self, writer: int) -> None:
        """It releases nothing any more."""
        self._each = {(n, m) for n, m in self._each if m != writer}
        self._without(lambda _, m: m == writer)

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
        for n, packets in enumerate(batch.packets):
            self._done[n] += packets
        batch.dealt.drop()
        now = time.monotonic()
        self._bytes -= batch.size
        self._pace.written(batch.size, now)
        if now - self._told > _TELL_EVERY and self._status.ready():
            self._told = now
            self._status.send(encode_note(Note("progress", {"bytes": batch.dealt.bytes_read})))
