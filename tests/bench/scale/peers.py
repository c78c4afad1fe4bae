"""flowshard beside tcpflow and tshark, and beside what the machine needs to copy a capture or to read it once.

Knows: which programs are compared, on what. Does not know: how ours and tcpflow's runs are taken in turn (run.py).
Invariant: a program that is not installed is left out and named; nothing is compared with output that was not checked,
but for tshark's, which is of another kind.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.generate import Expected
from tests.bench.measure import timed
from tests.bench.run import CAPTURES, MODES, Plan, Row, empty, flowshard, run, tcpflow
from tests.bench.scale.settings import Settings, room_for

PROGRAMS = ("tcpflow", "tshark", "zstd", "cp", "md5sum")


def measure(settings: Settings) -> dict[str, Any]:
    """Every capture in every mode, bulk compressed, five packets; then what others do with the captures."""
    found = {name: shutil.which(name) for name in PROGRAMS}
    rows = [_row(row) for plan in _plans(settings, found) for row in run(plan, settings.say)]
    others = []
    for kind in CAPTURES:
        path, expected = settings.capture(kind)
        with settings.room(4 * room_for(expected)) as output:
            others += list(_others(settings, path, expected, output, found))
    return {"runs": _runs(settings), "rows": rows, "others": others,
            "missing": sorted(name for name, path in found.items() if path is None)}  # fmt: skip


def _runs(settings: Settings) -> int:
    return 1 if settings.quick else 5


def _plans(settings: Settings, found: dict[str, str | None]) -> Iterator[Plan]:
    """As ``python -m tests.bench --start``, and with ``--packed``."""
    tools = [flowshard(settings.command)]
    if found["tcpflow"]:
        tools.append(tcpflow(found["tcpflow"], found["zstd"] or "zstd"))
    size = settings.scaled(1.0)
    runs, places = _runs(settings), (settings.folder, settings.output)
    yield Plan((*CAPTURES, "start"), MODES, tuple(tools), runs, size, settings.seed, *places)
    if found["zstd"]:
        yield Plan(("bulk",), ("streams",), tuple(tools), runs, size, settings.seed, *places, packed=True)


def _row(row: Row) -> dict[str, Any]:
    """Medians, and the peak of memory."""
    return {
        "name": row.name,
        "mode": row.mode,
        "packets": row.capture.packets,
        "connections": row.capture.connections,
        "bytes": row.capture.capture_bytes,
        "ratio": row.ratio,
        "target": row.target,
        "target_seconds": row.target_seconds,
        "met": row.met(),
        "tools": {
            name: {"wall": one.wall, "cpu": one.cpu, "memory": one.memory.total if one.memory else None}
            for name, one in row.tools.items()
        },
    }


def _others(
    settings: Settings, path: Path, expected: Expected, output: Path, found: dict[str, str | None]
) -> Iterator[dict[str, Any]]:
    """The limit of the hardware, as often as ours runs; tshark once, since it takes long."""
    copies = (("cp", ["cp", str(path), str(output)]), ("md5sum", ["md5sum", str(path)]))
    shark = "tshark"
    for name, line in copies:
        if found[name]:
            yield _other(settings, name, expected, line, output, _runs(settings))
    if found[shark]:
        line = [shark, "-q", "-z", "conv,tcp", "-r", str(path)]
        yield _other(settings, "tshark -q -z conv,tcp", expected, line, output, 1)
    if found[shark] and expected.kind == "web":
        line = [shark, "-q", "--export-objects", f"http,{output}", "-r", str(path)]
        yield _other(settings, "tshark --export-objects http", expected, line, output, 1)


def _other(
    settings: Settings, name: str, expected: Expected, line: Sequence[str], output: Path, runs: int
) -> dict[str, Any]:
    took = []
    for _ in range(runs):
        settings.say(f"{expected.kind}, {name}")
        empty(output)
        took.append(timed(line))
    return {
        "program": name, "name": expected.kind, "bytes": expected.capture_bytes, "runs": runs,
        "wall": statistics.median(one.wall for one in took), "cpu": statistics.median(one.cpu for one in took),
    }  # fmt: skip
