"""Link headers: what follows them, and what a link type is.

Knows: the link types of LINKS (https://www.tcpdump.org/linktypes.html). Does not know: what follows.
Invariant: a kernel advances ``at`` behind its header and sets ``kind``; ``settle`` then leaves no kind that is not
an EtherType but LENGTH and NOTHING.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from pipeline.decode import shims, wireless
from pipeline.decode.packets import (
    ETHER,
    IPV4,
    IPV6,
    LENGTH,
    LLC,
    LOWEST_ETHERTYPE,
    NOTHING,
    PPP,
    RADIOTAP,
    WLAN,
    WLAN_PADDED,
    Layers,
    Packets,
    byte,
    chosen,
    drop,
    gather,
    joined,
    judged,
    u8,
    u16,
    u32,
)  # fmt: skip
from pipeline.decode.packets import (
    RAW as BY_NIBBLE,
)
from pipeline.decode.reasons import Reason
from workers.contract import I64, U8, U16

NULL: Final = 0
ETHERNET: Final = 1
PPP_LINK: Final = 9
ATM_LLC: Final = 100
RAW: Final = 101
CISCO_HDLC: Final = 104
IEEE_802_11: Final = 105
LOOP: Final = 108
SLL: Final = 113
IEEE_802_11_RADIOTAP: Final = 127
PPP_SERIAL: Final = 50
PPPOE: Final = 51
PPP_WITH_DIRECTION: Final = 204
MPLS: Final = 219
RAW_IPV4: Final = 228
RAW_IPV6: Final = 229
NFLOG: Final = 239
SLL2: Final = 276
RAW_AS_WRITTEN: Final = (12, 14)
"""DLT_RAW of most systems and of OpenBSD: writers that do not translate it put it into files."""

_AF_INET: Final = 2
AF_INET6: Final = (10, 23, 24, 26, 28, 30)  # Linux; Windows; NetBSD and OpenBSD; Solaris; FreeBSD; macOS

_HARDWARE_RADIOTAP: Final = 803  # ARPHRD_ numbers of Linux
_HARDWARE_UNREAD: Final = (770, 824)  # Frame Relay, netlink: the protocol field is no EtherType
_COOKED_LLC: Final = 4

_TLVS: Final = 32
"""NFLOG attributes among which the packet is looked for."""
_PAYLOAD: Final = 9


def ethernet(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """Two addresses, and an EtherType or a length."""
    packets = drop(packets, packets.at + 14 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    kind = shims.ether_kinds(u16(gather(slab, packets.at + 12, 2), 0))
    return packets._replace(at=packets.at + 14, kind=kind)


def inner_ethernet(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """The same inside another layer: the MAC addresses are these."""
    macs = layers.macs(ETHERNET)
    macs[packets.row] = packets.at
    return ethernet(slab, packets, layers)


def sll(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """LINKTYPE_LINUX_SLL: the EtherType ends the header."""
    return _cooked(slab, packets, layers, size=16, hardware=2, field=14)


def sll2(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """LINKTYPE_LINUX_SLL2: the EtherType opens the header."""
    return _cooked(slab, packets, layers, size=20, hardware=8, field=0)


def _cooked(slab: U8, packets: Packets, layers: Layers, *, size: int, hardware: int, field: int) -> Packets:
    """The protocol field is an EtherType, or what a GRE header has, or a number of Linux, as the hardware says."""
    packets = drop(packets, packets.at + size > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    header = gather(slab, packets.at, size)
    kind, device = u16(header, field), u16(header, hardware)
    short = kind < LOWEST_ETHERTYPE
    if short.any():
        kind[short] = np.where(kind[short] == _COOKED_LLC, LLC, LENGTH)
    kind[kind == 0x6558] = ETHER  # of a GRE interface
    kind[device == _HARDWARE_RADIOTAP] = RADIOTAP
    kind[(device == _HARDWARE_UNREAD[0]) | (device == _HARDWARE_UNREAD[1])] = NOTHING
    return packets._replace(at=packets.at + size, kind=kind)


def null(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """LINKTYPE_NULL: an address family in the byte order of the host that captured, so either."""
    return _family(slab, packets, layers, either_order=True)


def loop(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """LINKTYPE_LOOP: the same in network order."""
    return _family(slab, packets, layers, either_order=False)


def _family(slab: U8, packets: Packets, layers: Layers, *, either_order: bool) -> Packets:
    packets = drop(packets, packets.at + 4 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    family = u32(gather(slab, packets.at, 4), 0)
    if either_order:
        family = np.minimum(family, family.byteswap())  # a family is small, so the smaller reading is right
    kind = np.full(family.size, NOTHING, np.uint16)
    kind[family == _AF_INET] = IPV4
    kind[np.isin(family, AF_INET6)] = IPV6
    return packets._replace(at=packets.at + 4, kind=kind)


def serial(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """LINKTYPE_PPP_HDLC: PPP, or Cisco's framing of it, which begins with 0F or 8F."""
    packets = drop(packets, packets.at >= packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    cisco = byte(slab, packets.at) & 0x7F == 0x0F
    parts = [chosen(packets, np.flatnonzero(~cisco))._replace(kind=np.full((~cisco).sum(), PPP, np.uint16))]
    parts.append(cisco_hdlc(slab, chosen(packets, np.flatnonzero(cisco)), layers))
    return joined(parts)


def cisco_hdlc(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """LINKTYPE_C_HDLC: address, control, EtherType."""
    packets = drop(packets, packets.at + 4 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    kind = u16(gather(slab, packets.at, 4), 2)
    kind[kind < LOWEST_ETHERTYPE] = NOTHING
    return packets._replace(at=packets.at + 4, kind=kind)


def with_direction(_slab: U8, packets: Packets, layers: Layers) -> Packets:
    """LINKTYPE_PPP_WITH_DIR: a byte that says who sent it; PPP."""
    packets = drop(packets, packets.at >= packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    return packets._replace(at=packets.at + 1, kind=np.full_like(packets.kind, PPP))


def nflog(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """LINKTYPE_NFLOG: 4 bytes, then attributes of a length, a type and a value, filled up to 4 bytes.

    Numbers are in the order of the host that captured; a type is small, so its bytes tell which that is.
    """
    packets = drop(packets, packets.at + 4 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    at = packets.at + 4
    why = np.where(byte(slab, packets.at + 1) == 0, 0, Reason.OTHER_NETWORK_PROTOCOL).astype(np.uint8)
    end, left = packets.end.copy(), np.flatnonzero(why == 0)
    for _ in range(_TLVS):
        cut = at[left] + 4 > packets.stop[left]
        why[left[cut]] = Reason.FRAME_TRUNCATED
        left = left[~cut]
        size, kind = _tlv(slab, at[left])
        bad = size < 4
        why[left[bad]] = Reason.OTHER_NETWORK_PROTOCOL
        found = left[~bad & (kind == _PAYLOAD)]
        end[found] = np.minimum(end[found], at[found] + size[~bad & (kind == _PAYLOAD)])
        at[found] += 4
        goes_on = ~bad & (kind != _PAYLOAD)
        left = left[goes_on]
        at[left] += size[goes_on] + 3 & ~3
        if not left.size:
            break
    why[left] = Reason.OTHER_NETWORK_PROTOCOL
    kind = np.full_like(packets.kind, BY_NIBBLE)
    packets = packets._replace(at=at, end=end, stop=np.minimum(packets.stop, end), kind=kind)
    return judged(packets, why, layers.verdict)


def _tlv(slab: U8, at: I64) -> tuple[I64, U16]:
    """Length and type (n,) of the attributes at ``at``."""
    header = gather(slab, at, 4)
    size, kind = u16(header, 0), u16(header, 2)
    little = u8(header, 2) != 0
    size[little], kind[little] = size[little].byteswap(), kind[little].byteswap()
    return size.astype(np.int64), kind


Kernel: TypeAlias = Callable[[U8, Packets, Layers], Packets]
"""(slab, packets, layers) -> the packets that go on; the others' reasons are in ``layers.verdict``."""


def _is(kind: int) -> Kernel:
    """A link type without a header of its own."""
    return lambda _slab, packets, _layers: packets._replace(kind=np.full(packets.kind.shape, kind, np.uint16))


LINKS: Final[dict[int, Kernel]] = {
    ETHERNET: ethernet,
    RAW: _is(BY_NIBBLE),
    RAW_IPV4: _is(BY_NIBBLE),
    RAW_IPV6: _is(BY_NIBBLE),
    **dict.fromkeys(RAW_AS_WRITTEN, _is(BY_NIBBLE)),
    SLL: sll,
    SLL2: sll2,
    NULL: null,
    LOOP: loop,
    PPP_LINK: _is(PPP),
    PPP_SERIAL: serial,
    PPP_WITH_DIRECTION: with_direction,
    PPPOE: shims.pppoe,
    CISCO_HDLC: cisco_hdlc,
    IEEE_802_11: _is(WLAN),
    IEEE_802_11_RADIOTAP: _is(RADIOTAP),
    NFLOG: nflog,
    ATM_LLC: _is(LLC),
    MPLS: _is(shims.MPLS[0]),
}

_WITHIN: Final[tuple[tuple[int, Kernel], ...]] = (
    (RADIOTAP, wireless.radiotap),
    (WLAN, wireless.wlan),
    (WLAN_PADDED, wireless.wlan_padded),
    (ETHER, inner_ethernet),
    (LLC, shims.llc),
    (PPP, shims.ppp),
    (BY_NIBBLE, shims.raw),
)
"""In an order in which none leads to one before it."""


def settle(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """Reads the headers that belong to the layer around them, until there are EtherTypes only."""
    if not (packets.kind < LENGTH).any():
        return packets
    for kind, kernel in _WITHIN:
        mine = packets.kind == kind
        if mine.all():
            packets = kernel(slab, packets, layers)
        elif mine.any():
            rest = chosen(packets, np.flatnonzero(~mine))
            packets = joined([rest, kernel(slab, chosen(packets, np.flatnonzero(mine)), layers)])
    return packets
