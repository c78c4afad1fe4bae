"""One direction of a connection: its messages one behind the other, whatever the pieces.

Knows: which part of a message the next byte belongs to, when to search, when to wait. Does not know: the other
direction, but for what pairing.py says of it.
Invariants: what is told depends on the bytes and gaps alone; what is held of them is bounded by ``limits.head_bytes``
and what a search keeps; every byte is in one of the accounts.

A direction may have to wait: for room among the open requests, for its request, for what its answer makes of the
connection, for what the other side is. Meanwhile it takes nothing; ``resume`` looks whether that is known by now.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from workers.analyzers.protocols.http import framing
from workers.analyzers.protocols.http.bodies import WHOLE, Body, Counted, Reader, Unsure, UntilClose
from workers.analyzers.protocols.http.chunked import Chunked
from workers.analyzers.protocols.http.framing import Framing, Kind
from workers.analyzers.protocols.http.gathering import Gathering
from workers.analyzers.protocols.http.heads import Fields, odd, understood
from workers.analyzers.protocols.http.lines import OLDEST, Line, Role
from workers.analyzers.protocols.http.message import Message
from workers.analyzers.protocols.http.pairing import Lane, Parties
from workers.analyzers.protocols.http.search import Search
from workers.analyzers.seam import Host, Moment, Piece
from workers.contract import Completeness
from workers.limits import Limits

TEXT: Final = "HTTP"
ACCOUNTS: Final = ("head_bytes", "body_bytes", "framing_bytes", "skipped_bytes", "left_bytes", "missing_bytes")

_BLANKS: Final = re.compile(rb"[\r\n]*+")
_HEADLESS: Final = Line(Role.ANSWERS, "", OLDEST)
_OPPOSITE: Final = {Role.ASKS: Role.ANSWERS, Role.ANSWERS: Role.ASKS}


class _State(IntEnum):
    START = 0  # at the beginning of a message, or of a blank line before it
    HEAD = 1  # in a head, or in what looks like one
    BODY = 2
    SEARCH = 3
    LEFT = 4  # no longer HTTP


class Direction:
    """``asks``, ``answers``: what is told of its messages if they are requests, or answers."""

    def __init__(self, side: int, host: Host, limits: Limits, parties: Parties, asks: Lane, answers: Lane) -> None:
        self._side, self._host, self._limits, self._parties = side, host, limits, parties
        self._asks, self._answers = asks, answers
        self.waits: Callable[[], bool] | None = None
        """Looks whether what is waited for is known; if so, goes on, and says True."""
        self._state = _State.START
        self._base = 0  # offset of the first byte of the piece that is being fed
        self._taken = 0  # offset behind all bytes and gaps that were taken
        self._present = 0  # ... behind the last byte
        self._heads = Gathering(limits.head_bytes, self._accepts, self._text)
        self._search = Search()
        self._began = Moment(0, 0, 0)
        self._message: Message | None = None
        self._reader: Reader | None = None
        self._fresh = True  # the stream began here, and nothing but blank lines was seen
        self._doubtful = False  # requests before the next one may be missing
        self._otherwise = ""  # what the stream is if it does not go on as HTTP
        self._closing = self._whole = False
        self._wanted: Role | None = None  # what a search looks for, if this side has no role
        self._upto = 0  # offset behind the message, or what there is of it
        self._tally = dict.fromkeys(ACCOUNTS, 0)

    # What the analyzer says

    def begin(self, *, midstream: bool) -> None:
        """As Analyzer.begin."""
        if midstream:
            self._lose(0)
            self._seek()

    def feed(self, piece: Piece) -> int:
        """As Analyzer.feed."""
        at, size = 0, len(piece)
        self._base = self._taken
        while at < size and self.waits is None:
            at = _STEPS[self._state](self, piece, at)
        self._taken = self._base + at
        if at:
            self._present = self._taken
        return at

    def gap(self, size: int) -> None:
        """As Analyzer.gap."""
        self._tally["missing_bytes"] += size
        offset, state = self._taken, self._state
        self._taken += size
        self._upto = self._present
        reader = self._reader
        if reader is not None:
            beyond = reader.gap(size, offset)
            if beyond is not None or reader.over:
                self._finish(beyond or WHOLE)
            if beyond is not None:
                self._lose(1 if isinstance(reader, Counted) else 0)
                self._seek()
        elif state is not _State.LEFT and not (state is _State.HEAD and self._cut()):
            self._skip()
            self._lose(0 if state is _State.SEARCH else 1)
            self._seek()

    def close(self, *, whole: bool) -> None:
        """As Analyzer.close."""
        self._whole, self._closing = whole, True
        self._wind_up()

    def resume(self) -> bool:
        """Whether something moved: it no longer waits for what it waited for."""
        waits = self.waits
        if waits is None or not waits():
            return False
        if self._closing and self.waits is None:
            self._wind_up()
        return True

    # Steps: take bytes of a piece, say where they stopped

    def _start(self, piece: Piece, at: int) -> int:
        if piece[at] in b"\r\n":
            end: int = _BLANKS.match(piece, at).end()  # type: ignore[union-attr] # matches anything
            self._tally["framing_bytes"] += end - at
            return end
        self._began = self._host.moment(self._side, self._base + at)
        end = self._heads.at_once(piece, at)
        if end > at:
            self._headed(self._base + end)
        else:
            self._state = _State.HEAD
        return end

    def _head(self, piece: Piece, at: int) -> int:
        end = self._heads.feed(piece, at)
        if end is None:
            self._puzzle()
            return at
        if self._heads.complete:
            self._headed(self._base + end)
        return end

    def _body(self, piece: Piece, at: int) -> int:
        reader = self._reader
        assert reader is not None
        at = reader.feed(piece, at, self._base + at)
        if reader.over:
            self._upto = self._base + at - len(reader.rest)
            self._finish(reader.flags)
            if reader.odd:
                self._note(reader.odd)
            if reader.flags:
                self._seek(reader.rest)
            elif reader.rest:
                self._again(reader.rest, self._base + at)
        return at

    def _look(self, piece: Piece, at: int) -> int:
        search = self._search
        end = search.feed(piece, at, self._parties.roles[self._side] or self._wanted)
        if end is None:
            return len(piece)
        self._state = _State.START
        if search.found:
            self._again(search.found, self._base + at)
        return end

    def _left(self, piece: Piece, at: int) -> int:
        self._tally["left_bytes"] += len(piece) - at
        return len(piece)

    # Between messages

    def _accepts(self, line: Line) -> bool:
        """Whether that line may be the first of this side's next message."""
        if line.role is Role.HTTP2:
            if self._fresh:
                self._otherwise = "http2"
            return False
        role = self._parties.roles[self._side]
        return self._fresh if line.version == OLDEST else role is None or role is line.role

    def _again(self, held: bytes, offset: int) -> None:
        """Where a message should begin, ``held`` was taken already, up to ``offset``."""
        self._began = self._host.moment(self._side, offset - len(held))
        self._heads.begin(held)
        self._state = _State.HEAD

    def _puzzle(self) -> None:
        """What the heads hold, and what follows, is no message."""
        held = bytes(self._heads.held)
        if self._otherwise:
            if self._otherwise == "http2":
                self._note("http2")
                self._parties.roles[self._side] = Role.HTTP2
            self._leave(self._otherwise)
        elif self._fresh:
            self._parties.baffled[self._side] = True
            if not self._look_across():
                self.waits = self._look_across
        else:
            self._note("anomaly.garbage")
            self._seek(held)

    def _look_across(self) -> bool:
        """What begins without a head is an answer if the other side's first request has no version (H7)."""
        parties, other = self._parties, 1 - self._side
        role = None if parties.baffled[other] else parties.roles[other]
        if role is None and not parties.closed[other] and not parties.baffled[other]:
            return False
        self.waits = None
        if role is Role.HTTP2:
            self._leave("http2")
        elif parties.oldest[other]:
            parties.meet(self._side, _HEADLESS)
            self._fresh, self._upto = False, self._present
            self._message = Message(self._side, _HEADLESS, Fields(b""), self._began)
            self._place()
        else:
            self._wanted = _OPPOSITE.get(role) if role else None
            self._note("anomaly.garbage")
            self._seek(bytes(self._heads.held))
        return True

    def _seek(self, held: bytes = b"") -> None:
        """Search from ``held`` on, which was taken already."""
        self._fresh, self._otherwise = False, ""
        self._heads.begin()
        self._tally["skipped_bytes"] += self._search.skipped
        self._search = Search(held)
        self._state = _State.SEARCH

    def _skip(self) -> None:
        """What is held will not become anything."""
        self._tally["skipped_bytes"] += len(self._heads.held)
        self._heads.begin()
        self._search.give_up()

    def _lose(self, answers: int) -> None:
        """Messages may be missing from here on; the beginnings of so many of them certainly are."""
        self._doubtful = True
        self._answers.in_order = False
        self._answers.lost += answers

    def _leave(self, kind: str) -> None:
        """From here on, with what is held, the stream is ``kind``."""
        self._note(f"left.{kind}")
        self._tally["left_bytes"] += len(self._search.held) + len(self._heads.held)
        self._search.held.clear()
        self._heads.begin()
        self._state = _State.LEFT

    # Messages

    def _headed(self, upto: int, *, cut: bool = False) -> None:
        """The heads have one, which ends at ``upto``."""
        line, head = self._heads.line, self._heads.head
        assert line is not None
        looked = understood(head, self._limits)
        if self._heads.limited or len(looked) < len(head):
            self._note("limit.head")
        for name in odd(looked):
            self._note(name)
        message = self._message = Message(self._side, line, Fields(looked), self._began)
        message.cut, message.doubtful, self._doubtful = cut, self._doubtful, False
        self._fresh, self._otherwise, self._upto = False, "", upto
        self._parties.meet(self._side, line)
        self._place()

    def _cut(self) -> bool:
        """The end of a head is missing: what there is of it counts, if that is its first line at least."""
        if not self._heads.cut():
            return False
        self._note("anomaly.head_cut")
        self._headed(self._present, cut=True)
        return True

    def _place(self) -> bool:
        """Find the message its place among the others, and so its framing; or wait."""
        message = self._message
        assert message is not None
        if message.line.role is Role.ASKS:
            if not self._asks.may_ask():
                self.waits = self._place
                return False
            self._asks.ask(message)
            self._note("requests")
            frame = framing.of_request(message.fields)
        elif message.interim:
            self._note("interim")
            frame = framing.NOTHING
        else:
            if not self._answers.may_answer(message):
                self.waits = self._place
                return False
            self._answers.answer(message)
            self._note("responses")
            method = message.request.line.method if message.request else None
            frame = framing.of_answer(message.fields, message.line.status, method)
        self.waits = None
        self._framed(message, frame)
        return True

    def _framed(self, message: Message, frame: Framing) -> None:
        for name in frame.odd:
            self._note(name)
        message.length = frame.length
        kind = message.tunnel() if frame.kind is Kind.TUNNEL else ""
        if message.request is not None:
            message.request.left, message.request.settled = kind, True
        if message.cut or frame.kind in (Kind.NONE, Kind.TUNNEL):
            self._finish(WHOLE)
            if kind:
                self._leave(kind)
            return
        body = message.body = Body(lambda offset: self._host.begin(message.entity(offset)))
        self._state = _State.BODY
        if frame.kind is Kind.LENGTH and frame.length is not None:
            unsure = message.line.role is Role.ANSWERS and message.request is None
            self._reader = (Unsure if unsure else Counted)(body, frame.length)
        elif frame.kind is Kind.CHUNKED:
            self._reader = Chunked(body, self._text)
        else:
            self._reader = UntilClose(body)
            held = bytes(self._heads.held)
            if held:  # an answer without a head
                self._heads.begin()
                self._reader.feed(held, 0, self._taken - len(held))

    def _finish(self, flags: Completeness) -> None:
        """The message is over, at ``upto``."""
        message, reader = self._message, self._reader
        assert message is not None
        self._message = self._reader = None
        self._state = _State.START
        message.known = max(message.known, self._host.moment(self._side, self._upto - 1).known)
        if isinstance(reader, Chunked):
            message.trailers = reader.trailers
            self._tally["framing_bytes"] += reader.framing
        if message.body is not None and message.body.content is not None:
            self._tally["body_bytes"] += message.body.size
            message.body.content.end(message.body.end, flags, message.facts())
        message.done = True
        if message.line.role is Role.ASKS:
            self._asks.asked(message)
            if message.upgrades() and not self._see_through(message):
                self.waits = lambda: self._see_through(message)
        elif not message.interim:
            self._answers.answered(message)
        if message.cut:
            self._lose(0)
            self._seek()

    def _see_through(self, request: Message) -> bool:
        """What the connection is behind a request that may end HTTP."""
        if not request.settled:
            self._parties.stuck[self._side] = request
            return False
        self.waits = None
        if request.left:
            self._leave(request.left)
        elif request.left is None:  # nobody saw an answer
            self._otherwise = request.tunnel()
        return True

    def _wind_up(self) -> None:
        """Nothing more comes. What is under way ends, unless it has to wait; then this is called again."""
        self._upto = self._present
        if self._state is _State.HEAD and not self._cut() and self._fresh and self._heads.held:
            self._puzzle()
        if self._reader is not None:
            self._finish(self._reader.end(self._taken, whole=self._whole))
        if self.waits is not None:
            return
        self._skip()
        self._tally["skipped_bytes"] += self._search.skipped
        self._parties.closed[self._side] = True
        for name, amount in self._tally.items():
            if amount:
                self._host.count(self._side, name, amount)

    def _note(self, name: str) -> None:
        self._tally[name] = self._tally.get(name, 0) + 1

    def _text(self, piece: Piece) -> None:
        self._tally["head_bytes"] += len(piece)
        self._host.text(self._side, TEXT, piece)


_STEPS: Final = (
    Direction._start, Direction._head, Direction._body, Direction._look, Direction._left
)  # fmt: skip
