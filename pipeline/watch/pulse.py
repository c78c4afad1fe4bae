"""A stage says each second how it is doing.

Knows: the facts of such a note (status.py) and where a stage has them. Does not know: who listens.
Invariant: nothing here waits; when nobody takes the notes in, none is sent.

A stage looks at the time between two messages: live, one comes each second at the latest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline.transport import Sender
from pipeline.watch.status import EVERY, MOST_TOP, STATUS
from pipeline.watch.talkers import Talkers
from workers.wire import Note, encode_note

if TYPE_CHECKING:
    from pipeline.capture import Capture
    from pipeline.spool.slabs import Spool
    from pipeline.writer.writer import Writer
    from workers.reassembler import Reassembler

Facts: TypeAlias = dict[str, Any]


class Pulse:
    """``beat`` it as often as you like."""

    def __init__(self, facts: Callable[[], Facts], say: Callable[[Facts], None]) -> None:
        self._facts = facts
        self._say = say
        self._next = 0.0

    def beat(self) -> None:
        """Say how things are, if a second has passed since the last time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            self._say({"at": now, **self._facts()})


def to_coordinator(status: Sender) -> Callable[[Facts], None]:
    """Says it on a stage's line to the coordinator, unless too much is under way there."""

    def say(facts: Facts) -> None:
        status.take_credit()  # a stage that never waits for room does not look at it
        if status.ready():
            status.send(encode_note(Note(STATUS, facts)))

    return say


def of_capture(
    capture: Capture, spool: Spool, budget: int, senders: Sequence[Sender], under_way: Callable[[], int],
    more: Callable[[], Mapping[str, int]] = dict,
) -> Facts:  # fmt: skip
    """The capture process. ``budget``: the spool's, in bytes; ``under_way``: batches that are not written yet;
    ``more``: what else is counted there."""
    return {
        "counters": {**capture.counters(), **more()},
        "spool": (spool.in_use * spool.slab_bytes, budget),
        "queued": [sender.messages for sender in senders],
        "open": under_way(),
    }


def of_worker(worker: Reassembler, talkers: Talkers) -> Facts:
    """A worker. ``talkers`` begins anew."""
    return {
        "counters": worker.totals(),
        "open": len(worker.table),
        "top": [(talker.key, talker.bytes) for talker in talkers.take(MOST_TOP)],
    }


def of_writer(writer: Writer) -> Facts:
    """A writer."""
    return {"counters": dict(writer.counters), "open": writer.open_streams}
