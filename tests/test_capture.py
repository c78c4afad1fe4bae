"""The capture process's work: packet numbers, the clock, batches, faults and counts over several inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.capture import Capture, Dealt, Slabs, check_inputs, describe
from pipeline.config import Config
from pipeline.decode.reasons import Reason
from pipeline.errors import CaptureError, UsageError
from pipeline.source.records import Fault
from tests.build import (
    EPOCH_NS,
    Conversation,
    Packet,
    arp_frame,
    interface,
    pcap_bytes,
    pcapng_blocks,
    section,
    tcp4,
    udp4,
    write_pcap,
    write_pcapng,
)

SECOND = 1_000_000_000


def talk(count: int, start_ns: int = EPOCH_NS, port: int = 40000) -> list[Packet]:
    """``count`` segments of one connection, one a millisecond."""
    conversation = Conversation(client=("10.0.0.1", port), start_ns=start_ns)
    return [conversation.segment(i % 2, b"x%d" % i) for i in range(count)]


def others(count: int) -> list[Packet]:
    """Packets that are no TCP: ARP and UDP in turn."""
    frames = [arp_frame(), udp4(sport=1, dport=2)]
    return [Packet(EPOCH_NS + i, frames[i % 2]) for i in range(count)]


def capture(*paths: Path, workers: int = 1, batch: int = 1000, expression: str = "") -> tuple[Capture, list[Dealt]]:
    config = Config(inputs=paths, workers=workers, batch_packets=batch, expression=expression)
    made = Capture(config, workers)
    return made, list(made.batches())


def packets_of(dealt: Sequence[Dealt]) -> list[int]:
    return sorted(number for each in dealt for part in each.parts for number in part.packet.tolist())


# --------------------------------------------------------------------------- packet numbers and batches


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_numbers_count_every_record_of_every_input(tmp_path: Path, workers: int) -> None:
    """From 1, over all files, those that are no TCP included; each segment goes to one worker."""
    first = write_pcap(tmp_path / "1", [*talk(3), *others(4)])
    second = write_pcap(tmp_path / "2", others(1))
    third = write_pcap(tmp_path / "3", [*others(2), *talk(2, port=1), *talk(2, port=2)])
    made, dealt = capture(first, second, third, workers=workers)
    assert packets_of(dealt) == [1, 2, 3, 11, 12, 13, 14]
    assert all(len(each.parts) == workers for each in dealt)
    assert made.counters()["read"] == made.packets == 14
    assert [facts.packets for facts in made.inputs] == [7, 1, 6]


def test_batches_end_where_files_do(tmp_path: Path) -> None:
    """A batch refers to one slab: of two files with 5 and 3 packets and batches of 2 there are 2+2+1 and 2+1."""
    paths = [write_pcap(tmp_path / "1", talk(5)), write_pcap(tmp_path / "2", talk(3, EPOCH_NS + SECOND))]
    _, dealt = capture(*paths, batch=2)
    assert [each.number for each in dealt] == list(range(5))
    parts = [each.parts[0] for each in dealt]
    assert [part.number for part in parts] == list(range(5))
    assert [part.slab for part in parts] == [0, 0, 0, 1, 1]
    assert [len(part.packet) for part in parts] == [2, 2, 1, 2, 1]


def test_what_was_read_grows_to_the_size_of_all(tmp_path: Path) -> None:
    """Progress counts bytes over all inputs, the unreadable ones too, and ends at their sum."""
    paths = [write_pcap(tmp_path / "1", talk(5)), tmp_path / "2", write_pcap(tmp_path / "3", talk(5))]
    paths[1].write_bytes(b"not a capture at all")
    _, dealt = capture(*paths, batch=2)
    told = [each.bytes_read for each in dealt]
    assert told == sorted(told)
    assert told[-1] == sum(path.stat().st_size for path in paths)


def test_payload_is_where_the_batch_says(tmp_path: Path) -> None:
    """Slab and place lead to the segment's bytes, in every input."""
    paths = [
        write_pcap(tmp_path / "1", talk(3)),
        write_pcapng(tmp_path / "2", section(), interface(), *pcapng_blocks(talk(4, port=9))),
    ]
    made, dealt = capture(*paths, batch=2)
    slabs = Slabs(made.config, keep=2)
    found = []
    for each in dealt:
        part = each.parts[0]
        for start, size in zip(part.start.tolist(), part.size.tolist(), strict=True):
            found.append(slabs(part.slab)[start : start + size].tobytes())
    assert found == [b"x0", b"x1", b"x2", b"x0", b"x1", b"x2", b"x3"]


