"""Exchanges as they are printed: how each looks, and in which order they come out."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.writer.exchanges import MOST_LINE, MOST_TEXT, Body, ExchangeHost, Exchanges
from pipeline.writer.failures import Failures
from pipeline.writer.names import Endpoints
from pipeline.writer.stream import Stream
from workers.analyzers.seam import Entity, Exchange, Moment
from workers.contract import Completeness
from workers.limits import Limits

NAMES = ("10.0.0.1.4000-10.0.0.2.80", "10.0.0.2.80-10.0.0.1.4000")
OUT, BACK = f">>> - {NAMES[0]}", f"<<< - {NAMES[1]}"
MAY_THIRD = 1_620_000_000 * 10**9
WHOLE = Completeness(0)
HTML = Entity(1, "HTTPBODY", 0, media_type="text/html; charset=utf-8")


@dataclass
class FakeConnected:
    """A connection with streams for some of its sides."""

    connection: int = 7
    sides: tuple[int, ...] = (0, 1)
    closing: bool = False

    def stream(self, side: int) -> Stream | None:
        ends = Endpoints("a", 1, "b", 2, (), 2)
        return Stream(side, NAMES[side], "", ends, b"", md5=False) if side in self.sides else None

    def moment(self, side: int, offset: int) -> Moment:
        return moment(offset)


def moment(packet: int) -> Moment:
    return Moment(packet, MAY_THIRD + packet * 1000, packet)


class Printed:
    """All that was printed, and the means to have something printed."""

    def __init__(self, folder: Path, *, colours: bool = False, **limits: int) -> None:
        self.text = b""
        self.exchanges = Exchanges(Limits(**limits), folder, self._put, Failures().took, colours=colours)

    def _put(self, text: bytes) -> None:
        self.text += text

    def host(self, **facts: Any) -> ExchangeHost:
        return self.exchanges.host(None, FakeConnected(**facts))  # type: ignore[arg-type]

    def lines(self) -> list[str]:
        self.exchanges.finish()
        return self.text.decode("ascii").splitlines()


@pytest.fixture
def printed(tmp_path: Path) -> Printed:
    return Printed(tmp_path)


def body_of(host: ExchangeHost, entity: Entity, pieces: Iterable[bytes | int], flags: Completeness = WHOLE) -> Body:
    """A content that was fed these bytes and holes."""
    body = host.begin(entity)
    for piece in pieces:
        body.hole(piece) if isinstance(piece, int) else body.data(memoryview(piece))
    body.end(0, flags, {})
    return body


def answer(printed: Printed, entity: Entity, *pieces: bytes | int, flags: Completeness = WHOLE) -> list[str]:
    """What is printed of an answer with this body, without the words that stand before its type."""
    host = printed.host(sides=(1,))
    host.exchange(Exchange({}, contents=(body_of(host, entity, pieces, flags),)))
    first, *more = printed.lines()
    assert first.startswith(BACK)
    return [line.removeprefix(f"{BACK} ") for line in (first, *more)]


def test_a_request_and_its_answer(printed: Printed) -> None:
    """Each has a line with direction, time, stream and first line; URLs are whole; text follows."""
    host = printed.host()
    ask = body_of(host, Entity(0, "HTTPBODY", 0, media_type="application/x-www-form-urlencoded"), [b"q=1&r=2"])
    reply = body_of(host, Entity(1, "HTTPBODY", 0, media_type="text/plain"), [b"two\nlines\n"])
    facts = {"method": "POST", "url": "http://example.test/a?b", "target": "/a?b", "status": 200}
    host.exchange(Exchange(
        facts, "POST /a?b HTTP/1.1", "HTTP/1.1 200 OK", (ask, reply), (moment(123_456), moment(125_000)), 9
    ))  # fmt: skip
    form = "application/x-www-form-urlencoded 7 bytes"
    assert printed.lines() == [
        f">>> 2021-05-03T00:00:00.123456Z {NAMES[0]} POST http://example.test/a?b HTTP/1.1 {form}",
        "q=1&r=2",
        f"<<< 2021-05-03T00:00:00.125000Z {NAMES[1]} 200 OK text/plain 10 bytes",
        "two",
        "lines",
    ]


@pytest.mark.parametrize(
    ("exchange", "sides", "expected"),
    [
        (Exchange({}, "GET / HTTP/1.1"), (0, 1), [f"{OUT} GET / HTTP/1.1", f"{BACK} no answer seen"]),
        (Exchange({}, "GET / HTTP/1.1"), (0,), [f"{OUT} GET / HTTP/1.1"]),
        (Exchange({"status": 204}, "", "HTTP/1.0 204"), (1,), [f"{BACK} 204"]),
        (Exchange({}, "", "HTTP/1.0 204"), (0, 1), [f"{OUT} no request seen", f"{BACK} HTTP/1.0 204"]),
        (Exchange({}, "A", "B", side=1), (0, 1), [f"{BACK} A", f"{OUT} B"]),
        (Exchange({}, "A\n>>> \x1b[2J\xe9\\"), (0,), [f"{OUT} A\\x0a\\x3e>> \\x1b[2J\\xe9\\\\"]),
        (Exchange({}, "x" * (MOST_LINE + 1)), (0,), [f"{OUT} {'x' * MOST_LINE} ..."]),
        (Exchange({"target": "/", "url": "http://h/"}, "GET / x/1"), (0,), [f"{OUT} GET http://h/ x/1"]),
    ],
)
def test_half_of_an_exchange(printed: Printed, exchange: Exchange, sides: tuple[int, ...], expected: list[str]) -> None:
    """What was not seen is said where there is a stream for it; a peer's words stay on their line and harmless."""
    printed.host(sides=sides).exchange(exchange)
    assert printed.lines() == expected


