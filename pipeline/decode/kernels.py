"""Records to TCP segments, layer by layer, whole columns at a time.

Knows: TCP (RFC 9293), which kernel reads which layer. Does not know: flows, files, what is in a payload.
Invariants: nothing beyond a packet's captured bytes is read; a segment's size is what IP declares,
never more than the frame had on the wire, so padding and trailers are no payload.

Each layer drops the packets that it cannot pass on, with a reason, and advances the others. Those with another
packet inside are fewer columns for the next round. In a round a packet loses one encapsulation: a tag, a label
stack, a PPPoE header, or all from an IP header to the packet that it carries. A tunnel that cannot be opened is
what the innermost header that could be read says.
"""

from typing import Final, NamedTuple

import numpy as np

from pipeline.decode import shims, tunnels
from pipeline.decode.ip import GRE, UDP, Datagrams, ipv4, ipv6
from pipeline.decode.link import ETHERNET, LINKS, Kernel, settle
from pipeline.decode.packets import (
    IPV4,
    IPV6,
    LENGTH,
    Addresses,
    Layers,
    Notes,
    Packets,
    chosen,
    gather,
    joined,
    passing,
    u8,
    u16,
    u32,
)  # fmt: skip
from pipeline.decode.reasons import Reason
from pipeline.source.records import Records
from workers.contract import I64, U8, U16, U32, U64, Bools

DEPTH: Final = 8
"""Encapsulations that are peeled; a packet with more is TOO_DEEP."""

_FARTHEST: Final = 0xFFFF  # that a payload can be from the MAC addresses


class Decoded(NamedTuple):
    """The TCP segments of a Records: m of its n records, in order."""

    reason: U8  # (n,) Reason of every record
    row: I64  # (m,) index into the records, rising
    src_high: U64
    src_low: U64
    dst_high: U64
    dst_low: U64
    sport: U16
    dport: U16
    net: U64  # as workers.contract.Key.NET
    more: U64  # as workers.contract.Key.MORE
    seq: U32
    ack: U32
    flags: U8  # the low 8 flag bits
    start: U64  # place of the payload's first byte; of no meaning to a reader when nothing is captured
    size: U32  # payload bytes that IP declares
    missing: U32  # how many of them, at the end, are not captured
    mac: U16  # start - place of the innermost destination MAC address; 0: there is none


_SHIMS: Final[dict[int, Kernel]] = {
    **dict.fromkeys(shims.TAGS, shims.tag),
    **dict.fromkeys(shims.MPLS, shims.mpls),
    shims.PPPOE: shims.pppoe,
}

_UNREAD: Final[U8] = np.full(1 << 16, Reason.OTHER_NETWORK_PROTOCOL, np.uint8)
"""Why a packet of an EtherType is not looked at further; TCP: it is."""
_UNREAD[LENGTH] = Reason.IEEE_802_3
_UNREAD[shims.ARP] = Reason.ARP
_UNREAD[list(_SHIMS)] = Reason.TCP


def decode(
    slab: U8, records: Records, keep: Bools | None = None, verify: bool = False, notes: Notes | None = None
) -> Decoded:
    """The TCP segments of ``records``; where ``keep`` (n,) is False the reason is FILTERED.

    ``verify``: a segment that is wholly captured and whose checksum is wrong is BAD_CHECKSUM, and so is what has an
    IPv4 header with a wrong checksum. ``notes`` are filled.
    """
    verdict = np.full(records.start.size, Reason.UNKNOWN_LINK_TYPE, np.uint8)
    if keep is not None:
        verdict[~keep] = Reason.FILTERED
    layers = Layers(records, verdict, verify=verify, notes=notes)
    parts: list[Decoded] = []
    inside: list[Packets] = []
    for link in _links(records):
        mine = records.link == link if keep is None else (records.link == link) & keep
        if not mine.any():
            continue
        packets = LINKS[link](slab, _packets(records, np.flatnonzero(mine)), layers)
        found, further = _round(slab, settle(slab, packets, layers), layers)
        macs = layers.ether if layers.ether is not None else records.start if link == ETHERNET else None
        parts += [tcp(slab, *each, layers, macs) for each in found]
        inside += further
    for _ in range(DEPTH):
        if not inside:
            break
        found, inside = _round(slab, joined(inside), layers)
        parts += [tcp(slab, *each, layers, layers.macs(ETHERNET)) for each in found]
    for each in inside:
        verdict[each.row] = Reason.TOO_DEEP
    if not parts:
        nothing = ipv4(slab, _packets(records, np.empty(0, np.int64)), layers)
        return tcp(slab, nothing.segments, nothing.addresses, layers, None)
    return parts[0] if len(parts) == 1 else _in_order(parts, verdict)


def _links(records: Records) -> list[int]:
    """The link types among the records that are known."""
    link = records.link
    if not link.size:
        return []
    found = [int(link[0])] if (link == link[0]).all() else np.unique(link).tolist()
    return [number for number in found if number in LINKS]


def _packets(records: Records, row: I64) -> Packets:
    """The records ``row``, before anything of them was read."""
    start, captured, length = records.start, records.captured, records.length
    if row.size != start.size:
        start, captured, length = start.take(row), captured.take(row), length.take(row)
    at = start.astype(np.int64)
    kind, net = np.zeros(row.size, np.uint16), np.zeros(row.size, np.uint64)
    return Packets(row, at, at + captured, at + length, kind, net)


