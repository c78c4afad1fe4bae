"""Live capture beside tcpflow: ``python -m tests.bench.live``. Needs tcpreplay, and tcpflow to compare with.

Knows: how a replay over a veth pair is captured, what each tool should have written of it.
Does not know: how either works.
Invariant: what is lost is told by what lies on disk afterwards, whatever a tool says of itself.

The replayer is pinned to one core; the tools run where they like. Both write to tmpfs.

    python -m tests.bench.live                 bulk at top speed, three runs of each
    python -m tests.bench.live --replays 2     two replays, one right after the other
    python -m tests.bench.live --hold 10       ... and the highest rate that each holds for 10 s without loss
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.generate import Expected, cached
from tests.live.network import Network
from tests.report.reader import Report
from tests.runs import COMMAND, counters, report_of

_NAME = re.compile(r"([0-9a-f.:]+\.\d+)-([0-9a-f.:]+\.\d+)(c\d+)?")
_PATIENCE = 300.0
_BETWEEN_RATES = 1.15
"""Two rates that are told apart."""


@dataclass(frozen=True, slots=True)
class Tool:
    """How it is called, and how one knows that it listens."""

    name: str
    command: Callable[[Path], list[str]]
    listens: str
    own: bool  # its report is ours

    def copies(self, replays: int) -> int:
        """Files of one stream: a replay is a retransmission, SYN and all, and tcpflow takes it for a connection."""
        return 1 if self.own else replays


@dataclass(frozen=True, slots=True)
class Run:
    """One capture of one replay, or of several."""

    rate: float  # Mbit/s that were sent
    cpu: float  # seconds, all processes
    lost_bytes: int
    lost_files: int
    lost_packets: int | None  # as the tool says


FLOWSHARD = Tool(
    "flowshard", lambda out: [*COMMAND, "-i", "a1", "-o", str(out), "--no-promiscuous"], "capturing on", own=True
)
TCPFLOW = Tool("tcpflow", lambda out: ["tcpflow", "-i", "a1", "-o", str(out)], "listening on", own=False)


def main() -> int:
    """0: done."""
    options = _parser().parse_args()
    capture, expected = cached(options.capture, options.size, 1, options.dir)
    tools = [FLOWSHARD, *([TCPFLOW] if shutil.which("tcpflow") else [])]
    print(f"{'tool':<10} {'Mbit/s':>7} {'lost packets':>13} {'lost bytes':>14} {'lost files':>11} {'CPU s/GB':>9}")
    for tool in tools:
        found = [measure(tool, capture, expected, "--topspeed", options.replays) for _ in range(options.runs)]
        for run in found:
            print(_line(tool, run, expected, options.replays), flush=True)
        gigabytes = options.replays * expected.capture_bytes / 1e9
        print(f"{tool.name:<10} median CPU s/GB {statistics.median(run.cpu for run in found) / gigabytes:.2f}")
    if options.hold:
        for tool in tools:
            print(f"{tool.name:<10} holds {hold(tool, capture, expected, options.hold):,.0f} Mbit/s", flush=True)
    return 0


def _line(tool: Tool, run: Run, expected: Expected, replays: int) -> str:
    size = tool.copies(replays) * sum(stream.size for stream in expected.streams.values())
    files = tool.copies(replays) * len(expected.streams)
    packets = "?" if run.lost_packets is None else f"{run.lost_packets:,}"
    return (
        f"{tool.name:<10} {run.rate:>7,.0f} {packets:>13} {run.lost_bytes:>6,} {100 * run.lost_bytes / size:>6.2f}% "
        f"{run.lost_files:>4,} {100 * run.lost_files / files:>5.1f}% "
        f"{run.cpu / (replays * expected.capture_bytes / 1e9):>9.2f}"
    )


def measure(tool: Tool, capture: Path, expected: Expected, rate: str, replays: int) -> Run:
    """One capture. ``rate``: an option of tcpreplay."""
    with _folder() as out, _network() as network:
        err = out.with_name("said")
        with err.open("w") as said:
            process = network.start(tool.command(out), stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
        deadline = time.monotonic() + _PATIENCE
        while tool.listens not in err.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        sent = [_replay(network, capture, rate) for _ in range(replays)]
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        report = report_of(out) if tool.own else None
        size, files = _lost(out, report, expected, tool.copies(replays))
        packets = None if report is None else replays * expected.packets - counters(report)["packets"]
        return Run(sum(sent) / replays, usage.ru_utime + usage.ru_stime, size, files, packets)


def _replay(network: Network, capture: Path, rate: str) -> float:
    """Send a capture from core 0; gives the Mbit/s that came of it."""
    command = ["taskset", "-c", "0", "tcpreplay", "-q", *rate.split(), "-i", "a0", str(capture)]
    replayer = network.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told, _ = replayer.communicate(timeout=_PATIENCE)
    found = re.search(r"([0-9.]+) Mbps", told)
    if found is None:
        raise SystemExit(f"tcpreplay failed: {told}")
    return float(found[1])


def _lost(out: Path, report: Report | None, expected: Expected, copies: int) -> tuple[int, int]:
    """Bytes that are missing, and files that are not as long as they should be: ours are sparse where bytes are
    missing, so what counts of them is what the report says was written."""
    wanted = {name: stream.size for name, stream in expected.streams.items() if stream.size}
    sizes: dict[str, list[int]] = {name: [] for name in wanted}
    holes: dict[str, int] = {}
    for file in report.files if report else ():
        holes[file.tags["filename"]] = sum(int(run["len"]) for run in file.runs if "fill" in run)
    for path in out.iterdir():
        found = _NAME.fullmatch(_unpadded(path.name))
        if found is not None and f"{found[1]}-{found[2]}" in sizes:
            sizes[f"{found[1]}-{found[2]}"].append(path.stat().st_size - holes.get(path.name, 0))
    size = sum(copies * most - sum(sizes[name]) for name, most in wanted.items())
    whole = sum(min(copies, sum(one == most for one in sizes[name])) for name, most in wanted.items())
    return size, copies * len(wanted) - whole


def _unpadded(name: str) -> str:
    """tcpflow's names as ours: 010.001.000.001.32768-… without leading zeros."""
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", name)


