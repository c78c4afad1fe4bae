"""Limits that a user sets hold for whatever is written: files, bytes, descriptors."""

from __future__ import annotations

import hashlib
import resource
from pathlib import Path

import pytest

from tests.build import Conversation, in_turns, write_pcap
from tests.faults.disks import LINES, check, talks
from tests.forms import crossed
from tests.runs import REPORT, counters, flows, report_of, run_apart, run_here

FOUND = ("-a", "-e", "http")
WORKERS = pytest.mark.parametrize("workers", [0, 2])
MIB = 1 << 20
SLACK = 400 * 4096
"""What the lists and the report take is not limited; nor are the last blocks of files."""


@pytest.mark.parametrize(
    ("workers", "most", "more"),
    crossed([(0, 0, FOUND), (0, 1, ()), (0, 17, FOUND), (2, 17, ()), (2, 1, FOUND)], [0, 2], [0, 1, 17], [(), FOUND]),
)
def test_just_so_many_files(tmp_path: Path, workers: int, most: int, more: tuple[str, ...]) -> None:
    """--max-files N: N files of streams and of what is in them; all other streams are counted, limited, and absent."""
    capture = write_pcap(tmp_path / "x.pcap", talks(), nanoseconds=True)
    words = ("-r", capture, "-md5", *more)
    assert run_here(*words, "-o", tmp_path / "whole", "--workers", 0).status == 0
    runner = run_apart if workers else run_here
    done = runner(*words, "-o", tmp_path / "out", "--max-files", most, "--workers", workers)
    assert done.status == 0, done.err
    assert done.err.count("files were made: what belongs into further ones is counted, not written") in {1, 2}
    report = check(tmp_path / "out", tmp_path / "whole")
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name not in {REPORT, LINES}]
    assert len(made) == most
    assert counters(report)["limit.files"] > 0
    assert "write_errors" not in counters(report)


@WORKERS
def test_what_is_found_obeys_the_limit_on_bytes(tmp_path: Path, workers: int) -> None:
    """--max-output with -a and -e: all files together keep to it, and the analyzers' account adds up (status 0)."""
    capture = write_pcap(tmp_path / "x.pcap", talks(30, size=40_000, mss=1_400), nanoseconds=True)
    words = ("-r", capture, "-md5", *FOUND)
    assert run_here(*words, "-o", tmp_path / "whole", "--workers", 0).status == 0
    runner = run_apart if workers else run_here
    done = runner(*words, "-o", tmp_path / "out", "--max-output", 2 * MIB, "--workers", workers)
    assert done.status == 0, done.err
    check(tmp_path / "out", tmp_path / "whole")
    sizes = [p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file() and p.name not in {REPORT, LINES}]
    assert MIB < sum(sizes) <= 2 * MIB
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) <= 2 * MIB + SLACK


def few_descriptors() -> None:
    """As ``ulimit -n 64``."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def interleaved(count: int) -> list[list[bytes]]:
    """What each of so many connections says, in three turns, all of them at once."""
    return [[b"%d %d " % (n, turn) * 9 for turn in range(3)] for n in range(count)]


@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.slow)])
@WORKERS
def test_few_descriptors(tmp_path: Path, count: int, workers: int) -> None:
    """With 64 descriptors many interleaved streams are written as with any number; nothing is out of them."""
    said = interleaved(count)
    talk = [
        Conversation(client=(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1_025), start_ns=n, step_ns=count)
        for n in range(count)
    ]  # fmt: skip
    packets = in_turns(*(each.packets([(0, text) for text in turns]) for each, turns in zip(talk, said, strict=True)))
    capture = write_pcap(tmp_path / "x.pcap", packets, nanoseconds=True)
    words = ("-r", capture, "-o", tmp_path / "out", "-md5", "--workers", workers, "--batch-packets", 4 * count)
    done = run_apart(*words, preexec=few_descriptors, timeout=120)
    assert (done.status, "open files" in done.err) == (0, False), done.err
    digests = {flow["src_ipn"]: file.hashes["md5"] for file, flow in flows(report_of(tmp_path / "out"))}
    expected = {
        each.client[0]: hashlib.md5(b"".join(turns)).hexdigest() for each, turns in zip(talk, said, strict=True)
    }
    assert digests == expected
