"""The capture process: read, decode, shard, send; keep count of what is not on disk yet.

Knows: releases, and how far the run is. Does not know: what becomes of a batch on its way.
Invariant: at most UNRELEASED batches are read and not yet written.
"""

from __future__ import annotations

import time
from typing import Any, Final

from pipeline.capture import Capture, describe
from pipeline.config import Config
from pipeline.stages.process import Outbox, targets
from pipeline.transport import Receiver, Sender, Wires
from workers.wire import Note, encode_note, encode_packets

UNRELEASED: Final = 64
"""Batches under way between reading and disk. The links' windows are narrower as a rule."""

_TELL_EVERY: Final = 0.1  # seconds between two words on progress


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
