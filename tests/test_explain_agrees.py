"""What ``flowshard explain`` says is what the run did: its verdicts add up to the rows of the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.capture import Capture
from pipeline.config import Config
from pipeline.decode.kernels import decode
from pipeline.decode.reasons import Reason
from pipeline.explain.missing import Hole, holes, split
from pipeline.explain.replay import Tuple, dropped, tuple_of
from pipeline.explain.report import Row
from pipeline.run import run
from tests import rough
from tests.build import Conversation, Packet, tcp4, write_pcap
from tests.explaining import CLIENT, COUNTS, SERVER, made, texts, told
from tests.runs import flows, report_of, run_here
from tests.shared import capture, manifest, shared_or_skip
from workers.contract import Closed
from workers.limits import Limits
from workers.overlap import POLICIES, PolicyName
from workers.reassembler import Reassembler
from workers.tracing import Ending, Step, Tracer

# --------------------------------------------------------------------------- agreement with the report


def agrees(out: Path) -> int:
    """Explains every connection of a report, and compares with its rows. How many streams there were."""
    rows = {int(facts["connection"]) << 1 | int(facts["direction"]): facts for _, facts in flows(report_of(out))}
    for connection in {stream >> 1 for stream in rows}:
        found: dict[int, Counter[str]] = {}
        ends = {}
        for line in told(out, connection):
            if line["type"] == "stream":
                ends[line["stream"]] = line
            elif line["type"] == "segment":
                counter = found.setdefault(line["stream"], Counter())
                counter.update({name: line[name] for name in (*COUNTS, "conflicting")})
                counter["held" if line["verdict"] == "held" else "packets"] += 1
        mine = {stream: facts for stream, facts in rows.items() if stream >> 1 == connection}
        assert ends.keys() == mine.keys()
        for stream, facts in mine.items():
            assert {name: found[stream][name] for name in COUNTS} == {name: int(facts[name]) for name in COUNTS}
            assert found[stream]["conflicting"] == int(facts["conflict_bytes"])
            # a held SYN counts here only if it came to nothing
            assert 0 <= int(facts["packets"]) - found[stream]["packets"] <= found[stream]["held"]
            assert sum(hole["size"] for hole in ends[stream]["missing"]) == int(facts["gap_bytes"])
            assert ends[stream]["end"] == facts["end"]
            assert " ".join(ends[stream]["completeness"]) == facts["completeness"]
            assert ends[stream]["disagreements"] == []
    return len(rows)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("", marks=pytest.mark.slow),
        "-R",
        "-C 700 --overlap last",
        "--overlap linux --ignore-vlan",
        "--start 1620000001 --end 1620000004 port 80",
    ],
)
def test_it_says_what_the_run_did(tmp_path: Path, options: str) -> None:
    """Of every stream of a rough capture the verdicts add up to the counts of its row, whatever the options."""
    sources = rough.write(tmp_path, disturbed=3)
    words = [word for source in sources for word in ("-r", source)]
    finished = run_here(*words, "-o", tmp_path / "out", "--workers", 0, "--quiet", *options.split())
    assert finished.status == 0, finished.err
    assert agrees(tmp_path / "out") >= 20


@pytest.mark.parametrize("overlap", list(POLICIES))
@pytest.mark.parametrize("limits", [Limits(), Limits(stream_bytes=900, reorder_packets=8, ranges_per_direction=3)])
def test_a_traced_reassembly_is_the_plain_one(tmp_path: Path, overlap: PolicyName, limits: Limits) -> None:
    """Being told of changes nothing: the same streams end alike, and the steps of each add up to its end."""
    limits = replace(limits, overlap=overlap)
    heard: list[Any] = []
    tracer, plain = Tracer(limits, heard.append), Reassembler(limits)
    events = []
    for dealt in Capture(Config(tuple(rough.write(tmp_path, 3, 2)), batch_packets=64), 1, None).batches():
        tracer.handle(dealt.parts[0])
        events.append(plain.handle(dealt.parts[0]))
    assert list(tracer.finish())
    events += plain.finish()
    sums: Counter[tuple[int, int]] = Counter()
    for step in heard:
        if isinstance(step, Step):
            sums.update({(step.stream, i): count for i, count in enumerate(step.counts)})
    ends = {each.closed.stream: tuple(each.closed) for each in heard if isinstance(each, Ending)}
    tables = [each.closed for each in events if each.closed is not None]
    assert ends == {row[0]: row for table in tables for row in zip(*(column.tolist() for column in table), strict=True)}
    for stream, row in ends.items():
        closed = Closed._make(row)
        assert [sums[stream, i] for i in range(len(COUNTS))] == [getattr(closed, name) for name in COUNTS]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_says_what_the_run_did_with_the_shared_captures(tmp_path: Path) -> None:
    """The same of the shared captures that are small enough to be read once for each connection."""
    shared_or_skip()
    streams = 0
    for number, row in enumerate(manifest()):
        source = capture(row["file"])
        if source.stat().st_size > 1_500_000:
            continue
        out = tmp_path / str(number)
        if run_here("-r", source, "-o", out, "--workers", 0, "--quiet").status == 0 and len(report_of(out).files) < 60:
            streams += agrees(out)
    assert streams > 200


def test_the_clock_is_that_of_all_packets(tmp_path: Path) -> None:
    """A connection that ended for idleness, which only the packets of others show, is said to."""
    other = Conversation(client=("10.0.0.3", 1), step_ns=60_000_000_000, acknowledge=False, mss=1)
    out = made(tmp_path, [*Conversation().packets([(0, b"hello")])[:4], *other.packets([(0, b"x" * 1500)])])
    assert [line["end"] for line in told(out, 1) if line["type"] == "stream"] == ["idle"]
    assert "no packet of it came for too long" in texts(out, CLIENT)


# --------------------------------------------------------------------------- checksums, limits


class _Dealt:
    """As much of a Dealt as ``dropped`` looks at."""

    def __init__(self, stretch: Any, first_packet: int) -> None:
        self.stretch = stretch
        self.first_packet = first_packet


def test_wrong_checksums_are_found_again(tmp_path: Path) -> None:
    """Of the packets with a wrong checksum those of the tuple are told, with number, side and size."""
    from pipeline.source import reader_for
    from pipeline.source.records import Records, Window
    from pipeline.timeline import Stretch

    good = Conversation().packets([(0, b"fine"), (1, b"wrong one")])
    wrong = [replace(each, frame=each.frame[:-1] + b"?") if b"wrong" in each.frame else each for each in good]
    others = [Packet(good[-1].time_ns, tcp4(sport=7, payload=b"x")[:-1] + b"?")]
    data = write_pcap(tmp_path / "x.pcap", wrong + others).read_bytes()
    reader = reader_for(tmp_path / "x.pcap", data[:64], final=True, strict=False)
    pieces: Any = zip(*reader.pieces(Window(data, len(data), 0, final=True)), strict=True)
    records = Records._make(map(np.concatenate, pieces))
    array = np.frombuffer(data, np.uint8)
    decoded = decode(array, records, verify=True)
    assert np.count_nonzero(decoded.reason == Reason.BAD_CHECKSUM) == 2
    dealt: Any = _Dealt(Stretch(records, decoded), 101)
    memory: Any = {0: array}.__getitem__
    facts = {"src_ipn": "10.0.0.2", "dst_ipn": "10.0.0.1", "srcport": "80", "dstport": "40000"}
    mine = tuple_of(Row(3, SERVER, 9, 0, facts))
    at = next(i for i, each in enumerate(wrong) if b"wrong" in each.frame or each.frame.endswith(b"on?"))
    assert [each[:1] + each[2:] for each in dropped(dealt, mine, memory, ignore_vlan=False)] == [(101 + at, 1, 9)]
    assert isinstance(mine, Tuple)


def test_packets_left_out_for_their_checksum_are_told(tmp_path: Path) -> None:
    """With --verify-checksums a segment that was left out stands in its place, and the summary counts it."""
    talk = Conversation(acknowledge=False)
    packets = [*talk.open(), *talk.say(1, b"one"), *talk.say(1, b"wrong"), *talk.say(1, b"three")]
    packets[4] = replace(packets[4], frame=packets[4].frame[:-1] + b"?")
    out = made(tmp_path, packets, "--verify-checksums")
    carrying = [line for line in told(out, SERVER) if "verdict" in line and line["size"]]
    assert [line["verdict"] for line in carrying] == ["new", "bad_checksum", "out_of_order"]
    assert "1 packet with a wrong checksum was left out" in texts(out, SERVER)
    assert "It is 13 bytes long: 8 were written, 5 are missing." in texts(out, SERVER)


def test_connections_forgotten_at_a_limit_are_known(tmp_path: Path) -> None:
    """A stream that is one only since the run had forgotten its connection is explained as that."""
    talks = [Conversation(client=("10.0.0.1", 30_000 + i), start_ns=i * 1_000_000_000) for i in range(600)]
    first = [packet for talk in talks for packet in (*talk.open(), *talk.say(0, b"early"))]
    late = [packet for talk in talks[:40] for packet in talk.say(0, b"much later")]
    packets = [replace(each, time_ns=i * 1_000_000) for i, each in enumerate(first + late)]
    source = write_pcap(tmp_path / "x.pcap", packets)
    out = tmp_path / "out"
    limits = Limits(connections_per_shard=1)
    run(Config((source,), output=out, report=out / "report.xml", workers=0, quiet=True, limits=limits))
    again = [facts for _, facts in flows(report_of(out)) if int(facts["connection"]) > len(first)]
    assert len(again) > 10
    for facts in again[:10]:
        lines = told(out, int(facts["connection"]))
        assert next(line["packet"] for line in lines if line["type"] == "segment") == int(facts["connection"])
        assert [line["written"] for line in lines if line["type"] == "stream"] == [10]


# --------------------------------------------------------------------------- missing bytes

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6)


def covered(ranges: list[tuple[int, int]]) -> set[int]:
    """The twin: every byte by itself."""
    return {byte for low, high in ranges for byte in range(low, high)}


@given(RANGES, RANGES, RANGES)
def test_holes_are_what_nothing_covers(
    runs: list[tuple[int, int]], cuts: list[tuple[int, int]], gaps: list[tuple[int, int]]
) -> None:
    """Every byte that is not there is in one hole, whose cause is the first that covers it."""
    found = holes(runs, 5, 50, {"cut": cuts, "gap": gaps}, "start")
    expected = {}
    for byte in set(range(5, 50)) - covered(runs):
        expected[byte] = "cut" if byte in covered(cuts) else "gap" if byte in covered(gaps) else "start"
    assert {byte: hole.cause for hole in found for byte in range(hole.offset, hole.offset + hole.size)} == expected
    assert sum(hole.size for hole in found) == len(expected)
    assert found == sorted(found)


def test_a_split_keeps_every_byte() -> None:
    """The two halves of a split are disjoint and together the whole."""
    assert split([(0, 10), (20, 30)], [(5, 25), (28, 29)]) == (
        [(5, 10), (20, 25), (28, 29)], [(0, 5), (25, 28), (29, 30)]
    )  # fmt: skip
    assert holes([], 0, 3, {}, "start") == [Hole(0, 3, "start")]
