"""Limits on disk use: what is written until they are reached, what happens then, and that all is counted."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.parts.folders import cost
from tests.build import pcap_bytes, write_pcap
from tests.forms import crossed
from tests.parts.days import MARKER, PART_BYTES, everything, parts, rotated, traffic
from tests.report.reader import read
from tests.runs import REPORT, counters, environment, flows, report_of, run_apart, run_here

MOST = 1 << 20
MOST_PARTS = 6 * PART_BYTES
"""Room for those under way, the streams that are open, and some more."""


def used(folder: Path) -> int:
    """Bytes that all streams' files take, as the limit counts them."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in {REPORT, MARKER}]
    return sum(cost(path.stat()) for path in paths)


@pytest.mark.parametrize("workers", crossed([(0,), (2,)], [0, 1, 2]))
def test_payload_stops_at_the_limit_and_counting_goes_on(tmp_path: Path, workers: int) -> None:
    """What there is room for is a beginning of each stream; the rest is counted, and the row says limited."""
    packets = traffic()
    whole, limited = tmp_path / "whole", tmp_path / "limited"
    capture = write_pcap(tmp_path / "x.pcap", packets, nanoseconds=True)
    words = ("-r", capture, "-md5")
    assert run_here(*words, "-o", whole, "--workers", 0).status == 0
    runner = run_apart if workers else run_here
    done = runner(*words, "-o", limited, "--max-output", MOST, "--workers", workers)
    assert done.status == 0, done.err
    assert "there is no room for more payload" in done.err
    assert MOST // 2 < used(limited) <= MOST
    ours, all_of_it = counters(report_of(limited)), counters(report_of(whole))
    assert ours["bytes.payload"] == all_of_it["bytes.payload"]
    assert ours["bytes.written"] + ours["bytes.unwritten"] == all_of_it["bytes.written"]
    names = 0
    for file, flow in flows(report_of(limited)):
        name = file.tags["filename"]
        absent = "absent" in flow["completeness"].split()
        assert (limited / name).exists() is not absent
        data = b"" if absent else (limited / name).read_bytes()
        assert (whole / name).read_bytes().startswith(data)
        assert file.hashes.get("md5") == (None if absent else hashlib.md5(data).hexdigest())
        assert len(data) == int(flow["written"])
        cut = "unwritten" in flow
        assert cut == ("limited" in flow["completeness"])
        names += cut
    assert ours["limit.output"] == names > 0


@pytest.mark.parametrize("workers", crossed([(2,)], [0, 2]))
def test_the_oldest_parts_make_room(tmp_path: Path, workers: int) -> None:
    """Complete parts go, the oldest first; what stays is complete, within the limit, and whole."""
    packets = traffic(120)
    plain = {part.path.name[:11]: part for part in parts(rotated(tmp_path, packets, name="plain")[0])}
    output, done = rotated(tmp_path, packets, "--max-output", MOST_PARTS, "--when-full", "delete", "--workers", workers)
    left = parts(output)
    assert 1 < len(left) < len(plain)
    assert [part.path.name[:11] for part in left] == list(plain)[-len(left) :]
    for part in left:
        assert part.files == plain[part.path.name[:11]].files
    assert used(output) <= MOST_PARTS
    untold = sum(map(int, re.findall(r"(\d+) more like (?:it|these) were not told", done.err)))
    assert done.err.count("removed the oldest part") + untold == len(plain) - len(left)


def on_a_small_disk(folder: Path, *words: object) -> tuple[int, str, dict[str, bytes], list[str]]:
    """A run on a disk of 8 MiB of its own, fed with some 12 MB: status, what it said, the streams' files, parts."""
    if os.geteuid():
        pytest.skip("needs root")
    disk, copy = folder / "disk", folder / "copy"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=8m none {disk} && {sys.executable} -m pipeline -r - -o {disk}/out "
        f"{' '.join(map(str, words))}; status=$?; cp -a {disk}/out {copy}; exit $status"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], input=pcap_bytes(traffic(120), nanoseconds=True), env=environment(),
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr.decode(), dict(everything(copy)), sorted(os.listdir(copy))


@pytest.mark.root
@pytest.mark.parametrize("workers", crossed([(0,)], [0, 2]))
def test_the_disk_is_kept_free(tmp_path: Path, workers: int) -> None:
    """Where the disk is nearly full no payload is written, and the run ends well, with its report."""
    status, said, held, _ = on_a_small_disk(tmp_path, "--keep-free", "4M", "--workers", workers)
    assert status == 0, said
    assert "there is no room for more payload" in said
    assert 2 << 20 < sum(len(data) for name, data in held.items() if name != REPORT) <= 4 << 20
    assert counters(read(held[REPORT]))["bytes.unwritten"] > 0


@pytest.mark.root
@pytest.mark.parametrize("workers", crossed([(2,)], [0, 2]))
def test_parts_are_removed_before_the_disk_is_full(tmp_path: Path, workers: int) -> None:
    """With --when-full delete the newest parts stay, and no byte of theirs is missing."""
    words = ("--keep-free", "1M", "--when-full", "delete", "--rotate", "1M", "--workers", workers)
    status, said, held, left = on_a_small_disk(tmp_path, *words)
    assert status == 0, said
    assert "removed the oldest part, part-000001-" in said
    assert "no room" not in said
    for name in left:
        report = read(held[f"{name}/{REPORT}"])
        ours = {each.removeprefix(name + "/") for each in held if each.startswith(name)}
        assert {file.tags["filename"] for file, _ in flows(report)} == ours - {REPORT, MARKER}
        assert "limit.output" not in counters(report)
