"""The catalogue of TCP evasions: what flowshard says of each, run as a user runs it.

The numbers are those of the usual catalogue (Ptacek and Newsham's insertions and evasions as traffic generators
have them, and what later work added). Where an observer cannot know what the victim did (its distance, its
clock, its keys), the answer is always the same: the bytes are kept by policy, and the other version is in a
conflict record.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests.build import (
    ACK,
    EPOCH_NS,
    FIN,
    PSH,
    RST,
    SYN,
    URG,
    Packet,
    ethernet,
    ipv4,
    tcp,
    with_checksum,
    write_pcap,
)
from tests.report.reader import read
from tests.runs import counters, run_here

ELSEWHERE = {25: "IP fragments", 26: "IPv6 extension headers", 27: "encapsulations"}
"""Items with tests of their own, see tests/decode."""

A, B = "10.0.0.1", "10.0.0.2"
ISN = (1000, 5000)
UP, DOWN = "10.0.0.1.40000-10.0.0.2.80", "10.0.0.2.80-10.0.0.1.40000"
TOLD = ("bytes.duplicate", "bytes.conflicting", "bytes.outside", "bytes.not_data", "gaps", "bytes.gaps", "conflicts")


class Case(NamedTuple):
    """Packets, and what is said of them. A counter that is not named is 0; a file's completeness is "open"."""

    item: int
    name: str
    packets: list[bytes | Packet]
    files: dict[str, bytes]
    counts: Mapping[str, int] = MappingProxyType({})
    completeness: Mapping[str, str] = MappingProxyType({})
    words: tuple[str, ...] = ()
    connections: int = 1


def frame(
    side: int,
    offset: int,
    payload: bytes = b"",
    flags: int = ACK | PSH,
    *,
    isn: tuple[int, int] = ISN,
    ack: int = 0,
    wrong: int = 0,
    options: bytes = b"",
    data_offset: int | None = None,
    urgent: int = 0,
    total_length: int | None = None,
    ttl: int = 64,
    ip_checksum: int | None = None,
) -> bytes:
    """A packet of one side; ``offset`` counts from its first byte, so that the SYN lies at -1. ``ack`` is how many
    bytes of the other side it acknowledges. ``wrong`` is added to the right TCP checksum."""
    src, dst = (A, B)[:: -1 if side else 1]
    ports = (40000, 80)[:: -1 if side else 1]
    number = isn[1 - side] + 1 + ack if flags & ACK else 0
    body = tcp(*ports, seq=isn[side] + 1 + offset, ack=number, flags=flags, payload=payload, options=options,
               data_offset=data_offset, urgent=urgent)  # fmt: skip
    body = with_checksum(body, src, dst)
    if wrong:
        right = int.from_bytes(body[16:18], "big")
        body = body[:16] + ((right + wrong) % 0xFFFF).to_bytes(2, "big") + body[18:]
    packet = bytearray(ipv4(body, src, dst, total_length=total_length, ttl=ttl))
    if ip_checksum is not None:
        packet[10:12] = ip_checksum.to_bytes(2, "big")
    return ethernet(bytes(packet))


def up(offset: int, payload: bytes = b"", flags: int = ACK | PSH, **more: int | bytes | None) -> bytes:
    """The client's packet."""
    return frame(0, offset, payload, flags, **more)  # type: ignore[arg-type]


def down(offset: int, payload: bytes = b"", flags: int = ACK | PSH, **more: int | bytes | None) -> bytes:
    """The server's."""
    return frame(1, offset, payload, flags, **more)  # type: ignore[arg-type]


def opening(isn: tuple[int, int] = ISN) -> list[bytes | Packet]:
    """SYN, SYN-ACK, ACK."""
    return [frame(0, -1, b"", SYN, isn=isn), frame(1, -1, b"", SYN | ACK, isn=isn), frame(0, 0, b"", ACK, isn=isn)]


def closing(sent: int = 0, got: int = 0, isn: tuple[int, int] = ISN) -> list[bytes | Packet]:
    """FIN, FIN, ACK behind so many bytes of the client and of the server."""
    return [
        frame(0, sent, b"", FIN | ACK, isn=isn, ack=got), frame(1, got, b"", FIN | ACK, isn=isn, ack=sent + 1),
        frame(0, sent + 1, b"", ACK, isn=isn, ack=got + 1),
    ]  # fmt: skip


