"""What the benchmark prints and keeps: the machine, a table, JSON.

Knows: how results are shown.
Does not know: how they came about.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from typing import TypedDict

import numpy as np
from rich.table import Table

from tests.bench.run import Measured, Plan, Row, Tool

_IDLE_LOAD = 0.5


class Machine(TypedDict):
    """Where and with what was measured."""

    cores: int
    processor: str
    kernel: str
    python: str
    numpy: str
    load: float  # of the minute before
    idle: bool
    tools: dict[str, str]


def machine(tools: Sequence[Tool]) -> Machine:
    """To be asked before anything runs: the load is that of others."""
    load = os.getloadavg()[0]
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=processor(),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        numpy=np.__version__,
        load=round(load, 2),
        idle=load < _IDLE_LOAD,
        tools={tool.name: _version(tool) for tool in tools},
    )


def machine_line(here: Machine) -> str:
    """The same for people."""
    tools = ", ".join(here["tools"].values())
    state = "idle" if here["idle"] else "NOT idle: times are not to be trusted"
    return (
        f"{here['cores']} cores ({here['processor']}), {here['kernel']}, Python {here['python']}, "
        f"numpy {here['numpy']}; {tools}\nload before: {here['load']} ({state})"
    )


def table(rows: Sequence[Row], runs: int) -> Table:
    """Medians side by side."""
    shown = Table(title=f"medians of {runs}, in turn, after a warm-up", title_justify="left")
    shown.add_column("capture")
    shown.add_column("mode")
    names = list(rows[0].tools) if rows else []
    for head in (*(f"{name} s" for name in names), "ratio", "target", *(f"{name} CPU s" for name in names)):
        shown.add_column(head, justify="right")
    for name in names:
        shown.add_column(f"{name} MB", justify="right")
    for row in rows:
        took = row.tools.values()
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        shown.add_row(
            row.name,
            row.mode,
            *(f"{one.wall:.3f}" for one in took),
            ratio if row.met() else f"[bold red]{ratio}[/]",
            _target(row),
            *(f"{one.cpu:.3f}" for one in took),
            *(_megabytes(one) for one in took),
        )
    return shown


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table must know."""
    said = ["MB: peak of private anonymous memory (Pss_Anon) and memory files (the spool), sampled in a run of its own"]
    if any(row.packed for row in rows):
        said.append(".zst: compressed with zstd, level 3; tcpflow reads what zstd -dc prints, which counts as its own")
    if any(one.memory is not None and not one.memory.exact for row in rows for one in row.tools.values()):
        said.append("no Pss_Anon in this kernel: MB is Anonymous, which counts pages shared after fork twice")
    ours = [row for row in rows if "flowshard" in row.tools]
    missed = [f"{row.name} {row.mode}" for row in ours if not row.met()]
    if missed:
        said.append(f"target not reached, or not measured: {', '.join(missed)}")
    return said


def as_json(here: Machine, plan: Plan, rows: Sequence[Row]) -> dict[str, object]:
    """Everything measured."""
    return {
        "machine": here,
        "size": plan.size,
        "seed": plan.seed,
        "commands": {tool.name: list(tool.command) for tool in plan.tools},
        "rows": [
            {
                "capture": row.capture.kind,
                "packets": row.capture.packets,
                "connections": row.capture.connections,
                "capture_bytes": row.capture.capture_bytes,
                "packed": row.packed,
                "mode": row.mode,
                "ratio": row.ratio,
                "target": row.target,
                "target_seconds": row.target_seconds,
                "met": row.met(),
                "tools": {
                    name: {**asdict(one), "median_wall": one.wall, "median_cpu": one.cpu}
                    for name, one in row.tools.items()
                },
            }
            for row in rows
        ],
    }


def _target(row: Row) -> str:
    if row.target_seconds is not None:
        return f"{row.target_seconds} s"
    return "" if row.target is None else f"{row.target:.1f}"


def _megabytes(one: Measured) -> str:
    return "-" if one.memory is None or not one.memory.samples else f"{one.memory.total / 1e6:.0f}"


def processor() -> str:
    """What the kernel calls the CPU."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _version(tool: Tool) -> str:
    """The first line of ``-V`` (tcpflow's exit status is 1 then)."""
    try:
        line = [tool.command[0], *_module(tool), "-V"]
        asked = subprocess.run(line, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return f"{tool.name} (does not start)"
    words = asked.stdout.strip().splitlines()
    return words[0] if words else f"{tool.name} (no version)"


def _module(tool: Tool) -> tuple[str, ...]:
    """The part of a command that names the program: ``python -m pipeline``."""
    return tool.command[1:3] if tool.command[1:2] == ("-m",) else ()
