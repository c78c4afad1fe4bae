"""pcapng captures: every block that carries a packet, sections, clocks, damage, and the slow reader."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CaptureError
from pipeline.source.linktype import NO_LINK
from pipeline.source.pcapng.blocks import SECTION_SIZE
from pipeline.source.pcapng.interfaces import nanoseconds
from pipeline.source.pcapng.packets import MAXIMUM_INTERFACES
from pipeline.source.records import MOST_RECORD
from tests.build import (
    EPOCH_NS,
    Conversation,
    Packet,
    block,
    enhanced,
    interface,
    obsolete,
    option,
    pcapng_blocks,
    section,
    simple,
)
from tests.forms import crossed
from tests.source import oracle
from tests.source.reading import in_windows, read

HIGHEST = oracle.HIGHEST


def clean(data: bytes) -> list[oracle.Row]:
    """The rows of a capture without damage."""
    found = read(data)
    assert found.faults == []
    return found.rows


@pytest.mark.parametrize("big_endian", [False, True])
def test_round_trip(big_endian: bool) -> None:
    """Frames, lengths, times and each interface's link type come back, in file order."""
    ethernet = Conversation().packets([(0, b"a" * 3001), (1, b"b")])
    raw = Conversation(link=101).packets([(1, b"c" * 70)])
    packets = [packet.cut(50) for pair in zip(ethernet, raw, strict=False) for packet in pair]
    data = b"".join(pcapng_blocks(packets, big_endian=big_endian))
    found = clean(data)
    assert [data[row[0] : row[0] + row[1]] for row in found] == [p.frame for p in packets]
    assert [row[2:] for row in found] == [(p.wire_length, p.time_ns, p.link) for p in packets]


@pytest.mark.parametrize(
    ("resolution", "offset", "ticks", "expected"),
    [
        (None, None, 1_620_000_000_000_001, 1_620_000_000_000_001_000),
        (0, None, 7, 7_000_000_000),
        (3, None, 7, 7_000_000),
        (9, None, EPOCH_NS + 1, EPOCH_NS + 1),
        (12, None, 1999, 1),
        (127, None, 2**64 - 1, 0),
        (0x80, None, 3, 3_000_000_000),
        (0x80 | 10, None, 1536, 1_500_000_000),
        (0x80 | 32, None, (5 << 32) + 1, 5_000_000_000),
        (0x80 | 63, None, (1 << 63) + (1 << 62), 1_500_000_000),
        (0x80 | 64, None, 1 << 63, 500_000_000),
        (0x80 | 127, None, 2**64 - 1, 0),
        (6, 1_600_000_000, 5, 1_600_000_000_000_005_000),
        (9, -1, 5, 5 - 10**9),
        (9, -(2**63), 5, 5 - 2**63),
        (0, None, 2**64 - 1, HIGHEST),
        (9, 2**63 - 1, 0, HIGHEST),
        (9, 9_223_372_036, 2**63 - 1, HIGHEST),
    ],
)
def test_clocks(resolution: int | None, offset: int | None, ticks: int, expected: int) -> None:
    """if_tsresol in both forms and if_tsoffset give exact nanoseconds, held inside 64 bits."""
    blocks = [section(), interface(resolution=resolution, offset=offset), enhanced(ticks, b"x")]
    found = clean(b"".join(blocks))
    assert [row[3] for row in found] == [expected]


