"""The coordinator is interrupted or killed: it takes all with it and claims nothing; the next run clears up."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.bench.generate import Expected
from tests.faults.killing import TRIES, check_failed_folder, in_session, running
from tests.runs import MARKER, REPORT


@pytest.mark.parametrize(
    ("how", "to_all"),
    [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["coordinator", "terminal", "SIGTERM"],
)
def test_an_interrupt(
    how: signal.Signals, to_all: bool, large: tuple[Path, Expected], tmp_path: Path, temp: Path
) -> None:
    """SIGINT, were it from a terminal to all, or SIGTERM: status 130, one line, no orphan, a marked folder."""
    for number in range(TRIES):
        out = tmp_path / str(number)
        with running(large[0], out, temp) as run:
            if not run.caught():
                continue
            time.sleep(0.1 / (number + 1))
            (os.killpg if to_all else os.kill)(run.process.pid, how)
            done = run.end(5)
            if done.status == 0 or MARKER not in os.listdir(out):  # it had done its work
                continue
            assert in_session(run.process.pid) == []
        assert (done.status, done.out) == (130, ""), done.err
        assert done.err == "error: interrupted\nhint: what was written so far is not complete\n"
        assert list(temp.iterdir()) == []
        check_failed_folder(out)
        return
    pytest.fail("the run was never caught at work")


def test_a_coordinator_that_dies(large: tuple[Path, Expected], tmp_path: Path, temp: Path) -> None:
    """A dead coordinator takes all with it, within 2 s; the folder stays marked and has no report.

    0 stale sockets at the next start: the next run removes those that it left.
    """
    for number in range(TRIES):
        out = tmp_path / str(number)
        with running(large[0], out, temp) as run:
            if not run.caught():
                continue
            run.process.send_signal(signal.SIGKILL)
            status = run.process.wait(5)
            if status == 0:
                continue
            deadline = time.monotonic() + 2
            while (left := in_session(run.process.pid)) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert left == []
        assert MARKER in os.listdir(out)
        assert REPORT not in os.listdir(out)
        assert list(temp.iterdir()) != []
        with running(large[0], tmp_path / "next", temp) as run:
            assert run.end(20).status == 0
        assert list(temp.iterdir()) == []
        return
    pytest.fail("the run was never caught at work")
