"""Inputs that come while they are read: pipes and growing files; how they end, and what they take of memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import zstandard

from tests import rough
from tests.bench.generate import generate
from tests.bench.measure import descendants, private_memory
from tests.build import Conversation, Packet, pcap_bytes, pcapng_blocks
from tests.forms import beside, crossed, ended, run_fed, started, without_sources
from tests.runs import REPORT, differences, files, flows, output, reads, report_of, run_here

PATIENCE = 20.0  # seconds
INT, TERM = signal.SIGINT, signal.SIGTERM
SAID = "10.0.0.2.80-10.0.0.1.40000"
"""Name of the stream of what the server says."""


def wait_for(seen: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """Seconds until something is seen; fails when that takes longer than ``seconds``."""
    begun = time.monotonic()
    while not seen():
        assert time.monotonic() - begun < seconds, "it did not come in time"
        time.sleep(0.002)
    return time.monotonic() - begun


def holds(path: Path, data: bytes) -> bool:
    """Whether a file is there and is this."""
    return path.exists() and path.read_bytes() == data


def put(process: subprocess.Popen[bytes], data: bytes) -> None:
    """Into its standard input, at once."""
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def records(packets: Iterable[Packet]) -> bytes:
    """As they stand in a pcap behind its header."""
    return pcap_bytes(packets, nanoseconds=True)[24:]


HEADER = pcap_bytes([], nanoseconds=True)


class Blocks:
    """pcapng, told packet by packet."""

    def __init__(self) -> None:
        self.header = b"".join(pcapng_blocks([Packet(0, b"x")])[:2])

    def __call__(self, packets: list[Packet]) -> bytes:
        return b"".join(pcapng_blocks(packets)[2:])


def zstd(pack: Callable[[bytes], bytes] | None = None) -> Callable[[bytes], bytes]:
    """Compresses piece by piece, each to be had at once."""
    packer = zstandard.ZstdCompressor().compressobj()
    return pack or (lambda data: packer.compress(data) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))


# --------------------------------------------------------------------------- as it runs


@pytest.mark.parametrize(("workers", "form"), crossed([(2, "pcap")], [0, 2], ["pcap", "pcapng", "zstd"]))
def test_a_packet_is_on_disk_within_a_second(workers: int, form: str, tmp_path: Path) -> None:
    """What is written into a pipe is in its file within a second, though the pipe stays open."""
    talk = Conversation()
    blocks = Blocks()
    header, told = (blocks.header, blocks) if form == "pcapng" else (HEADER, records)
    pack = zstd() if form == "zstd" else zstd(lambda data: data)
    path = tmp_path / "out" / SAID
    with started("-r", "-", "-o", tmp_path / "out", "--workers", workers) as process:
        put(process, pack(header + told([*talk.open(), *talk.say(1, b"first ")])))
        wait_for(lambda: holds(path, b"first "))
        said = b"first "
        for word in (b"second ", b"third"):
            said += word
            put(process, pack(told(talk.say(1, word))))
            assert wait_for(lambda said=said: holds(path, said)) < 1  # type: ignore[misc]
            time.sleep(0.3)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        done = ended(process)
    assert done.status == (3 if form == "zstd" else 0), done.err  # its frame was not ended
    assert holds(path, said)


# --------------------------------------------------------------------------- how it ends


@contextlib.contextmanager
def reading(way: str, folder: Path, *words: object, code: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A run that has written ``said``, and waits for more to come by a pipe or in a file that grows."""
    talk = Conversation()
    packets = [*talk.open(), *talk.say(1, b"said"), talk.segment(1, b"more")]
    data = (b"".join(pcapng_blocks(packets)) if way == "pcapng" else HEADER + records(packets))[:-3]
    source: list[object] = ["-r", "-"]
    if way == "follow":
        (folder / "x.pcap").write_bytes(data)
        source = ["-r", folder / "x.pcap", "--follow"]
    elif way == "fifo":
        os.mkfifo(folder / "pipe")
        source = ["-r", folder / "pipe"]
    with (
        started(*source, "-o", folder / "out", "-md5", *words, code=code) as process,
        contextlib.ExitStack() as open_ones,
    ):
        if way == "fifo":
            writer = open_ones.enter_context((folder / "pipe").open("wb", buffering=0))
            writer.write(data)
        elif way != "follow":
            put(process, data)
        wait_for(lambda: holds(folder / "out" / SAID, b"said"))
        yield process


