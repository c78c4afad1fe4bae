"""IP headers: where TCP is, and where another packet is inside.

Knows: IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200), AH (RFC 4302), jumbograms (RFC 2675).
Does not know: links, TCP, what tunnels look like behind IP.
Invariants: nothing beyond a packet's captured bytes is read; a datagram ends where IP says, never beyond the layer
around it, so padding and trailers are no payload.

Each kernel drops the packets that it cannot pass on, with a reason. When several things are wrong with a packet,
the first of this list is its reason: the fixed header is not captured; the header cannot be; its options are not
captured; its checksum, when asked; it is a fragment; its protocol.
"""

from typing import Final, NamedTuple

import numpy as np

from pipeline.decode.packets import (
    ETHER,
    IPV4,
    IPV6,
    Addresses,
    Headers,
    Layers,
    Packets,
    chosen,
    drop,
    gather,
    passing,
    u8,
    u16,
    u32,
    u64,
)  # fmt: skip
from pipeline.decode.reasons import Reason
from pipeline.decode.shims import MPLS
from workers.contract import I64, U8, U16

GRE: Final = 16  # kinds below EtherTypes, beside those of packets.py: only between this module and tunnels.py
UDP: Final = 17

_INSIDE: Final[U16] = np.zeros(256, np.uint16)
"""What can be inside of a datagram, by its protocol number; 0: no packet. 143 is RFC 8986's, 137 RFC 4023's."""
_INSIDE[[4, 41, 47, 17, 137, 143]] = IPV4, IPV6, GRE, UDP, MPLS[0], ETHER

_WHY: Final[U8] = np.full(256, Reason.OTHER_TRANSPORT_PROTOCOL, np.uint8)
"""Why a datagram of a protocol number holds no segment."""
_WHY[[6, 17]] = Reason.TCP, Reason.UDP

_WHY_4, _WHY_6 = _WHY.copy(), _WHY.copy()
_WHY_4[1] = Reason.ICMP
_WHY_6[[58, 44]] = Reason.ICMP, Reason.FRAGMENT

_HOP_BY_HOP: Final = 0
_FRAGMENT: Final = 44
_AUTHENTICATION: Final = 51
_EXTENSIONS_4: Final[U8] = np.zeros(256, np.uint8)
_EXTENSIONS_4[_AUTHENTICATION] = 1
_EXTENSIONS_6: Final[U8] = _EXTENSIONS_4.copy()
_EXTENSIONS_6[[_HOP_BY_HOP, 43, _FRAGMENT, 60, 135, 139, 140]] = 1
"""Headers that another follows. IANA's list, without ESP, behind which nothing can be read."""

_CHAIN: Final = 8
"""More extension headers are TOO_DEEP."""

_JUMBO: Final = 0xC2
_JUMBO_OPTIONS: Final = 8
"""Options in which the length of a jumbogram is looked for."""


class Datagrams(NamedTuple):
    """What a kernel of this module found."""

    segments: Packets  # ``at`` is the TCP header
    addresses: Addresses
    inside: Packets | None  # what may hold another packet, ``kind`` saying of which sort; the verdict so far is noted


def ipv4(slab: U8, packets: Packets, layers: Layers) -> Datagrams:
    """Datagrams that are no fragments. Total length 0 is segmentation offload: it ends with the layer around it."""
    packets = drop(packets, packets.at + 20 > packets.stop, Reason.IP_TRUNCATED, layers.verdict)
    header = gather(slab, packets.at, 20)
    first, total, protocol = u8(header, 0), u16(header, 2), u8(header, 9)
    size = (first & 15) * np.int64(4)
    body = packets.at + size
    why = _WHY_4[protocol]
    if (protocol == _AUTHENTICATION).any():
        body, protocol, why = _extended(slab, body, packets.stop, protocol, why, _EXTENSIONS_4, _WHY_4)
    why[u16(header, 6) & 0x3FFF != 0] = Reason.FRAGMENT
    if layers.verify:
        _verify(slab, packets, size, why)
    why[packets.at + size > packets.stop] = Reason.IP_TRUNCATED
    why[(first < 0x45) | (first > 0x4F) | ((total < size) & (total != 0))] = Reason.IP_BAD_HEADER
    end = _shorter(packets, total, packets.at + total)
    _note(packets, why, layers)
    packets = packets._replace(at=body, end=end, net=packets.net + np.uint64(4))
    packets, header, inside = _parted(packets, header, protocol, why, layers)
    source, destination = u32(header, 12).astype(np.uint64), u32(header, 16).astype(np.uint64)
    high = np.zeros(header.size, np.uint64)
    return Datagrams(packets, Addresses(high, source, high, destination), inside)


def ipv6(slab: U8, packets: Packets, layers: Layers) -> Datagrams:
    """Datagrams that are no fragments, behind extension headers too.

    Payload length 0 is that of a jumbogram; without such an option it is treated as in ``ipv4``. The addresses are
    those of the fixed header, whatever a routing header says.
    """
    packets = drop(packets, packets.at + 40 > packets.stop, Reason.IP_TRUNCATED, layers.verdict)
    header = gather(slab, packets.at, 40)
    declared, protocol = u16(header, 4), u8(header, 6)
    body = packets.at + 40
    end = _shorter(packets, declared, body + declared)
    why = _WHY_6[protocol]
    if _EXTENSIONS_6[protocol].any():
        jumbo = np.flatnonzero((protocol == _HOP_BY_HOP) & (declared == 0))
        end[jumbo] = np.minimum(end[jumbo], _jumbo_end(slab, body[jumbo], packets.stop[jumbo]))
        body, protocol, why = _extended(slab, body, packets.stop, protocol, why, _EXTENSIONS_6, _WHY_6)
    why[u8(header, 0) >> 4 != 6] = Reason.IP_BAD_HEADER
    _note(packets, why, layers)
    packets = packets._replace(at=body, end=end, net=packets.net + np.uint64(6))
    packets, header, inside = _parted(packets, header, protocol, why, layers)
    addresses = Addresses(u64(header, 8), u64(header, 16), u64(header, 24), u64(header, 32))
    return Datagrams(packets, addresses, inside)


