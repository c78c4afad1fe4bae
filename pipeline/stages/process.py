"""What all stages share: a process's life, its sending and its receiving ends.

Knows: credit and input are waited for apart, so that a full window never makes a stage take in more.
Does not know: any stage.
Invariant: a process that ends by itself has said ``done``, ``failed`` or ``crashed``.
"""

from __future__ import annotations

import gc
import os
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from pipeline.errors import FlowshardError, InternalError
from pipeline.sealing import confine, no_more_processes
from pipeline.supervise import call_it
from pipeline.transport import Receiver, Sender, Waiter, Wires
from workers.contract import SHARDS
from workers.wire import Frame, Message, Note, encode_note

Stage: TypeAlias = Callable[[Wires, "Outbox", Sender], dict[str, Any]]
"""What a process does: its links, its sending ends, its line to the coordinator; its last words."""


def targets(worker: int, workers: int, writers: int) -> list[int]:
    """The writers that a worker's virtual shards go to; those of worker ``number + k * workers``, who takes the place
    of another one that died, go where the first one's went."""
    return sorted({shard % writers for shard in range(worker % workers, SHARDS, workers)})


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

    def remove(self, sender: Sender) -> None:
        """Nobody takes anything there any more."""
        self._senders.remove(sender)
        self.waiter.forget(sender)
        sender.close()

    def put(self, sender: Sender, frames: list[Frame]) -> None:
        """Send when the window has room."""
        while not sender.ready():
            self.waiter.wait()
        sender.send(frames)

    def drain(self) -> None:
        """Wait until all that was sent is taken in."""
        while any(sender.under_way for sender in self._senders):
            self.waiter.wait()


LOST: Final = "lost"
"""Kind of the note that a process is dead."""

BEHIND: Final = "behind"
"""Kind of the note with which a worker begins to speak to a writer that takes the place of a dead one: what it had to
say of the batches up to ``number`` went to that one."""

CUT: Final = "cut"
"""Kind of the note that stands on every link between what belongs to a part of the output and to the next one."""


class Inbox:
    """All receiving ends of a process; messages one at a time, in the order of their arrival.

    From an end that has given a CUT nothing more is taken until all others have given theirs; then it comes out, once.
    What it keeps waiting came behind the cut, and no cut waits for that.
    """

    def __init__(self, receivers: list[Receiver]) -> None:
        self.waiter = Waiter()
        self.source = 0
        """Which of the receivers the latest message came from."""
        self._receivers = receivers
        self._messages: deque[tuple[int, Message]] = deque()
        self._count = len(receivers)
        self._held: list[Receiver] = []
        self._given_up: set[int] = set()
        for receiver in receivers:
            self._watch(receiver)

    def _watch(self, receiver: Receiver) -> None:
        self.waiter.watch(receiver, lambda: self._hear(receiver))

    def _hear(self, receiver: Receiver) -> None:
        self._take(receiver)

    def add(self, receiver: Receiver) -> None:
        """One more, behind the others. Not where there are cuts."""
        self._receivers.append(receiver)
        self._watch(receiver)

    def give_up(self, source: int, *, died: bool = True) -> None:
        """Whoever sends there is dead, or done: what has come is still taken, and then LOST stands in for its end."""
        if source in self._given_up:
            return
        self._given_up.add(source)
        receiver = self._receivers[source]
        while self._take(receiver):
            pass
        self.waiter.forget(receiver)
        receiver.close()
        self._messages.append((source, Note(LOST, {"died": died})))

    def _take(self, receiver: Receiver) -> bool:
        message = receiver.take()
        if message is None:
            return False
        if isinstance(message, Note) and message.kind == CUT:
            self._held.append(receiver)
            if len(self._held) < self._count:
                self.waiter.forget(receiver)
                return True
            for each in self._held[:-1]:
                self._watch(each)
            self._held.clear()
        self._messages.append((self._receivers.index(receiver), message))
        return True

    def next(self) -> Message:
        """The next message."""
        while not self._messages:
            self.waiter.wait()
        self.source, message = self._messages.popleft()
        return message


def run_stage(name: str, folder: Path, stage: Stage, niceness: int = 0, writable: Sequence[Path] | None = None) -> int:
    """A stage's whole life: do it, then say ``done`` with its counters, or ``failed`` and why.

    ``writable``: it may change files beneath these folders only, and starts nothing. None: it is not held to that.
    """
    call_it(name)
    if writable is not None:
        confine([folder, *writable])
    if niceness:
        os.nice(niceness)
    gc.disable()  # nothing here makes cycles by the packet, and a look at every open stream is dear
    wires, outbox = Wires(folder), Outbox()
    status = outbox.add(wires.sender(f"status-{name}"))
    if writable is not None:
        no_more_processes()  # now that ZeroMQ has its thread
    try:
        note, code = Note("done", stage(wires, outbox, status)), 0
    except FlowshardError as error:
        code = error.status
        note = Note("failed", {"kind": type(error).__name__, "message": error.message, "hint": error.hint})
    except Exception as error:  # noqa: BLE001 - told to the coordinator, which ends the run
        trace = traceback.format_exc()
        note, code = (
            Note("crashed", {"message": f"{type(error).__name__}: {error}", "trace": trace}),
            InternalError.status,
        )
    outbox.put(status, encode_note(note))
    if not code:
        outbox.drain()
    wires.close()
    return code
