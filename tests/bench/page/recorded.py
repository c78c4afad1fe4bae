"""Recorded measurements: a JSON file for each section of the page, with the machine that it was measured on.

Knows: where they lie, what is kept of a machine. Does not know: what is in a section.
Invariant: a section is replaced whole or not at all; no name of a host, no user and no path is kept.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.versions import versions
from tests.bench.scale.settings import Settings
from tests.bench.table import processor

RECORDED = Path(__file__).with_name("recorded")
"""Where the page's figures lie."""

Section: TypeAlias = dict[str, Any]
"""``machine``, ``quick`` and ``data``."""

_DIGITS = 5
_IDLE_LOAD = 0.5
_ASKED = {"tcpflow": "-V", "tshark": "-v", "zstd": "-V", "cp": "--version"}


def load(folder: Path = RECORDED) -> dict[str, Section]:
    """All sections that there are, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def save(name: str, section: Section, folder: Path = RECORDED) -> None:
    """Put a section in the place of the one before."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(_rounded(section), indent=1) + "\n")
    unfinished.replace(path)


def _rounded(value: Any) -> Any:
    """Floats with as many digits as may mean something."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def machine() -> dict[str, Any]:
    """To be asked before anything is measured: the load is that of others."""
    load = os.getloadavg()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "memory": memory,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": dict(versions()),
        "programs": {name: version for name in _ASKED if (version := _version(name))},
        "load": round(load, 2),
    }


def is_idle(here: dict[str, Any]) -> bool:
    """Whether nobody else took much of the machine."""
    return bool(here["load"] < _IDLE_LOAD)


def section(settings: Settings, here: dict[str, Any], data: dict[str, Any]) -> Section:
    """What is recorded."""
    return {"machine": here, "quick": settings.quick, "data": data}


def _version(name: str) -> str | None:
    """The first line of what a program says of itself; None: it is not installed."""
    try:
        asked = subprocess.run([name, _ASKED[name]], capture_output=True, text=True, timeout=60)
    except OSError:
        return None
    words = asked.stdout.strip() or asked.stderr.strip()
    return words.splitlines()[0].strip("* ") if words else name