def _shorter(packets: Packets, declared: U16, end: I64) -> I64:
    """Where the datagram ends: ``end``, but never beyond the layer around it, and with it where 0 is declared."""
    end[declared == 0] = np.iinfo(np.int64).max
    return np.minimum(end, packets.end)


def _parted(
    packets: Packets, header: Headers, protocol: U8, why: U8, layers: Layers
) -> tuple[Packets, Headers, Packets | None]:  # fmt: skip
    """What may be segments, with their IP headers, and the datagrams in which a packet may be."""
    kept = passing(packets, why, layers.verdict)
    if kept is None:
        return packets, header, None
    return chosen(packets, kept), header[kept], _inside(packets, protocol, why)


def _inside(packets: Packets, protocol: U8, why: U8) -> Packets | None:
    """The datagrams in which a packet may be, to be read up to their end at most."""
    kind = _INSIDE[protocol]
    rows = np.flatnonzero((kind != 0) & ((why == Reason.UDP) | (why == Reason.OTHER_TRANSPORT_PROTOCOL)))
    if not rows.size:
        return None
    some = chosen(packets, rows)
    return some._replace(
        kind=kind[rows], stop=np.minimum(some.stop, some.end), net=some.net & ~np.uint64(15)
    )  # fmt: skip


def _note(packets: Packets, why: U8, layers: Layers) -> None:
    """Tells who asked where fragments and the first IP headers are. ``at`` is the header's."""
    fragments, outermost = layers.fragments, layers.outermost
    if fragments is None or outermost is None:
        return
    rows = np.flatnonzero(why == Reason.FRAGMENT)
    if rows.size:
        fragments.append(chosen(packets, rows))
    new = np.flatnonzero(layers.verdict[packets.row] == Reason.UNKNOWN_LINK_TYPE)  # no verdict yet: the first header
    if new.size:
        outermost.append(chosen(packets, new))


def _extended(
    slab: U8, body: I64, stop: I64, protocol: U8, why: U8, extensions: U8, reasons: U8
) -> tuple[I64, U8, U8]:  # fmt: skip
    """Body, protocol and reason behind the extension headers that begin at ``body``."""
    body, protocol, why = body.copy(), protocol.copy(), why.copy()
    left = np.flatnonzero(extensions[protocol])
    for _ in range(_CHAIN):
        cut = body[left] + 8 > stop[left]
        why[left[cut]] = Reason.IP_TRUNCATED
        left = left[~cut]
        header = gather(slab, body[left], 8)
        kind, size = protocol[left], (u8(header, 1) + np.int64(1)) * 8
        fragment = kind == _FRAGMENT
        size[kind == _AUTHENTICATION] = (u8(header, 1)[kind == _AUTHENTICATION] + np.int64(2)) * 4
        size[fragment] = 8
        whole = ~(fragment & (u16(header, 2) & 0xFFF9 != 0))  # an atomic fragment is a whole datagram (RFC 6946)
        why[left[~whole]] = Reason.FRAGMENT
        left, size, following = left[whole], size[whole], u8(header, 0)[whole]
        body[left] += size
        protocol[left] = following
        why[left] = reasons[following]
        cut = body[left] > stop[left]
        why[left[cut]] = Reason.IP_TRUNCATED
        left = left[~cut & (extensions[following] != 0)]
        if not left.size:
            return body, protocol, why
    why[left] = Reason.TOO_DEEP
    return body, protocol, why


def _jumbo_end(slab: U8, at: I64, stop: I64) -> I64:
    """Where the payload ends that hop-by-hop headers at ``at`` give the length of; far away where none does."""
    end = np.full(at.size, np.iinfo(np.int64).max)
    left = np.flatnonzero(at + 8 <= stop)
    limit = np.full(at.size, 0)
    limit[left] = np.minimum(stop[left], at[left] + (u8(gather(slab, at[left], 2), 1) + np.int64(1)) * 8)
    place = at + 2
    for _ in range(_JUMBO_OPTIONS):
        left = left[place[left] + 2 <= limit[left]]
        if not left.size:
            break
        option = gather(slab, place[left], 2)
        kind, size = u8(option, 0), u8(option, 1)
        found = left[(kind == _JUMBO) & (size == 4)]
        found = found[place[found] + 6 <= limit[found]]
        end[found] = at[found] + u32(gather(slab, place[found] + 2, 4), 0)
        place[left] += np.where(kind == 0, 1, size + np.int64(2))
        left = left[kind != _JUMBO]
    return end


def _verify(slab: U8, packets: Packets, size: I64, why: U8) -> None:
    """BAD_CHECKSUM in ``why`` for IPv4 headers that are captured and whose checksum is wrong."""
    from pipeline.decode.checksums import wrong_headers  # only those who verify pay for it

    whole = np.flatnonzero((size >= 20) & (packets.at + size <= packets.stop))
    why[whole[wrong_headers(slab, packets.at[whole], size[whole])]] = Reason.BAD_CHECKSUM
