"""A connection that takes turns: a request without a body, its answer, the next request; each is a piece by itself.

Knows: the messages of such a connection, and what the full account (both.py) would have in its place.
Does not know: anything else: gaps, heads in pieces, bodies that go on in the next piece, two messages in one.
Invariant: what is told, and its order, is what both.py tells of the same bytes; a piece is taken wholly or not at all,
and nothing is told of one that is not taken.

Most connections are no more than that, and are kept for minutes until it is certain that nothing else comes. The full
account makes a dozen objects of each.
"""

from __future__ import annotations

from typing import Final

from workers.analyzers.protocols.http import chunked
from workers.analyzers.protocols.http.bodies import WHOLE
from workers.analyzers.protocols.http.framing import Kind, of_answer
from workers.analyzers.protocols.http.heads import at_once
from workers.analyzers.protocols.http.late import Late
from workers.analyzers.protocols.http.lines import Role
from workers.analyzers.protocols.http.message import Message, exchange
from workers.analyzers.protocols.http.standing import ACCOUNTS, REQUESTS, RESPONSES, TEXT
from workers.analyzers.seam import Host, Piece
from workers.limits import Limits

_HEADS, _BODIES, _FRAMING = ACCOUNTS[:3]
_ANSWERS: Final = Role.ANSWERS
_NONE: Final = Kind.NONE
_LENGTH: Final = Kind.LENGTH
_CHUNKED: Final = Kind.CHUNKED


class Turns:
    """One connection, as long as it is so. For limits with which a request can be open."""

    __slots__ = (
        "_host", "_limits", "answered", "answers", "asker", "bodies", "closed", "framing", "heads", "known",
        "last_answer", "request", "requests",
    )  # fmt: skip

    def __init__(self, host: Host, limits: Limits) -> None:
        self._host = host
        self._limits = limits
        self.asker = -1  # the side that asks; -1: nothing was taken
        self.request: Message | None = None  # that has no answer yet
        self.answered = 0  # requests that have theirs
        self.known = 0  # these two: as a Lane has them
        self.last_answer = -1
        self.requests = 0  # bytes of them, all of which are heads
        self.answers = 0  # ... of answers: all, and each account
        self.heads = self.bodies = self.framing = 0
        self.closed: tuple[int, bool] | None = None  # the side that is over, and whether it is whole

    def take(self, side: int, piece: Piece) -> bool:
        """The next bytes of a side. False: they are not taken, this is another kind of connection."""
        if self.closed is not None:
            return False
        if self.request is not None:
            return side != self.asker and self._answer(self.request, side, piece)
        return (side == self.asker or self.asker < 0) and self._ask(side, piece)

    def close(self, side: int, *, whole: bool) -> bool:
        """Nothing more comes of a side. False: that says something of what it does not know."""
        if self.asker < 0 or self.request is not None:
            return False
        if self.closed is None:
            self.closed = side, whole
            return True
        count, asks, answers = self._host.count, self.asker, 1 - self.asker
        count(asks, _HEADS, self.requests)
        count(asks, REQUESTS, self.answered)
        count(answers, _HEADS, self.heads)
        if self.bodies:
            count(answers, _BODIES, self.bodies)
        if self.framing:
            count(answers, _FRAMING, self.framing)
        count(answers, RESPONSES, self.answered)
        return True

    def _ask(self, side: int, piece: Piece) -> bool:
        found = at_once(piece, 0, self._limits)
        if found is None:
            return False
        head, line, fields = found
        if type(fields) is not Late or len(head) != len(piece):
            return False
        offset, host = self.requests, self._host
        began = host.moment(side, offset)
        if began.packet < self.last_answer:  # it did not wait for its turn
            return False
        host.text(side, TEXT, head)
        request = Message(side, line, fields, began)
        request.done = True
        self.asker, self.request, self.requests = side, request, offset + len(head)
        known = host.moment(side, self.requests - 1).known
        if known > request.known:
            request.known = known
        return True

    def _answer(self, request: Message, side: int, piece: Piece) -> bool:
        found = at_once(piece, 0, self._limits)
        if found is None or found[1].role is not _ANSWERS:
            return False
        head, line, fields = found
        low, high, offset, host = len(head), len(piece), self.answers, self._host
        how, length, strange = of_answer(fields, line.status, request.line.method)
        if strange or line.status < 200:
            return False
        data: Piece = b""
        framing = 0
        if how is _LENGTH:
            if length != high - low:
                return False
            data = memoryview(piece)[low:]
        elif how is _CHUNKED:
            body = chunked.at_once(piece, low)
            if body is None or body[1] != high:
                return False
            framing = high - low
            if spans := body[0]:
                view = memoryview(piece)
                data = b"".join([view[start:end] for start, end in spans])
                framing -= len(data)
                low, high = spans[0][0], spans[-1][1]
        elif how is not _NONE or low != high:
            return False
        message = Message(side, line, fields, host.moment(side, offset))
        host.text(side, TEXT, head)
        message.request, message.length, message.done = request, length, True
        if data:
            message.content = host.whole(message.entity(offset + low), data, offset + high, WHOLE, message.facts())
        self._told(request, message, len(piece))
        self.heads += len(head)
        self.bodies += len(data)
        self.framing += framing
        return True

    def _told(self, request: Message, answer: Message, size: int) -> None:
        """Both are complete; ``size``: bytes of the answer."""
        self.answers += size
        known = max(
            self.known, request.known, answer.known, self._host.moment(answer.side, self.answers - 1).known
        )  # fmt: skip
        self.known, self.last_answer = known, answer.began.packet
        self.request = None
        self.answered += 1
        self._host.exchange(exchange(request, answer, known))
