"""Who takes a dead worker's place, and where that process comes from."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.recovery.succession import MOST_A_MINUTE, Succession
from pipeline.recovery.zygote import Zygote
from pipeline.supervise import Process, end_all
from pipeline.writer.orphans import Orphans
from tests.faults.killing import state
from workers.contract import NO_EXTENTS, EventBatch, Opened
from workers.events import dtypes

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

PATIENCE = 10.0  # seconds


def forever() -> int:
    while True:
        time.sleep(1)


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    """Makes workers that end with their number as exit code, those from 100 on never."""

    def made(asked: str) -> Callable[[], int]:
        number = int(asked.split()[0].partition("-")[2])
        return forever if number >= 100 else lambda: number

    found = Zygote.start(made, lambda: None)
    assert found is not None
    yield found
    end_all([found.process])
    found.close()


def test_what_it_makes_is_a_child_of_ours(zygote: Zygote) -> None:
    """... whose end is noticed, whose exit code is known, and which is ended with the others."""
    ended = zygote.make("worker-7 0 3")
    assert ended is not None
    assert (ended.name, select.select([ended.lifeline], [], [], PATIENCE)[0]) == ("worker-7", [ended.lifeline])
    while not ended.reap():
        time.sleep(0.001)
    assert ended.code == 7
    running = zygote.make("writer-100 0 1")
    assert running is not None
    found = state(running.pid)
    assert found is not None
    end_all([ended, running])
    assert running.code == -signal.SIGKILL
    assert state(running.pid) is None


def test_one_that_is_dead_or_does_not_answer_makes_none(zygote: Zygote) -> None:
    """The run ends in order then; nobody waits."""
    os.kill(zygote.process.pid, signal.SIGSTOP)
    assert zygote.make("worker-7") is None
    assert zygote.make("worker-8") is None
    os.kill(zygote.process.pid, signal.SIGCONT)


def test_no_channel_no_zygote() -> None:
    """It ends by itself when nobody wants any more."""
    found = Zygote.start(lambda _: lambda: 0, lambda: None)
    assert found is not None
    found.close()
    assert select.select([found.process.lifeline], [], [], PATIENCE)[0]
    end_all([found.process])


def test_a_dead_coordinator_takes_them_with_it() -> None:
    """Whoever forked them."""
    program = (
        "import os, time\n"
        "from pipeline.recovery.zygote import Zygote\n"
        "def work():\n"
        "    os.write(1, b'at work\\n')\n"
        "    time.sleep(600)\n"
        "zygote = Zygote.start(lambda asked: work, lambda: None)\n"
        "zygote.make('worker-1'), zygote.make('worker-2')\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root) as coordinator:
        out = coordinator.stdout
        assert out is not None
        said = [out.readline() for _ in range(2)]
        coordinator.kill()
        assert select.select([out], [], [], PATIENCE)[0]
        assert out.read() == b""  # the end of a pipe that both had open
    assert said == [b"at work\n"] * 2


class Made:
    """In place of a zygote."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def make(self, asked: str) -> Process:
        self.asked.append(asked)
        return Process(asked.split()[0], 1, 0)


def test_no_more_than_five_a_minute() -> None:
    """The sixth within a minute is not replaced, whoever it is, later ones are; the capture process never is."""
    now = 0.0
    succession = Succession(2, 2, Made(), lambda: now)  # type: ignore[arg-type]
    names = ["worker-1"]
    for _ in range(MOST_A_MINUTE):
        heir = succession.heir(names[-1])
        assert heir is not None
        names.append(heir.name)
        now += 1
    assert names == [f"worker-{n}" for n in range(1, 12, 2)]
    assert succession.heir(names[-1]) is None
    assert succession.heir("writer-0") is None
    now = 61.0
    assert succession.heir("writer-0") is not None
    assert succession.heir("capture") is None


def test_heirs_know_who_is_there() -> None:
    """A new worker is told the writers of that moment, a new writer the workers, each in the order of their places."""
    made = Made()
    succession = Succession(2, 3, made)  # type: ignore[arg-type]
    for name in ("worker-1", "writer-0", "writer-3", "worker-0"):
        succession.heir(name)
    assert made.asked == ["worker-3 0 1 2", "writer-3 0 3", "writer-6 0 3", "worker-2 6 1 2"]


def opened(*counters: int) -> EventBatch:
    columns = {name: np.zeros(len(counters), kind) for name, kind in dtypes(Opened).items() if name != "key"}
    columns |= {"counter": np.array(counters, np.uint32), "key": np.zeros((len(counters), 7), np.uint64)}
    return EventBatch(0, NO_EXTENTS, opened=Opened(**columns))


def test_names_go_on_behind_those_of_the_dead() -> None:
    """The counters of a worker begin behind the highest that those before it in its place gave."""
    orphans = Orphans(2)

    def given(worker: int, *counters: int) -> list[int]:
        found = orphans.distinct(opened(*counters), worker).opened
        assert found is not None
        return list(found.counter)

    assert given(1, 0, 3, 1) == [0, 3, 1]
    assert given(0, 0) == [0]
    assert given(3, 0, 0, 1) == [4, 4, 5]
    assert given(3, 0) == [4]
    assert given(5, 0) == [6]
    assert given(2, 0) == [1]
