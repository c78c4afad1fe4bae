"""Inputs as they are found, lost and stopped: one by one, and in whole runs."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.capture import Capture
from pipeline.config import Config
from pipeline.errors import InputChanged
from pipeline.memory import Memory, nothing_spooled
from pipeline.reading import Input, is_copied, is_endless, size_of
from pipeline.spool.feed import open_feed
from tests.build import EPOCH_NS, Conversation, Packet, pcap_bytes, write_pcap
from tests.forms import crossed, ended, started
from tests.runs import files, run_apart
from tests.test_capture import short_lived

SECOND = 1_000_000_000
WORKERS = [0, 1]


def talk(count: int, start_ns: int = EPOCH_NS, port: int = 40000) -> list[Packet]:
    """``count`` segments of one connection, one a millisecond."""
    conversation = Conversation(client=("10.0.0.1", port), start_ns=start_ns)
    return [conversation.segment(0, b"x%d" % i) for i in range(count)]


def whole(count: int, port: int, start_ns: int = EPOCH_NS) -> list[Packet]:
    """A connection that says ``count`` words."""
    conversation = Conversation(client=("10.0.0.1", port), start_ns=start_ns)
    return conversation.packets([(0, b"%06d" % i) for i in range(count)])


def capture(*paths: Path, **options: object) -> Capture:
    config = Config(inputs=paths, mapped=False, **options)  # type: ignore[arg-type]
    return Capture(config, 1, short_lived())


# --------------------------------------------------------------------------- inputs that go away


def test_an_input_that_is_gone(tmp_path: Path) -> None:
    """A file that was there when the command line was read, and is not any more, is a fault; others are read."""
    gone, there = tmp_path / "gone", write_pcap(tmp_path / "there", talk(3))
    assert (size_of(gone), is_copied(gone), is_endless(Config(inputs=(gone,)))) == (0, False, False)
    for mapped in (True, False):
        source = Input(0, Config(inputs=(gone,), mapped=mapped), short_lived())
        assert list(source.blocks(10)) == []
        (fault,) = source.facts.faults
        assert (fault.path, fault.problem) == (gone, "no such file")
    made = capture(gone, there)
    assert sum(len(each.parts[0].packet) for each in made.batches()) == 3
    assert [len(facts.faults) for facts in made.inputs] == [1, 0]


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b""), lambda path: replace(path)])
def test_an_address_is_not_looked_up_in_another_file(change: Callable[[Path], object], tmp_path: Path) -> None:
    """What is mapped late is the file that the path led to when the run began, or an error; never the next one."""
    paths = [write_pcap(tmp_path / name, talk(3)) for name in "ab"]
    memory = Memory(Config(inputs=tuple(paths)), nothing_spooled, keep=1)
    change(paths[1])
    assert memory(0).tobytes() == paths[0].read_bytes()
    with pytest.raises(InputChanged):
        memory(1)


def replace(path: Path) -> None:
    """As a rotation does."""
    path.rename(path.with_suffix(".1"))
    path.write_bytes(pcap_bytes(talk(3, port=2)))


_LOSES = """
import os, sys
import pipeline.memory
real = pipeline.memory.map_file
def lose(path):
    if path.name == "2" and path.exists():
        {}
    return real(path)
