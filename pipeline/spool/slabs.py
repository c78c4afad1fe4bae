"""The spool: one sparse file that every process shares, cut into slabs that are used again.

Knows: slots, storage reserved, the budget. Does not know: what lies in a slab, who reads it, when it is written.
Invariant: every byte of a slab that was handed out has storage behind it, so writing to it cannot fail; and no
two slabs in use overlap. The file has no name, so that nothing is left whatever ends the run.

The coordinator makes the spool before it forks. Only the capture process takes slabs and gives them back; the
others look at ``view()``.
"""

import errno
import mmap
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from pipeline.errors import OutputError
from workers.contract import U8

SLAB_BYTES: Final = 8 << 20
"""One slot. Larger windows save few copies; smaller ones cost more batches that are not full."""

MOST_SLABS: Final = 256
"""In use at once, as long as waiting helps: each map holds a descriptor."""


def slab_bytes(budget: int) -> int:
    """One slot of a spool of so many bytes: larger ones where MOST_SLABS would not use it up."""
    size = SLAB_BYTES
    while size * MOST_SLABS < budget:
        size *= 2
    return size


_LEAST_VIRTUAL: Final = 8 << 30

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM})

_MAP_HINT: Final = "is there a limit (ulimit -n, ulimit -v)? Of captures that overlap in time each needs its share"
_LIMIT_HINT: Final = "ulimit -f says so; allow at least 16 MiB"
_HINT: Final = "--spool-dir DIR puts the spool elsewhere, --spool-size SIZE makes it smaller"


class Slab(NamedTuple):
    """``data[:size]`` may be written; it is the spool from ``place`` on. The map reaches to the slot's end."""

    place: int
    size: int
    data: mmap.mmap


