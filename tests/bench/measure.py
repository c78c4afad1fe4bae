"""One command, measured: wall time, CPU time of all its processes, memory of all its processes.

Knows: processes and what the kernel says of them.
Does not know: what the command does.
Invariant: a measured run that failed is an error, never a time; no process of a run outlives its measuring.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_S = 0.05
_ORPHANS_MAY_TAKE_S = 5.0
_LAST_WORDS = 2_000


class RunFailed(Exception):
    """A command that was to be measured did not work."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of one run."""

    wall: float
    cpu: float  # user and system, all processes


@dataclass(frozen=True, slots=True)
class Memory:
    """Peaks of one run, each of the sum over all its processes at one moment, in bytes."""

    private: int  # Pss_Anon: private anonymous memory, shared copies counted once
    processes: int
    samples: int
    exact: bool  # False: the kernel has no Pss_Anon, so this is Anonymous, which counts shared copies twice


def timed(command: Sequence[str]) -> Timed:
    """Run ``command`` to its end. Raises RunFailed."""
    earlier = _prepare()
    with tempfile.TemporaryFile() as words:
        began = time.perf_counter()
        process = _start(command, words)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime + _reap_orphans(earlier)
        _judge(process.returncode, command, words)
    return Timed(wall, cpu)


def memory(command: Sequence[str]) -> Memory:
    """Run ``command``, looking at its processes every 50 ms. Raises RunFailed.

    A run that uses spool slabs on tmpfs needs those added; one that reads an uncompressed file has none.
    """
    earlier = _prepare()
    private = processes = samples = 0
    exact = True
    with tempfile.TemporaryFile() as words:
        process = _start(command, words)
        while process.poll() is None:
            sizes = [size for size in map(_private, descendants(process.pid)) if size is not None]
            exact = exact and all(known for _, known in sizes)
            private = max(private, sum(size for size, _ in sizes))
            processes = max(processes, len(sizes))
            samples += 1
            time.sleep(_SAMPLE_S)
        _reap_orphans(earlier)
        _judge(process.returncode, command, words)
    return Memory(private, processes, samples, exact)


def _prepare() -> set[int]:
    """Have a process whose parent ends become our child, so that its CPU time is counted (Linux; prctl(2)).

    The children that we have before the run.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return set(descendants(os.getpid()))


def descendants(root: int) -> list[int]:
    """``root`` and all processes below it, from the parents in /proc/PID/stat."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text(errors="replace")
        except OSError:
            continue  # it ended
        parent = int(stat.rpartition(")")[2].split()[1])  # a name may hold anything
        children.setdefault(parent, []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _private(pid: int) -> tuple[int, bool] | None:
    """Bytes of private anonymous memory and whether shared copies are counted once; None: it ended."""
    try:
        lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    fields = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines[1:])}
    name = "Pss_Anon" if "Pss_Anon" in fields else "Anonymous"
    return int(fields.get(name, 0)) * 1024, name == "Pss_Anon"


def _start(command: Sequence[str], words: IO[bytes]) -> subprocess.Popen[bytes]:
    """Started with nothing to read and nothing printed; what it complains of goes to ``words``."""
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words)
    except OSError as error:
        raise RunFailed(f"{command[0]}: {error.strerror}") from error


def _judge(status: int, command: Sequence[str], words: IO[bytes]) -> None:
    if status != 0:
        words.seek(0)
        last = words.read()[-_LAST_WORDS:].decode(errors="replace").strip()
        raise RunFailed(f"exit status {status}: {' '.join(command)}\n{last}")


def _reap_orphans(earlier: set[int]) -> float:
    """CPU seconds of processes that outlived the command; those that stay are killed."""
    seconds = 0.0
    until = time.monotonic() + _ORPHANS_MAY_TAKE_S
    while orphans := [pid for pid in descendants(os.getpid()) if pid not in earlier]:
        for pid in orphans:
            with suppress(ProcessLookupError, ChildProcessError):  # it ended; or it is a child's child
                if time.monotonic() > until:
                    os.kill(pid, signal.SIGKILL)
                ended, _, usage = os.wait4(pid, os.WNOHANG)
                seconds += usage.ru_utime + usage.ru_stime if ended else 0.0
        time.sleep(0.005)
    return seconds
