"""The raw bytes of an input, one after the other, whatever kind of file it is.

Knows: files, pipes, FIFOs, sockets, devices, files that grow or shrink, storage that gives errors.
Does not know: compression, capture formats, where the bytes go.
Invariant: what goes wrong while reading is recorded, never raised; opening is where errors are raised. A read
returns within 0.2 s of ``stop()``.
"""

import errno
import os
import select
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from pipeline.config import STDIN
from pipeline.source.opening import cannot_open
from pipeline.source.records import MOST_FAULTS, Fault

PAGE: Final = 4096
"""What storage that fails is given up by, aligned."""

_SLICE: Final = 0.1
"""Seconds: how long any wait goes on without a look at ``stop()``, and how often a growing file is looked at."""

_PIPE_BYTES: Final = 1 << 20


class Unreadable(NamedTuple):
    """A stretch that the storage did not give; zeros stand for it."""

    offset: int  # in what the feed gives
    length: int
    problem: str


class Feed(Protocol):
    """Bytes in order. Offsets count from the first byte that the feed gives."""

    path: Path
    unreadable: list[Unreadable]
    """Rising, neighbours with one problem joined."""
    faults: list[Fault]
    """What else went wrong, at most MOST_FAULTS; complete when the end was met."""

    @property
    def position(self) -> int:
        """Raw bytes taken from the input so far, for progress."""

    @property
    def stopped(self) -> bool:
        """``stop()`` was called."""

    @property
    def left(self) -> int | None:
        """How many bytes will still come, at most; None: nobody knows."""

    def readinto(self, view: memoryview) -> int:
        """Waits for bytes and fills at most ``view``, which is not empty, with what is there; 0: the end."""

    def ready(self, seconds: float) -> bool:
        """Waits at most so long. True: ``readinto`` would not wait."""

    def stop(self) -> None:
        """From now on there is nothing more to wait for, and this is no fault. A file that is followed is read up
        to its present end, of anything else there is nothing more to read."""

    def close(self) -> None:
        """Gives the file back. Nothing may be asked afterwards but what was recorded."""


class RawFeed(ABC):
    """What all raw feeds share: a descriptor, of which standard input's is not closed, and the record."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.unreadable: list[Unreadable] = []
        self.faults: list[Fault] = []
        self.idle: Callable[[], None] = lambda: None
        """Called again and again while ``readinto`` waits."""
        self.seen: Callable[[memoryview], object] | None = None
        """Is shown all bytes that were read."""
        self._descriptor = descriptor
        self._position = 0
        self.stopped = False

    @property
    def position(self) -> int:
        return self._position

    @property
    def left(self) -> int | None:
        return None

    @abstractmethod
    def readinto(self, view: memoryview) -> int: ...

    @abstractmethod
    def ready(self, seconds: float) -> bool: ...

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        self.stopped = True
        if self._descriptor > 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _broken(self, problem: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(self.path, self._position, problem))

    def _broke_off(self, error: OSError) -> None:
        self._broken(f"the input broke off: {_text(error)}")


class StoredFeed(RawFeed):
    """A regular file or block device up to its size at the beginning; ``size`` None: up to its end."""

    def __init__(self, path: Path, descriptor: int, start: int, size: int | None) -> None:
        super().__init__(path, descriptor)
        self._start = start
        self._size = size
        self._ended = False
        with suppress(OSError):  # advice only
            os.posix_fadvise(descriptor, start, 0, os.POSIX_FADV_SEQUENTIAL)

    @property
    def left(self) -> int | None:
        return None if self._size is None else self._size - self._position

    def ready(self, seconds: float) -> bool:  # noqa: ARG002 - storage never keeps one waiting
        return True

    def readinto(self, view: memoryview) -> int:
        return 0 if self.stopped else self._next(view)

    def _next(self, view: memoryview) -> int:
        size = len(view) if self._size is None else min(len(view), self._size - self._position)
        if size <= 0 or self._ended:
            return 0
        count = self._read(view[:size])
        if not count and not self.stopped:
            self._ended = True
            if self._size is not None:
                self._broken("the file became shorter while it was read")
        self._position += count
        if self.seen is not None:
            self.seen(view[:count])
        return count

    def _read(self, view: memoryview) -> int:
        """From the current position. What the storage does not give is zeros up to the page's end."""
        place = self._start + self._position
        to_page = PAGE - place % PAGE
        for part in (view, view[:to_page]):  # one bad page can fail a long read as a whole
            try:
                return os.preadv(self._descriptor, [part], place)
            except OSError as problem:
                error = problem
        if self._size is None:  # nobody knows where to stop trying
            self._broke_off(error)
            return 0
        part[:] = bytes(len(part))
        self._lost(len(part), error)
        return len(part)

    def _lost(self, length: int, error: OSError) -> None:
        problem = _text(error)
        last = self.unreadable[-1] if self.unreadable else None
        if last and last.offset + last.length == self._position and last.problem == problem:
            self.unreadable[-1] = last._replace(length=last.length + length)
        else:
            self.unreadable.append(Unreadable(self._position, length, problem))