# --------------------------------------------------------------------------- the clock


def clocks(dealt: Sequence[Dealt]) -> list[int]:
    """The packet clock at every segment."""
    return [moment for each in dealt for part in each.parts for moment in (part.time + part.lag).tolist()]


def test_the_clock_runs_on_from_file_to_file(tmp_path: Path) -> None:
    """A second file that begins in the past does not turn the clock back."""
    paths = [
        write_pcap(tmp_path / "1", talk(2, EPOCH_NS + 10 * SECOND), nanoseconds=True),
        write_pcap(tmp_path / "2", [*talk(2), *talk(1, EPOCH_NS + 20 * SECOND)], nanoseconds=True),
    ]
    _, dealt = capture(*paths)
    late = EPOCH_NS + 10 * SECOND + 1_000_000
    assert clocks(dealt) == [late - 1_000_000, late, late, late, EPOCH_NS + 20 * SECOND]
    assert [each.parts[0].clock for each in dealt] == [late, EPOCH_NS + 20 * SECOND]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(1, 30), st.integers(0, 30))
def test_the_clock_does_not_depend_on_cuts(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[int], batch: int, split: int
) -> None:
    """Times in any order, in batches of any size, in one file or two: the clock at each packet is the same."""
    folder = tmp_path_factory.mktemp("clock")
    packets = [Packet(EPOCH_NS + s * SECOND, tcp4(sport=1, dport=2)) for s in seconds]
    whole = write_pcap(folder / "whole", packets)
    pieces = [write_pcap(folder / "1", packets[:split]), write_pcap(folder / "2", packets[split:])]
    expected = clocks(capture(whole)[1])
    assert clocks(capture(*pieces, batch=batch)[1]) == expected
    assert expected == sorted(expected)


# --------------------------------------------------------------------------- faults and counts


def test_one_damaged_input_among_several(tmp_path: Path) -> None:
    """What can be read of it is; the others are read whole; each input says its own fault."""
    paths = [tmp_path / str(i) for i in range(5)]
    write_pcap(paths[0], talk(3))
    paths[1].write_bytes(pcap_bytes(talk(3))[:-5])
    paths[2].write_bytes(b"\x1f\x8b compressed")
    paths[3].write_bytes(b"")
    write_pcap(paths[4], talk(3))
    made, dealt = capture(*paths)
    assert packets_of(dealt) == [1, 2, 3, 4, 5, 6, 7, 8]
    faults = [facts.fault for facts in made.inputs]
    assert [fault is None for fault in faults] == [True, False, False, False, True]
    assert faults[1] is not None
    assert faults[1].offset == 24 + 2 * (len(pcap_bytes(talk(3))) - 24) // 3
    assert faults[2] is not None
    assert (faults[2].path, faults[2].offset) == (paths[2], 0)
    assert "gzip" in faults[2].problem
    assert faults[3] is not None
    assert "empty" in faults[3].problem
    assert [facts.packets for facts in made.inputs] == [3, 2, 0, 0, 3]
    assert [facts.format for facts in made.inputs][2:4] == ["unknown", "unknown"]


def test_facts_of_an_input_as_they_travel(tmp_path: Path) -> None:
    """Size, format, packets and fault, in types that a message can carry."""
    path = write_pcap(tmp_path / "1", talk(2))
    made, _ = capture(path)
    (facts,) = made.inputs
    told = describe(facts)
    assert told == {"size": path.stat().st_size, "format": facts.format, "packets": 2, "fault": None}
    assert "pcap" in facts.format
    facts.fault = Fault(path, 24, "cut")
    assert describe(facts)["fault"] == [24, "cut"]


