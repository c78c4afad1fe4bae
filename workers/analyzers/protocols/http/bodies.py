"""Bodies that come in pieces, as long as declared or as long as their stream: bytes to a content, gaps to holes.

Knows: where such a body ends. Does not know: heads, chunks, what becomes of a body.
Invariants: a content begins with its first byte or hole, so an empty body has none; nothing is copied.

A ``Reader`` takes the bytes behind a head until the body is ``over``. Offsets are those of the stream.
"""

from __future__ import annotations

from typing import Protocol

from workers.analyzers.protocols.http.message import Message
from workers.analyzers.protocols.http.search import STATUS_ROOM, is_status
from workers.analyzers.seam import Content, Host, Piece
from workers.contract import Completeness

WHOLE = Completeness(0)


class Body:
    """What was told of the body of a message that does not come at once."""

    __slots__ = ("_host", "content", "end", "message", "size")

    def __init__(self, host: Host, message: Message) -> None:
        self._host = host
        self.message = message
        self.content: Content | None = None
        self.end = 0  # offset behind the last byte or hole
        self.size = 0  # bytes, holes not counted

    def data(self, piece: Piece, offset: int) -> None:
        """Bytes that begin at ``offset``; at least one."""
        if self.content is None:
            self.content = self._host.begin(self.message.entity(offset))
        self.content.data(piece)
        self.size += len(piece)
        self.end = offset + len(piece)

    def hole(self, size: int, offset: int) -> None:
        """``size`` bytes are missing from ``offset`` on; none if it is 0."""
        if size:
            if self.content is None:
                self.content = self._host.begin(self.message.entity(offset))
            self.content.hole(size)
            self.end = offset + size


class Reader(Protocol):
    """Reads the framing of one body."""

    body: Body
    over: bool  # nothing more is to be taken
    rest: bytes  # ... but this was taken, and is no part of it
    odd: str  # what was odd about its end, as it is counted
    flags: Completeness  # of the body that is over; DAMAGED: no message need begin where it ended

    def feed(self, piece: Piece, at: int, offset: int) -> int:
        """Take bytes from ``piece[at:]``, of which the first stands at ``offset``. Where it stopped."""

    def gap(self, size: int, offset: int) -> Completeness | None:
        """Bytes are missing. Not None: where the next message begins is lost with them; the flags of the body's end."""

    def end(self, offset: int, *, whole: bool) -> Completeness:
        """Nothing more comes: the flags of the body's end. ``whole``: the stream's end was seen, at ``offset``."""


class Counted:
    """A body of known length."""

    __slots__ = ("_left", "body", "flags", "odd", "over", "rest")

    def __init__(self, body: Body, length: int) -> None:
        self.body, self._left = body, length
        self.over, self.rest, self.odd, self.flags = False, b"", "", WHOLE

    def feed(self, piece: Piece, at: int, offset: int) -> int:
        end = min(len(piece), at + self._left)
        self.body.data(memoryview(piece)[at:end], offset)
        self._left -= end - at
        self.over = not self._left
        return end

    def gap(self, size: int, offset: int) -> Completeness | None:
        known = min(size, self._left)
        self.body.hole(known, offset)
        self._left -= known
        self.over = not self._left
        return None if known == size else WHOLE

    def end(self, offset: int, *, whole: bool) -> Completeness:  # noqa: ARG002 # as a Reader has it
        return Completeness.OPEN if self._left else WHOLE


class Unsure(Counted):
    """... of an answer to a request that is not known: if that was HEAD, another answer begins instead of the body."""

    __slots__ = ("_held",)

    def __init__(self, body: Body, length: int) -> None:
        super().__init__(body, length)
        self._held: bytearray | None = bytearray() if length >= STATUS_ROOM else None

    def feed(self, piece: Piece, at: int, offset: int) -> int:
        held = self._held
        if held is None:
            return super().feed(piece, at, offset)
        before = len(held)
        held += memoryview(piece)[at : at + STATUS_ROOM - before]
        verdict = is_status(held)
        if verdict is False:
            del held[before:]
            self._settle(offset)
            return super().feed(piece, at, offset)
        if verdict:
            self.over, self.rest, self.odd = True, bytes(held), "anomaly.body_absent"
        return at + len(held) - before

    def gap(self, size: int, offset: int) -> Completeness | None:
        self._settle(offset)
        return super().gap(size, offset)

    def end(self, offset: int, *, whole: bool) -> Completeness:
        self._settle(offset)
        return super().end(offset, whole=whole)

    def _settle(self, offset: int) -> None:
        """There is a body, to which belongs what is held, and ends at ``offset``."""
        held, self._held = self._held, None
        if held:
            super().feed(bytes(held), 0, offset - len(held))


class UntilClose:
    """A body that ends with its stream."""

    __slots__ = ("body", "flags", "odd", "over", "rest")

    def __init__(self, body: Body) -> None:
        self.body = body
        self.over, self.rest, self.odd, self.flags = False, b"", "", WHOLE

    def feed(self, piece: Piece, at: int, offset: int) -> int:
        self.body.data(memoryview(piece)[at:], offset)
        return len(piece)

    def gap(self, size: int, offset: int) -> Completeness | None:
        self.body.hole(size, offset)
        return None

    def end(self, offset: int, *, whole: bool) -> Completeness:  # noqa: ARG002 # as a Reader has it
        return WHOLE if whole else Completeness.OPEN
