"""The text of DATA as its author wrote it: dots that were stuffed are removed, the end is found (RFC 5321, 4.5.2).

Knows: the bytes of one text. Does not know: commands, offsets, where the bytes go.
Invariant: any cut of the bytes gives the same text, the same framing, the same end. Linear time; two bytes are kept.

A text ends with CRLF "." CRLF and with nothing else. So LF "." LF, LF "." CRLF and their like, by which a mail is
smuggled past a server that is less strict than the next one (CVE-2023-51764), are text, and counted in ``odd``.
But a client whose DATA line ended in a bare LF means LF by it in the text, too: then a line begins behind each LF.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from workers.analyzers.seam import Piece

_EDGE: Final = re.compile(rb"[\r\n]\.")
_CR, _LF, _DOT = b"\r\n."


class Dots:
    """One text."""

    __slots__ = ("bare", "ended", "framing", "held", "lax", "marker", "odd", "previous", "starts", "unsure")

    def __init__(self, *, bare: bool) -> None:
        """``bare``: lines end in LF."""
        self.bare = bare
        self.ended = False
        self.framing = 0  # bytes that are no text
        self.marker = 0  # ... of them those of the end
        self.odd = 0  # lines of a dot alone by other line ends than those that count
        self.held = b""  # a dot at the start of a line, perhaps with CR
        self.starts = True  # the next byte is the first of a line
        self.unsure = False  # ... perhaps: it stands behind a hole
        self.lax = False  # the last byte was a dot behind a line end that does not count
        self.previous = _LF

    def feed(self, data: bytes, at: int, take: Callable[[Piece], None]) -> int:
        """Read ``data`` from ``at`` on, up to the end of the text or of ``data``; where that is."""
        view = memoryview(data)
        size = len(data)
        while at < size and not self.ended:
            byte = data[at]
            if self.held:
                at += self._held(byte, take)
            elif self.starts and byte == _DOT:
                self.held = b"."
                at += 1
            else:
                if self.lax and byte in b"\r\n":
                    self.odd += 1
                at = self._plain(data, view, at, take)
        return at

    def _plain(self, data: bytes, view: memoryview, at: int, take: Callable[[Piece], None]) -> int:
        """Text up to behind the next line end before a dot."""
        self.lax = data[at] == _DOT and self.previous in b"\r\n"
        if self.lax:
            stop = at + 1
        else:
            edge = _EDGE.search(data, at)
            stop = edge.start() + 1 if edge else len(data)
        take(view[at:stop])
        before = data[stop - 2] if stop - at > 1 else self.previous
        self.previous = data[stop - 1]
        self.starts = self.previous == _LF and (self.bare or before == _CR)
        self.unsure = False
        return stop

    def _held(self, byte: int, take: Callable[[Piece], None]) -> int:
        """The byte behind a dot that starts a line, or behind that dot and CR. How many bytes were read: 0 or 1."""
        if byte == _CR and self.held == b".":
            self.held = b".\r"
            return 1
        if byte == _LF and (self.bare or self.held == b".\r"):
            self.marker = len(self.held) + 1
            self.framing += self.marker
            self.held = b""
            self.ended = True
            return 1
        self.odd += byte == _LF or self.held == b".\r"
        self._release(take)
        return 0

    def _release(self, take: Callable[[Piece], None]) -> None:
        """The dot was stuffed. Behind a hole nobody knows, and it stays."""
        text = self.held if self.unsure else self.held[1:]
        self.framing += len(self.held) - len(text)
        self.previous = self.held[-1]
        self.held = b""
        self.starts = self.unsure = False
        if text:
            take(text)

    def stop(self, take: Callable[[Piece], None]) -> None:
        """Nothing follows, or a hole does."""
        if self.held:
            self._release(take)

    def hole(self) -> None:
        """Bytes are missing here, after ``stop``. A line may begin behind them: a dot alone there is the end."""
        self.starts = self.unsure = True
        self.lax = False
        self.previous = 0
