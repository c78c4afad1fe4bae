"""The whole page, from what is recorded.

Knows: the page's parts and their order. Does not know: where it lies, how anything was measured.
Invariant: the text depends on the recorded figures alone, and says of each where and how it came about.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tests.bench.page.markdown import table
from tests.bench.page.recorded import Section, is_idle
from tests.bench.page.tables import TABLES

PICTURE = "benchmarks.svg"
"""Beside the page."""

_TRAFFIC = [
    ["bulk", "2,000 downloads of 500 kB each, full segments, 100 at a time"],
    ["web", "6,000 HTTP connections of some 52 kB, 200 at a time; a quarter of the bodies is gzip"],
    ["tiny", "33,000 HTTP connections of some 3 kB, 2,000 at a time"],
    ["disorder", "web with 2 % of the segments out of order and 2 % sent twice"],
    ["chat", "1,000 connections whose sides take turns, 200 bytes each time"],
]


def page(sections: Mapping[str, Section]) -> str:
    """Markdown."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `python -m tests.bench.page`, from the figures in `tests/bench/page/recorded/`; not to be edited.",
        "Captures are generated, the same ones for the same seed, and read from the page cache.",
        "CPU seconds are user and system time of all processes.",
        "Where medians are not named a figure is that of the run with the least CPU time: others only ever add.",
        "",
        *_warnings(sections),
        f"![What grows with what]({PICTURE})",
        "",
        *table(["capture", "what it is (at full size)"], _TRAFFIC, left=2),
        "## The machine",
        "",
        *_machines(sections),
    ]
    for name, (title, shown) in TABLES.items():
        lines += [f"## {title}", ""]
        lines += shown(sections[name]["data"]) if name in sections else ["Not measured yet.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _warnings(sections: Mapping[str, Section]) -> list[str]:
    """What makes figures worth less."""
    quick = [name for name in sections if sections[name]["quick"]]
    busy = [name for name in sections if not is_idle(sections[name]["machine"])]
    said = []
    if quick:
        said += [f"**No figures to be trusted, captures were small (`--quick`): {_titles(sections, quick)}.**", ""]
    if busy:
        said += [f"**The machine was not idle before: {_titles(sections, busy)}.**", ""]
    return said


def _titles(sections: Mapping[str, Section], names: Collection[str]) -> str:
    """Which sections these are."""
    return "all" if len(names) == len(sections) else "; ".join(TABLES[name][0] for name in TABLES if name in names)


def _machines(sections: Mapping[str, Section]) -> list[str]:
    """Each machine once, with the sections that were measured there."""
    found: list[tuple[dict[str, Any], list[str]]] = []
    for name in TABLES:
        if name not in sections:
            continue
        here = {key: value for key, value in sections[name]["machine"].items() if key != "load"}
        for known, titles in found:
            if known == here:
                titles.append(TABLES[name][0])
                break
        else:
            found.append((here, [TABLES[name][0]]))
    lines = []
    for here, titles in found:
        libraries = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
        programs = "; ".join(here["programs"].values()) or "none"
        lines += [
            *([f"{'; '.join(titles)}:", ""] if len(found) > 1 else []),
            f"- {here['cores']} cores, {here['processor']}, {here['memory'] / 2**30:.0f} GiB of memory",
            f"- {here['kernel']}",
            f"- {libraries}",
            f"- programs beside it: {programs}",
            "",
        ]
    return lines
