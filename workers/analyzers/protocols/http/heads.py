"""Header fields: those that framing and the records need, found in a head without looking at each line.

Knows: the grammar of a field line (RFC 9112, section 5), what is forgiven in it, and how much of a head is understood.
Does not know: first lines, what a field means.
Invariant: linear in the head's bytes; a head that is not understood wholly is counted, never refused.

Forgiven, and counted under the name in ``ODDITIES``: a bare LF as line end (``line_end``), a field that goes on in the
next line (``fold``, its parts are joined by a blank), blanks in front of the colon, NUL, and lines that are no field
(``field``; such a line is passed over). A bare CR ends no line.
"""

from __future__ import annotations

import re
from typing import Final

from workers.analyzers.protocols.http.lines import TOKEN
from workers.limits import Limits

ODDITIES: Final = ("anomaly.line_end", "anomaly.fold", "anomaly.field")

_KNOWN: Final = re.compile(
    rb"\n(host|user-agent|referer|server|upgrade|transfer-encoding|content-(?:length|type|encoding|disposition|range))"
    rb"[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.IGNORECASE,
)
_CLEAN: Final = re.compile(rb"[^\r\n]*+\r\n(?:%b++:[^\r\n\0]*+\r\n)*+(?:\r\n)?" % TOKEN)
_FOLD: Final = re.compile(rb"[ \t]*\r?\n[ \t]+")
_BARE: Final = re.compile(rb"(?<!\r)\n")
_FOLDED: Final = re.compile(rb"\n[ \t]+[^ \t\r\n]")
_BAD: Final = re.compile(rb"\0|\n(?!%b++:|[ \t]|\r?\n|\Z)" % TOKEN)


class Fields:
    """The fields of one head that are of use, by their names in lower case; text is latin-1."""

    __slots__ = ("_values",)

    def __init__(self, head: bytes) -> None:
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in _KNOWN.findall(head):
            if b"\n" in value:
                value = _FOLD.sub(b" ", value)
            self._values.setdefault(name.lower(), []).append(value.strip(b" \t\r"))

    def first(self, name: bytes) -> str | None:
        """The value of the first field of that name; None: there is none."""
        values = self._values.get(name)
        return values[0].decode("latin-1") if values else None

    def all(self, name: bytes) -> list[bytes]:
        """The elements of a list (RFC 9110, section 5.6.1): of all fields of that name, none of them empty."""
        values = self._values.get(name)
        if not values:
            return []
        return [
            element for value in values for element in (part.strip(b" \t") for part in value.split(b",")) if element
        ]


def odd(head: bytes) -> list[str]:
    """The names of what had to be forgiven in it."""
    if _CLEAN.fullmatch(head):
        return []
    found = (_BARE.search(head), _FOLDED.search(head), _BAD.search(head))
    return [name for name, match in zip(ODDITIES, found, strict=True) if match]


def understood(head: bytes, limits: Limits) -> bytes:
    """What is looked at of a head: at most ``limits.head_fields`` lines behind the first. Shorter: there are more."""
    if head.count(b"\n") <= limits.head_fields + 2:  # the first line, the blank one
        return head
    end = 0
    for _ in range(limits.head_fields + 1):
        end = head.index(b"\n", end) + 1
    return head[:end]
