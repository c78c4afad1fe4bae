"""The stages as processes: each a loop of receive, handle, send around a pure or plain object.

Knows: which links a stage has, in which order it uses them. Does not know: how anything is judged.
Invariant: a stage takes in a message only when it has sent all that the one before it caused, so what
is under way is bounded by the links' windows.

Links: ``batches-N`` capture to worker N; ``events-N-M`` worker N to writer M; ``releases-M`` writer M to
capture; ``status-NAME`` each process to the coordinator.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from pipeline.capture import Capture, Slabs, describe
from pipeline.config import Config
from pipeline.errors import FlowshardError, InternalError
from pipeline.transport import Receiver, Sender, Waiter, Wires
from pipeline.writer.writer import Writer
from workers.contract import END_OF_INPUT, SHARDS, EventBatch
from workers.reassembler import Reassembler
from workers.wire import Frame, Happened, Note, Packets, encode_events, encode_note, encode_packets, for_writer

UNRELEASED: Final = 64
"""Batches under way between reading and disk. The links' windows are narrower as a rule."""

_TELL_EVERY: Final = 0.1  # seconds between two words on progress


Stage: TypeAlias = Callable[[Wires, "Outbox", Sender], dict[str, Any]]
"""What a process does: its links, its sending ends, its line to the coordinator; its last words."""


def targets(worker: int, workers: int, writers: int) -> list[int]:
    """The writers that a worker's virtual shards go to."""
    return sorted({shard % writers for shard in range(worker, SHARDS, workers)})


class Outbox:
    """All sending ends of a process. Waits for credit only, never for input."""

    def __init__(self) -> None:
        self.waiter = Waiter()
        self._senders: list[Sender] = []

    def add(self, sender: Sender) -> Sender:
        """Watch this sender's credit."""
        self._senders.append(sender)
        self.waiter.watch(sender, sender.take_credit)
        return sender

    def put(self, sender: Sender, frames: list[Frame]) -> None:
        """Send when the window has room."""
        while not sender.ready():
            self.waiter.wait()
        sender.send(frames)

    def drain(self) -> None:
        """Wait until all that was sent is taken in."""
        while any(sender.under_way for sender in self._senders):
            self.waiter.wait()


def run_stage(name: str, folder: Path, stage: Stage) -> int:
    """A stage's whole life: do it, then say ``done`` with its counters, or ``failed`` and why."""
    gc.disable()  # nothing here makes cycles by the packet, and a look at every open stream is dear
    wires, outbox = Wires(folder), Outbox()
    status = outbox.add(wires.sender(f"status-{name}"))
    try:
        note, code = Note("done", stage(wires, outbox, status)), 0
    except FlowshardError as error:
        code = error.status
        note = Note("failed", {"kind": type(error).__name__, "message": error.message, "hint": error.hint})
    except Exception as error:  # noqa: BLE001 - told to the coordinator, which ends the run
        trace = traceback.format_exc()
        note, code = Note("crashed", {"message": f"{type(error).__name__}: {error}", "trace": trace}), InternalError.status
    outbox.put(status, encode_note(note))
    if not code:
        outbox.drain()
    wires.close()
    return code


def capture_stage(config: Config, wires: Wires, outbox: Outbox, status: Sender) -> dict[str, Any]:
    """Read, decode, shard, send; keep count of what is not on disk yet."""
    senders = [outbox.add(wires.sender(f"batches-{n}")) for n in range(config.workers)]
    releases = _Releases(config, wires, outbox, status)
    capture = Capture(config, config.workers)
    for dealt in capture.batches():
        releases.expect(dealt.number, dealt.bytes_read)
        for sender, part in zip(senders, dealt.parts, strict=True):
            outbox.put(sender, encode_packets(part))
    for sender in senders:
        outbox.put(sender, encode_note(Note("end", {})))
    releases.wait_for_all()
    outbox.drain()
    return {"counters": capture.counters(), "inputs": [describe(facts) for facts in capture.inputs]}


class _Releases:
    """Which batches are not written yet, and how far the run is."""

    def __init__(self, config: Config, wires: Wires, outbox: Outbox, status: Sender) -> None:
        self._each = sum(len(targets(n, config.workers, config.writers)) for n in range(config.workers))
        self._open: dict[int, list[int]] = {}  # batch: releases to come, bytes read by then
        self._outbox = outbox
        self._status = status
        self._told = time.monotonic()
        for m in range(config.writers):
            receiver = wires.receiver(f"releases-{m}")
            outbox.waiter.watch(receiver, lambda receiver=receiver: self._take(receiver))  # type: ignore[misc]

    def expect(self, number: int, position: int) -> None:
        """A batch is about to be sent; waits while too many are under way."""
        while len(self._open) >= UNRELEASED:
            self._outbox.waiter.wait()
        self._open[number] = [self._each, position]

    def wait_for_all(self) -> None:
        """Wait until every batch is written."""
        while self._open:
            self._outbox.waiter.wait()

    def _take(self, receiver: Receiver) -> None:
        message = receiver.take()
        if not isinstance(message, Note):
            return
        batch = self._open.get(message.facts["number"])
        if batch is None:
            return
        batch[0] -= 1
        if not batch[0]:
            del self._open[message.facts["number"]]
            now = time.monotonic()
            if now - self._told > _TELL_EVERY and self._status.ready():
                self._told = now
                self._status.send(encode_note(Note("progress", {"bytes": batch[1]})))


def worker_stage(number: int, config: Config, wires: Wires, outbox: Outbox, _: Sender) -> dict[str, Any]:
    """Take a batch, judge it, send what happened to each writer that it concerns."""
    receiver = wires.receiver(f"batches-{number}")
    senders = {m: outbox.add(wires.sender(f"events-{number}-{m}")) for m in targets(number, config.workers, config.writers)}
    reassembler = Reassembler(config.limits)

    def say(events: EventBatch) -> None:
        for m, sender in senders.items():
            for frames in encode_events(for_writer(events, m, config.writers)):
                outbox.put(sender, frames)

    inbox = _Inbox([receiver])
    while isinstance(message := inbox.next(), Packets):
        say(reassembler.handle(message.batch))
    for events in reassembler.finish():
        say(events)
    for sender in senders.values():
        outbox.put(sender, encode_note(Note("end", {})))
    outbox.drain()
    return {"counters": reassembler.totals()}


def writer_stage(
    number: int, config: Config, fragment: Path, wires: Wires, outbox: Outbox, _: Sender
) -> dict[str, Any]:
    """Take events, write, release."""
    sources = [n for n in range(config.workers) if number in targets(n, config.workers, config.writers)]
    inbox = _Inbox([wires.receiver(f"events-{n}-{number}") for n in sources])
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


class _Inbox:
    """All receiving ends of a process; messages one at a time, in the order of their arrival."""

    def __init__(self, receivers: list[Receiver]) -> None:
        self._waiter = Waiter()
        self._messages: list[Any] = []
        for receiver in receivers:
            self._waiter.watch(receiver, lambda receiver=receiver: self._take(receiver))  # type: ignore[misc]

    def _take(self, receiver: Receiver) -> None:
        message = receiver.take()
        if message is not None:
            self._messages.append(message)

    def next(self) -> Any:
        """The next message."""
        while not self._messages:
            self._waiter.wait()
        return self._messages.pop(0)
