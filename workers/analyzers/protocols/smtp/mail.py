"""One mail transaction: what is known of it, and its mail (RFC 5321, section 3.3).

Knows: the facts of an exchange, when an entity is to begin. Does not know: commands' grammar, framing, replies' order.
Invariant: an entity that began is ended before the exchange is told; a mail of no bytes is no entity. What is
remembered is bounded: the first bytes of the mail's header, so many recipients, so many characters of each.
"""

from __future__ import annotations

from typing import Final

from workers.analyzers.protocols.smtp import grammar
from workers.analyzers.protocols.smtp.grammar import Reply
from workers.analyzers.seam import Content, Entity, Exchange, Fact, Host, Moment, Piece
from workers.contract import Completeness
from workers.limits import Limits

KIND: Final = "SMTPMAIL"


class Mail:
    """From MAIL, or from the first that was seen of it, to the reply that settles it."""

    def __init__(self, host: Host, limits: Limits, side: int, helo: str | None) -> None:
        """``side``: of the client. ``helo``: what it called itself."""
        self.host = host
        self.limits = limits
        self.side = side
        self.helo = helo
        self.asked = ""  # the MAIL command
        self.sender: str | None = None
        self.to: list[str] = []
        self.declared: int | None = None
        self.began: Moment | None = None
        self.refusal: Reply | None = None  # the last one
        self.size = 0
        self.open = False  # its text has begun, and not ended
        self.offset = 0  # where its text begins in the stream
        self.reached = 0  # ... and where what was read of it ends
        self.content: Content | None = None
        self._head = bytearray()
        self._head_ended = False

    def mail(self, line: bytes, began: Moment) -> None:
        """The MAIL command."""
        self.began = began
        self.asked = grammar.text(line)
        self.sender = grammar.path(line)
        self.declared = grammar.declared_size(line)

    def recipient(self, line: bytes) -> None:
        """A RCPT command. As many of them are remembered as of a head's fields."""
        if len(self.to) < self.limits.head_fields:
            self.to.append(grammar.path(line))
        else:
            self.host.count(self.side, "limit.head")

    def text(self, offset: int) -> None:
        """Its text begins there in the stream, or goes on."""
        if not self.open:
            self.open = True
            self.offset = offset

    def data(self, piece: Piece) -> None:
        """The next bytes of its text."""
        self.host.count(self.side, "body_bytes", len(piece))
        self._content().data(piece)
        self.size += len(piece)
        room = self.limits.head_bytes - len(self._head)
        if room > 0 and not self._head_ended:
            self._head += piece[:room]

    def hole(self, size: int) -> None:
        """The next bytes of its text are missing. They were counted."""
        self._content().hole(size)
        self.size += size
        self._head_ended = True

    def _content(self) -> Content:
        if self.content is None:
            self.content = self.host.begin(
                Entity(self.side, KIND, self.offset, media_type="message/rfc822", name="mail.eml")
            )
        return self.content

    def end(self, flags: Completeness) -> None:
        """Its text is over; OPEN when its end was not seen."""
        if self.open and self.content is not None:
            self.content.end(self.reached, flags, {"role": "request"})
        self.open = False

    def tell(self, reply: Reply | None, known: int) -> None:
        """Nothing more will be known. ``reply``: the one that settled it, else the last refusal does."""
        settled = reply or self.refusal
        facts: dict[str, Fact] = {"from": self.sender, "to": self.to, "helo": self.helo}
        facts |= grammar.header_facts(bytes(self._head))
        facts["status"] = settled.code if settled else None
        facts["size"] = self.size if self.content is not None else None  # holes included
        facts["declared_size"] = self.declared  # an estimate (RFC 1870, section 5)
        self.host.exchange(
            Exchange(
                facts,
                self.asked,
                settled.text if settled else "",
                (self.content,) if self.content is not None else (),
                (self.began, settled.began if settled else None),
                known,
                self.side,
            )
        )
        self.host.count(self.side, "mails" if self.content is not None else "mails_without_text")