class Spool:
    """``budget`` is in bytes of storage, as is every size here.

    OutputError: the folder cannot hold it.
    """

    _descriptor: int = -1

    def __init__(self, folder: Path | None, budget: int, slab_bytes: int = SLAB_BYTES) -> None:
        if slab_bytes % mmap.ALLOCATIONGRANULARITY:
            raise ValueError(f"a slab must be a multiple of {mmap.ALLOCATIONGRANULARITY} bytes")
        self.make_room: Callable[[], bool] = _no_room
        """Waits until a slab has been given back; False: none is under way."""
        self.in_use = 0
        """Slabs taken and not given back."""
        self.peak = 0
        """The most that ``in_use`` ever was."""
        self.reserved = 0
        """Bytes that have storage, those of free slabs included."""
        self.slab_bytes = self._slot_bytes = slab_bytes
        self._budget = budget
        self._where = "memory" if folder is None else str(folder)
        allowed, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        virtual = max(_LEAST_VIRTUAL, 2 * budget)
        self._virtual = (virtual if allowed < 0 else min(virtual, allowed)) // slab_bytes * slab_bytes
        if not self._virtual:
            raise OutputError(f"cannot make the spool: files may not be larger than {allowed:,} bytes", _LIMIT_HINT)
        self._descriptor = _nameless(folder, self._virtual)
        self._slots = 0  # that were ever used; all beyond are free
        self._storage: list[int] = []  # of each slot, from its beginning
        self._maps: dict[int, mmap.mmap] = {}
        self._free: list[int] = []  # the last one given back is the last one
        self._view: U8 | None = None
        self._viewer = 0

    def take(self, size: int) -> Slab:
        """A slab of at least ``size`` bytes, rounded up to pages; what lies in it is left from earlier use.

        Beyond the budget or MOST_SLABS, or without space, it first waits for slabs to be given back
        (``make_room``). When none will be, it goes beyond them; OutputError when there is no space either.
        """
        size = _rounded(max(size, 1), mmap.PAGESIZE)
        count = -(-size // self._slot_bytes)
        while True:
            first, growth = self._find(count, size)
            if self._crowded(growth) and self.make_room():
                continue
            problem = self._reserve(first, size)
            if problem is None:
                return self._hand_out(first, count, size)
            if not self.make_room():
                raise OutputError(f"no room for the spool in {self._where}: {problem}", _HINT)

    def take_at_once(self, size: int) -> Slab | None:
        """The same, without waiting; None where ``take`` would wait, or fail for want of space."""
        size = _rounded(max(size, 1), mmap.PAGESIZE)
        count = -(-size // self._slot_bytes)
        first, growth = self._find(count, size)
        if self._crowded(growth) or self._reserve(first, size) is not None:
            return None
        return self._hand_out(first, count, size)

    def _crowded(self, growth: int) -> bool:
        """Whether slabs should be given back first."""
        return self.in_use >= MOST_SLABS or (growth > 0 and self.reserved + growth > self._budget)

    def give_back(self, slab: Slab) -> None:
        """Nobody looks at the slab any more. Beyond the budget its storage goes too."""
        first, count = slab.place // self._slot_bytes, -(-slab.size // self._slot_bytes)
        self.in_use -= 1
        if count > 1 or self.reserved > self._budget:
            with suppress(OSError):  # a file system that cannot: then the storage stays for the next use
                slab.data.madvise(mmap.MADV_REMOVE)
                self.reserved -= sum(self._storage[first : first + count])
                self._storage[first : first + count] = [0] * count
        self._free += range(first, first + count)

    def shrink(self, keep: int, most: int) -> None:
        """Give back the storage of free slabs, of at most ``most`` now, as long as more than ``keep`` is reserved."""
        idle = [slot for slot in self._free if self._storage[slot] and slot in self._maps]
        for slot in idle[:most]:
            if self.reserved <= keep:
                return
            with suppress(OSError):  # a file system that cannot
                self._maps[slot].madvise(mmap.MADV_REMOVE)
                self.reserved -= self._storage[slot]
                self._storage[slot] = 0

    def view(self) -> U8:
        """The whole spool, read-only, shape (virtual size,); mapped when a process first asks."""
        if self._view is None or self._viewer != os.getpid():
            try:
                whole = mmap.mmap(self._descriptor, self._virtual, mmap.MAP_SHARED, mmap.PROT_READ)
            except OSError as problem:
                raise OutputError(f"cannot map the spool: {_text(problem)}", _MAP_HINT) from None
            self._view, self._viewer = np.frombuffer(whole, np.uint8), os.getpid()
        return self._view

    def close(self) -> None:
        """Slabs and views that are held stay valid until they are dropped."""
        self._maps.clear()
        self._view = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if self._descriptor >= 0:  # a descriptor is only a number: nobody else would close it
            os.close(self._descriptor)

    def _find(self, count: int, size: int) -> tuple[int, int]:
        """First of ``count`` free neighbours, and how much storage they lack for ``size`` bytes."""
        if count > 1:
            first = self._neighbours(count)
        else:
            enough = [slot for slot in self._free if self._storage[slot] >= size]
            if enough:
                return min(reversed(enough), key=self._storage.__getitem__), 0  # of the smallest, the latest
            first = self._free[-1] if self._free else self._slots
        return first, size - sum(self._storage[first : first + count])

    def _neighbours(self, count: int) -> int:
        free = set(self._free)
        run = 0
        for slot in range(self._slots):
            run = run + 1 if slot in free else 0
            if run == count:
                return slot + 1 - count
        return self._slots - run

    def _reserve(self, first: int, size: int) -> str | None:
        """Puts storage behind ``size`` bytes from a slot's beginning on; or says why there is none."""
        count = -(-size // self._slot_bytes)
        if (first + count) * self._slot_bytes > self._virtual:
            return f"all of its {self._virtual >> 20} MiB are in use"
        while self._slots < first + count:
            self._storage.append(0)
            self._free.append(self._slots)
            self._slots += 1
        for slot in range(first, first + count):
            part = min(size, self._slot_bytes)
            size -= part
            has = self._storage[slot]
            if part <= has:
                continue
            try:
                os.posix_fallocate(self._descriptor, slot * self._slot_bytes + has, part - has)
            except OSError as problem:
                if problem.errno not in _FULL:
                    raise OutputError(f"the spool in {self._where} failed: {_text(problem)}", _HINT) from None
                return _text(problem)
            self._storage[slot] = part
            self.reserved += part - has
        return None

    def _hand_out(self, first: int, count: int, size: int) -> Slab:
        if count == 1:
            self._free.remove(first)
        else:
            taken = set(range(first, first + count))
            self._free = [slot for slot in self._free if slot not in taken]
        data = self._maps.get(first) if count == 1 else None
        if data is None:
            length, place = count * self._slot_bytes, first * self._slot_bytes
            try:
                data = mmap.mmap(self._descriptor, length, mmap.MAP_SHARED, offset=place)
            except OSError as problem:
                raise OutputError(f"cannot map the spool: {_text(problem)}", _MAP_HINT) from None
            if count == 1:
                self._maps[first] = data
        self.in_use += 1
        self.peak = max(self.peak, self.in_use)
        return Slab(first * self._slot_bytes, size, data)


def _no_room() -> bool:
    return False


def _rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _text(problem: OSError) -> str:
    return os.strerror(problem.errno or 0).lower()


def _nameless(folder: Path | None, size: int) -> int:
    """Descriptor of a sparse file without a name, in the folder or in memory."""
    descriptor = -1
    try:
        descriptor = os.memfd_create("flowshard-spool") if folder is None else _nameless_in(folder)
        os.ftruncate(descriptor, size)
    except OSError as problem:
        if descriptor >= 0:
            os.close(descriptor)
        where = "memory" if folder is None else str(folder)
        raise OutputError(f"cannot make the spool in {where}: {_text(problem)}", _HINT) from None
    return descriptor


def _nameless_in(folder: Path) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        if problem.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            raise
    import tempfile  # slow to import, and seldom needed

    descriptor, name = tempfile.mkstemp(prefix="flowshard-spool-", dir=folder)  # a file system without O_TMPFILE
    os.unlink(name)
    return descriptor
