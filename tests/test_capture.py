"""The capture process's work: packet numbers, the clock, batches, faults and counts over several inputs."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.capture import Capture, Dealt, check_inputs, describe
from pipeline.config import Config
from pipeline.decode.reasons import Reason
from pipeline.errors import CaptureError, UsageError
from pipeline.memory import Memory, places
from pipeline.source.records import Fault
from pipeline.spool.slabs import Spool
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
from workers.contract import INPUT_SHIFT

SECOND = 1_000_000_000


def talk(count: int, start_ns: int = EPOCH_NS, port: int = 40000) -> list[Packet]:
    """``count`` segments of one connection, one a millisecond."""
    conversation = Conversation(client=("10.0.0.1", port), start_ns=start_ns)
    return [conversation.segment(i % 2, b"x%d" % i) for i in range(count)]


def others(count: int, start_ns: int = EPOCH_NS) -> list[Packet]:
    """Packets that are no TCP: ARP and UDP in turn."""
    frames = [arp_frame(), udp4(sport=1, dport=2)]
    return [Packet(start_ns + i, frames[i % 2]) for i in range(count)]


def short_lived() -> Spool:
    """A spool that keeps no descriptor when nobody has it any more."""

    class Closing(Spool):
        def __del__(self) -> None:
            self.close()

    return Closing(None, 1 << 26)


def capture(
    *paths: Path, workers: int = 1, batch: int = 1000, mapped: bool = True, **options: Any
) -> tuple[Capture, list[Dealt]]:
    config = Config(inputs=paths, workers=workers, batch_packets=batch, mapped=mapped, **options)
    made = Capture(config, workers, short_lived())
    return made, list(made.batches())


def payloads(made: Capture, dealt: Sequence[Dealt]) -> list[bytes]:
    """What the segments hold, in the order of their packets."""
    assert made.spool is not None
    arrays = Memory(made.config, made.spool.view, keep=2)
    found = []
    for part in (part for each in dealt for part in each.parts):
        source, place = places(part.extents, part.start)
        sources = np.broadcast_to(source, len(place)).tolist()
        rows = zip(part.packet.tolist(), sources, place.tolist(), part.size.tolist(), strict=True)
        found += [(packet, arrays(which)[at : at + size].tobytes()) for packet, which, at, size in rows]
    return [payload for _, payload in sorted(found)]


def packets_of(dealt: Sequence[Dealt]) -> list[int]:
    return sorted(number for each in dealt for part in each.parts for number in part.packet.tolist())


# --------------------------------------------------------------------------- packet numbers and batches


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_numbers_count_every_record_of_every_input(tmp_path: Path, workers: int) -> None:
    """From 1, over all files, those that are no TCP included; each segment goes to one worker."""
    first = write_pcap(tmp_path / "1", [*talk(3), *others(4)])
    second = write_pcap(tmp_path / "2", others(1, EPOCH_NS + SECOND))
    later = EPOCH_NS + 2 * SECOND
    third = write_pcap(tmp_path / "3", [*others(2, later), *talk(2, later, port=1), *talk(2, later, port=2)])
    made, dealt = capture(first, second, third, workers=workers)
    assert packets_of(dealt) == [1, 2, 3, 11, 12, 13, 14]
    assert all(len(each.parts) == workers for each in dealt)
    assert made.counters()["read"] == made.packets == 14
    assert [facts.packets for facts in made.inputs] == [7, 1, 6]


def test_no_batch_is_larger_than_it_should_be(tmp_path: Path) -> None:
    """Batches are numbered from 0 and hold at most what was asked for, whatever the inputs are cut into."""
    paths = [write_pcap(tmp_path / "1", talk(5)), write_pcap(tmp_path / "2", talk(3, EPOCH_NS + SECOND))]
    _, dealt = capture(*paths, batch=2)
    parts = [each.parts[0] for each in dealt]
    assert [part.number for part in parts] == [each.number for each in dealt] == list(range(len(dealt)))
    assert max(len(part.packet) for part in parts) == 2
    assert packets_of(dealt) == list(range(1, 9))


def test_what_was_read_grows_to_the_size_of_all(tmp_path: Path) -> None:
    """Progress counts bytes over all inputs, the unreadable ones too, and ends at their sum."""
    paths = [write_pcap(tmp_path / "1", talk(5)), tmp_path / "2", write_pcap(tmp_path / "3", talk(5))]
    paths[1].write_bytes(b"not a capture at all")
    _, dealt = capture(*paths, batch=2)
    told = [each.bytes_read for each in dealt]
    assert told == sorted(told)
    assert told[-1] == sum(path.stat().st_size for path in paths)


def test_payload_is_where_the_batch_says(tmp_path: Path) -> None:
    """An address leads to the segment's bytes: in a mapped file, in the spool, and where both are mixed."""
    later = EPOCH_NS + SECOND
    paths = [
        write_pcap(tmp_path / "1", talk(3)),
        write_pcapng(tmp_path / "2", section(), interface(), *pcapng_blocks(talk(4, later, port=9))),
        tmp_path / "3",
    ]
    paths[2].write_bytes(gzip.compress(pcap_bytes(talk(3, later + 500_000, port=10))))
    expected = [b"x0", b"x1", b"x2", b"x0", b"x0", b"x1", b"x1", b"x2", b"x2", b"x3"]
    for mapped in (True, False):
        assert payloads(*capture(*paths, batch=3, mapped=mapped)) == expected


