"""Where one direction of a connection stands: what it holds, what it counted, and how it moves between messages.

Knows: which bytes are taken and are not accounted for yet, what begins where they end, who reads a body.
Does not know: when to move.
Invariant: every byte that is taken is held, or in one of the accounts.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from workers.analyzers.protocols.http.bodies import WHOLE, Body, Counted, Reader, Unsure, UntilClose
from workers.analyzers.protocols.http.chunked import Chunked
from workers.analyzers.protocols.http.framing import NOTHING, Kind
from workers.analyzers.protocols.http.gathering import Gathering
from workers.analyzers.protocols.http.lines import OLDEST, Line, Role
from workers.analyzers.protocols.http.message import Message
from workers.analyzers.protocols.http.pairing import Lane, Parties
from workers.analyzers.protocols.http.search import Search
from workers.analyzers.seam import Host, Moment, Piece
from workers.contract import Completeness
from workers.limits import Limits

TEXT: Final = "HTTP"
ACCOUNTS: Final = ("head_bytes", "body_bytes", "framing_bytes", "skipped_bytes", "left_bytes", "missing_bytes")
REQUESTS: Final = "requests"
RESPONSES: Final = "responses"


class State(IntEnum):
    START = 0  # at the beginning of a message, or of a blank line before it
    HEAD = 1  # in a head, or in what looks like one
    BODY = 2
    SEARCH = 3
    LEFT = 4  # no longer HTTP


class Wait(IntEnum):
    """What for, when a direction waits."""

    PLACE = 0  # its message's place among the others
    OTHER = 1  # what the other side is
    ANSWER = 2  # whether the answer ends HTTP


class Standing:
    """``asks``, ``answers``: what is told of its messages if they are requests, or answers."""

    __slots__ = (
        "_answers", "_asks", "_base", "_began", "_body_bytes", "_closing", "_doubtful", "_frame", "_framing_bytes",
        "_fresh", "_head_bytes", "_heads", "_host", "_left_bytes", "_limits", "_message", "_missing_bytes", "_notes",
        "_otherwise", "_parties", "_present", "_reader", "_search", "_side", "_skipped_bytes", "_state", "_taken",
        "_upto", "_wanted", "_whole", "waits",
    )  # fmt: skip

    def __init__(self, side: int, host: Host, limits: Limits, parties: Parties, asks: Lane, answers: Lane) -> None:
        self._side = side
        self._host = host
        self._limits = limits
        self._parties = parties
        self._asks = asks
        self._answers = answers
        self.waits: Wait | None = None
        self._state = State.START
        self._base = 0  # offset of the first byte of the piece that is being fed
        self._taken = 0  # offset behind all bytes and gaps that were taken
        self._present = 0  # ... behind the last byte
        self._heads: Gathering | None = None  # of a head that is odd, or in pieces
        self._search: Search | None = None
        self._began: Moment | None = None
        self._message: Message | None = None  # whose head is there
        self._frame = NOTHING
        self._reader: Reader | None = None  # of its body, if that does not come at once
        self._fresh = True  # the stream began here, and nothing but blank lines was seen
        self._doubtful = False  # requests before the next one may be missing
        self._otherwise = ""  # what the stream is if it does not go on as HTTP
        self._closing = self._whole = False
        self._wanted: Role | None = None  # what a search looks for, if this side has no role
        self._upto = 0  # offset behind the message, or what there is of it
        self._head_bytes = self._body_bytes = self._framing_bytes = 0
        self._skipped_bytes = self._left_bytes = self._missing_bytes = 0
        self._notes: dict[str, int] = {}

    def stand_at(self, offset: int, heads: int, bodies: int, framing: int, messages: tuple[str, int]) -> None:
        """Go on at ``offset``, behind a message, with these counts."""
        self._taken = self._present = self._upto = offset
        self._head_bytes, self._body_bytes, self._framing_bytes = heads, bodies, framing
        self._notes = dict([messages])
        self._fresh = False

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
        self._gathering().begin(held)
        self._state = State.HEAD

    def _gathering(self) -> Gathering:
        if self._heads is None:
            self._heads = Gathering(self._limits.head_bytes)
        return self._heads

    @property
    def _held(self) -> bytes:
        """What the heads hold."""
        return b"" if self._heads is None else bytes(self._heads.held)

    def _hold_nothing(self) -> None:
        if self._heads is not None:
            self._heads.begin()

    def _seek(self, held: bytes = b"") -> None:
        """Search from ``held`` on, which was taken already."""
        self._fresh, self._otherwise = False, ""
        self._hold_nothing()
        self._skipped_bytes += 0 if self._search is None else self._search.skipped
        self._search = Search(held)
        self._state = State.SEARCH

    def _skip(self) -> None:
        """What is held will not become anything."""
        if self._heads is not None:
            self._skipped_bytes += len(self._heads.held)
            self._heads.begin()
        if self._search is not None:
            self._search.give_up()

    def _lose(self, answers: int) -> None:
        """Messages may be missing from here on; the beginnings of so many of them certainly are."""
        self._doubtful = True
        self._answers.in_order = False
        self._answers.lost += answers

    def _leave(self, kind: str) -> None:
        """From here on, with what is held, the stream is ``kind``."""
        self._note(f"left.{kind}")
        self._left_bytes += len(self._held)
        self._hold_nothing()
        if self._search is not None:
            self._left_bytes += len(self._search.held)
            self._search.held.clear()
        self._state = State.LEFT

    # The body of the message

    @property
    def _unsure(self) -> bool:
        """Whether there may be no body, though its length was declared."""
        message = self._message
        return message is not None and message.request is None and message.line.role is Role.ANSWERS

    def _read(self) -> Reader:
        """The body comes in pieces."""
        message, frame = self._message, self._frame
        assert message is not None
        body = Body(self._host, message)
        if frame.kind is Kind.LENGTH and frame.length is not None:
            self._reader = (Unsure if self._unsure else Counted)(body, frame.length)
        else:
            self._reader = Chunked(body) if frame.kind is Kind.CHUNKED else UntilClose(body)
        return self._reader

    def _tell_whole(self, message: Message, data: Piece, low: int, high: int) -> None:
        """Its body lies in the piece from ``low`` up to ``high``."""
        base = self._base
        self._body_bytes += len(data)
        message.content = self._host.whole(message.entity(base + low), data, base + high, WHOLE, message.facts())

    def _finish_reading(self, message: Message, reader: Reader, flags: Completeness) -> None:
        body = reader.body
        if isinstance(reader, Chunked):
            self._take_trailers(reader)
            message.trailers = reader.trailers
            self._framing_bytes += reader.framing
        if body.content is not None:
            self._body_bytes += body.size
            message.content = body.content
            if message.limited:
                flags |= Completeness.LIMITED
            body.content.end(body.end, flags, message.facts())

    # Counts, texts

    def _note(self, name: str) -> None:
        self._notes[name] = self._notes.get(name, 0) + 1

    def _text(self, piece: Piece) -> None:
        self._head_bytes += len(piece)
        self._host.text(self._side, TEXT, piece)

    def _take_trailers(self, reader: Chunked) -> None:
        if reader.text:
            self._text(bytes(reader.text))
            reader.text.clear()

    def _take_texts(self, texts: list[Piece]) -> None:
        for text in texts:
            self._text(text)
        texts.clear()

    def _tell_counts(self) -> None:
        amounts = (
            self._head_bytes, self._body_bytes, self._framing_bytes, self._skipped_bytes, self._left_bytes,
            self._missing_bytes,
        )  # fmt: skip
        count, side = self._host.count, self._side
        for name, amount in zip(ACCOUNTS, amounts):  # noqa: B905 # of one length, and told so costs
            if amount:
                count(side, name, amount)
        for name, amount in self._notes.items():
            count(side, name, amount)
