"""The capture process: read, decode, shard, send; keep count of what is not on disk yet.

Knows: to whom each share goes, how reading is brought to an end. Does not know: what becomes of a batch on its way,
when its bytes may go (releases.py).
Invariant: at most UNRELEASED batches are read and not yet written.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
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
from pipeline.stages.process import CUT, Outbox
from pipeline.stages.releases import Releases
from pipeline.transport import Sender, Wires
from workers.wire import Frame, Note, encode_note, encode_packets

if TYPE_CHECKING:
    from pipeline.aside import Aside
    from pipeline.live.interface import Interface
    from pipeline.spool.slabs import Spool
    from pipeline.stages.keeping import Keeping

STOP: Final = signal.SIGINT
"""Asks the capture process to take the input for ended."""

ROTATE: Final = signal.SIGUSR2
"""Asks it to end the part of the output. Whoever starts the stages ignores it, so that they do until they hear it."""


def capture_stage(
    config: Config, spool: Spool | None, wires: Wires, outbox: Outbox, status: Sender,
    interfaces: Sequence[Interface] = (), hand: Hand = NO_HAND,
) -> dict[str, Any]:  # fmt: skip
    """Read, decode, shard, send; keep count of what is not on disk yet."""
    workers = _Workers(config, wires, outbox)
    senders = workers.senders
    aside = _aside(config, spool, status)
    releases = Releases(config, wires, outbox, status, aside)
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
    capture: Capture, spool: Spool | None, releases: Releases, send: Callable[[Dealt], None],
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
    config: Config, spool: Spool | None, status: Sender, workers: _Workers, releases: Releases, loss: Loss
) -> None:
    """A process is dead: nothing is sent to it, and nothing is waited for that it alone could bring."""
    if loss.place is not None and config.save_crash is not None:
        from pipeline.recovery.saving import save_open

        view = nothing_spooled if spool is None else spool.view
        status.send(_remark(*save_open(config, loss.place, view, releases.dealt())))
    if loss.done:
        return
    if (n := number_of(loss.name, "worker")) is not None:
        workers.lose(n, loss.heir)
        releases.worker_lost(n, loss.heir)
    elif (m := number_of(loss.name, "writer")) is not None:
        releases.writer_lost(m, loss.heir)


def _keeping(config: Config, wires: Wires, outbox: Outbox) -> Keeping | None:
    if config.live is None or config.live.keep is None:
        return None
    from pipeline.stages.keeping import Keeping

    return Keeping(config, wires, outbox)


def _live(
    config: Config, capture: Capture, outbox: Outbox, status: Sender, senders: Sequence[Sender],
    releases: Releases, send: Callable[[Dealt], None], keeping: Keeping | None, aside: Aside | None,
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
