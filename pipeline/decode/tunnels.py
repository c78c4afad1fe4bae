"""Tunnels behind IP: which datagrams hold another packet, and where it begins.

Knows: GRE (RFC 2784, RFC 2890, version 1: RFC 2637) with Ethernet, PPP, ERSPAN I to III and the 802.11 frames of
Aruba's access points; VXLAN (RFC 7348), GENEVE (RFC 8926), GTP-U (3GPP TS 29.281), Teredo (RFC 4380).
Does not know: IP, links.
Invariant: a UDP datagram is a tunnel only by its port and when what is inside is plausible; what is not, or is cut
before it can be told, keeps the verdict that IP gave.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from pipeline.decode.link import ETHERNET
from pipeline.decode.packets import (
    ETHER,
    IPV4,
    IPV6,
    NOTHING,
    PPP,
    RAW,
    WLAN,
    Layers,
    Packets,
    bounded,
    byte,
    chosen,
    drop,
    gather,
    only,
    u8,
    u16,
    u32,
    version,
)  # fmt: skip
from pipeline.decode.reasons import Reason
from pipeline.decode.shims import ARP, MPLS, PPPOE, TAGS, ip_kinds, plausible, plausible_ethernet
from workers.contract import U8, U16, U64, Bools

_BRIDGED: Final = 0x6558
_PPP: Final = 0x880B
_ERSPAN: Final = 0x88BE
_ERSPAN_3: Final = 0x22EB

_CARRIED: Final[U16] = np.full(1 << 16, NOTHING, np.uint16)
"""What a GRE header's protocol type stands for."""
for _kind in (IPV4, IPV6, ARP, PPPOE, *TAGS, *MPLS, _ERSPAN, _ERSPAN_3):
    _CARRIED[_kind] = _kind
_CARRIED[[_BRIDGED, _PPP]] = ETHER, PPP
_CARRIED[0x8200:0x8380:0x10] = WLAN

_CHECKSUM, _ROUTING, _KEY, _SEQUENCE, _ACKNOWLEDGEMENT = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
_VERSION: Final = 7

_GTP_EXTENSIONS: Final = 8
"""With more extension headers a GTP-U packet is TOO_DEEP."""


