"""Runs that are caught at work: which processes they have, how one is hit, what must be left.

Knows: /proc, signals. Does not know: what a test wants to see.
Invariant: whatever becomes of a run that was started here, nothing of it is left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.runs import COMMAND, MARKER, REPORT, Finished, environment

NAMES = ("capture", "worker-0", "worker-1", "writer-0", "writer-1")
"""In the order in which they are started."""
SHAPE = ["--workers", "2", "--writers", "2"]
TRIES = 12


def state(pid: int) -> tuple[str, int, int] | None:
    """State letter, parent and start time of a process (proc(5)); None when it is gone."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    rest = line.rpartition(")")[2].split()
    return rest[0], int(rest[1]), int(rest[19])


def alive(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    found = state(pid)
    return found is not None and found[0] not in "ZX"


def children(parent: int) -> list[int]:
    """Its children, those that have ended included, in the order in which they were made."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = [(facts[2], pid) for pid in pids if (facts := state(pid)) is not None and facts[1] == parent]
    return [pid for _, pid in sorted(found)]


def in_session(session: int) -> list[int]:
    """Processes of a session, zombies left out: nobody else is in the one that a test started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == session:
                    found.append(int(entry.name))
    return found


@dataclass
class Running:
    """A run under way. ``pids`` are those of its stages, by name."""

    process: subprocess.Popen[str]
    pids: dict[str, int] = field(default_factory=dict)

    def caught(self) -> bool:
        """Wait until all stages are there; False when the run was faster."""
        while self.process.poll() is None:
            pids = children(self.process.pid)
            if len(pids) == len(NAMES):
                self.pids = dict(zip(NAMES, pids, strict=True))
                return True
            time.sleep(0.002)
        return False

    def end(self, timeout: float) -> Finished:
        """Wait for its end; fails when that takes longer than ``timeout`` seconds."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the run went on for {timeout} s; {in_session(self.process.pid)} are still there")
        return Finished(self.process.returncode, out, err)


@contextlib.contextmanager
def running(capture: Path, out: Path, temp: Path, *words: str) -> Iterator[Running]:
    """Starts a run; whatever becomes of it, nothing of it is left behind."""
    process = subprocess.Popen(
        [*COMMAND, "-r", str(capture), "-o", str(out), "-md5", *SHAPE, *words], env=environment(TMPDIR=str(temp)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Running(process)
    finally:
        for pid in in_session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


def check_failed_folder(out: Path) -> None:
    """The folder says that it is incomplete; no report, no scratch files."""
    left = os.listdir(out)
    assert MARKER in left
    assert REPORT not in left
    assert [name for name in left if name.startswith(".")] == []
