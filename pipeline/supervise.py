"""Processes of a run: started, watched, ended.

Knows: forks, exit codes, signals. Does not know: what a stage does, or what its messages say.
Invariant: no process outlives ``end_all`` or, on Linux, the coordinator itself.

Stages are forked before the coordinator has a thread or a socket. Each holds the writing end of a pipe
that nobody writes to: when its process ends, however it ends, the reading end becomes readable.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from pipeline.sealing import seal

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER: Final = 36


_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """SIGINT and SIGTERM wait until the end of this: a process just forked must get onto its list, and all on
    it must be ended."""
    caught: list[int] = []
    before = {number: signal.signal(number, lambda one, _: caught.append(one)) for number in _INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for one in caught[:1]:
            signal.raise_signal(one)


@dataclass(slots=True)
class Process:
    """A stage at work."""

    name: str
    pid: int
    lifeline: int  # readable once the process is over
    code: int | None = None  # exit code; negative: the signal that ended it

    def reap(self) -> bool:
        """Whether it is over; its exit code is known then."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def fate(self) -> str:
        """How it ended, for a message."""
        if self.code is not None and self.code < 0:
            named = {each.value: each.name for each in signal.Signals}  # most real-time signals have no name
            return f"was ended by {named.get(-self.code, f'signal {-self.code}')}"
        return f"ended with exit code {self.code}"


def call_it(name: str) -> None:
    """What this process is called where processes are listed (proc(5), 15 characters of it), if that can be said."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def start(name: str, work: Callable[[], int]) -> Process:
    """Fork a process that does ``work`` and exits with what it returns."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it was closed when we were started
            stream.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Process(name, pid, reading)
    live_under(parent, reading, work)


def live_under(parent: int, reading: int, work: Callable[[], int]) -> NoReturn:
    """The life of a process that was just forked: it does ``work`` and exits with what that returns, and dies with
    ``parent``. ``reading``: the end of its lifeline that others watch."""
    code = 70
    try:
        os.close(reading)
        _die_with(parent)
        seal(hidden=False)  # captures hold secrets; and no program is ever started that could need more rights
        for number in (*_INTERRUPTS, signal.SIGHUP):  # they may reach all: the coordinator says what they mean
            signal.signal(number, signal.SIG_IGN)
        code = work()
    finally:
        os._exit(code)  # nothing of the parent's is cleaned up twice


def adopt(*, orphans: bool) -> bool:
    """From now on what children of ours leave behind is ours, or no longer so. False: this system cannot do that."""
    if not sys.platform.startswith("linux"):
        return False
    return not ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(orphans), *[ctypes.c_ulong(0)] * 3)


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent dies (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(70)


def end_all(processes: list[Process]) -> None:
    """End those that still run, at once, and reap them all. They have nothing to put in order: what they wrote is
    of no use when they are ended so."""
    for process in processes:
        if not process.reap():
            os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        if process.code is None:
            os.waitpid(process.pid, 0)
            process.code = -signal.SIGKILL
        os.close(process.lifeline)
