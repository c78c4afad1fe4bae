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
from typing import Final

from workers.analyzers.protocols.http import chunked, framing
from workers.analyzers.protocols.http.bodies import WHOLE, Counted
from workers.analyzers.protocols.http.chunked import Chunked
from workers.analyzers.protocols.http.framing import Framing, Kind
from workers.analyzers.protocols.http.heads import at_once, fields_of, odd, understood
from workers.analyzers.protocols.http.late import Late
from workers.analyzers.protocols.http.lines import OLDEST, Line, Role
from workers.analyzers.protocols.http.message import Message
from workers.analyzers.protocols.http.standing import REQUESTS, RESPONSES, TEXT, Standing, State, Wait
from workers.analyzers.seam import Piece
from workers.contract import Completeness

_BLANKS: Final = re.compile(rb"[\r\n]*+")
_HEADLESS: Final = Line(Role.ANSWERS, "", OLDEST)
_ASKS: Final = Role.ASKS
_NONE: Final = Kind.NONE
_CHUNKED: Final = Kind.CHUNKED
_TUNNEL: Final = Kind.TUNNEL
_IN_BODY: Final = State.BODY
_AT_START: Final = State.START
_OPPOSITE: Final = {Role.ASKS: Role.ANSWERS, Role.ANSWERS: Role.ASKS}


