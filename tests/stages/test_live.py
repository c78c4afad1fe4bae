"""The capture process of a live capture: it reads whatever the others do, and ends in time."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.capture import Capture, Dealt
from pipeline.config import Config, Live
from pipeline.live import source as source_module
from pipeline.spool.slabs import Spool
from pipeline.stages import live as module
from pipeline.stages.live import capture_live
from pipeline.stages.process import Outbox
from tests.build import tcp4
from tests.live.taps import Tap
from workers.limits import Limits
from workers.reassembler import Reassembler
from workers.wire import Note, decode, encode_packets

SLABS = 4
FRAME = tcp4(payload=bytes(1000))
NOW = int(time.time())


class Status:
    """The line to the coordinator: keeps what was said."""

    def __init__(self) -> None:
        self.said: list[Note] = []

    def ready(self) -> bool:
        return True

    def send(self, frames: Any) -> None:
        message = decode(frames)
        assert isinstance(message, Note)
        self.said.append(message)


class Run:
    """A capture on one tap. ``turn`` is asked before each chance to send: it plays the scene and says if there is
    room. What was sent is kept, and used at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tap = Tap()
        self.status = Status()
        self.sent: list[tuple[int, int]] = []  # packets of each batch, and its clock
        monkeypatch.setattr(source_module, "Interface", lambda *_: self.tap)
        config = Config(inputs=(Path("tap0"),), live=Live(("tap0",)), mapped=False)
        self.spool = Spool(None, SLABS * mmap.PAGESIZE, mmap.PAGESIZE)
        self.capture = Capture(config, 1, self.spool)
        self._config = config

    def packets(self, count: int) -> None:
        """So many frames come, one a read."""
        for _ in range(count):
            self.tap.receive([len(FRAME)], second=NOW, fill=b"")
            self.tap.ring[-1] = FRAME, self.tap.ring[-1][1]

    def run(self, turn: Callable[[], bool]) -> dict[str, int]:
        """Until it ends; its counters."""
        capture_live(self._config, self.capture, Outbox(), self.status, turn, self._send)  # type: ignore[arg-type]
        assert self.spool.in_use == 0
        return self.capture.counters()

    def _send(self, dealt: Dealt) -> None:
        [part] = dealt.parts
        self.sent.append((len(part.packet), part.clock))
        dealt.drop()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(module, "_TURN_MS", 1)
    return Run(monkeypatch)


def test_reading_goes_on_while_nobody_takes(run: Run) -> None:
    """Until the spool is full; then it is dropping that goes on, and each packet is counted."""
    turns = iter(range(1000))

    def turn() -> bool:
        number = next(turns)
        if number < 30:
            run.packets(1)
        if number == 40:
            run.capture.stop()
        return number > 50

    found = run.run(turn)
    room = SLABS * (mmap.PAGESIZE // len(FRAME))
    assert sum(packets for packets, _ in run.sent) == found["read"] == room
    assert found["dropped.spool"] == 30 - room
    assert found["handed"] == found["received"] == 30


def test_what_nobody_takes_is_given_up_at_the_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends in time, whatever the others do."""
    monkeypatch.setattr(module, "_FINISH", 0.1)
    run.packets(5)

    def turn() -> bool:
        run.capture.stop()
        return False

    found = run.run(turn)
    assert run.sent == []
    assert (found["handed"], found["read"], found["dropped.unfinished"]) == (5, 0, 5)


def test_time_goes_on_without_packets(run: Run) -> None:
    """A batch without packets moves the clock, behind the wall clock by what may still be in the ring."""
    run.packets(1)
    end = time.monotonic() + 2.5

    def turn() -> bool:
        if time.monotonic() > end:
            run.capture.stop()
        return True

    run.run(turn)
    counts, clocks = zip(*run.sent, strict=True)
    assert counts in {(1, 0), (1, 0, 0)}
    assert list(clocks) == sorted(clocks)
    assert clocks[0] == NOW * 10**9
    assert NOW * 10**9 < clocks[-1] <= time.time_ns() - source_module._BEHIND_NS or len(run.sent) == 2


def test_it_says_when_it_listens(run: Run) -> None:
    """Whoever waits for that can send."""
    run.capture.stop()
    run.run(lambda: True)
    assert [(note.kind, note.facts) for note in run.status.said] == [("listening", {"text": "capturing on tap0"})]


def test_a_batch_without_packets_passes_a_worker() -> None:
    """It travels, moves the clock, and nothing is said about it but that it was handled."""
    capture = Capture(Config(inputs=(Path("x"),)), 2)
    capture._clock = 5
    [dealt] = capture.idle(70)
    for part in dealt.parts:
        message: Any = decode([np.frombuffer(frame, np.uint8).data for frame in encode_packets(part)])
        worker = Reassembler(Limits())
        events = worker.handle(message.batch)
        assert events.number == dealt.number
        assert all(table is None for table in events[2:])
        assert worker._clock == 70
    assert not list(Capture(Config(inputs=(Path("x"),)), 1).idle(70))  # no packet yet: there is no clock to move
