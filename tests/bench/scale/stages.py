"""What each stage of a run takes: CPU time by the names of processes, for the model of scale.

Knows: how processes are called, which runs differ in packets, streams, bytes and messages.
Does not know: how costs follow from that (page/model.py).
Invariant: the stages and the rest add up to what the kernel says of the whole run.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.bench.generate import Expected
from tests.bench.measure import descendants, timed
from tests.bench.run import empty, flowshard
from tests.bench.scale.settings import Settings, room_for

STAGES = ("capture", "worker", "writer")
REST = "rest"
"""The coordinator, the start until the stages have their names, and what a sample missed at their end."""
MODES = ("streams", "md5")
BATCH = 16_384
"""Packets of a batch unless it is said."""

_EVERY = 0.02
_LOOK_AROUND = 5
"""Ticks: all of /proc is read that seldom, or watching would take what is watched."""
_NAME = re.compile(rf"({'|'.join(STAGES)})(-\d+)?")
_FITTED = (("bulk", 0.3), ("bulk", 1.0), ("web", 0.3), ("web", 1.0), ("tiny", 0.3), ("tiny", 1.0),
           ("chat", 0.3), ("chat", 1.0))  # fmt: skip
_SMALL_BATCHES = (("bulk", 1.0), ("tiny", 1.0), ("chat", 1.0))
_CHECKED = (("bulk", 0.6), ("web", 0.6), ("tiny", 0.6))
_CHECKED_WORKERS = (1, 2)


class Watch:
    """CPU seconds of each stage of what runs below this process until the ``with`` ends; read every 20 ms."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, int]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def seconds(self) -> dict[str, float]:
        """By stage, all its processes together."""
        return {stage: sum(ns for name, ns in self._seen.values() if name == stage) / 1e9 for stage in STAGES}

    def _watch(self) -> None:
        ticks = 0
        while not self._over.wait(_EVERY):
            if ticks % _LOOK_AROUND == 0:
                self._find()
            ticks += 1
            for pid, (name, _) in list(self._seen.items()):
                with suppress(OSError):  # it ended
                    # On the CPU, in ns (sched-stats in the kernel's documentation); stat has ticks of 10 ms.
                    self._seen[pid] = name, int(Path("/proc", str(pid), "schedstat").read_text().split()[0])

    def _find(self) -> None:
        for pid in descendants(os.getpid()):
            with suppress(OSError):
                if name := _NAME.fullmatch(Path("/proc", str(pid), "comm").read_text().strip()):
                    self._seen.setdefault(pid, (name[1], 0))


def staged(settings: Settings, capture: Path, output: Path, mode: str, words: Sequence[str]) -> dict[str, Any]:
    """Wall and CPU seconds of a run, and the CPU seconds of each stage. Raises RunFailed."""
    empty(output)
    (line,) = flowshard([*settings.command, *words]).lines(mode, capture, output)
    with Watch() as watch:
        took = timed(line)
    stages = watch.seconds
    return {"wall": took.wall, "cpu": took.cpu, "stages": stages | {REST: took.cpu - sum(stages.values())}}


def measure(settings: Settings) -> dict[str, Any]:
    """Runs with one worker that differ in what the cost may depend on, and runs to compare a prediction with."""
    fitted = [(kind, size, 1, BATCH) for kind, size in _FITTED]
    fitted += [(kind, size, 1, BATCH // 8) for kind, size in _SMALL_BATCHES]
    checked = [(kind, size, workers, BATCH) for workers in _CHECKED_WORKERS for kind, size in _CHECKED]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "fitted": [_row(settings, mode, *run) for mode in MODES for run in fitted],
        "checked": [_row(settings, mode, *run) for mode in MODES for run in checked],
    }


def _row(settings: Settings, mode: str, kind: str, size: float, workers: int, batch: int) -> dict[str, Any]:
    """The least of the runs: others on the machine only ever add."""
    path, expected = settings.capture(kind, size)
    settings.say(f"{kind} x {settings.scaled(size):g}, {mode}, {workers} workers, batches of {batch}")
    words = [f"--workers={workers}", f"--batch-packets={batch}"]
    with settings.room(room_for(expected)) as output:
        runs = [staged(settings, path, output, mode, words) for _ in range(settings.runs)]
    about = {"kind": kind, "size": settings.scaled(size), "mode": mode, "workers": workers, "batch": batch}
    return about | traffic_of(expected) | min(runs, key=lambda run: run["cpu"])


def traffic_of(expected: Expected) -> dict[str, int]:
    """What costs may depend on."""
    return {"packets": expected.packets, "streams": len(expected.streams), "bytes": expected.capture_bytes}
