"""One message, and what the records say of it and of a request with its answer.

Knows: which facts there are, and from which fields they come. Does not know: how a message was framed or paired.
Invariant: the facts of every exchange have the same names in the same order; what is not known is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from workers.analyzers.protocols.http.framing import transfer_codings
from workers.analyzers.protocols.http.heads import Fields, elements, lower
from workers.analyzers.protocols.http.late import Late
from workers.analyzers.protocols.http.lines import OLDEST, Line, Role
from workers.analyzers.protocols.http.targets import name_of, parameters, url_and_host
from workers.analyzers.seam import Content, Entity, Exchange, Fact, Moment

KIND: Final = "HTTPBODY"
_BOUNDARY_ROOM: Final = 256
_UPGRADES: Final = {"websocket": "websocket", "h2c": "h2c", "tls": "tls"}
_new: Final = tuple.__new__  # a third of what a NamedTuple's own constructor takes


class Message:
    """A request or an answer under way."""

    __slots__ = (
        "began", "content", "cut", "done", "doubtful", "fields", "known", "left", "length", "limited", "line",
        "request", "settled", "side", "trailers",
    )  # fmt: skip

    def __init__(self, side: int, line: Line, fields: Fields, began: Moment) -> None:
        self.side = side
        self.line = line
        self.fields = fields
        self.began = began
        self.known = began.known  # number of the packet by which all of it had arrived
        self.content: Content | None = None  # its body, when that is over
        self.length: int | None = None  # of the body, as declared
        self.trailers = 0
        self.cut = False  # the end of its head is missing
        self.limited = False  # ... is not looked at: where its body ends may be said there
        self.done = False  # nothing more of it will come
        self.doubtful = False  # a request: requests before it may be missing
        self.settled = False  # a request: it has its answer, or will have none
        self.left: str | None = None  # ... behind which the stream is this; "": HTTP; None: no answer was seen
        self.request: Message | None = None  # an answer: to what, if that is known

    def upgrades(self) -> bool:
        """Whether HTTP may end behind this request."""
        return self.line.method == "CONNECT" or "upgrade" in self.fields

    @property
    def interim(self) -> bool:
        """Whether it is an answer that another one follows (RFC 9110, section 15.2)."""
        return 100 <= self.line.status < 200 and self.line.status != 101

    def tunnel(self) -> str:
        """What the stream is behind it, if HTTP ends here."""
        asked = self.request or self
        if asked.line.method == "CONNECT":
            return "connect"
        protocol = self.fields.get("upgrade") or asked.fields.get("upgrade") or ""
        return _UPGRADES.get(protocol.partition(",")[0].partition("/")[0].strip().lower(), "upgrade")

    def entity(self, offset: int) -> Entity:
        """Of its body, which begins at ``offset`` of its side."""
        fields, asked = self.fields, self.request or self
        target = asked.line.target
        media_type = fields.get("content-type", "")
        disposition = fields.get("content-disposition")
        boundary = b""
        if self.line.role is Role.ASKS and media_type[:19].lower() == "multipart/form-data":
            boundary = parameters(media_type).get("boundary", "")[:_BOUNDARY_ROOM].encode("latin-1")
        return _new(Entity, (
            self.side, KIND, offset, self.length, self._codings(), media_type, name_of(disposition, target), boundary
        ))  # fmt: skip

    def _codings(self) -> tuple[str, ...]:
        """Of its body, in the order in which they were applied."""
        fields = self.fields
        if not ("content-encoding" in fields or "transfer-encoding" in fields):
            return ()
        codings = [lower(coding) for coding in elements(fields, "content-encoding")]
        return tuple(codings + [coding for coding in transfer_codings(fields) if coding != "chunked"])

    def facts(self) -> Mapping[str, Fact]:
        """What the record of its body says beside the facts of the exchange. The body is over."""
        return Late(_body_facts, self)


def exchange(request: Message | None, answer: Message | None, known: int) -> Exchange:
    """Of a request and its answer, or of one of them; at least one is there. ``known``: as in Exchange."""
    facts = Late(_facts, request, answer)
    if answer is None:
        assert request is not None
        contents: tuple[Content, ...] = () if request.content is None else (request.content,)
        return _new(Exchange, (
            facts, request.line.text, "", contents, (request.began, None), known, request.side
        ))  # fmt: skip
    contents = () if answer.content is None else (answer.content,)
    if request is None:
        return _new(Exchange, (
            facts, "", answer.line.text, contents, (None, answer.began), known, 1 - answer.side
        ))  # fmt: skip
    if request.content is not None:
        contents = (request.content, *contents)
    return _new(Exchange, (
        facts, request.line.text, answer.line.text, contents, (request.began, answer.began), known, request.side
    ))  # fmt: skip


def _body_facts(message: Message) -> Mapping[str, Fact]:
    get = message.fields.get
    return {
        "role": "request" if message.line.role is Role.ASKS else "response",
        "declared_type": get("content-type"),
        "declared_length": message.length,
        "disposition": get("content-disposition"),
        "content_encoding": get("content-encoding"),
        "transfer_encoding": get("transfer-encoding"),
        "trailers": message.trailers,
    }


def _facts(request: Message | None, answer: Message | None) -> Mapping[str, Fact]:
    method = url = host = target = version = status = reason = user_agent = referer = server = part = None
    if request is not None:
        line, get = request.line, request.fields.get
        method, target, version = line.method, line.target, line.version
        url, host = url_and_host(method, target, get("host"))
        user_agent, referer, part = get("user-agent"), get("referer"), get("content-range")
    if answer is not None and answer.line.version != OLDEST:
        line, get = answer.line, answer.fields.get
        version, status, reason = line.version, line.status, line.reason
        server, part = get("server"), get("content-range") or part
    return {
        "method": method, "url": url, "host": host, "target": target, "version": version, "status": status,
        "reason": reason, "user_agent": user_agent, "referer": referer, "server": server, "content_range": part,
    }  # fmt: skip
