"""Processes: how they end, that their end is noticed, and that none is left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.supervise import Process, end_all, start

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

PATIENCE = 10.0  # seconds
ROOT = Path(__file__).resolve().parent.parent


def over(process: Process) -> bool:
    """Whether its lifeline says, in good time, that it is over."""
    return bool(select.select([process.lifeline], [], [], PATIENCE)[0])


def finish(process: Process) -> None:
    """Wait for its end, take its exit code."""
    assert over(process)
    end = time.monotonic() + PATIENCE
    while not process.reap() and time.monotonic() < end:
        time.sleep(0.001)
    os.close(process.lifeline)


def forever() -> int:
    while True:
        time.sleep(1)


def killed_by(number: int) -> Callable[[], int]:
    def work() -> int:
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return forever()

    return work


def raising() -> int:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - the process is about to end
    raise RuntimeError("on purpose")


@pytest.mark.parametrize(
    ("work", "code", "fate"),
    [
        (lambda: 0, 0, "ended with exit code 0"),
        (lambda: 4, 4, "ended with exit code 4"),
        (lambda: 70, 70, "ended with exit code 70"),
        (raising, 70, "ended with exit code 70"),
        (lambda: sys.exit(3), 70, "ended with exit code 70"),
        (lambda: os._exit(9), 9, "ended with exit code 9"),
    ],
)
def test_exit_codes(work: Callable[[], int], code: int, fate: str) -> None:
    """What the work returns is the exit code; an exception that escapes it is 70."""
    process = start("stage", work)
    finish(process)
    assert (process.name, process.code) == ("stage", code)
    assert process.fate() == fate


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "was ended by SIGKILL"),
        (signal.SIGTERM, "was ended by SIGTERM"),
        (signal.SIGBUS, "was ended by SIGBUS"),
        (40, "was ended by signal 40"),  # one of the real-time signals that have no name
    ],
)
def test_signals(number: int, said: str) -> None:
    """A process that a signal ended is told by the signal's name, or its number."""
    process = start("stage", killed_by(number))
    finish(process)
    assert process.code == -number
    assert process.fate() == said


def test_the_lifeline_tells_the_end_and_nothing_else() -> None:
    """It is silent while the process runs, and a sibling that lives on does not keep it silent."""
    first = start("first", forever)
    second = start("second", forever)
    try:
        assert not select.select([first.lifeline, second.lifeline], [], [], 0.05)[0]
        assert not first.reap()
        os.kill(first.pid, signal.SIGKILL)
        assert over(first)
        assert not select.select([second.lifeline], [], [], 0)[0]
    finally:
        end_all([first, second])
    assert (first.code, second.code) == (-signal.SIGKILL, -signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_is_the_coordinators_to_hear(number: signal.Signals) -> None:
    """Ctrl-C reaches every process of the terminal, and SIGTERM all those of a service; a stage goes on."""
    process = start("stage", lambda: (time.sleep(0.1), os.kill(os.getpid(), number), 5)[-1])
    finish(process)
    assert process.code == 5


# --------------------------------------------------------------------------- ending


def test_end_all_ends_all() -> None:
    """Those that run are ended; what was over keeps its code; lifelines are closed; none is a zombie."""
    done = start("done", lambda: 3)
    assert over(done)
    running = [start(str(i), forever) for i in range(3)]
    begin = time.monotonic()
    end_all([done, *running])
    assert time.monotonic() - begin < 2
    assert done.code == 3
    assert [process.code for process in running] == [-signal.SIGKILL] * 3
    for process in (done, *running):
        with pytest.raises(ChildProcessError):
            os.waitpid(process.pid, 0)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(process.lifeline)


def test_a_stopped_process_is_ended() -> None:
    """One that was stopped is not waited for."""
    process = start("stopped", forever)
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)  # until it has stopped
    begin = time.monotonic()
    end_all([process])
    assert time.monotonic() - begin < 1
    assert process.code == -signal.SIGKILL


def test_a_dead_coordinator_takes_all_with_it() -> None:
    """However the coordinator ends, its stages end too: the kernel sees to it."""
    program = (
        "import os, time\n"
        "from pipeline.supervise import start\n"
        "def work():\n"
        "    os.write(1, b'at work\\n')\n"
        "    time.sleep(600)\n"
        "for i in range(3): start(str(i), work)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT) as coordinator:
        out = coordinator.stdout
        assert out is not None
        said = [out.readline() for _ in range(3)]
        coordinator.kill()
        assert select.select([out], [], [], PATIENCE)[0]
        assert out.read() == b""  # the end of a pipe that each of the three had open
    assert said == [b"at work\n"] * 3


def test_what_was_said_before_is_said_once(tmp_path: Path) -> None:
    """Text that waits in a buffer when a process is forked is not written by both."""
    program = (
        "from pipeline.supervise import start, end_all\n"
        "print('once', end='')\n"
        "process = start('x', lambda: 0)\n"
        "end_all([process])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "once"
