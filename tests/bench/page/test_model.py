"""Costs that are there are found, predictions are their sums, and what links need keeps up, barely."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.bench.page import model
from tests.bench.page.model import (
    COSTS,
    MOST_BUSY,
    Need,
    Traffic,
    amounts,
    fit,
    load,
    need,
    predict,
)
from tests.bench.scale.stages import BATCH, REST, STAGES

TRUE = {
    "capture": dict(zip(COSTS, (0.02, 4e-4, 3e-7, 0.0, 1e-10), strict=True)),
    "worker": dict(zip(COSTS, (0.02, 1e-3, 1e-7, 3e-6, 0.0), strict=True)),
    "writer": dict(zip(COSTS, (0.0, 1e-3, 2e-7, 3e-5, 5e-10), strict=True)),
    REST: dict(zip(COSTS, (0.35, 0.0, 0.0, 2e-6, 0.0), strict=True)),
}
"""Costs such as those of a machine of today."""

RUNS = [
    {"packets": packets, "streams": streams, "bytes": size, "workers": 1, "batch": batch}
    for packets, streams, size in (
        (1_000_000, 2_000, 1_088_000_000), (300_000, 12_000, 270_000_000), (340_000, 66_000, 132_000_000),
        (200_000, 2_000, 55_000_000), (60_000, 20_000, 20_000_000),
    )
    for batch in (BATCH, BATCH // 8)
]  # fmt: skip


def rows(noise: float = 0.0) -> list[dict[str, Any]]:
    """Runs that cost what they should, give or take."""
    rng = np.random.default_rng(1)
    return [
        run | {"stages": {
            stage: float(np.dot(amounts(run, stage), list(costs.values()))) * (1 + noise * rng.standard_normal())
            for stage, costs in TRUE.items()
        }}
        for run in RUNS
    ]  # fmt: skip


def test_costs_are_found() -> None:
    """Each of them, where nothing disturbs."""
    for stage, costs in fit(rows()).items():
        assert costs == pytest.approx(TRUE[stage], rel=1e-6, abs=1e-12)


def test_noise_makes_no_cost_negative_and_predictions_little_worse() -> None:
    """With a tenth of noise nothing is negative, and what runs take in all is predicted within as much."""
    found = fit(rows(0.05))
    assert min(cost for costs in found.values() for cost in costs.values()) >= 0
    for row in rows():
        assert predict(found, row, 2)["cpu"] == pytest.approx(sum(row["stages"].values()), rel=0.1)


def test_what_there_is_none_of_costs_nothing() -> None:
    """Nobody sends messages beside the stages: noise is not laid at their door."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        columns = rng.random((12, 4)) * [1, 0, 1, 1]
        measured = columns @ np.array([1, 0, 2, 3]) + 0.3 * rng.standard_normal(12)
        assert model._not_negative(columns, measured)[1] == 0


def test_a_prediction_is_the_sum_of_its_parts() -> None:
    """CPU time is that of the stages; the wall is the busiest process, or all of them on the cores."""
    row = RUNS[0] | {"workers": 2}
    said = predict(TRUE, row, 2)
    busy = {stage: said["stages"][stage] for stage in STAGES}
    assert said["cpu"] == pytest.approx(sum(busy.values()) + said["stages"][REST])
    assert said["wall"] == pytest.approx(said["stages"][REST] + max(sum(busy.values()) / 2, busy["writer"] / 2))
    alone = predict(TRUE, row, 64)
    assert alone["wall"] == pytest.approx(
        alone["stages"][REST] + max(busy["capture"], busy["worker"] / 2, busy["writer"] / 2)
    )


@pytest.mark.parametrize("gigabits", [1, 10, 40, 100])
@pytest.mark.parametrize("run", RUNS[::2], ids=lambda run: f"{run['bytes'] // run['packets']} bytes")
def test_what_a_link_needs_keeps_up(run: dict[str, Any], gigabits: int) -> None:
    """No process is busier than it may be, with the messages of so many workers and writers; with one run less, one
    would be."""
    traffic = Traffic.like(run, gigabits)
    assert traffic.bytes == pytest.approx(gigabits * 1.25e8)
    found = need(TRUE, traffic)
    assert found is not None
    assert busiest(traffic, found) <= MOST_BUSY
    if found.captures > 1:
        counts = [(n, m) for n in range(1, 65) for m in range(1, 65) if max(n, m) % min(n, m) == 0]
        fewer = (Need(found.captures - 1, workers, writers, 0) for workers, writers in counts)
        assert min(busiest(traffic, one) for one in fewer) > MOST_BUSY


def busiest(traffic: Traffic, found: Need) -> float:
    """The share of a core that the busiest of these processes takes."""
    part = Traffic(*(each / found.captures for each in (traffic.packets, traffic.streams, traffic.bytes)))
    batches = part.packets / BATCH
    between = batches * max(found.workers, found.writers)
    return max(
        load(TRUE, "capture", part, batches * found.workers),
        load(TRUE, "worker", part, between) / found.workers,
        load(TRUE, "writer", part, between) / found.writers,
    )


def test_costs_that_no_number_of_processes_carries() -> None:
    """A stage that is too slow for a single stream a second has no answer, not a wrong one."""
    slow = TRUE | {"capture": TRUE["capture"] | {"stream": 1e6}}
    assert need(slow, Traffic(1e6, 1e3, 1e9), most_runs=8) is None