# --------------------------------------------------------------------------- the clock


def clocks(dealt: Sequence[Dealt]) -> list[int]:
    """The packet clock at every segment."""
    return [moment for each in dealt for part in each.parts for moment in (part.time + part.lag).tolist()]


def test_the_clock_runs_over_all_files(tmp_path: Path) -> None:
    """Files are one timeline, whatever order they are given in; a packet of the past does not turn the clock back."""
    paths = [
        write_pcap(tmp_path / "1", talk(2, EPOCH_NS + 10 * SECOND), nanoseconds=True),
        write_pcap(tmp_path / "2", [*talk(2), *talk(1, EPOCH_NS + 20 * SECOND)], nanoseconds=True),
    ]
    _, dealt = capture(*paths)
    late = EPOCH_NS + 10 * SECOND
    assert clocks(dealt) == [EPOCH_NS, EPOCH_NS + 1_000_000, late, late + 1_000_000, EPOCH_NS + 20 * SECOND]
    assert dealt[-1].parts[0].clock == EPOCH_NS + 20 * SECOND


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(1, 30), st.booleans())
def test_the_clock_does_not_depend_on_cuts(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[int], batch: int, mapped: bool
) -> None:
    """Times in any order, in batches of any size, mapped or copied: the clock at each packet is the same."""
    folder = tmp_path_factory.mktemp("clock")
    whole = write_pcap(folder / "whole", [Packet(EPOCH_NS + s * SECOND, tcp4(sport=1, dport=2)) for s in seconds])
    expected = clocks(capture(whole)[1])
    assert clocks(capture(whole, batch=batch, mapped=mapped)[1]) == expected
    assert expected == sorted(expected)


# --------------------------------------------------------------------------- faults and counts


@pytest.mark.parametrize("mapped", [True, False])
def test_one_damaged_input_among_several(tmp_path: Path, mapped: bool) -> None:
    """What can be read of it is; the others are read whole; each input says its own fault."""
    paths = [tmp_path / str(i) for i in range(5)]
    write_pcap(paths[0], talk(3))
    paths[1].write_bytes(pcap_bytes(talk(3))[:-5])
    paths[2].write_bytes(gzip.compress(b"no capture"))
    paths[3].write_bytes(b"")
    write_pcap(paths[4], talk(3))
    made, dealt = capture(*paths, mapped=mapped)
    assert packets_of(dealt) == [1, 2, 3, 4, 5, 6, 7, 8]
    faults = [facts.faults for facts in made.inputs]
    assert [len(each) for each in faults] == [0, 1, 1, 1, 0]
    record = (len(pcap_bytes(talk(3))) - 24) // 3
    assert (faults[1][0].offset, faults[1][0].length) == (24 + 2 * record, record - 5)
    assert (faults[2][0].path, faults[2][0].offset) == (paths[2], 0)
    assert "not a pcap" in faults[2][0].problem
    assert "empty" in faults[3][0].problem
    assert [facts.packets for facts in made.inputs] == [3, 2, 0, 0, 3]
    assert [facts.format for facts in made.inputs][2:4] == ["unknown", "unknown"]


