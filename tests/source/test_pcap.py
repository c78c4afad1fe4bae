"""Classic captures and snoop files: every variety, cuts, odd writers, and the slow readers."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CaptureError
from pipeline.source import reader_for
from pipeline.source.linktype import NO_LINK
from tests.build import EPOCH_NS, Conversation, Packet, pcap_bytes
from tests.source import oracle
from tests.source.reading import PATH, in_windows, read, snoop_bytes


def conversation() -> list[Packet]:
    packets = Conversation(start_ns=EPOCH_NS + 123).packets([(0, b"question"), (1, b"answer" * 700)])
    return [*packets[:5], packets[5].cut(60), *packets[6:]]


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("variety", ["micro", "nano", "kuznetzov"])
def test_varieties(variety: str, big_endian: bool) -> None:
    """Both byte orders, both time units and the long record headers give back the packets."""
    packets = conversation()
    data = pcap_bytes(packets, big_endian=big_endian, nanoseconds=variety == "nano", kuznetzov=variety == "kuznetzov")
    found = read(data).rows
    unit = 1 if variety == "nano" else 1000
    assert [data[start : start + captured] for start, captured, _, _, _ in found] == [p.frame for p in packets]
    assert [row[2:] for row in found] == [(p.wire_length, p.time_ns // unit * unit, 1) for p in packets]


@pytest.mark.parametrize(
    ("network", "link"),
    [(1, 1), (12, 101), (14, 101), (101, 101), (276, 276), (0xF400_0001, 1), (0x0001_0000 | 113, 113)],
)
def test_link_types(network: int, link: int) -> None:
    """FCS bits above the link type are masked off; raw IP by its DLT numbers is LINKTYPE_RAW."""
    assert {row[4] for row in read(pcap_bytes(conversation(), link=network)).rows} == {link}


@pytest.mark.parametrize("snaplen", [0, 1, 65535, 2**31, 2**32 - 1])
def test_a_senseless_snap_length_loses_nothing(snaplen: int) -> None:
    """The header's snap length never makes records of up to 256 KiB damage."""
    packets = [Packet(EPOCH_NS, bytes(size)) for size in (0, 60, 262_144)]
    found = read(pcap_bytes(packets, snaplen=snaplen))
    assert [row[1] for row in found.rows] == [0, 60, 262_144]
    assert not found.faults


def test_a_larger_snap_length_is_believed() -> None:
    """262145 bytes are damage by default, and a packet where the header allows it."""
    packets = [Packet(EPOCH_NS, b"ok"), Packet(EPOCH_NS, bytes(262_145))]
    found = read(pcap_bytes(packets, snaplen=300_000))
    assert (len(found.rows), found.faults) == (2, [])
    found = read(pcap_bytes(packets))
    assert len(found.rows) == 1
    assert found.spans == [(42, 16 + 262_145, "a packet record claims 262145 bytes, more than any snap length")]


def test_no_record_is_longer_than_64_mib() -> None:
    """Whatever the header allows, a record of more is damage, so that no window has to hold it."""
    data = pcap_bytes([Packet(EPOCH_NS, b"a" * 60)], snaplen=2**32 - 1) + struct.pack("<IIII", 1, 1, 2**26, 2**26)
    assert [problem for _, _, problem in read(data).spans] == [
        "a packet record claims 67108864 bytes, more than any snap length"
    ]


S = EPOCH_NS // 10**9

ODD = {
    "fractions beyond a second": [(S, 2**32 - 1), (S, 1_000_000), (S + 1, 5)],
    "a jump of years": [(S, 0), (S + 1, 0), (S + 10**9, 0), (S + 10**9, 1)],
    "one packet years off": [(S, 0), (5, 0), (S, 1), (S, 2)],
    "times going backwards": [(S - number * 100_000, 0) for number in range(9)],
    "all times zero": [(0, 0)] * 9,
    "times without any order": [(number * 2_654_435_761 % 2**32, 0) for number in range(99)],
}


@pytest.mark.parametrize("variety", ["lengths as usual", "captured longer than original", "snap length 0"])
@pytest.mark.parametrize("name", ODD)
def test_odd_writers_lose_nothing(name: str, variety: str) -> None:
    """Fields that nobody expects are added up as they are; without damage nothing is doubted."""
    captured, length = {"lengths as usual": (4, 60), "captured longer than original": (4, 2)}.get(variety, (0, 60))
    made = [struct.pack("<IIII", *time, captured, length) + b"abcd"[:captured] for time in ODD[name]]
    data = pcap_bytes([], snaplen=0) + b"".join(made)
    for found in (read(data), in_windows(data, 50), read(data + made[0][:9])):
        assert [row[1:4] for row in found.rows] == [
            (captured, max(captured, length), seconds * 10**9 + fraction * 1000) for seconds, fraction in ODD[name]
        ]
    assert not read(data).faults