def gre(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """4 bytes, of which the flags say what else there is: checksum, key, sequence, acknowledgement, 4 bytes each."""
    packets = drop(packets, packets.at + 4 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    header = gather(slab, packets.at, 4)
    flags, protocol = u16(header, 0), u16(header, 2)
    enhanced = flags & _VERSION == 1
    size = np.full(flags.size, 4)
    for bit in (_CHECKSUM, _KEY, _SEQUENCE):
        size += (flags & bit != 0) * 4
    size += (enhanced & (flags & _ACKNOWLEDGEMENT != 0)) * 4
    known = (flags & _VERSION == 0) & (flags & _ROUTING == 0)
    known |= enhanced & (protocol == _PPP) & (flags & _KEY != 0) & (flags & _SEQUENCE != 0)  # else it holds nothing
    kind = _CARRIED[protocol]
    kind[(kind == _ERSPAN) & (flags & _SEQUENCE == 0)] = ETHER  # type I has no header of its own
    packets = only(packets._replace(at=packets.at + size, kind=kind), known & (kind != NOTHING))
    packets = drop(packets, packets.at > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    mirrored = (packets.kind == _ERSPAN) | (packets.kind == _ERSPAN_3)
    return _erspan(slab, packets, layers) if mirrored.any() else packets


def _erspan(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """ERSPAN II, 8 bytes, or III, 12 or 20; versions 1 and 2 (draft-foschiano-erspan-03). Others pass unchanged."""
    third = packets.kind == _ERSPAN_3
    need = np.where(third, 12, np.where(packets.kind == _ERSPAN, 8, 0))
    cut = packets.at + need > packets.stop
    third, need = third[~cut], need[~cut]
    packets = drop(packets, cut, Reason.FRAME_TRUNCATED, layers.verdict)
    good, at, kind = np.ones(need.size, np.bool_), packets.at + need, packets.kind.copy()
    second = np.flatnonzero(need == 8)
    good[second] = version(slab, packets.at[second]) == 1
    kind[second] = ETHER
    rows = np.flatnonzero(third)
    header = gather(slab, packets.at[rows], 12)
    frame_type, longer = u16(header, 10) >> 10 & 31, u16(header, 10) & 1
    good[rows] = (u8(header, 0) >> 4 == 2) & ((frame_type == 0) | (frame_type == 2))
    at[rows] += longer.astype(np.int64) * 8
    kind[rows] = np.where(frame_type == 2, RAW, ETHER)
    packets = only(packets._replace(at=at, kind=kind), good)
    return drop(packets, packets.at > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)


def udp(slab: U8, packets: Packets, layers: Layers) -> list[Packets]:
    """What the datagrams of known ports hold, by its destination port first."""
    packets = only(packets, packets.at + 8 <= packets.stop)
    header = gather(slab, packets.at, 6)
    tunnel = _PORTS[u16(header, 2)]
    tunnel = np.where(tunnel == 0, _PORTS[u16(header, 0)], tunnel)
    size, found = u16(header, 4), []
    for number, (_, kernel) in enumerate(_TUNNELS, 1):
        rows = np.flatnonzero(tunnel == number)
        if rows.size:
            some = bounded(chosen(packets, rows), size[rows])
            found.append(kernel(slab, some._replace(at=some.at + 8), layers))
    return found


def vxlan(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """8 bytes: flags, of which 8 says that there is an id, the id in bytes 4 to 6; then Ethernet."""
    packets = only(packets, packets.at + 23 <= packets.stop)
    header = gather(slab, packets.at, 23)  # up to the first byte behind Ethernet, at once
    kind = u16(header, 20)
    good = (u8(header, 0) & 8 != 0) & plausible(kind, u8(header, 22) >> np.uint8(4))
    inner = only(packets._replace(at=packets.at + 22, kind=kind), good)
    layers.macs(ETHERNET)[inner.row] = inner.at - 14
    vni = u32(header, 4) >> 8
    return layers.on_overlay(inner, (vni if good.all() else vni[good]).astype(np.uint64), 0)


def geneve(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """8 bytes: version 0, length of the options in words, EtherType, the id in bytes 4 to 6; options."""
    packets = only(packets, packets.at + 8 <= packets.stop)
    header = gather(slab, packets.at, 8)
    size = 8 + (u8(header, 0) & 0x3F) * np.int64(4)
    kind = u16(header, 2)
    inner = packets._replace(at=packets.at + size)
    good = u8(header, 0) >> 6 == 0
    bridged = kind == _BRIDGED
    ether = plausible_ethernet(slab, inner)
    good &= np.where(bridged, ether, _plausible_packet(slab, inner, kind))
    kind[bridged] = ETHER
    vni: U64 = (u32(header, 4)[good] >> 8).astype(np.uint64)
    return layers.on_overlay(only(inner._replace(kind=kind), good), vni, 1)


def _plausible_packet(slab: U8, packets: Packets, kind: U16) -> Bools:
    """Whether a packet of this EtherType can be at ``at`` (n,)."""
    good = packets.at < packets.stop
    places = np.flatnonzero(good)
    good[places] = plausible(kind[places], version(slab, packets.at[places]))
    return good


def gtp(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """Version 1, a G-PDU: 8 bytes, 4 more if any of three flags is set, extension headers; then IP."""
    packets = only(packets, packets.at + 8 <= packets.stop)
    header = gather(slab, packets.at, 2)
    flags = u8(header, 0)
    longer = flags & 7 != 0
    good = (flags & 0xF0 == 0x30) & (u8(header, 1) == 0xFF) & (packets.at + 8 + longer * 4 <= packets.stop)
    packets, flags, longer = only(packets, good), flags[good], longer[good]
    at = packets.at + 8 + longer * np.int64(4)
    good = np.ones(at.size, np.bool_)
    left = np.flatnonzero(flags & 4)
    left = left[byte(slab, at[left] - 1) != 0]  # the type of the first extension header
    for _ in range(_GTP_EXTENSIONS):
        if not left.size:
            break
        cut = at[left] >= packets.stop[left]
        good[left[cut]] = False
        left = left[~cut]
        size = byte(slab, at[left]) * np.int64(4)
        at[left] += size
        bad = (size == 0) | (at[left] > packets.stop[left])
        good[left[bad]] = False
        left = left[~bad]
        left = left[byte(slab, at[left] - 1) != 0]
    layers.verdict[packets.row[left]] = Reason.TOO_DEEP
    good[left] = False
    return _by_nibble(slab, only(packets._replace(at=at), good))


def teredo(slab: U8, packets: Packets, _layers: Layers) -> Packets:
    """Perhaps an authentication header, perhaps an origin indication; then IPv6, which must fit into the datagram."""
    at = packets.at.copy()
    rows = np.flatnonzero(at + 4 <= packets.stop)
    header = gather(slab, at[rows], 4)
    named = u16(header, 0) == 1
    at[rows[named]] += 13 + u8(header, 2)[named].astype(np.int64) + u8(header, 3)[named]
    rows = np.flatnonzero(at + 2 <= packets.stop)
    at[rows[u16(gather(slab, at[rows], 2), 0) == 0]] += 8
    packets = only(packets._replace(at=at), at + 40 <= packets.stop)
    header = gather(slab, packets.at, 6)
    good = (u8(header, 0) >> 4 == 6) & (packets.at + 40 + u16(header, 4) <= packets.end)
    return only(packets._replace(kind=np.full_like(packets.kind, IPV6)), good)


def _by_nibble(slab: U8, packets: Packets) -> Packets:
    """The packets that begin as IP does."""
    packets = only(packets, packets.at < packets.stop)
    kind = ip_kinds(version(slab, packets.at))
    return only(packets._replace(kind=kind), kind != NOTHING)


_Kernel: TypeAlias = Callable[[U8, Packets, Layers], Packets]

_TUNNELS: Final[tuple[tuple[tuple[int, ...], _Kernel], ...]] = (
    ((4789, 8472), vxlan),  # 8472: what Linux used before there was a number
    ((6081,), geneve),
    ((2152,), gtp),
    ((3544,), teredo),
)

_PORTS: Final[U8] = np.zeros(1 << 16, np.uint8)
"""Which of the tunnels, from 1 on, a port stands for; 0: none."""
for _number, (_ports, _) in enumerate(_TUNNELS, 1):
    _PORTS[list(_ports)] = _number
