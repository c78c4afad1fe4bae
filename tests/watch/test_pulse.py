"""Stages say each second how they are doing, and never wait for somebody to listen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from pipeline.transport import WINDOW_BYTES, Sender
from pipeline.watch import pulse as module
from pipeline.watch.pulse import Facts, Pulse, of_capture, of_worker, of_writer, to_coordinator
from pipeline.watch.status import STATUS, Status
from pipeline.watch.talkers import Talkers
from tests.workers.traffic import Seg, batches
from workers.limits import Limits
from workers.reassembler import Reassembler
from workers.wire import HEADER_BYTES, Note, decode


class Line:
    """A socket to a coordinator who listens or does not."""

    def __init__(self, *, listens: bool) -> None:
        self.listens = listens
        self.sent: list[Any] = []
        self.heard = 0

    def send_multipart(self, frames: Any, _: int) -> None:
        self.sent.append(frames)

    def recv(self, _: int) -> bytes:
        if not self.listens or self.heard == len(self.sent):
            raise zmq.Again
        self.heard += 1
        return bytes(self.sent[self.heard - 1][0])


def test_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is looked at, it is said once a second, with the time."""
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    said: list[Facts] = []
    pulse = Pulse(lambda: {"open": 1}, said.append)
    for _ in range(35):
        pulse.beat()
        now += 0.1
    assert [round(facts["at"]) for facts in said] == [100, 101, 102, 103]
    assert said[0]["open"] == 1


@pytest.mark.parametrize("listens", [True, False])
def test_nobody_is_waited_for(listens: bool) -> None:
    """Where nobody takes notes in, they stop when the window is full; else they go on for weeks."""
    line = Line(listens=listens)
    sender = Sender(line)  # type: ignore[arg-type]
    say = to_coordinator(sender)
    large = {"text": "x" * (WINDOW_BYTES // 4)}
    for _ in range(10):
        say(large)
    assert len(line.sent) == (10 if listens else 4)


def test_what_stages_say_makes_a_record() -> None:
    """The facts of every stage survive the wire, and are the ones that the record is made of; with top talkers a
    note stays small."""
    worker, talkers = Reassembler(Limits()), Talkers()
    for batch in batches([Seg(flow, 0, 1, size=10) for flow in range(1, 100)]):
        worker.handle(batch)
        talkers.add(batch)
    spool: Any = SimpleNamespace(in_use=3, slab_bytes=100)
    capture: Any = SimpleNamespace(counters=lambda: {"handed": 99, "dropped.spool": 1})
    writer: Any = SimpleNamespace(counters={"rows": 7}, open_streams=5)
    senders: Any = [SimpleNamespace(messages=2)]
    status = Status(0.0)
    for stage, facts in (
        ("capture", of_capture(capture, spool, 1000, senders, lambda: 4)),
        ("worker-0", of_worker(worker, talkers)),
        ("writer-0", of_writer(writer)),
    ):
        line = Line(listens=False)
        to_coordinator(Sender(line))({"at": 1.0, **facts})  # type: ignore[arg-type]
        note = decode(line.sent[0][1:])
        assert isinstance(note, Note)
        assert note.kind == STATUS
        assert len(line.sent[0][2]) < HEADER_BYTES
        status = status.after(stage, note.facts)
    assert (status.packets.total, status.lost.total, status.spool, status.queued) == (99, 1, (300, 1000), [2])
    assert (status.workers[0].total, status.connections_open, len(status.top)) == (99, 99, 10)
    assert (status.streams_finished.total, status.streams_open, status.unwritten) == (7, 5, 4)
