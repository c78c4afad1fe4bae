"""-w in whole runs: what no stream took, and what the streams took, are the input, packet for packet."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.errors import CaptureError
from pipeline.reading import peek
from tests import rough
from tests.build import pcapng_blocks
from tests.decode.oracle import Segment, segment
from tests.effort import one_in_turn, tries
from tests.forms import crossed
from tests.runs import counters, reads, report_of, run_apart, run_here
from tests.shared import capture, manifest
from tests.source import oracle
from tests.source.reading import read
from tests.test_unprocessed import parse

ONE_PROCESS = ["--workers", 0]
SHAPES: dict[str, list[object]] = {
    "batches of 7": [*ONE_PROCESS, "--batch-packets", 7],
    "two workers": ["--workers", 2, "--writers", 2],
    "small batches, two workers": ["--workers", 2, "--writers", 2, "--batch-packets", 7],
}
HIGHEST = (1 << 63) - 1  # of times
PARTLY = {"083-suricata-verify-bug-76.pcap": 1_382}
"""Payload bytes outside the window in segments of which the rest was taken."""
CAPTURES = [row["file"] for row in manifest()] or ["none"]


class Captured(NamedTuple):
    """A packet as a capture has it."""

    link: int
    time: int
    length: int
    frame: bytes


def packets_of(data: bytes) -> list[Captured]:
    """All packets of a capture, by the slow readers; up to the first damage."""
    if data.startswith(b"snoop\0"):
        rows, _ = oracle.snoop(data)
    elif data.startswith(b"\n\r\r\n"):
        rows, _ = oracle.pcapng(data)
    else:
        rows, _ = oracle.pcap(data)
    return [
        Captured(link, time, length, data[start : start + captured]) for start, captured, length, time, link in rows
    ]


def set_aside(captures: list[Path], folder: Path, *words: object) -> bytes:
    """The file that -w makes."""
    folder.mkdir()
    runner = run_here if words[:2] == (*ONE_PROCESS,) else run_apart
    words = (*words, "-o", folder / "out", "-w", folder / "left.pcapng", "--quiet", "--packet-map")
    done = runner(*reads(captures), *words)
    assert done.status in {0, 3}, done.err
    return (folder / "left.pcapng").read_bytes()


def mapped(folder: Path) -> set[int]:
    """Numbers of the packets of which bytes are in a stream's file."""
    lines = (folder / "out" / "packet-map.tsv").read_text().splitlines()[1:]
    return {int(line.split("\t")[0]) for line in lines}


def check(captures: list[Path], folder: Path, *words: object) -> None:
    """Packet for packet, and byte for byte where streams took them."""
    left = set_aside(captures, folder, *ONE_PROCESS, *words)
    whole = [packet for path in captures for packet in packets_of(path.read_bytes())]
    if len(captures) > 1:
        whole.sort(key=lambda packet: packet.time)
    found = parse(left)
    numbers = [packet.number for packet in found]
    assert len(numbers) == len(set(numbers))
    at_once = [packet.number for packet in found if "IP fragment" not in packet.comment]
    assert at_once == sorted(at_once)
    for packet in found:
        as_captured = whole[packet.number - 1]
        time = max(as_captured.time, 0)  # its comment tells of an earlier one
        assert (packet.link, packet.ticks, packet.length, packet.frame) == (
            as_captured.link, time, as_captured.length, as_captured.frame
        )  # fmt: skip
    ours = [
        Captured(link, time, length, left[start : start + captured])
        for start, captured, length, time, link in read(left).rows
    ]
    assert ours == packets_of(left) == [Captured(p.link, min(p.ticks, HIGHEST), p.length, p.frame) for p in found]
    check_taken(whole, set(numbers), folder, PARTLY.get(captures[0].name, 0))


def check_taken(whole: list[Captured], left: set[int], folder: Path, partly: int) -> None:
    """What is not in the file are segments, and their payload is in the streams; none is in both."""
    told = counters(report_of(folder / "out"))
    assert told["packets"] == len(whole)
    assert mapped(folder).isdisjoint(left)
    payload = {True: 0, False: 0}
    for number, packet in enumerate(whole, 1):
        decoded = segment(packet.frame, packet.length, packet.link)
        if number not in left and decoded != "fragment":
            assert isinstance(decoded, Segment), (number, decoded)
        if isinstance(decoded, Segment):
            payload[number in left] += decoded.size - decoded.missing
    lost = told["bytes.outside"] + told["bytes.not_data"] + told["bytes.refused"] - partly
    filtered = told["unprocessed.filtered"] + told["unprocessed.outside_time"]
    assert filtered or payload[True] == lost
    if not told["packets.merged"]:  # else there are segments that no packet is
        assert payload[False] == told["bytes.payload"] - lost


@pytest.mark.parametrize(
    "words",
    [[], ["--end", "1620000002"], ["-C", 100, "tcp port 80 and not vlan"]],
    ids=lambda words: " ".join(map(str, words)),
)
def test_rough_traffic(words: list[object], rough_captures: list[Path], tmp_path: Path) -> None:
    """Of rough traffic, with and without a filter, every packet is in a stream or in the file, and in one of them."""
    check(rough_captures, tmp_path / "x", *words)
    assert len(parse((tmp_path / "x" / "left.pcapng").read_bytes())) > 10


@pytest.mark.parametrize("shape", crossed([("small batches, two workers",)], SHAPES))
def test_the_file_is_always_the_same(shape: str, rough_captures: list[Path], tmp_path: Path) -> None:
    """Its bytes do not depend on processes and batches."""
    alone = set_aside(rough_captures, tmp_path / "alone", *ONE_PROCESS)
    assert set_aside(rough_captures, tmp_path / "other", *SHAPES[shape]) == alone


@pytest.mark.slow
@pytest.mark.parametrize("seed", tries(30, 10))
def test_other_traffic(seed: int, tmp_path: Path) -> None:
    """Nor is any packet of other traffic lost, or in both."""
    (tmp_path / "x.pcapng").write_bytes(b"".join(pcapng_blocks(rough.Rough(400 + seed, 2_000).packets(4))))
    check([tmp_path / "x.pcapng"], tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", CAPTURES)
def test_real_captures(name: str, tmp_path: Path) -> None:
    """Nor of captures that were not made by us; and the file is the same for any processes and batches, of which each
    has one in turn, nightly all."""
    path = capture(name)
    try:
        peek(path)
    except CaptureError as error:
        pytest.skip(str(error))
    check([path], tmp_path / "x")
    alone = (tmp_path / "x" / "left.pcapng").read_bytes()
    for shape in one_in_turn(SHAPES, CAPTURES.index(name)):
        assert set_aside([path], tmp_path / shape, *SHAPES[shape]) == alone
