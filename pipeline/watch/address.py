"""Where metrics are served: what --metrics says.

Knows: ports, addresses as text. Does not know: sockets that listen (serving.py).
Invariant: an Address that ``address_of`` gives is one of this family or that; no name is looked up.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final, NamedTuple

from pipeline.errors import UsageError

LOOPBACK: Final = "127.0.0.1"

LEAST_PORT: Final = 1024
"""Ports below are root's, and the run is nobody special when it listens. 0: any free one."""

_HINT: Final = "give --metrics a port (9100 means 127.0.0.1:9100), HOST:PORT or [IPV6]:PORT"


class Address(NamedTuple):
    """Where to listen. ``local``: only this machine can reach it."""

    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "::1" or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(text: str) -> Address:
    """What --metrics says: a port, HOST:PORT or [IPV6]:PORT. UsageError; no name is looked up."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host = LOOPBACK
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"--metrics: '{text}': an IPv6 address stands in brackets", _HINT)
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) < 1 << 16):
        raise UsageError(f"--metrics: '{text}' has no port", _HINT)
    if 0 < int(port) < LEAST_PORT:
        raise UsageError(f"--metrics: port {port} is root's", f"give one from {LEAST_PORT} to 65535")
    if host == "localhost":
        host = LOOPBACK
    if family_of(host) is None:
        raise UsageError(f"--metrics: '{host}' is not an address", _HINT)
    return Address(host, int(port))


def family_of(host: str) -> socket.AddressFamily | None:
    """The kind of an address; None: it is none."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return family
    return None