def hold(tool: Tool, capture: Path, expected: Expected, seconds: float) -> float:
    """The highest Mbit/s that is held so long without loss: doubled until it is not, then halved in between."""
    bits = 8 * expected.capture_bytes / 1e6
    low, high = 0.0, 0.0
    rate = 500.0
    while not high or high / max(low, 1.0) > _BETWEEN_RATES:
        loops = max(1, round(seconds * rate / bits))
        run = measure(tool, capture, expected, f"--mbps={rate}", loops)
        if run.lost_packets or run.lost_bytes or run.rate < 0.9 * rate:  # the replayer can no more
            high = rate
        else:
            low = rate
        rate = rate * 2 if not high else (low + high) / 2
    return low


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder on tmpfs."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as made:
        out = Path(made) / "out"
        out.mkdir(mode=0o700)
        yield out


@contextmanager
def _network() -> Iterator[Network]:
    made = Network()
    try:
        yield made
    finally:
        made.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.live", description="live capture beside tcpflow")
    add = parser.add_argument
    add("--capture", default="bulk", help="which generated capture is replayed (bulk)")
    add("--size", type=float, default=1.0, help="times its connections (1)")
    add("--runs", type=int, default=3, help="runs of each tool (3)")
    add("--replays", type=int, default=1, help="replays in each run, one right after the other (1)")
    add("--hold", type=float, default=0.0, metavar="SECONDS", help="find the highest rate that is held so long")
    add("--dir", type=Path, default=Path(tempfile.gettempdir()) / "flowshard-bench", help="where captures are kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
