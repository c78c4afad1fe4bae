"""What an analyzer and its host say to one another.

An analyzer reads both directions of one connection and tells what it finds: files that lie beside the stream's
own, contents (a body, a mail), exchanges (a request and its answer). The host gives it bytes and does the rest:
decoding, files, objects, hashes, records. So an analyzer is framing and nothing else, and pure.

Knows: the words of that conversation. Does not know: any protocol, files, how bytes come to the host.
Invariants, which every analyzer is tested for:

- What it tells depends on the bytes and gaps of the two directions only, not on how they were cut into pieces,
  nor on which direction was fed first. Where it must know the other direction to go on, it does not take more
  (``feed`` takes less than it was given, ``wants`` is False) until it has been fed that one, or told of its end.
- Every byte fed and every byte missing is counted under exactly one of the names in its ``Protocol.accounts``.
- Nothing that a peer sent raises. Memory is bounded by limits, time is linear in the bytes.

Sides: 0 is the direction of the connection's first packet, which need not be the client's. Offsets count from the
first byte of the stream's file.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from workers.contract import Completeness
from workers.limits import Limits

Piece: TypeAlias = bytes | memoryview
"""Contiguous bytes; valid only during the call that they are an argument of."""

Fact: TypeAlias = str | int | bool | list[str] | None
"""A value in a record: what JSON can hold. Text from a peer is decoded as latin-1, one character a byte."""


class Moment(NamedTuple):
    """When a byte was there."""

    packet: int  # number of the packet that carried it
    time: int  # ns since 1970-01-01; of that packet
    known: int  # number of the packet by which it and all bytes of its stream before it had arrived


class Content(typing.Protocol):
    """Takes the bytes of one entity, as sent but for the framing, in order."""

    def data(self, piece: Piece) -> None:
        """The next bytes."""

    def hole(self, size: int) -> None:
        """The next ``size`` bytes are missing."""

    def end(self, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> None:
        """It is over. ``offset``: in the stream, behind its last byte. ``flags``: OPEN when its end did not come,
        DAMAGED when its framing broke, LIMITED when a limit cut it; GAPS is added by whoever was told of holes.
        ``facts`` go into its records beside those of the exchange."""


class Entity(NamedTuple):
    """Something that has content: the body of a message, a mail."""

    side: int
    kind: str  # its file is NAME-KIND: "HTTPBODY"
    offset: int  # of its first byte in the stream
    length: int | None = None  # that was declared, as sent
    codings: tuple[str, ...] = ()  # in the order in which they were applied, lower case: ("gzip", "br")
    media_type: str = ""  # as declared, with its parameters
    name: str = ""  # what the peer calls it, however unsafe; "" when it has none
    boundary: bytes = b""  # of multipart/form-data: the object is split into its parts


class Exchange(NamedTuple):
    """A request with its answer, or one of them alone; a mail. Told when nothing more will be known of it."""

    facts: Mapping[str, Fact]  # into the record of each of its contents: method, url, status ...
    asked: str = ""  # the request line as text, for people; "" when it was not seen
    answered: str = ""  # the status line
    contents: tuple[Content, ...] = ()  # all are ended; whoever asked comes first
    began: tuple[Moment | None, Moment | None] = (None, None)  # first byte of the request, of the answer
    known: int = 0  # number of the packet by which all of it, and all exchanges before it, had arrived
    side: int = 0  # who asked, if that is known


class Host(typing.Protocol):
    """What an analyzer can ask for, and whom it tells."""

    def moment(self, side: int, offset: int) -> Moment:
        """When the byte at ``offset`` of the stream was there: one of the piece that is being fed, or before it."""

    def text(self, side: int, kind: str, piece: Piece) -> None:
        """Bytes for the file NAME-KIND, behind those that it has: header blocks as they were sent."""

    def begin(self, entity: Entity) -> Content:
        """An entity begins. It is to be ended, whatever happens to the connection."""

    def whole(
        self, entity: Entity, piece: Piece, offset: int, flags: Completeness, facts: Mapping[str, Fact]
    ) -> Content:
        """An entity of which nothing is missing and all bytes are at hand, which most are: ``begin``, ``data`` and
        ``end`` in one, and cheaper."""

    def exchange(self, exchange: Exchange) -> None:
        """An exchange is complete, as far as it will ever be."""

    def count(self, side: int, name: str, amount: int = 1) -> None:
        """Add to a fact of the flow: ``requests``, ``head_bytes``, ``limit.head``. Lower case, [a-z0-9_.]."""


class Analyzer(typing.Protocol):
    """One connection."""

    def begin(self, side: int, *, midstream: bool) -> None:
        """A direction has bytes. ``midstream``: nobody saw where it starts, so the first message may begin anywhere.

        Called once a side, before it is fed; not at all for a side that has no bytes."""

    def claims(self) -> bool | None:
        """True: this is my protocol. False: it is not, do not ask again. None: too early to say. Never goes back."""

    def wants(self, side: int) -> bool:
        """Whether ``feed``, ``gap`` or ``close`` of this side would be taken now."""

    def feed(self, side: int, piece: Piece) -> int:
        """The next bytes of a side, at most 1 MiB. How many were taken; the rest comes again once ``wants`` is True."""

    def gap(self, side: int, size: int) -> None:
        """The next ``size`` bytes of a side are missing."""

    def close(self, side: int, *, whole: bool) -> None:
        """Nothing more of a side will come, all of it was taken. ``whole``: its end was seen (FIN), nothing is cut off.

        Called for both sides at the end, also for one that never had bytes."""


class Protocol(NamedTuple):
    """An analyzer as it is registered: the module ``workers.analyzers.protocols.NAME`` has one, called ``PROTOCOL``."""

    name: str  # for -e
    summary: str  # one line, for the help
    kinds: tuple[str, ...]  # of the files NAME-KIND that it makes with -a: ("HTTP", "HTTPBODY")
    accounts: tuple[str, ...]  # names of ``count`` under which each byte of a stream is counted exactly once
    recognize: Callable[[Piece], bool | None]
    """By the first bytes of a direction that begins with them: mine, not mine, too few to say (None, never for 8 KiB).

    Cheap, since it is asked of every stream."""
    make: Callable[[Host, Limits], Analyzer]


@dataclass(slots=True)
class Summary:
    """What a host knows of one side at the end: the facts that were counted, in the order of their first counting."""

    protocol: str = ""
    facts: dict[str, int] = field(default_factory=dict)
