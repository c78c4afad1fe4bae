"""Runs with a fault in them, one after the other, each compared with a run that nobody disturbed.

Knows: which faults there are, what a run may have come to after each. Does not know: how many trials are enough.
Invariant: a trial is told by its seed alone; only times differ when it is made again.

A batch that were lost, doubled or taken by nobody would be missing from the output, or twice in it, or the run would
not end: the accounting identity and the numbers on the links tell first, the comparison of the output tells the rest.
"""

from __future__ import annotations

import os
import random
import re
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.stages.inhand import FAULT
from tests.bench.generate import generate
from tests.faults.killing import alive, children
from tests.runs import COMMAND, MARKER, REPORT, differences, environment, output, run_apart

BATCHES = ["--batch-packets", "256"]
KINDS = ("kill", "raise", "slow", "oversize", "moment")
"""By SIGKILL at a batch; by an exception; slow; by messages that are too large to be sent; by SIGKILL at any moment."""

_SMALL_MESSAGES = (
    "import sys, pipeline.transport as t; from pipeline.cli import main; t.MESSAGE_BYTES = 6000; sys.exit(main())"
)
_LONGEST = 60.0


def words(capture: Path, out: Path, workers: int, *more: str) -> list[object]:
    """A command line, with small batches and as many writers as workers."""
    shape = ["--workers", str(workers), "--writers", str(workers)]
    return ["-r", capture, "-o", out, "-md5", *shape, *BATCHES, *more]


def whole(out: Path) -> dict[str, bytes]:
    """Everything that a run wrote, but for what the report says of the run itself: the command line, the folder."""
    found = output(out)
    objects = out / "objects"
    if objects.is_dir():
        found |= {f"objects/{path.name}": path.read_bytes() for path in objects.iterdir()}
        del found["objects/ mtime"], found["objects.jsonl mtime"]
    found[REPORT] = re.sub(rb"<(command_line|[\w:]*output)[^>]*>[^<]*</", b"<", found[REPORT])
    return found


class Undisturbed:
    """What runs write that nobody disturbs, by their options; each is run once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[object, ...], dict[str, bytes]] = {}

    def __call__(self, capture: Path, *more: str) -> dict[str, bytes]:
        """The files, see ``whole``."""
        key = (capture, more)
        if key not in self._known:
            out = self._folder / str(len(self._known))
            done = run_apart(*words(capture, out, 1, *more), "--quiet")
            assert done.status == 0, done.err
            self._known[key] = whole(out)
        return self._known[key]


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: what was done to it."""

    seed: int
    kind: str
    capture: Path
    workers: int
    options: tuple[str, ...]
    fault: str

    @classmethod
    def of(cls, seed: int, captures: list[Path], kinds: tuple[str, ...] = KINDS) -> Trial:
        """The trial of that seed."""
        rng = random.Random(seed)
        kind, workers = rng.choice(kinds), rng.choice((1, 2, 4))
        stages = ["capture", *(f"{stage}-{n}" for stage in ("worker", "writer") for n in range(workers))]
        fault = f"{rng.choice(stages)}@{rng.choice((-1, *range(12)))}:{kind}"
        options = ("-a",) if rng.random() < 0.5 else ()
        return cls(seed, kind, rng.choice(captures), workers, options, fault)


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a trial."""

    trial: Trial
    hit: bool  # the fault came in time
    problems: tuple[str, ...]
    noticed: float | None = None  # seconds from the kill to the word of it
    replaced: float | None = None  # ... until all processes were there again


def captures(folder: Path) -> list[Path]:
    """Small and medium ones."""
    shapes = (("web", 0.006), ("tiny", 0.01), ("bulk", 0.004), ("web", 0.03))
    paths = [folder / f"{i}-{name}.pcap" for i, (name, _) in enumerate(shapes)]
    for i, (name, scale) in enumerate(shapes):
        generate(name, scale, 7 + i, paths[i])
    return paths


def make(trial: Trial, undisturbed: Undisturbed, folder: Path) -> Told:
    """One trial, in a folder that is removed again."""
    out, temp = folder / "out", folder / "t"
    temp.mkdir(parents=True)
    argv = [str(word) for word in words(trial.capture, out, trial.workers, *trial.options, "--quiet")]
    noticed = replaced = None
    try:
        if trial.kind == "moment":
            status, err, noticed, replaced = _killed_at_a_moment(trial, argv, temp)
        else:
            code = _SMALL_MESSAGES if trial.kind == "oversize" else None
            fault = {} if trial.kind == "oversize" else {FAULT: trial.fault}
            done = run_apart(*argv, code=code, env={"TMPDIR": str(temp), **fault}, timeout=_LONGEST)
            status, err = done.status, done.err
        problems = [f"{name} is left in TMPDIR" for name in os.listdir(temp)]
        if trial.kind == "oversize" and status == 70:
            problems += [] if "is beyond the limit" in err and REPORT not in os.listdir(out) else [err]
            problems += [] if MARKER in os.listdir(out) else ["the folder is not marked"]
        elif status:
            problems += [f"status {status}: {err}"]
        else:
            problems += differences(whole(out), undisturbed(trial.capture, *trial.options))
        return Told(trial, "begins anew" in err or trial.kind == "slow", tuple(problems), noticed, replaced)
    finally:
        shutil.rmtree(folder)


def _killed_at_a_moment(trial: Trial, argv: list[str], temp: Path) -> tuple[int, str, float | None, float | None]:
    """Status, words, and how long the kill took to be noticed and made good."""
    rng = random.Random(f"moment {trial.seed}")
    with subprocess.Popen(
        [*COMMAND, *argv], env=environment(TMPDIR=str(temp)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            noticed, replaced = _kill(process, rng, 1 + 2 * trial.workers)
            err = process.communicate(timeout=_LONGEST)[1].decode()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, err, *((noticed, replaced) if "was ended by SIGKILL" in err else (None, None))


def _kill(process: subprocess.Popen[bytes], rng: random.Random, count: int) -> tuple[float | None, float | None]:
    """End one of ``count`` processes; how long it took until that was told, and until as many were there anew."""
    assert process.stderr is not None
    while len(before := children(process.pid)) < count and process.poll() is None:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.15))
    living = [pid for pid in before if alive(pid)]
    if not living or process.poll() is not None:
        return None, None
    begun = time.monotonic()
    os.kill(rng.choice(living), signal.SIGKILL)
    select.select([process.stderr], [], [], _LONGEST)
    noticed = time.monotonic() - begun
    while len(set(children(process.pid)) - set(before)) < count and process.poll() is None:
        time.sleep(0.001)
    return noticed, time.monotonic() - begun