def _round(
    slab: U8, packets: Packets, layers: Layers
) -> tuple[list[tuple[Packets, Addresses]], list[Packets]]:  # fmt: skip
    """What may be segments, and the packets that stand inside of others. ``packets`` are settled."""
    found: list[tuple[Packets, Addresses]] = []
    inside: list[Packets] = []
    left = size = packets.kind.size
    for kind, network in ((IPV4, ipv4), (IPV6, ipv6)):
        same = np.flatnonzero(packets.kind == kind)
        if same.size:
            datagrams = network(slab, packets if same.size == size else chosen(packets, same), layers)
            if datagrams.segments.row.size:
                found.append((datagrams.segments, datagrams.addresses))
            inside += _tunnelled(slab, datagrams, layers)
            left -= same.size
        if not left:
            break
    else:
        inside += _unshimmed(slab, packets, layers)
    return found, [settle(slab, each, layers) for each in inside if each.row.size]


def _tunnelled(slab: U8, datagrams: Datagrams, layers: Layers) -> list[Packets]:
    """What the datagrams hold that are no segments."""
    packets = datagrams.inside
    if packets is None:
        return []
    found = []
    gre, udp = packets.kind == GRE, packets.kind == UDP
    for mine, kernel in ((gre, tunnels.gre), (udp, tunnels.udp), (~(gre | udp), None)):
        some = packets if mine.all() else chosen(packets, np.flatnonzero(mine))
        if some.row.size:
            result = some if kernel is None else kernel(slab, some, layers)
            found += result if isinstance(result, list) else [result]
    return found


def _unshimmed(slab: U8, packets: Packets, layers: Layers) -> list[Packets]:
    """Packets that are not IP: those of kinds that are known, peeled; of the others the reason."""
    why = _UNREAD[packets.kind]
    why[(packets.kind == IPV4) | (packets.kind == IPV6)] = Reason.TCP
    layers.verdict[packets.row[why != 0]] = why[why != 0]
    found = []
    for kind, kernel in _SHIMS.items():
        same = np.flatnonzero(packets.kind == kind)
        if same.size:
            found.append(kernel(slab, chosen(packets, same), layers))
    return found


def tcp(slab: U8, packets: Packets, addresses: Addresses, layers: Layers, macs: U64 | I64 | None) -> Decoded:
    """Segments. Where the capture cuts the options all of the payload is missing, but its size is known.

    ``macs``: of every record the place of its MAC addresses, or -1; None: there are none.
    """
    verdict = layers.verdict
    why = np.zeros(packets.row.size, np.uint8)
    why[packets.at + 20 > packets.stop] = Reason.TCP_TRUNCATED
    kept = passing(packets, why, verdict)
    if kept is not None:
        packets, addresses = chosen(packets, kept), chosen(addresses, kept)
    header = gather(slab, packets.at, 20)
    start = packets.at + (u8(header, 12) >> 4) * np.int64(4)
    why = np.zeros(start.size, np.uint8)
    why[(start < packets.at + 20) | (start > packets.end)] = Reason.TCP_BAD_OFFSET
    why[packets.at + 20 > packets.end] = Reason.IP_BAD_HEADER
    if layers.verify:
        _verify(slab, packets, addresses, why)
    kept = passing(packets, why, verdict)
    if kept is not None:
        packets, addresses = chosen(packets, kept), chosen(addresses, kept)
        header, start = header[kept], start[kept]
    verdict[packets.row] = Reason.TCP
    return Decoded(
        reason=verdict,
        row=packets.row,
        **addresses._asdict(),
        sport=u16(header, 0),
        dport=u16(header, 2),
        net=packets.net,
        more=np.zeros(start.size, np.uint64) if layers.more is None else layers.more[packets.row],
        seq=u32(header, 4),
        ack=u32(header, 8),
        flags=u8(header, 13),
        start=start.view(np.uint64),
        size=(packets.end - start).astype(np.uint32),
        missing=np.maximum(packets.end - np.maximum(packets.stop, start), 0).astype(np.uint32),
        mac=_distance(start, packets.row, macs),
    )


def _distance(start: I64, row: I64, macs: U64 | I64 | None) -> U16:
    """How far before the payload the MAC addresses are; 0 where there are none."""
    if macs is None:
        return np.zeros(start.size, np.uint16)
    place = macs.take(row).view(np.int64)
    far = start - place
    if far.size and (place.min() < 0 or far.max() > _FARTHEST):
        far[(place < 0) | (far > _FARTHEST)] = 0
    return far.astype(np.uint16)


def _verify(slab: U8, packets: Packets, addresses: Addresses, why: U8) -> None:
    """BAD_CHECKSUM in ``why`` for the segments that are captured, stand in their datagram, and whose sum is wrong."""
    from pipeline.decode.checksums import wrong_segments  # only those who verify pay for it

    whole = np.flatnonzero((why == 0) & (packets.end <= packets.stop))
    some = chosen(addresses, whole)
    why[whole[wrong_segments(slab, packets.at[whole], packets.end[whole], some)]] = Reason.BAD_CHECKSUM


def _in_order(parts: list[Decoded], verdict: U8) -> Decoded:
    """Several parts (another link type, IP version or depth each) as one, by row."""
    order = np.argsort(np.concatenate([part.row for part in parts]), kind="stable")
    _, *columns = zip(*parts, strict=True)
    return Decoded(verdict, *(np.concatenate(column).take(order) for column in columns))
