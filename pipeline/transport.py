"""Sockets between the stages: the only module that knows ZeroMQ.

Knows: links, credit, where sockets live and which limits they have.
Does not know: what messages mean (workers/wire.py), who starts whom (supervise.py).
Invariant: a sender never has more than its window of bytes under way, and no stage blocks on sending
while acknowledgements wait for it.

A link is one DEALER socket at each end, over ``ipc://`` in a private run folder: the receiving end
binds, the sending end connects, so that it can send before the other end is there. Messages go one
way. *Credit* comes back on the same socket for each message taken in. There are no
high-water marks below the window, so ZeroMQ itself never decides anything.

Messages are numbered, link by link. The receiving end expects each number once and in turn, the sending end the same
of its credit, and a link is drained when there is credit for its last message: so a message that ZeroMQ lost, or
brought twice, is noticed on both sides, whatever was done to the process at the other end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import zmq

from workers.wire import MESSAGE_BYTES, Frame, Message, decode

WINDOW_BYTES: Final = 4 << 20
"""Under way on one link: some five batches, which keeps both ends busy and costs little memory."""

LINGER_MS: Final = 500

_NUMBER_BYTES: Final = 8


class LinkBroken(Exception):
    """A message of this link, or credit for one, was lost or came twice: a defect, of ours or of what carries us."""


class Wires:
    """The sockets of one process. Made in that process, after the fork."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []

    def sender(self, link: str) -> Sender:
        """The sending end of a link."""
        socket = self._socket()
        socket.connect(self._address(link))
        return Sender(socket)

    def receiver(self, link: str) -> Receiver:
        """The receiving end."""
        socket = self._socket()
        socket.bind(self._address(link))
        return Receiver(socket)

    def _address(self, link: str) -> str:
        return f"ipc://{self.folder}/{link}"

    def _socket(self) -> zmq.Socket[bytes]:
        self._sockets = [each for each in self._sockets if not each.closed]
        socket = self.context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 2)  # ms; the other end may not have bound yet
        self._sockets.append(socket)
        return socket

    def close(self) -> None:
        """Close every socket; what was sent gets LINGER_MS to leave."""
        for socket in self._sockets:
            socket.close()  # again does no harm
        self.context.destroy(LINGER_MS)  # one that an interrupt kept off the list would be waited for without end


class Sender:
    """The sending end: messages out, credit in."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        self.under_way = 0
        self.sent = 0  # messages; the number of the next one
        self._over = False  # nobody takes anything any more
        self._sizes: deque[int] = deque()

    @property
    def messages(self) -> int:
        """Under way."""
        return len(self._sizes)

    def ready(self) -> bool:
        """Whether the window has room. One message may go beyond it."""
        return self.under_way < WINDOW_BYTES

    def send(self, frames: Sequence[Frame]) -> None:
        """Send a message; call it when ``ready``."""
        if self._over:
            return
        size = sum(map(len, frames))
        if size > MESSAGE_BYTES:
            raise ValueError(f"a message of {size} bytes is beyond the limit of {MESSAGE_BYTES}")
        self.socket.send_multipart([_numbered(self.sent), *frames], zmq.NOBLOCK)
        self.sent += 1
        self._sizes.append(size)
        self.under_way += size

    def close(self) -> None:
        """Given up, and of no use any more: what is sent goes nowhere."""
        self.give_up()
        self.socket.close()

    def give_up(self) -> None:
        """The other end is dead: nothing is under way any more, and what is sent goes nowhere."""
        self._over = True
        self.under_way = 0
        self._sizes.clear()
        self.socket.setsockopt(zmq.LINGER, 0)

    def take_credit(self) -> None:
        """Take in the credit that waits. LinkBroken: it is not for the message that is due."""
        while True:
            try:
                credit = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if self._over:
                continue
            due = self.sent - len(self._sizes)
            if not self._sizes or credit != _numbered(due):
                raise LinkBroken(f"credit for message {credit.hex()}, {due} of {self.sent} was due")
            self.under_way -= self._sizes.popleft()


class Receiver:
    """The receiving end: messages in, credit out."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        self.taken = 0  # messages; the number of the one that is due

    def take(self) -> Message | None:
        """The next message, if one waits; its sender gets credit at once. LinkBroken: it is not the one that is due."""
        try:
            frames = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        number = frames[0].buffer.tobytes()
        if number != _numbered(self.taken):
            raise LinkBroken(f"message {number[:_NUMBER_BYTES].hex()} came, {self.taken} was due")
        self.taken += 1
        with suppress(zmq.Again):  # a sender that is gone needs no credit
            self.socket.send(number, zmq.NOBLOCK)
        return decode([frame.buffer for frame in frames[1:]])

    def close(self) -> None:
        """Nothing more is taken there."""
        self.socket.close(0)


def _numbered(message: int) -> bytes:
    return message.to_bytes(_NUMBER_BYTES, "little")


class Waiter:
    """Waits for whatever comes first on any of a process's links."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Callable[[], None]] = {}

    def watch(self, end: Sender | Receiver | int, handler: Callable[[], None]) -> None:
        """Call ``handler`` whenever something waits there; an int is a file descriptor."""
        key = end if isinstance(end, int) else end.socket
        self._poller.register(key, zmq.POLLIN | zmq.POLLERR if isinstance(end, int) else zmq.POLLIN)
        self._handlers[key] = handler

    def forget(self, end: Sender | Receiver | int) -> None:
        """Stop watching."""
        key = end if isinstance(end, int) else end.socket
        self._poller.unregister(key)
        del self._handlers[key]

    def wait(self, milliseconds: int | None = None) -> bool:
        """Wait, handle, and say whether anything came."""
        ready = self._poller.poll(milliseconds)
        for key, _ in ready:
            handler = self._handlers.get(key)
            if handler is not None:
                handler()
        return bool(ready)
