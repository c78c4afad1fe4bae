"""Records to TCP segments, layer by layer, whole columns at a time.

Knows: IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293). Does not know: flows, files, what is in a payload.
Invariants: nothing beyond a packet's captured bytes is read; a segment's size is what IP declares,
never more than the frame had on the wire, so padding and trailers are no payload.

Each layer drops the packets that it cannot pass on, with a reason, and advances the others. When
several things are wrong with a packet, the first of this list is its reason: the fixed header is
not captured; the header cannot be; its options are not captured; it is a fragment; its protocol.
"""

from typing import Final, NamedTuple

import numpy as np

from pipeline.decode.link import ETHERNET, IPV4, IPV6, LINKS
from pipeline.decode.packets import Addresses, Packets, chosen, drop, gather, passing, u8, u16, u32, u64
from pipeline.decode.reasons import Reason
from pipeline.source.records import Records
from workers.contract import I64, U8, U16, U32, U64, Bools


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
    seq: U32
    ack: U32
    flags: U8  # the low 8 flag bits
    start: U64  # place of the payload's first byte; of no meaning to a reader when nothing is captured
    size: U32  # payload bytes that IP declares
    missing: U32  # how many of them, at the end, are not captured
    mac: U16  # start - place of the destination MAC address; 0: the link has none


_PROTOCOL_4: Final[U8] = np.full(256, Reason.OTHER_TRANSPORT_PROTOCOL, np.uint8)
"""Why a datagram of a protocol number is not looked at further."""
_PROTOCOL_4[[6, 17, 1]] = Reason.TCP, Reason.UDP, Reason.ICMP

_PROTOCOL_6: Final[U8] = np.full(256, Reason.OTHER_TRANSPORT_PROTOCOL, np.uint8)
"""The same for a next header. Extensions: IANA's list, without ESP, behind which nothing can be read."""
_PROTOCOL_6[[0, 43, 51, 60, 135, 139, 140]] = Reason.IPV6_EXTENSION
_PROTOCOL_6[[6, 17, 58, 44]] = Reason.TCP, Reason.UDP, Reason.ICMP, Reason.FRAGMENT


def decode(slab: U8, records: Records, keep: Bools | None = None) -> Decoded:
    """The TCP segments of ``records``; where ``keep`` (n,) is False the reason is FILTERED."""
    verdict = np.full(records.start.size, Reason.UNKNOWN_LINK_TYPE, np.uint8)
    if keep is not None:
        verdict[~keep] = Reason.FILTERED
    parts = []
    for link, kernel in LINKS.items():
        mine = records.link == link if keep is None else (records.link == link) & keep
        if not mine.any():
            continue
        packets = kernel(slab, _packets(records, np.flatnonzero(mine)), verdict)
        for kind, network in ((IPV4, ipv4), (IPV6, ipv6)):
            same = np.flatnonzero(packets.kind == kind)
            if same.size:
                some = packets if same.size == packets.kind.size else chosen(packets, same)
                parts.append(tcp(slab, *network(slab, some, verdict), verdict, records, link == ETHERNET))
    if not parts:
        nothing = _packets(records, np.empty(0, np.int64))
        return tcp(slab, *ipv4(slab, nothing, verdict), verdict, records, False)
    return parts[0] if len(parts) == 1 else _in_order(parts, verdict)


def _packets(records: Records, row: I64) -> Packets:
    """The records ``row``, before anything of them was read."""
    start, captured, length = records.start, records.captured, records.length
    if row.size != start.size:
        start, captured, length = start.take(row), captured.take(row), length.take(row)
    at = start.astype(np.int64)
    kind, net = np.zeros(row.size, np.uint16), np.zeros(row.size, np.uint64)
    return Packets(row, at, at + captured, at + length, kind, net)


