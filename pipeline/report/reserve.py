"""Space that is taken before it is needed, so that a report can be made on a disk that has become full.

Knows: how space is asked for. Does not know: what will be written into it.
Invariant: what cannot be had is no error; what is not needed for certain is no more than an eighth of what is free.

Fragments grow ahead of their rows (fragments.py): first where the run took 1 MiB for all of them together, before any
stage began, then by ``ahead``. What a report has besides rows goes where the file of ``hold`` was. The rows themselves
need no further space: a report that finds none takes that of the fragments.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.report.placing import create, remove

_NAME: Final = "reserve"
_ROWS: Final = 1 << 20  # for rows, from the start
_HELD: Final = 128 << 10  # head and tail of a report are some 10 KB, damage that they tell of included
_PAGE: Final = 4096
_SHARE: Final = 8
_INDEX: Final = 16  # of a fragment: an entry has 36 bytes, a row 600 and more
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def reserve(scratch: Path) -> Path:
    """The file, in a run's scratch folder."""
    return scratch / _NAME


def hold(scratch: Path, files: Sequence[tuple[Path, Path]]) -> None:
    """Make the file, and take space for it. Make what is to become these ``files`` (``make``), too, and take space for
    rows in the first of each two, and for their index in the other: somebody else may have taken all that the disk has
    when it is their turn."""
    with suppress(OSError):
        _hold(reserve(scratch), _HELD)
        found = os.statvfs(scratch)
        each = min(_ROWS, found.f_bavail * found.f_frsize // 2) // max(len(files), 1)
        for rows, index in files:
            _hold(_held(rows), each - each // _INDEX)
            _hold(_held(index), each // _INDEX)


def _hold(path: Path, size: int) -> None:
    descriptor = os.open(path, _NEW, 0o600)
    try:
        ahead(descriptor, 0, size, size)
    finally:
        os.close(descriptor)


def make(path: Path) -> int:
    """A descriptor of a new file, in a folder of ours. OutputError as of ``create``."""
    with suppress(OSError):
        if not os.path.lexists(path):
            os.rename(_held(path), path)
            return os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return create(path)


def release(scratch: Path) -> None:
    """Give the space back."""
    remove(reserve(scratch))


def ahead(descriptor: int, start: int, size: int, least: int = 0) -> int:
    """Take space for ``size`` bytes of a file from ``start`` on, which are zeros then, or for fewer, but ``least`` of
    them if they are there at all; gives for how many."""
    try:
        found = os.fstatvfs(descriptor)
        size = max(least, min(size, found.f_bavail * found.f_frsize // _SHARE))
    except OSError:
        return 0
    while size >= _PAGE:
        try:
            os.posix_fallocate(descriptor, start, size)
        except OSError:  # there is not so much
            size //= 2
        except AttributeError:  # the system has no such call
            return 0
        else:
            return size
    return 0


def _held(path: Path) -> Path:
    return path.with_name(f"{_NAME}-{path.name}")
