"""The benchmark's course: captures, tools, modes, in turn; what each row must reach.

Knows: how flowshard and tcpflow are called for the same work; the targets.
Does not know: what the captures are made of, how a run is measured, how results are printed.
Invariant: every time that is kept is of a run whose tool gave exactly the expected streams in its warm-up.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.generate import Expected, cached, packed
from tests.bench.measure import Memory, RunFailed, Timed, memory, timed

CAPTURES = ("bulk", "web", "tiny", "disorder")
MODES = ("streams", "md5", "analyze")
ANALYZED = ("web", "tiny")
"""Captures on which analysis is measured: HTTP, and what looks like nothing at all."""

TARGETS = {
    ("bulk", "streams"): 1.6,
    ("web", "streams"): 1.3,
    ("tiny", "streams"): 1.4,
    ("disorder", "streams"): 1.2,
    ("bulk", "md5"): 2.5,
    ("web", "md5"): 2.2,
    ("web", "analyze"): 1.6,
    ("tiny", "analyze"): 1.6,
}
"""Times as fast as tcpflow, in one run, on two cores."""
PACKED_TARGETS = {("bulk", "streams"): 1.2}
"""The same where the capture is compressed, and tcpflow gets it through a pipe."""
TARGET_SECONDS = {("start", "streams"): 0.25}
"""From start to end, for a capture of five packets."""

_REPORT = "report.xml"
_FOUND = "-HTTP"  # in the names of files of what was found, with both tools
_PICTURE = "report.pdf"  # a visualisation, which tcpflow's -a makes, too
_BLOCK = 1 << 24


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that is measured, and how it is asked for each mode."""

    name: str
    command: tuple[str, ...]
    modes: dict[str, tuple[str, ...]]
    padded: bool = False  # addresses and ports in names have leading zeros
    unpacker: tuple[str, ...] = ()  # prints what a compressed capture holds, where the tool reads none itself

    def lines(self, mode: str, capture: Path, output: Path, *, packed: bool = False) -> list[list[str]]:
        """The command for one run, or two to be joined by a pipe."""
        piped = packed and bool(self.unpacker)
        words = ["-r", "-" if piped else str(capture), "-o", str(output), "-X", str(output / _REPORT)]
        line = [*self.command, *self.modes[mode], *words]
        return [[*self.unpacker, str(capture)], line] if piped else [line]


def flowshard(command: Sequence[str]) -> Tool:
    """Ours; ``command`` may end with options."""
    return Tool("flowshard", tuple(command), {"streams": (), "md5": ("-md5",), "analyze": ("-a", "-md5")})


def tcpflow(command: str, zstd: str = "zstd") -> Tool:
    """The peer; ``zstd`` unpacks for it. Its -a makes MD5s, too."""
    modes = {"streams": (), "md5": ("-e", "md5"), "analyze": ("-a",)}
    return Tool("tcpflow", (command, "-q"), modes, padded=True, unpacker=(zstd, "-dc"))


