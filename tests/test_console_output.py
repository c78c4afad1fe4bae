"""``-c`` as a user meets it: what is printed, where nothing is left, and how the run ends."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.build import Conversation, pcap_bytes, write_pcap
from tests.effort import looks_longer
from tests.forms import crossed
from tests.runs import COMMAND, Finished, environment, files, flows, reads, report_of, run_apart, run_here
from tests.writer.printed import chunks, streams

WORKERS = [0, 1, 2, 4]
OPTIONS: list[list[object]] = [["-C", 300], ["--overlap", "last", "-T"], ["-F", "%A"], ["-R"]]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where temporary files go; nothing may be left there, nor in the current folder."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield folder
    assert files(folder) == {}


def printed_by(captures: list[Path], scratch: Path, *words: object) -> bytes:
    """What a run prints, in an empty current folder that stays empty."""
    here = scratch.parent / "here"
    here.mkdir(exist_ok=True)
    done = run_apart(*reads(captures), "-c", *words, folder=here, env={"TMPDIR": str(scratch)}, timeout=60)
    assert (done.status, done.err) == (0, "")
    assert files(here) == {}
    return done.out.encode()


@pytest.mark.parametrize(("workers", "size"), crossed([(2, 7)], WORKERS, [7, 16384]))
def test_any_number_of_workers_any_batch(workers: int, size: int, rough_captures: list[Path], scratch: Path) -> None:
    """The output is the same for any number of workers and any size of a batch."""
    alone = printed_by(rough_captures, scratch, "--workers", 0)
    assert len(list(chunks(alone))) > 200
    assert printed_by(rough_captures, scratch, "--workers", workers, "--batch-packets", size) == alone


@pytest.mark.slow
@pytest.mark.parametrize("size", [5, 16384])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda words: "".join(map(str, words)))
def test_with_options(options: list[object], size: int, rough_captures: list[Path], scratch: Path) -> None:
    """... whatever the options: with two workers and one process, nightly with any number."""
    first, *others = (
        printed_by(rough_captures, scratch, *options, "--workers", n, "--batch-packets", size if n else 16384)
        for n in (WORKERS if looks_longer() else (0, 2))
    )
    assert [other == first for other in others] == [True] * len(others) != []


def test_it_prints_what_files_would_hold(rough_captures: list[Path], scratch: Path, tmp_path: Path) -> None:
    """Byte for byte, under the same names; and with -X the report is that of a run that makes files."""
    report = tmp_path / "told.xml"
    text = printed_by(rough_captures, scratch, "--workers", 2, "-md5", "-X", report)
    done = run_here(*reads(rough_captures), "-o", tmp_path / "out", "--workers", 0, "-md5", "--quiet")
    assert done.status == 0
    found, made = report_of(tmp_path, report.name), report_of(tmp_path / "out")
    assert found.files == made.files
    contents = files(tmp_path / "out")
    names = {file.tags["filename"] for file, _ in flows(made)}
    printed = streams(text)
    assert printed.keys() == names
    for name, shown in printed.items():
        stream, low = shown.printed, shown.begin()
        content = {low + at: byte for at, byte in enumerate(contents[name])}
        for part in contents:
            if part.startswith(name + "@"):
                content |= dict(enumerate(contents[part], low + int(part.rpartition("@")[2])))
        assert all(content[at] == byte for at, byte in stream.items()), name
        assert not any(byte for at, byte in content.items() if at not in stream), name


def test_packets_are_printed_in_their_order(tmp_path: Path, scratch: Path) -> None:
    """Over all connections, in the order of the capture."""
    talks = [Conversation(client=("10.0.0.1", 4000 + n), start_ns=n * 1000, step_ns=10_000) for n in range(3)]
    packets = [talk.packets([(0, b"question"), (1, b"answer")]) for talk in talks]
    capture = write_pcap(tmp_path / "a.pcap", sorted((p for some in packets for p in some), key=lambda p: p.time_ns))
    said = list(chunks(printed_by([capture], scratch, "--workers", 2)))
    assert [chunk.time for chunk in said] == sorted(chunk.time for chunk in said)
    assert [chunk.back for chunk in said] == [False] * 3 + [True] * 3


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """More than any pipe holds."""
    talk = Conversation(client=("10.0.0.1", 4000))
    return write_pcap(tmp_path / "large.pcap", talk.packets([(0, b"GET"), (1, b"0123456\n" * 200_000)]))


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_closed_pipe_ends_the_run_quietly(workers: int, large: Path, scratch: Path) -> None:
    """``flowshard -c … | head``: no message, status 141 as of a program that SIGPIPE ended, nothing left."""
    with subprocess.Popen(
        [*COMMAND, "-r", large, "-c", "--workers", str(workers)], env=environment(TMPDIR=str(scratch)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b">>> ")
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, b"")


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_an_output_that_is_full(workers: int, large: Path, scratch: Path) -> None:
    """Standard output that cannot be written is an error of output."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "-r", large, "-c", "--workers", str(workers)], env=environment(TMPDIR=str(scratch)),
            stdout=full, stderr=subprocess.PIPE, timeout=30, check=False, text=True,
        )  # fmt: skip
    assert done.returncode == 4
    assert "cannot write to standard output: No space left on device" in done.stderr


