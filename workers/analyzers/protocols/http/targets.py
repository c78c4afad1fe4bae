"""Where a request goes, and what the peers call a body: URL, host, file name.

Knows: the forms of a target (RFC 9112, section 3.2), Content-Disposition (RFC 6266, RFC 8187), percent-encoding.
Does not know: what is safe as a file name. Invariant: linear; any text gives some answer.
"""

from __future__ import annotations

import re
from typing import Final

_ABSOLUTE: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]*+://([^/?#]*+)")
_PERCENT: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_PARAMETER: Final = re.compile(r';[ \t]*+([A-Za-z0-9*_\-]++)[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"?|([^;]*+))')
_QUOTED: Final = re.compile(r"\\(.)")


def url_and_host(method: str, target: str, host: str | None) -> tuple[str | None, str | None]:
    """The absolute URL and the host of a request. The scheme is a guess where the target does not say it.

    None where neither the target nor the Host field tells. The URL of CONNECT is the authority, as sent."""
    if host and target.startswith("/") and method != "CONNECT":
        return f"http://{host}{target}", host
    absolute = _ABSOLUTE.match(target)
    if absolute:
        return target, host or absolute[1].rpartition("@")[2]
    if method == "CONNECT":
        return target, host or target
    if not host:
        return None, None
    return f"http://{host}{target if target.startswith('/') else ''}", host


def parameters(value: str) -> dict[str, str]:
    """Those of a field such as Content-Disposition or Content-Type: the first of each name, in lower case.

    Only names that the caller could ask for are kept, so a peer cannot fill it."""
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        name = name.lower()
        if name in ("filename", "filename*", "boundary") and name not in found:
            found[name] = _QUOTED.sub(r"\1", quoted) if quoted else plain.strip(" \t")
    return found


def unescape(text: str) -> str:
    """Percent-decoded, and read as UTF-8 if it is that."""
    if "%" not in text and text.isascii():
        return text
    octets = _PERCENT.sub(lambda found: bytes((int(found[1], 16),)), text.encode("latin-1", "replace"))
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def name_of(disposition: str | None, target: str) -> str:
    """What the peers call a body: the file name of its Content-Disposition, else the last part of the target's path.

    As they say it: it may be anything. "": they do not say."""
    if disposition:
        named = parameters(disposition)
        if "filename*" in named:
            charset, _, rest = named["filename*"].partition("'")
            value = rest.partition("'")[2]
            octets = _PERCENT.sub(lambda found: bytes((int(found[1], 16),)), value.encode("latin-1", "replace"))
            if value:
                return octets.decode("latin-1" if charset.lower() == "iso-8859-1" else "utf-8", "replace")
        if named.get("filename"):
            return unescape(named["filename"])
    elif target.isascii() and not ("?" in target or "%" in target or "#" in target or "://" in target):
        return target[target.rfind("/") + 1 :]
    if "://" in target:
        target = target.partition("://")[2].partition("/")[2]
    return unescape(target.partition("?")[0].partition("#")[0].rpartition("/")[2])
