"""Who says what when: the commands of a client and the replies of its server, in turn (RFC 5321, section 4).

Knows: which command has a text, which reply changes what the next line is, which reply is whose.
Does not know: what a line looks like, how the bytes come in.
Invariant: every byte that is read is accounted for once, where it is read.

Which reply is whose is certain as long as nothing is missing: they come in the order of the commands. Behind a gap, or
where the beginning was not seen, the order of packets says it: a reply is later than its command, and earlier than
what the client says next. It is believed until a command, its reply and the next bytes of the client were seen in that
order. A client that sends several commands at once may get its replies shifted there.

A gap among commands ends the transaction, since nobody knows what else it ended. The next known command is searched:
right behind the gap any, later a line of MAIL or RCPT with a path in brackets. A gap in a text is a hole of the mail,
unless the server replied before the first byte behind it came: then the mail had ended in the gap.
"""

from __future__ import annotations

from typing import Final

from workers.analyzers.protocols.smtp import grammar
from workers.analyzers.protocols.smtp.dots import Dots
from workers.analyzers.protocols.smtp.grammar import Reply
from workers.analyzers.protocols.smtp.mail import Mail
from workers.analyzers.protocols.smtp.steps import Input, Steps
from workers.analyzers.seam import Host, Moment
from workers.contract import Completeness
from workers.limits import Limits

KIND: Final = "SMTP"

WHOLE: Final = Completeness(0)
OPEN: Final = Completeness.OPEN

_TLS_RECORD: Final = 0x16
_READY, _GO_ON, _START_TEXT, _REFUSED = 220, 334, 354, 400


