"""``python -m tests.bench.page``: measure, record, make the page.

Knows: argv, the order of things. Does not know: what is measured, what the page says.
Invariant: each section is recorded as soon as it is measured, so what was done stays when the next one fails or is
interrupted; the page is always made of what is recorded.

    python -m tests.bench.page                    everything, some 20 minutes on 2 cores
    python -m tests.bench.page --only sizes       that section; the others stay as they were
    python -m tests.bench.page --only sizes --huge   ... with 16 GB
    python -m tests.bench.page --only memory --show  measured and printed, nothing is changed
    python -m tests.bench.page --render           the page alone
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.bench.measure import RunFailed
from tests.bench.page.recorded import RECORDED, load, machine, save, section
from tests.bench.page.render import PICTURE, page
from tests.bench.page.sections import SECTIONS
from tests.bench.page.tables import TABLES
from tests.bench.scale.settings import Settings

PAGE = Path(__file__).resolve().parents[3] / "deploy" / "BENCHMARKS.md"

_TMPFS = Path("/dev/shm")
_TEMPORARY = Path(tempfile.gettempdir())


def main() -> int:
    """0: done; 1: a section could not be measured, the others were."""
    options = _parser().parse_args()
    progress = Console(stderr=True)
    failed, here = False, machine()
    for name in () if options.render else options.only:
        began = time.monotonic()
        try:
            _measure(name, options, progress, here)
        except RunFailed as failure:
            progress.print(f"{name}: {failure}", style="red", markup=False, soft_wrap=True)
            failed = True
        progress.print(f"{name}: {time.monotonic() - began:.0f} s")
    if not options.show:
        _write()
    return int(failed)


def _measure(name: str, options: argparse.Namespace, progress: Console, here: dict[str, Any]) -> None:
    settings = Settings(
        options.dir, options.output, tuple(shlex.split(options.command)), options.quick, options.huge, options.seed,
        say=lambda words: progress.print(f"{name}: {words}", style="dim", markup=False),
    )  # fmt: skip
    found = section(settings, here, SECTIONS[name](settings))
    if options.show:
        print("\n".join(TABLES[name][1](found["data"])))
    else:
        save(name, found, RECORDED)


def _write() -> None:
    sections = load(RECORDED)
    PAGE.write_text(page(sections), encoding="utf-8")
    try:
        from tests.bench.page.plot import plot
    except ImportError:
        hint = f"pip install '.[bench]', and {_RENDER}"
        print(f"the picture stays as it was: no matplotlib\nhint: {hint}", file=sys.stderr)
        return
    PAGE.with_name(PICTURE).write_text(plot(sections), encoding="utf-8")


_RENDER = "python -m tests.bench.page --render"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.page", description="measure, record, make the page")
    add = parser.add_argument
    add("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), metavar="SECTION",
        help=f"measure only these: {', '.join(SECTIONS)}; the others stay as recorded")  # fmt: skip
    add("--quick", action="store_true", help="small captures, one run each: to see that all works")
    add("--huge", action="store_true", help="a capture of 16 GB, too")
    add("--show", action="store_true", help="print the tables; record nothing")
    add("--render", action="store_true", help="measure nothing: make the page of what is recorded")
    add("--seed", type=int, default=1)
    add("--dir", type=Path, default=_TEMPORARY / "flowshard-bench", help="where captures are kept")
    add("--output", type=Path, default=_TMPFS if _TMPFS.is_dir() else _TEMPORARY, help="where programs write")
    add("--command", default=shlex.join([sys.executable, "-m", "pipeline"]), help="how flowshard is started")
    return parser


if __name__ == "__main__":
    sys.exit(main())
