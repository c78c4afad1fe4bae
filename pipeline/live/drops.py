"""What was dropped, where, second by second.

Knows: the kernel's counters, which wrap at 2**32. Does not know: interfaces, who shows this.
Invariant: no count ever falls.

``kernel``: the ring was full, since the capture process got no core. ``interface``: the card or its driver.
``spool``: read, and no slab was to be had. ``unfinished``: in the spool when the time to finish was over.
``keep``: the packet is in its stream, but --keep-packets had no time or no room for it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipeline.live.interface import Counts

_WRAP: Final = 1 << 32
NAMES: Final = ("kernel", "interface", "spool", "unfinished", "keep")


class Drops:
    """Packets by where they were dropped."""

    def __init__(self) -> None:
        self.packets: Counter[str] = Counter(dict.fromkeys(NAMES, 0))
        self.bytes: Counter[str] = Counter(dict.fromkeys(("spool", "unfinished", "keep"), 0))  # captured ones
        self.seconds = 0
        """In which something was dropped."""
        self._told = 0

    def kernel(self, before: Counts, now: Counts) -> tuple[int, int]:
        """An interface's counters moved on: what it received and dropped meanwhile."""
        received, dropped, missed = ((b - a) % _WRAP for a, b in zip(before, now, strict=True))
        self.packets["kernel"] += dropped
        if missed < _WRAP // 2:  # a driver that is loaded anew begins at 0
            self.packets["interface"] += missed
        return received, dropped

    def ours(self, where: str, packets: int, size: int) -> None:
        """We had these and gave them up."""
        self.packets[where] += packets
        self.bytes[where] += size

    def second(self) -> bool:
        """A second is over; whether something was dropped in it."""
        total = self.packets.total()
        dropped, self._told = total > self._told, total
        self.seconds += dropped
        return dropped

    def counters(self) -> dict[str, int]:
        """As the report has them."""
        return {
            **{f"dropped.{name}": count for name, count in self.packets.items()},
            **{f"dropped.{name}.bytes": count for name, count in self.bytes.items()},
            "dropped.seconds": self.seconds,
        }
