"""Text and times as XML 1.0 and XML Schema can hold them.

Knows: which characters XML allows (XML 1.0, section 2.2), xs:dateTime. Does not know: DFXML.
Invariant: whatever goes in, what comes out is well-formed as element text and as a quoted attribute,
and ``unescape`` of what a parser reads back is what went in.

Characters that XML cannot hold are spelled out: ``\\xNN`` for a control character and for a byte that
is not UTF-8 (a lone surrogate U+DC80 to U+DCFF, as os.fsdecode makes it), ``\\uNNNN`` for other lone
surrogates and for U+FFFE and U+FFFF; hexadecimal digits are lower case. A backslash stands for itself,
except in front of text that would read as such a spelling, where it is ``\\x5c``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np

from workers.contract import I64

_SPECIAL = re.compile(
    r"[&<>'\"\x00-\x1f\ud800-\udfff\ufffe\uffff]"  # markup; what XML forbids, or changes when it is read
    r"|\\(?=x[0-9a-f]{2}|u[0-9a-f]{4})"
)
_SPELLED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}
_KEPT = {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}  # references, since a parser normalizes them otherwise

_HARMLESS = bytes(sign for sign in range(0x20, 0x7F) if sign not in b"&<>'\"\\")

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]")
_NO_BEGIN = re.compile(r"\d|[xX][mM][lL]|$")  # what no name begins with; names that begin with "xml" mean something

_NO_TIME = np.iinfo(np.int64).min  # what numpy holds for "not a time"


def harmless(text: str) -> bool:
    """True when ``escape`` would change nothing, by a quick test that may say False too often."""
    return text.isascii() and not text.encode().translate(None, _HARMLESS)


def escape(text: str) -> str:
    """``text`` for an element or for an attribute in either kind of quotes."""
    return _SPECIAL.sub(_spell, text)


def unescape(text: str) -> str:
    """The string that was escaped, from what an XML parser hands out."""
    return _SPELLED.sub(_read, text)


def attributes(values: Mapping[str, object]) -> str:
    """`` name='value'`` of each, escaped, in their order. None is left out; booleans are true and false, and what a
    list holds is divided by blanks."""
    parts = []
    for name, value in values.items():
        if type(value) is int:
            parts.append(f" {name}='{value}'")
            continue
        if value is None:
            continue
        if isinstance(value, list):
            value = " ".join(map(str, value))
        shown = str(value).lower() if isinstance(value, bool) else escape(str(value))
        parts.append(f" {name}='{shown}'")
    return "".join(parts)


@lru_cache(256)
def attribute_names(keys: tuple[str, ...], taken: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """A name that XML allows for each key, none twice and none of ``taken``.

    A name is its key with ``_`` for every sign but letters, digits and ``_`` (``limit.head``: ``limit_head``); where
    two would be alike, the later one has a ``_`` behind. Keys are words of ours: they are remembered.
    """
    used = set(taken)
    names = []
    for key in keys:
        name = _NOT_IN_NAMES.sub("_", key)
        if _NO_BEGIN.match(name):
            name = "_" + name
        while name in used:
            name += "_"
        used.add(name)
        names.append(name)
    return tuple(names)


def timestamps(times: Iterable[int]) -> list[str]:
    """xs:dateTime in UTC with nine digits, for nanoseconds since 1970-01-01.

    64 bits of nanoseconds reach from 1677 to 2262, so a year always has four digits. A number that does
    not fit into them is no time: "".
    """
    numbers = list(times)
    try:
        column: I64 = np.array(numbers, dtype=np.int64)
    except OverflowError:
        column = np.array([n if abs(n) < 1 << 63 else _NO_TIME for n in numbers], dtype=np.int64)
    texts: list[str] = np.datetime_as_string(column.view("M8[ns]")).tolist()
    if (column == _NO_TIME).any():
        return [text + "Z" if text != "NaT" else "" for text in texts]
    return [text + "Z" for text in texts]


def _spell(match: re.Match[str]) -> str:
    sign = match[0]
    code = ord(sign)
    if sign in _ENTITIES:
        return _ENTITIES[sign]
    if sign in _KEPT:
        return _KEPT[sign]
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _read(match: re.Match[str]) -> str:
    if match[2]:
        return chr(int(match[2], 16))
    code = int(match[1], 16)
    return chr(code if code < 0x80 else code + 0xDC00)
