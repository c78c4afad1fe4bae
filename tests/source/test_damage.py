"""Damage in the middle: all outside of it comes back, whatever it looks like and however windows are cut."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.source import damage
from pipeline.source.chain.resync import proved_span
from pipeline.source.records import MOST_FAULTS
from tests.build import EPOCH_NS, Packet, enhanced, interface, pcap_bytes, section, tcp4
from tests.effort import tries
from tests.source.oracle import Row
from tests.source.reading import FORMATS, Result, in_windows, pcapng_bytes, read, snoop_bytes

NOISE: dict[str, Callable[[random.Random, int], bytes]] = {
    "random": lambda rng, size: rng.randbytes(size),
    "zeros": lambda rng, size: bytes(size),
    "ones": lambda rng, size: b"\xff" * size,
    "text": lambda rng, size: (b"Host: www.example.org\r\n" * size)[:size],
    "small numbers": lambda rng, size: bytes(rng.choices((0, 1, 5, 60), (6, 1, 1, 1), k=size)),
}


def some_packets(rng: random.Random, count: int) -> list[Packet]:
    """Frames of all sorts of payload, a millisecond apart."""
    payloads = (rng.randbytes(1400), bytes(300), b"GET / HTTP/1.1\r\n" * 9)
    frames = [tcp4(payload=rng.choice(payloads)[: rng.randrange(1400)]) for _ in range(count)]
    return [Packet(EPOCH_NS + number * 1_000_000, frame) for number, frame in enumerate(frames)]


def extents(rows: list[Row], data: bytes, name: str) -> list[tuple[int, int, Row]]:
    """Each packet with where its record begins and ends."""
    head = {"pcap-kuznetzov": 24, "snoop": 24, "pcapng": 28, "pcapng-big": 28}.get(name, 16)
    begins = [row[0] - head for row in rows]
    return list(zip(begins, [*begins[1:], len(data)], rows, strict=True))


def check_noise(name: str, seed: int, kind: str) -> None:
    """Hurts a capture and reads it whole and in windows."""
    rng = random.Random(seed)
    data = FORMATS[name](some_packets(rng, 60))
    good = read(data).rows
    size = rng.choice((1, 2, 4, 8, 16, 100, 1024, 1024, 5000))
    at = rng.randrange(60 if "ng" in name else 24, len(data) - size)
    hurt = data[:at] + NOISE[kind](rng, size) + data[at + size :]
    found = read(hurt)
    outside = [row for low, high, row in extents(good, data, name) if high <= at or low >= at + size]
    assert [row for row in outside if row not in found.rows] == []
    invented = [row for row in found.rows if row not in good]
    assert len(invented) <= 1  # of a header whose beginning survived: nobody can tell
    for start, captured, *_ in invented:
        assert start - 28 < at + size
        assert start + captured > at
    for offset, length, _ in found.spans:
        assert 0 <= offset <= offset + length <= len(data)
        assert not any(offset <= row[0] < offset + length for row in found.rows)
    windowed = in_windows(hurt, rng.choice((64, 1000, 5000, 70_000)))
    assert (windowed.rows, windowed.faults) == (found.rows, found.faults)


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("name", FORMATS)
def test_noise(name: str, kind: str) -> None:
    """Every record wholly outside of noise comes back, and nothing that was not there; in any windows."""
    for seed in range(5):
        check_noise(name, seed, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("name", FORMATS)
def test_noise_at_many_places(name: str, kind: str) -> None:
    """The same many times, and four times as many with the nightly profile."""
    for seed in tries(100, 25):
        check_noise(name, 100 + seed, kind)


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("name", ["pcap", "snoop", "pcapng"])
def test_noise_again_and_again(name: str, kind: str) -> None:
    """With one whole record between two damages, that one comes back."""
    rng = random.Random(8)
    data = bytearray(FORMATS[name](some_packets(rng, 90)))
    places = extents(read(bytes(data)).rows, bytes(data), name)
    hurt = [low + 20 for low, _, _ in places[5:80:2]]
    for at in hurt:
        data[at - 20 : at + 40] = NOISE[kind](rng, 60)
    found = read(bytes(data))
    whole = [row for low, high, row in places if not any(low < at + 40 and high > at - 20 for at in hurt)]
    assert [row for row in whole if row not in found.rows] == []
    assert len(whole) > 40
    assert len(found.faults) > 30


@given(
    st.sampled_from(sorted(FORMATS)),
    st.integers(0, 2**32),
    st.sampled_from(sorted(NOISE)),
    st.lists(st.integers(1, 3000), max_size=40),
    st.booleans(),
    st.booleans(),
)
def test_windows_do_not_matter(name: str, seed: int, kind: str, sizes: list[int], strict: bool, cut: bool) -> None:
    """Windows of any sizes give the same packets and faults as one, with damage anywhere."""
    rng = random.Random(seed)
    data = bytearray(FORMATS[name](some_packets(rng, 30)))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(32, len(data))
        size = rng.choice((1, 4, 50, 2000))
        data[at : at + size] = NOISE[kind](rng, min(size, len(data) - at))
    hurt = bytes(data[: rng.randrange(32, len(data))] if cut else data)
    one, many = read(hurt, strict=strict), read(hurt, sizes, strict=strict)
    assert many._replace(windows=1) == one


@pytest.mark.parametrize("name", ["pcap", "snoop", "pcapng"])
def test_windows_where_damage_is_frequent(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After too many restarts only long chains are taken up, in any windows alike."""
    monkeypatch.setattr(damage, "EASY_RESTARTS", 3)
    monkeypatch.setattr(damage, "EASY_BYTES", 1 << 40)
    data = bytearray(FORMATS[name](some_packets(random.Random(4), 200) * 8))
    places = extents(read(bytes(data)).rows, bytes(data), name)
    for low, _, _ in places[20:101:20]:
        data[low : low + 60] = b"\xff" * 60
    hurt = bytes(data)
    found = read(hurt)
    assert [fault.offset for fault in found.faults] == [places[row][0] for row in (20, 40, 60, 80)]
    assert found.faults[-1].length == places[101][0] - places[80][0]
    assert found.rows == [
        row for number, (_, _, row) in enumerate(places) if number not in (20, 40, 60, *range(80, 101))
    ]
    for size in (500, 70_000, 200_000):
        windowed = in_windows(hurt, size)
        assert (windowed.rows, windowed.faults) == (found.rows, found.faults)


