"""One packet of every shape that the decoder knows or must turn away, and how to lay packets out.

Knows: builders of tests/build.py and layers.py, the columns of Records and Decoded. Does not know: what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.decode.kernels import Decoded
from pipeline.decode.reasons import Reason
from pipeline.source.records import Records
from tests import build as b
from tests.decode import layers as t
from tests.decode.oracle import Segment
from workers.contract import U8


class Case(NamedTuple):
    """A frame, of which ``captured`` bytes are in the capture (None: all) and ``length`` were on the wire."""

    frame: bytes
    link: int = 1
    captured: int | None = None
    length: int | None = None

    @property
    def seen(self) -> bytes:
        return self.frame[: self.captured]

    @property
    def wire(self) -> int:
        return max(len(self.seen), len(self.frame) if self.length is None else self.length)


def _segment(payload: bytes = b"payload", options: bytes = b"") -> bytes:
    return b.tcp(40000, 80, seq=0xFEDCBA98, ack=0x12345678, flags=0xD8, payload=payload, options=options)


V4, V6 = b.ipv4(_segment()), b.ipv6(_segment())

VALID: dict[str, Case] = {
    "ethernet ipv4": Case(b.ethernet(V4)),
    "ethernet ipv6": Case(b.ethernet(V6)),
    "empty": Case(b.ethernet(b.ipv4(_segment(b"")))),
    "empty, padded": Case(b.ethernet(b.ipv4(_segment(b"")), pad_to=60)),
    "padded": Case(b.ethernet(b.ipv4(_segment(b"ab")), pad_to=60)),
    "ipv6 with a trailer": Case(b.ethernet(b.ipv6(_segment(), padding=b"trailer"))),
    "ip options": Case(b.ethernet(b.ipv4(_segment(), options=b"\1" * 12))),
    "longest headers": Case(b.ethernet(b.ipv4(_segment(options=bytes(40)), options=b"\1" * 40))),
    "tcp options": Case(b.ethernet(b.ipv4(_segment(options=b"\1" * 12)))),
    "vlan": Case(b.ethernet(V4, vlans=(10,))),
    "vlan with priority": Case(b.ethernet(V6, vlans=(0xE000 | 10,))),
    "vlan, padded": Case(b.ethernet(b.ipv4(_segment(b"")), vlans=(10,), pad_to=64)),
    "four vlans": Case(b.ethernet(V4, vlans=(1, 2, 3, 4095), tag_types=(0x88A8, 0x9100))),
    "raw ipv4": Case(V4, 101),
    "raw ipv6": Case(V6, 101),
    "link ipv4": Case(V4, 228),
    "link ipv6": Case(V6, 229),
    "sll": Case(b.sll(V4), 113),
    "sll ipv6": Case(b.sll(V6), 113),
    "sll2": Case(b.sll2(V4), 276),
    "sll vlan": Case(b.sll(b"\0\x0a\x08\0" + V4, kind=0x8100), 113),
    "sll2 vlan": Case(b.sll2(b"\0\x0a\x86\xdd" + V6, kind=0x88A8), 276),
    "null": Case(b.null_loopback(V4), 0),
    "null, other byte order": Case(b.null_loopback(V4, big_endian=True), 0),
    "null ipv6": Case(b.null_loopback(V6), 0),
    "null ipv6, netbsd": Case(b.null_loopback(V6, family=24, big_endian=True), 0),
    "loop": Case(b.null_loopback(V4, big_endian=True), 108),
    "loop ipv6": Case(b.null_loopback(V6, family=28, big_endian=True), 108),
    "offloaded": Case(b.ethernet(b.ipv4(_segment(bytes(3000)), total_length=0))),
    "offloaded ipv6": Case(b.ethernet(b.ipv6(_segment(bytes(3000)), payload_length=0))),
    "claims more than the frame": Case(b.ethernet(b.ipv4(_segment(), total_length=1500))),
    "eight vlans": Case(b.ethernet(V6, vlans=(1, 2, 3, 4, 5, 6, 7, 4095))),
    "snapped": Case(b.ethernet(b.ipv4(_segment(bytes(100)))), captured=80),
    "snapped, no payload left": Case(b.ethernet(b.ipv4(_segment(bytes(100)))), captured=54),
    "snapped inside tcp options": Case(b.ethernet(b.ipv4(_segment(options=b"\1" * 12))), captured=58),
}


def udp(payload: bytes, dport: int, sport: int = 5555) -> Case:
    return Case(b.ethernet(b.ipv4(b.udp(sport, dport, payload), "192.168.0.1", "192.168.0.2", protocol=17)))


def tunnel(body: bytes, protocol: int) -> Case:
    return Case(b.ethernet(b.ipv4(body, "192.168.0.1", "192.168.0.2", protocol=protocol)))


def tunnel6(body: bytes, next_header: int) -> Case:
    return Case(b.ethernet(b.ipv6(body, "fe80::1", "fe80::2", next_header=next_header)))


def nested(layers: int) -> bytes:
    """IPv4 in so many IPv4 packets."""
    packet = V4
    for _ in range(layers):
        packet = b.ipv4(packet, protocol=4)
    return packet


FRAME = t.inner_ethernet(V4)
TAGGED = t.inner_ethernet(V4, vlans=(20,))

LINKS: dict[str, Case] = {
    "raw as written": Case(V4, 12),
    "raw as written, openbsd": Case(V6, 14),
    "null ipv6, linux": Case(b.null_loopback(V6, family=10), 0),
    "null ipv6, windows": Case(b.null_loopback(V6, family=23), 0),
    "null ipv6, solaris": Case(b.null_loopback(V6, family=26), 0),
    "null ipv6, freebsd": Case(b.null_loopback(V6, family=28, big_endian=True), 0),
    "loop ipv6, openbsd": Case(b.null_loopback(V6, family=24, big_endian=True), 108),
    "ppp": Case(t.ppp(V4), 9),
    "ppp, framed": Case(t.ppp(V6, framed=True), 9),
    "ppp, short": Case(t.ppp(V4, short=True), 9),
    "ppp, framed and short": Case(t.ppp(V4, framed=True, short=True), 9),
    "serial ppp": Case(t.ppp(V4, framed=True), 50),
    "serial cisco": Case(t.cisco_hdlc(V6), 50),
    "ppp with direction": Case(b"\1" + t.ppp(V4), 204),
    "pppoe link": Case(t.pppoe(t.ppp(V4)), 51),
    "cisco hdlc": Case(t.cisco_hdlc(V4), 104),
    "cisco hdlc, multicast": Case(b"\x8f" + t.cisco_hdlc(V6)[1:], 104),
    "802.11": Case(t.wlan(t.llc(V4)), 105),
    "802.11 qos": Case(t.wlan(t.llc(V6), qos=True, flags=2), 105),
    "802.11 qos, ordered": Case(t.wlan(t.llc(V4), qos=True, ordered=True), 105),
    "802.11 four addresses": Case(t.wlan(t.llc(V4, oui=0xF8), four=True), 105),
    "radiotap": Case(t.radiotap(t.wlan(t.llc(V4))), 127),
    "radiotap, padded": Case(
        t.radiotap(t.wlan(t.llc(V4), qos=True, pad=2), words=(1 << 31 | 3, 0), fields=bytes(12) + b"\x20"), 127
    ),
    "radiotap, flags without padding": Case(t.radiotap(t.wlan(t.llc(V4)), words=(2,), fields=b"\x10"), 127),
    "radiotap, many words": Case(t.radiotap(t.wlan(t.llc(V4)), words=(1 << 31 | 2,) * 9, fields=b"\x20"), 127),
    "nflog": Case(t.nflog(V4), 239),
    "nflog ipv6, other order": Case(t.nflog(V6, order=">", family=10), 239),
    "sll of a gre interface": Case(b.sll(FRAME, kind=0x6558, hardware=778), 113),
    "sll2 of a monitor": Case(b.sll2(t.radiotap(t.wlan(t.llc(V4))), kind=0, hardware=803), 276),
    "sll llc": Case(b.sll(t.llc(V4), kind=4), 113),
    "atm": Case(t.llc(V4), 100),
    "mpls link": Case(t.mpls(V4, 3), 219),
    "snap": Case(t.ieee_802_3(t.llc(V4))),
    "vlan, snap": Case(b.ethernet(t.llc(V6), vlans=(9,), kind=100)),
}

TUNNELS: dict[str, Case] = {
    "mpls": Case(b.ethernet(t.mpls(V4, 16), kind=0x8847)),
    "mpls stack": Case(b.ethernet(t.mpls(V6, *range(16)), kind=0x8848)),
    "mpls, control word": Case(b.ethernet(t.mpls(bytes(4) + FRAME, 1, 2), kind=0x8847)),
    "mpls, ethernet": Case(b.ethernet(t.mpls(FRAME, 1), kind=0x8847)),
    "mpls, ethernet to a 0x address": Case(b.ethernet(t.mpls(b"\x02" + FRAME[1:], 1), kind=0x8847)),
    "vlan, mpls": Case(b.ethernet(t.mpls(V4, 16), vlans=(7,), kind=0x8847)),
    "pppoe": Case(b.ethernet(t.pppoe(t.ppp(V4)), kind=0x8864)),
    "pppoe over qinq": Case(b.ethernet(t.pppoe(t.ppp(V6)), vlans=(7, 8), kind=0x8864)),
    "pppoe, mpls": Case(b.ethernet(t.pppoe(t.ppp(t.mpls(V4, 5), protocol=0x281)), kind=0x8864)),
    "gre": tunnel(t.gre(V4, 0x0800), 47),
    "gre ipv6": tunnel(t.gre(V6, 0x86DD, flags=0xB000), 47),
    "gre in ipv6": tunnel6(t.gre(V4, 0x0800, flags=0x2000), 47),
    "gre ethernet": tunnel(t.gre(TAGGED, 0x6558, flags=0x2000), 47),
    "gre ppp": tunnel(t.gre(t.ppp(V4), 0x880B), 47),
    "gre mpls": tunnel(t.gre(t.mpls(V4, 7), 0x8847), 47),
    "pptp": tunnel(t.gre(t.ppp(V4, framed=True), 0x880B, flags=0x3000, version=1), 47),
    "pptp, acknowledged": tunnel(t.gre(t.ppp(V4), 0x880B, flags=0x3080, version=1), 47),
    "erspan i": tunnel(t.gre(FRAME, 0x88BE), 47),
    "erspan ii": tunnel(t.gre(t.erspan_2(FRAME), 0x88BE, flags=0x1000), 47),
    "erspan iii": tunnel(t.gre(t.erspan_3(FRAME), 0x22EB, flags=0x1000), 47),
    "erspan iii, longer": tunnel(t.gre(t.erspan_3(FRAME, longer=True), 0x22EB, flags=0x1000), 47),
    "erspan iii, ip": tunnel(t.gre(t.erspan_3(V6, frame_type=2), 0x22EB, flags=0x1000), 47),
    "gre of an access point": tunnel(t.gre(t.wlan(t.llc(V4), qos=True), 0x8200), 47),
    "ip in ip": tunnel(V4, 4),
    "6in4": tunnel(V6, 41),
    "4in6": tunnel6(V4, 4),
    "6in6": tunnel6(V6, 41),
    "mpls in ip": tunnel(t.mpls(V4, 5), 137),
    "ethernet in ipv6": tunnel6(FRAME, 143),
    "ip in ip, eight deep": Case(b.ethernet(nested(8))),
    "vxlan": udp(t.vxlan(FRAME), 4789),
    "vxlan, old port": udp(t.vxlan(FRAME), 8472),
    "vxlan, from the port": udp(t.vxlan(FRAME), 5555, 4789),
    "vxlan, vlans on both sides": Case(
        b.ethernet(b.ipv4(b.udp(1, 4789, t.vxlan(TAGGED)), protocol=17), vlans=(10, 4095))
    ),
    "vxlan in ipv6": tunnel6(b.udp(1, 4789, t.vxlan(t.inner_ethernet(V6), 0xFFFFFF)), 17),
    "vxlan in vxlan": udp(t.vxlan(t.inner_ethernet(b.ipv4(b.udp(1, 4789, t.vxlan(FRAME, 2)), protocol=17)), 1), 4789),
    "vxlan, group policy": udp(t.vxlan(FRAME, flags=0x88), 4789),
    "geneve": udp(t.geneve(FRAME), 6081),
    "geneve, options": udp(t.geneve(TAGGED, options=bytes(12)), 6081),
    "geneve ip": udp(t.geneve(V6, 7, kind=0x86DD), 6081),
    "gtp": udp(t.gtp(V4), 2152),
    "gtp, sequence": udp(t.gtp(V6, flags=2), 2152),
    "gtp, extensions": udp(t.gtp(V4, extensions=(b"ab", b"abcdef")), 2152),
    "teredo": udp(t.teredo(V6), 3544),
    "teredo, origin": udp(t.teredo(V6, origin=True), 3544),
    "teredo, authentication": udp(t.teredo(V6, origin=True, authentication=(3, 5)), 5555, 3544),
    "ipv6 extensions": Case(
        b.ethernet(
            b.ipv6(
                b.ipv6_extension(b.ipv6_extension(b.ipv6_extension(_segment(), 6, bytes(14)), 60), 43), next_header=0
            )
        )
    ),
    "ipv6 authentication": Case(b.ethernet(b.ipv6(t.authentication(_segment()), next_header=51))),
    "ipv4 authentication": Case(b.ethernet(b.ipv4(t.authentication(_segment()), protocol=51))),
    "ipv6 atomic fragment": Case(b.ethernet(b.ipv6(b.ipv6_fragment(_segment()), next_header=44))),
    "jumbogram": Case(
        b.ethernet(b.ipv6(t.jumbo(_segment(bytes(70000))), next_header=0, payload_length=0) + b"trailer")
    ),
    "jumbogram, other option first": Case(
        b.ethernet(b.ipv6(t.jumbo(_segment(), before=b"\x01\x02\0\0"), next_header=0, payload_length=0) + b"trailer")
    ),
    "offloaded inside": udp(t.vxlan(t.inner_ethernet(b.ipv4(_segment(bytes(300)), total_length=0))), 4789),
    "padded inside": udp(t.vxlan(t.inner_ethernet(b.ipv4(_segment(b"ab")) + bytes(6))), 4789),
    "claims more than the datagram around it": Case(
        b.ethernet(b.ipv4(b.ipv4(_segment(), total_length=1500), protocol=4)) + b"trailer"
    ),
    "claims more than pppoe": Case(
        b.ethernet(t.pppoe(t.ppp(b.ipv4(_segment(), total_length=1500))) + b"padding", kind=0x8864)
    ),
    "claims more than udp": udp(t.vxlan(t.inner_ethernet(b.ipv4(_segment(), total_length=1500))), 4789)._replace(
        length=200
    ),
    "snapped inside": udp(t.vxlan(t.inner_ethernet(b.ipv4(_segment(bytes(100))))), 4789)._replace(captured=120),
}

VALID |= LINKS | TUNNELS

REJECTED: dict[Reason, list[Case]] = {
    Reason.FRAME_TRUNCATED: [
        Case(b""),
        Case(b.ethernet(V4)[:13]),
        Case(b.ethernet(V4, vlans=(1,))[:17]),
        Case(b"", 101),
        Case(b.null_loopback(V4)[:3], 0),
        Case(b.sll(V4)[:15], 113),
        Case(t.ppp(V4)[:1], 9),
        Case(t.pppoe(t.ppp(V4))[:5], 51),
        Case(t.nflog(V4)[:20], 239),
        Case(t.radiotap(t.wlan(t.llc(V4)))[:7], 127),
        Case(t.wlan(t.llc(V4), qos=True)[:25], 105),
        Case(b.ethernet(t.mpls(V4, 5), kind=0x8847)[:18]),
        tunnel(t.gre(V4, 0x0800, flags=0x2000)[:7], 47),
        tunnel(t.gre(t.erspan_2(FRAME), 0x88BE, flags=0x1000)[:15], 47),
    ],
    Reason.IP_TRUNCATED: [
        Case(b.ethernet(V4)[:33]),
        Case(b.ethernet(b.ipv4(_segment(), options=b"\1" * 8))[:40]),
        Case(V6[:39], 101),
    ],
    Reason.IP_BAD_HEADER: [
        Case(b.ethernet(V6, kind=0x0800)),
        Case(b.ethernet(V4, kind=0x86DD)),
        Case(b.ethernet(b.ipv4(_segment(), header_words=4))),
        Case(b.ethernet(b.ipv4(_segment(), total_length=19))),
        Case(b.ethernet(b.ipv4(_segment(), total_length=39))),
        Case(b.ethernet(b.ipv6(_segment(), payload_length=19))),
        Case(b"\x50" + V4[1:], 101),
        tunnel(b"\x45" + bytes(60), 41),
        tunnel(b.ipv4(_segment(), total_length=39), 4),
        Case(t.nflog(b"\x50" + V4[1:]), 239),
    ],
    Reason.TCP_TRUNCATED: [Case(b.ethernet(V4)[:53]), Case(b.ethernet(V6)[:54])],
    Reason.TCP_BAD_OFFSET: [
        Case(b.ethernet(b.ipv4(b.tcp(1, 2, data_offset=4)))),
        Case(b.ethernet(b.ipv4(b.tcp(1, 2, data_offset=6)), pad_to=60)),
    ],
    Reason.TOO_DEEP: [
        Case(b.ethernet(V4, vlans=range(9))),
        Case(b.ethernet(nested(9))),
        Case(b.ethernet(nested(8), vlans=(1,))),
        Case(b.ethernet(t.mpls(V4, *range(17)), kind=0x8847)),
        Case(b.ethernet(b.ipv6(b.ipv6_extension(b"", 0) * 8 + b.ipv6_extension(_segment()), next_header=0))),
        udp(t.gtp(V4, extensions=(b"ab",) * 9), 2152),
        Case(b.ethernet(b.ipv4(b.udp(1, 4789, t.vxlan(FRAME)), protocol=17), vlans=range(7))),
    ],
    Reason.UNKNOWN_LINK_TYPE: [Case(b.ethernet(V4), 147), Case(b"", 65535)],
    Reason.IEEE_802_3: [
        Case(t.ieee_802_3(t.llc(V4, oui=0x00000C))),
        Case(t.ieee_802_3(t.llc(V4)[:7])),
        Case(b.sll(V4, kind=1), 113),
        Case(t.wlan(b"\x42\x42\x03" + bytes(40)), 105),
        Case(b.ethernet(bytes(46), kind=46)),
        Case(b.ethernet(bytes(46), kind=0x5FF)),
    ],
    Reason.OTHER_NETWORK_PROTOCOL: [
        Case(b.ethernet(bytes(46), kind=0x600)),
        Case(b.ethernet(t.mpls(b"\x10" + bytes(40), 5), kind=0x8847)),
        Case(b.ethernet(t.mpls(b"\x20" + bytes(40), 5), kind=0x8847)),
        Case(b.ethernet(t.pppoe(t.ppp(V4), code=0x65), kind=0x8864)),
        Case(b.ethernet(t.pppoe(t.ppp(bytes(8), protocol=0xC021)), kind=0x8864)),
        Case(b.sll(V4, hardware=824), 113),
        Case(b.sll2(V4, hardware=770), 276),
        Case(t.cisco_hdlc(V4, kind=0x8035), 104),
        Case(t.cisco_hdlc(V4, kind=8), 104),
        Case(t.nflog(V4, before=33), 239),
        Case(t.nflog(V4, length=3), 239),
        Case(b"\2\1" + t.nflog(V4)[2:], 239),
        Case(t.radiotap(t.wlan(t.llc(V4)), version=1), 127),
        Case(t.wlan(t.llc(V4), kind=0x80), 105),
        Case(t.wlan(t.llc(V4), kind=0x48), 105),
        Case(t.wlan(t.llc(V4), flags=0x41), 105),
        Case(t.wlan(t.llc(V4), flags=0x05), 105),
        Case(t.wlan(t.llc(V4), fragment=1), 105),
        Case(t.wlan(t.llc(V4), qos=True, several=True), 105),
        Case(b.null_loopback(V4, family=7), 0),
        Case(b.null_loopback(V4), 108),
    ],
    Reason.ARP: [
        Case(b.arp_frame()),
        Case(b.sll(b.arp(), kind=0x0806), 113),
        udp(t.vxlan(t.inner_ethernet(b.arp(), kind=0x0806)), 4789),
    ],
    Reason.UDP: [
        udp(t.vxlan(FRAME), 4790),
        udp(t.vxlan(FRAME, flags=0), 4789),
        udp(t.vxlan(t.inner_ethernet(V4, kind=0x86DD)), 4789),
        udp(t.vxlan(FRAME)[:22], 4789),
        udp(t.geneve(FRAME, version=1), 6081),
        udp(t.geneve(V4, kind=0x86DD), 6081),
        udp(t.gtp(V4, message=1), 2152),
        udp(t.gtp(b"\x50" + V4[1:]), 2152),
        udp(t.gtp(V4, extensions=(b"ab",))[:12] + b"\0\0\0\0" + V4, 2152),
        udp(t.teredo(V4), 3544),
        udp(t.teredo(V6)[:-1], 3544),
        udp(b"GET / HTTP/1.1", 4789),
        Case(b.udp4()),
        Case(b.ethernet(b.ipv6(b.udp(1, 2), next_header=17))),
    ],
    Reason.ICMP: [
        Case(b.ethernet(b.ipv4(bytes(8), protocol=1))),
        Case(b.ethernet(b.ipv6(bytes(8), next_header=58))),
    ],
    Reason.OTHER_TRANSPORT_PROTOCOL: [
        Case(b.ethernet(b.ipv4(bytes(8), protocol=58))),
        tunnel(t.gre(V4, 0x0800, flags=0x4000), 47),
        tunnel(t.gre(V4, 0x0800, version=2), 47),
        tunnel(t.gre(t.ppp(V4), 0x880B, flags=0x2080, version=1), 47),
        tunnel(t.gre(V4, 0x9999), 47),
        tunnel(t.gre(t.erspan_2(FRAME, version=2), 0x88BE, flags=0x1000), 47),
        tunnel(t.gre(t.erspan_3(FRAME, version=1), 0x22EB, flags=0x1000), 47),
        tunnel(t.gre(t.erspan_3(FRAME, frame_type=3), 0x22EB, flags=0x1000), 47),
        Case(b.ethernet(b.ipv6(bytes(8), next_header=50))),
    ],
    Reason.FRAGMENT: [
        Case(b.ethernet(b.ipv4(_segment(), more_fragments=True))),
        Case(b.ethernet(b.ipv4(_segment(), fragment_offset=8))),
        Case(b.ethernet(b.ipv4(b.udp(1, 2), protocol=17, fragment_offset=8))),
        Case(b.ethernet(b.ipv6(b.ipv6_fragment(_segment(), more=True), next_header=44))),
        Case(b.ethernet(b.ipv6(b.ipv6_extension(b.ipv6_fragment(_segment(), offset=8), 44), next_header=0))),
        tunnel(b.ipv4(_segment(), more_fragments=True), 4),
    ],
}

ALL = [*VALID.values(), *(case for cases in REJECTED.values() for case in cases)]


def laid_out(cases: Sequence[Case], gap: bytes = b"") -> tuple[U8, Records]:
    """The captured bytes one after the other, ``gap`` between them; the slab ends with the last one."""
    starts, made = [], bytearray()
    for case in cases:
        made += gap
        starts.append(len(made))
        made += case.seen
    captured = [len(case.seen) for case in cases]
    return np.frombuffer(bytes(made), np.uint8), records(
        starts, captured, [case.wire for case in cases], [case.link for case in cases]
    )


def records(start: Sequence[int], captured: Sequence[int], length: Sequence[int], link: Sequence[int]) -> Records:
    """Records one second apart."""
    return Records(
        np.array(start, np.uint64),
        np.array(captured, np.uint32),
        np.array(length, np.uint32),
        np.arange(len(start), dtype=np.int64) * 10**9,
        np.array(link, np.uint16),
    )


def networks(net: int, more: int) -> tuple[int | str, ...]:
    """The ids of a key's last two words, as the oracle has them."""
    bits = net >> 8 & (1 << 48) - 1 | more << 48
    slots = [bits >> 12 * i & 0xFFF for i in range(8)]
    marks = [net >> 56 + i & 1 for i in range(8)]
    count, found, i = net >> 4 & 15, [], 0
    while i < count:
        if marks[i]:
            found.append(f"{('vx', 'ge')[marks[i + 1]]}{slots[i] << 12 | slots[i + 1]}")
            i += 1
        else:
            found.append(slots[i])
        i += 1
    assert not any(slots[count:])
    assert not any(marks[count:])
    return tuple(found)


def as_told(decoded: Decoded, starts: Sequence[int]) -> list[Segment | str]:
    """A Decoded in the oracle's words: for each record its segment or the label of its reason."""
    told: list[Segment | str] = [Reason(reason).label for reason in decoded.reason.tolist()]
    columns = (column.tolist() for column in decoded[1:])
    for row, sh, sl, dh, dl, sport, dport, net, more, seq, ack, flags, start, size, missing, mac in zip(
        *columns, strict=True
    ):
        assert told[row] == "tcp"
        if net & 15 == 4:
            src, dst = sl.to_bytes(4, "big"), dl.to_bytes(4, "big")
        else:
            assert net & 15 == 6
            src, dst = (sh << 64 | sl).to_bytes(16, "big"), (dh << 64 | dl).to_bytes(16, "big")
        start -= starts[row]
        told[row] = Segment(src, dst, sport, dport, networks(net, more), seq, ack, flags, start, size, missing, mac)
    assert "tcp" not in told
    return told