TEXT = b"GET /index.html HTTP/1.1\r\n"
BYTES = [up(i, TEXT[i : i + 1]) for i in range(len(TEXT))]
FOURS = [up(i, TEXT[i : i + 4]) for i in range(0, len(TEXT), 4)]
TIMESTAMP = b"\x01\x01\x08\x0a" + (7).to_bytes(4, "big") + (1).to_bytes(4, "big")
OLD_TIMESTAMP = b"\x01\x01\x08\x0a" + (0xF000_0000).to_bytes(4, "big") + (1).to_bytes(4, "big")
MD5_OPTION = b"\x13\x12" + bytes(16)


def versions(policy: str, stays: bytes) -> Case:
    """Queued OOOO, then NNNN which starts before it and ends inside; then the missing bytes."""
    packets = [*opening(), up(4, b"OOOO"), up(2, b"NNNN"), up(0, b"__")]
    counts = {"bytes.conflicting": 2, "conflicts": 1}
    return Case(4, f"forward overlap, {policy}", packets, {UP: b"__NN" + stays + b"OO"}, counts,
                words=("--overlap", policy))  # fmt: skip


def chaff(item: int, name: str, false: bytes) -> Case:
    """A false version in front of the true one: it is there first, and stays; the true one is kept beside it."""
    counts = {"bytes.conflicting": 4, "conflicts": 1}
    return Case(item, name, [*opening(), false, up(0, b"true")], {UP: b"lies"}, counts)


