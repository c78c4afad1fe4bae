"""Parts made complete: the fragments of all writers, and what all stages counted, into a folder with a report.

Knows: who tells of a part, what is different since the part before. Does not know: links, who cuts.
Invariant: parts are bound in their order, each once, when all have told of it; the fragments of a part go when its
report is placed, and what is kept is one set of counters, however many parts there were.

At a cut those lines of the accounting identity are checked that hold while streams are open (stats.py).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from pipeline.completing import complete
from pipeline.config import Config
from pipeline.destinations import MANIFEST, OBJECT_LINES, PACKET_MAP, REPORT
from pipeline.parts.folders import PART_MARKER, clear_emptied, cost, number_of
from pipeline.provenance import report_head, report_tail
from pipeline.results import Results
from pipeline.settle import rename_plain
from pipeline.stats import added, checked, summary
from pipeline.tree import Tree

if TYPE_CHECKING:
    from pipeline.parts.room import Usage

_SECOND: Final = 1_000_000_000


class Counted(NamedTuple):
    """What the stages have counted from the beginning of the run to a moment; or from one moment to another."""

    capture: Mapping[str, int]
    worker: Mapping[str, int]
    writer: Mapping[str, int]
    inputs: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, results: Results) -> Self:
        """At the end of the run."""
        return cls(results.capture, added(results.workers), added(results.writers), results.inputs)

    def since(self, before: Counted) -> Counted:
        """What came between."""
        counts = [
            Counter({name: count - then.get(name, 0) for name, count in now.items()})
            for now, then in zip(self[:3], before[:3], strict=True)
        ]
        inputs = self.inputs
        if before.inputs:
            inputs = [
                {**now, **{name: now[name] - then[name] for name in ("bytes", "packets", "more_faults")},
                 "faults": now["faults"][len(then["faults"]) :]}
                for now, then in zip(self.inputs, before.inputs, strict=True)
            ]  # fmt: skip
        return Counted(counts[0], counts[1], counts[2], inputs)


_NOTHING: Final = Counted({}, {}, {}, ())


class Binder:
    """Binds the parts of a run but for the last, of which nobody tells: ``bind_last``."""

    def __init__(
        self, config: Config, fragments: Sequence[Path], names: Sequence[str], began: int, usage: Usage | None = None
    ) -> None:
        """``config`` of the run; ``fragments`` of its first part; ``names``: of all that tell of parts; ``began``: ns
        since 1970, when the first part did; ``usage`` is told of what is written."""
        self.folder = config.part
        """Of the part that is written, or about to be bound."""
        self.failed: dict[str, int] = {}
        """What was counted of what stands beside the reports, and could not be made."""
        self._config = config
        self._fragments = fragments
        self._names = frozenset(names)
        self._began = began
        self._before = _NOTHING
        self._usage = usage
        self._told: dict[str, dict[str, dict[str, Any]]] = {}  # by folder, by name: parts that some have left

    def take(self, folder: str, name: str, facts: dict[str, Any]) -> None:
        """What one of them says of a part that it has left; binds the part when all have. Errors as of ``complete``."""
        told = self._told.setdefault(folder, {})
        told[name] = facts
        if told.keys() == self._names:
            del self._told[folder]
            capture = told["capture"]
            now = Counted(
                capture["counters"],
                added(facts["counters"] for name, facts in told.items() if name.startswith("worker")),
                added(facts["counters"] for name, facts in told.items() if name.startswith("writer")),
                capture["inputs"],
            )
            self._bind(now, capture["at"], whole=False)
            self.folder, self._began, self._before = capture["next"], capture["at"], now
            with Tree(self._config.output) as tree:
                clear_emptied(tree, self._config.output, number_of(folder))

    def state(self) -> dict[str, Any]:
        """What ``bind_last`` needs, where that is done in another process."""
        return {"folder": self.folder, "began": self._began, "before": [*map(_plain, self._before)],
                "failed": self.failed}  # fmt: skip

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on where another one was."""
        self.folder, self._began = state["folder"], state["began"]
        self._before = Counted(*state["before"])
        self.failed = dict(state["failed"])

    def bind_last(self, results: Results, ended: int) -> None:
        """The run is over, and its accounting holds. Errors as of ``complete``."""
        self._bind(Counted.of(results), ended, whole=True)

    def _bind(self, now: Counted, ended: int, *, whole: bool) -> None:
        """Make the part complete. ``whole``: no stream is open."""
        part = part_config(self._config, self.folder)
        since = now.since(self._before)
        if not whole:
            checked(since.capture, since.worker, since.writer, whole=False)
        counters = summary(since.capture, since.worker, since.writer, sum(facts["bytes"] for facts in since.inputs))
        fragments = part_fragments(self._fragments, self.folder)
        head = report_head(part, self._began)
        tail = partial(report_tail, part, since.inputs, counters, (ended - self._began) / _SECOND)
        before = Counter(counters)
        complete(part, fragments, counters, head, tail, rename_plain(part, fragments))
        self.failed = dict(Counter(self.failed) + (Counter(counters) - before))
        shutil.rmtree(fragments[0].parent, ignore_errors=True)
        if part.manifest:
            from pipeline.manifest.making import make_manifest

            make_manifest(part, since.inputs, self._began, processes=1, fixed=[PART_MARKER])
        if self._usage is not None:
            lists = (REPORT, PACKET_MAP, OBJECT_LINES, MANIFEST)
            made = (part.flows, *(part.output / name for name in lists))
            size = sum(cost(path.stat()) for path in made if path is not None and path.exists())
            self._usage.add(self._usage.binder, size)
            self._usage.bound = number_of(self.folder)


def part_config(config: Config, folder: str) -> Config:
    """The run as if it wrote into a part's folder only."""
    output = config.output / folder
    flows = None if config.flows is None else output / config.flows.name
    return replace(config, output=output, report=output / REPORT, flows=flows)


def part_fragments(fragments: Sequence[Path], folder: str) -> list[Path]:
    """Where the writers' fragments of a part lie; ``fragments`` are those of another part."""
    return [fragment.parent.parent / folder / fragment.name for fragment in fragments]


def _plain(value: Any) -> Any:
    """As a message can carry it."""
    return dict(value) if isinstance(value, Mapping) else list(value)