def test_facts_of_an_input_as_they_travel(tmp_path: Path) -> None:
    """Sizes, format, packets and faults, in types that a message can carry."""
    path = write_pcap(tmp_path / "1", talk(2))
    made, _ = capture(path)
    (facts,) = made.inputs
    told = describe(facts)
    size = path.stat().st_size
    assert told == {
        "size": size, "bytes": size, "format": facts.format, "packets": 2, "faults": [], "more_faults": 0
    }  # fmt: skip
    assert "pcap" in facts.format
    facts.faults.append(Fault(path, 24, "cut", 7))
    assert describe(facts)["faults"] == [[24, "cut", 7]]


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
    if kinds:
        assert (told.pop("time.first"), told.pop("time.last")) == (EPOCH_NS, EPOCH_NS + (len(kinds) - 1) // 1000 * 1000)
    assert {name: count for name, count in told.items() if count} == dict(expected)
    assert len(packets_of(dealt)) == expected["reason.tcp"]


def test_no_packets_no_batches(tmp_path: Path) -> None:
    """A capture without a packet is whole, and nothing is dealt."""
    made, dealt = capture(write_pcap(tmp_path / "1", []))
    assert dealt == []
    assert made.inputs[0].faults == []
    assert made.counters()["read"] == 0


# --------------------------------------------------------------------------- options


def test_a_range_of_times_is_half_open(tmp_path: Path) -> None:
    """--start takes the packets from that moment on, --end those before it; the others are counted."""
    path = write_pcap(tmp_path / "1", talk(10), nanoseconds=True)
    ms = 1_000_000
    for start, end, expected in (
        (None, None, range(10)),
        (EPOCH_NS + 3 * ms, None, range(3, 10)),
        (None, EPOCH_NS + 3 * ms, range(3)),
        (EPOCH_NS + 2 * ms + 1, EPOCH_NS + 5 * ms, range(3, 5)),
        (EPOCH_NS + SECOND, None, range(0)),
    ):
        made, dealt = capture(path, start_ns=start, end_ns=end)
        assert packets_of(dealt) == [i + 1 for i in expected]
        assert made.counters()["reason.outside_time"] == 10 - len(expected)


def test_vlan_tags_can_be_ignored(tmp_path: Path) -> None:
    """With --ignore-vlan a packet's tags do not tell its flow from another one's."""
    frames = [tcp4(sport=1, dport=2), tcp4(sport=1, dport=2, vlans=(5,))]
    path = write_pcap(tmp_path / "1", [Packet(EPOCH_NS + i, frame) for i, frame in enumerate(frames)])
    assert [len(capture(path, ignore_vlan=ignored)[1][0].parts[0].keys) for ignored in (False, True)] == [2, 1]


def test_slabs_come_back_when_batches_were_used(tmp_path: Path) -> None:
    """Every window of a copied input is given back once, when the last batch that refers to it is dropped."""
    paths = [write_pcap(tmp_path / str(i), talk(40, EPOCH_NS + i * 500_000)) for i in range(3)]
    for inputs in (paths[:1], paths):
        made, dealt = capture(*inputs, batch=7, mapped=False)
        assert made.spool is not None
        assert made.spool.in_use > 0
        for each in dealt:
            each.drop()
        assert made.spool.in_use == 0


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize(("large", "finished"), [(5, True), (700, False)])
def test_what_is_finished_first_is_little(large: int, finished: bool, mapped: bool, tmp_path: Path) -> None:
    """An input that ends soon behind the next one's beginning is finished first, unless that takes much memory: be it
    a capture whose packets all have one time."""
    early, frame = tcp4(sport=1, dport=2), tcp4(sport=1, dport=2, payload=bytes(60_000))
    paths = [
        write_pcap(tmp_path / "1", [Packet(EPOCH_NS, early), *[Packet(EPOCH_NS + SECOND, frame)] * large]),
        write_pcap(tmp_path / "2", [Packet(EPOCH_NS + SECOND - 1000, tcp4(sport=3, dport=2))]),
    ]
    made = Capture(Config(inputs=tuple(paths), mapped=mapped, batch_packets=100), 1, short_lived())
    inputs = []
    for dealt in made.batches():
        inputs += (dealt.parts[0].start >> INPUT_SHIFT).tolist()
        dealt.drop()
    assert inputs == ([0] * (large + 1) + [1] if finished else [0, 1] + [0] * large)
    assert made.spool is not None
    assert made.spool.reserved <= 41 << 20


# --------------------------------------------------------------------------- beforehand


def test_inputs_are_checked_beforehand(tmp_path: Path) -> None:
    """One good capture among others is enough; without any, the first one's trouble is told."""
    good = write_pcap(tmp_path / "good", talk(1))
    bad, worse = tmp_path / "bad", tmp_path / "worse"
    bad.write_bytes(b"PK\3\4 zipped")
    worse.write_bytes(b"")
    check_inputs(Config(inputs=(bad, good)))
    check_inputs(Config(inputs=(good, worse)))
    with pytest.raises(CaptureError, match="zip archive"):
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
