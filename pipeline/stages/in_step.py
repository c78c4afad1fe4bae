"""What several workers say of one batch, brought together.

Knows: which workers have said all they have to say of which batch. Does not know: what they say.
Invariant: the batches come out in their order, each once and whole; what the end of the input causes comes
out behind the last batch.

As many batches are held as may be under way between reading and disk, and their events are numbers only.
"""

from __future__ import annotations

from collections.abc import Iterator

from workers.contract import END_OF_INPUT, EventBatch
from workers.wire import Happened


class InStep:
    """The events of so many workers, batch by batch. Each worker tells of every batch, and in order."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._said: dict[int, list[EventBatch]] = {}  # by batch
        self._done: dict[int, int] = {}  # by batch: the workers that have said all of it
        self._ending: list[EventBatch] = []

    def take(self, message: Happened) -> Iterator[list[EventBatch]]:
        """One message; gives what can be applied now: the events of a batch, or some of the input's end."""
        events, number = message.events, message.events.number
        if number == END_OF_INPUT:
            self._ending.append(events)
        else:
            self._said.setdefault(number, []).append(events)
            if message.last:
                self._done[number] = self._done.get(number, 0) + 1
                if self._done[number] == self._workers:
                    del self._done[number]
                    yield self._said.pop(number)
        if self._ending and not self._said:
            ending, self._ending = self._ending, []
            yield ending