CASES = [
    Case(1, "one-byte segments", [*opening(), *BYTES, *closing(len(TEXT))], {UP: TEXT}, {}, {UP: ""}),
    Case(2, "reversed", [*opening(), *reversed(BYTES)], {UP: TEXT}),
    Case(2, "random order", [*opening(), *random.Random(1).sample(BYTES, len(BYTES))], {UP: TEXT}),
    Case(3, "exact duplicates", [*opening(), *(each for one in FOURS for each in (one, one))], {UP: TEXT},
         {"bytes.duplicate": len(TEXT)}),
    versions("first", b"OO"),
    versions("last", b"NN"),
    versions("bsd", b"NN"),
    versions("linux", b"NN"),
    versions("solaris", b"OO"),
    Case(5, "other data before the ACK", [*opening(), up(0, b"oldest"), up(1, b"NEWER")], {UP: b"oldest"},
         {"bytes.conflicting": 5, "conflicts": 1}),
    Case(5, "other data before the ACK, last", [*opening(), up(0, b"oldest"), up(1, b"NEWER")], {UP: b"oNEWER"},
         {"bytes.conflicting": 5, "conflicts": 1}, words=("--overlap", "last")),
    Case(5, "other data before the ACK, solaris: delivered is delivered",
         [*opening(), up(0, b"oldest"), up(0, b"NEWEST")], {UP: b"oldest"}, {"bytes.conflicting": 6, "conflicts": 1},
         words=("--overlap", "solaris")),
    Case(6, "other data after the ACK", [*opening(), up(0, b"oldest"), down(0, flags=ACK, ack=6), up(0, b"oldXXt")],
         {UP: b"oldest"}, {"bytes.duplicate": 4, "bytes.conflicting": 2, "conflicts": 1}),
    chaff(7, "bad TCP checksum, accepted", up(0, b"lies", wrong=1)),
    Case(7, "bad TCP checksum, verified", [*opening(), up(0, b"lies", wrong=1), up(0, b"true")], {UP: b"true"},
         {"unprocessed.bad_checksum": 1}, words=("--verify-checksums",)),
    chaff(8, "bad IP checksum, accepted", up(0, b"lies", ip_checksum=0xDEAD)),
    Case(8, "bad IP checksum, verified", [*opening(), up(0, b"lies", ip_checksum=0xDEAD), up(0, b"true")],
         {UP: b"true"}, {"unprocessed.bad_checksum": 1}, words=("--verify-checksums",)),
    Case(8, "IP length beyond the frame: a cut packet", [*opening(), up(0, b"seen", total_length=50), up(10, b"next")],
         {UP: b"seen" + bytes(6) + b"next"}, {"gaps": 1, "bytes.gaps": 6}, {UP: "open gaps"}),
    Case(8, "IP length within the headers", [*opening(), up(0, b"lies", total_length=30), up(0, b"true")],
         {UP: b"true"}, {"unprocessed.ip_bad_header": 1}),
    Case(8, "IP length shorter than the frame: padding", [*opening(), up(0, b"true####", total_length=44)],
         {UP: b"true"}),
    chaff(9, "low TTL: nobody knows how far it went", up(0, b"lies", ttl=1)),
    chaff(10, "data without a flag", up(0, b"lies", 0)),
    Case(11, "far outside the window", [*opening(), up(0, b"here"), up(1 << 31, b"lies"), up(4, b"and on")],
         {UP: b"hereand on"}, {"bytes.outside": 4}),
    Case(11, "before the SYN", [*opening(), up(0, b"here"), up(-9, b"lies")], {UP: b"here"}, {"bytes.outside": 4}),
    Case(12, "a SYN amid data, never answered", [*opening(), up(0, b"here"), up(4000, b"", SYN), up(4, b"and on")],
         {UP: b"hereand on"}),
    Case(12, "a SYN with another number, answered",
         [*opening(), up(0, b"here"), *opening((90_000, 70_000)), frame(0, 0, b"anew", isn=(90_000, 70_000))],
         {UP: b"here", UP + "c0001": b"anew"}, connections=2),
    Case(13, "data on SYN and on SYN-ACK",
         [up(-1, b"fast ", SYN), down(-1, b"open ", SYN | ACK, ack=5), up(5, b"on", ack=5), down(5, b"yes", ack=7)],
         {UP: b"fast on", DOWN: b"open yes"}),
    Case(14, "handshake in four", [up(-1, b"", SYN), down(-1, b"", SYN), up(-1, b"", SYN | ACK), down(0, b"", ACK),
         up(0, b"ask"), down(0, b"answer", ack=3)], {UP: b"ask", DOWN: b"answer"}),
    Case(14, "handshake in five", [up(-1, b"", SYN), down(77, b"", ACK), down(-1, b"", SYN), up(-1, b"", SYN | ACK),
         down(0, b"", ACK), up(0, b"ask"), down(0, b"answer", ack=3)], {UP: b"ask", DOWN: b"answer"}),
    Case(15, "several SYN-ACKs: the first gives the number",
         [up(-1, b"", SYN), down(-1, b"", SYN | ACK), down(4999, b"lies", SYN | ACK), up(0, b"ask"),
          down(0, b"answer", ack=3)], {UP: b"ask", DOWN: b"answer"}, {"bytes.not_data": 4}),
    Case(16, "RST with a bad checksum, accepted: data behind it still belongs",
         [*opening(), up(0, b"here"), up(4, b"", RST, wrong=1), up(4, b"and on")], {UP: b"hereand on"}, {}, {UP: ""}),
    Case(16, "RST with a bad checksum, verified",
         [*opening(), up(0, b"here"), up(4, b"", RST, wrong=1), up(4, b"and on")], {UP: b"hereand on"},
         {"unprocessed.bad_checksum": 1}, words=("--verify-checksums",)),
    Case(16, "RST far outside the window ends nothing", [*opening(), up(0, b"here"), up(1 << 31, b"", RST),
         up(4, b"and on")], {UP: b"hereand on"}),
    Case(16, "RST with text", [*opening(), up(0, b"here"), up(4, b"go away", RST | ACK), up(4, b"and on")],
         {UP: b"hereand on"}, {"bytes.not_data": 7}, {UP: ""}),
    Case(17, "FIN, then the data before it", [*opening(), up(4, b"", FIN | ACK), up(0, b"late")], {UP: b"late"}, {},
         {UP: ""}),
    Case(17, "data beyond the FIN, and the FIN again",
         [*opening(), up(0, b"here", FIN | ACK), up(4, b"", FIN | ACK), up(4, b" beyond")], {UP: b"here beyond"}, {},
         {UP: ""}),
    chaff(18, "a timestamp that PAWS would refuse", up(0, b"lies", options=OLD_TIMESTAMP)),
    Case(18, "... as a retransmission", [*opening(), up(0, b"true", options=TIMESTAMP),
         up(0, b"lies", options=OLD_TIMESTAMP)], {UP: b"true"}, {"bytes.conflicting": 4, "conflicts": 1}),
    Case(19, "urgent data stands inline", [*opening(), up(0, b"ab!c", ACK | URG, urgent=3), up(4, b"d", urgent=9)],
         {UP: b"ab!cd"}),
    Case(19, "an urgent pointer into a hole", [*opening(), up(4, b"!d", ACK | URG, urgent=1), up(0, b"abc?")],
         {UP: b"abc?!d"}),
    Case(20, "a data offset below five", [*opening(), up(0, b"lies", data_offset=4), up(0, b"true")], {UP: b"true"},
         {"unprocessed.tcp_bad_offset": 1}),
    Case(20, "a data offset beyond the packet", [*opening(), up(0, b"lies", data_offset=15), up(0, b"true")],
         {UP: b"true"}, {"unprocessed.tcp_bad_offset": 1}),
    chaff(20, "options of no length: nobody knows who refused them", up(0, b"lies", options=b"\x08\x00\x05\xff")),
    chaff(20, "an MD5 option: nobody has the key", up(0, b"lies", options=MD5_OPTION)),
    Case(21, "keep-alive", [*opening(), up(0, b"here"), up(3, b"\0", ACK), up(4, b"and on")], {UP: b"hereand on"},
         {"bytes.not_data": 1}),
    Case(22, "no SYN, the second segment first", [up(4, b"and on"), down(0, b"answer", ack=10), up(0, b"here")],
         {UP: b"hereand on", DOWN: b"answer"}, {}, {UP: "midstream open", DOWN: "midstream open"}),
    Case(22, "one side only, a segment lost", [up(0, b"here"), up(10, b"and on")], {UP: b"here" + bytes(6) + b"and on"},
         {"gaps": 1, "bytes.gaps": 6}, {UP: "midstream open gaps"}),
    Case(23, "the tuple again after FINs", [*opening(), up(0, b"one"), *closing(3), *opening((9000, 7000)),
         frame(0, 0, b"two", isn=(9000, 7000))], {UP: b"one", UP + "c0001": b"two"}, {}, {UP: ""}, connections=2),
    Case(23, "the tuple again, no FIN, numbers nearby", [*opening(), up(0, b"one"), *opening((2000, 6000)),
         frame(0, 0, b"two", isn=(2000, 6000))], {UP: b"one", UP + "c0001": b"two"}, connections=2),
    Case(24, "sequence wrap", [*opening((2**32 - 3, 2**32 - 1)), *(
         frame(0, i, TEXT[i : i + 4], isn=(2**32 - 3, 2**32 - 1)) for i in range(0, len(TEXT), 4))], {UP: TEXT}),
    Case(28, "cut by the snap length", [*opening(), Packet(0, up(0, b"seencut")).cut(58), up(7, b"next")],
         {UP: b"seen" + bytes(3) + b"next"}, {"gaps": 1, "bytes.gaps": 3}, {UP: "open snapped"}),
    Case(29, "two answers: the first one wins, the other is kept", [*opening(), up(0, b"ask"),
         down(0, b"forged answer", ack=3), down(0, b"honest answer!", ack=3)],
         {UP: b"ask", DOWN: b"forged answer!"}, {"bytes.duplicate": 8, "bytes.conflicting": 5, "conflicts": 2}),
    Case(30, "a zero-window probe: its byte is data, and a duplicate when it comes again",
         [*opening(), up(0, b"here"), up(4, b"a"), up(4, b"and on")], {UP: b"hereand on"}, {"bytes.duplicate": 1}),
    Case(30, "a probe without payload", [*opening(), up(0, b"here"), up(3, b"", ACK), up(4, b"and on")],
         {UP: b"hereand on"}),
]  # fmt: skip


