"""The capture process of a live capture: read at once, hand on when the next stage wants something.

Knows: when a batch may be sent, how long finishing may take. Does not know: interfaces, the spool.
Invariant: nothing but the end of the capture is waited for; between two looks at the interfaces lies one batch
at most.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from pipeline.capture import Capture, Dealt
from pipeline.config import Config
from pipeline.live.source import LiveInput
from pipeline.live.store import MOST_BYTES
from pipeline.live.told import Lookout
from pipeline.stages.keeping import Keeping
from pipeline.stages.process import Outbox
from pipeline.transport import Sender
from workers.wire import Note, encode_note

_TURN_MS: Final = 50
"""The longest wait: signals, time limits and blocks that are not full are looked at in between."""

_FINISH: Final = 2.5
"""Seconds from the end of the capture until what still lies in the spool is given up."""


def capture_live(
    config: Config, capture: Capture, outbox: Outbox, status: Sender, has_room: Callable[[], bool],
    send: Callable[[Dealt], None], beat: Callable[[], None] = lambda: None,
    most: Callable[[], int] = lambda: MOST_BYTES, keeping: Keeping | None = None,
) -> None:  # fmt: skip
    """A whole capture. ``send`` does not wait when ``has_room`` says so, and wants no more than ``most`` bytes then;
    ``beat`` is called again and again."""
    source = capture.begin_live()
    if keeping is not None:
        keeping.begin(source.drops)
    status.send(encode_note(Note("listening", {"text": f"capturing on {source.path}"})))
    try:
        _Loop(config, capture, source, outbox, status, most, keeping).run(has_room, send, beat)
    finally:
        source.close()
    for dealt in capture.finish():
        send(dealt)


class _Loop:
    """Reads, and sends whenever there is room."""

    def __init__(
        self, config: Config, capture: Capture, source: LiveInput, outbox: Outbox, status: Sender,
        most: Callable[[], int], keeping: Keeping | None,
    ) -> None:  # fmt: skip
        self._capture = capture
        self._source = source
        self._waiter = outbox.waiter
        self._status = status
        self._most = most
        self._keeping = keeping
        self._lookout = Lookout(config)
        self._sent = time.monotonic()
        self._pieces: deque[Dealt] = deque()  # of the block that is being sent: more than one if batches are small
        for descriptor in source.descriptors():
            self._waiter.watch(descriptor, _nothing)

    def run(self, has_room: Callable[[], bool], send: Callable[[Dealt], None], beat: Callable[[], None]) -> None:
        """Until all that was captured is sent, or given up."""
        end: float | None = None
        while True:
            self._waiter.wait(0 if self._source.ready() and has_room() else _TURN_MS)
            self._read()
            beat()
            while has_room() and (dealt := self._next()) is not None:
                send(dealt)
                self._sent = time.monotonic()
                self._read()
            if self._capture.cuts is not None and self._capture.cuts.overdue() and has_room():
                self._capture.rotate()
            now = time.monotonic()
            if self._source.ended:
                end = end or now
                if self._keeping is not None:
                    self._keeping.ended()
                if now - end > _FINISH:
                    self._source.abandon()
                if not self._source.waiting and not self._pieces:
                    return
            elif now - self._sent >= 1 and has_room() and not self._source.waiting:
                self._sent = now
                for each in self._capture.idle(self._source.idle_clock()):
                    send(each)

    def _next(self) -> Dealt | None:
        """What should be sent now."""
        if not self._pieces and self._source.ready() and (block := self._source.next(self._most())) is not None:
            if self._keeping is not None:
                self._keeping.offer(block)
            self._pieces.extend(self._capture.deal(block))
        return self._pieces.popleft() if self._pieces else None

    def _read(self) -> None:
        if self._source.ended:
            return
        watched = set(self._source.descriptors())
        if self._source.read():
            remark = self._lookout.look(self._source.handed, self._source.drops.packets)
            if remark is not None and self._status.ready():
                self._status.send(encode_note(Note("remark", {"message": remark[0], "hint": remark[1]})))
        for descriptor in watched - set(self._source.descriptors()):
            self._waiter.forget(descriptor)


def _nothing() -> None:
    """Whatever waits is read after the wait."""
