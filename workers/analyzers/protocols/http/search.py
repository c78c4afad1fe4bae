"""Where the next message begins, when it is not known: after a gap, in a stream without its start, behind garbage.

Knows: what is certainly a message's first line, wherever it stands. Does not know: what the bytes before it are.
Invariants: linear in the bytes; the same place is found for any cut of them; a bounded tail of them is kept.

Certain is: ``HTTP/1.0`` or ``HTTP/1.1`` with a status code and at most 256 bytes of reason, or behind a target (as a
request has one, at most 8 KiB) and a method that is in use; and in the next line a field's name and colon, or nothing.
A new message need not begin behind a line end: what stands before a status line or a method does not matter.
"""

from __future__ import annotations

import re
from typing import Final

from workers.analyzers.protocols.http.lines import TOKEN, Role
from workers.analyzers.seam import Piece

METHODS: Final = tuple(
    b"GET POST HEAD PUT DELETE OPTIONS TRACE CONNECT PATCH QUERY PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH "
    b"REPORT MERGE CHECKOUT CHECKIN MKACTIVITY VERSION-CONTROL MKCALENDAR ACL SUBSCRIBE UNSUBSCRIBE NOTIFY M-SEARCH "
    b"BCOPY BDELETE BMOVE BPROPFIND BPROPPATCH POLL RPC_IN_DATA RPC_OUT_DATA PURGE LINK UNLINK BITS_POST "
    b"CCM_POST".split()
)

_ANCHOR: Final = b"HTTP/1."
_STATUS: Final = re.compile(rb"HTTP/1\.[01] [1-5]\d\d[ \r\n]")
_EXAMPLE: Final = b"HTTP/1.1 200 "
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] [1-5]\d\d(?: [^\x00-\x08\n]*)?\r?\n")
_VERSION: Final = re.compile(rb"HTTP/1\.[01]\r?\n")
_TARGET: Final = re.compile(rb"(?:/|https?://)[^\x00-\x20\x7f]*+|\*|[^\x00-\x20/:]++:\d++")
_METHOD: Final = re.compile(rb"(?:%b)\Z" % b"|".join(METHODS))
_NEXT: Final = re.compile(rb"\r?\n|%b{1,64}+[ \t]{0,8}+:" % TOKEN)
_NEXT_UNFINISHED: Final = re.compile(rb"\r?|%b{1,64}+[ \t]{0,8}+" % TOKEN)

_REASON_ROOM: Final = 280
_TARGET_ROOM: Final = 8 << 10
_METHOD_ROOM: Final = 24
STATUS_ROOM: Final = 13
"""Bytes by which a status line can be told."""
_KEPT: Final = _TARGET_ROOM + _METHOD_ROOM + 16
"""Bytes before the place where the search goes on that it may have to look at again."""


class Search:
    """One search. What it takes and gives up is added to ``skipped``."""

    __slots__ = ("_scan", "found", "held", "skipped")

    def __init__(self, held: bytes = b"") -> None:
        """From ``held`` on, which was taken before."""
        self.held = bytearray(held)
        self._scan = 0
        self.skipped = 0
        self.found = b""
        """What was taken of the message that was found, before the piece in which it was."""

    def feed(self, piece: Piece, at: int, wanted: Role | None) -> int | None:
        """Look for a first line (of ``wanted``, None: of any role). Where the message goes on in the piece, behind
        ``found``; None: all of the piece was taken, and there is none so far."""
        held, before = self.held, len(self.held)
        held += memoryview(piece)[at:]
        start = self._find(wanted)
        if start < 0:
            over = self._scan - _KEPT
            if over > _KEPT:
                self.skipped += over
                self._scan -= over
                del held[:over]
            return None
        self.skipped += start
        self.found = bytes(held[start:before])
        held.clear()
        return at + max(0, start - before)

    def give_up(self) -> None:
        """Nothing more comes."""
        self.skipped += len(self.held)
        self.held.clear()
        self._scan = 0

    def _find(self, wanted: Role | None) -> int:
        """Where a first line begins; -1: nowhere so far."""
        held = self.held
        while True:
            at = held.find(_ANCHOR, self._scan)
            if at < 0:
                self._scan = max(self._scan, len(held) - len(_ANCHOR) + 1)
                return -1
            self._scan = at
            status = wanted is not Role.ASKS and _status_at(held, at)
            if status:
                return at
            start, version = -1, None
            if wanted is not Role.ANSWERS and at > 0 and held[at - 1] == 0x20:
                version = _version_at(held, at)
                start = -1 if version is False else _start_before(held, at - 1)
                if version and start >= 0:
                    return start
            if status is None or (version is None and start >= 0):
                return -1  # more bytes will tell
            self._scan = at + 1


def is_status(held: bytes | bytearray) -> bool | None:
    """Whether ``held`` certainly begins with a status line; None: too few bytes to say, never for ``STATUS_ROOM``."""
    if _STATUS.match(held):
        return True
    return None if _unfinished(_STATUS, held, 0, _EXAMPLE) else False


def _status_at(held: bytearray, at: int) -> bool | None:
    if not _STATUS.match(held, at):
        return None if _unfinished(_STATUS, held, at, _EXAMPLE) else False
    end = held.find(b"\n", at, at + _REASON_ROOM)
    if end < 0:
        return None if len(held) - at < _REASON_ROOM else False
    return _next_at(held, end + 1) if _STATUS_LINE.match(held, at) else False


def _unfinished(pattern: re.Pattern[bytes], held: bytes | bytearray, at: int, example: bytes) -> bool:
    """Whether the bytes from ``at`` to the end may become what ``pattern`` says, as ``example`` did."""
    size = len(held) - at
    return size < len(example) and pattern.match(bytes(held[at:]) + example[size:]) is not None


def _version_at(held: bytearray, at: int) -> bool | None:
    found = _VERSION.match(held, at)
    if found:
        return _next_at(held, found.end())
    return None if _unfinished(_VERSION, held, at, b"HTTP/1.1\r\n") else False


def _next_at(held: bytearray, at: int) -> bool | None:
    """Whether the line at ``at`` is a field or the end of a head; None: it may become one."""
    if _NEXT.match(held, at):
        return True
    return None if len(held) - at < 80 and _NEXT_UNFINISHED.fullmatch(held, at) else False


def _start_before(held: bytearray, blank: int) -> int:
    """Where the request line begins whose target ends at ``blank``; -1: nowhere."""
    before = held.rfind(b" ", max(0, blank - _TARGET_ROOM), blank)
    if before < 0 or not _TARGET.fullmatch(held, before + 1, blank):
        return -1
    method = _METHOD.search(held, max(0, before - _METHOD_ROOM), before)
    return method.start() if method else -1