@given(st.integers(0, 255), st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_nanoseconds_are_exact(resolution: int, ticks: list[int]) -> None:
    """The vector kernel is integer arithmetic of any size, then held below 2**63."""
    expected = [oracle.tick_time(tick, resolution, 0) for tick in ticks]
    assert nanoseconds(np.array(ticks, np.uint64), resolution).tolist() == expected


def test_clocks_of_interfaces_differ() -> None:
    """Each packet is timed by its own interface."""
    blocks = [section(), interface(1, resolution=0), interface(101, resolution=9, offset=2), interface(113)]
    blocks += [enhanced(1, b"x", interface_id=number % 3) for number in range(6)]
    found = clean(b"".join(blocks))
    assert [row[3:] for row in found] == [(10**9, 1), (2 * 10**9 + 1, 101), (1000, 113)] * 2


@pytest.mark.parametrize("big_endian", [False, True])
def test_packet_blocks(big_endian: bool) -> None:
    """Enhanced, simple and obsolete blocks mix. A simple one: previous time, snap length of interface 0."""
    big = big_endian
    data = b"".join(
        [
            section(big_endian=big),
            interface(1, snaplen=4, big_endian=big),
            interface(101, big_endian=big),
            simple(b"none", big_endian=big),
            enhanced(5, b"abcde", interface_id=1, length=9, big_endian=big),
            simple(b"ab", big_endian=big),
            simple(b"abcd", length=6, big_endian=big),
            obsolete(7, b"abc", interface_id=1, drops=3, big_endian=big),
            block(0x0BAD, b"skipped", big_endian=big),
            simple(b"abcdef", big_endian=big),
            enhanced(3, b"abcdef", length=2, big_endian=big),
        ]
    )
    found = clean(data)
    assert [(data[s : s + c], length, time, link) for s, c, length, time, link in found] == [
        (b"none", 4, 0, 1),
        (b"abcde", 9, 5000, 101),
        (b"ab", 2, 5000, 1),
        (b"abcd", 6, 5000, 1),
        (b"abc", 3, 7000, 101),
        (b"abcd", 6, 7000, 1),
        (b"abcdef", 6, 3000, 1),
    ]


def test_sections() -> None:
    """A new section starts with no interfaces, perhaps in the other byte order; times carry over."""
    parts = []
    for number, big in enumerate([False, False, True, True, False]):
        parts += [
            section(big_endian=big),
            interface(number + 1, big_endian=big),
            interface(100, big_endian=big),
        ]
        parts += [enhanced(number, b"x", interface_id=1, big_endian=big), simple(b"y", big_endian=big)]
    found = clean(b"".join(parts))
    assert [row[3:] for row in found] == [
        row for number in range(5) for row in ((number * 1000, 100), (number * 1000, number + 1))
    ]
    start = len(b"".join(parts))
    for packet in (enhanced(1, b"x"), simple(b"x")):
        nameless = read(b"".join([*parts, section(), packet, packet, interface(), enhanced(9, b"z")]))
        problem = "a packet names an interface that was not described"
        assert nameless.spans == [(start + 28, 2 * len(packet), problem)]
        assert len(nameless.rows) == 11


GOOD = section() + interface() + enhanced(1, b"good")


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (bytes(16), "a block has an impossible length"),
        (struct.pack("<II", 5, 8) + bytes(8), "a block has an impossible length"),
        (
            struct.pack("<II", 5, 14) + bytes(2) + struct.pack("<I", 14) + bytes(2),
            "a block has an impossible length",
        ),
        (struct.pack("<II", 6, 2**32 - 4) + bytes(8), "a block has an impossible length"),
        (block(5, b"body", trailer=20), "the lengths at both ends of a block differ"),
        (block(6, bytes(16)), "a block is too short for its type"),
        (block(3, b""), "a block is too short for its type"),
        (block(1, b""), "a block is too short for its type"),
        (enhanced(1, b"x", interface_id=1), "a packet names an interface that was not described"),
        (enhanced(1, b"x", interface_id=2**32 - 1), "a packet names an interface that was not described"),
        (obsolete(1, b"x", interface_id=1), "a packet names an interface that was not described"),
        (enhanced(1, b"abcd", captured=5), "a packet is longer than its block"),
        (enhanced(1, b"abcd", captured=2**32 - 1), "a packet is longer than its block"),
        (obsolete(1, b"abcd", captured=5), "a packet is longer than its block"),
        (section(version=(2, 0)), "a section has the unknown format version 2"),
        (block(0x0A0D0D0A, bytes(16)), "a section header has an unknown byte order"),
    ],
)
def test_damage(bad: bytes, problem: str) -> None:
    """Each kind of damage is told with its extent, and reading goes on behind it; ``strict`` ends there."""
    behind = enhanced(2, b"behind")
    found = read(GOOD + bad + behind + behind)
    # Interfaces count anew in a section, and the broken one describes none.
    lost = 2 * len(behind) if problem.startswith("a section") else 0
    assert [row[1] for row in found.rows] == [4] + [6] * (2 - 2 * (lost > 0))
    expected = [(len(GOOD), len(bad), problem)]
    if lost:
        expected.append((len(GOOD) + len(bad), lost, "a packet names an interface that was not described"))
    assert found.spans == expected
    strict = read(GOOD + bad + behind + behind, strict=True)
    assert [row[1] for row in strict.rows] == [4]
    assert (strict.stopped, strict.spans) == (True, [(len(GOOD), 0, problem)])


