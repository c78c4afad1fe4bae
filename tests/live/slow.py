"""A flowshard whose writers have a slow disk: ``python -m tests.live.slow BYTES SECONDS [word ...]``.

Knows: through which function every stream's byte goes to disk where no stream is plain. Does not know: what is asked
of the run.
Invariant: for so many seconds from its start a writer writes so many bytes a second at most, then at full speed.

The function is replaced before the processes are forked, so each writer has it, and a budget of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from pipeline.cli import command
from pipeline.writer import writer
from pipeline.writer.folder import Folder, Piece, StoredFile

_write = Folder.write


class Slow:
    """A Folder.write that takes its time."""

    def __init__(self, rate: float, seconds: float) -> None:
        self._rate = rate
        self._end = time.monotonic() + seconds
        self._free = 0.0  # when the bytes so far would have been written

    def __call__(self, folder: Folder, file: StoredFile, pieces: Sequence[Piece], size: int, offset: int) -> None:
        """Write, and wait until that would have been done."""
        _write(folder, file, pieces, size, offset)
        now = time.monotonic()
        self._free = max(self._free, now) + size / self._rate
        time.sleep(max(0.0, min(self._free, self._end) - now))


if __name__ == "__main__":
    rate, seconds, *words = sys.argv[1:]
    slow = Slow(float(rate), float(seconds))
    Folder.write = lambda *given: slow(*given)  # type: ignore[method-assign]
    writer.may_be_plain = lambda _: False  # kernels write without it
    sys.argv = ["flowshard", *words]
    command()
