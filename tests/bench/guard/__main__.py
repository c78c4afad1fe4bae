"""``python -m tests.bench.guard``: 0, or 1 when the product takes much more CPU time than recorded."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from tests.bench.guard.ratio import OUTPUT, judge, measure, record, recorded
from tests.bench.measure import RunFailed

_TEMPORARY = Path(tempfile.gettempdir())


def main() -> int:
    """0: as fast as recorded, or nearly; 1: not, or a run failed."""
    options = _parser().parse_args()
    command = shlex.split(options.command)
    try:
        found = measure(command, options.dir, options.output, options.repeats, say=print)
    except RunFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(f"ratio {found.ratio:.3f} ({found.product:.2f} by {found.reference:.2f} CPU s)")
    if options.record:
        record(found)
        return 0
    print(f"recorded: {recorded():.3f}")
    if (problem := judge(found.ratio, recorded())) is None:
        return 0
    print(f"error: {problem}", file=sys.stderr)
    print("hint: python -m tests.bench tells where; --record, if it has to be so", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.guard", description="flowshard's CPU time by that of a fixed reference, as recorded"
    )
    add = parser.add_argument
    add("--repeats", type=int, default=4, help="of both, in turn; the least counts (4)")
    add("--record", action="store_true", help="this is expected from now on")
    add("--dir", type=Path, default=_TEMPORARY / "flowshard-bench", help="where captures are kept")
    add("--output", type=Path, default=OUTPUT, help="where it is written")
    add("--command", default=shlex.join([sys.executable, "-m", "pipeline"]), help="how flowshard is started")
    return parser


if __name__ == "__main__":
    sys.exit(main())
