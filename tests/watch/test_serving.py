"""Metrics over HTTP: what is answered, and that nobody who connects can hold up the run."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.transport import Waiter
from pipeline.watch import serving
from pipeline.watch.address import Address
from pipeline.watch.serving import Server, answer, check
from tests.watch.stages import busy

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_port_in_use() -> None:
    """A port that another sensor has is told before anything is written."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1:") as raised:
            check(Address("127.0.0.1", taken.getsockname()[1]))
        assert "another port" in str(raised.value.hint)
    check(Address("127.0.0.1", 0))


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics HTTP/1.1", b"200 OK"),
        (b"GET /metrics?x=1 HTTP/1.0", b"200 OK"),
        (b"GET / HTTP/1.1", b"404 Not Found"),
        (b"GET /metrics/../etc/passwd HTTP/1.1", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1", b"405 Method Not Allowed"),
        (b"GET /metrics", b"400 Bad Request"),
        (b"GET /metrics HTTP/2", b"400 Bad Request"),
        (b"\x16\x03\x01", b"400 Bad Request"),
    ],
)
def test_answers(request_line: bytes, status: bytes) -> None:
    """Metrics are at /metrics; whatever else is asked for has its status."""
    assert answer(request_line + b"\r\n\r\n", busy).startswith(b"HTTP/1.1 " + status + b"\r\n")


def test_a_head_has_no_body() -> None:
    """HEAD is answered as GET, without the body (RFC 9110, section 9.3.2)."""
    head, _, body = answer(GET.replace(b"GET", b"HEAD"), busy).partition(b"\r\n\r\n")
    assert b"Content-Length: " in head
    assert not body


@given(st.binary(max_size=300))
def test_anything_is_answered(request_head: bytes) -> None:
    """No request is too odd for an answer."""
    assert answer(request_head, busy).startswith(b"HTTP/1.1 ")


class Running:
    """A server, and turns of the loop that it lives in."""

    def __init__(self) -> None:
        self.waiter = Waiter()
        self.server = Server(Address("127.0.0.1", 0), busy, self.waiter)

    def connect(self) -> socket.socket:
        """A guest."""
        return socket.create_connection(self.server.address)

    def turn(self, turns: int = 5) -> None:
        """The loop goes on."""
        for _ in range(turns):
            self.waiter.wait(20)
            self.server.tick()

    def reads(self, guest: socket.socket) -> bytes:
        """What a guest gets until the server hangs up."""
        guest.settimeout(0.01)
        got, end = b"", time.monotonic() + 10
        while time.monotonic() < end:
            self.turn(1)
            try:
                part = guest.recv(1 << 20)
            except TimeoutError:
                continue
            except ConnectionResetError:
                part = b""
            if not part:
                return got
            got += part
        pytest.fail("the server did not hang up")


@pytest.fixture
def running() -> Iterator[Running]:
    found = Running()
    yield found
    found.server.close()


def test_a_scrape(running: Running) -> None:
    """A scrape gets all of the metrics, byte for byte as long as is said, though its request comes in pieces."""
    with running.connect() as guest:
        for piece in (GET[:5], GET[5:-2], GET[-2:]):
            guest.sendall(piece)
            running.turn(2)
        head, _, body = running.reads(guest).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b'flowshard_dropped_packets_total{where="kernel"} 1.0' in body


def test_the_library_of_python_can_read_it(running: Running) -> None:
    """An ordinary client is content."""
    import threading

    found: list[bytes] = []
    url = f"http://{running.server.address}/metrics"

    def ask() -> None:
        with urllib.request.urlopen(url, timeout=10) as reply:
            found.append(reply.read())

    client = threading.Thread(target=ask)
    client.start()
    while client.is_alive():
        running.turn(1)
    client.join()
    assert found[0].startswith(b"# HELP flowshard_")


def test_who_is_slow_holds_up_nobody(running: Running) -> None:
    """Guests who say nothing keep their places only for a while, and others are answered meanwhile."""
    silent = [running.connect() for _ in range(serving.MOST_GUESTS - 1)]
    running.turn()
    with running.connect() as guest:
        guest.sendall(GET)
        assert running.reads(guest).startswith(b"HTTP/1.1 200")
    for guest in silent:
        guest.close()


def test_more_guests_than_there_are_places(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when all places are taken is sent away; when the others' time is over there is room again."""
    silent = [running.connect() for _ in range(serving.MOST_GUESTS)]
    running.turn(serving.MOST_GUESTS + 2)
    with running.connect() as late:
        assert running.reads(late) == b""
    now = time.monotonic() + serving.PATIENCE + 1
    with monkeypatch.context() as later:
        later.setattr(serving.time, "monotonic", lambda: now)
        running.turn(1)
    assert [running.reads(guest) for guest in silent] == [b""] * serving.MOST_GUESTS
    with running.connect() as guest:
        guest.sendall(GET)
        assert running.reads(guest).startswith(b"HTTP/1.1 200")
    for guest in silent:
        guest.close()


def test_who_says_too_much(running: Running) -> None:
    """A request without end is answered and hung up on."""
    with running.connect() as guest:
        guest.sendall(b"x" * 20_000)
        assert running.reads(guest)[:12] in (b"HTTP/1.1 400", b"")


def test_who_goes_away(running: Running) -> None:
    """A guest who hangs up in the middle leaves nothing behind."""
    for said in (b"", GET[:7], GET):
        with running.connect() as guest:
            guest.sendall(said)
        running.turn()
    running.turn()
    assert not running.server._guests
