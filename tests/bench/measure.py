"""One command, or several joined by pipes, measured: wall time, CPU time and memory of all processes.

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
    shared: int  # files in memory without a name (memfd), such as the spool: what they occupy, each once
    total: int  # both
    processes: int
    samples: int
    exact: bool  # False: the kernel has no Pss_Anon, so this is Anonymous, which counts shared copies twice


def timed(*commands: Sequence[str]) -> Timed:
    """Run ``commands``, each of which reads what the one before prints, until all have ended. Raises RunFailed."""
    earlier = _prepare()
    cpu = 0.0
    with tempfile.TemporaryFile() as words:
        began = time.perf_counter()
        processes = _start(commands, words)
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu += usage.ru_utime + usage.ru_stime
        wall = time.perf_counter() - began
        cpu += _reap_orphans(earlier)
        _judge(processes, commands, words)
    return Timed(wall, cpu)


def memory(*commands: Sequence[str]) -> Memory:
    """Run ``commands`` as ``timed`` does, looking at their processes every 50 ms. Raises RunFailed.

    A spool that was put into a folder (--spool-dir) is not counted, be it on tmpfs.
    """
    earlier = _prepare()
    private = shared = total = processes = samples = 0
    exact = True
    with tempfile.TemporaryFile() as words:
        started = _start(commands, words)
        while running := [process.pid for process in started if process.poll() is None]:
            pids = [pid for root in running for pid in descendants(root)]
            sizes = [size for size in map(private_memory, pids) if size is not None]
            exact = exact and all(known for _, known in sizes)
            here, files = sum(size for size, _ in sizes), _memory_files(pids)
            private, shared, total = max(private, here), max(shared, files), max(total, here + files)
            processes = max(processes, len(sizes))
            samples += 1
            time.sleep(_SAMPLE_S)
        _reap_orphans(earlier)
        _judge(started, commands, words)
    return Memory(private, shared, total, processes, samples, exact)


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


def private_memory(pid: int) -> tuple[int, bool] | None:
    """Bytes of private anonymous memory and whether shared copies are counted once; None: it ended."""
    try:
        lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    fields = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines[1:])}
    name = "Pss_Anon" if "Pss_Anon" in fields else "Anonymous"
    return int(fields.get(name, 0)) * 1024, name == "Pss_Anon"


def _memory_files(pids: Sequence[int]) -> int:
    """Bytes that the memory files occupy which these processes hold open, each file once (memfd_create(2)).

    Not Pss_Shmem: that leaves out what no process maps, and counts inputs and outputs on tmpfs.
    """
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:  # it ended, or it has just closed the file
            for entry in entries:
                if os.readlink(entry.path).startswith("/memfd:"):
                    found = os.stat(entry.path)
                    sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _start(commands: Sequence[Sequence[str]], words: IO[bytes]) -> list[subprocess.Popen[bytes]]:
    """Started with nothing for the first to read, and nothing printed; what they complain of goes to ``words``."""
    started: list[subprocess.Popen[bytes]] = []
    source: int | IO[bytes] = subprocess.DEVNULL
    for number, command in enumerate(commands):
        target = subprocess.PIPE if number + 1 < len(commands) else subprocess.DEVNULL
        try:
            process = subprocess.Popen(command, stdin=source, stdout=target, stderr=words)
        except OSError as error:
            for earlier in started:
                earlier.kill()
                earlier.wait()
            raise RunFailed(f"{command[0]}: {error.strerror}") from error
        finally:
            if not isinstance(source, int):
                source.close()  # only the reader holds it, so that its end is noticed
        started.append(process)
        source = process.stdout or subprocess.DEVNULL
    return started


def _judge(processes: Sequence[subprocess.Popen[bytes]], commands: Sequence[Sequence[str]], words: IO[bytes]) -> None:
    """The last that failed is told: those before it may only have lost their reader."""
    for process, command in reversed(list(zip(processes, commands, strict=True))):
        if process.returncode != 0:
            words.seek(0)
            last = words.read()[-_LAST_WORDS:].decode(errors="replace").strip()
            raise RunFailed(f"exit status {process.returncode}: {' '.join(command)}\n{last}")


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
