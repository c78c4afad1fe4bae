"""When a part ends: after a time, at a size, on demand.

Knows: how old the part is, how much was captured in it. Does not know: packets' contents, who is told.
Invariant: a size cuts in front of the first packet behind the one that reaches it, so where it cuts depends on the
input alone; a part that a size ends has at least one packet. A part has a name that nothing had.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.parts.folders import number_of, part_name

if TYPE_CHECKING:
    from pipeline.config import Rotation
    from workers.contract import U32

_NO_LIMIT: Final = 1 << 62
_TAKEN: Final = 10_000
"""Names of parts that are tried: whoever plants more of them has the run end, in one message."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A part has ended."""

    folder: str  # of the part that ended
    next: str  # ... of the one that begins
    at: int  # ns since 1970-01-01
    counters: dict[str, int]  # of the capture process, up to here
    inputs: list[dict[str, Any]]  # facts of the inputs, up to here
    taken: str = ""  # a name that the next one does not have, since something else has it

    @property
    def told(self) -> tuple[str, str]:
        """What to say of the name that was taken, and a hint."""
        return f"{self.taken} is taken by something of somebody else's", "parts have higher numbers because of that"

    @property
    def facts(self) -> dict[str, Any]:
        """What the marker says to those behind."""
        return {"folder": self.folder, "next": self.next, "at": self.at}


class Cuts:
    """Follows the parts of a run."""

    def __init__(self, rotation: Rotation, folder: str, output: Path) -> None:
        """``folder``: of the first part, which lies in ``output``."""
        self.folder = folder
        self._output = output
        self._rotation = rotation
        self._asked = False
        self._left = 0
        self._until: float | None = None
        self._start()

    def _start(self) -> None:
        seconds, size = self._rotation.seconds, self._rotation.bytes
        self._asked = False
        self._left = _NO_LIMIT if size is None else size
        self._until = None if seconds is None else time.monotonic() + seconds

    def ask(self) -> None:
        """The part is to end now. May be called by a signal's handler."""
        self._asked = True

    def due(self) -> bool:
        """Whether the part ends in front of whatever comes next."""
        return self._left <= 0 or self.overdue()

    def overdue(self) -> bool:
        """... even if nothing comes."""
        return self._asked or (self._until is not None and time.monotonic() >= self._until)

    def take(self, captured: U32) -> int:
        """How many of these packets, 1 at least, belong to the part; ``captured`` are their bytes (n >= 1)."""
        sums = np.cumsum(captured, dtype=np.int64)
        count = min(int(np.searchsorted(sums, self._left)) + 1, len(sums))
        self._left -= int(sums[count - 1])
        return count

    def next(self, counters: dict[str, int], inputs: list[dict[str, Any]]) -> Cut:
        """End the part, begin the next, in a folder whose name nothing has."""
        now, number = time.time_ns(), number_of(self.folder) + 1
        name = first = part_name(number, now)
        for more in range(1, _TAKEN):
            if not os.path.lexists(self._output / name):
                break
            name = part_name(number + more, now)
        cut = Cut(self.folder, name, now, counters, inputs, "" if name == first else first)
        self.folder = cut.next
        self._start()
        return cut
