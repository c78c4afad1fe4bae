"""Which body a message has: RFC 9112, section 6.3, rule by rule, and what we do where it says "error".

Knows: the rules for requests, for answers, and for answers of which the request is not known.
Does not know: bytes of bodies. Invariant: every message has a framing; what was odd in it is counted.

A recipient may refuse a message whose framing is unclear; evidence has to be read all the same, so:

- several Content-Length, all equal: that one; different: the first (H2). Not a number (``+5``, ``-1``, ``0x5``): as if
  it were not there (H3). Leading zeros do not matter. More than 63 bits: a body whose end does not come.
- Transfer-Encoding with Content-Length: the former (H1).
- chunked that is not the last coding: the body goes to the end of the stream; of a request that has a Content-Length
  besides, it is that long.
- codings of the transfer that are not chunked were applied after those of the content, and are undone before them;
  unknown ones among them likewise leave the body as it was sent.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from workers.analyzers.protocols.http.heads import Fields, elements, lower

LENGTH: Final = "anomaly.content_length"
CODING: Final = "anomaly.transfer_encoding"
_LONGEST: Final = (1 << 63) - 1
_new: Final = tuple.__new__  # a third of what a NamedTuple's own constructor takes
_DIGITS: Final = re.compile(r"[0-9]+")


class Kind(Enum):
    """How the end of a body is known."""

    NONE = 0  # there is no body
    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3  # it ends with the stream
    TUNNEL = 4  # behind the head it is HTTP no longer


class Framing(NamedTuple):
    """Of one message."""

    kind: Kind
    length: int | None = None  # that was declared
    odd: tuple[str, ...] = ()


TUNNEL: Final = Framing(Kind.TUNNEL)
NOTHING: Final = Framing(Kind.NONE)


def declared(fields: Fields) -> tuple[int | None, bool]:
    """The value of Content-Length, None when it has none that counts; and whether there was something odd about it."""
    value = fields.get("content-length")
    if value is None:
        return None, False
    if value.isdigit() and value.isascii() and len(value) < 19 and "content-length*" not in fields:
        return int(value), False
    lengths: list[int] = []
    values = elements(fields, "content-length")
    for value in values:
        digits = value.lstrip("0") or value[-1:]
        if _DIGITS.fullmatch(digits):
            lengths.append(min(int(digits), _LONGEST) if len(digits) < 20 else _LONGEST)
    strange = len(lengths) < len(values) or len(set(lengths)) > 1 or _LONGEST in lengths
    return (lengths[0] if lengths else None), strange


def transfer_codings(fields: Fields) -> list[str]:
    """Of the transfer, in the order in which they were applied, lower case, without parameters."""
    if "transfer-encoding" not in fields:
        return []
    codings = [lower(value.partition(";")[0].strip(" \t")) for value in elements(fields, "transfer-encoding")]
    return [coding for coding in codings if coding not in ("", "identity")]


def of_request(fields: Fields) -> Framing:
    """Of a request's body."""
    return _by_fields(fields, answers=False)


def of_answer(fields: Fields, status: int, method: str | None) -> Framing:
    """Of an answer's body. ``status``: 0 if it has no head. ``method``: of its request; None: not known."""
    if status == 0:
        return Framing(Kind.CLOSE)
    if status == 101 or (method == "CONNECT" and 200 <= status < 300):
        return TUNNEL
    if 100 <= status < 200 or status in (204, 304) or method == "HEAD":
        return NOTHING
    return _by_fields(fields, answers=True)


def _by_fields(fields: Fields, *, answers: bool) -> Framing:
    if not (answers or "content-length" in fields or "transfer-encoding" in fields):
        return NOTHING
    length, strange = declared(fields)
    if length and not strange and "transfer-encoding" not in fields:  # which is nearly always so
        return _new(Framing, (Kind.LENGTH, length, ()))
    odd: tuple[str, ...] = (LENGTH,) if strange else ()
    codings = transfer_codings(fields)
    if codings:
        chunked = codings[-1] == "chunked"
        if length is not None or "chunked" in codings[:-1] or not (chunked or answers):
            odd += (CODING,)
        if chunked:
            return Framing(Kind.CHUNKED, None, odd)
        if answers or length is None:
            return Framing(Kind.CLOSE, None, odd)
    if length is not None:
        return Framing(Kind.LENGTH if length else Kind.NONE, length, odd)
    return Framing(Kind.CLOSE if answers else Kind.NONE, None, odd)