@given(
    st.lists(st.sampled_from(["tcp", "arp", "udp", "short"]), max_size=20),
    st.sampled_from(["", "tcp", "udp", "port 2"]),
    st.integers(1, 7),
)
def test_every_record_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], expression: str, batch: int
) -> None:
    """By one reason each; what a filter leaves out is counted as that and nothing else."""
    frames = {
        "tcp": (tcp4(sport=1, dport=3), Reason.TCP, {"tcp"}),
        "arp": (arp_frame(), Reason.ARP, set()),
        "udp": (udp4(sport=1, dport=2), Reason.UDP, {"udp", "port 2"}),
        "short": (b"\0" * 10, Reason.FRAME_TRUNCATED, set()),
    }
    path = tmp_path_factory.mktemp("count") / "x"
    write_pcap(path, [Packet(EPOCH_NS + i, frames[kind][0]) for i, kind in enumerate(kinds)])
    made, dealt = capture(path, batch=batch, expression=expression)
    expected: Counter[str] = Counter()
    for kind in kinds:
        _, reason, matching = frames[kind]
        passes = not expression or expression in matching
        expected[f"reason.{(reason if passes else Reason.FILTERED).label}"] += 1
    told = made.counters()
    assert told.pop("read") == len(kinds)
    assert {name: count for name, count in told.items() if count} == dict(expected)
    assert len(packets_of(dealt)) == expected["reason.tcp"]


def test_no_packets_no_batches(tmp_path: Path) -> None:
    """A capture without a packet is whole, and nothing is dealt."""
    made, dealt = capture(write_pcap(tmp_path / "1", []))
    assert dealt == []
    assert made.inputs[0].fault is None
    assert made.counters()["read"] == 0


# --------------------------------------------------------------------------- slabs


def test_slabs_are_mapped_as_asked_for_and_few_stay(tmp_path: Path) -> None:
    """The latest few stay mapped; a view of one that was let go of stays good; each is its own input's bytes."""
    paths = []
    for i in range(5):
        paths.append(tmp_path / str(i))
        paths[-1].write_bytes(bytes([i]) * 5000)
    slabs = Slabs(Config(inputs=tuple(paths)), keep=2)
    old = slabs(0)
    assert slabs(0) is old
    for i in (1, 2, 0, 4, 3, 0):
        assert np.array_equal(slabs(i), np.full(5000, i, np.uint8))
    assert old[4999] == 0
    del old
    maps = Path("/proc/self/maps").read_text()
    assert sum(str(path) in maps for path in paths) == 2


# --------------------------------------------------------------------------- beforehand


def test_inputs_are_checked_beforehand(tmp_path: Path) -> None:
    """One good capture among others is enough; without any, the first one's trouble is told."""
    good = write_pcap(tmp_path / "good", talk(1))
    bad, worse = tmp_path / "bad", tmp_path / "worse"
    bad.write_bytes(b"\x1f\x8b compressed")
    worse.write_bytes(b"")
    check_inputs(Config(inputs=(bad, good)))
    check_inputs(Config(inputs=(good, worse)))
    with pytest.raises(CaptureError, match="gzip"):
        check_inputs(Config(inputs=(bad, worse)))


def test_a_filter_is_checked_for_the_first_link_type(tmp_path: Path) -> None:
    """An expression that libpcap does not take is a usage error before anything is written; an empty capture takes
    any that is sound."""
    good = write_pcap(tmp_path / "good", talk(1))
    raw = write_pcap(tmp_path / "raw", talk(1), link=101)
    check_inputs(Config(inputs=(good,), expression="port 80"))
    for path, expression in ((good, "port port"), (raw, "ether host 02:00:00:00:00:01 and vlan 5 and nonsense")):
        with pytest.raises(UsageError, match="filter"):
            check_inputs(Config(inputs=(path,), expression=expression))
