"""One message, and what the records say of it and of a request with its answer.

Knows: which facts there are, and from which fields they come. Does not know: how a message was framed or paired.
Invariant: the facts of every exchange have the same names in the same order; what is not known is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from workers.analyzers.protocols.http.bodies import Body
from workers.analyzers.protocols.http.framing import transfer_codings
from workers.analyzers.protocols.http.heads import Fields
from workers.analyzers.protocols.http.lines import OLDEST, Line, Role
from workers.analyzers.protocols.http.targets import name_of, parameters, url_and_host
from workers.analyzers.seam import Entity, Exchange, Fact, Moment

KIND: Final = "HTTPBODY"
_BOUNDARY_ROOM: Final = 256
_UPGRADES: Final = {"websocket": "websocket", "h2c": "h2c", "tls": "tls"}


class Message:
    """A request or an answer under way."""

    __slots__ = (
        "began", "body", "cut", "done", "doubtful", "fields", "known", "left", "length", "line", "request", "settled",
        "side", "trailers",
    )  # fmt: skip

    def __init__(self, side: int, line: Line, fields: Fields, began: Moment) -> None:
        self.side, self.line, self.fields, self.began = side, line, fields, began
        self.known = began.known  # number of the packet by which all of it had arrived
        self.body: Body | None = None
        self.length: int | None = None  # of the body, as declared
        self.trailers = 0
        self.cut = False  # the end of its head is missing
        self.done = False  # nothing more of it will come
        self.doubtful = False  # a request: requests before it may be missing
        self.settled = False  # a request: it has its answer, or will have none
        self.left: str | None = None  # ... behind which the stream is this; "": HTTP; None: no answer was seen
        self.request: Message | None = None  # an answer: to what, if that is known

    def upgrades(self) -> bool:
        """Whether HTTP may end behind this request."""
        return self.line.method == "CONNECT" or self.fields.first(b"upgrade") is not None

    @property
    def interim(self) -> bool:
        """Whether it is an answer that another one follows (RFC 9110, section 15.2)."""
        return 100 <= self.line.status < 200 and self.line.status != 101

    def tunnel(self) -> str:
        """What the stream is behind it, if HTTP ends here."""
        asked = self.request or self
        if asked.line.method == "CONNECT":
            return "connect"
        protocol = self.fields.first(b"upgrade") or asked.fields.first(b"upgrade") or ""
        return _UPGRADES.get(protocol.partition(",")[0].partition("/")[0].strip().lower(), "upgrade")

    def entity(self, offset: int) -> Entity:
        """Of its body, which begins at ``offset`` of its side."""
        line, fields = self.line, self.fields
        asked = line if line.role is Role.ASKS else self.request.line if self.request else None
        media_type = fields.first(b"content-type") or ""
        codings = [coding.lower().decode("latin-1") for coding in fields.all(b"content-encoding")]
        boundary = ""
        if line.role is Role.ASKS and media_type[:19].lower() == "multipart/form-data":
            boundary = parameters(media_type).get("boundary", "")[:_BOUNDARY_ROOM]
        return Entity(
            self.side,
            KIND,
            offset,
            self.length,
            tuple(codings + [coding for coding in transfer_codings(fields) if coding != "chunked"]),
            media_type,
            name_of(fields.first(b"content-disposition"), asked.target if asked else ""),
            boundary.encode("latin-1"),
        )

    def facts(self) -> Mapping[str, Fact]:
        """What the record of its body says beside the facts of the exchange."""
        fields = self.fields
        return {
            "role": self.line.role.value,
            "declared_type": fields.first(b"content-type"),
            "declared_length": self.length,
            "disposition": fields.first(b"content-disposition"),
            "content_encoding": fields.first(b"content-encoding"),
            "transfer_encoding": fields.first(b"transfer-encoding"),
            "trailers": self.trailers,
        }


def exchange(request: Message | None, answer: Message | None, known: int) -> Exchange:
    """Of a request and its answer, or of one of them; at least one is there. ``known``: as in Exchange."""
    ours = [message for message in (request, answer) if message is not None]
    return Exchange(
        _facts(request, answer),
        request.line.text if request else "",
        answer.line.text if answer else "",
        tuple(message.body.content for message in ours if message.body and message.body.content),
        (request.began if request else None, answer.began if answer else None),
        known,
        request.side if request else 1 - ours[0].side,
    )


def _facts(request: Message | None, answer: Message | None) -> Mapping[str, Fact]:
    facts: dict[str, Fact] = dict.fromkeys(
        ("method", "url", "host", "target", "version", "status", "reason", "user_agent", "referer", "server",
         "content_range")
    )  # fmt: skip
    if request:
        line, fields = request.line, request.fields
        facts["method"], facts["target"], facts["version"] = line.method, line.target, line.version
        facts["url"], facts["host"] = url_and_host(line.method, line.target, fields.first(b"host"))
        facts["user_agent"], facts["referer"] = fields.first(b"user-agent"), fields.first(b"referer")
        facts["content_range"] = fields.first(b"content-range")
    if answer and answer.line.version != OLDEST:
        line, fields = answer.line, answer.fields
        facts["version"], facts["status"], facts["reason"] = line.version, line.status, line.reason
        facts["server"] = fields.first(b"server")
        facts["content_range"] = fields.first(b"content-range") or facts["content_range"]
    return facts