def test_a_length_beyond_the_end() -> None:
    """A block of an unknown type that passes the capture's end swallows none behind it; a known one is cut off."""
    behind = enhanced(2, b"behind")
    found = read(GOOD + struct.pack("<II", 0x777, 400) + bytes(8) + behind + behind[:9])
    assert [row[1] for row in found.rows] == [4, 6]
    assert found.faults[0].problem == "a block has an impossible length"
    whole = GOOD + struct.pack("<II", 6, 400) + bytes(8) + behind
    assert [row[1] for row in read(whole).rows] == [4, 6]  # a packet that ends exactly with the capture is no chance
    found = read(whole + behind[:9])
    assert [row[1] for row in found.rows] == [4]
    assert found.spans == [(len(GOOD), 16 + len(behind) + 9, "the file ends inside a block")]


def test_a_broken_interface_keeps_its_number() -> None:
    """A description too short to be read does not shift the numbers of those behind it."""
    data = (
        section()
        + interface(1)
        + block(1, b"")
        + interface(101)
        + enhanced(1, b"a")
        + enhanced(2, b"b", interface_id=1)
    )
    found = read(data + enhanced(3, b"c", interface_id=2))
    assert [row[4] for row in found.rows] == [1, NO_LINK, 101]
    assert found.spans == [(48, 12, "a block is too short for its type")]


def test_too_many_interfaces() -> None:
    """Of a section that describes interfaces without end the first 65,536 count: it cannot fill the memory."""
    data = section() + interface() * (MAXIMUM_INTERFACES + 2) + enhanced(1, b"x", interface_id=MAXIMUM_INTERFACES - 1)
    found = read(data)
    assert found.spans == [(28 + 20 * MAXIMUM_INTERFACES, 40, "a section describes too many interfaces")]
    assert len(found.rows) == 1


