"""A capture in which all happens that a network does to TCP, and some that only an attacker does.

Knows: what the traffic is. Does not know: flowshard, or what should come of it.
Invariant: the same seed gives the same packets. Payload is printable.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from tests.build import (
    ACK,
    FIN,
    LINK_RAW,
    PSH,
    RST,
    SYN,
    Conversation,
    Packet,
    arp_frame,
    disturb,
    ethernet,
    in_turns,
    ipv4,
    pcapng_blocks,
    tcp4,
    udp4,
    write_pcap,
    write_pcapng,
)

SECOND = 1_000_000_000
FAR = 20 << 20  # further than the holes of one file may reach
_LETTERS = bytes(range(0x21, 0x7F))


def text(rng: random.Random, size: int) -> bytes:
    """Printable bytes."""
    return bytes(rng.choices(_LETTERS, k=size))


class Rough:
    """Makes the conversations. Each method returns the packets of one kind of trouble."""

    def __init__(self, seed: int, size: int = 12_000) -> None:
        """``size``: bytes of the longest answers."""
        self.rng = random.Random(seed)
        self.size = size
        self.port = 40_000

    def conversation(self, **facts: object) -> Conversation:
        """One with numbers and a time of its own."""
        self.port += 1
        rng = self.rng
        given = {
            "client": ("10.0.0.1", self.port), "isn": (rng.getrandbits(32), rng.getrandbits(32)),
            "start_ns": 1_620_000_000 * SECOND + rng.randrange(5 * SECOND), "mss": rng.choice([536, 1400, 1460]),
            "acknowledge": rng.random() < 0.8,
        }  # fmt: skip
        return Conversation(**(given | facts))  # type: ignore[arg-type]

    def turns(self) -> list[tuple[int, bytes]]:
        """Question and answer, a few times."""
        rng = self.rng
        return [
            turn
            for _ in range(rng.randint(1, 3))
            for turn in ((0, text(rng, rng.randint(1, 300))), (1, text(rng, rng.randint(1, self.size))))
        ]

    def disturbed(self, **facts: object) -> list[Packet]:
        """Reordered, lost, duplicated."""
        packets = self.conversation(**facts).packets(self.turns())
        return disturb(packets, self.rng, reorder=0.1, lose=0.03, duplicate=0.05)

    def long_and_lossy(self) -> list[Packet]:
        """Over the whole time of the capture, with many holes."""
        talk = self.conversation(start_ns=1_620_000_000 * SECOND, step_ns=SECOND // 4, mss=536, acknowledge=False)
        return disturb(talk.packets([(1, text(self.rng, self.size))]), self.rng, lose=0.3)

    def midstream(self) -> list[Packet]:
        """No SYN, and the first packets out of order."""
        packets = self.conversation().packets([(0, text(self.rng, 400)), (1, text(self.rng, self.size))])[3:]
        return [*disturb(packets[:8], self.rng, reorder=0.7), *packets[8:]]

    def conflicting(self) -> list[Packet]:
        """Retransmissions with other bytes, and with the same, across the borders of segments."""
        talk, rng = self.conversation(), self.rng
        made = [*talk.open()]
        first = talk.next_seq[1]
        for _ in range(6):
            made += talk.say(1, text(rng, self.size // 12))
            behind = (talk.next_seq[1] - first) % (1 << 32)
            at = rng.randrange(behind)
            size = rng.randint(1, self.size // 16)
            made.append(talk.segment(1, text(rng, size), seq=(first + at) % (1 << 32), flags=ACK | PSH))
        return [*made, *talk.finish()]

    def reused(self) -> list[Packet]:
        """One tuple, five connections: closed, reset, empty, cut off by the next SYN, and the last."""
        client, made, start = ("10.0.0.9", 50_000), [], 1_620_000_000 * SECOND
        for number in range(5):
            talk = self.conversation(client=client, start_ns=start + number * SECOND, step_ns=100_000)
            made += talk.open()
            if number != 2:
                made += talk.say(0, text(self.rng, 200)) + talk.say(1, text(self.rng, self.size // 4))
            if number == 1:
                made += talk.reset()
            elif number != 3:
                made += talk.finish()
        return made

    def far_jump(self) -> list[Packet]:
        """A hole too large for one file, then one that is outside of any window."""
        talk, rng = self.conversation(client=("10.0.0.7", 50_500)), self.rng
        made = [*talk.open(), *talk.say(1, text(rng, 2_000))]
        talk.next_seq[1] = (talk.next_seq[1] + FAR) % (1 << 32)
        made += talk.say(1, text(rng, 2_000))
        made.append(talk.segment(1, b"nowhere", seq=(talk.next_seq[1] + 3 * (FAR << 6)) % (1 << 32)))
        talk.next_seq[1] = (talk.next_seq[1] + FAR) % (1 << 32)
        return [*made, *talk.say(1, text(rng, 100)), *talk.finish()]

    def probes(self) -> list[Packet]:
        """Keep-alive probes, data on SYN, data behind FIN and RST, a doubled FIN."""
        talk = self.conversation(client=("10.0.0.8", 50_600))
        syn = talk.segment(0, b"early", flags=SYN)
        talk.next_seq[0] = (talk.next_seq[0] + 6) % (1 << 32)
        made = [syn, talk.segment(1, flags=SYN | ACK)]
        talk.next_seq[1] = (talk.next_seq[1] + 1) % (1 << 32)
        made += [talk.segment(0), *talk.say(0, b"then this"), *talk.say(1, text(self.rng, self.size // 4))]
        made.append(talk.segment(0, b"\0", seq=(talk.next_seq[0] - 1) % (1 << 32)))
        ends = talk.finish()
        late = talk.segment(1, b"late", flags=ACK | PSH | FIN)
        return [*made, *ends, ends[0], late, talk.segment(0, b"dead", flags=RST | ACK)]

    def snapped(self) -> list[Packet]:
        """A snap length that cuts payload."""
        packets = self.conversation().packets([(0, text(self.rng, 100)), (1, text(self.rng, self.size // 2))])
        return [packet.cut(200) for packet in packets]

    def strangers(self) -> list[Packet]:
        """What is no TCP segment, or none that can be read."""
        start = 1_620_000_001 * SECOND
        whole = tcp4(payload=b"x" * 50)
        frames = [
            arp_frame(), udp4(payload=b"udp"), ethernet(ipv4(b"ping", protocol=1)), whole[:10], whole[:30], whole[:40],
            ethernet(ipv4(b"x" * 64, more_fragments=True)), ethernet(b"\x60\x04" + bytes(40), kind=0x0800),
        ]  # fmt: skip
        made = [Packet(start + i, frame) for i, frame in enumerate(frames)]
        return made + [Packet(start + 100 + i, tcp4(sport=i, flags=SYN)) for i in range(20)]

    def packets(self, disturbed: int) -> list[Packet]:
        """All of it in one timeline. ``disturbed``: conversations of the plain kind."""
        six = {"client": ("2001:db8::7", 41_000), "server": ("2001:db8::80", 80)}
        tagged = {"client": ("10.0.0.3", 42_000)}  # one tuple, three networks
        parts = [self.disturbed() for _ in range(disturbed)]
        parts += [self.disturbed(vlans=vlans, **tagged) for vlans in ((), (10,), (10, 20))]
        parts += [self.disturbed(**six), self.disturbed(vlans=(7,), **six)]
        parts.append(self.disturbed(isn=(2**32 - 100, 2**32 - 1)))
        parts.append(self.long_and_lossy())
        parts += [self.midstream(), self.midstream(), self.conflicting(), self.conflicting(), self.reused()]
        parts += [self.far_jump(), self.probes(), self.snapped(), self.strangers()]
        return in_turns(*parts)


def write(folder: Path, seed: int = 1, disturbed: int = 12) -> list[Path]:
    """The traffic in two captures, pcap and pcapng, connections going on from one to the other."""
    packets = Rough(seed).packets(disturbed)
    half = len(packets) // 2
    raw = Conversation(client=("10.0.0.5", 43_000), link=LINK_RAW, start_ns=packets[half].time_ns)
    rest = in_turns(packets[half:], raw.packets([(0, b"raw"), (1, b"IP " * 700)]))
    return [
        write_pcap(folder / "first.pcap", packets[:half], nanoseconds=True),
        write_pcapng(folder / "second.pcapng", *pcapng_blocks(rest)),
    ]


def write_small(folder: Path) -> Path:
    """A small one in a single classic capture, with whole microseconds."""
    packets = [replace(p, time_ns=p.time_ns // 1000 * 1000) for p in Rough(7, 1_600).packets(1)]
    return write_pcap(folder / "rough.pcap", packets)
