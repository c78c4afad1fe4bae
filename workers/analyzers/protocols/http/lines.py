"""First lines of messages: what is a request line, what a status line.

Knows: the one grammar (RFC 9112, sections 3 and 4), which forgives what does not change the meaning.
Does not know: what comes behind the line.
Invariant: linear in the bytes; what search.py calls certain is a first line here, too.

Forgiven: a bare LF as line end, blanks at the end of the line, several blanks between the words, blanks within a
target, any token as method, bytes beyond ASCII, ``http/`` in lower case, a status line without a reason, ``ICY``
(SHOUTcast).
Not HTTP/1: other names of protocols (RTSP, SIP), other major versions than 0 and 1, controls within the line.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from workers.analyzers.seam import Piece


class Role(Enum):
    """What a side is, told by its first message."""

    ASKS = "request"
    ANSWERS = "response"
    HTTP2 = "http2"  # begins with the preface of HTTP/2 (RFC 9113, section 3.4): not ours


class Line(NamedTuple):
    """A first line, understood."""

    role: Role
    text: str  # without its end
    version: str  # as sent: "HTTP/1.1", "ICY"; "HTTP/0.9" for a request that has none
    method: str = ""
    target: str = ""
    status: int = 0
    reason: str = ""


TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
OLDEST: Final = "HTTP/0.9"
RECOGNIZABLE: Final = 8 << 10
"""Bytes by which a stream's first line must have ended, or is taken for what it looks like."""

_REQUEST: Final = re.compile(rb"(%b{1,64}+) ([^\x00-\x1f\x7f]+) ((?i:HTTP)/[01]\.\d) *\r?\n" % TOKEN)
_SIMPLE: Final = re.compile(rb"(GET) +(/[^\x00-\x20\x7f]*+) *\r?\n")
_STATUS: Final = re.compile(rb"((?i:HTTP)/[01]\.\d|ICY) +(\d{3})(?: ([^\x00\n]*))?\r?\n")
_PREFACE: Final = re.compile(rb"PRI \* HTTP/2\.0\r?\n")
_UNFINISHED: Final = re.compile(
    rb"%b{0,64}+(?: [^\x00-\x1f\x7f]*+\r?)?|(?i:HTTP)/(?:[01](?:\.(?:\d(?: [^\x00\n]*+)?)?)?)?" % TOKEN
)
_LIKELY: Final = re.compile(rb"[A-Z-]{3,20} (?:/|https?://)")
_PLAIN: Final = re.compile(
    rb"(?:HTTP/1\.[01] [0-9]{3} [^\x00\r\n]*+|%b{1,64}+ [^\x00-\x20\x7f]++ HTTP/1\.[01])\r\n" % TOKEN
)
"""What nearly all first lines are."""


def understand(head: bytes | bytearray) -> Line | None:
    """The first line that ``head`` begins with, its LF included; None: there is none."""
    if head[:1] in b"Hh" or head[:3] == b"ICY":  # a method may begin so, too
        found = _STATUS.match(head)
        if found:
            version, status, reason = found.groups(b"")
            text, reason = found[0].decode("latin-1").rstrip("\r\n"), reason.strip(b" \r")
            return Line(Role.ANSWERS, text, version.decode(), "", "", int(status), reason.decode("latin-1"))
    found = _REQUEST.match(head)
    if found is None:
        return _rare(head)
    method, target, version = found.groups()
    text, target = found[0].decode("latin-1").rstrip("\r\n "), target.strip(b" ")
    return Line(Role.ASKS, text, version.decode(), method.decode(), target.decode("latin-1")) if target else None


def _rare(head: bytes | bytearray) -> Line | None:
    found = _SIMPLE.match(head)
    if found:
        text = found[0].decode("latin-1").rstrip("\r\n ")
        return Line(Role.ASKS, text, OLDEST, "GET", found[2].decode("latin-1"))
    return Line(Role.HTTP2, "PRI * HTTP/2.0", "HTTP/2.0") if _PREFACE.match(head) else None


def recognize(piece: Piece) -> bool | None:
    """Whether a stream that begins with ``piece`` is HTTP; None: its first line may still become a message's."""
    if _PLAIN.match(piece, 0, RECOGNIZABLE):
        return True
    head = bytes(piece[:RECOGNIZABLE]).lstrip(b"\r\n")
    if b"\n" in head:
        return understand(head) is not None
    if len(piece) >= RECOGNIZABLE:
        return _LIKELY.match(head) is not None
    return None if _UNFINISHED.fullmatch(head) else False
