"""Heads: the first line and the fields that framing and the records need, found without looking at each line.

Knows: the grammar of a field line (RFC 9112, section 5), what is forgiven in it, and how much of a head is understood.
Does not know: what a first line or a field means.
Invariants: linear in the head's bytes; a head that is not understood wholly is counted, never refused; what
``at_once`` says of a head is what ``understand``, ``odd`` and ``fields_of`` say of it.

Forgiven, and counted under the name in ``ODDITIES``: a bare LF as line end (``line_end``), a field that goes on in the
next line (``fold``, its parts are joined by a blank), blanks in front of the colon, NUL, and lines that are no field
(``field``; such a line is passed over). A bare CR ends no line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias

from workers.analyzers.protocols.http.late import Late
from workers.analyzers.protocols.http.lines import TOKEN, Line, Role
from workers.analyzers.seam import Piece
from workers.limits import Limits

ODDITIES: Final = ("anomaly.line_end", "anomaly.fold", "anomaly.field")

Fields: TypeAlias = Mapping[str, str]
"""The fields of one head that are of use, by their names in lower case; text is latin-1.

Of one that is repeated this is the first value; all of them, joined by commas, are under its name and a star."""

_KNOWN: Final = re.compile(
    r"\n(?=[HURSTChurstc])"
    r"(host|user-agent|referer|server|upgrade|transfer-encoding|content-(?:length|type|encoding|disposition|range))"
    r"[ \t]*+:[ \t]*+([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.IGNORECASE | re.ASCII,
)
_KNOWN_USUAL: Final = re.compile(
    r"\n(?=[HURSTChurstc])"
    r"(host|user-agent|referer|server|upgrade|transfer-encoding|content-(?:length|type|encoding|disposition|range))"
    r":[ \t]*+([^\r]*+)",
    re.IGNORECASE | re.ASCII,
)
_CLEAN: Final = re.compile(rb"[^\r\n]*+\r\n(?:%b++:[^\r\n\0]*+\r\n)*+(?:\r\n)?" % TOKEN)
_FOLD: Final = re.compile(r"[ \t]*\r?\n[ \t]+")
_BARE: Final = re.compile(rb"(?<!\r)\n")
_FOLDED: Final = re.compile(rb"\n[ \t]+[^ \t\r\n]")
_BAD: Final = re.compile(rb"\0|\n(?!%b++:|[ \t]|\r?\n|\Z)" % TOKEN)
_FRAMING: Final = re.compile(
    rb"(?<=\n)(?:content-length|transfer-encoding)[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+", re.IGNORECASE
)
_USUAL: Final = re.compile(
    rb"(?:HTTP/1\.[01] [0-9]{3} [^\x00\r\n]*+|%b{1,64}+ [^\x00-\x20\x7f]++ HTTP/1\.[01])"
    rb"\r\n(?:%b++:.*\r\n)*+\r\n" % (TOKEN, TOKEN)
)
"""A head of which nothing has to be forgiven, if it has as many CR as LF, and no NUL.

``.`` is quicker than a set, and ends at an LF: what looks at each head must not look beyond it."""

_SHORT: Final = 64  # characters of a status line that is worth being remembered
_STATUS_LINES: Final = 256  # ... and how many are

_ASKS: Final = Role.ASKS
_ANSWERS: Final = Role.ANSWERS
_new: Final = tuple.__new__  # a third of what a NamedTuple's own constructor takes


def at_once(piece: Piece, at: int, limits: Limits) -> tuple[bytes, Line, Fields] | None:
    """The head that ``piece[at:]`` begins with: its bytes, first line, fields. None: its end is not there, or there
    is something odd about it or beyond a limit.

    Fields that are ``Late`` are those of a request behind which nothing but the next one can follow."""
    found = _USUAL.match(piece, at, at + limits.head_bytes)
    if found is None:
        return None
    head = found[0]
    text = head.decode("latin-1")
    lines = text.count("\n")
    if lines != text.count("\r") or lines > limits.head_fields + 2 or "\0" in text:
        return None
    first = text[: text.index("\r")]
    if first.startswith("HTTP/"):  # no method has a slash
        return head, (_status_line if len(first) < _SHORT else _new_status_line)(first), _usual_fields(text)
    method, target, version = first.split(" ")
    line = _new(Line, (_ASKS, first, version, method, target, 0, ""))
    lower = text.lower()
    if "\ncontent-length" in lower or "\ntransfer-enc" in lower or "\nupgrade" in lower or method == "CONNECT":
        return head, line, _usual_fields(text)
    return head, line, Late(_usual_fields, text)


def _new_status_line(first: str) -> Line:
    version, status, reason = first.split(" ", 2)
    return Line(_ANSWERS, first, version, "", "", int(status), reason.strip(" "))


_status_line: Final = lru_cache(_STATUS_LINES)(_new_status_line)


def _usual_fields(text: str) -> Mapping[str, str]:
    """Of a usual head."""
    values = _KNOWN_USUAL.findall(text)
    fields = {name.lower(): value.rstrip(" \t") for name, value in values}
    return _fields(text) if len(fields) < len(values) else fields


def fields_of(head: bytes) -> Fields:
    """Those of any head."""
    return _fields(head.decode("latin-1"))


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for name, value in _KNOWN.findall(text):
        name = name.lower()
        if "\n" in value:
            value = _FOLD.sub(" ", value)
        value = value.strip(" \t\r")
        if name in fields:
            repeated.setdefault(name, [fields[name]]).append(value)
        else:
            fields[name] = value
    for name, values in repeated.items():
        fields[f"{name}*"] = ",".join(values)
    return fields


def elements(fields: Fields, name: str) -> list[str]:
    """The elements of a list (RFC 9110, section 5.6.1): of all fields of that name, none of them empty."""
    values = fields.get(f"{name}*") or fields.get(name)
    if not values:
        return []
    return [element for element in (part.strip(" \t") for part in values.split(",")) if element]


def lower(text: str) -> str:
    """In lower case as HTTP has it: letters beyond ASCII stay."""
    return text.lower() if text.isascii() else text.encode("latin-1").lower().decode("latin-1")


def odd(head: bytes) -> list[str]:
    """The names of what had to be forgiven in it."""
    if _CLEAN.fullmatch(head):
        return []
    found = (_BARE.search(head), _FOLDED.search(head), _BAD.search(head))
    return [name for name, match in zip(ODDITIES, found, strict=True) if match]


def understood(head: bytes, limits: Limits) -> bytes:
    """What is looked at of a head: at most ``limits.head_fields`` lines behind the first, and beyond them what says
    where the body ends. Shorter than the head: there are more."""
    if head.count(b"\n") <= limits.head_fields + 2:  # the first line, the blank one
        return head
    end = 0
    for _ in range(limits.head_fields + 1):
        end = head.index(b"\n", end) + 1
    return head[:end] + b"".join(_FRAMING.findall(head, end - 1))
