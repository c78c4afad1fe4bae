"""Time linear in the bytes and constant memory, for what a peer could make expensive. Ratios within one run."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import repeat

import pytest

from tests.workers.analyzers.conversations import CHUNKED, get, head
from tests.workers.analyzers.host import FakeHost
from workers.analyzers.protocols.http import PROTOCOL
from workers.analyzers.seam import Entity, Exchange, Moment, Piece
from workers.limits import Limits

MIB = 1 << 20
PIECE = 1 << 16
NOW = Moment(1, 1, 1)


class Deaf(FakeHost):
    """Takes everything, keeps nothing."""

    def moment(self, side: int, offset: int) -> Moment:
        return NOW

    def text(self, side: int, kind: str, piece: Piece) -> None: ...

    def begin(self, entity: Entity) -> Deaf:  # type: ignore[override] # it is its own content
        return self

    def exchange(self, exchange: Exchange) -> None: ...

    def data(self, piece: Piece) -> None: ...

    def hole(self, size: int) -> None: ...

    def end(self, *_: object) -> None: ...


def feed(begin: bytes, pieces: Iterator[bytes], *, side: int = 1, midstream: bool = False) -> None:
    """A connection of which ``side`` sends these bytes, after a request if it is the second."""
    analyzer = PROTOCOL.make(Deaf(), Limits())
    if side:
        analyzer.begin(0, midstream=False)
        analyzer.feed(0, get())
        analyzer.close(0, whole=True)
    analyzer.begin(side, midstream=midstream)
    for piece in [begin, *pieces] if begin else pieces:
        assert analyzer.feed(side, piece) == len(piece)
    analyzer.close(side, whole=True)
    if not side:
        analyzer.close(1, whole=True)


OK = b"HTTP/1.1 200 OK\r\n"
IN_CHUNKS = head("HTTP/1.1 200 OK", CHUNKED)

STREAMS: dict[str, tuple[bytes, bytes, bool]] = {
    "one head without an end": (OK, b"X: y\r\n", False),
    "one field without an end": (OK + b"X: ", b"y" * 64, False),
    "a head of line ends": (OK + b"X: ", b"\r", False),
    "folds": (OK, b" \r\n", False),
    "a first line without an end": (b"HTTP/1.1 200 ", b"y" * 64, False),
    "blank lines": (b"", b"\r\n", False),
    "requests that never end their line": (b"GET /", b" HTTP/1.1", False),
    "search: anchors": (b"", b"HTTP/1.", True),
    "search: status lines": (b"", b"HTTP/1.1 200 OK\r\n!\r\n", True),
    "search: requests": (b"", b"GET / HTTP/1.1", True),
    "search: blanks and targets": (b"", b" /", True),
    "search: nothing": (b"", b"y" * 64, True),
    "small chunks": (IN_CHUNKS, b"1\r\ny\r\n", False),
    "extensions": (IN_CHUNKS, b"1;" + b"y" * 60 + b"\r\ny\r\n", False),
    "trailers": (IN_CHUNKS + b"0\r\n", b"T: v\r\n", False),
    "a trailer without an end": (IN_CHUNKS + b"0\r\nT:", b"y" * 64, False),
    "small heads": (b"", b"HTTP/1.1 204 -\r\n\r\n", False),
    "small heads that are odd": (b"", b"HTTP/1.1 204 -\r\nA:b\n\n", False),
    "a body": (head("HTTP/1.1 200 OK"), b"y" * 64, False),
}


def pieces_of(unit: bytes, size: int) -> Iterator[bytes]:
    """``size`` bytes of repeated ``unit``, in pieces."""
    piece = unit * (PIECE // len(unit))
    return repeat(piece, size // len(piece))


def seconds(run: Callable[[], None]) -> float:
    """The best of three."""
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        run()
        best = min(best, time.process_time() - begin)
    return best


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", STREAMS)
def test_linear_time(name: str) -> None:
    """Twice as many bytes take no more than twice the time, with a margin."""
    begin, unit, midstream = STREAMS[name]

    def run(size: int) -> Callable[[], None]:
        return lambda: feed(begin, pieces_of(unit, size), midstream=midstream)

    small = MIB // 4
    while seconds(run(small)) < 0.02 and small < 256 * MIB:
        small *= 2
    assert seconds(run(4 * small)) <= 4 * 1.6 * seconds(run(small))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name",
    ["one head without an end", "a first line without an end", "trailers", "search: anchors", "search: requests"],
)
def test_byte_by_byte(name: str) -> None:
    """Byte by byte it is linear, too."""
    begin, unit, midstream = STREAMS[name]

    def run(size: int) -> Callable[[], None]:
        stream = unit * (size // len(unit))
        return lambda: feed(begin, (stream[i : i + 1] for i in range(len(stream))), midstream=midstream)

    assert seconds(run(MIB // 4)) <= 4 * 1.6 * seconds(run(MIB // 16))


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
def test_constant_memory(name: str) -> None:
    """However long a stream is, what is kept of it does not grow: no stream needs as much as half a MiB."""
    begin, unit, midstream = STREAMS[name]
    size = 16 * MIB if len(unit) == 64 else MIB
    tracemalloc.start()
    try:
        feed(begin, pieces_of(unit, size), midstream=midstream)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MIB // 2
