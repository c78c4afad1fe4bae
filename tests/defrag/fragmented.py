"""Fragments, made of datagrams: as the table gets them, and as frames of a capture.

Knows: how a datagram is cut. Does not know: what becomes of it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from pipeline.defrag.fragments import Fragment
from tests import build as b

SRC4, DST4 = IPv4Address("10.0.0.1").packed, IPv4Address("10.0.0.2").packed
SRC6, DST6 = IPv6Address("2001:db8::1").packed, IPv6Address("2001:db8::2").packed


def fragment(
    offset: int,
    data: bytes,
    more: bool = True,
    *,
    version: int = 4,
    size: int | None = None,
    identification: int = 7,
    packet: int = 1,
    clock: int = 0,
    padding: int = 0,
) -> Fragment:
    """A fragment whose frame has ``data`` behind an IP header; ``size`` says how much of it there was."""
    addresses = SRC4 + DST4 if version == 4 else SRC6 + DST6
    header = b"\xee" * (20 if version == 4 else 48)
    frame = header + data + bytes(padding)
    return Fragment(
        row=packet - 1, packet=packet, time=clock, clock=clock, key=struct.pack(">BI", version, identification),
        addresses=addresses, protocol=6, offset=offset, size=len(data) if size is None else size, more=more,
        body=len(header), networks=0, macs=b"", frame=frame, link=101, length=len(frame), wire=len(frame),
        captured=len(frame),
    )  # fmt: skip


def cut(body: bytes, sizes: Sequence[int]) -> list[tuple[int, bytes, bool]]:
    """The body in pieces of these sizes, multiples of 8, and the rest: (offset, bytes, more)."""
    pieces, at = [], 0
    for size in sizes:
        if at + size >= len(body):
            break
        pieces.append((at, body[at : at + size], True))
        at += size
    return [*pieces, (at, body[at:], False)]


def fragments4(body: bytes, sizes: Sequence[int], identifier: int = 7, **options: Any) -> list[bytes]:
    """IPv4 packets: a datagram in pieces."""
    return [
        b.ipv4(piece, identifier=identifier, fragment_offset=offset, more_fragments=more, **options)
        for offset, piece, more in cut(body, sizes)
    ]


def fragments6(
    body: bytes, sizes: Sequence[int], identifier: int = 7, protocol: int = 6, **options: Any
) -> list[bytes]:
    """IPv6 packets: a datagram in pieces."""
    return [
        b.ipv6(
            b.ipv6_fragment(piece, next_header=protocol, offset=offset, more=more, identifier=identifier),
            next_header=44, **options,
        )
        for offset, piece, more in cut(body, sizes)
    ]  # fmt: skip


def in_fragments(packet: b.Packet, sizes: Sequence[int], identifier: int = 7) -> list[b.Packet]:
    """An Ethernet frame with IP, as frames of its fragments, all at its time; it has to be long enough."""
    frame = packet.frame
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    link, ip = frame[: at + 2], frame[at + 2 :]
    if ip[0] >> 4 == 4:
        addresses = (str(IPv4Address(ip[12:16])), str(IPv4Address(ip[16:20])))
        made = fragments4(ip[20:], sizes, identifier, src=addresses[0], dst=addresses[1], protocol=ip[9])
    else:
        addresses = (str(IPv6Address(ip[8:24])), str(IPv6Address(ip[24:40])))
        made = fragments6(ip[40:], sizes, identifier, ip[6], src=addresses[0], dst=addresses[1])
    return [b.Packet(packet.time_ns, link + each) for each in made]