@pytest.mark.parametrize(
    ("media_type", "codings", "sent", "expected"),
    [
        ("text/html; charset=utf-8", (), b"<p>", ["text/html 3 bytes", "<p>"]),
        ("TEXT/plain ;x", (), b"a\r\nb\n", ["text/plain 5 bytes", "a", "b"]),
        ("application/json", (), b"{}", ["application/json 2 bytes", "{}"]),
        ("image/svg+xml", (), b"<svg/>", ["image/svg+xml 6 bytes", "<svg/>"]),
        ("message/rfc822", (), b"To: x\r\n", ["message/rfc822 7 bytes", "To: x"]),
        ("image/png", (), b"\x89PNG", ["image/png 4 bytes"]),
        ("multipart/form-data; boundary=x", (), b"--x--", ["multipart/form-data 5 bytes"]),
        ("", (), b"text?", ["5 bytes"]),
        ("a\nb", (), b"x", ["a\\x0ab 1 bytes"]),
        ("text/plain", ("identity",), b"x", ["text/plain identity 1 bytes", "x"]),
        ("text/plain", ("gzip",), gzip.compress(b"hello", mtime=0), ["text/plain gzip 25 bytes (decoded 5)", "hello"]),
        ("text/plain", ("deflate", "gzip"), gzip.compress(zlib.compress(b"hello"), mtime=0),
         ["text/plain deflate gzip 33 bytes (decoded 5)", "hello"]),
        ("text/plain", ("compress",), b"\x1f\x9d", ["text/plain compress 2 bytes"]),
        ("text/plain", ("gzip",), b"not coded", ["text/plain gzip 9 bytes (decoded 0), damaged"]),
        ("text/plain; charset=UTF-16", (), "\ufeffhé".encode("utf-16-be"), ["text/plain 6 bytes", "h\\xc3\\xa9"]),
        ("text/plain; charset=utf-16", (), "hé".encode("utf-16-le"), ["text/plain 4 bytes", "h\\xc3\\xa9"]),
        ("text/plain; charset='utf-32be'", (), "h".encode("utf-32-be"), ["text/plain 4 bytes", "h"]),
        ("text/plain; charset=utf-16", (), b"\x00\xd8x", ["text/plain 3 bytes", "\\xef\\xbf\\xbd"]),
        ("text/plain", (), b"\x1b[2J\n<<< ours?", ["text/plain 14 bytes", "\\x1b[2J", "\\x3c<< ours?"]),
    ],
)  # fmt: skip
def test_bodies(printed: Printed, media_type: str, codings: Sequence[str], sent: bytes, expected: list[str]) -> None:
    """Text is told by its declared type, shown decoded and harmless; of other bodies there is the line alone."""
    assert answer(printed, Entity(1, "HTTPBODY", 0, codings=tuple(codings), media_type=media_type), sent) == expected


@pytest.mark.parametrize("cut", [1, 7, MOST_TEXT - 1, MOST_TEXT, 100_000])
def test_the_beginning_of_a_long_text_is_printed(printed: Printed, cut: int) -> None:
    """4 KiB, and how much follows, however it came."""
    text = b"0123456\n" * 2000
    pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
    first, *lines, last = answer(printed, HTML, *pieces)
    assert (first, lines, last) == ("text/html 16,000 bytes", ["0123456"] * 512, "11,904 bytes more")


def test_a_long_text_that_was_coded(printed: Printed) -> None:
    """What follows is counted as it is decoded."""
    entity = Entity(1, "HTTPBODY", 0, codings=("gzip",), media_type="text/plain")
    *_, last = answer(printed, entity, gzip.compress(b"x" * 9000))
    assert last == f"{9000 - MOST_TEXT:,} bytes more"


@pytest.mark.parametrize(
    ("pieces", "flags", "expected"),
    [
        ([b"one", 40, b"two"], WHOLE, ["text/html 6 bytes, 40 bytes missing", "one", "3 bytes more"]),
        ([5, b"two"], Completeness.OPEN, ["text/html 3 bytes, 5 bytes missing, open", "3 bytes more"]),
        ([b"x"], Completeness.DAMAGED | Completeness.LIMITED, ["text/html 1 bytes, limited, damaged", "x"]),
    ],
)
def test_what_is_not_whole_says_so(
    printed: Printed, pieces: list[bytes | int], flags: Completeness, expected: list[str]
) -> None:
    """In words; text is printed up to the first hole."""
    assert answer(printed, HTML, *pieces, flags=flags) == expected


