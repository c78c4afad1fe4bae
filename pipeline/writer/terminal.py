"""Standard output: large writes, and what it means when they fail.

Knows: the descriptor, whether colours are wanted there. Does not know: what is printed.
Invariant: what was put is written in order and whole, up to where that failed; after ``flush`` nothing is left.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from typing import Final

from pipeline.errors import OutputError, PipeClosed
from pipeline.report.placing import output_error

_LARGE: Final = 1 << 20  # bytes collected before they are written


def coloured(descriptor: int) -> bool:
    """Whether colours are wanted: on a terminal that has them, unless NO_COLOR is set (https://no-color.org)."""
    environment = os.environ
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and os.isatty(descriptor)


class StandardOutput:
    """Standard output, or another descriptor in its place, which stays open."""

    def __init__(self, descriptor: int | None = None, took: Callable[[OutputError], None] | None = None) -> None:
        """``took`` is told when it cannot be written; from then on nothing is, and that is counted. None: it is raised.

        OutputError: the process was started without a standard output.
        """
        if descriptor is None:
            if sys.stdout is None:  # descriptor 1 may be any file of ours by now
                raise OutputError("cannot write to standard output: it is closed", "-c prints the streams there")
            descriptor = 1
        self.coloured = coloured(descriptor)
        self.unprinted = 0
        """Bytes that could not be written."""
        self._took = took
        self._descriptor = descriptor
        self._pieces: list[bytes] = []
        self._size = 0

    def put(self, text: bytes) -> None:
        """Write this, now or later. Errors as ``flush``."""
        self._pieces.append(text)
        self._size += len(text)
        if self._size >= _LARGE:
            self.flush()

    def lack(self, count: int) -> None:
        """So many bytes were never put: what was to become of them is lost."""
        self.flush()
        self.unprinted += count

    def flush(self) -> None:
        """Write what is left. PipeClosed: the reader has gone. OutputError: it cannot be written."""
        text = memoryview(b"".join(self._pieces))
        self._pieces.clear()
        self._size = 0
        if self.unprinted:  # what came now would stand behind half a line
            self.unprinted += len(text)
            return
        while text:
            try:
                text = text[os.write(self._descriptor, text) :]
            except BlockingIOError:  # whoever shares it with us made it so
                self._wait()
            except ConnectionError as error:  # of a pipe or a socket
                raise PipeClosed from error
            except OSError as error:
                failure = output_error("write to", "standard output", error)
                if self._took is None:
                    raise failure from error
                self.unprinted = len(text)
                self._took(failure)
                return

    def _wait(self) -> None:
        room = select.poll()
        room.register(self._descriptor, select.POLLOUT)
        room.poll()
