"""One direction as something to be read step by step, whatever pieces it comes in.

Knows: the bytes at hand, what is missing before them, whether there will be more.
Does not know: what the bytes mean.
Invariant: what a reader gets depends on the bytes and gaps alone. A reader is a generator: it gives the number of the
side that it waits for (or EITHER), and is run on when there is something.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

from workers.analyzers.seam import Host, Moment

T = TypeVar("T")
Steps: TypeAlias = Generator[int, None, T]
"""Waits for sides, and has a result in the end."""

EITHER: Final = 2
"""Waits for whatever comes."""


class Input:
    """What one side has for its reader."""

    __slots__ = ("at", "data", "ended", "host", "longest", "midstream", "missing", "number", "offset")

    def __init__(self, host: Host, number: int, longest: int) -> None:
        """``longest``: bytes that ``line`` gives at most."""
        self.host = host
        self.number = number
        self.longest = longest
        self.offset = 0  # in the stream, of the next byte
        self.data = b""
        self.at = 0  # in ``data``, of the next byte
        self.missing = 0  # bytes that are missing behind ``data``
        self.midstream = False  # the first bytes are no beginning
        self.ended = False

    @property
    def ready(self) -> bool:
        """Whether there is something: bytes, a gap, the end."""
        return self.at < len(self.data) or self.missing > 0 or self.ended

    def offer(self, piece: bytes) -> None:
        """Bytes that follow those that were taken."""
        self.data = self.data[self.at :] + piece if self.at < len(self.data) else piece
        self.at = 0

    def settle(self, size: int) -> int:
        """How many of the ``size`` bytes that were offered last are taken. The others are offered again.

        One is always taken: where the reader looked at it and waits for the other side now, the host sees progress.
        """
        left = min(max(0, size - 1), len(self.data) - self.at)
        self.data = self.data[self.at : len(self.data) - left]
        self.at = 0
        return size - left

    def fill(self) -> Steps[bool]:
        """Wait. Whether there are bytes; if not, something is missing, or it is the end."""
        while not self.ready:
            yield self.number
        return self.at < len(self.data)

    def line(self) -> Steps[bytes]:
        """The next line with its LF; without it, what there is of one that is too long, or cut by a gap or the end.

        b"" is a gap or the end."""
        parts: list[bytes] = []
        room = self.longest
        while room and (yield from self.fill()):
            stop = min(len(self.data), self.at + room)
            end = self.data.find(b"\n", self.at, stop) + 1
            parts.append(self.data[self.at : end or stop])
            self.step(len(parts[-1]))
            room -= len(parts[-1])
            if end:
                break
        return b"".join(parts)

    def step(self, size: int) -> None:
        """Bytes at hand were read."""
        self.at += size
        self.offset += size

    def unread(self, line: bytes) -> None:
        """What was read last will be read again."""
        self.data = line + self.data[self.at :]
        self.at = 0
        self.offset -= len(line)

    def skip_gap(self, most: int | None = None) -> int:
        """Step over what is missing before the next byte, at most over so much, and account for it."""
        size = self.missing if most is None else min(most, self.missing)
        self.host.count(self.number, "missing_bytes", size)
        self.offset += size
        self.missing -= size
        return size

    def over_gap(self) -> Steps[int]:
        """Step over all that is missing before the next byte, or before the end; how much that is."""
        size = 0
        while not (yield from self.fill()) and self.missing:
            size += self.skip_gap()
        return size

    def moment(self) -> Moment:
        """Of the next byte, which is there."""
        return self.host.moment(self.number, self.offset)

    def last_moment(self) -> Moment:
        """Of the byte that was read last."""
        return self.host.moment(self.number, self.offset - 1)

    def drain(self, account: str) -> None:
        """Read all there is."""
        size = len(self.data) - self.at
        if size:
            self.host.count(self.number, account, size)
            self.step(size)
        if self.missing:
            self.skip_gap()


def drain(inputs: tuple[Input, Input], account: str) -> Steps[None]:
    """Read both sides to their ends."""
    while True:
        for side in inputs:
            side.drain(account)
        if all(side.ended for side in inputs):
            return
        yield EITHER