def record(size: int, claimed: int | None = None, seconds: int = EPOCH_NS // 10**9, fill: bytes = b"\xee") -> bytes:
    """A pcap record whose length may lie."""
    length = size if claimed is None else claimed
    return struct.pack("<IIII", seconds, 7, length, length) + fill * size


def test_a_false_length_swallows_nothing() -> None:
    """A record that damage made long leads into nonsense; those it would have swallowed come back."""
    data = pcap_bytes([]) + record(60) + record(60, claimed=1000) + record(60) * 50
    found = read(data)
    assert [row[0] for row in found.rows] == [40, *range(24 + 2 * 76 + 16, len(data), 76)]
    assert [span[:2] for span in found.spans] == [(100, 76)]
    to_the_end = pcap_bytes([]) + record(60) + record(60, claimed=100_000) + record(60) * 50
    assert len(read(to_the_end).rows) == 51


def test_false_lengths_beyond_the_end() -> None:
    """Several records whose lengths pass the capture's end: all others come back."""
    false = record(60, claimed=200_000)
    data = pcap_bytes([]) + record(60) + (record(60) + false) * 3 + record(60) * 3
    found = read(data)
    assert len(found.rows) == 7
    assert [span[1:] for span in found.spans] == [(76, "a packet record claims 200000 bytes, more than there are")] * 3
    block = struct.pack("<II", 5, 200_000) + bytes(8)
    found = read(section() + interface() + (enhanced(1, b"a") + block) * 3 + enhanced(1, b"a"))
    assert len(found.rows) == 4
    assert [span[1:] for span in found.spans] == [(16, "a block has an impossible length")] * 3


def test_a_capture_in_a_cut_packet_is_payload() -> None:
    """The last packet is cut and carries a capture: what that holds is none of this one's."""
    inner = pcap_bytes([Packet(EPOCH_NS, b"in" * 30)] * 12)
    data = pcap_bytes([Packet(EPOCH_NS, b"out" * 20), Packet(EPOCH_NS, inner), Packet(EPOCH_NS, inner)])[:-100]
    found = read(data)
    assert [row[1] for row in found.rows] == [60, len(inner)]
    assert found.spans == [(24 + 76 + 16 + len(inner), 16 + len(inner) - 100, "the file ends inside a packet record")]


def test_zeros_are_no_packets() -> None:
    """A hole of zeros is one fault, not a thousand empty packets; empty packets with a time are packets."""
    data = pcap_bytes([]) + record(60) + bytes(16_000) + record(0) * 3 + record(60)
    found = read(data)
    assert [row[1] for row in found.rows][-1] == 60
    assert len(found.rows) == 2
    assert [span[0] for span in found.spans] == [100]
    assert found.spans[0][2] == "a record header is all zeros"
    assert len(read(pcap_bytes([]) + record(0) * 3 + record(60)).rows) == 4


@pytest.mark.parametrize("name", FORMATS)
def test_strict(name: str) -> None:
    """Strictly read, a capture ends at its first damage."""
    rng = random.Random(3)
    data = FORMATS[name](some_packets(rng, 40))
    places = extents(read(data).rows, data, name)
    at = places[9][0]
    hurt = data[:at] + b"\xff" * 1000 + data[at + 1000 :]
    found = read(hurt, strict=True)
    assert found.rows == [row for _, _, row in places[:9]]
    assert [span[:2] for span in found.spans] == [(at, 0)]
    assert found.stopped


@pytest.mark.parametrize("name", FORMATS)
def test_unreadable(name: str) -> None:
    """What the storage does not give is zeros and a fault; packets beside it come back."""
    rng = random.Random(6)
    data = FORMATS[name](some_packets(rng, 40))
    places = extents(read(data).rows, data, name)
    problem = "cannot be read: input/output error"
    for low, high in ((places[9][0] + 100, places[9][0] + 110), (places[9][0] - 5, places[13][0] + 3), (5000, 9096)):
        hurt = data[:low] + bytes(high - low) + data[high:]
        found = read(hurt, unreadable=[(low, high)])
        whole = [row for begin, end, row in places if end <= low or begin >= high]
        assert found.rows == whole
        assert {span[2] for span in found.spans} == {problem}
        assert found.spans[0][0] <= low
        assert found.spans[-1][0] + found.spans[-1][1] >= high - 16
        strict = read(hurt, unreadable=[(low, high)], strict=True)
        assert strict.rows == whole[: len(strict.rows)]
        assert (strict.stopped, [span[2] for span in strict.spans]) == (True, [problem])


def test_faults_are_bounded_and_joined() -> None:
    """Of one capture at most MOST_FAULTS are kept, and the rest counted; neighbours with one problem are one."""
    bad, good = enhanced(1, b"x", interface_id=7), enhanced(1, b"y")
    found = read(section() + interface() + (bad + bad + good) * (MOST_FAULTS + 500))
    assert (len(found.faults), found.more_faults) == (MOST_FAULTS, 500)
    assert {fault.length for fault in found.faults} == {2 * len(bad)}
    assert len(found.rows) == MOST_FAULTS + 500


def test_a_lost_interface_description() -> None:
    """Packets of an interface whose description was damaged are a fault, and those of others are not."""
    data = bytearray(section() + interface() + enhanced(1, b"a") + section() + interface() + enhanced(2, b"b") * 3)
    at = 28 + 20 + 36
    data[at + 28 : at + 48] = b"\xff" * 20
    found = read(bytes(data))
    assert len(found.rows) == 1
    assert found.spans == [
        (at + 28, 20, "a block has an impossible length"),
        (at + 48, 3 * 36, "a packet names an interface that was not described"),
    ]


def test_other_alignment_and_order_after_damage() -> None:
    """Behind damage a pcapng capture may go on at any offset, or in the other byte order."""
    big = [section(big_endian=True), interface(big_endian=True), enhanced(3, b"c", big_endian=True)]
    for size in range(16, 24):
        data = section() + interface() + enhanced(1, b"a") + b"\xee" * size
        assert len(read(data + enhanced(2, b"b")).rows) == 2
        assert len(read(data + b"".join(big)).rows) == 2


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.booleans()), max_size=30))
def test_proved_span(made: list[tuple[int, int, bool]]) -> None:
    """The first and last place from which one gets to a proved one, as a walk from each would find them."""
    table = {place: (place + size, proved) for place, size, proved in made}
    places = sorted(table)

    def leads(place: int) -> bool:
        after, proved = table[place]
        return proved or (after in table and leads(after))

    columns = [np.array([table[place][column] for place in places]) for column in (0, 1)]
    found = proved_span(np.array(places, np.int64), columns[0].astype(np.int64), columns[1].astype(np.bool_))
    expected = [place for place in places if leads(place)] or [-1]
    assert found == (expected[0], expected[-1])


