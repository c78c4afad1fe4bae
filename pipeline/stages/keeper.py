"""The keeper process: take packets, write them to the files of --keep-packets, say that it is done with them.

Knows: which links it has, when it is asked to hurry. Does not know: files (live/kept.py).
Invariant: every batch is answered, with what of it could not be kept; a disk that fails costs packets that are
kept, never the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.live.kept import KeptFiles
from pipeline.stages.process import Inbox, Outbox
from pipeline.transport import Receiver, Sender, Waiter, Wires
from workers.contract import Stored
from workers.wire import Note, encode_note

if TYPE_CHECKING:
    from pipeline.spool.slabs import Spool


def keeper_stage(config: Config, spool: Spool, wires: Wires, outbox: Outbox, status: Sender) -> dict[str, Any]:
    """Take packets, keep them, answer."""
    live = config.live
    assert live is not None
    assert live.keep is not None
    inbox, hurry = Inbox([wires.receiver("keep")]), _Hurry(wires.receiver("hurry"))
    answers = outbox.add(wires.sender("kept"))
    files = KeptFiles(live.keep, live, config.expression)
    while isinstance(message := inbox.next(), Stored):
        kept = files.add(spool.view(), message, hurry.asked)
        lost = message.captured[kept:]
        facts = {"number": message.number, "packets": len(lost), "bytes": int(lost.sum(dtype="int64"))}
        outbox.put(answers, encode_note(Note("kept", facts)))
        _tell(files, outbox, status)
    files.close()
    _tell(files, outbox, status)
    outbox.drain()
    return {"counters": files.counters}


def _tell(files: KeptFiles, outbox: Outbox, status: Sender) -> None:
    """What went wrong, once each time that it was tried."""
    if files.problem is not None:
        outbox.put(status, encode_note(Note("remark", {"message": files.problem.message, "hint": files.problem.hint})))
        files.problem = None


class _Hurry:
    """Whether the capture process wants to end: it says so past the batches that wait."""

    def __init__(self, receiver: Receiver) -> None:
        self._waiter = Waiter()
        self._waiter.watch(receiver, lambda: self._heard(receiver))
        self._asked = False

    def _heard(self, receiver: Receiver) -> None:
        receiver.take()
        self._asked = True

    def asked(self) -> bool:
        """It does."""
        self._waiter.wait(0)
        return self._asked
