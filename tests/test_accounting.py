"""Nothing is lost silently: the accounting identity, added up again from outside.

What stands in the report is compared with the files on disk, with itself, and with counts of packets
and payload that another decoder makes.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import dpkt
import pytest

from pipeline.errors import CaptureError
from pipeline.reading import peek
from tests.build import Conversation, Packet, tcp4, write_pcap
from tests.forms import crossed
from tests.report.reader import FileObject, Report
from tests.runs import MARKER, REPORT, counters, flows, reads, report_of, run_apart, run_here
from tests.shared import capture, manifest

CAPTURES = [row["file"] for row in manifest() if row["kind"].startswith("pcap")] or ["none"]
WHERE_PAYLOAD_GOES = ("written", "overlap", "beyond", "outside", "not_data", "refused")
SUMMED = (*WHERE_PAYLOAD_GOES, "payload", "conflict_bytes", "gap_bytes", "packets", "violations")
SETS: list[list[object]] = [
    ["-md5"],
    [],
    ["-md5", "-C", 100],
    ["-md5", "-C", 0],
    ["-md5", "-C", 3_000, "--overlap", "last"],
    ["-md5", "--overlap", "last"],
    ["-md5", "-F", "%B", "-T"],
    ["-md5", "port", "80"],
]


def number(attributes: dict[str, str], name: str) -> int:
    """A count of a row; rows may leave out what is 0."""
    return int(attributes.get(name, "0"))


def laid_out(file: FileObject) -> tuple[int, int]:
    """Bytes and hole bytes of a file by its runs, which must follow one another without a gap."""
    at = held = holes = 0
    for run in file.runs:
        assert int(run["file_offset"]) == at, file.tags["filename"]
        size = int(run["len"])
        assert size > 0
        at += size
        if "fill" in run:
            holes += size
        else:
            held += size
    return held, holes


def check_files(folder: Path, report: Report, *, md5: bool) -> None:
    """Every file is in the report, with its size, its time and its hash, and nothing else is there."""
    named = [file.tags["filename"] for file in report.files]
    assert len(named) == len(set(named))
    sides = [flow["conflict_file"] for _, flow in flows(report) if "conflict_file" in flow]
    assert sorted([*named, *sides, REPORT]) == sorted(os.listdir(folder))
    for file in report.files:
        path = folder / file.tags["filename"]
        held, holes = laid_out(file)
        assert path.stat().st_size == int(file.tags["filesize"]) == held + holes, path.name
        assert path.stat().st_mtime_ns == file.times["mtime"], path.name
        if md5:
            assert file.hashes == {"md5": hashlib.md5(path.read_bytes()).hexdigest()}, path.name
        else:
            assert file.hashes == {}
        data = path.read_bytes()
        for run in file.runs:
            if "fill" in run:
                at, size = int(run["file_offset"]), int(run["len"])
                assert data[at : at + size] == bytes(size), path.name


def check_runs(folder: Path, report: Report, sources: Sequence[Path]) -> None:
    """A run that names one place in a capture is what the file holds, unless other bytes won later."""
    images = {str(path): path.read_bytes() for path in sources}
    changed = {file.tags["filename"] for file, flow in flows(report) if number(flow, "conflict_bytes")}
    for file in report.files:
        attributes = file.foreign[0][1]
        name = attributes.get("image", next(iter(images)) if len(images) == 1 else None)
        if name is None or file.tags["filename"].partition("@")[0] in changed:
            continue
        data = (folder / file.tags["filename"]).read_bytes()
        for run in file.runs:
            if "img_offset" in run:
                place, at = int(run["img_offset"]), int(run["file_offset"])
                first = images[name][place : place + 1]
                assert data[at : at + 1] == first, (file.tags["filename"], run)


def check_rows(report: Report) -> Counter[str]:
    """Each row adds up; returns the sums of all rows."""
    held, holes = Counter[int](), Counter[int]()
    for file in report.files:
        flow = int(file.tags["id"]) & ((1 << 48) - 1)
        one, other = laid_out(file)
        held[flow] += one
        holes[flow] += other
    sums = Counter[str]()
    for file, flow in flows(report):
        payload = number(flow, "payload")
        assert payload == sum(number(flow, name) for name in WHERE_PAYLOAD_GOES), file.tags["filename"]
        assert held[file.id] == number(flow, "written"), file.tags["filename"]
        parts = [number(each, "stream_offset") for each in _parts(report, file.id)]
        if not parts:
            assert holes[file.id] == number(flow, "gap_bytes"), file.tags["filename"]
        assert file.id == number(flow, "connection") * 2 + number(flow, "direction")
        assert number(flow, "caplen") <= number(flow, "len")
        sums.update({name: number(flow, name) for name in SUMMED})
        sums["rows"] += 1
    return sums


def _parts(report: Report, flow: int) -> list[dict[str, str]]:
    return [
        attributes
        for file in report.files
        for tag, attributes in file.foreign
        if tag == "part_of" and int(attributes["flow"]) == flow
    ]


def check_sums(report: Report, sums: Counter[str]) -> None:
    """The totals are the sums of the rows, and packets by reason are the packets read."""
    total = counters(report)
    assert {
        "bytes.payload": sums["payload"], "bytes.written": sums["written"], "bytes.beyond": sums["beyond"],
        "bytes.outside": sums["outside"], "bytes.not_data": sums["not_data"], "bytes.refused": sums["refused"],
        "bytes.conflicting": sums["conflict_bytes"], "bytes.duplicate": sums["overlap"] - sums["conflict_bytes"],
        "conflicts": sums["violations"], "bytes.gaps": sums["gap_bytes"], "streams": sums["rows"],
        "files": len(report.files),
    }.items() <= total.items()  # fmt: skip
    apart = sum(count for name, count in total.items() if name.startswith("unprocessed."))
    assert total["packets"] == total["packets.tcp"] + total["packets.merged"] + apart
    assert sums["packets"] <= total["packets.tcp"]
    [summary] = [attributes for tag, attributes in report.foreign if tag == "summary"]
    assert int(summary["packets"]) == total["packets"]
    read = [int(attributes["packets"]) for tag, attributes in report.foreign if tag == "input"]
    assert sum(read) == total["packets"]


def check_all(folder: Path, inputs: Sequence[Path], *, md5: bool) -> Report:
    """All of it."""
    report = report_of(folder)
    check_files(folder, report, md5=md5)
    check_runs(folder, report, inputs)
    check_sums(report, check_rows(report))
    return report


@pytest.mark.parametrize(("workers", "words"), [*((0, words) for words in SETS), (2, SETS[4])], ids=str)
def test_rough_captures(workers: int, words: list[object], rough_captures: list[Path], tmp_path: Path) -> None:
    """With loss, disorder, conflicts, parts, limits and filters: files, rows and totals add up."""
    runner = run_apart if workers else run_here
    out = tmp_path / "out"
    done = runner(*reads(rough_captures), "-o", out, "--workers", workers, *words)
    assert done.status == 0, done.err
    check_all(out, rough_captures, md5="-md5" in words)


@pytest.mark.parametrize("seed", range(4))
def test_every_payload_byte_is_accounted_for(seed: int, tmp_path: Path) -> None:
    """Packets and payload bytes are as many as the builder put into the capture."""
    from tests.rough import Rough

    packets = Rough(300 + seed).packets(4)
    path = write_pcap(tmp_path / "x.pcap", packets, nanoseconds=True)
    assert run_here("-r", path, "-o", tmp_path / "out", "-md5").status == 0
    total = counters(check_all(tmp_path / "out", [path], md5=True))
    segments = [segment for packet in packets if (segment := _tcp(packet.frame, packet.wire_length)) is not None]
    assert total["packets"] == len(packets)
    assert total["packets.tcp"] == len(segments)
    assert total["packets.payload"] == sum(size > 0 for size in segments)


def _tcp(frame: bytes, length: int) -> int | None:
    """Payload bytes of a frame as dpkt and the IP header tell; None: not a TCP segment that can be read."""
    try:
        inner = dpkt.ethernet.Ethernet(frame).data
    except dpkt.UnpackError:
        return None
    if isinstance(inner, dpkt.ip.IP):
        if inner.p != dpkt.ip.IP_PROTO_TCP or inner.mf or inner.offset or len(frame) < 54:
            return None
        size = inner.len - inner.hl * 4
    elif isinstance(inner, dpkt.ip6.IP6):
        if inner.nxt != dpkt.ip.IP_PROTO_TCP:
            return None
        size = inner.plen
    else:
        return None
    if isinstance(inner.data, dpkt.tcp.TCP):
        return size - inner.data.off * 4
    return None


def test_snapped_payload_is_a_gap_of_known_size(tmp_path: Path) -> None:
    """What the snap length cut is neither payload seen nor lost: it is a hole, counted as a gap."""
    talk = Conversation()
    packets = [packet.cut(100) for packet in talk.packets([(0, b"q" * 20), (1, b"a" * 3_000)])]
    path = write_pcap(tmp_path / "x.pcap", packets)
    assert run_here("-r", path, "-o", tmp_path / "out", "-md5").status == 0
    report = check_all(tmp_path / "out", [path], md5=True)
    seen = 20 + 3 * (100 - 54)
    assert (counters(report)["bytes.payload"], counters(report)["bytes.gaps"]) == (seen, 3_020 - seen)
    assert {flow["completeness"] for _, flow in flows(report)} == {"", "snapped"}


def test_a_file_has_the_time_of_its_last_packet(tmp_path: Path) -> None:
    """A file's modification time is that of the stream's last packet, to the nanosecond."""
    talk = Conversation(step_ns=1_000_003)
    packets = talk.packets([(0, b"question"), (1, b"answer")])
    path = write_pcap(tmp_path / "x.pcap", packets, nanoseconds=True)
    assert run_here("-r", path, "-o", tmp_path / "out").status == 0
    times = [(tmp_path / "out" / name).stat().st_mtime_ns for name in (
        "10.0.0.1.40000-10.0.0.2.80", "10.0.0.2.80-10.0.0.1.40000")]  # fmt: skip
    assert times == [packets[-1].time_ns, packets[-2].time_ns]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["-md5"], ["-md5", "-C", 500, "--overlap", "last"]], ids=["plain", "limited"])
@pytest.mark.parametrize("name", CAPTURES)
def test_real_captures(name: str, words: list[object], tmp_path: Path) -> None:
    """On every capture that was not made by us, files, rows and totals add up, and no packet is lost."""
    path = capture(name)
    try:
        peek(path)
    except CaptureError as error:
        pytest.skip(str(error))
    out = tmp_path / "out"
    done = run_here("-r", path, "-o", out, "--workers", 0, *words)
    assert done.status in {0, 3}, done.err
    report = check_all(out, [path], md5=True)
    assert counters(report)["packets"] == _records(path)


def _records(path: Path) -> int:
    """Records of a capture, by dpkt; one that breaks off has those before."""
    count = 0
    with path.open("rb") as file:
        try:
            for _, _ in dpkt.pcap.UniversalReader(file):
                count += 1
        except (dpkt.UnpackError, ValueError):
            pass
    return count


# --------------------------------------------------------------------------- an account that does not add up

COUNTS = {
    "a segment was not delivered": ("workers.reassembler", "Reassembler", "totals", "delivered", "sharded = delivered"),
    "payload went nowhere": ("workers.reassembler", "Reassembler", "totals", "seen", "payload seen"),
    "bytes were accepted and not written": (
        "workers.reassembler", "Reassembler", "totals", "written", "bytes accepted",
    ),
    "a stream has no row": ("workers.reassembler", "Reassembler", "totals", "streams", "streams opened"),
    "a packet was read and forgotten": ("pipeline.capture", "Capture", "counters", "read", "packets read"),
}  # fmt: skip


@pytest.mark.parametrize(("workers", "what"), [*((0, what) for what in COUNTS), (1, "payload went nowhere")])
def test_a_broken_account_is_a_failed_run(
    what: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 70, a message that says which line does not hold, a folder that stays marked, and no report."""
    module, owner, method, counter, words = COUNTS[what]
    true = getattr(getattr(importlib.import_module(module), owner), method)

    def off(self: object) -> dict[str, int]:
        found = dict(true(self))
        found[counter] += 1
        return found

    monkeypatch.setattr(f"{module}.{owner}.{method}", off)
    path = write_pcap(tmp_path / "x.pcap", [Packet(0, tcp4(payload=b"x"))])
    done = run_here("-r", path, "-o", tmp_path / "out", "--workers", workers)
    assert done.status == 70
    assert re.search(rf"^error: the accounting does not add up: .*{words}", done.err), done.err
    assert "hint: this is a defect of flowshard" in done.err
    left = os.listdir(tmp_path / "out")
    assert MARKER in left
    assert REPORT not in left
    assert [name for name in left if name.startswith(".")] == []


