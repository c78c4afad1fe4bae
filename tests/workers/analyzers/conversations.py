"""HTTP conversations for the tests: valid ones at random, and the messages they are made of."""

from __future__ import annotations

import random
from collections.abc import Sequence

CHUNKED = ("Transfer-Encoding", "chunked")


def head(first: str, *fields: tuple[str, object]) -> bytes:
    """A head: ``first`` is its first line."""
    return "".join([f"{first}\r\n", *(f"{name}: {value}\r\n" for name, value in fields), "\r\n"]).encode("latin-1")


def get(target: str = "/a", *fields: tuple[str, object]) -> bytes:
    return head(f"GET {target} HTTP/1.1", ("Host", "x"), *fields)


def ok(body: bytes = b"", *fields: tuple[str, object]) -> bytes:
    """An answer with a length."""
    return head("HTTP/1.1 200 OK", ("Content-Length", len(body)), *fields) + body


def chunks(*data: bytes, trailers: Sequence[tuple[str, object]] = ()) -> bytes:
    """A body in chunks."""
    sized = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in data]
    return b"".join(sized) + b"0\r\n" + head("", *trailers)[2:]


def chunked(*data: bytes, trailers: Sequence[tuple[str, object]] = ()) -> bytes:
    """An answer in chunks."""
    return head("HTTP/1.1 200 OK", CHUNKED) + chunks(*data, trailers=trailers)


def random_body(rng: random.Random) -> bytes:
    """Some bytes; now and then they look like messages."""
    lure = rng.choice([b"HTTP/1.1 200", b"GET / HTTP/1.1\r\n", b"\r\n\r\n", b"0\r\n"])
    return b"".join(
        rng.choice([bytes([rng.randrange(256)]), b"text ", b"\n", lure]) for _ in range(rng.randrange(1, 40))
    )


def _request(rng: random.Random, number: int) -> tuple[str, bytes]:
    method = rng.choice(["GET", "GET", "HEAD", "POST", "PUT", "BREW"])
    body = random_body(rng) if method in ("POST", "PUT") else b""
    first = f"{method} /{number} HTTP/1.1"
    fields = [("Host", "x"), ("User-Agent", "y" * rng.randrange(30))]
    if not body:
        return method, head(first, *fields)
    if rng.random() < 0.5:
        return method, head(first, *fields, ("Content-Length", len(body))) + body
    return method, head(first, *fields, CHUNKED) + chunks(body[:3], body[3:] or b"-")


def _answer(rng: random.Random, method: str, *, last: bool) -> bytes:
    interim = head("HTTP/1.1 100 Continue") if rng.random() < 0.1 else b""
    if method == "HEAD":
        return interim + head("HTTP/1.1 200 OK", ("Content-Length", rng.randrange(1000)))
    body = random_body(rng)
    choices = [ok(body), chunked(body), chunked(body, body, trailers=[("T", "v")]), ok()]
    choices += [head(f"HTTP/1.1 {status} -", ("Content-Length", 5)) for status in (204, 304)]
    if last:
        choices += [head("HTTP/1.0 200 OK") + body]
    return interim + rng.choice(choices)


def _tunnel(rng: random.Random) -> tuple[bytes, bytes]:
    """A request that may end HTTP, the answer, and what follows."""
    upgrade, body = ("Upgrade", rng.choice(["websocket", "h2c", "x"])), random_body(rng)
    length = ("Content-Length", len(body))
    ask = rng.choice(
        [get("/u", upgrade), head("CONNECT x:1 HTTP/1.1"), head("POST /u HTTP/1.1", upgrade, length) + body]
    )
    firsts = ["HTTP/1.1 200 OK", "HTTP/1.1 403 No"] if ask[:1] == b"C" else ["HTTP/1.1 101 -", "HTTP/1.1 200 OK"]
    after = rng.choice([get("/v"), random_body(rng), b""])
    return ask + after, head(rng.choice(firsts), ("Content-Length", 2)) + rng.choice(
        [b"no" + ok(b"v"), random_body(rng)]
    )


def conversation(rng: random.Random, most: int = 6) -> tuple[bytes, bytes]:
    """A connection of up to ``most`` exchanges, and now and then a tunnel: what the client sends, what the server."""
    number = rng.randint(1, most)
    requests = [_request(rng, i) for i in range(number)]
    answers = [_answer(rng, method, last=i == number - 1) for i, (method, _) in enumerate(requests)]
    ask, answer = _tunnel(rng) if rng.random() < 0.2 else (b"", b"")
    return b"".join(data for _, data in requests) + ask, b"".join(answers) + answer


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Some bytes of it changed, taken out, or doubled."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out) + 1)
        change = rng.randrange(4)
        if change == 0 and at < len(out):
            out[at] = rng.randrange(256)
        elif change == 1:
            del out[at : at + rng.randint(1, 20)]
        elif change == 2:
            out[at:at] = out[at : at + rng.randint(1, 60)]
        else:
            out[at:at] = rng.choice(
                [b"\n", b"\r\n", b" ", b"\0", b"HTTP/1.1 200 OK\r\n", b"GET /x HTTP/1.1\r\nA: b\r\n"]
            )
    return bytes(out)
