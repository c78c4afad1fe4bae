"""``python -m tests.bench``: argv to a plan, run it, print it."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.bench.generate import cached, packed
from tests.bench.measure import RunFailed
from tests.bench.run import CAPTURES, MODES, Plan, Row, Tool, flowshard, run, tcpflow
from tests.bench.table import as_json, machine, machine_line, notes, table

_TMPFS = Path("/dev/shm")
_TEMPORARY = Path(tempfile.gettempdir())


def main() -> int:
    """0: done; 1: a run failed, or with --check a target is not reached."""
    options = _parser().parse_args()
    options.only = options.only or (("bulk",) if options.packed else CAPTURES)
    if options.generate:
        for kind in options.only:
            path, expected = cached(kind, options.size, options.seed, options.dir)
            if options.packed:
                path = packed(path)
            print(f"{path}: {expected.packets} packets, {expected.capture_bytes} bytes")
        return 0
    tools = _tools(options)
    plan = Plan(
        captures=(*options.only, *(["start"] if options.start else [])),
        modes=tuple(options.modes),
        tools=tools,
        runs=options.runs,
        size=options.size,
        seed=options.seed,
        folder=options.dir,
        output=options.output,
        memory=not options.no_memory,
        packed=options.packed,
    )
    here = machine(tools)
    console, progress = Console(), Console(stderr=True)
    console.width = max(console.width, 130)
    console.print(machine_line(here), highlight=False, soft_wrap=True)
    rows: list[Row] = []
    try:
        for row in run(plan, lambda words: progress.print(words, style="dim")):
            rows.append(row)  # noqa: PERF402 -- what was measured before a failure is shown
    except RunFailed as failure:
        progress.print(str(failure), style="red", markup=False, soft_wrap=True)
        return 1
    finally:
        if rows:
            console.print(table(rows, plan.runs))
            console.print("\n".join(notes(rows)), highlight=False, soft_wrap=True)
    if options.json:
        options.json.write_text(json.dumps(as_json(here, plan, rows), indent=1) + "\n")
    return int(options.check and not all(row.met() for row in rows))


def _tools(options: argparse.Namespace) -> tuple[Tool, ...]:
    """Ours with what is passed through, and tcpflow when it is there."""
    tools = []
    if "flowshard" in options.tools:
        extra = [f"--{name}={value}" for name in ("workers", "writers") if (value := vars(options)[name])]
        tools.append(flowshard([*shlex.split(options.command), *extra]))
    if "tcpflow" in options.tools:
        needed = ("tcpflow", "zstd") if options.packed else ("tcpflow",)
        found = {name: shutil.which(name) for name in needed}
        missing = " ".join(name for name, path in found.items() if path is None)
        if missing:
            print(f"not installed, so there are no ratios: {missing}\nhint: apt install {missing}", file=sys.stderr)
        else:
            tools.append(tcpflow(*(path for path in found.values() if path is not None)))
    return tuple(tools)


def _command() -> str:
    """The flowshard beside this Python, else the module."""
    beside = Path(sys.executable).with_name("flowshard")
    return shlex.join([str(beside)] if beside.exists() else [sys.executable, "-m", "pipeline"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="flowshard beside tcpflow")
    add = parser.add_argument
    choices = {"only": CAPTURES, "modes": MODES, "tools": ("flowshard", "tcpflow")}
    for name, known in choices.items():
        words = f"of {', '.join(known)}" + ("; with --packed bulk alone unless said" if name == "only" else "")
        add(
            f"--{name}", nargs="+", choices=known, default=None if name == "only" else known, metavar="NAME", help=words
        )
    add("--packed", action="store_true", help="captures compressed with zstd: flowshard beside zstd -dc | tcpflow")
    add("--runs", type=_positive, default=5, help="timed runs of each tool (5)")
    add("--size", type=float, default=1.0, help="times the connections of each capture (1)")
    add("--seed", type=int, default=1)
    add("--start", action="store_true", help="also a capture of five packets, from start to end")
    add("--dir", type=Path, default=_TEMPORARY / "flowshard-bench", help="where captures are kept")
    add("--output", type=Path, default=_TMPFS if _TMPFS.is_dir() else _TEMPORARY, help="where tools write")
    add("--command", default=_command(), help="how flowshard is started")
    add("--workers", help="passed to flowshard")
    add("--writers", help="passed to flowshard")
    add("--no-memory", action="store_true", help="leave out the runs that measure memory")
    add("--json", type=Path, metavar="FILE", help="everything measured")
    add("--check", action="store_true", help="exit status 1 if a target is not reached")
    add("--generate", action="store_true", help="only make the captures")
    return parser


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError(text)
    return value


if __name__ == "__main__":
    sys.exit(main())
