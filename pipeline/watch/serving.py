"""Metrics over HTTP: ``--metrics ADDR``.

Knows: as much HTTP as a scrape needs, sockets that do not wait.
Does not know: metrics (metrics.py), who polls.
Invariant: no thread, and nothing here waits: whoever connects and sends nothing, or too much, or does not read,
costs one of MOST_GUESTS places for PATIENCE seconds and no more.

It lives in the coordinator's loop, which has little else to do: a thread would be one more thing that a fork must
not find, and the server that prometheus-client brings has one for each guest, without a bound.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pipeline.errors import UsageError
from pipeline.transport import Waiter
from pipeline.watch.address import Address, family_of
from pipeline.watch.status import Status

MOST_GUESTS: Final = 8
PATIENCE: Final = 5.0
"""Seconds from a guest's connection to the end of its request."""

_REQUEST: Final = 8192
"""Bytes of a request's head. Prometheus sends some 200."""

_SENDING: Final = 1 << 20
"""The answer goes into the socket's buffer at once: it is never that large."""


def check(address: Address) -> None:
    """UsageError: nobody could listen there."""
    _listening(address).close()


class Server:
    """Who answers scrapes. ``status`` gives the newest record."""

    def __init__(self, address: Address, status: Callable[[], Status], waiter: Waiter) -> None:
        """Listens from now on, whenever ``waiter`` is waited for. UsageError: nobody can listen there."""
        self._waiter = waiter
        self._status = status
        self._guests: dict[int, _Guest] = {}
        self._socket = _listening(address)
        host, port = self._socket.getsockname()[:2]
        self.address = Address(host, port)
        waiter.watch(self._socket.fileno(), self._welcome)

    def tick(self) -> None:
        """Show guests the door whose time is over."""
        now = time.monotonic()
        for guest in [guest for guest in self._guests.values() if guest.until < now]:
            self._leave(guest)

    def close(self) -> None:
        """Listen no more."""
        for guest in list(self._guests.values()):
            self._leave(guest)
        self._waiter.forget(self._socket.fileno())
        self._socket.close()

    def _welcome(self) -> None:
        try:
            caller, _ = self._socket.accept()
        except OSError:  # it has gone again
            return
        self.tick()
        if len(self._guests) >= MOST_GUESTS:
            caller.close()
            return
        caller.setblocking(False)
        guest = _Guest(caller, time.monotonic() + PATIENCE)
        self._guests[caller.fileno()] = guest
        self._waiter.watch(caller.fileno(), lambda: self._hear(guest))

    def _hear(self, guest: _Guest) -> None:
        try:
            part = guest.socket.recv(_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        guest.request += part
        if b"\r\n\r\n" in guest.request or len(guest.request) > _REQUEST:
            with suppress(OSError):
                guest.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENDING)
                guest.socket.send(answer(bytes(guest.request), self._status))
                guest.socket.shutdown(socket.SHUT_WR)
        elif part:
            return
        self._leave(guest)

    def _leave(self, guest: _Guest) -> None:
        number = guest.socket.fileno()
        self._waiter.forget(number)
        del self._guests[number]
        guest.socket.close()


class _Guest:
    """Somebody who has connected."""

    __slots__ = ("request", "socket", "until")

    def __init__(self, connected: socket.socket, until: float) -> None:
        self.socket = connected
        self.request = bytearray()
        self.until = until


def answer(request: bytes, status: Callable[[], Status]) -> bytes:
    """The whole HTTP/1.1 answer to a request's head (RFC 9112); anything may stand in it."""
    method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
    path, _, protocol = rest.partition(b" ")
    if not protocol.startswith(b"HTTP/1."):
        return _answer("400 Bad Request", b"this is not HTTP/1\n")
    if method not in (b"GET", b"HEAD"):
        return _answer("405 Method Not Allowed", b"GET is allowed\n", "Allow: GET, HEAD\r\n")
    if path.partition(b"?")[0] != b"/metrics":
        return _answer("404 Not Found", b"the metrics are at /metrics\n")
    from pipeline.watch.metrics import CONTENT_TYPE, text  # once somebody asks: the import takes 50 ms

    found = _answer("200 OK", text(status(), time.monotonic()), kind=CONTENT_TYPE)
    return found if method == b"GET" else found.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _answer(status: str, body: bytes, more: str = "", kind: str = "text/plain; charset=utf-8") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body


def _listening(address: Address) -> socket.socket:
    family = family_of(address.host)
    assert family is not None  # address_of has seen to it
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((address.host, address.port))
        found.listen(MOST_GUESTS)
        found.setblocking(False)
    except OSError as error:
        found.close()
        hint = "is another sensor running? Give --metrics another port, or an address of this machine"
        raise UsageError(f"--metrics: cannot listen on {address}: {error.strerror}", hint) from None
    return found
