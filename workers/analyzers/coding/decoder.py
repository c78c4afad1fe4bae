"""What undoes one coding.

Knows: that its input is bytes in order, which end, or break, or are followed by others.
Does not know: any coding, limits on output (whoever takes the output stops asking), what is above or below it.
Invariant: what comes out, and what is said of it, depends on the input's bytes only, not on its pieces. At most
MOST_OUT bytes come out at once, and at most BLOCK bytes of input, or one block of zstd's, are held.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Final

from workers.analyzers.seam import Piece

BLOCK: Final = 16 << 10
"""Input of one step. Smaller costs time (zlib's state is copied for each: 15 % of the whole at 16 KiB, 30 % at 4 KiB);
larger lets a bomb go further before its ratio is judged, which is by input in whole blocks."""
MOST_OUT: Final = 256 << 10
"""Bytes that come out at once."""
SNIFFED: Final = 64
"""First bytes of a body that are looked at to tell text from a coding that has no magic number. That so many bytes of
compressed data all are text is as likely as 64 throws of a coin that all show heads, or less."""

_TEXT: Final = bytes(range(0x20, 0x7F)) + b"\t\n\r"


class Decoder(ABC):
    """One coding's input. Nothing that it is fed raises."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.taken = 0
        """Bytes of input that were looked at; of the block in work, all."""
        self.broke_at: int | None = None
        """Offset in the input at which it could not be decoded on."""
        self.problem = ""
        self.trailing = 0
        """Bytes of input behind the coded data."""
        self.members = 0
        """Coded data that simply follow one another: members of gzip, frames of zstd."""
        self.whole = False
        """The coded data may end here."""
        self.over = False
        """Nothing more will come out: it broke, or its end was seen."""
        self._partial = bytearray()  # input that is not a whole block yet
        self._held = b""  # input of whole blocks that is not enough to go on with

    def feed(self, piece: Piece) -> Iterator[bytes]:
        """The next bytes of input; what comes out, to be taken before the next call."""
        view = memoryview(piece)
        if self._partial and not self.over:
            room = BLOCK - len(self._partial)
            self._partial += view[:room]
            view = view[room:]
            if len(self._partial) == BLOCK:
                yield from self._block()
        while len(view) >= BLOCK and not self.over:
            self._partial += view[:BLOCK]
            view = view[BLOCK:]
            yield from self._block()
        if not self.over:
            self._partial += view
        elif self.broke_at is None:
            self.trailing += len(view)

    def end(self) -> Iterator[bytes]:
        """There is no more input."""
        if not self.over:
            yield from self._block()
        if self._held and self.whole and not self.over:
            self._ended(len(self._held))

    def _block(self) -> Iterator[bytes]:
        block = bytes(self._partial)
        self._partial.clear()
        self.taken += len(block)
        yield from self._decode(block)

    @abstractmethod
    def _decode(self, block: bytes) -> Iterator[bytes]:
        """The next BLOCK bytes of input; fewer, or none, if they are the last. ``taken`` is the offset behind them.

        What it leaves in ``_held`` it has to put in front of the next block."""

    def _broken(self, at: int, problem: str) -> None:
        self.broke_at, self.problem, self.over, self.whole = at, problem, True, False

    def _ended(self, trailing: int) -> None:
        """The end of the coded data was seen; so many bytes of the input so far are behind it."""
        self.trailing, self.over, self.whole = trailing, True, True


def is_text(head: bytes) -> bool:
    """Nothing but printable ASCII and line ends in the first bytes; there is at least one."""
    return bool(head) and not head[:SNIFFED].translate(None, _TEXT)
