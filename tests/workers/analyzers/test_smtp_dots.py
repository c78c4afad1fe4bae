"""The text of DATA, against a twin that looks at one byte after the other."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.analyzers.protocols.smtp.dots import Dots


class Text(NamedTuple):
    """What came of it; ``rest``: what stands behind its end, None without an end."""

    text: bytes
    rest: bytes | None
    odd: int = 0


def read(sent: bytes, cuts: list[int] | None = None, *, bare: bool = False) -> Text:
    """Fed in the pieces that ``cuts`` makes. Text, framing and the rest are all that was sent."""
    dots, text, at = Dots(bare=bare), bytearray(), 0
    for start, stop in pairwise([0, *sorted(cuts or []), len(sent)]):
        if not dots.ended:
            at = start + dots.feed(b"?" + sent[start:stop], 1, text.extend) - 1
    dots.stop(text.extend)
    assert len(text) + dots.framing == at
    return Text(bytes(text), sent[at:] if dots.ended else None, dots.odd)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"a\r\n.\r\nQUIT\r\n", Text(b"a\r\n", b"QUIT\r\n")),
        (b".\r\nQUIT\r\n", Text(b"", b"QUIT\r\n")),
        (b"..\r\n.\r\n", Text(b".\r\n", b"")),
        (b"a\r\n..b\r\n.c\r\n.\r\n", Text(b"a\r\n.b\r\nc\r\n", b"")),
        (b"a.\r\n.\r\n", Text(b"a.\r\n", b"")),
        (b"a\n.\nMAIL\r\n.\r\n", Text(b"a\n.\nMAIL\r\n", b"", 1)),
        (b"a\n.\r\nMAIL\r\n.\r\n", Text(b"a\n.\r\nMAIL\r\n", b"", 1)),
        (b"a\r\n.\nMAIL\r\n.\r\n", Text(b"a\r\n\nMAIL\r\n", b"", 1)),
        (b"a\r.\rMAIL\r\n.\r\n", Text(b"a\r.\rMAIL\r\n", b"", 1)),
        (b"a\r\n.\rMAIL\r\n.\r\n", Text(b"a\r\n\rMAIL\r\n", b"", 1)),
        (b"a\n..\n.b\r\n.\r\n", Text(b"a\n..\n.b\r\n", b"")),
        (b"a\r\n", Text(b"a\r\n", None)),
        (b"a\r\n.", Text(b"a\r\n", None)),
        (b"a\r\n.\r", Text(b"a\r\n\r", None)),
        (b"", Text(b"", None)),
    ],
)
def test_only_a_dot_between_crlf_ends_a_text(sent: bytes, expected: Text) -> None:
    """RFC 5321, 4.5.2; the other line ends, by which mails are smuggled, are text and counted."""
    assert read(sent) == expected
    assert read(sent, list(range(len(sent)))) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"a\n.\nQUIT\n", Text(b"a\n", b"QUIT\n")),
        (b"a\r\n.\r\nQUIT\n", Text(b"a\r\n", b"QUIT\n")),
        (b"a\n..b\n.\n", Text(b"a\n.b\n", b"")),
        (b".\n", Text(b"", b"")),
    ],
)
def test_a_client_of_bare_line_feeds(sent: bytes, expected: Text) -> None:
    """If its DATA ended in LF, so do the lines of its text."""
    assert read(sent, bare=True) == expected


def slow(sent: bytes, *, bare: bool) -> Text:
    """Line by line, with all in hand."""
    end = rb"\r?\n" if bare else rb"\r\n"
    text, at = b"", 0
    for line in re.finditer(rb"(?s).*?" + end + rb"|.+\Z", sent):
        if re.fullmatch(rb"\." + end, line[0]):
            return Text(text, sent[line.end() :])
        text += line[0].removeprefix(b".")
        at = line.end()
    assert at == len(sent)
    return Text(text, None)


@given(st.text("\r\n.a", max_size=40), st.lists(st.integers(0, 40), max_size=6), st.booleans())
def test_any_cut_of_any_text(letters: str, cuts: list[int], bare: bool) -> None:
    """Is the text of its lines without their first dots, up to the first line that is a dot; cuts do not matter."""
    sent = letters.encode()
    whole = read(sent, bare=bare)
    assert (whole.text, whole.rest) == slow(sent, bare=bare)[:2]
    assert read(sent, [cut for cut in cuts if cut <= len(sent)], bare=bare) == whole


@pytest.mark.parametrize(
    ("behind", "text", "ended"),
    [
        (b".\r\n", b"", True),
        (b".a\r\n.\r\n", b".a\r\n", True),
        (b".\ra", b".\ra", False),
        (b"\r\n.\r\n", b"\r\n", True),
    ],
)
def test_behind_a_hole(behind: bytes, text: bytes, ended: bool) -> None:
    """A dot alone is the end, another one stays: nobody knows whether a line begins there."""
    dots, got = Dots(bare=False), bytearray()
    dots.feed(b"lost", 0, bytearray().extend)
    dots.stop(got.extend)
    dots.hole()
    for byte in behind:
        dots.feed(bytes([byte]), 0, got.extend)
    assert (bytes(got), dots.ended) == (text, ended)
