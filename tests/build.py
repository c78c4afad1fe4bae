"""Small captures, made by hand: frames, packets, conversations, files.

Knows: how headers are laid out, and how to lie in them when asked.
Does not know: flowshard. Nothing here is shared with the code under test, so a test that passes
says that two independent readings of a format agree.

Layers compose from the inside out: ``ethernet(ipv4(tcp(80, 1234, payload=b"x"), "10.0.0.1",
"10.0.0.2"), vlans=(10,))``. ``tcp4`` and ``tcp6`` are the common stacks in one call.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32

LINK_NULL, LINK_ETHERNET, LINK_RAW, LINK_LOOP, LINK_SLL, LINK_SLL2 = 0, 1, 101, 108, 113, 276

ETHER_IPV4, ETHER_ARP, ETHER_VLAN, ETHER_IPV6, ETHER_QINQ = 0x0800, 0x0806, 0x8100, 0x86DD, 0x88A8

MAC_A = bytes.fromhex("020000000001")
MAC_B = bytes.fromhex("020000000002")

EPOCH_NS = 1_620_000_000_000_000_000


# --------------------------------------------------------------------------- transport


def tcp(
    sport: int,
    dport: int,
    *,
    seq: int = 0,
    ack: int = 0,
    flags: int = ACK,
    payload: bytes = b"",
    window: int = 65535,
    options: bytes = b"",
    data_offset: int | None = None,
    urgent: int = 0,
) -> bytes:
    """A TCP segment; ``data_offset`` (in 32-bit words) may lie. The checksum is 0; see ``with_checksum``."""
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4 if data_offset is None else data_offset
    fixed = struct.pack(
        "!HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, words << 4, flags, window, 0, urgent
    )
    return fixed + options + payload


def udp(sport: int, dport: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """A UDP datagram; ``length`` may lie."""
    return struct.pack("!HHHH", sport, dport, 8 + len(payload) if length is None else length, 0) + payload


def internet_sum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_checksum(segment: bytes, src: str, dst: str, protocol: int = 6) -> bytes:
    """The TCP segment or UDP datagram with a right checksum for these addresses."""
    at = 16 if protocol == 6 else 6
    blank = segment[:at] + b"\0\0" + segment[at + 2 :]
    a, b = ip_address(src).packed, ip_address(dst).packed
    pseudo = a + b + struct.pack("!II", len(blank), protocol)
    return blank[:at] + struct.pack("!H", internet_sum(pseudo + blank)) + blank[at + 2 :]


# --------------------------------------------------------------------------- network


def ipv4(
    body: bytes,
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    *,
    protocol: int = 6,
    options: bytes = b"",
    total_length: int | None = None,
    header_words: int | None = None,
    identifier: int = 0,
    fragment_offset: int = 0,
    more_fragments: bool = False,
    ttl: int = 64,
    padding: bytes = b"",
) -> bytes:
    """An IPv4 packet. ``total_length`` and ``header_words`` may lie; ``padding`` follows the packet.

    ``fragment_offset`` is in bytes and a multiple of 8.
    """
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4 if header_words is None else header_words
    total = 20 + len(options) + len(body) if total_length is None else total_length
    fragment = fragment_offset // 8 | (0x2000 if more_fragments else 0)
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | words,
        0,
        total,
        identifier,
        fragment,
        ttl,
        protocol,
        0,
        IPv4Address(src).packed,
        IPv4Address(dst).packed,
    )
    header += options
    header = header[:10] + struct.pack("!H", internet_sum(header)) + header[12:]
    return header + body + padding


def ipv6(
    body: bytes,
    src: str = "2001:db8::1",
    dst: str = "2001:db8::2",
    *,
    next_header: int = 6,
    payload_length: int | None = None,
    flow_label: int = 0,
    hop_limit: int = 64,
    padding: bytes = b"",
) -> bytes:
    """An IPv6 packet. ``payload_length`` may lie; extension headers are part of ``body``."""
    header = struct.pack(
        "!IHBB16s16s",
        6 << 28 | flow_label,
        len(body) if payload_length is None else payload_length,
        next_header,
        hop_limit,
        IPv6Address(src).packed,
        IPv6Address(dst).packed,
    )
    return header + body + padding


def ipv6_extension(body: bytes, next_header: int = 6, content: bytes = bytes(6)) -> bytes:
    """A hop-by-hop, routing or destination options header before ``body``; content is padded to 8 bytes."""
    content += bytes(-(len(content) + 2) % 8)
    return struct.pack("!BB", next_header, (len(content) + 2) // 8 - 1) + content + body


def ipv6_fragment(
    body: bytes, *, next_header: int = 6, offset: int = 0, more: bool = False, identifier: int = 1
) -> bytes:
    """A fragment header (RFC 8200, 4.5) before ``body``; ``offset`` in bytes, a multiple of 8."""
    return struct.pack("!BBHI", next_header, 0, offset | more, identifier) + body


def arp(src: str = "10.0.0.1", dst: str = "10.0.0.2") -> bytes:
    """An ARP request, without its Ethernet header."""
    fixed = struct.pack("!HHBBH", 1, ETHER_IPV4, 6, 4, 1)
    return fixed + MAC_A + IPv4Address(src).packed + bytes(6) + IPv4Address(dst).packed


# --------------------------------------------------------------------------- link


def ether_type(packet: bytes) -> int:
    """The EtherType for an IP packet, by its version nibble."""
    return ETHER_IPV6 if packet and packet[0] >> 4 == 6 else ETHER_IPV4


def ethernet(
    packet: bytes,
    *,
    vlans: Sequence[int] = (),
    tag_types: Sequence[int] = (),
    kind: int | None = None,
    src: bytes = MAC_A,
    dst: bytes = MAC_B,
    pad_to: int = 0,
) -> bytes:
    """An Ethernet II frame without FCS. ``vlans`` are tag control fields (12-bit ids, perhaps with
    priority bits above), the outermost first; ``tag_types`` their TPIDs (default 802.1Q)."""
    types = [*tag_types, *[ETHER_VLAN] * (len(vlans) - len(tag_types))]
    tags = b"".join(struct.pack("!HH", tpid, vlan) for tpid, vlan in zip(types, vlans, strict=True))
    frame = dst + src + tags + struct.pack("!H", ether_type(packet) if kind is None else kind) + packet
    return frame + bytes(max(0, pad_to - len(frame)))


def sll(packet: bytes, *, kind: int | None = None, hardware: int = 1) -> bytes:
    """Linux cooked v1 (LINKTYPE_LINUX_SLL, 113)."""
    protocol = ether_type(packet) if kind is None else kind
    return struct.pack("!HHH8sH", 0, hardware, 6, MAC_A + b"\0\0", protocol) + packet


def sll2(packet: bytes, *, kind: int | None = None, interface: int = 2, hardware: int = 1) -> bytes:
    """Linux cooked v2 (LINKTYPE_LINUX_SLL2, 276)."""
    protocol = ether_type(packet) if kind is None else kind
    return struct.pack("!HHIHBB8s", protocol, 0, interface, hardware, 0, 6, MAC_A + b"\0\0") + packet


def null_loopback(packet: bytes, *, family: int | None = None, big_endian: bool = False) -> bytes:
    """BSD loopback (LINKTYPE_NULL, 0): address family in the capturing host's byte order.

    With ``big_endian`` it is also LINKTYPE_LOOP (108). IPv6 is 24, 28 or 30, depending on the host.
    """
    default = 30 if ether_type(packet) == ETHER_IPV6 else 2
    return struct.pack(">I" if big_endian else "<I", default if family is None else family) + packet


def tcp4(
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    sport: int = 40000,
    dport: int = 80,
    *,
    seq: int = 0,
    ack: int = 0,
    flags: int = ACK,
    payload: bytes = b"",
    vlans: Sequence[int] = (),
    options: bytes = b"",
    ip_options: bytes = b"",
    padding: bytes = b"",
    total_length: int | None = None,
) -> bytes:
    """Ethernet, IPv4, TCP. ``padding`` follows the IP packet; ``total_length`` may lie."""
    segment = tcp(sport, dport, seq=seq, ack=ack, flags=flags, payload=payload, options=options)
    packet = ipv4(
        with_checksum(segment, src, dst),
        src,
        dst,
        options=ip_options,
        total_length=total_length,
        padding=padding,
    )
    return ethernet(packet, vlans=vlans)


def tcp6(
    src: str = "2001:db8::1",
    dst: str = "2001:db8::2",
    sport: int = 40000,
    dport: int = 80,
    *,
    seq: int = 0,
    ack: int = 0,
    flags: int = ACK,
    payload: bytes = b"",
    vlans: Sequence[int] = (),
    options: bytes = b"",
    padding: bytes = b"",
    payload_length: int | None = None,
) -> bytes:
    """Ethernet, IPv6, TCP. ``padding`` follows the IP packet; ``payload_length`` may lie."""
    segment = tcp(sport, dport, seq=seq, ack=ack, flags=flags, payload=payload, options=options)
    packet = ipv6(with_checksum(segment, src, dst), src, dst, payload_length=payload_length, padding=padding)
    return ethernet(packet, vlans=vlans)


def udp4(
    src: str = "10.0.0.1", dst: str = "10.0.0.2", sport: int = 5353, dport: int = 53, payload: bytes = b""
) -> bytes:
    """Ethernet, IPv4, UDP."""
    return ethernet(ipv4(udp(sport, dport, payload), src, dst, protocol=17))


def arp_frame(src: str = "10.0.0.1", dst: str = "10.0.0.2") -> bytes:
    """Ethernet, ARP, padded to the smallest frame."""
    return ethernet(arp(src, dst), kind=ETHER_ARP, dst=b"\xff" * 6, pad_to=60)


# --------------------------------------------------------------------------- packets and conversations


@dataclass(frozen=True, slots=True)
class Packet:
    """A captured frame. ``length`` is the original length when the capture cut the frame."""

    time_ns: int
    frame: bytes
    length: int | None = None
    link: int = LINK_ETHERNET

    @property
    def wire_length(self) -> int:
        return len(self.frame) if self.length is None else self.length

    def cut(self, snaplen: int) -> Packet:
        """As a capture with this snap length would have it."""
        return replace(self, frame=self.frame[:snaplen], length=self.wire_length)


@dataclass(slots=True)
class Conversation:
    """A TCP connection that says what it is told. Sides: 0 the client, 1 the server.

    The methods ``open``, ``say``, ``finish``, ``reset`` return the packets of that step and keep
    the numbers; ``packets`` is a whole connection. ``segment`` makes any single packet.
    """

    client: tuple[str, int] = ("10.0.0.1", 40000)
    server: tuple[str, int] = ("10.0.0.2", 80)
    isn: tuple[int, int] = (1000, 5000)
    start_ns: int = EPOCH_NS
    step_ns: int = 1_000_000
    mss: int = 1460
    vlans: Sequence[int] = ()
    link: int = LINK_ETHERNET
    acknowledge: bool = True  # every data segment is answered by a bare ACK
    now_ns: int = field(init=False)
    next_seq: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.now_ns = self.start_ns
        self.next_seq = list(self.isn)

    def segment(
        self,
        side: int,
        payload: bytes = b"",
        *,
        flags: int = ACK,
        seq: int | None = None,
        ack: int | None = None,
    ) -> Packet:
        """One packet with the current numbers or those given; moves only the clock."""
        (src, sport), (dst, dport) = (self.client, self.server)[:: -1 if side else 1]
        body = tcp(
            sport,
            dport,
            seq=self.next_seq[side] if seq is None else seq,
            ack=(self.next_seq[1 - side] if ack is None else ack) if flags & ACK else 0,
            flags=flags,
            payload=payload,
        )
        body = with_checksum(body, src, dst)
        packet = ipv6(body, src, dst) if ":" in src else ipv4(body, src, dst)
        frame = self._framed(packet, side)
        made = Packet(self.now_ns, frame, link=self.link)
        self.now_ns += self.step_ns
        return made

    def _framed(self, packet: bytes, side: int) -> bytes:
        if self.link == LINK_ETHERNET:
            src, dst = (MAC_A, MAC_B)[:: -1 if side else 1]
            return ethernet(packet, vlans=self.vlans, src=src, dst=dst)
        if self.link == LINK_SLL:
            return sll(packet)
        if self.link == LINK_SLL2:
            return sll2(packet)
        if self.link in (LINK_NULL, LINK_LOOP):
            return null_loopback(packet, big_endian=self.link == LINK_LOOP)
        return packet

    def open(self) -> list[Packet]:
        """SYN, SYN-ACK, ACK."""
        syn = self.segment(0, flags=SYN)
        self._advance(0, 1)
        syn_ack = self.segment(1, flags=SYN | ACK)
        self._advance(1, 1)
        return [syn, syn_ack, self.segment(0)]

    def say(self, side: int, data: bytes) -> list[Packet]:
        """Data in segments of at most ``mss``, each acknowledged unless told otherwise."""
        made = []
        for at in range(0, len(data), self.mss):
            piece = data[at : at + self.mss]
            made.append(self.segment(side, piece, flags=ACK | PSH))
            self._advance(side, len(piece))
            if self.acknowledge:
                made.append(self.segment(1 - side))
        return made

    def finish(self) -> list[Packet]:
        """FIN from the client, FIN from the server, the last ACK."""
        first = self.segment(0, flags=FIN | ACK)
        self._advance(0, 1)
        second = self.segment(1, flags=FIN | ACK)
        self._advance(1, 1)
        return [first, second, self.segment(0)]

    def reset(self, side: int = 0) -> list[Packet]:
        return [self.segment(side, flags=RST | ACK)]

    def packets(self, turns: Iterable[tuple[int, bytes]] = ()) -> list[Packet]:
        """The whole connection: handshake, what each side says in turn, the end."""
        return [*self.open(), *(p for side, data in turns for p in self.say(side, data)), *self.finish()]

    def _advance(self, side: int, by: int) -> None:
        self.next_seq[side] = (self.next_seq[side] + by) & 0xFFFFFFFF


def disturb(
    packets: Sequence[Packet],
    rng: random.Random,
    *,
    reorder: float = 0.0,
    lose: float = 0.0,
    duplicate: float = 0.0,
    reach: int = 8,
) -> list[Packet]:
    """What a bad network makes of them: each packet is lost, doubled or moved up to ``reach`` places
    later with the given probability. Times stay in file order: they are dealt out anew, sorted."""
    kept: list[tuple[float, Packet]] = []
    for place, packet in enumerate(packets):
        if rng.random() < lose:
            continue
        for _ in range(2 if rng.random() < duplicate else 1):
            late = rng.uniform(1, reach) if rng.random() < reorder else 0
            kept.append((place + late, packet))
    kept.sort(key=lambda pair: pair[0])
    times = sorted(packet.time_ns for _, packet in kept)
    return [replace(packet, time_ns=time) for time, (_, packet) in zip(times, kept, strict=True)]


def in_turns(*conversations: Sequence[Packet]) -> list[Packet]:
    """Several conversations in one capture, by time; ties in the order given."""
    return sorted((packet for packets in conversations for packet in packets), key=lambda p: p.time_ns)


# --------------------------------------------------------------------------- classic pcap

MAGIC_MICRO, MAGIC_NANO, MAGIC_KUZNETZOV = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34


def pcap_bytes(
    packets: Iterable[Packet],
    *,
    big_endian: bool = False,
    nanoseconds: bool = False,
    link: int = LINK_ETHERNET,
    snaplen: int = 262144,
    kuznetzov: bool = False,
) -> bytes:
    """A classic capture file (draft-ietf-opsawg-pcap). ``link`` is the whole 32-bit network field."""
    order = ">" if big_endian else "<"
    magic = MAGIC_KUZNETZOV if kuznetzov else MAGIC_NANO if nanoseconds else MAGIC_MICRO
    made = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, link)]
    for packet in packets:
        seconds, fraction = divmod(packet.time_ns, 1_000_000_000)
        fraction = fraction if nanoseconds else fraction // 1000
        made.append(struct.pack(order + "IIII", seconds, fraction, len(packet.frame), packet.wire_length))
        if kuznetzov:  # interface index, protocol, packet type, padding
            made.append(struct.pack(order + "IHBB", 2, ETHER_IPV4, 0, 0))
        made.append(packet.frame)
    return b"".join(made)


def write_pcap(
    path: Path,
    packets: Iterable[Packet],
    *,
    big_endian: bool = False,
    nanoseconds: bool = False,
    link: int = LINK_ETHERNET,
    snaplen: int = 262144,
) -> Path:
    """Writes ``pcap_bytes``; returns the path."""
    path.write_bytes(pcap_bytes(packets, big_endian=big_endian, nanoseconds=nanoseconds, link=link, snaplen=snaplen))
    return path


# --------------------------------------------------------------------------- pcapng


def block(kind: int, body: bytes, *, big_endian: bool = False, trailer: int | None = None) -> bytes:
    """A block around ``body``, padded to 32 bits; the trailing length may lie."""
    order = ">" if big_endian else "<"
    body += bytes(-len(body) % 4)
    total = len(body) + 12
    return (
        struct.pack(order + "II", kind, total) + body + struct.pack(order + "I", total if trailer is None else trailer)
    )


def option(code: int, value: bytes, *, big_endian: bool = False) -> bytes:
    """One option, padded to 32 bits."""
    return struct.pack(">HH" if big_endian else "<HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(*, big_endian: bool = False, length: int = -1, version: tuple[int, int] = (1, 0)) -> bytes:
    """A section header block."""
    order = ">" if big_endian else "<"
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, *version, length), big_endian=big_endian)


def interface(
    link: int = LINK_ETHERNET,
    *,
    snaplen: int = 0,
    resolution: int | None = None,
    offset: int | None = None,
    options: bytes = b"",
    big_endian: bool = False,
) -> bytes:
    """An interface description block. ``resolution`` is the if_tsresol byte (9: ns; 0x80 | n: 2**-n s),
    ``offset`` is if_tsoffset in seconds."""
    order = ">" if big_endian else "<"
    if resolution is not None:
        options += option(9, bytes([resolution]), big_endian=big_endian)
    if offset is not None:
        options += option(14, struct.pack(order + "q", offset), big_endian=big_endian)
    if options:
        options += option(0, b"", big_endian=big_endian)
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options, big_endian=big_endian)


def enhanced(
    ticks: int,
    frame: bytes,
    *,
    interface_id: int = 0,
    length: int | None = None,
    captured: int | None = None,
    options: bytes = b"",
    big_endian: bool = False,
) -> bytes:
    """An enhanced packet block; ``ticks`` in the interface's resolution; ``captured`` may lie."""
    order = ">" if big_endian else "<"
    body = struct.pack(
        order + "IIIII",
        interface_id,
        ticks >> 32,
        ticks & 0xFFFFFFFF,
        len(frame) if captured is None else captured,
        len(frame) if length is None else length,
    )
    return block(6, body + frame + bytes(-len(frame) % 4) + options, big_endian=big_endian)


