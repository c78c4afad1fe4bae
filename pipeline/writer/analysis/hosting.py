"""Who listens to the analyzer of a connection, and what he may ask about it.

Knows: the words. Does not know: files, the console, how an analyzer is fed.
Invariant: a connection has one host at a time that was told anything.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import TypeAlias

from pipeline.writer.stream import Stream
from workers.analyzers.seam import Host, Moment, Protocol


class Connected(typing.Protocol):
    """A connection, to its host."""

    @property
    def connection(self) -> int:
        """Its number."""

    @property
    def closing(self) -> bool:
        """What is told now is told because the connection is over."""

    def stream(self, side: int) -> Stream | None:
        """The stream of a direction; None: it has no payload. Its name and its ends are final."""

    def moment(self, side: int, offset: int) -> Moment:
        """When a byte was there, as seam.Host promises it (moments.py says how exactly)."""


class ConnectionHost(Host, typing.Protocol):
    """Whom the analyzer of one connection tells.

    One that was told nothing has made nothing: several may be made for one connection, each for another protocol,
    and those whose protocol it was not are asked to ``discard`` and forgotten.
    """

    def turn(self, part: str) -> None:
        """This part of the output (--rotate) is over: what was told so far is recorded in it, and stays."""

    def discard(self) -> None:
        """All that was told of the connection is void: files removed, rows void. It is told anew, to another host."""

    def close(self) -> None:
        """The connection is over: everything is on disk and recorded."""

    def facts(self, side: int) -> Mapping[str, int]:
        """What was counted of a direction."""


HostFor: TypeAlias = Callable[[Protocol, Connected], ConnectionHost]