def ipv4(slab: U8, packets: Packets, verdict: U8) -> tuple[Packets, Addresses]:
    """Datagrams whose payload is TCP and no fragment.

    Total length 0 is segmentation offload: the datagram then ends with the frame.
    """
    packets = drop(packets, packets.at + 20 > packets.stop, Reason.IP_TRUNCATED, verdict)
    header = gather(slab, packets.at, 20)
    first, total = u8(header, 0), u16(header, 2)
    size = (first & 15) * np.int64(4)
    body = packets.at + size
    why = _PROTOCOL_4[u8(header, 9)]
    why[u16(header, 6) & 0x3FFF != 0] = Reason.FRAGMENT
    why[body > packets.stop] = Reason.IP_TRUNCATED
    why[(first < 0x45) | (first > 0x4F) | ((total < size) & (total != 0))] = Reason.IP_BAD_HEADER
    packets = packets._replace(at=body, end=_shorter(packets, total, packets.at + total), net=packets.net + 4)
    kept = passing(packets, why, verdict)
    if kept is not None:
        packets, header = chosen(packets, kept), header[kept]
    source, destination = u32(header, 12).astype(np.uint64), u32(header, 16).astype(np.uint64)
    high = np.zeros(header.size, np.uint64)
    return packets, Addresses(high, source, high, destination)


def ipv6(slab: U8, packets: Packets, verdict: U8) -> tuple[Packets, Addresses]:
    """Datagrams whose payload is TCP, with no extension header between.

    Payload length 0 before TCP cannot be but for segmentation offload: treated as in ``ipv4``.
    """
    packets = drop(packets, packets.at + 40 > packets.stop, Reason.IP_TRUNCATED, verdict)
    header = gather(slab, packets.at, 40)
    declared = u16(header, 4)
    body = packets.at + 40
    why = _PROTOCOL_6[u8(header, 6)]
    why[u8(header, 0) >> 4 != 6] = Reason.IP_BAD_HEADER
    packets = packets._replace(at=body, end=_shorter(packets, declared, body + declared), net=packets.net + 6)
    kept = passing(packets, why, verdict)
    if kept is not None:
        packets, header = chosen(packets, kept), header[kept]
    return packets, Addresses(u64(header, 8), u64(header, 16), u64(header, 24), u64(header, 32))


def _shorter(packets: Packets, declared: U16, end: I64) -> I64:
    """Where the datagram ends: ``end``, but never beyond the frame, and with it where 0 is declared."""
    end[declared == 0] = np.iinfo(np.int64).max
    return np.minimum(end, packets.end)


def tcp(slab: U8, packets: Packets, addresses: Addresses, verdict: U8, records: Records, has_macs: bool) -> Decoded:
    """Segments. Where the capture cuts the options all of the payload is missing, but its size is known."""
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
    kept = passing(packets, why, verdict)
    if kept is not None:
        packets, addresses = chosen(packets, kept), chosen(addresses, kept)
        header, start = header[kept], start[kept]
    verdict[packets.row] = Reason.TCP
    mac = start - records.start[packets.row].view(np.int64) if has_macs else np.zeros_like(start)
    return Decoded(
        reason=verdict,
        row=packets.row,
        **addresses._asdict(),
        sport=u16(header, 0),
        dport=u16(header, 2),
        net=packets.net,
        seq=u32(header, 4),
        ack=u32(header, 8),
        flags=u8(header, 13),
        start=start.view(np.uint64),
        size=(packets.end - start).astype(np.uint32),
        missing=np.maximum(packets.end - np.maximum(packets.stop, start), 0).astype(np.uint32),
        mac=mac.astype(np.uint16),
    )


def _in_order(parts: list[Decoded], verdict: U8) -> Decoded:
    """Several parts (another link type or IP version each) as one, by row."""
    order = np.argsort(np.concatenate([part.row for part in parts]), kind="stable")
    _, *columns = zip(*parts, strict=True)
    return Decoded(verdict, *(np.concatenate(column).take(order) for column in columns))
