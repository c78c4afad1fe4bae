"""Captures of which every packet is known: which bytes of which stream it brings, and where its record ends.

Knows: what was said. Does not know: flowshard.
Invariant: every segment follows the one before it; nothing is lost, sent again or out of order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tests.build import EPOCH_NS, Conversation, Packet, pcap_bytes, pcapng_blocks

_WORDS = [b"alpha ", b"beta ", b"gamma ", b"delta ", b"epsilon ", b"zeta "]


@dataclass(frozen=True, slots=True)
class Brought:
    """A packet, and what it brings. ``stream``: the name of its file; "" of a packet without payload."""

    packet: Packet
    stream: str = ""
    offset: int = 0
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Told:
    """A capture. Record i lies in ``data[ends[i - 1] : ends[i]]``, the first one behind ``header``."""

    brought: Sequence[Brought]
    data: bytes
    header: int
    ends: Sequence[int]

    def begins(self) -> list[int]:
        """Of each record."""
        return [self.header, *self.ends[:-1]]


def text(rng: random.Random, size: int) -> bytes:
    """Words, which compress well."""
    return b"".join(rng.choices(_WORDS, k=size // 4 + 1))[:size]


def conversations(count: int, size: int, mss: int, seed: int = 1) -> list[Brought]:
    """Connections that take turns, all of them opened before anything is said and none closed."""
    rng = random.Random(seed)
    talks = [
        Conversation(client=("10.0.0.1", 40_000 + number), start_ns=EPOCH_NS + number * 1_000, mss=mss)
        for number in range(count)
    ]
    made = [Brought(packet) for talk in talks for packet in talk.open()]
    for number, talk in enumerate(talks):
        client, server = f"10.0.0.1.{40_000 + number}", "10.0.0.2.80"
        for side, bytes_ in ((0, size // 4), (1, size)):
            name = f"{server}-{client}" if side else f"{client}-{server}"
            for offset in range(0, bytes_, mss):
                payload = text(rng, min(mss, bytes_ - offset))
                data, ack = talk.say(side, payload)
                made += [Brought(data, name, offset, payload), Brought(ack)]
    return sorted(made, key=lambda each: each.packet.time_ns)


def pcap(brought: Sequence[Brought]) -> Told:
    """As a pcap."""
    data = pcap_bytes((each.packet for each in brought), nanoseconds=True)
    sizes = [16 + len(each.packet.frame) for each in brought]
    return Told(brought, data, 24, list(accumulate(sizes, initial=24))[1:])


def pcapng(brought: Sequence[Brought]) -> Told:
    """As a pcapng."""
    blocks = pcapng_blocks([each.packet for each in brought])
    header = len(blocks[0] + blocks[1])
    return Told(brought, b"".join(blocks), header, list(accumulate(map(len, blocks[2:]), initial=header))[1:])


def streams(brought: Iterable[Brought]) -> dict[str, bytes]:
    """The files that these packets come to; what is missing between them is zeros."""
    found: dict[str, bytearray] = {}
    for each in brought:
        if each.stream:
            file = found.setdefault(each.stream, bytearray())
            file.extend(bytes(max(0, each.offset + len(each.payload) - len(file))))
            file[each.offset : each.offset + len(each.payload)] = each.payload
    return {name: bytes(file) for name, file in found.items()}
