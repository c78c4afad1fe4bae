"""Where workers and writers come from while a run is under way: a process forked before any thread or socket.

Knows: forks, whose child a process is. Does not know: what they do, when one is wanted (succession.py).
Invariant: who forks here has no thread, no socket but the channel, no packet; what it forks is the coordinator's own
child, which reaps it and takes it along when it dies.

The coordinator cannot fork any more: it has ZeroMQ's thread. So it keeps a process from its beginning, which waits,
asleep, until it is told to make one of them. What it makes is to be a child of the coordinator's, as all others are:
the fork is made by a process in between that ends at once, and the coordinator has said that it takes the orphans
(PR_SET_CHILD_SUBREAPER, prctl(2)). Where the system cannot do that there is no such process.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

from pipeline.supervise import Process, adopt, call_it, live_under, start

_PATIENCE: Final = 0.5
"""Seconds in which a process has to be made; it takes some milliseconds."""

_MOST_BYTES: Final = 8192  # of a message: a name, and numbers


class Zygote:
    """The process as the coordinator sees it."""

    def __init__(self, process: Process, channel: socket.socket) -> None:
        self.process = process
        self._channel = channel

    @classmethod
    def start(cls, made: Callable[[str], Callable[[], int]], prepare: Callable[[], object]) -> Zygote | None:
        """Fork it. ``made``: the work of a process, by what is asked of it; ``prepare`` is done first.

        None: not on this system.
        """
        if not adopt(orphans=True):
            return None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = start("zygote", partial(_serve, theirs, ours, made, prepare, os.getpid()))
        theirs.close()
        ours.settimeout(_PATIENCE)
        return cls(process, ours)

    def make(self, asked: str) -> Process | None:
        """A process, forked, whose name is the first word of what is asked; None: it could not be, and none will be."""
        try:
            self._channel.send(asked.encode())
            told, lifelines, _, _ = socket.recv_fds(self._channel, _MOST_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError:  # it is dead, or does not answer: what comes too late must not be taken for the next one's
            self._channel.close()
            return None
        if not lifelines:
            return None
        return Process(asked.split()[0], int(told), lifelines[0])

    def close(self) -> None:
        """Nobody is wanted any more. The process itself is the coordinator's to end."""
        self._channel.close()
        adopt(orphans=False)


def _serve(
    channel: socket.socket, other: socket.socket, made: Callable[[str], Callable[[], int]],
    prepare: Callable[[], object], coordinator: int,
) -> int:  # fmt: skip
    """Make processes until nobody wants any more."""
    call_it("zygote")
    other.close()
    prepare()
    while asked := channel.recv(_MOST_BYTES):
        if not _make(channel, made(asked.decode()), coordinator):
            channel.send(b"0")
    return 0


def _make(channel: socket.socket, work: Callable[[], int], coordinator: int) -> bool:
    """Have a child of the coordinator's forked, and its pid and lifeline told; False: neither was done."""
    ends: list[int] = []
    try:
        for _ in range(2):
            ends += os.pipe2(os.O_CLOEXEC)
        reading, _, hearing, telling = ends
        between = os.fork()
        if not between:
            _fork_on(channel, reading, telling, work, coordinator)
        if os.waitpid(between, 0)[1]:
            return False
        told = os.read(hearing, _MOST_BYTES)  # and by now it is the coordinator's
        socket.send_fds(channel, [told], [reading])
    except OSError:  # no more processes, or no more descriptors
        return False
    finally:
        for end in ends:
            os.close(end)
    return True


def _fork_on(
    channel: socket.socket, reading: int, telling: int, work: Callable[[], int], coordinator: int
) -> NoReturn:  # fmt: skip
    """In between: fork, tell the pid, end."""
    code = 1
    try:
        between = os.getpid()
        pid = os.fork()
        if not pid:
            channel.close()
            os.close(telling)
            while os.getppid() == between:  # it ends at once; then we are the coordinator's
                time.sleep(0.001)
            live_under(coordinator, reading, work)
        os.write(telling, str(pid).encode())
        code = 0
    finally:
        os._exit(code)
