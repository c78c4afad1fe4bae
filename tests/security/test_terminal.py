"""What reaches a terminal acts on none: streams on the console, names and messages beside them.

The threat: a captured byte, or a file's name, moves the cursor, changes the title, answers for the user, or shows text
in an order in which it does not stand.
"""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest

from pipeline.console import printable
from pipeline.writer.escaping import escape
from tests.build import Conversation, pcap_bytes
from tests.forms import crossed, run_fed
from tests.runs import run_here

ALLOWED = {9, 10, *range(0x20, 0x7F)}
OWN_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
EVERY = "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
SEQUENCES = [
    b"\x1b]0;title\x07", b"\x1b]8;;http://evil\x1b\\link", b"\x1b[2J\x1b[H", b"\x1b[6n", b"\x1bP$q\x1b\\",
    b"\x1b_x\x1b\\", b"\x1b^x\x1b\\", b"\x9b2J", b"\x9d0;t\x9c", b"\x90q\x9c", b"\x07", b"\x08\x08", b"\x0e\x0f",
    b"\r>>> 1 forged", b"\x1bc", b"\xc2\x9b2J", "\u202e\u2066\u200f".encode(), b"\x1b[31m", b"\x7f", b"\x0b\x0c",
    b"\x85", b"\xff\xfe\x1b\x00[\x002\x00J",
]  # fmt: skip


def test_all_bytes_and_all_pairs_of_bytes() -> None:
    """No byte passes but printable ASCII, tab and newline, alone or behind any other."""
    pairs = bytes(byte for first in range(256) for second in range(256) for byte in (first, second))
    for data in (bytes(range(256)), pairs, *SEQUENCES):
        assert set(escape(data)) <= ALLOWED


def test_all_code_points() -> None:
    """Nor does any character, in any of the encodings that a terminal may have."""
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "latin-1"):
        assert set(escape(EVERY.encode(encoding, "ignore"))) <= ALLOWED


@pytest.mark.parametrize(
    "signs", [range(0x20000), pytest.param(range(0x20000, sys.maxunicode + 1), marks=pytest.mark.slow)]
)
def test_messages_hold_what_prints_only(signs: range) -> None:
    """Of all code points in a name: no control, no direction mark, no line end, nothing invisible, no surrogate."""
    for sign in map(chr, signs):
        shown = printable(sign)
        if shown == sign:
            assert unicodedata.category(sign)[0] in "LMNPS" or sign == " ", hex(ord(sign))
            assert unicodedata.bidirectional(sign) not in {
                "LRE",
                "RLE",
                "LRO",
                "RLO",
                "PDF",
                "LRI",
                "RLI",
                "FSI",
                "PDI",
            }
        else:
            assert shown.isascii()
            assert shown.isprintable()


def capture() -> bytes:
    """Both directions say every byte, and every sequence."""
    talk = Conversation()
    data = bytes(range(256)) + b"\n".join(SEQUENCES) + EVERY[:3000].encode()
    http = b"GET /%s HTTP/1.1\r\nHost: %s\r\nX: %s\r\n\r\n"
    made = [*talk.open(), *talk.say(0, data), *talk.say(1, data), *talk.finish()]
    other = Conversation(client=("10.0.0.1", 40001))
    made += other.open()
    for each in SEQUENCES:
        made += other.say(0, http % (each.replace(b"\r", b""), each, each))
        made += other.say(1, b"HTTP/1.1 200 %s\r\nContent-Type: text/%s\r\nContent-Length: %d\r\n\r\n" % (
            each.replace(b"\r", b""), each, len(each)) + each)  # fmt: skip
    return pcap_bytes([*made, *other.finish()], nanoseconds=True)


@pytest.mark.parametrize(
    ("words", "workers"), crossed([((), 0), (("-a",), 0), (("-a", "-v"), 1)], [(), ("-a",), ("-a", "-v")], [0, 1])
)
def test_what_the_console_prints(words: tuple[str, ...], workers: int) -> None:
    """A whole run with -c: printable ASCII, tabs, newlines, on both outputs."""
    done = run_fed(capture(), "-r", "-", "-c", "--workers", workers, *words)
    assert done.status == 0, done.err
    assert len(done.out) > 2_000
    assert set(OWN_COLOUR.sub(b"", done.out.encode("utf-8", "surrogateescape"))) <= ALLOWED
    assert set(OWN_COLOUR.sub(b"", done.err.encode("utf-8", "surrogateescape"))) <= ALLOWED


@pytest.mark.parametrize("word", ["-B", "--binary"])
def test_there_is_no_way_to_print_raw_bytes(word: str) -> None:
    """tcpflow's -B is refused: whoever wants bytes has the files."""
    assert run_here("-r", "x.pcap", "-c", word).status == 2
