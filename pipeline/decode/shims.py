"""What stands between a link header and IP: VLAN tags, MPLS, PPPoE and PPP, LLC.

Knows: IEEE 802.1Q and 802.1ad tags, MPLS (RFC 3032, RFC 4385), PPPoE (RFC 2516), PPP (RFC 1661, RFC 1662),
IEEE 802.2 with SNAP. Does not know: links, IP.
Invariant: a kernel advances ``at`` behind its header and sets ``kind`` to what follows.
"""

from typing import Final

import numpy as np

from pipeline.decode.packets import (
    ETHER,
    IPV4,
    IPV6,
    LENGTH,
    LLC,
    LOWEST_ETHERTYPE,
    NOTHING,
    PPP,
    Layers,
    Packets,
    bounded,
    drop,
    gather,
    judged,
    u16,
    u32,
    version,
)  # fmt: skip
from pipeline.decode.reasons import Reason
from workers.contract import U8, U16, Bools

TAGS: Final = (0x8100, 0x88A8, 0x9100, 0x9200)
MPLS: Final = (0x8847, 0x8848)
PPPOE: Final = 0x8864
ARP: Final = 0x0806

_LABELS: Final = 16
"""A longer label stack is TOO_DEEP."""

_PPP: Final[U16] = np.full(1 << 16, NOTHING, np.uint16)
"""EtherType for a PPP protocol number."""
_PPP[[0x0021, 0x0057, 0x0281, 0x0283]] = IPV4, IPV6, *MPLS

_SNAP: Final = 0xAAAA03
_SNAP_OUIS: Final = (0x000000, 0x0000F8)  # RFC 1042; the bridge tunnel encapsulation of 802.1H


def ether_kinds(field: U16) -> U16:
    """Kinds for the type or length field of an Ethernet header or tag (changed in place)."""
    short = field < LOWEST_ETHERTYPE
    if short.any():
        field[short] = LLC
    return field


def tag(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """A VLAN tag: id (2 bytes), EtherType (2)."""
    packets = drop(packets, packets.at + 4 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    header = gather(slab, packets.at, 4)
    packets = packets._replace(at=packets.at + 4, kind=ether_kinds(u16(header, 2)))
    return layers.on_vlan(packets, (u16(header, 0) & 0xFFF).astype(np.uint64))


def mpls(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """A label stack, then IP by its version nibble, or Ethernet with or without a control word."""
    at, left = packets.at.copy(), np.arange(packets.at.size)
    why = np.zeros(packets.at.size, np.uint8)
    for _ in range(_LABELS):
        short = at[left] + 4 > packets.stop[left]
        why[left[short]] = Reason.FRAME_TRUNCATED
        left = left[~short]
        label = u32(gather(slab, at[left], 4), 0)
        at[left] += 4
        left = left[label & 0x100 == 0]  # bottom of stack
        if not left.size:
            break
    why[left] = Reason.TOO_DEEP
    why[(why == 0) & (at >= packets.stop)] = Reason.FRAME_TRUNCATED
    packets = judged(packets._replace(at=at), why, layers.verdict)
    first = version(slab, packets.at)
    kind = ip_kinds(first)
    for skip in (0, 4):  # a control word's first nibble is 0 (RFC 4385), and so may be an address'
        inner = packets.at + skip
        ether = (kind == NOTHING) & (first != 1) & plausible_ethernet(slab, packets._replace(at=inner))
        if skip:
            ether &= first == 0
        packets = packets._replace(at=np.where(ether, inner, packets.at))
        kind[ether] = ETHER
    return packets._replace(kind=kind)


def pppoe(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """A session packet: version and type 1, code 0, session, length; then PPP."""
    packets = drop(packets, packets.at + 6 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    packets = drop(
        packets, u16(gather(slab, packets.at, 2), 0) != 0x1100, Reason.OTHER_NETWORK_PROTOCOL, layers.verdict
    )  # fmt: skip
    size = u16(gather(slab, packets.at, 6), 4)
    packets = packets._replace(at=packets.at + 6, kind=np.full_like(packets.kind, PPP))
    return bounded(packets, size)


def ppp(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """Address and control (FF 03) if they are there; the protocol in 2 bytes, or 1 when that is odd."""
    packets = drop(packets, packets.at + 2 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    framed = u16(gather(slab, packets.at, 2), 0) == 0xFF03
    if framed.any():
        packets = packets._replace(at=packets.at + framed * np.int64(2))
        packets = drop(packets, packets.at + 2 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    field = u16(gather(slab, packets.at, 2), 0)
    short = field & 0x0100 != 0
    kind = _PPP[np.where(short, field >> 8, field)]
    return packets._replace(at=packets.at + 2 - short, kind=kind)


def llc(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """LLC with SNAP and an EtherType. All else, and what is cut before it can be told, is plain IEEE 802.3."""
    packets = drop(packets, packets.at + 8 > packets.stop, Reason.IEEE_802_3, layers.verdict)
    header = gather(slab, packets.at, 8)
    first = u32(header, 0)
    oui = (first & 0xFF) << 16 | u16(header, 4)
    known = (first >> 8 == _SNAP) & ((oui == _SNAP_OUIS[0]) | (oui == _SNAP_OUIS[1]))
    kind = u16(header, 6)
    kind[~known | (kind < LOWEST_ETHERTYPE)] = LENGTH
    return packets._replace(at=packets.at + 8, kind=kind)


def raw(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """No header: whichever it is, the version nibble tells."""
    packets = drop(packets, packets.at >= packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    packets = packets._replace(kind=ip_kinds(version(slab, packets.at)))
    return drop(packets, packets.kind == NOTHING, Reason.IP_BAD_HEADER, layers.verdict)


def ip_kinds(nibble: U8) -> U16:
    """IPv4 or IPv6 by the version nibble, or NOTHING."""
    kind = np.full(nibble.shape, NOTHING, np.uint16)
    kind[nibble == 4] = IPV4
    kind[nibble == 6] = IPV6
    return kind


def plausible_ethernet(slab: U8, packets: Packets) -> Bools:
    """Whether at ``at`` there can be an Ethernet header in front of something that is known (n,)."""
    good = packets.at + 15 <= packets.stop
    places = np.flatnonzero(good)
    at = packets.at[places]
    good[places] = plausible(u16(gather(slab, at + 12, 2), 0), version(slab, at + 14))
    return good


def plausible(kind: U16, nibble: U8) -> Bools:
    """Whether a packet of this EtherType can begin with this nibble (n,); False for EtherTypes not known."""
    good: Bools = (kind == IPV4) & (nibble == 4) | (kind == IPV6) & (nibble == 6)
    if not good.all():
        for known in (ARP, PPPOE, *TAGS, *MPLS):
            good |= kind == known
    return good