@pytest.mark.parametrize(("workers", "way", "how"), crossed(
    [(0, "follow", INT), (2, "fifo", TERM)],
    [0, 2], ["pipe", "pcapng", "fifo", "follow"], [INT, TERM],
))  # fmt: skip
def test_a_signal_ends_the_input(workers: int, way: str, how: signal.Signals, tmp_path: Path) -> None:
    """The first SIGINT or SIGTERM ends what is piped or followed: the run finishes, with its report and status 0,
    were it in the middle of a record."""
    with reading(way, tmp_path, "--workers", workers) as process:
        process.send_signal(how)
        done = ended(process, 5)
    assert done.status == 0, done.err
    assert files(tmp_path / "out")[SAID] == b"said"
    report = report_of(tmp_path / "out")
    [found] = [file for file, _ in flows(report)]
    assert found.hashes["md5"] == hashlib.md5(b"said").hexdigest()
    assert sorted(os.listdir(tmp_path / "out")) == sorted([SAID, REPORT])


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_terminals_interrupt_reaches_every_process(workers: int, tmp_path: Path) -> None:
    """Ctrl-C is sent to all processes of the run: that, too, ends the input and no more."""
    with reading("pipe", tmp_path, "--workers", workers) as process:
        os.killpg(process.pid, INT)
        done = ended(process, 5)
    assert done.status == 0, done.err
    assert [file.tags["filename"] for file in report_of(tmp_path / "out").files] == [SAID]


@pytest.mark.parametrize(("workers", "how"), crossed([(0, INT), (2, TERM)], [0, 2], [INT, TERM]))
def test_the_second_signal_ends_the_run(workers: int, how: signal.Signals, tmp_path: Path) -> None:
    """Where finishing takes long the next signal ends the run at once: status 130, no report, a marked folder."""
    code = (
        "import sys, time, pipeline.writer.writer as w; from pipeline.cli import command\n"
        "w.Writer.finish = lambda _: time.sleep(60); command()"
    )
    with reading("pipe", tmp_path, "--workers", workers, code=code) as process:
        process.send_signal(INT)
        time.sleep(0.5)
        assert process.poll() is None
        begun = time.monotonic()
        process.send_signal(how)
        done = ended(process, 5)
        assert time.monotonic() - begun < 1
    assert (done.status, "error: interrupted" in done.err) == (130, True), done.err
    assert sorted(os.listdir(tmp_path / "out")) == sorted([SAID, "flowshard.incomplete"])


@pytest.mark.parametrize(("workers", "pipes"), crossed([(0, 1), (2, 2)], [0, 2], [1, 2]))
def test_pipes_that_nobody_writes_to(workers: int, pipes: int, tmp_path: Path) -> None:
    """Named pipes are waited at; interrupted, all of them end, and nothing was a capture."""
    paths = [tmp_path / f"pipe{number}" for number in range(pipes)]
    for path in paths:
        os.mkfifo(path)
    with started(*reads(paths), "-o", tmp_path / "out", "--workers", workers) as process:
        wait_for(lambda: (tmp_path / "out").exists())
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(INT)
        done = ended(process, 5)
    assert done.status == 3, done.err
    assert "pipe0 is not a capture: the file is empty" in done.err


@pytest.mark.parametrize(
    ("workers", "packed", "cut"),
    crossed([(0, False, 16), (2, True, -1)], [0, 2], [False, True], [1, 15, 16, -1]),
)
def test_a_producer_that_dies(packed: bool, workers: int, cut: int, tmp_path: Path) -> None:
    """A pipe that ends in the middle of a record: status 3, a word on it, and all that came before is there."""
    talk = Conversation()
    whole = records([*talk.open(), *talk.say(1, b"whole")])
    last = records(talk.say(1, b"this is cut off")[:1])
    pack = zstd() if packed else zstd(lambda data: data)
    out = tmp_path / "out"
    done = run_fed(pack(HEADER + whole + last[:cut]), "-r", "-", "-o", out, "--workers", workers)
    assert done.status == 3, done.err
    assert done.err.startswith("warning: standard input: "), done.err
    assert {name: data for name, data in files(out).items() if name != REPORT} == {SAID: b"whole"}
    assert [tag for tag, _ in report_of(out).foreign if tag == "fault"] != []


# --------------------------------------------------------------------------- a file that grows


def growing(path: Path, data: bytes, rng: random.Random) -> None:
    """Appends in uneven pieces, most of which end inside a record, with and without a rest between them."""
    at = 0
    with path.open("ab", buffering=0) as file:
        while at < len(data):
            size = rng.choice([1, 7, 100, 3_000, 20_000])
            file.write(data[at : at + size])
            at += size
            time.sleep(rng.choice([0, 0, 0, 0.01, 0.05]))