def test_every_item_has_a_case() -> None:
    """The 30 items of the catalogue, less those that are tested elsewhere."""
    assert {case.item for case in CASES} | ELSEWHERE.keys() == set(range(1, 31))
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.item}: {case.name}")
def test_what_is_said(case: Case, tmp_path: Path) -> None:
    """The files, what keeps each from being whole, the conflicts, and every byte's account."""
    packets = [
        Packet(EPOCH_NS + i * 1_000_000, *((each.frame, each.length) if isinstance(each, Packet) else (each,)))
        for i, each in enumerate(case.packets)
    ]
    capture = write_pcap(tmp_path / "x.pcap", packets)
    out = tmp_path / "out"
    finished = run_here("-r", capture, "-o", out, "--workers", 0, "--quiet", *case.words)
    assert finished.status == 0, finished.err
    report = read((out / "report.xml").read_bytes())
    names = {path.name for path in out.iterdir() if path.name.startswith("10.")}
    assert {name: (out / name).read_bytes() for name in names} == case.files
    found = counters(report)
    told = {name: found[name] for name in TOLD} | {k: v for k, v in found.items() if k.startswith("unprocessed.")}
    assert {name: value for name, value in told.items() if value} == case.counts
    assert found["connections"] == case.connections
    flows = {
        file.tags["filename"]: attributes
        for file in report.files for tag, attributes in file.foreign if tag == "tcpflow"
    }  # fmt: skip
    expected = {name: case.completeness.get(name, "open") for name in case.files}
    conflicts = sum(int(attributes["violations"]) for attributes in flows.values())
    assert conflicts == case.counts.get("conflicts", 0)
    assert {n: a["completeness"].replace(" conflicts", "") for n, a in flows.items()} == expected
    kept = b"".join(path.read_bytes() for path in out.glob("conflicts-*"))
    assert len(kept) == case.counts.get("bytes.conflicting", 0)
