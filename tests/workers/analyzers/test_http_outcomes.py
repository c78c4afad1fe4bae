"""The stated outcome of everything that is odd about HTTP/1.x, item by item: a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from tests.workers.analyzers.conversations import CHUNKED, chunked, chunks, get, head, ok
from tests.workers.analyzers.host import FakeHost, Side, run
from workers.analyzers.protocols.http import PROTOCOL
from workers.contract import Completeness

OPEN, DAMAGED = Completeness.OPEN, Completeness.DAMAGED
LENGTH, GARBAGE, CODING = "anomaly.content_length", "anomaly.garbage", "anomaly.transfer_encoding"
POST = ("POST /a HTTP/1.1", ("Host", "x"))


class Case(NamedTuple):
    """What two sides send, and what is made of it."""

    name: str
    ask: Any  # as host.run takes it
    answer: Any
    told: Sequence[object]  # for each exchange (target, status, *contents), see ``tell``
    counts: dict[str, int] = {}  # noqa: RUF012 # never changed; of both sides together


def tell(host: FakeHost) -> list[object]:
    """Each exchange: target, status, and its contents: bytes, or their pieces if there are holes, with flags if any."""
    told: list[object] = []
    for exchange in host.exchanges:
        contents: list[object] = []
        for body in exchange.contents:
            pieces = body.pieces  # type: ignore[attr-defined]
            what = pieces[0] if len(pieces) == 1 else pieces
            contents.append((what, body.flags) if body.flags else what)  # type: ignore[attr-defined]
        told.append((exchange.facts["target"], exchange.facts["status"], *contents))
    return told


def status(line: str, *fields: tuple[str, object]) -> bytes:
    return head(f"HTTP/1.1 {line}", *fields)


def length(value: object, *more: tuple[str, object]) -> bytes:
    """The head of an answer that says it is so long."""
    return status("200 OK", ("Content-Length", value), *more)


ASKS = [get("/a"), get("/b")]
TWO = b"".join(ASKS)
AFTER = ("/b", 200, b"after")


def at(packet: int, item: bytes) -> Side:
    """A side that came in one packet: behind garbage the order of packets tells what answers what."""
    return Side([item], packets=[(0, packet)])


LENGTHS = [
    Case("H1 length and chunks: chunks", TWO, length(5, CHUNKED) + chunks(b"abc") + ok(b"after"),
         [("/a", 200, b"abc"), AFTER], {CODING: 1}),
    Case("H2 equal lengths", TWO, length(3, ("Content-Length", 3)) + b"abc" + ok(b"after"),
         [("/a", 200, b"abc"), AFTER], {LENGTH: 0}),
    Case("H2 a list of equal lengths", TWO, length("3, 3") + b"abc" + ok(b"after"), [("/a", 200, b"abc"), AFTER]),
    Case("H2 different lengths: the first", TWO, length(3, ("Content-Length", 4)) + b"abc" + ok(b"after"),
         [("/a", 200, b"abc"), AFTER], {LENGTH: 1}),
    Case("H3 leading zeros", TWO, length("0003") + b"abc" + ok(b"after"), [("/a", 200, b"abc"), AFTER], {LENGTH: 0}),
    Case("H3 a huge length never ends", TWO, length("9" * 5000) + b"abc", [("/a", 200, (b"abc", OPEN)), ("/b", None)],
         {LENGTH: 1}),
    *(Case(f"H3 {value!r} is no length", get(), length(value) + b"abc", [("/a", 200, b"abc")], {LENGTH: 1})
      for value in ("+3", "-3", "0x3", "3 3", "³")),
    Case("a request of no valid length has no body", head(*POST, ("Content-Length", "-1")) + get("/b"),
         ok() + ok(b"after"),
         [("/a", 200), AFTER], {LENGTH: 1}),
    Case("a length that lies short", at(1, TWO), at(2, length(3) + b"abcdef" + ok(b"after")),
         [("/a", 200, b"abc"), AFTER], {GARBAGE: 1, "skipped_bytes": 3}),
    Case("a length that lies long", TWO, length(400) + b"abc" + ok(b"after"),
         [("/a", 200, (b"abc" + ok(b"after"), OPEN)), ("/b", None)]),
    Case("until close", get(), status("200 OK") + b"abc", [("/a", 200, b"abc")]),
    Case("until close, which nobody saw", get(), Side([status("200 OK") + b"abc"], whole=False),
         [("/a", 200, (b"abc", OPEN))]),
    Case("a body of no bytes is none", TWO, ok() + chunked() , [("/a", 200), ("/b", 200)]),
    Case("a request has a body", head(*POST, ("Content-Length", 3)) + b"abc", ok(b"def"),
         [("/a", 200, b"abc", b"def")]),
]  # fmt: skip

CHUNKS = [
    Case("extensions and trailers", TWO,
         status("200 OK", CHUNKED) + b'3;a="b;c"\r\nabc\r\n3 \r\ndef\r\n0;z\r\nT: v\r\nU: w\r\n\r\n' + ok(b"after"),
         [("/a", 200, b"abcdef"), AFTER], {"framing_bytes": 24}),
    Case("bare LF between chunks", TWO, status("200 OK", CHUNKED) + b"3\nabc\n0\n\n" + ok(b"after"),
         [("/a", 200, b"abc"), AFTER]),
    Case("H4 a size of 17 digits", TWO,
         status("200 OK", CHUNKED) + b"3\r\nabc\r\n" + b"0" * 16 + b"3\r\nabc\r\n" + ok(b"after"),
         [("/a", 200, (b"abc", DAMAGED)), AFTER], {"anomaly.chunk": 1, "skipped_bytes": 24}),
    Case("H4 a size beyond 63 bits", TWO,
         status("200 OK", CHUNKED) + b"3\r\nabc\r\nffffffffffffffff\r\nabc" + ok(b"after"),
         [("/a", 200, (b"abc", DAMAGED)), AFTER], {"anomaly.chunk": 1}),
    Case("a bad chunk line", TWO, status("200 OK", CHUNKED) + b"3\r\nabc\r\nzz\r\n" + ok(b"after"),
         [("/a", 200, (b"abc", DAMAGED)), AFTER], {"anomaly.chunk": 1}),
    Case("more data than the size says", TWO, status("200 OK", CHUNKED) + b"3\r\nabcdef\r\n0\r\n\r\n" + ok(b"after"),
         [("/a", 200, (b"abc", DAMAGED)), AFTER], {"anomaly.chunk": 1}),
    Case("no blank line at the end", TWO, status("200 OK", CHUNKED) + b"3\r\nabc\r\n0\r\n" + ok(b"after"),
         [("/a", 200, b"abc"), AFTER], {"anomaly.chunk": 1}),
    Case("cut in the data", get(), status("200 OK", CHUNKED) + b"5\r\nabc", [("/a", 200, (b"abc", OPEN))]),
    Case("cut behind the last chunk", get(), status("200 OK", CHUNKED) + b"3\r\nabc\r\n0\r\n", [("/a", 200, b"abc")]),
    Case("gzip, chunked", get(), status("200 OK", ("Transfer-Encoding", "gzip, chunked")) + chunks(b"abc"),
         [("/a", 200, b"abc")], {CODING: 0}),
    Case("chunked is not the last", get(), status("200 OK", ("Transfer-Encoding", "chunked, gzip")) + chunks(b"abc"),
         [("/a", 200, chunks(b"abc"))], {CODING: 1}),
    Case("chunked twice", get(), status("200 OK", CHUNKED, CHUNKED) + chunks(b"abc"), [("/a", 200, b"abc")],
         {CODING: 1}),
    Case("an unknown transfer coding", get(), status("200 OK", ("Transfer-Encoding", "wax")) + b"abc",
         [("/a", 200, b"abc")]),
    Case("identity is none", TWO, length(3, ("Transfer-Encoding", "identity")) + b"abc" + ok(b"after"),
         [("/a", 200, b"abc"), AFTER], {CODING: 0}),
    Case("a request of an unclear coding has its length",
         head(*POST, ("Transfer-Encoding", "wax"), ("Content-Length", 3))
         + b"abc" + get("/b"), ok() + ok(b"after"), [("/a", 200, b"abc"), AFTER], {CODING: 1}),
]  # fmt: skip

HEADS = [
    Case("H5 a fold", get(), length("\r\n 3") + b"abcdef", [("/a", 200, b"abc")], {"anomaly.fold": 1}),
    Case("H6 bare LF", TWO.replace(b"\r", b""), (ok(b"abc") + ok(b"after")).replace(b"\r", b""),
         [("/a", 200, b"abc"), AFTER], {"anomaly.line_end": 4}),
    Case("NUL in a field", get(), length(3, ("X", "a\0b")) + b"abc", [("/a", 200, b"abc")], {"anomaly.field": 1}),
    Case("a line without a colon", get(), length(3).replace(b"\r\n\r\n", b"\r\nodd\r\n\r\n") + b"abc",
         [("/a", 200, b"abc")],
         {"anomaly.field": 1}),
    Case("a blank before the colon", get(), length(3).replace(b":", b" :") + b"abcdef", [("/a", 200, b"abc")],
         {"anomaly.field": 1, "skipped_bytes": 3}),
    Case("blank lines before a message", b"\r\n\n" + get(), b"\r\n" + ok(b"abc"), [("/a", 200, b"abc")],
         {"framing_bytes": 5}),
    Case("blanks within a target", head("GET /a b HTTP/1.1 "), ok(b"abc"), [("/a b", 200, b"abc")]),
    Case("any method", head("BREW /a HTTP/1.1"), ok(b"abc"), [("/a", 200, b"abc")]),
    Case("lower case, no reason", head("get /a http/1.0"), head("http/1.0 200") + b"abc", [("/a", 200, b"abc")]),
    Case("ICY", get(), head("ICY 200 OK") + b"abc", [("/a", 200, b"abc")]),
    Case("H7 HTTP/0.9", b"GET /a\r\n", b"<p>hello", [("/a", None, b"<p>hello")]),
    Case("H7 HTTP/0.9, answered by a newer one", b"GET /a\r\n", ok(b"abc"), [("/a", 200, b"abc")]),
    Case("garbage before a status line", at(1, get()), at(2, b"garbage\r\n\r\nmore" + ok(b"abc")),
         [("/a", 200, b"abc")], {GARBAGE: 1, "skipped_bytes": 15}),
    Case("garbage before a request", at(1, b"\x16\x03\n" + get()), at(2, ok(b"abc")), [("/a", 200, b"abc")],
         {"skipped_bytes": 3}),
    Case("RTSP is not HTTP", head("OPTIONS rtsp://x RTSP/1.0"), head("RTSP/1.0 200 OK"), []),
]  # fmt: skip

UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "websocket"))
TUNNEL = b"\x16\x03\x01" + get("/no")
PAIRS = [
    Case("pipelining", TWO, ok(b"abc") + ok(b"after"), [("/a", 200, b"abc"), AFTER]),
    Case("H9 100-continue", head(*POST, ("Content-Length", 3), ("Expect", "100-continue")) + b"abc" + get("/b"),
         status("100 Continue") + status("102 Wait", ("A", "b")) + ok(b"def") + ok(b"after"),
         [("/a", 200, b"abc", b"def"), AFTER], {"interim": 2}),
    Case("H10 HEAD", head("HEAD /a HTTP/1.1") + get("/b"), length(50) + ok(b"after"), [("/a", 200), AFTER]),
    *(Case(f"H10 {code} has no body", TWO, status(code, ("Content-Length", 50)) + ok(b"after"),
           [("/a", int(code[:3])), AFTER]) for code in ("304 Not Modified", "204 No Content")),
    Case("H11 CONNECT", head("CONNECT h:443 HTTP/1.1") + TUNNEL, status("200 OK", ("Content-Length", 5)) + TUNNEL,
         [("h:443", 200)], {"left.connect": 2, "left_bytes": 2 * len(TUNNEL)}),
    Case("H11 CONNECT refused", head("CONNECT h:443 HTTP/1.1") + get("/b"),
         status("403 No", ("Content-Length", 2)) + b"no"
         + ok(b"after"), [("h:443", 403, b"no"), AFTER]),
    Case("H11 CONNECT, the answer not seen", head("CONNECT h:443 HTTP/1.1") + TUNNEL, b"", [("h:443", None)],
         {"left_bytes": len(TUNNEL)}),
    Case("H11 Upgrade", get("/a", *UPGRADE) + TUNNEL, status("101 Switch", *UPGRADE) + TUNNEL, [("/a", 101)],
         {"left.websocket": 2, "left_bytes": 2 * len(TUNNEL)}),
    Case("H11 Upgrade refused", get("/a", *UPGRADE) + get("/b"), ok(b"abc") + ok(b"after"),
         [("/a", 200, b"abc"), AFTER]),
    Case("H11 Upgrade to anything", get("/a", ("Upgrade", "\xff/1")) + TUNNEL, status("101 -") + TUNNEL, [("/a", 101)],
         {"left.upgrade": 2}),
    Case("HTTP/2 from the start", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n....", b"\0\0\0\4....", [],
         {"http2": 1, "left.http2": 2, "left_bytes": 36}),
    Case("H12 ranges stay as they came", get(),
         status("206 Partial", ("Content-Length", 3), ("Content-Range", "bytes 2-4/9"))
         + b"cde", [("/a", 206, b"cde")]),
    Case("H13, H14, H15 codings are named, not undone", get(), length(3, ("Content-Encoding", "gzip, br")) + b"abc",
         [("/a", 200, b"abc")]),
    Case("an answer before the request is done", head(*POST, ("Content-Length", 5)) + b"ab",
         status("413 No", ("Content-Length", 0)),
         [("/a", 413, (b"ab", OPEN))]),
    Case("requests alone", TWO, b"", [("/a", None), ("/b", None)]),
    Case("answers alone", b"", ok(b"abc") + ok(b"after"), [(None, 200, b"abc"), (None, 200, b"after")]),
    Case("answers alone, one of them to HEAD", b"", length(50) + ok(b"after"), [(None, 200), (None, 200, b"after")],
         {"anomaly.body_absent": 1}),
    Case("an answer that nobody asked for", b"", status("408 Timeout", ("Content-Length", 0)), [(None, 408)]),
]  # fmt: skip


@pytest.mark.parametrize("case", [*LENGTHS, *CHUNKS, *HEADS, *PAIRS], ids=lambda case: case.name)
@pytest.mark.parametrize("turned", [False, True], ids=["client first", "server first"])
def test_outcome(case: Case, turned: bool) -> None:
    """Every odd message has the outcome that is written here, whichever side sent the first packet."""
    sides = [case.answer, case.ask] if turned else [case.ask, case.answer]
    host = run(PROTOCOL, *sides)
    assert tell(host) == case.told
    both = host.counts[0] + host.counts[1]
    assert {name: both[name] for name in case.counts} == case.counts


def test_sides_that_are_the_same() -> None:
    """Two sides that both ask, or both answer, are told one behind the other."""
    assert tell(run(PROTOCOL, get("/a"), get("/b"))) == [("/a", None), ("/b", None)]
    assert tell(run(PROTOCOL, ok(b"abc"), ok(b"def"))) == [(None, 200, b"abc"), (None, 200, b"def")]