def test_a_coded_body_with_a_hole(printed: Printed) -> None:
    """Decoding ends at the hole."""
    entity = Entity(1, "HTTPBODY", 0, codings=("gzip",), media_type="text/plain")
    coded = gzip.compress(bytes(range(256)) * 300)
    (line,) = answer(printed, entity, coded[:10], 100, coded[110:])[:1]
    assert "100 bytes missing" in line


def test_a_bomb_stops_at_its_limit(tmp_path: Path) -> None:
    """The limits of decoding hold here, too."""
    printed = Printed(tmp_path, decoded_bytes=1000)
    entity = Entity(1, "HTTPBODY", 0, codings=("gzip",), media_type="image/png")
    (line,) = answer(printed, entity, gzip.compress(bytes(100_000)))
    assert line.endswith("(decoded 1,000), limited")


def test_several_contents_of_one_side(printed: Printed) -> None:
    """The first stands behind the request, the others have lines of their own."""
    host = printed.host(sides=(0,))
    bodies = tuple(body_of(host, Entity(0, "MAIL", 0, media_type="text/plain"), [text]) for text in (b"one", b"two"))
    host.exchange(Exchange({}, "MAIL", contents=bodies))
    assert printed.lines() == [f"{OUT} MAIL text/plain 3 bytes", "one", f"{OUT} text/plain 3 bytes", "two"]


def test_they_come_out_in_the_order_of_packets(tmp_path: Path) -> None:
    """Those of a batch by the packet that made them complete, then connection, then number, however they were told."""
    told = [(5, 1, 0), (2, 9, 0), (5, 3, 0), (5, 1, 1), (9, 9, 1)]
    for order in itertools.permutations(told):
        printed = Printed(tmp_path)
        hosts = {connection: printed.host(connection=connection, sides=(0,)) for connection in (1, 3, 9)}
        for known, connection, number in order:
            hosts[connection].told = number
            hosts[connection].exchange(Exchange({}, f"{known} {connection} {number}", "ok", known=known))
        expected = [f"{OUT} {a} {b} {c}" for a, b, c in sorted(told)]
        assert printed.lines() == expected


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_what_an_end_makes_known_comes_at_the_end(printed: Printed, tmp_path: Path, size: int) -> None:
    """... of the run, connection by connection; there may be more of it than memory."""
    line = "x" * 1000
    for connection in (8, 3):
        host = printed.host(connection=connection, sides=(0,), closing=True)
        for number in range(1 + size // 1000):
            host.exchange(Exchange({}, f"{connection} {number} {line}", "ok", known=1))
    printed.host(sides=(0,)).exchange(Exchange({}, "first", "ok", known=99))
    printed.exchanges.print()
    first = printed.text
    assert first.endswith(b" first\n")
    assert first.count(b"\n") == 1
    expected = [f"{connection} {number} " for connection in (3, 8) for number in range(1 + size // 1000)]
    shown = [text.removeprefix(f"{OUT} ").removesuffix(line) for text in printed.lines()[1:]]
    assert shown == expected
    assert list(tmp_path.iterdir()) == []


def test_what_no_packet_makes_known_comes_at_the_end(printed: Printed) -> None:
    """A request without an answer, an answer without a request, and what an analyzer cannot tell the packet of."""
    host = printed.host(sides=(0,))
    for exchange in (Exchange({}, "A", known=1), Exchange({}, "", "B", known=2), Exchange({}, "C", "ok")):
        host.exchange(exchange)
    host.exchange(Exchange({}, "D", "ok", known=3))
    printed.exchanges.print()
    assert printed.text.decode().splitlines() == [f"{OUT} D"]
    assert printed.lines()[1:] == [f"{OUT} A", f"{OUT} no request seen", f"{OUT} C"]


def test_colours(tmp_path: Path) -> None:
    """Each direction has its own, from its line to the end of its text."""
    printed = Printed(tmp_path, colours=True)
    host = printed.host()
    host.exchange(Exchange({}, "A", "B", (body_of(host, HTML, [b"text"]),)))
    printed.exchanges.finish()
    assert printed.text == (
        b"\x1b[36m>>> - %b A\n\x1b[0m\x1b[33m<<< - %b B text/html 4 bytes\ntext\n\x1b[0m"
        % tuple(name.encode() for name in NAMES)
    )


def test_facts_are_counted_by_side(printed: Printed) -> None:
    """For the report of the streams, until an analyzer is dismissed."""
    host = printed.host()
    host.count(0, "requests")
    host.count(0, "requests", 2)
    host.count(1, "limit.head", 5)
    assert (host.facts(0), host.facts(1)) == ({"requests": 3}, {"limit.head": 5})
    host.discard()
    assert (host.facts(0), host.facts(1)) == ({}, {})
