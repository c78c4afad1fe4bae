"""Link headers: where the network header starts, what it is, which VLAN the frame is on.

Knows: Ethernet with VLAN tags, Linux cooked v1 and v2, BSD loopback, raw IP
(https://www.tcpdump.org/linktypes.html). Does not know: IP.
Invariant: a kernel advances ``at`` to the network header and sets ``kind`` to its EtherType; the
packets that it returns are IPv4 or IPv6 by that EtherType.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from pipeline.decode.packets import Packets, chosen, drop, gather, passing, u8, u16, u32
from pipeline.decode.reasons import Reason
from workers.contract import U8, U16, Bools

NULL: Final = 0
ETHERNET: Final = 1
RAW: Final = 101
LOOP: Final = 108
SLL: Final = 113
RAW_IPV4: Final = 228
RAW_IPV6: Final = 229
SLL2: Final = 276

IPV4: Final = 0x0800
IPV6: Final = 0x86DD
_ARP: Final = 0x0806
_TAGS: Final = (0x8100, 0x88A8, 0x9100)
_LOWEST_ETHERTYPE: Final = 0x0600  # IEEE 802.3, 3.2.6: below it the field is a length
_NO_ETHERTYPE: Final = 0xFFFF  # reserved: stands for a loopback family that is not IP

MAX_TAGS: Final = 4

_AF_INET: Final = 2
AF_INET6: Final = (10, 24, 28, 30)  # Linux; NetBSD and OpenBSD; FreeBSD; macOS

_NOT_IP: Final[U8] = np.full(1 << 16, Reason.OTHER_NETWORK_PROTOCOL, np.uint8)
"""Why a packet of an EtherType is not looked at further."""
_NOT_IP[:_LOWEST_ETHERTYPE] = Reason.IEEE_802_3
_NOT_IP[_ARP] = Reason.ARP
_NOT_IP[[IPV4, IPV6]] = Reason.TCP


def ethernet(slab: U8, packets: Packets, verdict: U8) -> Packets:
    """Two addresses, EtherType, any number of tags up to MAX_TAGS."""
    return _ethertype(slab, packets, verdict, header=14, field=12)


def sll(slab: U8, packets: Packets, verdict: U8) -> Packets:
    """LINKTYPE_LINUX_SLL: the EtherType ends the header, tags may follow as in Ethernet."""
    return _ethertype(slab, packets, verdict, header=16, field=14)


def sll2(slab: U8, packets: Packets, verdict: U8) -> Packets:
    """LINKTYPE_LINUX_SLL2: the EtherType opens the header, a tag's content follows the header."""
    return _ethertype(slab, packets, verdict, header=20, field=0)


def null(slab: U8, packets: Packets, verdict: U8) -> Packets:
    """LINKTYPE_NULL: an address family in the byte order of the host that captured, so either."""
    return _family(slab, packets, verdict, either_order=True)


def loop(slab: U8, packets: Packets, verdict: U8) -> Packets:
    """LINKTYPE_LOOP: the same in network order."""
    return _family(slab, packets, verdict, either_order=False)


def raw(slab: U8, packets: Packets, verdict: U8) -> Packets:
    """LINKTYPE_RAW, LINKTYPE_IPV4, LINKTYPE_IPV6: no header; whichever it is, the version nibble tells."""
    packets = drop(packets, packets.at >= packets.stop, Reason.FRAME_TRUNCATED, verdict)
    version = u8(gather(slab, packets.at, 1), 0) >> 4
    packets = packets._replace(kind=_kinds(version == 4, version == 6))
    return drop(packets, packets.kind == _NO_ETHERTYPE, Reason.IP_BAD_HEADER, verdict)


def _ethertype(slab: U8, packets: Packets, verdict: U8, *, header: int, field: int) -> Packets:
    packets = drop(packets, packets.at + header > packets.stop, Reason.FRAME_TRUNCATED, verdict)
    kind = u16(gather(slab, packets.at + field, 2), 0)
    packets = packets._replace(at=packets.at + header, kind=kind)
    return _only_ip(_untagged(slab, packets, verdict), verdict)


def _untagged(slab: U8, packets: Packets, verdict: U8) -> Packets:
    """Peels VLAN tags, one from every tagged packet a round. A tag is id (2 bytes), EtherType (2)."""
    for depth in range(MAX_TAGS):
        tagged = _tagged(packets.kind)
        if not tagged.any():
            return packets
        cut = tagged & (packets.at + 4 > packets.stop)
        packets = drop(packets, cut, Reason.FRAME_TRUNCATED, verdict)
        places = np.flatnonzero(_tagged(packets.kind))
        tag = gather(slab, packets.at[places], 4)
        vlan = (u16(tag, 0) & 0xFFF).astype(np.uint64)
        packets.net[places] += (vlan << (8 + 12 * depth)) + (1 << 4)
        packets.kind[places] = u16(tag, 2)
        packets.at[places] += 4
    return drop(packets, _tagged(packets.kind), Reason.TOO_MANY_VLAN_TAGS, verdict)


def _tagged(kind: U16) -> Bools:
    first, second, third = _TAGS
    tagged: Bools = (kind == first) | (kind == second) | (kind == third)
    return tagged


def _family(slab: U8, packets: Packets, verdict: U8, *, either_order: bool) -> Packets:
    packets = drop(packets, packets.at + 4 > packets.stop, Reason.FRAME_TRUNCATED, verdict)
    family = u32(gather(slab, packets.at, 4), 0)
    if either_order:
        family = np.minimum(family, family.byteswap())  # a family is small, so the smaller reading is right
    kind = _kinds(family == _AF_INET, np.isin(family, AF_INET6))
    return _only_ip(packets._replace(at=packets.at + 4, kind=kind), verdict)


def _kinds(v4: Bools, v6: Bools) -> U16:
    kind = np.full(v4.shape, _NO_ETHERTYPE, np.uint16)
    kind[v4] = IPV4
    kind[v6] = IPV6
    return kind


def _only_ip(packets: Packets, verdict: U8) -> Packets:
    kept = passing(packets, _NOT_IP[packets.kind], verdict)
    return packets if kept is None else chosen(packets, kept)


Kernel: TypeAlias = Callable[[U8, Packets, U8], Packets]
"""(slab, packets, verdict) -> the packets that go on; the others' reasons are in ``verdict``."""

LINKS: Final[dict[int, Kernel]] = {
    ETHERNET: ethernet,
    RAW: raw,
    RAW_IPV4: raw,
    RAW_IPV6: raw,
    SLL: sll,
    SLL2: sll2,
    NULL: null,
    LOOP: loop,
}
