"""Names of objects are safe whatever a peer calls them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.analyzers.naming import MOST_BYTES, safe_name

DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

AWKWARD = st.lists(
    st.sampled_from(["/", "\\", "..", ".", "%2e%2e%2f", "\0", "\n", "con", "NUL", "lpt1", ".txt", "-", " ", "~", "?",
                     "://", "\ud800", "\N{EURO SIGN}", "a" * 90, ".html", ":"]),
    max_size=8,
).map("".join)  # fmt: skip
TYPES = st.sampled_from(["", "text/html", "application/x+json", "../../etc", "image/png; a=b"]) | st.text(max_size=20)


@pytest.mark.parametrize(
    ("wanted", "media_type", "expected"),
    [
        ("http://example.com/a/logo.png?v=2/3#x", "image/png", "logo.png"),
        ("/a/b/", "text/html; charset=utf-8", "b.html"),
        ("http://example.com", "text/html", "unnamed.html"),
        ("/", "", "unnamed"),
        ("", "application/problem+json", "unnamed.json"),
        ("../../etc/passwd", "", "passwd"),
        ("..\\..\\boot.ini", "", "boot.ini"),
        ("%2e%2e%2fetc%2fpasswd", "", "_2e_2e_2fetc_2fpasswd"),
        ("/index.php", "text/html", "index.php"),
        ("jquery-3.2", "text/javascript", "jquery-3.2.js"),
        ("a.7z", "", "a.7z"),
        ("-rf.txt", "", "rf.txt"),
        (".htaccess", "text/plain", "htaccess.txt"),
        ("name.", "text/plain", "name.txt"),
        ("con.txt", "", "con_.txt"),
        ("NUL", "", "NUL_"),
        ("aux.c.gz", "", "aux_.c.gz"),
        ("\N{EURO SIGN}uro \N{EURO SIGN}.PDF", "text/plain", "_uro_.PDF"),
        ("x" * 300 + ".jpeg", "", "x" * (MOST_BYTES - 6) + ".jpeg"),
        ("x." + "y" * 300, "image/gif", "x." + "y" * (MOST_BYTES - 7) + ".gif"),
    ],
)
def test_names(wanted: str, media_type: str, expected: str) -> None:
    """The last component, its extension kept or given, what is unsafe replaced."""
    assert safe_name(wanted, media_type) == expected


@given(AWKWARD | st.text(), TYPES)
def test_any_name_is_safe(wanted: str, media_type: str) -> None:
    """One component, of harmless characters, not too long, no device, nothing that a shell takes for an option."""
    name = safe_name(wanted, media_type)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name)
    assert len(name) <= MOST_BYTES
    assert not name.endswith(".")
    assert not DEVICE.fullmatch(name)