@pytest.mark.parametrize(("workers", "how"), crossed([(0, TERM), (2, INT)], [0, 2], [INT, TERM]))
def test_a_file_that_grows(workers: int, how: signal.Signals, tmp_path: Path) -> None:
    """--follow reads a file as it is written, however it grows: the output is that of the finished file."""
    packets = rough.Rough(21, 3_000).packets(3)
    last = Conversation(client=("10.9.9.9", 9), start_ns=packets[-1].time_ns + 1)
    packets += [*last.open(), last.segment(0, b"the end")]
    data = b"".join(pcapng_blocks(packets))
    (tmp_path / "x").write_bytes(data)
    done = run_here("-r", tmp_path / "x", "-o", tmp_path / "plain", "-md5", "--quiet", "--workers", 0)
    assert (done.status, done.err) == (0, "")
    (tmp_path / "growing").write_bytes(data[:100])
    words = ["-o", tmp_path / "out", "-md5", "--quiet", "--workers", workers]
    with started("-r", tmp_path / "growing", "--follow", *words) as process:
        with beside(lambda: growing(tmp_path / "growing", data[100:], random.Random(2))):
            wait_for(lambda: holds(tmp_path / "out" / "10.9.9.9.9-10.0.0.2.80", b"the end"))
        assert process.poll() is None
        process.send_signal(how)
        done = ended(process)
    assert (done.status, done.err) == (0, "")
    made = [without_sources(output(tmp_path / name)) for name in ("plain", "out")]
    assert differences(*made) == []


# --------------------------------------------------------------------------- memory


def spooled(pid: int) -> int:
    """Bytes of storage of the spool that a process holds, were it mapped or not."""
    for name in Path("/proc", str(pid), "fd").iterdir():
        with contextlib.suppress(OSError):
            if "memfd:flowshard-spool" in os.readlink(name):
                return os.stat(name).st_blocks * 512
    return 0


def peak_of(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Of a run, until it is over: the most private memory of all its processes together, the most spool. Bytes."""
    private = spool = 0
    while process.poll() is None:
        sizes = [size for size in map(private_memory, descendants(process.pid)) if size is not None]
        private = max(private, sum(size for size, _ in sizes))
        with contextlib.suppress(OSError):
            spool = max(spool, spooled(process.pid))
        time.sleep(0.05)
    return private, spool


MOST_SPOOL = 32 << 20
MOST_PRIVATE = 100 << 20
"""Of five processes, on inputs ten times as large."""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ["zstd", "pipe"])
def test_constant_memory(way: str, tmp_path: Path) -> None:
    """300 MB that go through the spool take no more than a few batches, --spool-size bounding what waits."""
    expected = generate("bulk", 0.3, 6, tmp_path / "x.pcap")
    size = expected.capture_bytes
    assert size > 250_000_000
    source = "-"
    if way == "zstd":
        with (tmp_path / "x.pcap").open("rb") as file, (tmp_path / "x.zst").open("wb") as packed:
            zstandard.ZstdCompressor(level=1).copy_stream(file, packed)
        source = str(tmp_path / "x.zst")
    words = ["-r", source, "-o", tmp_path / "out", "--workers", 1, "--writers", 2, "--spool-size", "32M"]
    with started(*words) as process:
        if way == "pipe":
            feed = threading.Thread(target=_copy, args=(tmp_path / "x.pcap", process))
            feed.start()
        private, spool = peak_of(process)
        done = ended(process)
    assert done.status == 0, done.err
    assert spool <= MOST_SPOOL
    assert private <= MOST_PRIVATE, f"{private:,}"
    assert spool > 1 << 20  # it was looked at
    found = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir() if path.name != REPORT}
    assert found == {name: stream.size for name, stream in expected.streams.items()}


def _copy(path: Path, process: subprocess.Popen[bytes]) -> None:
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            put(process, data)
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_first_segment_stops_nothing(workers: int, tmp_path: Path) -> None:
    """100 MB behind a segment that never comes go through a spool of 32 MB: no wait depends on what a peer does."""
    talk = Conversation(mss=60_000, acknowledge=False)
    rng = random.Random(1)
    pieces = [rng.randbytes(60_000) for _ in range(20)]
    digest = hashlib.md5(bytes(60_000))
    words = ["-r", "-", "-o", tmp_path / "out", "--workers", workers, "--spool-size", "32M"]
    peaks: list[tuple[int, int]] = []
    with started(*words) as process:
        watch = threading.Thread(target=lambda: peaks.append(peak_of(process)))
        watch.start()
        put(process, HEADER + records(talk.open()))
        talk.say(1, bytes(60_000))  # nobody captures it
        for i in range(1_700):
            digest.update(pieces[i % 20])
            put(process, records(talk.say(1, pieces[i % 20])))
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        done = ended(process)
        watch.join()
    assert done.status == 0, done.err
    [(private, spool)] = peaks
    assert 1 << 20 < spool <= MOST_SPOOL
    assert private <= MOST_PRIVATE, f"{private:,}"
    path = tmp_path / "out" / SAID
    assert path.stat().st_size == 1_701 * 60_000
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "md5").hexdigest() == digest.hexdigest()
