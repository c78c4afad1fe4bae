"""No captured byte can act on a terminal or pass for a line of ours."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.writer import escaping
from pipeline.writer.escaping import escape
from tests.writer.printed import unescape

ALLOWED = {9, 10, *range(0x20, 0x7F)}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", b""),
        (b"plain\ttext\n", b"plain\ttext\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\nHost: a\n\n"),
        (b"\r", b"\\x0d"),
        (b"a\rb\r\r\nc", b"a\\x0db\\x0d\nc"),
        (b"C:\\new", b"C:\\\\new"),
        (b"\\x41", b"\\\\x41"),
        (b"\x1b[31mred\x07", b"\\x1b[31mred\\x07"),
        (b"\x9b2J\x7f\0", b"\\x9b2J\\x7f\\x00"),
        ("é\u202e".encode(), b"\\xc3\\xa9\\xe2\\x80\\xae"),
        (b">>> 1", b"\\x3e>> 1"),
        (b"x\n<<< 1\r\n>>> 2", b"x\n\\x3c<< 1\n\\x3e>> 2"),
        (b"x >>> y\n>>>\n<>> z", b"x >>> y\n>>>\n<>> z"),
        (b"\xff\n>>> 1", b"\\xff\n\\x3e>> 1"),
    ],
)
def test_examples(data: bytes, text: bytes) -> None:
    """Text stays readable; what does not print is spelled \\xNN, a backslash doubled, a mark of ours broken."""
    assert escape(data) == text


def twin(data: bytes) -> bytes:
    """Byte by byte."""
    text = b""
    for byte in data.replace(b"\r\n", b"\n"):
        text += b"\\\\" if byte == 0x5C else bytes([byte]) if byte in ALLOWED else b"\\x%02x" % byte
    lines = text.split(b"\n")
    return b"\n".join(b"\\x%02x" % line[0] + line[1:] if line[:4] in {b">>> ", b"<<< "} else line for line in lines)


pieces = st.sampled_from([b"\r", b"\n", b"\r\n", b"\\", b">>> ", b"<<< ", b">", b"\x1b", b"x41", b"abc "])


@given(st.lists(pieces | st.binary(max_size=8)).map(b"".join))
@example(bytes(range(256)))
def test_is_its_twin_and_can_be_read_back(data: bytes) -> None:
    """The kernel says what a loop over bytes says, nothing outside of printable ASCII, tab and newline; all but the
    carriage returns that were left out can be read back."""
    text = escape(data)
    assert text == twin(data)
    assert set(text) <= ALLOWED
    assert not re.search(rb"(?m)^(>>>|<<<) ", text)
    assert unescape(text) == data.replace(b"\r\n", b"\n")


def test_every_code_point() -> None:
    """No character of Unicode passes but those of ASCII that print."""
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
    assert set(escape(every.encode())) <= ALLOWED


def test_long_bytes_are_spelled_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a block ends makes no difference."""
    data = bytes(range(256)) * 3
    whole = escape(data)
    monkeypatch.setattr(escaping, "_BLOCK", 7)
    assert escape(data) == whole
