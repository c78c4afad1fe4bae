"""What the connections of a benchmark capture say: random bytes, or HTTP.

Knows: HTTP/1.1 messages, the sizes of things.
Does not know: segments, packets, connections at the same time.
Invariant: the same generator state gives the same messages (with the same numpy and zlib); Content-Length
is right.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import numpy as np

from tests.bench.frames import CLIENT, SERVER
from tests.bench.segments import Message

MIB = 1 << 20

_REQUEST = (
    "GET /{path} HTTP/1.1\r\n"
    "Host: www{host}.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
    "Referer: http://www{host}.example.com/\r\n"
    "Cookie: session={cookie:032x}; seen=1\r\n"
    "Connection: {connection}\r\n\r\n"
)
_RESPONSE = (
    "HTTP/1.1 200 OK\r\n"
    "Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
    "Server: nginx/1.24.0\r\n"
    "Content-Type: text/html; charset=utf-8\r\n"
    "{coding}"
    "Content-Length: {length}\r\n"
    'ETag: "{tag:016x}"\r\n'
    "Cache-Control: max-age=600\r\n"
    "Connection: {connection}\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes that a connection carries, before coding: log-normal, cut at ``most``."""

    mean: int
    spread: float
    most: int

    def draw(self, rng: np.random.Generator) -> int:
        """One size, at least 1."""
        size = rng.lognormal(np.log(self.mean) - self.spread**2 / 2, self.spread)
        return max(1, min(int(size), self.most))


class Content:
    """Messages, drawn from a stock of random bytes and of text."""

    def __init__(
        self, sizes: Sizes, keep_alive: float, http: bool, rng: np.random.Generator, turn: int | None = None
    ) -> None:
        """``keep_alive``: the share of HTTP connections that carry two to five requests. ``turn``: where it is not
        HTTP, bytes that one side says before it is the other's turn; None: the server says all."""
        self._turn = turn
        self._sizes = sizes
        self._keep_alive = keep_alive
        self._http = http
        self._rng = rng
        stock = _text(2 * MIB + sizes.most, rng) if http else rng.bytes(16 * MIB + sizes.most)
        self._stock = memoryview(stock)

    def messages(self) -> list[Message]:
        """What the next connection says."""
        size = self._sizes.draw(self._rng)
        if not self._http:
            said_by_both = self._slice(size)
            turn = self._turn or size
            return [
                Message((SERVER, CLIENT)[number % 2], said_by_both[at : at + turn])
                for number, at in enumerate(range(0, size, turn))
            ]
        requests = int(self._rng.integers(2, 6)) if self._rng.random() < self._keep_alive else 1
        said: list[Message] = []
        for left in range(requests - 1, -1, -1):
            said += self._exchange(-(-size // requests), "keep-alive" if left else "close")
        return said

    def _slice(self, size: int) -> memoryview:
        begin = 2 * int(self._rng.integers(0, (len(self._stock) - size) // 2 + 1))
        return self._stock[begin : begin + size]

    def _exchange(self, size: int, connection: str) -> list[Message]:
        """A request and its response; a quarter of the bodies are gzip."""
        host, tag, cookie = (int(value) for value in self._rng.integers(1, 1 << 62, 3))
        path = f"section-{host % 97}/page-{tag % 100_003}.html"
        request = _REQUEST.format(path=path, host=host % 50, cookie=cookie, connection=connection)
        body: bytes | memoryview = self._slice(size)
        coding = ""
        if self._rng.random() < 0.25:
            coding = "Content-Encoding: gzip\r\n"
            body = gzip.compress(body, 6, mtime=0)
        head = _RESPONSE.format(coding=coding, length=len(body), tag=tag, connection=connection)
        return [Message(CLIENT, request.encode()), Message(SERVER, b"".join((head.encode(), body)))]


def _text(size: int, rng: np.random.Generator) -> bytes:
    """Words in paragraphs, frequent ones often: it packs to about a third."""
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgk", np.uint8)
    lengths = rng.integers(2, 11, 4_000)
    words = [bytes(rng.choice(letters, length)) for length in lengths]
    words[::40] = [b"</p>\n<p>"] * len(words[::40])
    picks = np.minimum((rng.pareto(0.6, size // 4) * 8).astype(np.int64), len(words) - 1)
    return b" ".join([words[pick] for pick in rng.permutation(len(words))[picks].tolist()])[:size]
