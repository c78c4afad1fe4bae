"""Processes that died while a run went on: who hears of it, and what each does without them.

Knows: how word of a death comes, that it comes once. Does not know: what a stage does without another one.
Invariant: whoever waits, for credit or for input, hears it.

Only where the input cannot be read again (live, piped, followed) does a run go on without a process: with another one
in its place (recovery/succession.py), or to its end. ``orders-NAME`` is the coordinator's link to each process there.

Of N workers the one that takes the place of worker n is worker n + N, and so on, and of M writers writer m + M that of
writer m: each life has a number, and links, of its own, and what is said of one is never taken for another's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pipeline.config import Config
from pipeline.reading import is_endless
from pipeline.stages.inhand import Place
from pipeline.stages.process import LOST, Inbox, Outbox
from pipeline.transport import Wires
from workers.wire import Note


def goes_on(config: Config) -> bool:
    """Whether the run ends in order without a worker or a writer that died.

    What has parts (--rotate) ends at once: the parts that are complete are whole, and the next run goes on behind them.
    """
    return is_endless(config) and not config.console and config.rotation is None and config.workers > 0


class Loss(NamedTuple):
    """A process is dead; or it is done, and somebody may wait for its end who was not there to hear it."""

    name: str
    place: Place | None = None
    """What it had in hand."""
    heir: int | None = None
    """The number of the process in its place."""
    done: bool = False

    def note(self) -> Note:
        """... as it travels."""
        place = None if self.place is None else list(self.place)
        return Note(LOST, {"name": self.name, "place": place, "heir": self.heir, "done": self.done})


class Losses:
    """The ear of a process: while it waits ``told`` is called with each loss."""

    def __init__(
        self, config: Config, name: str, wires: Wires, outbox: Outbox, told: Callable[[Loss], None],
        inbox: Inbox | None = None,
    ) -> None:  # fmt: skip
        """``inbox``: what this process waits for besides credit."""
        self._told = told
        if not goes_on(config):
            return
        receiver = self._receiver = wires.receiver(f"orders-{name}")
        outbox.waiter.watch(receiver, self._hear)
        if inbox is not None:
            inbox.waiter.watch(receiver, self._hear)

    def _hear(self) -> None:
        while isinstance(message := self._receiver.take(), Note):
            if message.kind == LOST:
                facts = message.facts
                place = None if facts["place"] is None else Place(*facts["place"])
                self._told(Loss(str(facts["name"]), place, facts["heir"], bool(facts["done"])))


def number(name: str, stage: str) -> int | None:
    """Which worker or writer that is; None: another stage."""
    kind, _, digits = name.partition("-")
    return int(digits) if kind == stage else None
