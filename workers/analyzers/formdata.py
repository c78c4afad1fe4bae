"""multipart/form-data, part by part (RFC 7578, RFC 2046 5.1).

Knows: boundaries, the heads of parts. Does not know: what the body is part of, what becomes of parts.
Invariant: what is told depends on the body's bytes and holes, not on its pieces (but for how content is cut). What is
held is a part's head, or a line that may be a boundary. Time is linear in the bytes: each is searched once.

Forgiven: bare LF, white space behind a boundary, heads without name, ``filename*`` (RFC 7578 4.2 forbids it), a part
in which a boundary follows without an empty line. What is before the first boundary and behind the last is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Final, NamedTuple, TypeAlias

from workers.analyzers.seam import Piece
from workers.contract import Completeness
from workers.limits import Limits

MOST_BOUNDARY: Final = 256
"""Bytes; RFC 2046 5.1.1 allows 70. A body with a longer one has no parts, as far as we see."""
_MOST_PADDING: Final = 256
_MOST_PIECE: Final = 256 << 10  # of content, told at once

_REST_OF_LINE: Final = re.compile(rb"(--)?[ \t]{0,%d}\r?\n" % _MOST_PADDING)
_MAY_BECOME_IT: Final = re.compile(rb"-{0,2}[ \t]{0,%d}\r?\Z" % _MOST_PADDING)
"""Behind a boundary: what makes it one, "--" the last one; what may yet become that."""

_FOLDED: Final = re.compile(r"\r?\n[ \t]+")
_PARAMETER: Final = re.compile(r';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"?|([^;]*))')
_QUOTED_PAIR: Final = re.compile(r'\\(["\\])')  # no others: browsers of old send C:\path\name
_PERCENT: Final = re.compile("%([0-9A-Fa-f]{2})")


class PartBegin(NamedTuple):
    """The head of a part, as latin-1; "" for what it does not say."""

    name: str
    filename: str
    media_type: str


class PartHole(NamedTuple):
    """Bytes of the content are missing here; boundaries may be among them."""

    size: int


class PartEnd(NamedTuple):
    """OPEN: no boundary follows. LIMITED: the head is too long, and goes on in the content. DAMAGED: it has a hole."""

    flags: Completeness


PartEvent: TypeAlias = PartBegin | bytes | PartHole | PartEnd


class FormData:
    """One body. ``boundary``: as declared, without quotes.

    The iterators that its methods return do the work: each is to be exhausted before the next call."""

    def __init__(self, boundary: bytes, limits: Limits) -> None:
        self._limits = limits
        self._boundary = b"\n--" + boundary
        self._over = not 0 < len(boundary) <= MOST_BOUNDARY  # the last boundary was seen, or there can be none
        self._buffer = bytearray(b"\n")
        self._lead = 1  # bytes of the buffer that are the LF before the next line, and no content
        self._searched = 0  # bytes of the buffer in which no boundary begins; in a head, no line ends
        self._line = 0  # where the line in work begins; 0 outside of heads
        self._flags: Completeness | None = None  # of the part in work; None outside of parts
        self.parts = 0
        """Parts that began. Of those beyond ``limits.form_parts`` nothing is told."""

    def feed(self, piece: Piece) -> Iterator[PartEvent]:
        """The next bytes of the body."""
        if not self._over:
            self._buffer += piece
            yield from self._go_on()

    def hole(self, size: int) -> Iterator[PartEvent]:
        """The next ``size`` bytes are missing."""
        if self._over:
            return
        if self._line:
            yield from self._begin(self._line, Completeness.DAMAGED)
        yield from self._content(len(self._buffer))
        self._cut(len(self._buffer), 0)
        if self._told():
            yield PartHole(size)

    def end(self) -> Iterator[PartEvent]:
        """The body is over."""
        if self._over:
            return
        self._buffer += b"\n"  # ends the line in work, which may be the last boundary; is no content
        yield from self._go_on()
        if not self._over:
            if self._line > 1:
                yield from self._begin(self._line, Completeness(0))
            self._line, self._over = 0, True
            yield from self._content(len(self._buffer) - 1)
            yield from self._end(Completeness.OPEN)

    def _go_on(self) -> Iterator[PartEvent]:
        more = True
        while more and not self._over:
            more = yield from (self._head() if self._line else self._body())

    def _head(self) -> Generator[PartEvent, None, bool]:
        """One line of a part's head. Returns whether it was there."""
        most = self._limits.head_bytes
        end = self._buffer.find(b"\n", self._searched, most)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched < most:
                return False
            yield from self._begin(self._line, Completeness.LIMITED)
        elif self._buffer[self._line : end].removesuffix(b"\r") == b"":
            yield from self._begin(end + 1, Completeness(0))
        elif self._is_boundary(end):
            yield from self._begin(self._line, Completeness(0))
        else:
            self._line = self._searched = end + 1
        return True

    def _is_boundary(self, end: int) -> bool:
        """Whether the line of a head that ends there is one; it belongs to the body then."""
        behind = self._line - 1 + len(self._boundary)
        if not self._buffer.startswith(self._boundary, self._line - 1):
            return False
        return _REST_OF_LINE.fullmatch(self._buffer, behind, end + 1) is not None

    def _body(self) -> Generator[PartEvent, None, bool]:
        """Content, or what is before the first part, up to a boundary. Returns whether that was there."""
        while (at := self._buffer.find(self._boundary, self._searched)) >= 0:
            behind = at + len(self._boundary)
            rest = _REST_OF_LINE.match(self._buffer, behind)
            if rest:
                left = len(self._buffer) - rest.end()
                self._over = rest[1] is not None
                yield from self._content(self._before(at))
                yield from self._end(Completeness(0))
                self._cut(len(self._buffer) - left - 1, 1)
                self._line = self._searched = 1
                return True
            if _MAY_BECOME_IT.match(self._buffer, behind):
                self._searched = at
                yield from self._content(self._before(at))
                return False
            self._searched = at + 1
        yield from self._content(len(self._buffer) - len(self._boundary))  # what is left may begin one, after a CR
        return False

    def _before(self, at: int) -> int:
        """Where content ends if a boundary begins at the LF there: the line's end is the boundary's."""
        return at - 1 if at > self._lead and self._buffer[at - 1] == 0x0D else at

    # ------------------------------------------------------------------- what is told

    def _told(self) -> bool:
        return self._flags is not None and self.parts <= self._limits.form_parts

    def _begin(self, end: int, flags: Completeness) -> Iterator[PartEvent]:
        """A part, whose head ends behind the LF at ``end`` - 1; that LF may be a boundary's."""
        head = bytes(self._buffer[:end])
        self._cut(end - 1, 1)
        self._line = self._searched = 0
        self._flags = flags
        self.parts += 1
        if self._told():
            yield _begun(head, self._limits.head_fields)

    def _content(self, end: int) -> Iterator[PartEvent]:
        if end > self._lead:
            if self._told():
                for at in range(self._lead, end, _MOST_PIECE):
                    yield bytes(self._buffer[at : min(at + _MOST_PIECE, end)])
            self._cut(end, 0)

    def _end(self, flags: Completeness) -> Iterator[PartEvent]:
        if self._flags is not None and self._told():
            yield PartEnd(self._flags | flags)
        self._flags = None

    def _cut(self, size: int, lead: int) -> None:
        del self._buffer[:size]
        self._searched = max(0, self._searched - size)
        self._lead = lead


def _begun(head: bytes, most_fields: int) -> PartBegin:
    """The fields of a part's head, of which the first ``most_fields`` count."""
    disposition = media_type = ""
    for line in _FOLDED.sub(" ", head.decode("latin-1")).split("\n")[: most_fields + 1]:
        field, _, value = line.partition(":")
        field = field.strip().lower()
        if field == "content-disposition":
            disposition = disposition or value.strip()
        elif field == "content-type":
            media_type = media_type or value.strip()
    found: dict[str, str] = {}
    for name, quoted, token in _PARAMETER.findall(disposition):
        found.setdefault(name.lower(), _QUOTED_PAIR.sub(r"\1", quoted) or token.strip())
    filename = _extended(found["filename*"]) if "filename*" in found else found.get("filename", "")
    return PartBegin(found.get("name", ""), filename, media_type)


def _extended(value: str) -> str:
    """RFC 8187: UTF-8'en'%e2%82%ac; its bytes as latin-1, whatever they are said to be."""
    return _PERCENT.sub(lambda escape: chr(int(escape[1], 16)), value.rpartition("'")[2])
