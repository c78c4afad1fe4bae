"""The folder of a run's sockets: private, and gone when the run is, however it ended.

Knows: where it lies, how a dead run's folder is told from a living one's. Does not know: sockets.
Invariant: a folder is removed only when it is ours, was made by a run, and no process of that run is left.

A run holds a lock (flock(2)) on a file in its folder. All its processes inherit the open file, so the lock falls when
the last of them is gone, and no number of a process is trusted, which may be another's by now. The lock is taken
before the file has its name: a folder whose file is not locked is a dead run's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "flowshard-"
_LOCK: Final = "lock"
_LONGEST_TMPDIR: Final = 66  # a socket's path has 107 bytes (unix(7)), its folder and its own name up to 41 of them


class RunFolder:
    """The folder of one run: 0700, in TMPDIR unless its path leaves no room for a socket's name."""

    def __init__(self) -> None:
        """Makes it, and removes what dead runs of this user left beside it."""
        where = tempfile.gettempdir()
        if len(os.fsencode(where)) > _LONGEST_TMPDIR:
            where = "/tmp"  # noqa: S108 - mkdtemp makes it safe
        remove_dead(Path(where))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where))
        self._lock = os.open(self.path / f"{_LOCK}~", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.rename(self.path / f"{_LOCK}~", self.path / _LOCK)

    def remove(self) -> None:
        """All processes of the run are gone."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_dead(where: Path) -> None:
    """Remove the folders in ``where`` whose runs are dead, as far as that can be proved. Never raises."""
    with suppress(OSError):
        for path in where.glob(_PREFIX + "*"):
            with suppress(OSError):
                _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    """OSError: it is not what we make, or not ours to look at."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = os.fstat(folder)
        if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) != 0o700:
            return
        lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: it lives
            names = os.listdir(folder)
            for name in names:
                if name != _LOCK and not stat.S_ISSOCK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    return  # somebody keeps something here
            for name in names:
                os.unlink(name, dir_fd=folder)
            os.rmdir(path)
        finally:
            os.close(lock)
    finally:
        os.close(folder)
