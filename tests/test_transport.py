"""Links: order, credit, limits, ends that go away. Both ends in one process, each with a context of its own."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.transport import WINDOW_BYTES, LinkBroken, Receiver, Sender, Waiter, Wires
from workers.contract import NO_EXTENTS, Data, EventBatch
from workers.wire import MESSAGE_BYTES, Frame, Happened, Note, WireError, encode_events, encode_note

PATIENCE = 10.0  # seconds; nothing here takes more than milliseconds


@pytest.fixture
def wires(tmp_path: Path) -> Iterator[Callable[[], Wires]]:
    """Makes the sockets of one process after the other; closes them all."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    made: list[Wires] = []

    def process() -> Wires:
        made.append(Wires(folder))
        return made[-1]

    yield process
    for each in made:
        if not each.context.closed:
            each.close()


def note(number: int, size: int = 0) -> list[Frame]:
    return encode_note(Note("n", {"number": number, "filling": "x" * size}))


def take(receiver: Receiver) -> Note:
    """The next message, waited for."""
    message = receiver.take()
    waiter = Waiter()
    waiter.watch(receiver, lambda: None)
    end = time.monotonic() + PATIENCE
    while message is None and time.monotonic() < end:
        waiter.wait(100)
        message = receiver.take()
    assert isinstance(message, Note)
    return message


def credited(sender: Sender, under_way: int = 0) -> bool:
    """Whether credit comes in until no more than this is under way."""
    waiter = Waiter()
    waiter.watch(sender, sender.take_credit)
    end = time.monotonic() + PATIENCE
    while sender.under_way > under_way and time.monotonic() < end:
        waiter.wait(100)
    return sender.under_way <= under_way


def pair(wires: Callable[[], Wires], link: str = "link") -> tuple[Sender, Receiver]:
    receiver = wires().receiver(link)
    return wires().sender(link), receiver


def test_messages_keep_their_order(wires: Callable[[], Wires]) -> None:
    """A thousand messages of all sizes arrive each once and in turn."""
    sender, receiver = pair(wires)
    for number in range(1000):
        sender.send(note(number, number * 7 % 1000))
    assert [take(receiver).facts["number"] for _ in range(1000)] == list(range(1000))
    assert receiver.take() is None


def test_columns_arrive_as_they_were(wires: Callable[[], Wires]) -> None:
    """Tables travel as frames of numbers; what comes out is equal."""
    sender, receiver = pair(wires)
    n = 5000
    rng = np.random.default_rng(1)
    data = Data(
        rng.integers(0, 2**48, n, np.uint64), rng.integers(0, 255, n, np.uint8), rng.integers(-9, 2**60, n),
        rng.integers(0, 2**60, n, np.uint64), np.full(n, 1460, np.uint32), np.arange(n, dtype=np.uint64),
        rng.integers(0, 2**62, n),
    )  # fmt: skip
    for frames in encode_events(EventBatch(7, NO_EXTENTS, data=data)):
        sender.send(frames)
    message = None
    end = time.monotonic() + PATIENCE
    while message is None and time.monotonic() < end:
        message = receiver.take()
    assert isinstance(message, Happened)
    assert message.last
    assert message.events.number == 7
    assert len(message.events.extents.start) == 0
    assert message.events.data is not None
    for got, expected in zip(message.events.data, data, strict=True):
        assert np.array_equal(got, expected)


def test_the_receiver_may_come_later(wires: Callable[[], Wires]) -> None:
    """Stages start in any order: what was sent before the other end was there is not lost."""
    sender = wires().sender("late")
    sender.send(note(1))
    receiver = wires().receiver("late")
    assert take(receiver).facts["number"] == 1


# --------------------------------------------------------------------------- credit


