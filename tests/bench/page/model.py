"""The model of scale: what a packet, a stream and a byte cost in each stage, and how many processes traffic needs.

Knows: that costs add up. Does not know: what they come from, memory, disks, the kernel's part of a live capture.
Invariant: no cost is negative, and a prediction is the sum of what it was made of.

    CPU seconds of a stage = processes · run + messages · message + packets · packet + streams · stream + bytes · byte

A batch becomes a message from the capture process to each worker, and one for each pair of worker and writer that
share virtual shards: max(workers, writers) of them where one number divides the other. So what a worker costs grows
with their number, however many packets a message carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from typing import Any, TypeAlias

import numpy as np

from tests.bench.scale.stages import BATCH, REST, STAGES

COSTS = ("run", "message", "packet", "stream", "byte")
"""What a stage's time is made of; the columns of ``amounts``."""

MOST_BUSY = 0.7
"""Of a core: what a process that has to keep up may take, for bursts come above any mean."""

MOST_PROCESSES = 64
"""Workers, or writers, of one run."""

Stage: TypeAlias = Mapping[str, float]
Model: TypeAlias = Mapping[str, Stage]
"""Seconds by stage and cost."""

_LITTLE = 0.05  # seconds: runs that take less do not count for more


def amounts(row: Mapping[str, Any], stage: str) -> list[float]:
    """What a stage's costs are multiplied by, for a run with as many writers as workers."""
    batches, workers = ceil(row["packets"] / row["batch"]), row["workers"]
    if stage == REST:
        return [1, 0, row["packets"], row["streams"], row["bytes"]]
    processes = 1 if stage == "capture" else workers
    return [processes, batches * workers, row["packets"], row["streams"], row["bytes"]]


def fit(rows: Sequence[Mapping[str, Any]]) -> Model:
    """The costs that explain what the stages of ``rows`` took, errors weighed by size."""
    found = {}
    for stage in (*STAGES, REST):
        measured = np.array([row["stages"][stage] for row in rows])
        weights = 1 / (measured + _LITTLE)
        columns = np.array([amounts(row, stage) for row in rows], float)
        seconds = _not_negative(columns * weights[:, None], measured * weights)
        found[stage] = dict(zip(COSTS, seconds, strict=True))
    return found


def _not_negative(columns: Any, wanted: Any) -> list[float]:
    """Least squares with no negative factor: the best of all subsets of the columns that has none."""
    scale = np.abs(columns).max(axis=0)
    there = np.flatnonzero(scale)  # what there is none of explains nothing
    scale[scale == 0] = 1.0
    columns = columns / scale
    count = columns.shape[1]
    best, least = np.zeros(count), float(wanted @ wanted)
    for size in range(1, len(there) + 1):
        for chosen in map(list, combinations(there, size)):
            factors = np.linalg.lstsq(columns[:, chosen], wanted, rcond=None)[0]
            left = wanted - columns[:, chosen] @ factors
            if (factors >= 0).all() and float(left @ left) < least:
                best, least = np.zeros(count), float(left @ left)
                best[chosen] = factors
    return [float(value) for value in best / scale]


def predict(model: Model, row: Mapping[str, Any], cores: int) -> dict[str, Any]:
    """What a run should take: CPU seconds by stage and in all, and wall seconds.

    Stages work side by side until the cores, or the busiest process, are all that is left; the rest is before or after.
    """
    stages = {
        stage: float(np.dot(amounts(row, stage), [model[stage][cost] for cost in COSTS])) for stage in (*STAGES, REST)
    }
    beside = [stages["capture"], *(stages[stage] / row["workers"] for stage in STAGES[1:])]
    together = max(sum(stages[stage] for stage in STAGES) / cores, *beside)
    return {"stages": stages, "cpu": sum(stages.values()), "wall": stages[REST] + together}


@dataclass(frozen=True, slots=True)
class Traffic:
    """What comes in a second."""

    packets: float
    streams: float
    bytes: float

    @classmethod
    def like(cls, row: Mapping[str, Any], gigabits: float) -> Traffic:
        """Traffic made as a capture's, at so many Gbit of captured bytes a second."""
        part = gigabits * 1e9 / 8 / row["bytes"]
        return cls(row["packets"] * part, row["streams"] * part, row["bytes"] * part)


@dataclass(frozen=True, slots=True)
class Need:
    """Processes that keep up: ``captures`` runs beside one another, with so many workers and writers each."""

    captures: int
    workers: int
    writers: int
    cores: float  # that all are busy with

    @property
    def processes(self) -> int:
        """Of all runs."""
        return self.captures * (1 + self.workers + self.writers)


def load(model: Model, stage: str, traffic: Traffic, messages: float) -> float:
    """Cores that a stage of one run is busy with."""
    costs = model[stage]
    return (
        messages * costs["message"] + traffic.packets * costs["packet"] + traffic.streams * costs["stream"]
        + traffic.bytes * costs["byte"]
    )  # fmt: skip


def need(model: Model, whole: Traffic, most_runs: int = 4_096) -> Need | None:
    """The fewest runs, then the fewest processes, of which none is busier than ``MOST_BUSY``; None: no number does."""
    for captures in range(1, most_runs + 1):
        part = Traffic(whole.packets / captures, whole.streams / captures, whole.bytes / captures)
        found = [one for one in _one_run(model, part) if one is not None]
        if found:
            workers, writers, cores = min(found, key=lambda one: (one[0] + one[1], one[2]))
            return Need(captures, workers, writers, cores * captures)
    return None


def _one_run(model: Model, traffic: Traffic) -> Iterable[tuple[int, int, float]]:
    """Workers, writers and busy cores of the runs that keep up with this."""
    batches = traffic.packets / BATCH
    for workers in range(1, MOST_PROCESSES + 1):
        capture = load(model, "capture", traffic, batches * workers)
        if capture > MOST_BUSY:
            return
        for writers in range(1, MOST_PROCESSES + 1):
            if max(workers, writers) % min(workers, writers):
                continue
            messages = batches * max(workers, writers)
            worker, writer = (load(model, stage, traffic, messages) for stage in ("worker", "writer"))
            if worker <= MOST_BUSY * workers and writer <= MOST_BUSY * writers:
                yield workers, writers, capture + worker + writer
                break