HEADER = struct.pack("<IIII", EPOCH_NS // 10**9, 5, 0, 60)

HOSTILE = {
    "lone headers": (pcap_bytes, HEADER + b"\xff" * 16),
    "chains of 5": (pcap_bytes, HEADER * 5 + b"\xff" * 16),
    "chains of 300": (pcap_bytes, HEADER * 300 + b"\xff" * 16),
    "long false lengths": (pcap_bytes, record(0, claimed=262_143)),
    "holes": (pcap_bytes, record(60) + bytes(16)),
    "jumps": (pcap_bytes, (record(9) + record(9, seconds=5)) * 10 + b"\xff" * 16),
    "snoop headers": (snoop_bytes, struct.pack(">6I", 60, 0, 24, 0, EPOCH_NS // 10**9, 5) + b"\xff" * 8),
    "blocks": (pcapng_bytes, enhanced(1, b"") + b"\xff" * 4),
    "chains of blocks": (pcapng_bytes, enhanced(1, b"") * 70 + b"\xff" * 4),
    "wrong blocks": (pcapng_bytes, enhanced(1, b"", interface_id=9) + enhanced(1, b"")),
    "sections": (pcapng_bytes, section() + b"\xff" * 4),
    "heads of long blocks": (pcapng_bytes, struct.pack("<II", 5, 200_000)),
    "interfaces": (pcapng_bytes, interface()),
    "lengths beyond the end": (pcapng_bytes, enhanced(1, b"") + struct.pack("<II", 5, 60_000_000) + bytes(4)),
    "records beyond the end": (lambda p: pcap_bytes(p, snaplen=2**31), record(9) + record(9, claimed=60_000_000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_time_is_linear(name: str) -> None:
    """Four times as much of what is made to look like records takes no more than seven times as long."""
    make, pattern = HOSTILE[name]
    start = make([Packet(EPOCH_NS, b"a" * 60)]) + b"\xff" * 16

    def seconds(size: int) -> float:
        data = start + pattern * (size // len(pattern))
        begin = time.process_time()
        found: Result = read(data)
        assert found.rows
        return time.process_time() - begin

    small = min(seconds(4_000_000) for _ in range(2))
    assert seconds(16_000_000) < 7 * small + 0.25
