"""Output that need not stay: files keep their sizes while what is in them is given back.

Knows: fallocate(2). Does not know: who writes.
Invariant: no name and no size changes, so a program that only writes does not notice.

For captures whose streams would not fit into memory beside them. A file that is read again (``-md5`` out of order,
overlaps) would have zeros there, so nothing that does so is measured with it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_EVERY = 0.5
_KEPT = ("report.xml",)


class Sink:
    """Empties the files of a folder every half second until the ``with`` ends; nothing unless ``active``."""

    def __init__(self, folder: Path, *, active: bool) -> None:
        self._folder, self._active = folder, active
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Self:
        if self._active:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            self._over.set()
            self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(_EVERY):
            self.drain()

    def drain(self) -> None:
        """Give back what the files hold now."""
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):  # renamed meanwhile
                if entry.is_file(follow_symlinks=False) and entry.name not in _KEPT and entry.stat().st_blocks:
                    self._punch(entry.path)

    def _punch(self, path: str) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            size = ctypes.c_longlong(os.fstat(file).st_size)
            self._libc.fallocate(file, _KEEP_SIZE | _PUNCH_HOLE, ctypes.c_longlong(0), size)
        finally:
            os.close(file)
