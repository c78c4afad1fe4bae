"""What captures are made wrong of: all that goes wrong on a network, every packet shape, fragments, protocols that are
read, real traffic.

Knows: builders, the shared captures where there are any. Does not know: what becomes of them.
Invariant: the same captures in the same order, every time; the shared ones are the last.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import random
from dataclasses import replace

from tests import build as b
from tests.decode.shapes import ALL
from tests.rough import Rough
from tests.shared import SHARED
from tests.source.reading import snoop_bytes
from tests.test_analysis_runs import packets as http

MOST_SHARED = 400_000
"""Bytes of a shared capture that is used: a run of a larger one says no more and takes longer."""


@functools.cache
def made() -> dict[str, bytes]:
    """Captures of ours by name; some 50 kB each."""
    rough = [replace(p, time_ns=p.time_ns // 1000 * 1000) for p in Rough(7, 1_600).packets(1)]
    shapes = [
        b.Packet(b.EPOCH_NS + 1000 * i, case.seen, case.wire, case.link) for i, case in enumerate(ALL)
    ]  # fmt: skip
    ethernet = [packet for packet in shapes if packet.link == b.LINK_ETHERNET]
    plain = b.Conversation().packets([(0, b"question " * 20), (1, b"answer " * 900)])
    raw = [replace(packet, frame=packet.frame[14:], link=b.LINK_RAW) for packet in plain]
    return {
        "rough.pcap": b.pcap_bytes(rough),
        "rough-nano-big.pcap": b.pcap_bytes(rough, nanoseconds=True, big_endian=True),
        "rough.pcapng": b"".join(b.pcapng_blocks(rough)),
        "rough.snoop": snoop_bytes(rough),
        "rough-kuznetzov.pcap": b.pcap_bytes(rough, kuznetzov=True),
        "shapes.pcap": b.pcap_bytes(ethernet),
        "shapes.pcapng": b"".join(b.pcapng_blocks(shapes)),
        "shapes-big.pcapng": b"".join(b.pcapng_blocks(shapes, big_endian=True)),
        "plain.pcap": b.pcap_bytes(plain),
        "raw.pcap": b.pcap_bytes(raw, link=b.LINK_RAW),
        "fragments.pcap": b.pcap_bytes(_fragments(plain)),
        "wrapping.pcap": b.pcap_bytes(_around_the_circle()),
        "http.pcap": b.pcap_bytes(http(step=11)),
        "http-few.pcap": b.pcap_bytes(http(step=13)),
        "smtp.pcap": b.pcap_bytes(b.Conversation(server=("10.0.0.2", 25)).packets(_MAIL)),
    }


def _fragments(packets: list[b.Packet]) -> list[b.Packet]:
    """Each datagram as fragments, in a disturbed order, some twice."""
    cut = []
    for number, packet in enumerate(packets):
        body = packet.frame[34:]
        src, dst = ("10.0.0.1", "10.0.0.2")[:: 1 if packet.frame[26:30] == b"\x0a\0\0\1" else -1]
        for at in range(0, len(body), 200):
            piece = b.ipv4(
                body[at : at + 200],
                src,
                dst,
                identifier=number,
                fragment_offset=at,
                more_fragments=at + 200 < len(body),
            )
            cut.append(replace(packet, frame=b.ethernet(piece)))
    return b.disturb(cut, random.Random(3), reorder=0.2, duplicate=0.2, lose=0.02)


def _around_the_circle() -> list[b.Packet]:
    """Numbers that pass 2**32 in both directions, with retransmissions and a hole."""
    talk = b.Conversation(isn=(2**32 - 300, 2**31 - 300))
    packets = talk.packets([(0, bytes(range(33, 120)) * 10), (1, b"x" * 5000), (0, b"y" * 4000)])
    return b.disturb(packets, random.Random(5), reorder=0.2, duplicate=0.2, lose=0.05)


_MAIL = [
    (1, b"220 here\r\n"), (0, b"EHLO there\r\n"), (1, b"250-here\r\n250 CHUNKING\r\n"), (0, b"MAIL FROM:<a@b>\r\n"),
    (1, b"250 ok\r\n"), (0, b"RCPT TO:<c@d>\r\n"), (1, b"250 ok\r\n"), (0, b"DATA\r\n"), (1, b"354 go on\r\n"),
    (0, b"Subject: x\r\n\r\n" + b"..stuffed\r\n" * 300 + b".\r\n"), (1, b"250 ok\r\n"), (0, b"QUIT\r\n"),
    (1, b"221 bye\r\n"),
]  # fmt: skip


@functools.cache
def shared() -> dict[str, bytes]:
    """The smaller shared captures by name; empty without them."""
    if SHARED is None:
        return {}
    paths = sorted((SHARED / "captures" / "files").iterdir())
    return {path.name: path.read_bytes() for path in paths if path.stat().st_size <= MOST_SHARED}


def packed(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """How a capture is handed over: mostly as it is (an empty suffix), sometimes compressed, then seldom damaged."""
    suffix, pack = rng.choice(_PACKED)
    if rng.random() < 0.8:
        return "", data
    made = pack(data)
    if rng.random() < 0.3 and made:
        at = rng.randrange(len(made))
        made = made[:at] + bytes([made[at] ^ 1 << rng.randrange(8)]) + made[at + 1 :]
    if rng.random() < 0.2:
        made = made[: rng.randrange(len(made))]
    return suffix, made


_PACKED = (
    (".gz", lambda data: gzip.compress(data, 1, mtime=0)),
    (".gz", lambda data: gzip.compress(data[:1000], 1, mtime=0) + gzip.compress(data[1000:], 1, mtime=0)),
    (".bz2", lambda data: bz2.compress(data, 1)),
    (".xz", lambda data: lzma.compress(data, preset=0)),
)
