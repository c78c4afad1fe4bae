"""Whatever else a run writes on a disk that fails: -R, -w, -c; each write in turn, and disks that are full.

Of 200 writes some are tried, in the slow tests each fourth, with the nightly profile each.
"""

from __future__ import annotations

import errno
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from pipeline.writer import printing_writer
from pipeline.writer.terminal import StandardOutput
from tests.build import Conversation, Packet, disturb, in_turns, udp4, write_pcap
from tests.effort import thinned
from tests.faults.disks import Writes, check_appended, failing, talks
from tests.runs import COMMAND, Finished, counters, report_of, run_apart, run_here
from tests.test_unprocessed import parse

SOME = range(1, 200, 13)
ALL = thinned(range(1, 201), 4)
SLOW = [pytest.mark.slow, pytest.mark.timeout(300)]
SHORT = ("--workers", 0, "--batch-packets", 20)


def again_and_again() -> list[Packet]:
    """Three connections on each of four tuples, the later ones begun before the earlier ones are known to be over;
    some with losses and other bytes sent twice."""
    made = []
    for n in range(4):
        start, packets = None, []
        for turn in range(3):
            isn = (n * 7919 + turn * 900_000_000, n + turn * 700_000_000)
            more = {} if start is None else {"start_ns": start}
            talk = Conversation(client=("10.0.0.1", 40_000 + n), isn=isn, mss=500, **more)
            said = talk.packets(
                [(0, b"ask %d %d" % (n, turn)), (1, bytes((n + turn + at) & 0xFF for at in range(4000)))]
            )
            other = talk.segment(1, b"?" * 700, seq=talk.isn[1] + 101)
            said.insert(-3, other._replace(time_ns=said[-4].time_ns) if hasattr(other, "_replace") else other)
            packets += said if n % 2 else disturb(said, random.Random(n), reorder=0.2, lose=0.02)
            start = talk.now_ns
        made.append(packets)
    return in_turns(*made)


@contextmanager
def printed_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What -c prints in this process goes into a file."""
    with path.open("wb", buffering=0) as file, monkeypatch.context() as patch:
        patch.setattr(printing_writer, "StandardOutput", partial(StandardOutput, file.fileno()))
        yield


def each(
    which: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[[Path], Finished],
    check: Callable[[Path, Finished], int], beneath: str = "out-{}", number: int = errno.ENOSPC,
) -> int:  # fmt: skip
    """Runs in which one of these writes to what begins with ``beneath`` fails; how many were checked to lack something.

    A run may also end at once, in one message, if it had not begun, or if there was no room for its report.
    """
    touched = 0
    for n in which:
        out = tmp_path / f"out-{n}"
        writes = Writes(tmp_path / beneath.format(n), range(n, n + 1).__contains__, number)
        with failing(monkeypatch, writes):
            done = run(out)
        assert done.status in {0, 4}, (n, done.err)
        assert "internal error" not in done.err
        if done.status == 4 and "error: " in done.err:
            assert done.err.count("error: ") == 1, (n, done.err)
            assert "hint: " in done.err
            continue
        lacks = check(out, done)
        assert (done.status == 4) == bool(lacks), (n, done.err)
        touched += bool(lacks)
    return touched


@pytest.mark.parametrize(
    ("which", "more"), [(SOME, ()), (SOME[::2], ("-F", "%B")), pytest.param(ALL, (), marks=SLOW)],
    ids=["some", "of one name", "each"],
)  # fmt: skip
def test_files_that_connections_share(
    which: range, more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-R: whichever write fails, what later connections have in a file is where it should be, and what is missing is
    marked; no byte of an earlier one goes with a later one."""
    capture = write_pcap(tmp_path / "x.pcap", again_and_again(), nanoseconds=True)
    words = ("-r", capture, "-R", "-md5", *SHORT, *more)
    assert run_here(*words, "-o", tmp_path / "whole").status == 0

    def check(out: Path, _: Finished) -> int:
        return counters(check_appended(out, tmp_path / "whole")).get("write_errors", 0)

    assert each(which, tmp_path, monkeypatch, lambda out: run_here(*words, "-o", out), check) >= len(which) // 3


