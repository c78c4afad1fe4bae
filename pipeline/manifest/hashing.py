"""Files hashed, many at a time: SHA-256 by several processes.

Knows: descriptors, which process hashes which file. Does not know: what the hashes are compared with.
Invariant: only plain files are read, each at most up to the size that it has when it is opened; below a folder no
link is followed. What cannot be read is an outcome, never an exception.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import mmap
import os
import select
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.errors import InternalError
from pipeline.supervise import Process, end_all, start
from pipeline.tree import Tree, split

NO_FILE: Final = -1
"""The problem of what is there and is no plain file; others are numbers of errno."""

_OTHER_SIZE: Final = b""
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BLOCK: Final = 1 << 20
_RECORD: Final = struct.Struct("<qq32s")  # size, problem, digest
_WORTH_IT: Final = 32 << 20
"""Bytes below which one process is enough ..."""
_FILE_COSTS: Final = 16_384
"""... where a file counts as so many more."""


class Job(NamedTuple):
    """A file to hash. ``name``: relative to the folder, or an absolute path, which may lead over links."""

    name: str
    size: int  # that it is expected to have
    exact: bool  # it is not worth hashing when it has another size


class Hashed(NamedTuple):
    """What came of it."""

    size: int
    digest: bytes  # 32 bytes; none when there was a problem, or another size than the exact one
    problem: int = 0  # errno, or NO_FILE

    @property
    def hex(self) -> str:
        """The digest as people write it."""
        return self.digest.hex()


def hash_files(folder: Path, jobs: Sequence[Job], processes: int) -> list[Hashed]:
    """What became of each job, in their order. OSError: there is no such folder."""
    work = sum(job.size + _FILE_COSTS for job in jobs)
    processes = min(processes, len(jobs), 1 + work // _WORTH_IT)
    if processes < 2:
        with Tree(folder) as tree:
            return [hash_one(tree, job) for job in jobs]
    table = mmap.mmap(-1, _RECORD.size * len(jobs))
    with table, _started([partial(_work, folder, jobs, share, table) for share in _shares(jobs, processes)]) as running:
        _wait(running)
        records = [_RECORD.unpack_from(table, _RECORD.size * at) for at in range(len(jobs))]
    return [Hashed(size, digest if any(digest) else b"", problem) for size, problem, digest in records]


def _shares(jobs: Sequence[Job], processes: int) -> list[list[int]]:
    """Jobs by process: the largest file next to whoever has least."""
    load = [(0, number) for number in range(processes)]
    shares: list[list[int]] = [[] for _ in load]
    for at in sorted(range(len(jobs)), key=lambda at: -jobs[at].size):
        least, number = load[0]
        heapq.heapreplace(load, (least + jobs[at].size + _FILE_COSTS, number))
        shares[number].append(at)
    return [sorted(share) for share in shares]  # folder by folder


@contextmanager
def _started(work: Sequence[partial[int]]) -> Iterator[list[Process]]:
    running: list[Process] = []
    try:
        for number, each in enumerate(work):
            running.append(start(f"hashes-{number}", each))
        yield running
    finally:
        end_all(running)


def _wait(running: Sequence[Process]) -> None:
    for process in running:
        select.select([process.lifeline], [], [])
        while not process.reap():
            select.select([], [], [], 0.001)
        if process.code:
            raise InternalError(f"{process.name} (process {process.pid}) {process.fate()}", "no manifest was written")


def _work(folder: Path, jobs: Sequence[Job], share: Sequence[int], table: mmap.mmap) -> int:
    """One process's share, into the table that all have."""
    with Tree(folder) as tree:
        for at in share:
            found = hash_one(tree, jobs[at])
            _RECORD.pack_into(table, _RECORD.size * at, found.size, found.problem, found.digest)
    return 0


def hash_one(tree: Tree, job: Job) -> Hashed:
    """What becomes of a job."""
    try:
        descriptor = _opened(tree, job.name)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return Hashed(0, b"", NO_FILE)
            if job.exact and status.st_size != job.size:
                return Hashed(status.st_size, _OTHER_SIZE)
            return _hashed(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        return Hashed(0, b"", NO_FILE if error.errno == errno.ELOOP else error.errno or errno.EIO)
    except ValueError:  # a name that no file can have
        return Hashed(0, b"", errno.ENOENT)


def _opened(tree: Tree, name: str) -> int:
    if not os.path.isabs(name):
        folder, last = split(name)
        return os.open(last, _OPEN, dir_fd=tree.enter(folder))
    if not stat.S_ISREG(os.stat(name).st_mode):  # to open a device can do something
        raise OSError(errno.ELOOP, "no plain file")
    return os.open(name, _OPEN & ~os.O_NOFOLLOW)


def _hashed(descriptor: int, size: int) -> Hashed:
    if size <= _BLOCK:  # most are
        data = os.read(descriptor, size)
        if len(data) == size:
            return Hashed(size, hashlib.sha256(data).digest())
        os.lseek(descriptor, 0, os.SEEK_SET)
    made = hashlib.sha256()
    done = 0
    while done < size:
        data = os.read(descriptor, min(size - done, _BLOCK))
        if not data:
            break
        made.update(data)
        done += len(data)
    return Hashed(done, made.digest())