def test_too_many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that changes its byte order without end is read up to the limit."""
    monkeypatch.setattr("pipeline.source.pcapng.reader.MAXIMUM_TURNS", 3)
    turns = [section(big_endian=bool(number % 2)) for number in range(6)]
    assert read(b"".join(turns[:4])).faults == []
    found = read(b"".join(turns))
    assert (found.stopped, found.spans) == (True, [(28 * 4, 0, "the byte order changes too often")])


@pytest.mark.parametrize(
    ("kind", "size"), crossed([(5, None), (10, 100), (0x0BAD, 1 << 20)], [5, 10, 0x0BAD], [None, 100, 1 << 20])
)
def test_a_huge_block_is_passed_over(kind: int, size: int | None) -> None:
    """A block of names, secrets and the like of more than 64 MiB is skipped without any window holding it."""
    total = MOST_RECORD + 4
    huge = struct.pack("<II", kind, total) + bytes(total - 8)  # not even its trailing length is looked at
    data = GOOD + huge + enhanced(2, b"behind")
    found = read(data) if size is None else in_windows(data, size)
    assert [row[1] for row in found.rows] == [4, 6]
    assert not found.faults
    cut = data[: len(GOOD) + total - 1]
    found = read(cut) if size is None else in_windows(cut, size)
    assert [row[1] for row in found.rows] == [4]
    assert found.spans == [(len(GOOD), total - 1, "the file ends inside a block")]


@pytest.mark.parametrize("size", [None, 100])
def test_a_false_huge_length_swallows_nothing(size: int | None) -> None:
    """A header that damage made that of a huge block of secrets is told by the packets behind it."""
    data = GOOD + struct.pack("<II", 10, MOST_RECORD + 4) + bytes(20) + enhanced(2, b"behind") + bytes(1000)
    found = read(data) if size is None else in_windows(data, size)
    assert [row[1] for row in found.rows] == [4, 6]
    assert found.spans[0] == (len(GOOD), 28, "a block has an impossible length")


@pytest.mark.parametrize("kind", [6, 3, 0x1234_5678])
def test_a_huge_packet_is_damage(kind: int) -> None:
    """A packet of more than 64 MiB, or a huge block of a type that nobody knows, swallows nothing."""
    found = read(GOOD + struct.pack("<II", kind, MOST_RECORD + 4) + enhanced(2, b"behind"))
    assert [row[1] for row in found.rows] == [4, 6]
    assert found.spans == [(len(GOOD), 8, "a block has an impossible length")]


@pytest.mark.parametrize(
    "options",
    [
        option(9, b"\x09") + option(2, b"name\xff"),
        option(2, b"x" * 300) + option(9, b"\x09") + option(0, b"") + option(9, b"\x00"),
        option(9, b"\x09") + struct.pack("<HH", 2, 60000),
        option(9, b"") + option(9, b"\x09\x09") + option(14, b"\0" * 4) + option(9, b"\x09") + b"\1\0\0\0",
    ],
)
def test_interface_options(options: bytes) -> None:
    """Options of odd sizes, running past the block, or behind the end mark do not mislead the clock."""
    found = clean(section() + interface(options=options) + enhanced(5, b"x"))
    assert [row[3] for row in found] == [5]


@pytest.mark.parametrize("big_endian", [False, True])
def test_cut_at_every_byte(big_endian: bool) -> None:
    """Whatever is cut off the end, the packets before the cut are there and the fault says where."""
    packets = [Packet(EPOCH_NS + n, bytes(n * 7 % 23)) for n in range(5)]
    whole = b"".join([*pcapng_blocks(packets, big_endian=big_endian), section(), interface(), simple(b"x")])
    ends = [0]
    order = ">" if big_endian else "<"
    while ends[-1] < len(whole):
        if whole[ends[-1] : ends[-1] + 12] == section()[:12]:
            order = "<"
        ends.append(ends[-1] + struct.unpack_from(order + "I", whole, ends[-1] + 4)[0])
    complete, _ = oracle.pcapng(whole)
    assert len(complete) == 6
    for size in range(1, len(whole)):
        if size < SECTION_SIZE:
            with pytest.raises(CaptureError):
                read(whole[:size])
            continue
        end = max(at for at in ends if at <= size)
        for strict in (False, True):
            found = read(whole[:size], strict=strict)
            assert found.rows == [row for row in complete if row[0] < end]
            assert found.spans == ([(end, size - end, "the file ends inside a block")] if size > end else [])


def any_blocks(rng: random.Random, count: int) -> bytes:
    """A file of every kind of block; mostly enhanced packets, mostly of one byte order."""
    big = rng.random() < 0.5
    parts = [section(big_endian=big)]
    known = 0
    for _ in range(count):
        kind = rng.choices(("enhanced", "simple", "obsolete", "interface", "section", "other"), (80, 5, 5, 5, 2, 5))[0]
        frame = rng.randbytes(rng.randrange(40))
        if kind == "section":
            big = big if rng.random() < 0.7 else not big
            parts.append(section(big_endian=big))
            known = 0
        elif kind == "interface" or not known:
            resolution = rng.choice((None, 9, 3, 12, 0x80 | 20, 0x80 | 40))
            offset = rng.choice((None, None, -5, 10**9))
            snaplen = rng.choice((0, 0, 20))
            link = rng.randrange(300)
            parts.append(interface(link, snaplen=snaplen, resolution=resolution, offset=offset, big_endian=big))
            known += 1
        elif kind == "simple":
            parts.append(simple(frame, length=len(frame) + rng.randrange(3), big_endian=big))
        elif kind == "other":
            parts.append(block(rng.choice((4, 5, 10, 0x0BAD)), frame, big_endian=big))
        else:
            make = enhanced if kind == "enhanced" else obsolete
            length = rng.choice((None, rng.randrange(2**32)))
            number = rng.randrange(known)
            parts.append(make(rng.randrange(2**64), frame, interface_id=number, length=length, big_endian=big))
    return b"".join(parts)


@given(st.integers(0, 2**32), st.integers(0, 3), st.sampled_from([3, 40, 700]))
def test_agrees_with_the_slow_reader(seed: int, lies: int, count: int) -> None:
    """Any blocks, lying fields and cuts included: strictly read, the same rows, the same place of damage."""
    rng = random.Random(seed)
    data = bytearray(any_blocks(rng, count))
    for _ in range(lies):
        at = rng.randrange(7, len(data) // 4) * 4
        data[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice((0, 1, 32, 36, rng.randrange(2**32))))
    data = data[: rng.choice((len(data), len(data), rng.randrange(SECTION_SIZE, len(data))))]
    expected, damage = oracle.pcapng(bytes(data))
    found = read(bytes(data), strict=True)
    assert found.rows == expected
    assert (found.faults[0].offset if found.faults else None) == damage