@dataclass(slots=True)
class Measured:
    """What one tool took for one row."""

    runs: list[Timed] = field(default_factory=list)
    memory: Memory | None = None

    @property
    def wall(self) -> float:
        """Median seconds."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """Median CPU seconds of all processes."""
        return statistics.median(run.cpu for run in self.runs)


@dataclass(frozen=True, slots=True)
class Row:
    """One capture in one mode, by tool."""

    capture: Expected
    mode: str
    tools: dict[str, Measured]
    packed: bool = False

    @property
    def name(self) -> str:
        """Of the capture."""
        return f"{self.capture.kind}.zst" if self.packed else self.capture.kind

    @property
    def ratio(self) -> float | None:
        """How many times as fast as tcpflow; None unless both ran."""
        if {"flowshard", "tcpflow"} <= self.tools.keys():
            return self.tools["tcpflow"].wall / self.tools["flowshard"].wall
        return None

    @property
    def target(self) -> float | None:
        """The ratio to reach."""
        return (PACKED_TARGETS if self.packed else TARGETS).get((self.capture.kind, self.mode))

    @property
    def target_seconds(self) -> float | None:
        """The time to keep to."""
        return None if self.packed else TARGET_SECONDS.get((self.capture.kind, self.mode))

    def met(self) -> bool:
        """Whether the targets are reached; one that could not be measured is not."""
        seconds = self.target_seconds
        if seconds is not None:
            return "flowshard" in self.tools and self.tools["flowshard"].wall <= seconds
        return self.target is None or (self.ratio is not None and self.ratio >= self.target)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    captures: tuple[str, ...]
    modes: tuple[str, ...]
    tools: tuple[Tool, ...]
    runs: int
    size: float
    seed: int
    folder: Path  # of the captures
    output: Path  # below which the tools write
    memory: bool = True
    packed: bool = False  # captures are compressed with zstd


def run(plan: Plan, say: Callable[[str], None]) -> Iterator[Row]:
    """Measure row by row. Raises RunFailed."""
    for kind in plan.captures:
        say(f"{kind}: capture")
        path, expected = cached(kind, 1.0 if kind == "start" else plan.size, plan.seed, plan.folder)
        if plan.packed:
            path = packed(path)
        modes = [mode for mode in plan.modes if mode != "analyze" or kind in ANALYZED]
        with _room(plan.output, expected, 4 if "analyze" in modes else 1) as output:
            for mode in modes if kind != "start" else ("streams",):
                say(f"{kind}, {mode}")
                yield Row(expected, mode, _measure(plan, mode, path, expected, output), plan.packed)


def _measure(plan: Plan, mode: str, capture: Path, expected: Expected, output: Path) -> dict[str, Measured]:
    """A warm-up each, whose output is checked, then the tools in turn, then memory by itself."""
    lines = {tool.name: tool.lines(mode, capture, output, packed=plan.packed) for tool in plan.tools}
    measured = {tool.name: Measured() for tool in plan.tools}
    into_page_cache(capture)
    for tool in plan.tools:
        empty(output)
        timed(*lines[tool.name])
        check_output(output, expected, tool, analyzed=mode == "analyze")
    for _ in range(plan.runs):
        for name, line in lines.items():
            empty(output)
            measured[name].runs.append(timed(*line))
    for name, line in lines.items() if plan.memory else ():
        empty(output)
        measured[name].memory = memory(*line)
    empty(output)
    return measured


def check_output(output: Path, expected: Expected, tool: Tool, *, analyzed: bool = False) -> None:
    """Raises RunFailed unless the folder holds the report and exactly the expected streams.

    ``analyzed``: and files of what was found in them, as many as there are; of web there must be bodies.
    """
    wanted = {
        padded_name(name) if tool.padded else name: (stream.size, stream.md5)
        for name, stream in expected.streams.items()
    }
    found = {entry.name: Path(entry.path) for entry in os.scandir(output)}
    if found.pop(_REPORT, None) is None:
        raise RunFailed(f"{tool.name} on {expected.kind}: no report")
    derived = {name for name in found.keys() - wanted.keys() if analyzed and (_FOUND in name or name == _PICTURE)}
    if analyzed and expected.kind == "web" and not any(f"{_FOUND}BODY" in name for name in derived):
        raise RunFailed(f"{tool.name} on {expected.kind}: no bodies")
    for name in derived:
        del found[name]
    if found.keys() != wanted.keys():
        missing, more = wanted.keys() - found.keys(), found.keys() - wanted.keys()
        counts = f"{len(missing)} streams missing, {len(more)} unexpected"
        raise RunFailed(f"{tool.name} on {expected.kind}: {counts} ({min(missing | more)})")
    wrong = sorted(name for name, path in found.items() if _size_and_md5(path) != wanted[name])
    if wrong:
        raise RunFailed(f"{tool.name} on {expected.kind}: {len(wrong)} streams differ ({wrong[0]})")


def padded_name(name: str) -> str:
    """``10.1.0.1.32768-192.0.2.1.80`` as tcpflow writes it, with leading zeros."""
    sides = (side.rpartition(".") for side in name.split("-"))
    return "-".join(
        ".".join([*(byte.zfill(3) for byte in address.split(".")), port.zfill(5)]) for address, _, port in sides
    )


def _size_and_md5(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return file.tell(), digest


def into_page_cache(path: Path) -> None:
    """Read it once, so that no run waits for the disk."""
    with path.open("rb", buffering=0) as file:
        while file.read(_BLOCK):
            pass


def empty(folder: Path) -> None:
    """Make it a folder without anything in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


@contextmanager
def _room(parent: Path, expected: Expected, times: int) -> Iterator[Path]:
    """An output folder below ``parent``, where the streams fit so many times; gone at the end."""
    need = (expected.capture_bytes * 5 // 4 + 8_192 * len(expected.streams)) * times
    free = shutil.disk_usage(parent).free
    if free < need:
        lack = f"{parent}: {free >> 20} MiB free, {expected.kind} needs {need >> 20}"
        raise RunFailed(f"{lack}\nhint: write elsewhere with --output, or less with --size")
    with tempfile.TemporaryDirectory(prefix="flowshard-bench-", dir=parent) as folder:
        yield Path(folder, "out")
