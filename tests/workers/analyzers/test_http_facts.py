"""What is said of messages: facts, names, codings, moments; and what is recognised as HTTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.analyzers.conversations import chunked, get, head, ok
from tests.workers.analyzers.host import Body, FakeHost, Side, run
from workers.analyzers.protocols.http import PROTOCOL
from workers.analyzers.protocols.http.lines import RECOGNIZABLE
from workers.analyzers.protocols.http.targets import name_of, unescape, url_and_host
from workers.analyzers.seam import Exchange, Moment
from workers.contract import Completeness
from workers.limits import Limits


def only(host: FakeHost) -> Exchange:
    [exchange] = host.exchanges
    return exchange


def content(host: FakeHost) -> Body:
    [body] = host.bodies
    return body


def test_facts_of_an_exchange() -> None:
    """All facts of an exchange, and in which order; each of them is there even if it is not known."""
    ask = get("/p?q", ("User-Agent", "u"), ("Referer", "r"))
    answer = head("HTTP/1.0 206 Part of it", ("Server", "s"), ("Content-Range", "bytes 0-1/9"))
    exchange = only(run(PROTOCOL, ask, answer))
    facts = {
        "method": "GET", "url": "http://x/p?q", "host": "x", "target": "/p?q", "version": "HTTP/1.0", "status": 206,
        "reason": "Part of it", "user_agent": "u", "referer": "r", "server": "s", "content_range": "bytes 0-1/9",
    }  # fmt: skip
    assert list(exchange.facts.items()) == list(facts.items())
    assert (exchange.asked, exchange.answered) == ("GET /p?q HTTP/1.1", "HTTP/1.0 206 Part of it")
    alone = only(run(PROTOCOL, b"", ok()))
    assert list(alone.facts) == list(facts)
    assert [name for name, value in alone.facts.items() if value is not None] == ["version", "status", "reason"]


def test_facts_of_a_body() -> None:
    """What the record of a body needs besides: as declared, never as guessed."""
    fields = [("Content-Type", "text/plain; charset=x"), ("Content-Encoding", "GZIP, br"), ("Content-Encoding", "x")]
    more = [("Transfer-Encoding", "deflate, chunked"), ("Content-Disposition", 'attachment; filename="a b"')]
    body = content(run(PROTOCOL, get("/f"), head("HTTP/1.1 200 OK", *fields, *more) + b"3\r\nabc\r\n0\r\nT: v\r\n\r\n"))
    entity = body.entity
    assert (entity.side, entity.kind, entity.media_type, entity.name) == (1, "HTTPBODY", "text/plain; charset=x", "a b")
    assert entity.codings == ("gzip", "br", "x", "deflate")
    assert body.facts == {
        "role": "response", "declared_type": "text/plain; charset=x", "declared_length": None,
        "disposition": 'attachment; filename="a b"', "content_encoding": "GZIP, br",
        "transfer_encoding": "deflate, chunked", "trailers": 1,
    }  # fmt: skip


def test_where_a_body_lies() -> None:
    """Offset and end of a body are those of its bytes in the stream, framing between them included."""
    answer = chunked(b"abc", b"def")
    body = content(run(PROTOCOL, get(), answer))
    assert body.offset is not None
    assert answer[body.entity.offset : body.offset] == b"abc\r\n3\r\ndef"


def test_texts_are_the_heads_as_sent() -> None:
    """The heads of a side are told byte-exactly, in order, with the trailers."""
    host = run(PROTOCOL, get("/a") + get("/b"), chunked(b"abc", trailers=[("T", "v")]) + b"\r\n" + ok(b"x"))
    assert host.texts == {
        (0, "HTTP"): get("/a") + get("/b"),
        (1, "HTTP"): chunked()[: -len("0\r\n\r\n")] + b"T: v\r\n\r\n" + ok(b"x")[:-1],
    }


@pytest.mark.parametrize("answer", [ok(b"abc"), chunked(b"a", b"bc")])
def test_bodies_at_hand(answer: bytes) -> None:
    """A body that is all in one piece is told whole; one that is not, in pieces."""
    host = run(PROTOCOL, get("/a") * 3, answer * 3, [(0, 999), (1, 3 * len(answer) - 2)])
    assert (host.at_once, [body.content for body in host.bodies]) == (2, [b"abc"] * 3)


def test_moments() -> None:
    """An exchange began with the first bytes of its messages; it was known when all before had arrived."""
    asks = Side([get("/a") + get("/b")], packets=[(0, 5)])
    first = len(ok(b"abc"))
    host = run(PROTOCOL, asks, Side([ok(b"abc") + ok(b"def")], packets=[(0, 8), (first - 1, 9), (first, 11)]))
    assert [[moment and moment.packet for moment in e.began] for e in host.exchanges] == [[5, 8], [5, 11]]
    assert [e.known for e in host.exchanges] == [9, 11]
    assert host.exchanges[0].began[0] == Moment(5, 5_000_000_000, 5)


def test_forms_have_their_boundary() -> None:
    """Of a request that is a form the boundary is told, of nothing else."""
    form = ("Content-Type", 'multipart/form-data; charset=x; boundary="a b"')
    post = head("POST /f HTTP/1.1", ("Content-Length", 1), form) + b"-"
    bodies = run(PROTOCOL, post, ok(b"-", form)).bodies
    assert [body.entity.boundary for body in bodies] == [b"a b", b""]


@pytest.mark.parametrize(
    ("method", "target", "host", "expected"),
    [
        ("GET", "/p?q", "x:80", ("http://x:80/p?q", "x:80")),
        ("GET", "/p", None, (None, None)),
        ("GET", "https://u:p@y:1/p", None, ("https://u:p@y:1/p", "y:1")),
        ("GET", "https://y/p", "x", ("https://y/p", "x")),
        ("OPTIONS", "*", "x", ("http://x", "x")),
        ("CONNECT", "y:443", None, ("y:443", "y:443")),
    ],
)
def test_url(method: str, target: str, host: str | None, expected: tuple[str | None, str | None]) -> None:
    """The URL is absolute, from the target or the Host field; the host is what the field says, if it is there."""
    assert url_and_host(method, target, host) == expected


@pytest.mark.parametrize(
    ("disposition", "target", "expected"),
    [
        ("attachment; filename=a.txt", "/b", "a.txt"),
        ('attachment; filename="a\\"; b.txt"', "/b", 'a"; b.txt'),
        ("attachment; filename=x; filename*=UTF-8''%e2%82%ac.txt", "/b", "€.txt"),
        ("attachment; filename*=iso-8859-1'en'%A3.txt", "/b", "£.txt"),
        ("attachment; FileName = ../../etc/passwd ", "/b", "../../etc/passwd"),
        ("inline", "/a/b%20c.html?d/e#f", "b c.html"),
        (None, "/a/", ""),
        (None, "http://x/a.gif", "a.gif"),
        (None, "http://x", ""),
        (None, "/%ff%zz", "ÿ%zz"),
        ('attachment; filename="unended', "/b", "unended"),
    ],
)
def test_name(disposition: str | None, target: str, expected: str) -> None:
    """What a body is called: by its Content-Disposition, else by its URL, as unsafe as the peers say it."""
    assert name_of(disposition, target) == expected


@given(st.text(st.characters(max_codepoint=255)))
def test_any_text_has_some_name(text: str) -> None:
    """No field and no target makes a name raise."""
    name_of(text, text)
    name_of(f"; filename*={text}", text)
    assert isinstance(unescape(text), str)


HTTP = [
    b"GET / HTTP/1.1\r\n", b"\r\n\nget /a b http/1.0 \n", b"BREW x HTTP/1.7\r\n", b"GET /old\r\n", b"HTTP/1.0 200\r\n",
    b"http/1.1 404 Not Found\r\n", b"ICY 200 OK\r\n", b"PRI * HTTP/2.0\r\n", b"CONNECT x:1 HTTP/1.1\r\n",
]  # fmt: skip
NOT_HTTP = [
    b"SSH-2.0-x\r\n", b"220 x ESMTP\r\n", b"EHLO x\r\n", b"\x16\x03\x01\x02", b"OPTIONS rtsp://x RTSP/1.0\r\n",
    b"/gopher\r\n", b"HTTP/2.0 200 OK\r\n", b"GET\r\n", b"GET  HTTP/1.1\r\n", b"SIP/2.0 200 OK\r\n",
    b"HTTP/1.1 2000 OK\r\n", b"+OK x\r\n",
]  # fmt: skip


@pytest.mark.parametrize("first", HTTP)
def test_recognized(first: bytes) -> None:
    """A first line of HTTP is recognised once it is there, and may become one as long as it is not."""
    assert PROTOCOL.recognize(first) is True
    assert PROTOCOL.recognize(memoryview(first + b"more\r\n")) is True
    for size in range(len(first)):
        assert PROTOCOL.recognize(first[:size]) is None


@pytest.mark.parametrize("first", NOT_HTTP)
def test_not_recognized(first: bytes) -> None:
    """Other protocols are not HTTP, at the end of their first line at the latest."""
    assert PROTOCOL.recognize(first) is False


@given(st.binary(max_size=20))
def test_recognition_ends(first: bytes) -> None:
    """For 8 KiB there is an answer. A long line that begins as a request is one."""
    assert PROTOCOL.recognize(first * RECOGNIZABLE if first else b"\n" * RECOGNIZABLE) is not None
    assert PROTOCOL.recognize(b"GET /" + b"x" * RECOGNIZABLE) is True


def test_claims() -> None:
    """A connection is claimed with its first message, and refused at its end if there was none."""
    analyzer = PROTOCOL.make(FakeHost([Side([]), Side([])]), Limits())
    analyzer.begin(0, midstream=True)
    analyzer.feed(0, b"junk")
    assert analyzer.claims() is None
    analyzer.close(0, whole=True)
    analyzer.close(1, whole=True)
    assert analyzer.claims() is False
    analyzer = PROTOCOL.make(FakeHost([Side([]), Side([])]), Limits())
    analyzer.begin(1, midstream=True)
    assert analyzer.claims() is None


@pytest.mark.parametrize("limits", [Limits(head_bytes=100), Limits(head_fields=3)], ids=["bytes", "fields"])
@pytest.mark.parametrize("far", [False, True])
def test_limits_of_a_head(limits: Limits, far: bool) -> None:
    """Beyond a limit fields are not looked at: the head goes to its file as ever, and is counted.

    Where the body ends is read from any field of what is kept; where it may be said beyond, the body is marked."""
    fill = [(f"X-{i}", "y" * 30) for i in range(5)]
    fields = [*fill, ("Content-Length", 3)] if far else [("Content-Length", 3), *fill]
    answer = head("HTTP/1.1 200 OK", *fields)
    host = run(PROTOCOL, get(), answer + b"abcdef")
    limited = run(PROTOCOL, get(), answer + b"abcdef", limits=limits)
    assert content(host).content == b"abc"
    unknown = limits.head_bytes == 100
    assert content(limited).content == (b"abcdef" if far and unknown else b"abc")
    assert content(limited).flags == (Completeness.LIMITED if unknown else Completeness(0))
    assert limited.texts[1, "HTTP"] == answer
    assert limited.counts[1]["limit.head"] == 1
