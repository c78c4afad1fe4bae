"""Heads, gathered from pieces up to the blank line that ends them.

Knows: where a head ends, which first lines count, how much of a head is kept. Does not know: fields, bodies.
Invariants: linear in the bytes, one by one or all at once; at most ``limits.head_bytes`` of them are held; every byte
of a head is put into ``texts``, in order.

A head ends at the first empty line; a request without a version (HTTP/0.9) has no more than its first line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from workers.analyzers.protocols.http.lines import OLDEST, Line, understand
from workers.analyzers.seam import Piece

Accepts: TypeAlias = Callable[[Line], bool]

_END: Final = re.compile(rb"\n\r?\n")


class Gathering:
    """One head after the other. ``accepts``: whether a first line may stand there."""

    __slots__ = ("_beyond", "_room", "_scanned", "head", "held", "limited", "line", "texts")

    def __init__(self, room: int) -> None:
        self._room = room
        self.held = bytearray()  # taken, and not yet known to be a head; or, beyond the room, the last two bytes
        self.line: Line | None = None  # the first line, as soon as it is there
        self.head = b""  # the lines of it that are kept, as soon as it is complete
        self.limited = False  # ... which are not all
        self.texts: list[Piece] = []
        """What was taken of heads: whoever feeds takes it out, before the piece is gone."""
        self._scanned = 0
        self._beyond = False

    def begin(self, held: bytes = b"") -> None:
        """A head may begin here, or with ``held``, which was taken before."""
        self.held[:] = held
        self.line, self.head = None, b""
        self._scanned, self._beyond, self.limited = 0, False, False

    def at_once(self, piece: Piece, at: int, accepts: Accepts) -> int:
        """Where the head ends that ``piece[at:]`` begins with, if all of it is there and can be kept; else ``at``.

        The same as ``begin`` and ``feed``, for a head that is there."""
        self.begin()
        found = _END.search(piece, at, at + self._room)
        if found is None:
            return at
        head = bytes(memoryview(piece)[at : found.end()])
        line = understand(head)
        if line is None or line.version == OLDEST or not accepts(line):
            return at
        self.line, self.head = line, head
        self.texts.append(head)
        return found.end()

    def feed(self, piece: Piece, at: int, accepts: Accepts) -> int | None:
        """Take bytes up to the end of the head: ``head`` is there then. None: what is held, and goes on in
        ``piece[at:]``, is no message."""
        if self._beyond:
            return self._pass_on(piece, at)
        held, before = self.held, len(self.held)
        held += memoryview(piece)[at : at + self._room - before]
        if self.line is None and not self._first_line(accepts):
            del held[before:]
            return None
        end = self._end()
        self._scanned = len(held)
        if end:
            at += end - before
            self._complete(end)
            return at
        at += len(held) - before
        if len(held) >= self._room:
            self._keep_lines()
            self._beyond = self.limited = True
            del held[:-2]
        return at

    def cut(self, accepts: Accepts) -> bool:
        """Nothing more of it comes. True: it is a head without its end, and ``head`` is there; False: it is none."""
        if self.line is None and not (self._first_line(accepts) and self.line):
            return False
        if not self._beyond:
            self._keep_lines()
        self.held.clear()
        return True

    @property
    def complete(self) -> bool:
        """Whether ``head`` is all that there is of it."""
        return bool(self.head) and not self._beyond

    def _first_line(self, accepts: Accepts) -> bool:
        """Look for it. False: there is none, and will be none."""
        if self.held.find(b"\n", self._scanned) < 0:
            return len(self.held) < self._room
        line = understand(self.held)
        if line is None or not accepts(line):
            return False
        self.line = line
        return True

    def _end(self) -> int:
        """How many of the held bytes are the head; 0: its end is not there."""
        if self.line is None:
            return 0
        if self.line.version == OLDEST:
            return self.held.index(b"\n") + 1
        found = _END.search(self.held, max(0, self._scanned - 2))
        return found.end() if found else 0

    def _complete(self, end: int) -> None:
        self.head = bytes(self.held[:end])
        self.held.clear()
        self.texts.append(self.head)

    def _keep_lines(self) -> None:
        """Of what is held, if no more of the head is looked at: half a line may say something else than all of it."""
        self.texts.append(bytes(self.held))
        self.head = bytes(self.held[: self.held.rfind(b"\n") + 1])

    def _pass_on(self, piece: Piece, at: int) -> int:
        """What lies beyond the room: to the text, and no further."""
        tail = bytes(self.held)
        across = _END.search(tail + bytes(piece[at : at + 2]))
        found = None if across else _END.search(piece, at)
        end = at + across.end() - len(tail) if across else found.end() if found else len(piece)
        self.texts.append(memoryview(piece)[at:end])
        self.held[:] = (tail + bytes(piece[max(at, end - 2) : end]))[-2:]
        if across or found:
            self._beyond = False
            self.held.clear()
        return end
