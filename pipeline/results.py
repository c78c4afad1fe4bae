"""What the stages of a run said when they were done.

Knows: the shape, and where in their last words it is. Does not know: whether they ran as processes.
Invariant: one entry a worker and one a writer that lived to the end, in their order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import Config


@dataclass(frozen=True, slots=True)
class Results:
    """Counters as ``stats`` wants them; ``inputs`` as ``stages.describe`` makes them."""

    capture: Mapping[str, int]
    inputs: Sequence[Mapping[str, Any]]
    workers: Sequence[Mapping[str, int]]
    writers: Sequence[Mapping[str, int]]
    renamed: Sequence[tuple[str, ...]]
    """Names that foreign files had taken, and the names that were given instead."""
    parts: Mapping[str, Any] | None = None
    """Of a run in parts: what binding the last one needs (parts/binding.py)."""
    replaced: Sequence[str] = ()
    """Names of workers and writers that died and had another one take their place; they have no entry above."""
    lost: Sequence[str] = ()
    """Names of workers and writers that died while the run went on; they have no entry above."""
    told: Mapping[int, Mapping[int, Sequence[int]]] = field(default_factory=dict)
    """By worker that lived, and by writer: bytes, overlapping bytes and streams that it told it of."""


def gathered(
    config: Config, said: Mapping[str, dict[str, Any]], lost: Sequence[str], replaced: Sequence[str]
) -> Results:
    """The last words of processes, by name, as results. ``lost`` and ``replaced``: those that have none."""
    workers = [facts for name, facts in said.items() if name.startswith("worker-")]
    writers = [facts for name, facts in said.items() if name.startswith("writer-")]
    told = {int(name[7:]): facts["told"] for name, facts in said.items() if name.startswith("worker-")}
    capture, kept = said["capture"], said.get("keeper", {"counters": {}})["counters"]
    counters = capture["counters"] | _missing(capture, {*lost, *replaced})
    return Results(
        {name: counters.get(name, 0) + kept.get(name, 0) for name in {**counters, **kept}}, capture["inputs"],
        [each["counters"] for each in workers], [each["counters"] for each in writers],
        [tuple(pair) for each in writers for pair in each["renamed"]],
        None if config.rotation is None else said["binder"]["state"],
        tuple(replaced), tuple(lost), told,
    )  # fmt: skip


def _missing(capture: Mapping[str, Any], dead: Collection[str]) -> dict[str, int]:
    """What dead workers would have said of packets, by the capture process, which heard what was done of them."""
    if not any(name.startswith("worker-") for name in dead):
        return {}
    done = sum(packets for worker, packets in capture["done"] if f"worker-{worker}" in dead)
    return {"lost.packets": capture["counters"].get("lost.packets", 0), "lost.done": done}
