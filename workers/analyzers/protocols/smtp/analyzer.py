"""The seam: what the host feeds, handed to the conversation; who of the two is the client.

Knows: which side is read. Does not know: lines, mails.
Invariant: one side is read at a time, until encryption begins or nothing is understood; so the order in which the host
offers the sides cannot show.

The client is known by its opening (grammar.recognize), or by the greeting of the other side. Side 0 is judged first. Of
a side that nobody saw begin, the first bytes are searched for a command that only SMTP has.
"""

from __future__ import annotations

from typing import Final

from workers.analyzers.protocols.smtp import grammar
from workers.analyzers.protocols.smtp.conversation import Conversation
from workers.analyzers.protocols.smtp.steps import EITHER, Input, Steps, drain
from workers.analyzers.seam import Host, Piece
from workers.limits import Limits

SEARCHED: Final = 256 << 10
"""Bytes in which the first command of a midstream side is searched: most mails are shorter, then another one may come.
What is longer and has the connection for itself is not recognised."""

_AT_ONCE: Final = 16 << 10
"""Bytes of a piece that are copied: where sides take turns line by line, those that are left are copied each time."""

_EARLY: Final = 2
"""Lines of a midstream side of which one is a reply if a server speaks: the first may lack its start. A text of a mail
that looks so there is taken for a server, and its connection is not recognised."""


class Smtp:
    """One connection."""

    def __init__(self, host: Host, limits: Limits) -> None:
        self._host = host
        self._limits = limits
        self._sides = (Input(host, 0, limits.head_bytes), Input(host, 1, limits.head_bytes))
        self._claims: bool | None = None
        self._steps = self._read()
        self._waits = next(self._steps)

    def begin(self, side: int, *, midstream: bool) -> None:
        """See seam.Analyzer, as for all of these."""
        self._sides[side].midstream = midstream

    def claims(self) -> bool | None:
        return self._claims

    def wants(self, side: int) -> bool:
        return self._waits in (side, EITHER)

    def feed(self, side: int, piece: Piece) -> int:
        reader, taken = self._sides[side], 0
        while taken < len(piece) and self.wants(side):
            part = bytes(piece[taken : taken + _AT_ONCE])
            reader.offer(part)
            self._run()
            taken += reader.settle(len(part))
        return taken

    def gap(self, side: int, size: int) -> None:
        self._sides[side].missing += size
        self._run()

    def close(self, side: int, *, whole: bool) -> None:  # noqa: ARG002 -- the seam's signature
        """``whole`` says nothing of a mail: it has an end of its own."""
        self._sides[side].ended = True
        self._run()

    def _run(self) -> None:
        self._waits = next(self._steps, EITHER)

    def _read(self) -> Steps[None]:
        client = yield from self._client()
        self._claims = client is not None
        if client is not None:
            yield from Conversation(self._host, self._limits, self._sides[client], self._sides[1 - client]).talk()
        yield from drain(self._sides, "skipped_bytes" if client is None else "left_bytes")

    def _client(self) -> Steps[int | None]:
        """Which side it is; None when neither side is one of SMTP."""
        for side in self._sides:
            if not (yield from side.fill()) and side.missing:
                side.midstream = True
            asks = yield from self._searched(side) if side.midstream else self._opens(side)
            if asks is not None:
                return side.number if asks else 1 - side.number
        return None

    def _opens(self, side: Input) -> Steps[bool | None]:
        """Whether a side asks or answers, by how it begins; None when it does neither in SMTP."""
        head, found = b"", None
        while found is None and len(head) < grammar.RECOGNIZED and (line := (yield from side.line())):
            head += line
            found = grammar.recognize(head)
        side.unread(head)
        return not head[:1].isdigit() if found else None

    def _searched(self, side: Input) -> Steps[bool | None]:
        """The same for a side that does not begin; None for a server, too. What is passed over is skipped."""
        lines = size = 0
        while size < SEARCHED:
            if not (line := (yield from side.line())):
                if side.ended and not side.missing:
                    return None
                yield from side.over_gap()
                lines = 0
                continue
            early = lines < _EARLY
            if grammar.is_envelope(line) or (early and grammar.is_opening(line)):
                side.unread(line)
                return True
            if early and grammar.reply_line(line):
                side.unread(line)
                return None
            self._host.count(side.number, "skipped_bytes", len(line))
            size += len(line)
            lines += 1
        return None