class Direction(Standing):
    """What the analyzer says, and what is made of it."""

    __slots__ = ()

    # What the analyzer says

    def begin_midstream(self) -> None:
        """The first message may begin anywhere."""
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
        self._missing_bytes += size
        offset, state = self._taken, self._state
        self._taken += size
        self._upto = self._present
        if state is State.BODY:
            reader = self._reader or self._read()
            beyond = reader.gap(size, offset)
            if beyond is not None or reader.over:
                self._finish(beyond or WHOLE)
            if beyond is not None:
                self._lose(1 if isinstance(reader, Counted) else 0)
                self._seek()
        elif state is not State.LEFT and not (state is State.HEAD and self._cut()):
            self._skip()
            self._lose(0 if state is State.SEARCH else 1)
            self._seek()

    def close(self, *, whole: bool) -> None:
        """As Analyzer.close."""
        self._whole, self._closing = whole, True
        self._wind_up()

    def resume(self) -> bool:
        """Whether something moved: it no longer waits for what it waited for."""
        waits = self.waits
        if waits is None or not _RESUMES[waits](self):
            return False
        if self._closing and self.waits is None:
            self._wind_up()
        return True

    # Steps: take bytes of a piece, say where they stopped

    def _start(self, piece: Piece, at: int) -> int:
        found = at_once(piece, at, self._limits)
        role = self._parties.roles[self._side]
        if found is None or not (role is None or role is found[1].role):
            return self._start_slowly(piece, at)
        head, line, fields = found
        offset, size, host, side = self._base + at, len(head), self._host, self._side
        message = Message(side, line, fields, host.moment(side, offset))
        self._head_bytes += size
        host.text(side, TEXT, head)
        if type(fields) is not Late or self._doubtful or not self._asks.may_ask():
            self._meet(message, offset + size)
            return at + size
        if role is None:
            self._parties.meet(side, line)
        self._fresh, self._otherwise, self._upto = False, "", offset + size
        known = host.moment(side, self._upto - 1).known  # it is over with its head
        if known > message.known:
            message.known = known
        message.done = True
        self._asks.ask(message)
        self._note(REQUESTS)
        return at + size

    def _start_slowly(self, piece: Piece, at: int) -> int:
        if piece[at] in b"\r\n":
            end: int = _BLANKS.match(piece, at).end()  # type: ignore[union-attr] # matches anything
            self._framing_bytes += end - at
            return end
        self._began = self._host.moment(self._side, self._base + at)
        heads = self._gathering()
        end = heads.at_once(piece, at, self._accepts)
        if end > at:
            self._headed(self._base + end)
        else:
            self._state = State.HEAD
        return end

    def _head(self, piece: Piece, at: int) -> int:
        heads = self._gathering()
        end = heads.feed(piece, at, self._accepts)
        self._take_texts(heads.texts)
        if end is None:
            self._puzzle()
            return at
        if heads.complete:
            self._headed(self._base + end)
        return end

    def _body(self, piece: Piece, at: int) -> int:
        reader = self._reader
        if reader is None:
            end = self._body_at_once(piece, at)
            if end > at:
                return end
            reader = self._read()
        at = reader.feed(piece, at, self._base + at)
        if isinstance(reader, Chunked) and reader.text:
            self._take_trailers(reader)
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

    def _body_at_once(self, piece: Piece, at: int) -> int:
        """Where the body ends that begins there, if all of it is in the piece and it certainly is one; else ``at``."""
        message, frame = self._message, self._frame
        assert message is not None
        if message.limited:
            return at
        length = frame.length
        if frame.kind is _CHUNKED:
            found = chunked.at_once(piece, at)
            if found is None:
                return at
            spans, end = found
            self._framing_bytes += end - at - sum([high - low for low, high in spans])
            if spans:
                view = memoryview(piece)
                data = b"".join([view[low:high] for low, high in spans])
                self._tell_whole(message, data, spans[0][0], spans[-1][1])
        elif length is not None and length <= len(piece) - at and not self._unsure:
            end = at + length
            self._tell_whole(message, memoryview(piece)[at:end], at, end)
        else:
            return at
        self._upto = self._base + end
        self._finish(WHOLE)
        return end

    def _look(self, piece: Piece, at: int) -> int:
        search = self._search
        assert search is not None
        end = search.feed(piece, at, self._parties.roles[self._side] or self._wanted)
        if end is None:
            return len(piece)
        self._state = State.START
        if search.found:
            self._again(search.found, self._base + at)
        return end

    def _left(self, piece: Piece, at: int) -> int:
        self._left_bytes += len(piece) - at
        return len(piece)

    # Between messages

    def _puzzle(self) -> None:
        """What the heads hold, and what follows, is no message."""
        held = self._held
        if self._otherwise:
            if self._otherwise == "http2":
                self._note("http2")
                self._parties.leave(self._side)
            self._leave(self._otherwise)
        elif self._fresh:
            self._parties.baffled[self._side] = True
            if not self._look_across():
                self.waits = Wait.OTHER
        else:
            self._note("anomaly.garbage")
            self._lose(0)  # it may have been a message
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
            assert self._began is not None
            self._message = Message(self._side, _HEADLESS, {}, self._began)
            self._place()
        else:
            self._wanted = _OPPOSITE.get(role) if role else None
            self._note("anomaly.garbage")
            self._lose(0)
            self._seek(self._held)
        return True

    # Messages

    def _headed(self, upto: int, *, cut: bool = False) -> None:
        """The heads have one, which ends at ``upto``."""
        heads = self._gathering()
        self._take_texts(heads.texts)
        line, head = heads.line, heads.head
        assert line is not None
        assert self._began is not None
        looked = understood(head, self._limits)
        if heads.limited or len(looked) < len(head):
            self._note("limit.head")
        for name in odd(looked):
            self._note(name)
        message = Message(self._side, line, fields_of(looked), self._began)
        message.cut, message.limited = cut, heads.limited
        self._meet(message, upto)

    def _meet(self, message: Message, upto: int) -> None:
        """Its head ends at ``upto``."""
        self._message = message
        if self._doubtful:
            message.doubtful, self._doubtful = True, False
        self._fresh, self._otherwise, self._upto = False, "", upto
        if self._parties.roles[self._side] is None:
            self._parties.meet(self._side, message.line)
        self._place()

    def _cut(self) -> bool:
        """The end of a head is missing: what there is of it counts, if that is its first line at least."""
        if not self._gathering().cut(self._accepts):
            return False
        self._note("anomaly.head_cut")
        self._headed(self._present, cut=True)
        return True

    def _place(self) -> bool:
        """Find the message its place among the others, and so its framing; or wait."""
        message = self._message
        assert message is not None
        if message.line.role is _ASKS:
            if not self._asks.may_ask():
                self.waits = Wait.PLACE
                return False
            self._asks.ask(message)
            self._note(REQUESTS)
            frame = framing.of_request(message.fields)
        elif message.interim:
            self._note("interim")
            frame = framing.NOTHING
        else:
            lane = self._answers
            if not lane.follow(message):
                if not lane.may_answer(message):
                    self.waits = Wait.PLACE
                    return False
                lane.answer(message)
            self._note(RESPONSES)
            request = message.request
            method = None if request is None else request.line.method
            frame = framing.of_answer(message.fields, message.line.status, method)
        self.waits = None
        self._framed(message, frame)
        return True

    def _framed(self, message: Message, frame: Framing) -> None:
        how, length, strange = frame
        for name in strange:
            self._note(name)
        self._frame, message.length = frame, length
        kind = message.tunnel() if how is _TUNNEL else ""
        request = message.request
        if request is not None:
            request.left, request.settled = kind, True
        if message.cut or how is _NONE or how is _TUNNEL:
            self._finish(WHOLE)
            if kind:
                self._leave(kind)
            return
        self._state = _IN_BODY
        if self._heads is not None and self._heads.held:  # an answer without a head
            held = self._held
            self._hold_nothing()
            self._read().feed(held, 0, self._taken - len(held))

    def _finish(self, flags: Completeness) -> None:
        """The message is over, at ``upto``."""
        message, reader = self._message, self._reader
        assert message is not None
        self._message = None
        self._state = _AT_START
        known = self._host.moment(self._side, self._upto - 1).known
        if known > message.known:
            message.known = known
        if reader is not None:
            self._reader = None
            self._finish_reading(message, reader, flags)
        message.done = True
        if message.line.role is _ASKS:
            self._asks.asked(message)
            if message.upgrades():
                self._message = message
                if not self._see_through():
                    self.waits = Wait.ANSWER
        elif not message.interim:
            self._answers.answered(message)
        if message.cut:
            self._lose(0)
            self._seek()

    def _see_through(self) -> bool:
        """What the connection is behind a request that may end HTTP."""
        request = self._message
        assert request is not None
        if not request.settled:
            self._parties.stuck[self._side] = request
            return False
        self.waits = self._message = None
        if request.left:
            self._leave(request.left)
        elif request.left is None:  # nobody saw an answer
            self._otherwise = request.tunnel()
        return True

    def _wind_up(self) -> None:
        """Nothing more comes. What is under way ends, unless it has to wait; then this is called again."""
        self._upto = self._present
        if self._state is State.HEAD and not self._cut() and self._fresh and self._held:
            self._puzzle()
        if self._state is State.BODY:
            reader = self._reader or self._read()
            self._finish(reader.end(self._taken, whole=self._whole))
        if self.waits is not None:
            return
        self._skip()
        self._skipped_bytes += 0 if self._search is None else self._search.skipped
        self._parties.close(self._side)
        self._tell_counts()


_STEPS: Final = (
    Direction._start, Direction._head, Direction._body, Direction._look, Direction._left
)  # fmt: skip
_RESUMES: Final[tuple[Callable[[Direction], bool], ...]] = (
    Direction._place, Direction._look_across, Direction._see_through
)  # fmt: skip
