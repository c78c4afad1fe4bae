"""What the lines of SMTP look like, and by what the protocol is known.

Knows: RFC 5321 sections 4.1.1 and 4.2, the commands of its extensions as far as they change what comes next.
Does not know: the order of things, cuts, gaps.
Invariant: every expression is anchored at its start and reads on only; a line may end in a bare LF (4.1.1.4 asks for
CRLF), in a bare CR never.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from workers.analyzers.seam import Moment, Piece

RECOGNIZED: Final = 8192
"""First bytes of a direction by which it is known at the latest."""

GREETING_LINES: Final = 64
"""In which a server is known at the latest: what is read anew with each line is short."""

LONGEST_FACT: Final = 512
"""Characters of a peer's text that go into a record: a path has 256 at most, a line 998 (RFC 5321, 4.5.3.1)."""

_LINE = rb"[\t -~\x80-\xff]*\r?\n"  # the rest of a line of text

_OPENING: Final = re.compile(rb"(?i:(?:EHLO|HELO)(?=[ \t\r\n])|(?:MAIL FROM|RCPT TO):)" + _LINE)
"""Only SMTP has these."""

_ANY: Final = re.compile(
    rb"(?i:(?:EHLO|HELO|DATA|BDAT|RSET|NOOP|QUIT|STARTTLS|AUTH|VRFY|EXPN|HELP)(?=[ \t\r\n])"
    rb"|(?:MAIL FROM|RCPT TO):)" + _LINE
)

_ENVELOPE: Final = re.compile(rb"(?i:(?:MAIL FROM|RCPT TO):)[ \t]*<[^\r\n>]*>" + _LINE)

_REPLY: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])[^\n]*|\r?)\n")
_REPLY_CODE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])|\r?\n)")
_GREETING: Final = re.compile(rb"(?:220|421|554)[ -]")
_NAMED: Final = re.compile(rb"(?i)(?<![a-z0-9.-])e?smtp(?![a-z0-9-]|\.[a-z0-9])")
"""The word, not a part of a host's name."""

_PATH: Final = re.compile(rb"(?i:(?:MAIL FROM|RCPT TO):)[ \t]*(?:<([^>]*)>|([^ \t\r\n]*))")
_SIZE: Final = re.compile(rb"(?i)\bSIZE=([0-9]{1,18})\b")
_CHUNK: Final = re.compile(rb"(?i:BDAT)[ \t]+([0-9]{1,18})(?:[ \t]+(?i:(LAST)))?[ \t]*\r?\n")

_FIELD: Final = re.compile(rb"(?i:^(subject|message-id))[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.MULTILINE)
_HEADER_END: Final = re.compile(rb"(?:\A|\n)\r?\n")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")


class Reply(NamedTuple):
    """One reply of the server, of one line or several; with a gap in it, what there is."""

    code: int
    text: str  # the first line
    began: Moment  # its first byte


class ReplyLine(NamedTuple):
    """One line of it."""

    code: int
    last: bool


class Chunk(NamedTuple):
    """What BDAT announces (RFC 3030)."""

    size: int
    last: bool


def text(line: bytes) -> str:
    """A line as a fact: without its end, not longer than LONGEST_FACT."""
    return line[: LONGEST_FACT + 2].rstrip(b"\r\n")[:LONGEST_FACT].decode("latin-1")


def verb(line: bytes) -> str:
    """Of a command, upper case: ``"MAIL"``."""
    return line[:16].split(None, 1)[0].upper().decode("latin-1") if line.strip() else ""


def argument(line: bytes) -> str:
    """What stands behind the verb."""
    return text(line.strip().partition(b" ")[2].strip())


def path(line: bytes) -> str:
    """The address in MAIL or RCPT, without its brackets; a ``>`` in a quoted local part ends it too early."""
    found = _PATH.match(line)
    return text(found[1] or found[2] or b"") if found else ""


def declared_size(line: bytes) -> int | None:
    """What MAIL says of the mail's size (RFC 1870)."""
    found = _SIZE.search(line)
    return int(found[1]) if found else None


def chunk(line: bytes) -> Chunk | None:
    """Of a BDAT command; None when it is none, or a wrong one."""
    found = _CHUNK.match(line)
    return Chunk(int(found[1]), found[2] is not None) if found else None


def reply_line(line: bytes) -> ReplyLine | None:
    """Of a line of a reply, whose start will do if it is cut; None of another."""
    found = _REPLY_CODE.match(line)
    return ReplyLine(int(found[1]), found[2] != b"-") if found else None


def is_command(line: bytes) -> bool:
    """A complete line with a known verb."""
    return _ANY.match(line) is not None


def is_opening(line: bytes) -> bool:
    """A complete line that no other protocol has."""
    return _OPENING.match(line) is not None


def is_envelope(line: bytes) -> bool:
    """MAIL or RCPT with a path in brackets: hardly ever a line of a mail's text."""
    return _ENVELOPE.match(line) is not None


def header_facts(head: bytes) -> dict[str, str | None]:
    """``subject`` and ``message_id`` of a mail, by its first bytes: unfolded, encoded words (RFC 2047) as they are."""
    facts: dict[str, str | None] = {"subject": None, "message_id": None}
    end = _HEADER_END.search(head)
    for found in _FIELD.finditer(head, 0, end.start() + 1 if end else len(head)):
        key = found[1].lower().replace(b"-", b"_").decode("latin-1")
        if facts[key] is None:
            facts[key] = text(_FOLD.sub(b"", found[2]).strip())
    return facts


def recognize(piece: Piece) -> bool | None:
    """By a direction's first bytes. A client is known by EHLO, HELO, MAIL or RCPT.

    A server's 220 is FTP's too: its greeting must say SMTP, or 250 be its second reply, where FTP asks for a
    password. Until then the question is open, and the client may answer it first.
    """
    head = bytes(piece[:RECOGNIZED])
    if head[:1].isdigit():
        found = _greets(head)
    elif _OPENING.match(head):
        found = True
    else:
        found = None if _may_open(head) else False
    return found if found is not None or len(head) < RECOGNIZED else False


def _may_open(head: bytes) -> bool:
    """Whether more bytes can make an opening line of it."""
    start = head.upper()
    words = (b"EHLO", b"HELO", b"MAIL FROM:", b"RCPT TO:")
    if any(len(start) < len(word) and word.startswith(start) for word in words):
        return True
    return _OPENING.match(head.rstrip(b"\r") + b"\n") is not None


def _greets(head: bytes) -> bool | None:
    """Of bytes that begin with a digit: whether an SMTP server wrote them."""
    if not _GREETING.match(head):
        return None if any(code.startswith(head) for code in (b"220", b"421", b"554")) else False
    at, replies = 0, 0
    for _ in range(GREETING_LINES):
        found = _REPLY.match(head, at)
        if not found:
            return None if head.find(b"\n", at) < 0 else False
        if replies:
            return found[1] == b"250"
        if _NAMED.search(found[0]):
            return True
        replies += found[2] != b"-"
        at = found.end()
    return False
