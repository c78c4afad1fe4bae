"""The slow, obvious twin of the decoder: one packet at a time, plain Python.

Knows: link, IP and TCP headers. Does not know: columns, slabs, the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack_from


@dataclass(frozen=True)
class Segment:
    """What a TCP packet says. Places are relative to the frame's first byte."""

    src: bytes
    dst: bytes
    sport: int
    dport: int
    vlans: tuple[int, ...]
    seq: int
    ack: int
    flags: int
    start: int
    size: int
    missing: int
    mac: int


class Rejected(Exception):
    """The packet yields no segment; the message is the reason's label."""


def segment(frame: bytes, length: int, link: int) -> Segment | str:
    """The segment in the captured bytes ``frame`` of a packet that had ``length``, or why there is none."""
    try:
        kind, at, vlans = _link(frame, link)
        if kind == 0x0800:
            src, dst, at, end = _ipv4(frame, at, length)
        elif kind == 0x86DD:
            src, dst, at, end = _ipv6(frame, at, length)
        elif kind == 0x0806:
            return "arp"
        else:
            return "ieee_802_3" if kind < 0x600 else "other_network_protocol"
        return _tcp(frame, at, end, src, dst, vlans, has_macs=link == 1)
    except Rejected as reason:
        return str(reason)


def _need(frame: bytes, size: int, reason: str) -> None:
    if len(frame) < size:
        raise Rejected(reason)


def _link(frame: bytes, link: int) -> tuple[int, int, tuple[int, ...]]:
    """EtherType, where the network header starts, VLAN ids."""
    if link in (101, 228, 229):
        _need(frame, 1, "frame_truncated")
        version = frame[0] >> 4
        if version not in (4, 6):
            raise Rejected("ip_bad_header")
        return (0x0800 if version == 4 else 0x86DD), 0, ()
    if link in (0, 108):
        _need(frame, 4, "frame_truncated")
        families = {unpack_from(">I", frame)[0]}
        if link == 0:
            families.add(unpack_from("<I", frame)[0])
        kind = 0x0800 if 2 in families else 0x86DD if families & {10, 24, 28, 30} else 0xFFFF
        return kind, 4, ()
    if link not in (1, 113, 276):
        raise Rejected("unknown_link_type")
    at, place = {1: (14, 12), 113: (16, 14), 276: (20, 0)}[link]
    _need(frame, at, "frame_truncated")
    (kind,) = unpack_from(">H", frame, place)
    vlans: list[int] = []
    while kind in (0x8100, 0x88A8, 0x9100):
        if len(vlans) == 4:
            raise Rejected("too_many_vlan_tags")
        _need(frame, at + 4, "frame_truncated")
        control, kind = unpack_from(">HH", frame, at)
        vlans.append(control % 4096)
        at += 4
    return kind, at, tuple(vlans)


def _ipv4(frame: bytes, at: int, length: int) -> tuple[bytes, bytes, int, int]:
    """Addresses, where the payload starts, where the datagram ends."""
    _need(frame, at + 20, "ip_truncated")
    first, _, total, _, fragment, _, protocol = unpack_from(">BBHHHBB", frame, at)
    header = first % 16 * 4
    if first // 16 != 4 or header < 20 or 0 < total < header:
        raise Rejected("ip_bad_header")
    _need(frame, at + header, "ip_truncated")
    more, offset = fragment & 0x2000, fragment & 0x1FFF
    if more or offset:
        raise Rejected("fragment")
    if protocol != 6:
        raise Rejected({17: "udp", 1: "icmp"}.get(protocol, "other_transport_protocol"))
    end = length if total == 0 else min(at + total, length)
    return frame[at + 12 : at + 16], frame[at + 16 : at + 20], at + header, end


def _ipv6(frame: bytes, at: int, length: int) -> tuple[bytes, bytes, int, int]:
    _need(frame, at + 40, "ip_truncated")
    first, _, _, payload, following = unpack_from(">BBHHB", frame, at)
    if first // 16 != 6:
        raise Rejected("ip_bad_header")
    if following in (0, 43, 51, 60, 135, 139, 140):
        raise Rejected("ipv6_extension")
    if following != 6:
        raise Rejected({17: "udp", 58: "icmp", 44: "fragment"}.get(following, "other_transport_protocol"))
    end = length if payload == 0 else min(at + 40 + payload, length)
    return frame[at + 8 : at + 24], frame[at + 24 : at + 40], at + 40, end


def _tcp(frame: bytes, at: int, end: int, src: bytes, dst: bytes, vlans: tuple[int, ...], *, has_macs: bool) -> Segment:
    _need(frame, at + 20, "tcp_truncated")
    if end - at < 20:
        raise Rejected("ip_bad_header")
    sport, dport, seq, ack, offset, flags = unpack_from(">HHIIBB", frame, at)
    start = at + offset // 16 * 4
    if start < at + 20 or start > end:
        raise Rejected("tcp_bad_offset")
    captured = len(frame[start:end])
    size = end - start
    mac = start if has_macs else 0
    return Segment(src, dst, sport, dport, vlans, seq, ack, flags, start, size, size - captured, mac)