@pytest.mark.parametrize("which", [range(1, 40, 3), pytest.param(ALL, marks=SLOW)], ids=["some", "each"])
def test_packets_that_are_set_aside(which: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-w: whichever write fails, the file is a capture of whole packets, and those that it lacks are counted."""
    left = [udp4(payload=bytes(n % 251 for n in range(size))) for size in range(900)]
    others = [Packet(packet.time_ns + 1, frame) for packet, frame in zip(talks(4), left, strict=False)]
    capture = write_pcap(tmp_path / "x.pcap", in_turns(talks(4), others), nanoseconds=True)
    words = ("-r", capture, *SHORT, "--overwrite")
    assert run_here(*words, "-o", tmp_path / "o", "-w", tmp_path / "whole").status == 0
    whole = parse((tmp_path / "whole").read_bytes())

    def run(out: Path) -> Finished:
        return run_here(*words, "-o", tmp_path / "o", "-w", out)

    def check(out: Path, done: Finished) -> int:
        counted = counters(report_of(tmp_path / "o"))
        found = parse(out.read_bytes()) if out.exists() else []
        assert len(found) + counted.get("packets.unwritten", 0) == len(whole)
        assert {packet.number for packet in found} <= {packet.number for packet in whole}
        assert [packet for packet in whole if packet.number in {each.number for each in found}] == found
        assert counted["streams"] == 8
        assert [path for path in tmp_path.iterdir() if path.name.startswith(".flowshard")] == []
        return counted.get("write_errors", 0)

    assert each(which, tmp_path, monkeypatch, run, check, ".flowshard-") >= 4


@pytest.mark.parametrize(
    ("which", "more"),
    [(SOME, ()), (SOME, ("-a",)), pytest.param(ALL, (), marks=SLOW)],
    ids=["streams", "exchanges", "each"],
)
def test_what_is_printed(
    which: range, more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """-c: whichever write of what has to wait fails, the rest is printed, and what could not be kept is told."""
    capture = write_pcap(tmp_path / "x.pcap", talks(), nanoseconds=True)
    words = ("-r", capture, "-c", "-X", tmp_path / "report.xml", "--overwrite", *SHORT, *more)
    text = tmp_path / "text"

    def run(out: Path) -> Finished:
        out.mkdir(exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(out))
        with printed_to(text, monkeypatch):
            return run_here(*words)

    assert run(tmp_path / "plain").status == 0
    whole = text.read_bytes()

    def check(out: Path, _: Finished) -> int:
        assert list(out.iterdir()) == []
        failed = counters(report_of(tmp_path, "report.xml")).get("write_errors", 0)
        printed = text.read_bytes()
        if not more:
            lacking = b" bytes could not be kept" in printed
            assert lacking or printed == whole or failed
            kept = [line for line in printed.splitlines() if not line.endswith(b" bytes could not be kept")]
            assert not failed or set(kept) <= set(whole.splitlines())
        return failed

    assert each(which, tmp_path, monkeypatch, run, check) >= len(which) // 5


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("more", [(), ("-a",)], ids=["streams", "exchanges"])
def test_standard_output_that_is_full(tmp_path: Path, more: tuple[str, ...], workers: int) -> None:
    """-c > /dev/full: status 4 and one message; with a report, or packets set aside, these are made all the same."""
    capture = write_pcap(tmp_path / "x.pcap", talks(), nanoseconds=True)
    words = [*COMMAND, "-r", str(capture), "-c", *more, "--workers", str(workers)]
    message = "cannot write to standard output: No space left on device"

    def full(*words: object) -> Finished:
        code = f"import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); {MAIN}"
        return run_apart(*words, code=code)

    done = full(*words[3:])
    assert (done.status, done.err.count(message), done.err.count("hint: ")) == (4, 1, 1), done.err
    done = full(*words[3:], "-X", tmp_path / "report.xml", "-w", tmp_path / "left.pcapng")
    assert (done.status, done.err.count(message)) == (4, 1), done.err
    assert "standard output lacks " in done.err
    told = counters(report_of(tmp_path, "report.xml"))
    assert (told["write_errors"], told["write_errors.ENOSPC"], told["streams"]) == (1, 1, 24)
    assert told["bytes.unprinted"] > 0
    assert (tmp_path / "left.pcapng").exists()


MAIN = "from pipeline.cli import command; command()"


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_reader_that_has_gone(tmp_path: Path, workers: int) -> None:
    """A closed pipe behind standard output ends a run without a word, whatever else it makes."""
    capture = write_pcap(tmp_path / "x.pcap", talks(), nanoseconds=True)
    code = f"import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); {MAIN}"
    done = run_apart("-r", capture, "-c", "-X", tmp_path / "report.xml", "--workers", workers, code=code)
    assert (done.status, done.err) == (141, "")
