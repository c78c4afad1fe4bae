"""What the capture process has to do with the keeper: packets there, and word back.

Knows: how much may be under way, how long finishing may take. Does not know: files.
Invariant: offering never waits; what the keeper has no time for is counted as dropped there, and is in its streams
all the same.
"""

from __future__ import annotations

import time
from typing import Final

from pipeline.config import Config
from pipeline.live.drops import Drops
from pipeline.reading import Block, Lease
from pipeline.stages.process import Outbox
from pipeline.transport import Receiver, Wires
from workers.contract import Stored
from workers.wire import Note, encode_note, encode_stored

_SHARE: Final = 4
"""One part in so many of the spool may wait for the keeper: the rest is the capture's."""

_FINISH: Final = 3.0
"""Seconds from the end of the capture until the keeper has to leave it at that."""

_TURN_MS: Final = 50


class Keeping:
    """The keeper as the capture process sees it."""

    def __init__(self, config: Config, wires: Wires, outbox: Outbox) -> None:
        self._outbox = outbox
        self._packets = outbox.add(wires.sender("keep"))
        self._hurry = wires.sender("hurry")  # nobody waits for its credit: the keeper may be done before it looks
        answers = wires.receiver("kept")
        outbox.waiter.watch(answers, lambda: self._take(answers))
        self._most = config.spool_bytes // _SHARE
        self._bytes = 0  # under way
        self._open: dict[int, tuple[Lease, int]] = {}
        self._number = 0
        self._drops = Drops()
        self._ended: float | None = None

    def begin(self, drops: Drops) -> None:
        """What cannot be kept is counted there."""
        self._drops = drops

    def offer(self, block: Block) -> None:
        """Captured packets, as they are about to be decoded."""
        _, records, base, lease = block
        assert lease is not None
        size = int(records.captured.sum(dtype="int64"))
        if not self._packets.ready() or (self._open and self._bytes + size > self._most):
            self._drops.ours("keep", len(records.start), size)
            return
        lease.take()
        self._open[self._number] = lease, size
        self._bytes += size
        self._packets.send(encode_stored(Stored(self._number, base, lease.place, *records)))
        self._number += 1

    def ended(self) -> None:
        """The capture is over: from now on it should not take long."""
        self._ended = self._ended or time.monotonic()

    def finish(self) -> None:
        """Wait until all is kept, or given up."""
        self.ended()
        assert self._ended is not None
        hurried = False
        while self._open:
            if not hurried and time.monotonic() - self._ended > _FINISH:
                self._hurry.send(encode_note(Note("hurry", {})))
                hurried = True
            self._outbox.waiter.wait(_TURN_MS)
        self._outbox.put(self._packets, encode_note(Note("end", {})))

    def _take(self, receiver: Receiver) -> None:
        message = receiver.take()
        if not isinstance(message, Note) or message.facts["number"] not in self._open:
            return
        lease, size = self._open.pop(message.facts["number"])
        lease.drop()
        self._bytes -= size
        if message.facts["packets"]:
            self._drops.ours("keep", message.facts["packets"], message.facts["bytes"])
