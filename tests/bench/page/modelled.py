"""The model of scale as text: its costs, what they predict beside what was measured, what fast links need.

Knows: what the model's section holds. Does not know: how costs are fitted.
Invariant: a prediction stands beside what was measured, with the error, before anything is concluded from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.bench.page.markdown import figure, table
from tests.bench.page.model import COSTS, MOST_BUSY, MOST_PROCESSES, Traffic, need, predict
from tests.bench.scale.stages import REST, STAGES

RATES = (10, 40, 100)
"""Gbit/s."""

_UNITS: Final = {"run": ("ms", 1e3), "message": ("µs", 1e6), "packet": ("ns", 1e9), "stream": ("µs", 1e6),
                 "byte": ("ns a KB", 1e12)}  # fmt: skip
_NAMES: Final = {"streams": "", "md5": ", `-md5`"}

Data = Mapping[str, Any]


def modelled(data: Data) -> list[str]:
    """The section's text."""
    return [
        "What a stage takes is modelled as a sum: so much for each process, each message, each packet, each stream",
        "(a direction of a connection), each captured byte.",
        "The costs were fitted to runs with one worker and one writer that differ in these: bulk, web, tiny and chat,",
        "in two sizes and with two sizes of batches. Least squares of relative errors, no cost negative.",
        "A batch is a message to each worker, so messages cost more the more workers there are.",
        "",
        *_costs(data),
        "Predicted from these, and measured, on captures of another size; two workers were not fitted at all:",
        "",
        *_checked(data),
        *_needs(data),
    ]


def _costs(data: Data) -> list[str]:
    head = ["stage", *(f"{_UNITS[cost][0]} a {cost}" if cost != "byte" else _UNITS[cost][0] for cost in COSTS)]
    rows = [
        [f"{stage}{_NAMES[mode]}", *(figure(costs[stage][cost] * _UNITS[cost][1]) for cost in COSTS)]
        for mode, costs in data["model"].items()
        for stage in (*STAGES, REST)
    ]
    return table(head, rows)


def _checked(data: Data) -> list[str]:
    rows = []
    for row in data["checked"]:
        said = predict(data["model"][row["mode"]], row, data["cores"])
        by_stage = [f"{figure(said['stages'][stage])} / {figure(row['stages'][stage])}" for stage in STAGES]
        rows.append([
            f"{row['kind']}{_NAMES[row['mode']]}", str(row["workers"]), *by_stage,
            *(cell for unit in ("cpu", "wall") for cell in _beside(said[unit], row[unit])),
        ])  # fmt: skip
    units = [f"{words}{error}" for words in ("CPU s", "s") for error in ("", ", error")]
    return table(["capture", "workers", *(f"{stage} CPU s" for stage in STAGES), *units], rows)


def _beside(said: float, measured: float) -> tuple[str, str]:
    return f"{figure(said)} / {figure(measured)}", f"{100 * (said / measured - 1):+.0f} %"


def _needs(data: Data) -> list[str]:
    """What fast links need, for each kind of traffic that was checked."""
    text = [
        "Each pair of figures is predicted / measured.",
        "",
        "From this, what traffic needs that comes all the time, so that no process is busier than",
        f"{100 * MOST_BUSY:.0f} % of a core like those here. flowshard has one capture process a run:",
        "where one is not enough, the card has to deal connections to several runs, both directions of a connection",
        f"to the same one. Workers and writers are those of each run, which can have {MOST_PROCESSES} each.",
        "Not in it: the rest (start and report), what the kernel and the spool take of a live capture, the bandwidth",
        "of memory, and disks, which must take as many bytes as come.",
        "",
    ]
    rows = [row for mode in data["model"] for row in _needed(data, mode)]
    head = ["traffic", "Gbit/s", "million packets a s", "runs (capture processes)", "workers each", "writers each",
            "processes in all", "busy cores"]  # fmt: skip
    return text + table(head, rows)


def _needed(data: Data, mode: str) -> Iterator[list[str]]:
    kinds = {row["kind"]: row for row in data["checked"] if row["mode"] == mode}
    for kind, row in kinds.items():
        for rate in RATES:
            traffic = Traffic.like(row, rate)
            found = need(data["model"][mode], traffic)
            counts = ["-"] * 5 if found is None else [
                str(found.captures), str(found.workers), str(found.writers), str(found.processes), figure(found.cores),
            ]  # fmt: skip
            yield [f"{kind}{_NAMES[mode]}", str(rate), f"{traffic.packets / 1e6:.1f}", *counts]