class GrowingFeed(StoredFeed):
    """A regular file that somebody still writes: its end is waited at until ``stop()``.

    It is over too when the path leads to another file or none, after what was still written to the old one, and
    when the file was made shorter than what was read of it: a fault, since what is there now is something else.
    """

    def __init__(self, path: Path, descriptor: int, start: int) -> None:
        super().__init__(path, descriptor, start, 0)
        self._last_look = False  # at how far it goes: it was stopped before

    @property
    def left(self) -> int | None:
        return None

    def readinto(self, view: memoryview) -> int:
        while not self.ready(_SLICE):
            self.idle()
        return self._next(view)

    def ready(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self._known():
            if self._last_look:
                self._ended = True
                break
            self._last_look = self.stopped
            self._look()
            wait = min(_SLICE, deadline - time.monotonic())
            if wait <= 0 or self._known():
                break
            time.sleep(wait)
        return self._known()

    def _known(self) -> bool:
        """What comes next: bytes that are there, or the end."""
        return self._ended or self._position < (self._size or 0)

    def _look(self) -> None:
        """At how far the file goes now, and whether it still is the one that the path leads to."""
        try:
            replaced = self._replaced()  # before its size: what was written until then counts
            self._size = os.fstat(self._descriptor).st_size - self._start
        except OSError as problem:
            self._ended = True
            self._broke_off(problem)
            return
        if self._size < self._position:
            self._ended = True
            self._broken("the file was cut shorter while it was followed")
        elif replaced and self._size == self._position:
            self._ended = True

    def _replaced(self) -> bool:
        mine = os.fstat(self._descriptor)
        if self.path == STDIN:
            return mine.st_nlink == 0
        try:
            return not os.path.samestat(mine, os.stat(self.path))
        except OSError:  # there is no file there any more
            return True


class PipeFeed(RawFeed):
    """A pipe, FIFO, socket or character device. It ends when its last writer has closed it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(path, descriptor)
        self._ended = False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def ready(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not (self.stopped or self._ended):
            wait = min(_SLICE, max(deadline - time.monotonic(), 0.0))
            if self._poll.poll(wait * 1000):
                return True
            if wait < _SLICE:
                return False
        return True

    def readinto(self, view: memoryview) -> int:
        while True:
            while not self.ready(_SLICE):
                self.idle()
            if self.stopped or self._ended:
                return 0
            try:
                count = os.readv(self._descriptor, [view])
            except BlockingIOError:  # somebody else read it first
                continue
            except OSError as problem:
                self._broke_off(problem)
                count = 0
            self._ended = not count
            self._position += count
            if self.seen is not None:
                self.seen(view[:count])
            return count


def open_feed(path: Path, *, follow: bool = False) -> RawFeed:
    """The feed of a path, or of standard input (STDIN). A FIFO is not waited for here but when it is read.

    With ``follow`` a regular file is read on as it grows. UsageError: it cannot be opened or is a folder.
    """
    name = "standard input" if path == STDIN else str(path)
    try:
        # Non-blocking, or else opening a FIFO waits for a writer. Standard input's flags are not ours to change.
        descriptor = 0 if path == STDIN else os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as problem:
        raise cannot_open(name, problem) from None
    try:
        return _feed(path, descriptor, follow)
    except BaseException as problem:
        if descriptor:
            os.close(descriptor)
        if isinstance(problem, OSError):
            raise cannot_open(name, problem) from None
        raise


def _feed(path: Path, descriptor: int, follow: bool) -> RawFeed:
    status = os.fstat(descriptor)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if kind not in {stat.S_IFREG, stat.S_IFBLK}:
        with suppress(OSError, AttributeError):  # fewer turns; not every pipe may grow
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return PipeFeed(path, descriptor)
    start = os.lseek(descriptor, 0, os.SEEK_CUR) if path == STDIN else 0
    if kind == stat.S_IFREG and follow:
        return GrowingFeed(path, descriptor, start)
    end = status.st_size
    if kind == stat.S_IFBLK:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        os.lseek(descriptor, start, os.SEEK_SET)
    return StoredFeed(path, descriptor, start, max(end - start, 0) if end else None)  # files of /proc say 0


def _text(problem: OSError) -> str:
    return os.strerror(problem.errno or 0).lower()
