"""Disks that are full, or take no more files, or no larger ones: exit status 4, and a report of what is missing."""

from __future__ import annotations

import errno
import re
import resource
import shutil
import time
from pathlib import Path

import pytest

from tests.build import Conversation, in_turns, write_pcap
from tests.faults.disks import Writes, check, failing, on_a_disk, talks
from tests.runs import MARKER, REPORT, counters, flows, run_apart, run_here

WORKERS = pytest.mark.parametrize("workers", [0, 2])
NO_SPACE = "No space left on device"


@pytest.fixture(scope="module")
def much(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A capture of 150 connections with 8 MB, and what an undisturbed run makes of it."""
    folder = tmp_path_factory.mktemp("much")
    capture = write_pcap(folder / "x.pcap", talks(150, size=27_000, mss=1_400), nanoseconds=True)
    done = run_here("-r", capture, "-o", folder / "whole", "-md5", "-a", "-e", "http", "--workers", 0)
    assert done.status == 0, done.err
    plain = run_here("-r", capture, "-o", folder / "plain", "-md5", "--workers", 0)
    assert plain.status == 0
    return capture, folder


def told(err: str) -> int:
    """How many messages there were about what failed while the run went on."""
    return len(re.findall(r"(?m)^(?:warning|error): cannot ", err))


@WORKERS
@pytest.mark.parametrize(
    ("options", "more", "number"),
    [
        pytest.param("size=1m", (), "ENOSPC", marks=pytest.mark.slow),
        ("size=5m", ("-a", "-e", "http"), "ENOSPC"),
        pytest.param("size=40m,nr_inodes=100", (), "ENOSPC", marks=pytest.mark.slow),
        ("size=40m,nr_inodes=100", ("-a", "-e", "http"), "ENOSPC"),
    ],
    ids=["bytes", "bytes and findings", "files", "files and findings"],
)
def test_a_full_disk(
    tmp_path: Path, much: tuple[Path, Path], workers: int, options: str, more: tuple[str, ...], number: str
) -> None:
    """Status 4; few messages; a report of all streams, each with just the bytes that the disk has of it."""
    capture, folder = much
    begun = time.monotonic()
    done, copy = on_a_disk(tmp_path, options, "-r", capture, "-md5", "--workers", workers, *more)
    assert done.status == 4, done.err
    assert NO_SPACE in done.err
    assert 1 <= told(done.err) <= 1 + time.monotonic() - begun
    report = check(copy, folder / ("whole" if more else "plain"))
    counted = counters(report)
    assert counted["write_errors"] == counted[f"write_errors.{number}"] > 0
    assert counted["bytes.unwritten"] > 0
    assert re.search(r"warning: output failed [\d,]+ times \([\d,]+ ENOSPC\): [\d,]+ streams are cut short", done.err)


def test_a_disk_that_may_not_be_written(tmp_path: Path, much: tuple[Path, Path]) -> None:
    """A file system that is read-only: status 4 at once, in one message."""
    done, _ = on_a_disk(tmp_path, "size=1m,ro", "-r", much[0])
    assert (done.status, done.err.count("error: ")) == (4, 1), done.err
    assert "Read-only file system" in done.err


@pytest.mark.parametrize(("workers", "mib"), [(0, 16), (2, 1)])
def test_files_that_may_not_grow(workers: int, mib: int, tmp_path: Path) -> None:
    """A file that the system lets grow no further (ulimit -f) ends there, with the MD5 of what it has; others go on."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (mib << 20, mib << 20))

    large, small = Conversation(mss=60_000, acknowledge=False), Conversation(client=("10.0.0.9", 9))
    packets = in_turns(large.packets([(1, bytes((mib << 20) + 1))]), small.packets([(1, b"x")]))
    capture = write_pcap(tmp_path / "x.pcap", packets)
    words = ("-r", capture, "-md5", "--workers", workers)
    assert run_apart(*words, "-o", tmp_path / "whole").status == 0
    done = run_apart(*words, "-o", tmp_path / "out", preexec=limited)
    assert done.status == 4, done.err
    assert "80-10.0.0.1.40000: File too large\nhint: the file system, or ulimit -f, allows no larger file" in done.err
    report = check(tmp_path / "out", tmp_path / "whole")
    sizes = {flow["dstport"]: int(file.tags["filesize"]) for file, flow in flows(report) if flow["direction"] == "1"}
    assert sizes == {"40000": mib << 20, "9": 1}
    assert counters(report)["write_errors.EFBIG"] == 1


def test_a_spool_that_may_not_be_made(tmp_path: Path) -> None:
    """Where even the spool finds no room nothing is read: status 4, and what to do."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    capture = write_pcap(tmp_path / "x.pcap", talks(1))
    done = run_apart("-r", capture, "-o", tmp_path / "out", "--workers", 0, preexec=limited)
    assert done.status == 4
    assert done.err == (
        "error: cannot make the spool: files may not be larger than 1,048,576 bytes\n"
        "hint: ulimit -f says so; allow at least 16 MiB\n"
    )


@pytest.mark.parametrize("at", [20, 60])
def test_a_folder_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Somebody removes the output folder in the middle: the run counts on to its end, and says why nothing is there."""
    capture = write_pcap(tmp_path / "x.pcap", talks(), nanoseconds=True)
    out = tmp_path / "out"

    def remove(number: int) -> bool:
        if number == at:
            shutil.rmtree(out)
        return False

    with failing(monkeypatch, Writes(out, remove)):
        done = run_here("-r", capture, "-o", out, "--workers", 0, "--batch-packets", 20)
    assert done.status == 4, done.err
    assert "internal error" not in done.err
    assert done.err.count("error: ") == 1
    assert not out.exists()


def test_a_disk_that_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is full nothing is written; streams that begin later are whole."""
    talk = [Conversation(client=("10.0.0.1", 1000 + n), start_ns=n * 10**9) for n in range(60)]
    capture = write_pcap(tmp_path / "x.pcap", in_turns(*(each.packets([(0, b"abc")]) for each in talk)))
    words = ("-r", capture, "-md5", "--workers", 0, "--batch-packets", 7)
    assert run_here(*words, "-o", tmp_path / "whole").status == 0
    out = tmp_path / "out"
    with failing(monkeypatch, Writes(out, lambda at: 70 <= at < 90, errno.EDQUOT)):
        done = run_here(*words, "-o", out)
    assert done.status == 4, done.err
    report = check(out, tmp_path / "whole")
    words_of = [flow["completeness"] for _, flow in flows(report)]
    absent = ["absent" in each for each in words_of]
    assert 0 < sum(absent) < 25
    assert not any(absent[:5])
    assert not any(absent[-8:])
    assert counters(report)["write_errors.EDQUOT"] > 0
    assert (out / REPORT).exists()
    assert not (out / MARKER).exists()
