"""One packet of every shape that the decoder knows or must turn away, and how to lay packets out.

Knows: builders of tests/build.py, the columns of Records and Decoded. Does not know: what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.decode.kernels import Decoded
from pipeline.decode.reasons import Reason
from pipeline.source.records import Records
from tests import build as b
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
    "snapped": Case(b.ethernet(b.ipv4(_segment(bytes(100)))), captured=80),
    "snapped, no payload left": Case(b.ethernet(b.ipv4(_segment(bytes(100)))), captured=54),
    "snapped inside tcp options": Case(b.ethernet(b.ipv4(_segment(options=b"\1" * 12))), captured=58),
}

REJECTED: dict[Reason, list[Case]] = {
    Reason.FRAME_TRUNCATED: [
        Case(b""),
        Case(b.ethernet(V4)[:13]),
        Case(b.ethernet(V4, vlans=(1,))[:17]),
        Case(b"", 101),
        Case(b.null_loopback(V4)[:3], 0),
        Case(b.sll(V4)[:15], 113),
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
    ],
    Reason.TCP_TRUNCATED: [Case(b.ethernet(V4)[:53]), Case(b.ethernet(V6)[:54])],
    Reason.TCP_BAD_OFFSET: [
        Case(b.ethernet(b.ipv4(b.tcp(1, 2, data_offset=4)))),
        Case(b.ethernet(b.ipv4(b.tcp(1, 2, data_offset=6)), pad_to=60)),
    ],
    Reason.TOO_MANY_VLAN_TAGS: [Case(b.ethernet(V4, vlans=(1, 2, 3, 4, 5)))],
    Reason.UNKNOWN_LINK_TYPE: [Case(b.ethernet(V4), 127), Case(b"", 65535)],
    Reason.ARP: [Case(b.arp_frame()), Case(b.sll(b.arp(), kind=0x0806), 113)],
    Reason.IEEE_802_3: [Case(b.ethernet(bytes(46), kind=46)), Case(b.ethernet(bytes(46), kind=0x5FF))],
    Reason.OTHER_NETWORK_PROTOCOL: [
        Case(b.ethernet(bytes(46), kind=0x600)),
        Case(b.ethernet(V4, kind=0x8847)),
        Case(b.null_loopback(V4, family=7), 0),
        Case(b.null_loopback(V4), 108),
    ],
    Reason.UDP: [Case(b.udp4()), Case(b.ethernet(b.ipv6(b.udp(1, 2), next_header=17)))],
    Reason.ICMP: [
        Case(b.ethernet(b.ipv4(bytes(8), protocol=1))),
        Case(b.ethernet(b.ipv6(bytes(8), next_header=58))),
    ],
    Reason.OTHER_TRANSPORT_PROTOCOL: [
        Case(b.ethernet(b.ipv4(V4, protocol=4))),
        Case(b.ethernet(b.ipv4(bytes(8), protocol=58))),
        Case(b.ethernet(b.ipv6(bytes(8), next_header=50))),
    ],
    Reason.IPV6_EXTENSION: [Case(b.ethernet(b.ipv6(b.ipv6_extension(_segment()), next_header=0)))],
    Reason.FRAGMENT: [
        Case(b.ethernet(b.ipv4(_segment(), more_fragments=True))),
        Case(b.ethernet(b.ipv4(_segment(), fragment_offset=8))),
        Case(b.ethernet(b.ipv4(b.udp(1, 2), protocol=17, fragment_offset=8))),
        Case(b.ethernet(b.ipv6(b.ipv6_fragment(_segment()), next_header=44))),
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


def as_told(decoded: Decoded, starts: Sequence[int]) -> list[Segment | str]:
    """A Decoded in the oracle's words: for each record its segment or the label of its reason."""
    told: list[Segment | str] = [Reason(reason).label for reason in decoded.reason.tolist()]
    columns = (column.tolist() for column in decoded[1:])
    for row, sh, sl, dh, dl, sport, dport, net, seq, ack, flags, start, size, missing, mac in zip(
        *columns, strict=True
    ):
        assert told[row] == "tcp"
        if net & 15 == 4:
            src, dst = sl.to_bytes(4, "big"), dl.to_bytes(4, "big")
        else:
            assert net & 15 == 6
            src, dst = (sh << 64 | sl).to_bytes(16, "big"), (dh << 64 | dl).to_bytes(16, "big")
        vlans = tuple(net >> 8 + 12 * i & 0xFFF for i in range(net >> 4 & 15))
        start -= starts[row]
        told[row] = Segment(src, dst, sport, dport, vlans, seq, ack, flags, start, size, missing, mac)
    assert "tcp" not in told
    return told
