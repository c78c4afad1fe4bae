"""What the writers may still write: --max-output, --keep-free, --max-files; parts that are removed to make room.

Knows: the limits, what all processes of the run have written, how much is free on the disk.
Does not know: streams, what becomes of what has no room.
Invariant: the disk is looked at when a second has passed, or when what was free at the last look is used up, and
not more often; what is said of it is said once until it changes.

``--max-output`` counts bytes written, holes left out, and FILE_COSTS for each file: parts of earlier runs with those
of this one, or just this run where there are no parts. Fragments of reports on their way count only as what they
take of the disk.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from pipeline.config import Config, Space
from pipeline.errors import NoMoreFiles
from pipeline.parts.folders import cost_of_all, is_complete, number_of, parts_in, remove_part
from pipeline.report.placing import output_error
from pipeline.tree import FILE_COSTS, Tree

_LOOK: Final = 1.0  # seconds
_PATIENCE: Final = 2.0
_PAUSE: Final = 0.01
_WORD: Final = 8  # bytes of a count

Tell: TypeAlias = Callable[[str, str], None]
"""Says something to a person: a message and a hint."""


class Usage:
    """Bytes that the processes of a run have written, less those that they removed. Made before they are forked."""

    def __init__(self, config: Config) -> None:
        """OutputError: the parts of earlier runs cannot be looked at."""
        writers = config.writers if config.workers else 1
        self.binder = writers
        """The number of whoever makes reports; writers are those below."""
        self._counts = memoryview(mmap.mmap(-1, (writers + 2) * _WORD)).cast("q")  # each is written by one process
        self.files = memoryview(mmap.mmap(-1, _WORD)).cast("q")
        """How many there are; changed by one process at a time (``_alone``)."""
        self._held = memoryview(mmap.mmap(-1, writers * _WORD)).cast("q")  # so, too
        self.bound = number_of(config.part) - 1
        try:
            self._before = cost_of_all(config.output) if config.rotation is not None else 0
        except OSError as error:
            raise output_error("look at", config.output, error) from error

    def add(self, number: int, size: int) -> None:
        """A process has written so much, or removed it."""
        self._counts[number] += size

    def total(self) -> int:
        """All there is."""
        return self._before + sum(self._counts[:-1])

    def hold(self, number: int, size: int) -> None:
        """A writer may write so much without a further look."""
        self._held[number] = size

    def held(self, besides: int) -> int:
        """What all other writers may."""
        return sum(self._held) - self._held[besides]

    @property
    def bound(self) -> int:
        """The number of the part that was made complete last."""
        return self._counts[-1]

    @bound.setter
    def bound(self, number: int) -> None:
        self._counts[-1] = number


class Room:
    """What one writer has."""

    def __init__(self, config: Config, fragment: Path, usage: Usage, number: int, tell: Tell) -> None:
        """``fragment``: of the writer's first part, in a folder that all writers of the run know."""
        assert config.space is not None
        self.removed = 0
        """Parts."""
        self.part = number_of(config.part)
        """The number of the part that is written."""
        self._space: Space = config.space
        self._root = config.output
        self._scratch = fragment.parent.parent if config.part else fragment.parent
        self._usage = usage
        self._number = number
        self._share = usage.binder  # so many writers use up what is free
        self._tell = tell
        self._left = 0
        self._next = 0.0  # when to look again
        self._full = False

    def fits(self, size: int) -> bool:
        """Whether so many bytes may be written now."""
        if size <= self._left and not self._full:
            return time.monotonic() < self._next or self._look(size)
        return (not self._full or time.monotonic() >= self._next) and self._look(size)

    def count(self, size: int) -> None:
        """So many were written."""
        self._left -= size
        self._usage.add(self._number, size)
        self._usage.hold(self._number, max(self._left, 0))

    @contextmanager
    def another_file(self) -> Iterator[None]:
        """A file is made meanwhile. NoMoreFiles: there are as many as there may be."""
        most = self._space.files
        if most is not None:
            with _alone(self._scratch):
                if self._usage.files[0] >= most:
                    raise NoMoreFiles(
                        f"{most:,} files were made: what belongs into further ones is counted, not written",
                        "--max-files says so; allow more, or leave it away",
                    )
                self._usage.files[0] += 1
        try:
            yield
        except BaseException:
            self._one_less()
            raise
        self.count(FILE_COSTS)

    def no_more(self, size: int) -> None:
        """A file of so many bytes was removed."""
        self._one_less()
        self.count(-size - FILE_COSTS)

    def _one_less(self) -> None:
        if self._space.files is not None:
            with _alone(self._scratch):
                self._usage.files[0] -= 1

    def _look(self, size: int) -> bool:
        left = self._free()
        if left < size and self._space.policy == "delete":
            left = self._make_room(size)
        self._next = time.monotonic() + _LOOK
        self._left = max(left, 0) if left < size else max(size, left // self._share)
        self._usage.hold(self._number, self._left)
        if self._full is not (left < size):
            self._full = not self._full
            if self._full:
                self._tell("there is no room for more payload: it is counted, not written", _HELP)
            else:
                self._tell("there is room again: payload is written", "streams that were cut short stay so")
        return not self._full

    def _free(self) -> int:
        """Bytes up to the limit that is nearest."""
        lefts = [1 << 62]
        if self._space.most is not None:
            lefts.append(self._space.most - self._usage.total())
        if self._space.free is not None:
            found = os.statvfs(self._root)
            lefts.append(found.f_bavail * found.f_frsize - self._space.free)
        return min(lefts) - self._usage.held(besides=self._number)

    def _make_room(self, size: int) -> int:
        """Remove complete parts, the oldest first, until there is room for so much; gives what is free then.

        Parts that are about to be complete are waited for, a little: what comes meanwhile stays in the spool.
        """
        end = time.monotonic() + _PATIENCE
        while True:
            last = self._usage.bound
            with _alone(self._scratch):
                self._remove_oldest(size)
            left = self._free()
            if left >= size or last >= self.part - 1 or time.monotonic() > end:
                return left
            time.sleep(_PAUSE)  # not alone: another writer may still have to leave that part

    def _remove_oldest(self, size: int) -> None:
        """Until there is room, or no complete part."""
        with Tree(self._root) as tree:
            complete = [name for name in parts_in(tree) if is_complete(tree, name)]
        for name in complete:
            if self._free() >= size:
                return
            with suppress(OSError):  # what cannot be removed leaves no room
                freed = remove_part(self._root, name)
                self._usage.add(self._number, -freed)
                self.removed += 1
                self._tell(f"removed the oldest part, {name}: {freed:,} bytes", "so says --when-full delete")


_HELP: Final = "free some space, or give more with --max-output or --keep-free; --when-full delete removes old parts"


@contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    """No other writer of the run is here meanwhile."""
    descriptor = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