@pytest.mark.parametrize("workers", crossed([(0,)], [0, 2]))
def test_more_ranges_than_the_limit(workers: int, tmp_path: Path) -> None:
    """A stream with a hole behind every byte: what the limit of ranges made final early is in the report, too."""
    packets = [Packet(i * 1_000, tcp4(seq=2 * i, payload=b"x")) for i in range(12_000)]
    path = write_pcap(tmp_path / "x.pcap", packets)
    runner = run_apart if workers else run_here
    done = runner("-r", path, "-o", tmp_path / "out", "-md5", "--workers", workers)
    assert done.status == 0, done.err
    total = counters(check_all(tmp_path / "out", [path], md5=True))
    assert (total["limit.ranges"], total["bytes.written"], total["gaps"]) == (2_000, 12_000, 11_999)


@pytest.mark.slow
def test_an_end_that_takes_several_messages(tmp_path: Path) -> None:
    """Nine thousand streams with two holes each, all open at the end of the input."""
    packets = [
        Packet(i * 1_000 + k, tcp4(f"10.0.{i >> 8}.{i & 255}", seq=seq, payload=b"data"))
        for i in range(9_000)
        for k, seq in enumerate((0, 8, 16))
    ]
    path = write_pcap(tmp_path / "x.pcap", packets)
    done = run_apart("-r", path, "-o", tmp_path / "out", "--workers", 1, "--writers", 1)
    assert done.status == 0, done.err
    report = report_of(tmp_path / "out")
    check_files(tmp_path / "out", report, md5=False)
    total = counters(report)
    assert (total["streams"], total["gaps"], total["bytes.written"]) == (9_000, 18_000, 108_000)