pipeline.memory.map_file = lose
from pipeline.cli import command
command()
"""


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_that_loses_an_input(replaced: bool, tmp_path: Path) -> None:
    """A mapped input that goes away under a run starts it over: what is there then is read whole, no byte comes from
    the wrong file, and what is gone is a fault (status 3)."""
    paths = [write_pcap(tmp_path / str(i), whole(50, i)) for i in (1, 2, 3)]
    write_pcap(tmp_path / "new", whole(80, 9))
    step = "os.replace(path.with_name('new'), path)" if replaced else "path.unlink()"
    words = [word for path in paths for word in ("-r", path)]
    done = run_apart(*words, "-o", tmp_path / "out", "--workers", 1, "-w", tmp_path / "rest", code=_LOSES.format(step))
    assert "reading it again" in done.err
    found = files(tmp_path / "out")
    expected = {1: 50, 3: 50, 9: 80} if replaced else {1: 50, 3: 50}
    streams = {name: len(content) for name, content in found.items() if name != "report.xml"}
    assert streams == {f"10.0.0.1.{port}-10.0.0.2.80": 6 * count for port, count in expected.items()}
    assert done.status == (0 if replaced else 3), done.err
    assert ("no such file" in done.err) is not replaced
    assert not list(tmp_path.glob(".flowshard-*"))


# --------------------------------------------------------------------------- stopped


def test_followed_files_are_read_to_their_present_end(tmp_path: Path) -> None:
    """An interrupt ends the waiting, not the reading: of several followed files all that is there is dealt, also
    what has a later time than the last packet of the one that was waited for."""
    paths = [write_pcap(tmp_path / "1", talk(5)), write_pcap(tmp_path / "2", talk(400, EPOCH_NS + SECOND, port=9))]
    for delay in (None, 0.3):
        made = capture(*paths, follow=True, batch_packets=10)
        stop = threading.Timer(delay or 0, made.stop)
        stop.start() if delay else made.stop()
        assert sum(len(each.parts[0].packet) for each in made.batches()) == 405
        assert [facts.packets for facts in made.inputs] == [5, 400]
        assert not any(facts.faults for facts in made.inputs)
        if delay:
            stop.join()


def test_a_stopped_file_that_grows_on(tmp_path: Path) -> None:
    """What is written after the interrupt is not waited for, so reading ends."""
    path = tmp_path / "1"
    path.write_bytes(b"one")
    feed = open_feed(path, follow=True)
    room = memoryview(bytearray(100))
    assert feed.readinto(room) == 3
    feed.stop()
    came = 0
    with path.open("ab", buffering=0) as file:
        for _ in range(10):
            file.write(b"more")
            count = feed.readinto(room)
            came += count
            if not count:
                break
        assert came == 4
        assert not count
    assert not feed.faults
    feed.close()


@pytest.mark.parametrize("workers", crossed([(1,)], WORKERS))
def test_an_interrupt_beside_a_pipe_without_a_writer(workers: int, tmp_path: Path) -> None:
    """The pipe ends there, which is told; the plain file beside it is read whole."""
    path = write_pcap(tmp_path / "1", whole(50, 7))
    os.mkfifo(tmp_path / "pipe")
    out = tmp_path / "out"
    with started("-r", path, "-r", tmp_path / "pipe", "-o", out, "--workers", workers) as process:
        deadline = time.monotonic() + 10
        while not (out / "flowshard.incomplete").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        done = ended(process)
    assert done.status == 3, done.err
    assert "pipe: is not a capture: the file is empty" in done.err
    assert (out / "10.0.0.1.7-10.0.0.2.80").stat().st_size == 300


# --------------------------------------------------------------------------- what surrounds a run


@pytest.mark.parametrize(("closed", "workers"), crossed([((1,), 0), ((0, 1, 2), 1)], [(1,), (2,), (0, 1, 2)], WORKERS))
def test_closed_standard_descriptors(closed: tuple[int, ...], workers: int, tmp_path: Path) -> None:
    """A run without standard output, error or input works, and none of its files gets their numbers."""
    path = write_pcap(tmp_path / "1", whole(50, 7))

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    done = run_apart("-r", path, "-o", tmp_path / "out", "--workers", workers, preexec=close)
    assert done.status == 0, done.err
    assert (tmp_path / "out" / "10.0.0.1.7-10.0.0.2.80").stat().st_size == 300


_FAILS = """
import pipeline.writer.writer
from pipeline.errors import OutputError
def fail(*_):
    raise OutputError("the disk is full")
pipeline.writer.writer.Writer.apply = fail
from pipeline.cli import command
command()
"""


@pytest.mark.parametrize("workers", crossed([(1,)], WORKERS))
def test_nothing_of_w_stays_behind_a_failure(workers: int, tmp_path: Path) -> None:
    """-w has its name when it is whole; until then nothing of it outlives the run."""
    path = write_pcap(tmp_path / "1", whole(50, 7))
    (tmp_path / "else").mkdir()
    words = ["-r", path, "-o", tmp_path / "out", "-w", tmp_path / "else" / "rest", "--workers", workers]
    assert run_apart(*words, code=_FAILS).status == 4
    assert list((tmp_path / "else").iterdir()) == []
    assert run_apart(*words, "--overwrite").status == 0
    assert [entry.name for entry in (tmp_path / "else").iterdir()] == ["rest"]


@pytest.mark.parametrize(("packed", "workers"), crossed([(True, 0)], [False, True], WORKERS))
def test_many_captures_at_the_same_time(packed: bool, workers: int, tmp_path: Path) -> None:
    """More captures that overlap in time than the soft limit of open files allows are read; with the hard limit in
    the way that is said, and no capture is left out."""
    (tmp_path / "in").mkdir()
    for number in range(100):
        content = pcap_bytes(whole(10, 1000 + number, EPOCH_NS + number))
        (tmp_path / "in" / str(number)).write_bytes(gzip.compress(content) if packed else content)
    words = ["-r", tmp_path / "in", "--workers", workers, "--quiet"]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limited(hard: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (80, hard))

    done = run_apart(*words, "-o", tmp_path / "out", preexec=limited(hard))
    assert (done.status, done.err) == (0, "")
    assert len(files(tmp_path / "out")) == 101
    done = run_apart(*words, "-o", tmp_path / "other", preexec=limited(80))
    assert done.status == 4
    assert "ulimit -n" in done.err