class Conversation:
    """One connection of which it is known who is the client."""

    def __init__(self, host: Host, limits: Limits, client: Input, server: Input) -> None:
        self.host = host
        self.limits = limits
        self.client = client
        self.server = server
        self.adrift = client.midstream or server.midstream  # which reply is whose is not certain
        self.lost = client.midstream  # the next bytes need not begin a command
        self.sent = 0  # packet of what the next reply answers
        self.kept: Reply | None = None  # that was read, and answers something later
        self.mail: Mail | None = None
        self.helo: str | None = None
        self.known = 0  # packet by which all that was read had arrived

    def talk(self) -> Steps[None]:
        """All of it. What is unread then is encrypted."""
        client, server = self.client, self.server
        greeted = not server.midstream and (yield from self._reply()) is not None
        while (there := (yield from client.fill())) or client.missing or self.lost:
            if self.lost or not there:
                yield from self._lose()
            elif (yield from self._command()):
                self._tell()
                return
        self._tell()
        while reply := (yield from self._reply()):
            if reply.code == _READY and greeted:
                return  # a server that was heard alone says so twice where TLS begins
            greeted = True

    def _lose(self) -> Steps[None]:
        """Something is missing among commands: read up to the next one, or to another gap."""
        yield from self.client.over_gap()
        self.adrift = True
        self.lost = False
        self._tell()
        fits = grammar.is_command
        while line := (yield from self.client.line()):
            if fits(line):
                self.client.unread(line)
                return
            yield from self._finish(self.client, line, "skipped_bytes")
            fits = grammar.is_envelope

    def _finish(self, side: Input, line: bytes, account: str) -> Steps[bool]:
        """Account for a line of which ``line`` was read, and read the rest of it. False: it has no end."""
        self._account(side, line, account)
        if line.endswith(b"\n"):
            return True
        if piece := (yield from side.line()):
            self.host.count(side.number, "limit.head")
        while piece:
            self._account(side, piece, account)
            if piece.endswith(b"\n"):
                return True
            piece = yield from side.line()
        return False

    def _account(self, side: Input, piece: bytes, account: str) -> None:
        self.host.count(side.number, account, len(piece))
        if account != "skipped_bytes":
            self.host.text(side.number, KIND, piece)

    def _reply(self) -> Steps[Reply | None]:
        """The next reply, or what there is of one that a gap cut; None when there is no more."""
        reply, self.kept = self.kept, None
        if reply:
            return reply
        server = self.server
        while (there := (yield from server.fill())) or server.missing:
            if not there:
                yield from server.over_gap()
                self.adrift = True
                if reply:
                    break
                continue
            began = server.moment()
            line = yield from server.line()
            found = grammar.reply_line(line)
            ended = yield from self._finish(server, line, "reply_bytes" if found else "skipped_bytes")
            if found:
                reply = reply or Reply(found.code, grammar.text(line), began)
                self.known = max(self.known, server.last_moment().known)
                if ended and found.last:
                    break
        if reply:
            self.host.count(server.number, "replies")
        return reply

    def _answer(self) -> Steps[Reply | None]:
        """The reply to what was sent; None when it was not seen."""
        while (reply := (yield from self._reply())) and self.adrift:
            came = reply.began.packet
            if came < self.sent:
                self.host.count(self.server.number, "replies_unpaired")
                continue
            if (yield from self.client.fill()):
                follows = self.client.moment().packet
                if self.sent < follows < came:
                    self.kept = reply
                    return None
                self.adrift = follows < came
            break
        return reply

    def _command(self) -> Steps[bool]:
        """One command, what belongs to it, and its reply. True: encryption begins."""
        client, began = self.client, self._sent(self.client.moment())
        line = yield from client.line()
        if not (yield from self._finish(client, line, "command_bytes")):
            return False
        self.host.count(client.number, "commands")
        bare = line.endswith(b"\n") and not line.endswith(b"\r\n")
        if bare:
            self.host.count(client.number, "anomaly.bare_lf")
        match grammar.verb(line):
            case "DATA":
                yield from self._data(bare=bare)
            case "BDAT" if chunk := grammar.chunk(line):
                yield from self._chunk(chunk)
            case "STARTTLS":
                return (yield from self._encrypts())
            case "AUTH":
                yield from self._authenticate()
            case verb:
                self._envelope(verb, line, began)
                reply = yield from self._answer()
                if reply and reply.code >= _REFUSED and verb in ("MAIL", "RCPT") and self.mail:
                    self.mail.refusal = reply
        return False

    def _sent(self, moment: Moment) -> Moment:
        """The next reply is later than this."""
        self.sent = moment.packet
        self.known = max(self.known, moment.known)
        return moment

    def _envelope(self, verb: str, line: bytes, began: Moment) -> None:
        """What a command says of the transaction."""
        if verb in ("EHLO", "HELO", "MAIL", "RSET", "QUIT"):
            self._tell()
        if verb in ("EHLO", "HELO"):
            self.helo = grammar.argument(line)
        elif verb == "MAIL":
            self._transaction().mail(line, began)
        elif verb == "RCPT":
            self._transaction().recipient(line)

    def _transaction(self) -> Mail:
        """The one that is under way; what came before it may be missing."""
        if self.mail is None:
            self.mail = Mail(self.host, self.limits, self.client.number, self.helo)
        return self.mail

    def _tell(self, reply: Reply | None = None) -> None:
        """The transaction is over, if there is one."""
        if self.mail:
            self.mail.end(OPEN)
            self.mail.tell(reply, self.known)
            self.mail = None

    def _encrypts(self) -> Steps[bool]:
        """Behind STARTTLS (RFC 3207): whether the rest is TLS."""
        reply = yield from self._answer()
        if reply is None:
            tls = (yield from self.client.fill()) and self.client.data[self.client.at] == _TLS_RECORD
        else:
            tls = reply.code == _READY
        if tls:
            self.host.count(self.client.number, "starttls")
        return tls

    def _authenticate(self) -> Steps[None]:
        """Behind AUTH (RFC 4954): each 334 asks for one more line."""
        while (reply := (yield from self._answer())) and reply.code == _GO_ON and (yield from self.client.fill()):
            self._sent(self.client.moment())
            line = yield from self.client.line()
            if not (yield from self._finish(self.client, line, "command_bytes")):
                return

    def _chunk(self, chunk: grammar.Chunk) -> Steps[None]:
        """Behind BDAT (RFC 3030)."""
        client, mail, left = self.client, self._transaction(), chunk.size
        mail.text(client.offset)
        while left and ((there := (yield from client.fill())) or client.missing):
            if not there:
                size = client.skip_gap(left)
                self.adrift = True
                mail.hole(size)
            else:
                size = min(left, len(client.data) - client.at)
                mail.data(memoryview(client.data)[client.at : client.at + size])
                client.step(size)
            left -= size
        mail.reached = client.offset
        if chunk.last and not left:
            mail.end(WHOLE)
        reply = yield from self._answer()
        if chunk.last:
            self._tell(reply)
        elif reply and reply.code >= _REFUSED:
            mail.refusal = reply

    def _data(self, *, bare: bool) -> Steps[None]:
        """Behind DATA: the text, if the server wants it. Where nobody heard it, a command shows that it did not."""
        reply = yield from self._answer()
        if reply is None:
            line = yield from self.client.line()
            self.client.unread(line)
            if grammar.is_command(line):
                return
        elif reply.code != _START_TEXT:
            self._transaction().refusal = reply
            return
        self._transaction().text(self.client.offset)
        reply = yield from self._text(self._transaction(), Dots(bare=bare))
        self._tell(reply)

    def _text(self, mail: Mail, dots: Dots) -> Steps[Reply | None]:
        """The text of a mail up to its end; the reply to it."""
        client = self.client
        while not (dots.ended or self.lost) and ((there := (yield from client.fill())) or client.missing):
            if there:
                client.step(dots.feed(client.data, client.at, mail.data) - client.at)
                mail.reached = client.offset - dots.marker
                continue
            dots.stop(mail.data)
            size = yield from client.over_gap()
            self.lost = yield from self._ended_in_gap()
            if not self.lost:
                mail.hole(size)
                mail.reached = client.offset
                dots.hole()
        dots.stop(mail.data)
        if dots.framing:
            self.host.count(client.number, "framing_bytes", dots.framing)
        if dots.odd:
            self.host.count(client.number, "anomaly.end_of_data", dots.odd)
        if dots.ended:
            self._sent(client.last_moment())
        mail.end(WHOLE if dots.ended else OPEN)
        return (yield from self._answer())

    def _ended_in_gap(self) -> Steps[bool]:
        """Whether the server had replied before the first byte behind a gap in a text came."""
        self.adrift = True
        if not (yield from self.client.fill()):
            return False
        follows = self.client.moment().packet
        self.kept = yield from self._reply()
        return self.kept is not None and self.kept.began.packet < follows