def test_a_full_window_stops_the_sender_until_credit_comes(wires: Callable[[], Wires]) -> None:
    """Not ready beyond the window; each message taken in gives its room back; none is dropped."""
    sender, receiver = pair(wires)
    sent = 0
    while sender.ready():
        sender.send(note(sent, 300_000))
        sent += 1
    assert WINDOW_BYTES <= sender.under_way < WINDOW_BYTES + 301_000
    assert sent == -(-WINDOW_BYTES // (sender.under_way // sent))
    sender.take_credit()
    assert not sender.ready()
    before = sender.under_way
    assert take(receiver).facts["number"] == 0
    assert credited(sender, before - 300_000)
    assert sender.ready()
    assert [take(receiver).facts["number"] for _ in range(sent - 1)] == list(range(1, sent))
    assert credited(sender)
    assert sender.under_way == 0


def test_one_message_may_go_beyond_the_window(wires: Callable[[], Wires]) -> None:
    """A message larger than what is left of the window, or than all of it, is sent: it would never be otherwise."""
    sender, receiver = pair(wires)
    sender.send(note(1, WINDOW_BYTES - 1000))
    assert sender.ready()
    sender.send(note(2, WINDOW_BYTES + 1000))
    assert not sender.ready()
    assert [take(receiver).facts["number"] for _ in range(2)] == [1, 2]
    assert credited(sender)


# --------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("nonsense", [b"", b"\xff" * 8, bytes(8), b"\1" + bytes(7) + b"more", b"\2" + bytes(7)])
def test_credit_that_is_not_due_is_noticed(nonsense: bytes, wires: Callable[[], Wires]) -> None:
    """Silent loss: credit that was lost, came twice or is for nothing tells the sender that the link is broken."""
    sender, receiver = pair(wires)
    sender.send(note(1))
    take(receiver)
    assert credited(sender)
    sender.send(note(2))
    receiver.socket.send(nonsense)
    time.sleep(0.05)  # the first of what came back is looked at by itself
    with pytest.raises(LinkBroken):
        credited(sender)


@pytest.mark.parametrize("lost", [0, 3])
def test_a_message_that_was_lost_is_noticed(lost: int, wires: Callable[[], Wires]) -> None:
    """Silent loss: the message behind the one that ZeroMQ lost tells the receiver."""
    sender, receiver = pair(wires)
    for number in range(lost):
        sender.send(note(number))
        take(receiver)
    sender.sent += 1  # as if it had been sent
    sender.send(note(9))
    with pytest.raises(LinkBroken, match=f"{lost} was due"):
        take(receiver)


def test_a_message_that_comes_twice_is_noticed(wires: Callable[[], Wires]) -> None:
    """It would be written twice, or counted twice."""
    sender, receiver = pair(wires)
    sender.send(note(1))
    take(receiver)
    sender.sent -= 1
    sender.send(note(1))
    with pytest.raises(LinkBroken):
        take(receiver)


# --------------------------------------------------------------------------- limits


def test_what_is_too_large_is_refused_by_the_sender(wires: Callable[[], Wires]) -> None:
    """A message beyond the limit never leaves: the other end would drop the link over it."""
    sender, receiver = pair(wires)
    with pytest.raises(ValueError, match="beyond the limit"):
        sender.send([b"x", bytes(MESSAGE_BYTES)])
    assert sender.under_way == 0
    sender.send(note(5, MESSAGE_BYTES - 1000))
    assert take(receiver).facts["number"] == 5


def test_what_is_not_ours_is_refused_by_the_receiver(wires: Callable[[], Wires]) -> None:
    """Frames that no stage sent are an error with a name, not a crash in a parser."""
    sender, receiver = pair(wires)
    sender.send([b"\x93garbage"])
    waiter = Waiter()
    waiter.watch(receiver, lambda: receiver.take() and None)
    with pytest.raises(WireError):
        waiter.wait(int(PATIENCE * 1000))


def test_sockets_lie_in_the_folder(wires: Callable[[], Wires], tmp_path: Path) -> None:
    """The receiving end is a socket in the run folder under the link's name, and all that is there."""
    process = wires()
    process.receiver("events-0-1")
    path = tmp_path / "run" / "events-0-1"
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert os.listdir(tmp_path / "run") == ["events-0-1"]


# --------------------------------------------------------------------------- ends that go away


def test_a_sender_does_not_wait_for_a_receiver_that_is_gone(wires: Callable[[], Wires]) -> None:
    """What is under way stays under way, nothing raises, and closing takes the linger time at most."""
    there, here = wires(), wires()
    receiver = there.receiver("link")
    sender = here.sender("link")
    sender.send(note(1))
    assert take(receiver).facts["number"] == 1
    assert credited(sender)
    there.close()
    sender.send(note(2, 1000))
    sender.take_credit()
    assert sender.under_way > 1000
    begin = time.monotonic()
    here.close()
    assert time.monotonic() - begin < 5


def test_what_was_sent_before_closing_arrives(wires: Callable[[], Wires]) -> None:
    """A process's last words reach the coordinator though the process is gone by then."""
    receiver = wires().receiver("status")
    process = wires()
    process.sender("status").send(note(99))
    process.close()
    assert take(receiver).facts["number"] == 99


# --------------------------------------------------------------------------- waiting


def test_waiting_for_several_ends(wires: Callable[[], Wires]) -> None:
    """Each end's handler is called when something waits there; a pipe that closes counts; silence ends in time."""
    first_out, first_in = pair(wires, "first")
    _, second_in = pair(wires, "second")
    reading, writing = os.pipe()
    said: list[str] = []
    waiter = Waiter()

    def hear(name: str, receiver: Receiver) -> None:
        receiver.take()
        said.append(name)

    waiter.watch(first_in, lambda: hear("first", first_in))
    waiter.watch(second_in, lambda: hear("second", second_in))
    waiter.watch(reading, lambda: said.append("closed"))
    assert not waiter.wait(10)
    first_out.send(note(1))
    assert waiter.wait(5000)
    assert said == ["first"]
    os.close(writing)
    assert waiter.wait(5000)
    assert said == ["first", "closed"]
    waiter.forget(reading)
    os.close(reading)
    assert not waiter.wait(10)