def test_a_pipe_is_printed_as_it_comes(large: Path, scratch: Path) -> None:
    """What has been captured is printed while the capture goes on."""
    with subprocess.Popen(
        [*COMMAND, "-r", "-", "-c"], env=environment(TMPDIR=str(scratch)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(large.read_bytes()[:50_000])
            process.stdin.flush()
            os.set_blocking(process.stdout.fileno(), False)
            text, deadline = b"", time.monotonic() + 20
            while len(text) < 40_000 and time.monotonic() < deadline:
                text += process.stdout.read() or b""
                time.sleep(0.01)
            assert 40_000 <= len(text) < 60_000
            assert process.poll() is None
            process.stdin.close()
            assert process.wait(20) == 3  # the capture ends inside a packet
        except BaseException:
            process.kill()
            raise


def test_exchanges_of_a_pipe_are_printed_as_they_come(scratch: Path) -> None:
    """With -a, a request and its answer are printed once both are whole, while the capture goes on."""
    talk = Conversation(client=("10.0.0.1", 4000))
    turns = [(0, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), (1, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")]
    packets = [*talk.open(), *(packet for side, data in turns for packet in talk.say(side, data))]
    with subprocess.Popen(
        [*COMMAND, "-r", "-", "-c", "-a"], env=environment(TMPDIR=str(scratch)), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(pcap_bytes(packets))
            process.stdin.flush()
            said = [process.stdout.readline() for _ in range(2)]
            assert [line[-len(end) :] for line, end in zip(said, ENDS, strict=True)] == ENDS
            assert process.poll() is None
            process.stdin.close()
            assert process.wait(20) == 0
        except BaseException:
            process.kill()
            raise


ENDS = [b" 10.0.0.1.4000-10.0.0.2.80 GET http://x/a HTTP/1.1\n", b" 10.0.0.2.80-10.0.0.1.4000 200 OK 3 bytes\n"]


def test_streams_without_a_known_protocol_are_counted(large: Path, scratch: Path) -> None:
    """With -a they are not printed, and a remark says so."""
    done = run_apart("-r", large, "-c", "-a", env={"TMPDIR": str(scratch)})
    assert (done.status, done.out) == (0, "")
    assert done.err.startswith("warning: 2 of 2 streams hold no ")
    assert done.err.endswith("\nhint: -c without -a prints all streams\n")


def on_a_terminal(capture: Path, **more: str) -> bytes:
    """What a run writes to a terminal."""
    leader, follower = pty.openpty()
    done: Any = None
    try:
        done = subprocess.run(
            [*COMMAND, "-r", capture, "-c", "--workers", "0"], env=environment(**more), stdout=follower,
            stderr=subprocess.PIPE, timeout=30, check=False,
        )  # fmt: skip
        os.close(follower)
        text = b""
        while True:
            try:
                text += os.read(leader, 4096)
            except OSError:  # the other end is closed and all was read
                return text
    finally:
        assert Finished(done.returncode, "", done.stderr.decode()) == Finished(0, "", "")
        os.close(leader)


def test_colours(tmp_path: Path) -> None:
    """On a terminal each direction has a colour, unless NO_COLOR is set; captured escapes never pass."""
    talk = Conversation(client=("10.0.0.1", 4000))
    capture = write_pcap(tmp_path / "a.pcap", talk.packets([(0, b"\x1b[2J"), (1, b"answer\n")]))
    text = on_a_terminal(capture, TERM="xterm", NO_COLOR="")
    assert text.startswith(b"\x1b[36m>>> ")
    assert b"\\x1b[2J\r\n\x1b[0m\x1b[33m<<< " in text
    assert text.endswith(b"answer\r\n\x1b[0m")
    assert b"\x1b" not in on_a_terminal(capture, TERM="xterm", NO_COLOR="1")
