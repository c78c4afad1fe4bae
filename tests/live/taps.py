"""Interfaces that a test plays: what they give, what the kernel counts, when they break off."""

from __future__ import annotations

import os

from pipeline.live.interface import Counts, Lost
from tests.live.test_columns import batch


class Tap:
    """In place of an Interface: gives what the test put in, and counts it unless it is told otherwise."""

    link = 1

    def __init__(self, *, exact: bool = True) -> None:
        self.name = "tap0"
        self.exact = exact
        self.ring: list[tuple[bytes, bytes]] = []
        self.received = 0
        self.dropped = 0
        self.lost: str | None = None
        self.descriptor, self._other = os.pipe()

    def receive(self, sizes: list[int], *, second: int = 0, fill: bytes = b"\0") -> None:
        """Packets wait in the ring."""
        self.ring.append((fill * sum(sizes), batch([(second, 0, size) for size in sizes])))
        self.received += len(sizes)

    def drop(self, packets: int) -> None:
        """The ring was full."""
        self.received += packets
        self.dropped += packets

    def read(self) -> tuple[bytes, bytes]:
        if self.ring:
            return self.ring.pop(0)
        if self.lost is not None:
            raise Lost(self.lost)
        return b"", b""

    def counts(self) -> Counts:
        return Counts(self.received, self.dropped, 0)

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._other)
