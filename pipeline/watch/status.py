"""How a live run is doing: one record, folded from what the stages say of themselves each second.

Knows: the facts of their notes, what follows from them. Does not know: clocks, processes, who shows it.
Invariant: it is frozen; ``after`` gives the next one. A total is a stage's own count and never falls as long as
that stage lives; a rate is between a stage's last two notes.

A note of the kind STATUS has these facts. All counts are since the beginning of the run.

    every stage  at        seconds, of the clock that all processes share (CLOCK_MONOTONIC)
                 counters  as in its last words (stats.py adds them up): numbers by name
    capture      spool     bytes in use, bytes of its limit
                 queued    batches on their way to each worker and not taken in, in the workers' order
                 open      batches that are not written yet
    worker-N     open      connections that it keeps state of
                 top       the connections with the most bytes since the last note: [key words, bytes], largest first
    writer-M     open      streams whose files may still grow
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Self

from pipeline.live.drops import NAMES
from pipeline.watch.talkers import Talker

STATUS: Final = "status"
"""The kind of such a note."""

EVERY: Final = 1.0
"""Seconds between two of a stage."""

MOST_TOP: Final = 10
"""Top talkers in a note, and in the record."""


LIMITS: Final = (
    "connections", "half_open", "ranges", "hole_bytes", "disk", "output", "files",
    "parts", "head", "decoded", "codings",
)  # fmt: skip
"""What has a limit that is counted when it is met; before it stands ``limit.``."""


class Amount(NamedTuple):
    """Of something that is counted."""

    total: int
    rate: float  # a second

    def __add__(self, other: Any) -> Amount:  # which a tuple would be longer by
        total, rate = other
        return Amount(self.total + total, self.rate + rate)


NOTHING: Final = Amount(0, 0.0)


@dataclass(frozen=True, slots=True)
class Said:
    """What a stage said last, and its counters the time before."""

    at: float
    facts: Mapping[str, Any]
    before_at: float = 0.0
    before: Mapping[str, int] | None = None

    def count(self, name: str) -> Amount:
        """One of its counters; what it has not is 0."""
        now = int(self.facts["counters"].get(name, 0))
        passed = self.at - self.before_at
        if self.before is None or passed <= 0:
            return Amount(now, 0.0)
        return Amount(now, max(now - self.before.get(name, 0), 0) / passed)


@dataclass(frozen=True, slots=True)
class Status:
    """The record. ``begun`` and ``at`` are seconds of the stages' clock."""

    begun: float
    at: float = 0.0  # of the latest note
    said: Mapping[str, Said] = field(default_factory=dict)  # by stage

    def after(self, stage: str, facts: Mapping[str, Any]) -> Self:
        """What is known once ``stage`` has said ``facts``."""
        at = float(facts["at"])
        last = self.said.get(stage)
        said = Said(at, facts) if last is None else Said(at, facts, last.at, last.facts["counters"])
        return replace(self, at=max(at, self.at), said={**self.said, stage: said})

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return max(self.at - self.begun, 0.0)

    # What came in

    @property
    def packets(self) -> Amount:
        """That the kernel handed over."""
        return self._sum("capture", "handed")

    @property
    def bytes(self) -> Amount:
        """... of them, as captured."""
        return self._sum("capture", "handed.bytes")

    @property
    def dropped(self) -> dict[str, Amount]:
        """Packets that were dropped, by where, in the order in which they pass there (live/drops.py)."""
        return {name: self._sum("capture", f"dropped.{name}") for name in NAMES}

    @property
    def lost(self) -> Amount:
        """... all together."""
        return sum(self.dropped.values(), NOTHING)

    @property
    def spool(self) -> tuple[int, int]:
        """Bytes in use, and their limit."""
        used, limit = self._fact("capture", "spool", (0, 0))
        return used, limit

    # What becomes of it

    @property
    def queued(self) -> list[int]:
        """Batches that wait for each worker."""
        return list(self._fact("capture", "queued", ()))

    @property
    def unwritten(self) -> int:
        """Batches that are under way to the disk."""
        return int(self._fact("capture", "open", 0))

    @property
    def workers(self) -> list[Amount]:
        """Packets that each worker has judged."""
        return [said.count("delivered") for _, said in self._of("worker")]

    @property
    def skew(self) -> float:
        """The busiest worker's packets by the mean of all, in the last second; 1 is even."""
        rates = [worker.rate for worker in self.workers]
        return max(rates) * len(rates) / sum(rates) if sum(rates) else 1.0

    @property
    def connections_open(self) -> int:
        """That workers keep state of; those that have ended are kept for a while."""
        return sum(said.facts["open"] for _, said in self._of("worker"))

    @property
    def streams_open(self) -> int:
        """Whose files may still grow."""
        return sum(said.facts["open"] for _, said in self._of("writer"))

    @property
    def streams_finished(self) -> Amount:
        """With a row in the report."""
        return self._sum("writer", "rows")

    @property
    def written(self) -> Amount:
        """Bytes of payload in files."""
        return self._sum("writer", "data_bytes")

    @property
    def files(self) -> Amount:
        """That were made."""
        return self._sum("writer", "files")

    @property
    def write_errors(self) -> Amount:
        """Writes that failed."""
        return self._sum("writer", "write_errors") + self._sum("capture", "write_errors")

    @property
    def lost_with_worker(self) -> Amount:
        """Packets that workers had not done when they died."""
        return self._sum("capture", "lost.packets")

    @property
    def limits(self) -> dict[str, Amount]:
        """How often each limit was met."""
        return {
            name: self._sum("worker", f"limit.{name}") + self._sum("writer", f"limit.{name}") for name in LIMITS
        }  # fmt: skip

    @property
    def top(self) -> list[Talker]:
        """The connections with the most bytes in the last second. One is at home on one worker."""
        found = [
            Talker(tuple(key), size) for _, said in self._of("worker") for key, size in said.facts["top"]
        ]  # fmt: skip
        return sorted(found, key=lambda talker: -talker.bytes)[:MOST_TOP]

    def counters(self, kind: str) -> dict[str, Amount]:
        """Every counter of a kind of stage ("capture", "worker", "writer"), added up."""
        found: dict[str, Amount] = {}
        for _, said in self._of(kind):
            for name in said.facts["counters"]:
                found[name] = found.get(name, NOTHING) + said.count(name)
        return found

    def _of(self, kind: str) -> Iterator[tuple[int, Said]]:
        """The stages of a kind, in the order of their numbers."""
        found = [(name.partition("-"), said) for name, said in self.said.items()]
        yield from sorted(
            ((int(number or 0), said) for (stage, _, number), said in found if stage == kind), key=lambda pair: pair[0]
        )

    def _sum(self, kind: str, counter: str) -> Amount:
        return sum((said.count(counter) for _, said in self._of(kind)), NOTHING)

    def _fact(self, stage: str, name: str, otherwise: Any) -> Any:
        said = self.said.get(stage)
        return otherwise if said is None else said.facts.get(name, otherwise)
