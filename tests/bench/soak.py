"""Live capture for a while: ``python -m tests.bench.soak``. Needs network namespaces.

Knows: what a run must not do while it lasts. Does not know: how it works.
Invariant: what a run did is told by /proc, by the clock and by its report, not by itself alone.

    python -m tests.bench.soak slow                 the writer has a disk of 1 MB/s for a minute
    python -m tests.bench.soak steady --minutes 10  new connections all the time
    python -m tests.bench.soak steady -- --rotate 60s  ... the output in parts

``slow``: nothing is lost while the spool has room; then drops, counted to the packet; memory bounded; and two
seconds after the disk is fast again the run keeps up. ``steady``: memory, open files and processes are flat, by a
line through the second half.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from pipeline.spool.slabs import slab_bytes
from tests.live.network import Capturing, Network, capturing
from tests.live.talk import Talk
from tests.report.reader import Report
from tests.runs import REPORT, counters, report_of

MIB = 1 << 20
MOST_GROWTH = 128 * MIB
"""Of each process while its disk is slow."""
RECOVERS = 2.0
"""Seconds."""

_EVERY = 0.25
_SETTLED = 3.0
"""Seconds from the beginning until a process has what it needs."""


class Sample(NamedTuple):
    """The run at one moment."""

    time: float  # seconds since 1970
    written: int  # bytes, by the writers so far
    memory: tuple[int, ...]  # bytes of each process that are its own
    files: int  # open descriptors of all
    processes: int


class Watch:
    """Samples of a run, taken by a thread until the ``with`` ends."""

    def __init__(self, run: Capturing, writers: int) -> None:
        self.samples: list[Sample] = []
        self._run, self._writers = run, writers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            try:
                self.samples.append(self._sample())
            except (OSError, ValueError, IndexError):  # the run ends
                return

    def _sample(self) -> Sample:
        pids = [self._run.pid, *self._run.children]
        writers = self._run.children[-self._writers :]
        written = sum(_field(pid, "io", "wchar:") for pid in writers)
        memory = tuple(1024 * _field(pid, "status", "RssAnon:") for pid in pids)
        files = sum(1 for pid in pids for _ in Path(f"/proc/{pid}/fd").iterdir())
        children = Path(f"/proc/{self._run.pid}/task/{self._run.pid}/children").read_text().split()
        return Sample(time.time(), written, memory, files, 1 + len(children))


def _field(pid: int, file: str, name: str) -> int:
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return int(next((line for line in lines if line.startswith(name)), "").split()[1])


@dataclass
class Finding:
    """What a soak came to: lines for people, and what must not be."""

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def say(self, what: str, found: str, *, good: bool) -> None:
        self.lines.append(f"{what:<46} {found:<34} {'ok' if good else 'WRONG'}")
        if not good:
            self.wrong.append(f"{what}: {found}")


@contextmanager
def _network() -> Iterator[tuple[Network, Path]]:
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as made:
        network = Network()
        try:
            yield network, Path(made)
        finally:
            network.close()


def slow_disk(talk: Talk, seconds: float, spool: int, rate: int = 1_000_000) -> Finding:
    """The writer writes at most ``rate`` for so many ``seconds``; ``talk`` goes on for longer."""
    with _network() as (network, folder):
        network.command = lambda *words: [  # type: ignore[method-assign]
            sys.executable, "-m", "tests.live.slow", str(rate), str(seconds), *words,
        ]  # fmt: skip
        begun = time.time()
        words = ("-i", "a1", "--no-promiscuous", "--workers", 1, "--writers", 1, "--spool-size", spool)
        with capturing(network, folder / "out", *words) as run, Watch(run, 1) as watch:
            sender = network.start([sys.executable, "-m", "tests.live.talk", "a0", *talk.words()])
            sent_from = time.time()
            assert sender.wait(talk.seconds + 60) == 0
            time.sleep(1)
            asked = time.monotonic()
            status, said = run.stops(signal.SIGINT)
            stopping = time.monotonic() - asked
        assert status == 0, said
        report = report_of(folder / "out")
    return _judge_slow(report, watch.samples, talk, spool, (sent_from, begun + seconds), stopping)


def _judge_slow(
    report: Report, samples: list[Sample], talk: Talk, spool: int, moments: tuple[float, float], stopping: float
) -> Finding:
    begun, fast = moments
    found, finding = counters(report), Finding()
    dropped = found["dropped.spool"] + found["dropped.kernel"]
    finding.say("packets sent = read + dropped", f"{found['packets']:,} + {dropped:,}",
                good=found["packets"] + dropped == found["received"] == talk.connections * talk.packets)  # fmt: skip
    lacking = _lacking(report, talk)
    first = min(lacking, default=0.0)
    waited = _waiting(samples, talk, begun, first) if lacking else 0
    finding.say("waited in the spool before the first drop", f"{waited / MIB:.0f} of {spool / MIB:.0f} MiB",
                good=bool(lacking) and waited >= spool - 2 * slab_bytes(spool))  # fmt: skip
    missing = (sum(lacking.values()) + (talk.connections - len(report.files)) * talk.each) // talk.size
    most = missing + (talk.packets - talk.segments) * (len(lacking) + talk.connections - len(report.files))
    finding.say("packets with data that streams lack", f"{missing:,} of {dropped:,} dropped",
                good=missing <= dropped <= most)  # fmt: skip
    over, again = begun + talk.seconds, fast + RECOVERS
    whole = sum(file.times["crtime"] / 1e9 > again for file in report.files) - sum(time > again for time in lacking)
    expected = (over - again) * talk.per_second
    finding.say(f"whole streams that begin {RECOVERS:.0f} s after it, or later", f"{whole:,} of {expected:,.0f}",
                good=abs(whole - expected) <= talk.per_second / 2)  # fmt: skip
    left = {s.time - fast: samples[-1].written - s.written - max(over - s.time, 0) * talk.rate for s in samples}
    soon = min((after for after, bytes_ in left.items() if after > 0 and bytes_ < talk.rate / 2), default=99.0)
    finding.say("nothing waits any more, after it", f"{soon:.1f} s", good=soon <= RECOVERS)
    grown = _growth(samples)
    finding.say("most that a process grew", f"{grown / MIB:.0f} MiB", good=grown <= MOST_GROWTH)
    finding.say("time to stop", f"{stopping:.1f} s", good=stopping <= 5)
    return finding


def _lacking(report: Report, talk: Talk) -> dict[float, int]:
    """By the time when a stream began: the bytes that it lacks."""
    found = {}
    for file in report.files:
        lacks = talk.each - sum(int(run["len"]) for run in file.runs if "fill" not in run)
        if lacks:
            found[file.times["crtime"] / 1e9] = lacks
    return found


def _waiting(samples: list[Sample], talk: Talk, begun: float, moment: float) -> int:
    """Bytes that were sent and not written then, about."""
    written = np.interp(moment, [s.time for s in samples], [s.written for s in samples])
    return int(min(max(moment - begun, 0), talk.seconds) * talk.rate - written + samples[0].written)


def _growth(samples: list[Sample]) -> int:
    settled = next(s for s in samples if s.time - samples[0].time > _SETTLED)
    return max(max(s.memory[n] for s in samples) - settled.memory[n] for n in range(len(settled.memory)))


def steady(talk: Talk, *words: object) -> Finding:
    """A run with new connections all the time."""
    with _network() as (network, folder):
        words = ("-i", "a1", "--no-promiscuous", "--workers", 1, "--writers", 1, *words)
        with capturing(network, folder / "out", *words) as run, Watch(run, 1) as watch:
            sender = network.start([sys.executable, "-m", "tests.live.talk", "a0", *talk.words()])
            assert sender.wait(2 * talk.seconds + 60) == 0
            samples = list(watch.samples)
            status, said = run.stops(signal.SIGINT)
        assert status == 0, said
        reports = sorted((folder / "out").rglob(REPORT))  # one, or one of each part
        found = sum((Counter(counters(report_of(path.parent))) for path in reports), Counter[str]())
    finding = Finding()
    finding.say(f"connections in {len(reports)} reports, all of them whole", f"{found['connections']:,}",
                good=found["bytes.written"] == talk.connections * talk.each)  # fmt: skip
    half = samples[len(samples) // 2 :]
    _flat(finding, "memory of all processes", "MiB", half, lambda sample: sum(sample.memory) / MIB, 0.02)
    _flat(finding, "open files", "", half, lambda sample: sample.files, 0.02)
    _flat(finding, "processes", "", half, lambda sample: sample.processes, 0.0)
    return finding


def _flat(
    finding: Finding, what: str, unit: str, half: Sequence[Sample], of: Callable[[Sample], float], slack: float
) -> None:
    """Whether a line through the samples rises by less than a part of their mean."""
    values = [of(sample) for sample in half]
    seconds = half[-1].time - half[0].time
    grown = float(np.polyfit([sample.time - half[0].time for sample in half], values, 1)[0]) * seconds
    mean = sum(values) / len(values)
    finding.say(f"{what}, over the last {seconds:.0f} s", f"{mean:,.1f} {unit}, {grown:+.2f}".replace(" ,", ","),
                good=abs(grown) <= slack * mean + 1e-9)  # fmt: skip


def main() -> int:
    """0: as it should be; 1: not."""
    options = _parser().parse_args()
    if options.soak == "slow":
        finding = slow_disk(Talk(20, int(options.seconds) + 15, 50, 4000), options.seconds, 96 * MIB)
    else:
        finding = steady(Talk(options.rate, round(60 * options.minutes), 10, 1000), *options.words)
    print("\n".join(finding.lines))
    return 1 if finding.wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description="live capture for a while")
    soaks = parser.add_subparsers(dest="soak", required=True)
    slow = soaks.add_parser("slow", help="the writer has a disk of 1 MB/s")
    slow.add_argument("--seconds", type=float, default=60, help="for so long (60)")
    even = soaks.add_parser("steady", help="new connections all the time")
    even.add_argument("--minutes", type=float, default=10, help="for so long (10)")
    even.add_argument("--rate", type=int, default=400, help="connections a second (400)")
    even.add_argument("words", nargs="*", help="further words for flowshard, behind --")
    return parser


if __name__ == "__main__":
    sys.exit(main())
