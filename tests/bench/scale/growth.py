"""How the cost of a run grows: with the size of the capture, with processes, with connections open at once.

Knows: which runs differ in one of these alone. Does not know: what stages do.
Invariant: what was not measured says why; a run whose streams are not all there is no figure.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tests.bench.generate import OPEN_AT_ONCE, Expected
from tests.bench.measure import RunFailed, Timed, memory, timed
from tests.bench.run import Tool, empty, flowshard, padded_name, tcpflow
from tests.bench.scale.settings import Settings, room_for
from tests.bench.scale.sink import Sink

GB = 1_000_000_000

_SIZES = (1, 4)  # GB
_HUGE = 16
_BULK_BYTES = 1_088_874_309
"""Of bulk at size 1, with seed 1."""
_WORKERS = (1, 2, 3, 4)
_BY_WORKERS = ("bulk", "web", "tiny")
_REPORT = "report.xml"


def tools(settings: Settings) -> list[Tool]:
    """Ours, and tcpflow where it is installed."""
    peer = shutil.which("tcpflow")
    return [flowshard(settings.command), *([tcpflow(peer)] if peer else [])]


def sizes(settings: Settings) -> dict[str, Any]:
    """Bulk of 1, 4 and (where asked for) 16 GB."""
    wanted = (*_SIZES, _HUGE) if settings.huge else _SIZES
    return {"rows": [{"gigabytes": settings.scaled(size), "tools": {}, **_of_size(settings, size)} for size in wanted]}


def _of_size(settings: Settings, size: int) -> dict[str, Any]:
    need = settings.scaled(size) * GB * 1.05
    settings.folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(settings.folder).free) < need and not _is_there(settings, size):
        return {"missing": f"the folder of the captures has {free / GB:.0f} GB free, {need / GB:.0f} are needed"}
    path, expected = settings.capture("bulk", size * GB / _BULK_BYTES)
    spare = min(shutil.disk_usage(settings.output).free, _available())
    emptied = room_for(expected) > spare // 2
    found = {}
    for tool in tools(settings):
        settings.say(f"bulk of {settings.scaled(size):g} GB, {tool.name}")
        with settings.room(room_for(expected) // (4 if emptied else 1)) as output:
            found[tool.name] = _one(settings, tool, path, expected, output, emptied=emptied)
    return {"bytes": expected.capture_bytes, "emptied": emptied, "tools": found}


def _is_there(settings: Settings, size: int) -> bool:
    """Whether a capture of that size was made already."""
    name = f"bulk-{settings.scaled(size * GB / _BULK_BYTES):g}.pcap"
    return (settings.folder / name).exists()


def _one(
    settings: Settings, tool: Tool, path: Path, expected: Expected, output: Path, *, emptied: bool = False
) -> dict[str, Any]:
    """CPU and wall seconds of the run with the least CPU time, and the peak memory of one more."""
    (line,) = tool.lines("streams", path, output)
    runs: list[Timed] = []
    for _ in range(settings.runs):
        empty(output)
        with Sink(output, active=emptied):
            runs.append(timed(line))
        check_sizes(output, expected, tool)
    empty(output)
    with Sink(output, active=emptied):
        held = memory(line)
    best = min(runs, key=lambda run: run.cpu)
    return {"cpu": best.cpu, "wall": best.wall, "memory": held.total}


def check_sizes(output: Path, expected: Expected, tool: Tool) -> None:
    """Raises RunFailed unless the streams have their names and sizes; bytes are compared elsewhere (run.py)."""
    wanted = {padded_name(name) if tool.padded else name: one.size for name, one in expected.streams.items()}
    found = {entry.name: entry.stat().st_size for entry in os.scandir(output) if entry.name != _REPORT}
    if found != wanted:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise RunFailed(f"{tool.name} on {expected.kind}: {len(wrong)} streams are not as expected ({wrong[0]})")


def workers(settings: Settings) -> dict[str, Any]:
    """One worker to four, and as many writers, beside what is chosen without a word."""
    rows = []
    for kind in _BY_WORKERS:
        path, expected = settings.capture(kind)
        for count in _WORKERS:
            settings.say(f"{kind}, {count} workers")
            tool = flowshard([*settings.command, f"--workers={count}"])
            with settings.room(room_for(expected)) as output:
                found = _one(settings, tool, path, expected, output)
            rows.append({"kind": kind, "workers": count, "bytes": expected.capture_bytes, **found})
    return {"cores": len(os.sched_getaffinity(0)), "rows": rows}


def open_at_once(settings: Settings) -> dict[str, Any]:
    """A hundred thousand connections, few of them or all of them open at a time."""
    rows = []
    for count in OPEN_AT_ONCE:
        path, expected = settings.capture(f"open-{count}")
        about = {"open": min(count, expected.connections), "bytes": expected.capture_bytes}
        found = {}
        for tool in tools(settings):
            settings.say(f"{count} open at once, {tool.name}")
            with settings.room(room_for(expected)) as output:
                found[tool.name] = _one(settings, tool, path, expected, output)
        rows.append({**about, "connections": expected.connections, "packets": expected.packets, "tools": found})
    return {"rows": rows}


def _available() -> int:
    """Bytes of memory that programs could still have (proc(5))."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