def simple(frame: bytes, *, length: int | None = None, big_endian: bool = False) -> bytes:
    """A simple packet block."""
    order = ">" if big_endian else "<"
    return block(3, struct.pack(order + "I", len(frame) if length is None else length) + frame, big_endian=big_endian)


def obsolete(
    ticks: int,
    frame: bytes,
    *,
    interface_id: int = 0,
    drops: int = 0xFFFF,
    length: int | None = None,
    captured: int | None = None,
    big_endian: bool = False,
) -> bytes:
    """An obsolete packet block (type 2)."""
    order = ">" if big_endian else "<"
    body = struct.pack(
        order + "HHIIII",
        interface_id,
        drops,
        ticks >> 32,
        ticks & 0xFFFFFFFF,
        len(frame) if captured is None else captured,
        len(frame) if length is None else length,
    )
    return block(2, body + frame, big_endian=big_endian)


def pcapng_blocks(packets: Iterable[Packet], *, big_endian: bool = False) -> list[bytes]:
    """A section with one nanosecond interface for each link type, and every packet as an EPB."""
    packets = list(packets)
    links = list(dict.fromkeys(packet.link for packet in packets))
    made = [section(big_endian=big_endian)]
    made += [interface(link, resolution=9, big_endian=big_endian) for link in links]
    made += [
        enhanced(
            packet.time_ns,
            packet.frame,
            interface_id=links.index(packet.link),
            length=packet.wire_length,
            big_endian=big_endian,
        )
        for packet in packets
    ]
    return made


def write_pcapng(path: Path, *blocks: bytes) -> Path:
    """Writes the blocks; returns the path. ``write_pcapng(path, *pcapng_blocks(packets))`` is usual."""
    path.write_bytes(b"".join(blocks))
    return path
