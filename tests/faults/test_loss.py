"""Packets that the capture lacks: what is left is where it was sent, what is missing is told to the byte."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.build import Conversation, Packet, write_pcap
from tests.forms import crossed
from tests.runs import flows, report_of, run_here
from tests.workers.analyzers.conversations import chunked, get, ok

LOST = [0.001, 0.01, 0.05, 0.1]
CONNECTIONS, EXCHANGES = 40, 20


@dataclass
class Talk:
    """A connection of HTTP: what each side sent, what of it was captured, where its messages lie."""

    number: int
    packets: list[Packet] = field(default_factory=list)
    sent: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    lost: tuple[list[range], list[range]] = field(default_factory=lambda: ([], []))
    messages: list[tuple[range, range, str]] = field(default_factory=list)
    """Of each exchange where its request and its answer lie, and the MD5 of the answer's body."""

    def name(self, side: int) -> str:
        """Of the file of what one side sent."""
        ends = [f"10.1.0.{self.number}.40000", "10.0.0.2.80"]
        return "-".join(ends[::-1] if side else ends)

    def expected(self, side: int) -> tuple[bytes, int, bool]:
        """Its file, how many bytes of it are missing, and whether it reaches up to the FIN: it ends with the last byte
        that was captured."""
        there = bytearray(b"\1" * len(self.sent[side]))
        for each in self.lost[side]:
            there[each.start : each.stop] = bytes(len(each))
        end = there.rfind(1) + 1
        data = bytes(byte * mark for byte, mark in zip(self.sent[side][:end], there, strict=False))
        return data, there.count(0, 0, end), end == len(there)

    def whole(self, side: int, where: range) -> bool:
        """Whether all of a message was captured."""
        return all(each.stop <= where.start or where.stop <= each.start for each in self.lost[side])


def talks(rng: random.Random, lost: float) -> Iterator[Talk]:
    """Connections whose data packets are lost with that probability; their handshakes and their ends are not."""
    for number in range(CONNECTIONS):
        talk = Talk(number)
        says = Conversation(client=(f"10.1.0.{number}", 40000), mss=536, start_ns=10**18 + number * 1000)
        talk.packets += says.open()
        for i in range(EXCHANGES):
            body = rng.randbytes(rng.randrange(1, 6000))
            pieces = [body[at : at + 999] for at in range(0, len(body), 999)]
            answer = ok(body) if rng.random() < 0.6 else chunked(*pieces)
            where = []
            for side, data in enumerate((get(f"/{number}/{i}"), answer)):
                begin = len(talk.sent[side])
                where.append(range(begin, begin + len(data)))
                talk.sent[side].extend(data)
                for packet in says.say(side, data):
                    size = len(packet.frame) - 54
                    if size and rng.random() < lost:
                        talk.lost[side].append(range(begin, begin + size))
                    else:
                        talk.packets.append(packet)
                    begin += size * (packet.frame[34:36] == (b"\0P" if side else b"\x9c@"))
            talk.messages.append((where[0], where[1], hashlib.md5(body).hexdigest()))
        talk.packets += says.finish()
        yield talk


@pytest.mark.parametrize("lost", crossed([(0.01,)], LOST))
def test_what_is_lost_is_told_and_the_rest_is_where_it_was_sent(lost: float, tmp_path: Path) -> None:
    """Random loss: every file is what was sent with zeros for the lost bytes, the gaps told are these bytes exactly (a
    lost end is a flag, no gap: the file ends with what was captured), and of answers that were captured whole behind a
    damaged one 99 % are found."""
    made = list(talks(random.Random(f"loss {lost}"), lost))
    packets = sorted((packet for talk in made for packet in talk.packets), key=lambda packet: packet.time_ns)
    capture = write_pcap(tmp_path / "in.pcap", packets)
    done = run_here("-r", capture, "-o", tmp_path / "out", "--workers", 0, "--quiet", "-e", "http")
    assert done.status == 0, done.err
    told = {file.tags["filename"]: flow for file, flow in flows(report_of(tmp_path / "out"))}
    for talk in made:
        for side in (0, 1):
            flow, (expected, missing, whole) = told[talk.name(side)], talk.expected(side)
            assert (tmp_path / "out" / talk.name(side)).read_bytes() == expected
            assert int(flow["gap_bytes"]) == missing
            assert flow["completeness"] == ("gaps" if missing or not whole else "")
    lines = [json.loads(line) for line in (tmp_path / "out" / "objects.jsonl").read_text().splitlines()]
    wanted = set(resumed(made))
    assert wanted
    assert len(wanted & {line["md5"] for line in lines}) >= 0.99 * len(wanted)


def resumed(made: list[Talk]) -> Iterator[str]:
    """The bodies of answers that are whole, as their requests are, and directly behind a damaged answer."""
    for talk in made:
        behind_damage = False
        for asked, answered, md5 in talk.messages:
            whole = talk.whole(1, answered)
            if whole and behind_damage and talk.whole(0, asked):
                yield md5
            behind_damage = not whole