VARIETIES = {
    "micro": (lambda packets: pcap_bytes(packets), 24, 16),
    "kuznetzov": (lambda packets: pcap_bytes(packets, kuznetzov=True), 24, 24),
    "snoop": (lambda packets: snoop_bytes(packets, pad=1), 16, 24),
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("variety", VARIETIES)
def test_cut_at_every_byte(variety: str, strict: bool) -> None:
    """Whatever is cut off the end, the records before the cut are there and the fault says where."""
    make, first, head = VARIETIES[variety]
    whole = make([Packet(EPOCH_NS + n, bytes(n * 7 % 23)) for n in range(6)])
    complete = read(whole).rows
    assert len(complete) == 6
    for size in range(len(whole)):
        if size < first:
            with pytest.raises(CaptureError):
                read(whole[:size])
            continue
        found = read(whole[:size], strict=strict)
        before = [row for row in complete if row[0] + row[1] <= size]
        assert found.rows == before
        end = before[-1][0] + before[-1][1] if before else first
        part = "record header" if size < end + head else "packet record"
        assert found.spans == ([(end, size - end, f"the file ends inside a {part}")] if size > end else [])


@given(st.integers(0, 2**32), st.integers(0, 3), st.booleans(), st.sampled_from(["micro", "nano", "kuznetzov"]))
def test_agrees_with_the_slow_reader(seed: int, lies: int, big_endian: bool, variety: str) -> None:
    """Any capture, lying header fields and cuts included: strictly read, the same rows, the same place of damage."""
    rng = random.Random(seed)
    packets = [
        Packet(rng.randrange(2**32 * 10**9), rng.randbytes(rng.randrange(50)), rng.randrange(2**32))
        for _ in range(rng.choice((3, 40, 700)))
    ]
    data = bytearray(
        pcap_bytes(
            packets,
            big_endian=big_endian,
            nanoseconds=variety == "nano",
            kuznetzov=variety == "kuznetzov",
            snaplen=rng.choice((0, 96, 2**20, 2**32 - 1)),
            link=rng.randrange(2**32),
        )
    )
    agree(lied_to(rng, data, lies, 24), oracle.pcap)


@given(st.integers(0, 2**32), st.integers(0, 3), st.sampled_from([1, 2, 4]))
def test_snoop_agrees_with_the_slow_reader(seed: int, lies: int, pad: int) -> None:
    """The same of snoop files, with any padding."""
    rng = random.Random(seed)
    packets = [
        Packet(rng.randrange(2**32 * 10**9), rng.randbytes(rng.randrange(50)), rng.randrange(2**32))
        for _ in range(rng.choice((3, 40, 700)))
    ]
    agree(lied_to(rng, bytearray(snoop_bytes(packets, pad=pad)), lies, 16), oracle.snoop)


def lied_to(rng: random.Random, data: bytearray, lies: int, first: int) -> bytes:
    """With some words overwritten, perhaps cut."""
    for _ in range(lies):
        at = rng.randrange(first, len(data) - 4)
        data[at : at + 4] = struct.pack("<I", rng.choice((0, 3, 2**24, rng.randrange(2**32))))
    return bytes(data[: rng.choice((len(data), rng.randrange(first, len(data))))])


def agree(data: bytes, slow: Callable[[bytes], tuple[list[oracle.Row], int | None]]) -> None:
    expected, damage = slow(data)
    found = read(data, strict=True)
    assert found.rows == expected
    assert (found.faults[0].offset if found.faults else None) == damage


@pytest.mark.parametrize(("datalink", "link"), [(0, 1), (2, 6), (4, 1), (8, 10), (18, 123), (26, 226), (5, NO_LINK)])
def test_snoop(datalink: int, link: int) -> None:
    """Snoop files give back the packets, whatever their padding, under the LINKTYPE_ number."""
    packets = conversation()
    for pad in (1, 4, 64):
        data = snoop_bytes(packets, datalink=datalink, pad=pad)
        found = read(data)
        assert [data[row[0] : row[0] + row[1]] for row in found.rows] == [packet.frame for packet in packets]
        assert [row[2:] for row in found.rows] == [(p.wire_length, p.time_ns // 1000 * 1000, link) for p in packets]
        assert not found.faults


def test_snoop_of_another_version() -> None:
    """Only version 2 is known; others are refused by their number."""
    with pytest.raises(CaptureError, match=r"unknown version 4$"):
        reader_for(PATH, snoop_bytes([], version=4) + bytes(20), final=True, strict=False)
