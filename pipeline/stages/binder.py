"""The binder process: makes a part of the output complete when all stages have left it.

Knows: who tells of parts. Does not know: what a part is made of (parts/binding.py).
Invariant: whoever tells is not kept waiting but by a window full of parts that are not bound yet.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.stages.process import Inbox, Outbox
from pipeline.transport import Sender, Wires
from workers.wire import Note, encode_note

if TYPE_CHECKING:
    from pipeline.parts.room import Usage

_PART, _OVER = "part", "over"


def binder_stage(
    config: Config, fragments: Sequence[Path], wires: Wires, outbox: Outbox, status: Sender,
    usage: Usage | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Bind parts until all others are done. ``usage``: what the run takes of the disk, where that has a limit."""
    from pipeline.parts.binding import Binder

    del outbox, status
    names = tellers(config)
    inbox = Inbox([wires.receiver(f"parts-{name}") for name in names])
    binder = Binder(config, fragments, names, time.time_ns(), usage)
    left = len(names)
    while left:
        message = inbox.next()
        if isinstance(message, Note) and message.kind == _PART:
            facts = message.facts
            binder.take(facts["part"], facts["name"], facts["told"])
        else:
            left -= 1
    return {"state": binder.state()}


def tellers(config: Config) -> list[str]:
    """All who tell of parts."""
    workers = [f"worker-{n}" for n in range(config.workers)]
    return ["capture", *workers, *(f"writer-{m}" for m in range(config.writers))]


class Teller:
    """How a process tells of the parts that it leaves. Of its last one its last words tell. Without parts: nothing."""

    def __init__(self, config: Config, name: str, wires: Wires, outbox: Outbox) -> None:
        self._name = name
        self._outbox = outbox
        self._sender = None if config.rotation is None else outbox.add(wires.sender(f"parts-{name}"))

    def left(self, folder: str, told: dict[str, Any]) -> None:
        """All that belongs to that part is done; ``told``: the facts."""
        self._put(Note(_PART, {"name": self._name, "part": folder, "told": told}))

    def over(self) -> None:
        """No further part will be left."""
        self._put(Note(_OVER, {}))

    def _put(self, note: Note) -> None:
        if self._sender is not None:
            self._outbox.put(self._sender, encode_note(note))
