"""Stages: whom they talk to, what is under way between them, their last words. Real links; threads for processes."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.capture import Capture
from pipeline.config import Config
from pipeline.errors import CaptureError, InternalError, OutputError
from pipeline.memory import Memory, nothing_spooled
from pipeline.stages.capture import capture_stage
from pipeline.stages.process import Outbox, Stage, run_stage, targets
from pipeline.stages.releases import UNRELEASED
from pipeline.stages.worker import worker_stage
from pipeline.stages.writer import writer_stage
from pipeline.transport import Sender, Waiter, Wires
from pipeline.writer.writer import Writer
from tests.build import Conversation, disturb, in_turns, write_pcap
from workers.contract import SHARDS
from workers.reassembler import Reassembler
from workers.wire import Note, Packets, encode_note

PATIENCE = 20.0  # seconds


@given(st.integers(1, 300), st.integers(1, 300))
def test_every_shard_reaches_its_writer(workers: int, writers: int) -> None:
    """A worker is linked to the writers of its shards, and to no others."""
    needed = {(shard % workers, shard % writers) for shard in range(SHARDS)}
    linked = {(n, m) for n in range(workers) for m in targets(n, workers, writers)}
    assert linked == needed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    """Stages switch the garbage collector off: each is a process of its own as a rule."""
    yield
    gc.enable()


class Threads:
    """Stages in threads; what they return, or raise, is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.words: dict[str, dict[str, Any]] = {}
        self.errors: list[BaseException] = []
        self.wires = Wires(folder)  # the coordinator's
        self.waiter = Waiter()
        self._threads: list[threading.Thread] = []

    def start(self, name: str, stage: Stage) -> None:
        def live() -> None:
            wires, outbox = Wires(self.folder), Outbox()
            try:
                self.words[name] = stage(wires, outbox, outbox.add(wires.sender(f"status-{name}")))
            except BaseException as error:  # noqa: BLE001 - told by join
                self.errors.append(error)
            finally:
                wires.close()

        status = self.wires.receiver(f"status-{name}")
        self.waiter.watch(status, lambda: status.take() and None)
        self._threads.append(threading.Thread(target=live, daemon=True))
        self._threads[-1].start()

    def join(self) -> dict[str, dict[str, Any]]:
        end = time.monotonic() + PATIENCE
        while any(thread.is_alive() for thread in self._threads) and time.monotonic() < end:
            self.waiter.wait(5)
        self.wires.close()
        assert self.errors == []
        assert not any(thread.is_alive() for thread in self._threads)
        return self.words


def traffic(path: Path, connections: int = 30) -> Path:
    """Connections that take turns, with loss and disorder."""
    rng = random.Random(7)
    told = []
    for i in range(connections):
        talk = Conversation(client=("10.0.0.1", 40000 + i), start_ns=10**18 + i * 100_000)
        packets = talk.packets([(0, rng.randbytes(rng.randrange(1, 6000))), (1, rng.randbytes(5000))])
        told.append(disturb(packets, rng, reorder=0.1, lose=0.02, duplicate=0.05))
    return write_pcap(path, in_turns(*told), nanoseconds=True)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def one_after_the_other(config: Config, fragment: Path) -> tuple[dict[str, int], dict[str, int]]:
    """The same work without links; the counters of worker and writer."""
    capture, worker = Capture(config, 1), Reassembler(config.limits)
    writer = Writer(config, fragment, Memory(config, nothing_spooled, keep=1))
    for dealt in capture.batches():
        writer.apply(worker.handle(dealt.parts[0]))
    for events in worker.finish():
        writer.apply(events)
    writer.finish()
    return worker.totals(), writer.counters


@pytest.mark.parametrize(("workers", "writers"), [(1, 1), (3, 2), (1, 3)])
def test_linked_stages_do_what_they_do_unlinked(tmp_path: Path, folder: Path, workers: int, writers: int) -> None:
    """The same files and the same counts as without links; everybody ends, and every fragment is final."""
    source = traffic(tmp_path / "in.pcap")
    made = {}
    for name in ("alone", "linked"):
        (tmp_path / name).mkdir()
        made[name] = Config(
            inputs=(source,), output=tmp_path / name, md5=True, workers=workers, writers=writers, batch_packets=64
        )
    worker, writer = one_after_the_other(made["alone"], tmp_path / "fragment")
    config, threads = made["linked"], Threads(folder)
    fragments = [tmp_path / f"fragment-{m}" for m in range(writers)]
    threads.start("capture", partial(capture_stage, config, None))
    for n in range(workers):
        threads.start(f"worker-{n}", partial(worker_stage, n, config))
    for m in range(writers):
        threads.start(f"writer-{m}", partial(writer_stage, m, config, fragments[m], None))
    words = threads.join()
    assert files(config.output) == files(made["alone"].output)
    for name, expected in (("worker", worker), ("writer", writer)):
        parts = [told["counters"] for who, told in words.items() if who.startswith(name)]
        assert {key: sum(part.get(key, 0) for part in parts) for key in expected} == dict(expected)
    assert words["capture"]["inputs"][0]["packets"] == words["capture"]["counters"]["read"]
    assert all(fragment.exists() for fragment in fragments)


def test_capture_runs_ahead_by_a_number_of_batches_only(tmp_path: Path, folder: Path) -> None:
    """Without a release it stops after UNRELEASED batches, however small they are; each release lets one more go."""
    talk = Conversation()
    packets = talk.packets([(0, b"x" * 50)] * (2 * UNRELEASED))
    source = write_pcap(tmp_path / "in.pcap", packets)
    config = Config(inputs=(source,), output=tmp_path, workers=1, writers=1, batch_packets=1)
    threads = Threads(folder)
    batches, release = threads.wires.receiver("batches-0"), threads.wires.sender("releases-0")
    waiter = threads.waiter
    waiter.watch(batches, lambda: None)
    waiter.watch(release, release.take_credit)
    got: list[int] = []
    ended = False

    def hear(seconds: float) -> None:
        nonlocal ended
        end = time.monotonic() + seconds
        while not ended and time.monotonic() < end:
            waiter.wait(20)
            while (message := batches.take()) is not None:
                if isinstance(message, Packets):
                    got.append(message.batch.number)
                else:
                    ended = True

    def hear_just(count: int) -> None:
        """So many messages, and no further one soon."""
        end = time.monotonic() + PATIENCE
        while len(got) < count and time.monotonic() < end:
            hear(0.02)
        hear(0.2)
        assert got == list(range(count))

    def let_go(number: int) -> None:
        release.send(encode_note(Note("release", {"number": number, "worker": 0})))

    threads.start("capture", partial(capture_stage, config, None))
    hear_just(UNRELEASED)
    for number in (5, 5, 999_999, 6):  # what is released twice, or was never read, counts for nothing
        let_go(number)
    hear_just(UNRELEASED + 2)
    done = {5, 6}
    end = time.monotonic() + PATIENCE
    while len(done) < len(packets) and time.monotonic() < end:
        for number in set(got) - done:
            let_go(number)
            done.add(number)
        hear(0.02)
    assert got == list(range(len(packets)))
    hear(0.05)
    assert ended
    assert threads.join()["capture"]["counters"]["read"] == len(packets)


def test_a_full_window_never_makes_a_stage_take_in_more(folder: Path) -> None:
    """An outbox waits for credit, and sends as soon as the other end has taken something in."""
    threads = Threads(folder)
    receiver = threads.wires.receiver("link")
    sent: list[int] = []

    def send(own: Wires, outbox: Outbox, _: Sender) -> dict[str, Any]:
        sender = outbox.add(own.sender("link"))
        for number in range(20):
            outbox.put(sender, encode_note(Note("n", {"x": "x" * 1_000_000})))
            sent.append(number)
        outbox.drain()
        return {"under_way": sender.under_way}

    threads.start("sender", send)
    time.sleep(0.2)
    assert len(sent) == 5  # 4 MiB and one message more
    taken = 0
    end = time.monotonic() + PATIENCE
    while taken < 20 and time.monotonic() < end:
        taken += receiver.take() is not None
    assert taken == 20
    assert threads.join() == {"sender": {"under_way": 0}}


# --------------------------------------------------------------------------- a stage's life


def last_words(folder: Path, stage: Stage) -> tuple[int, Note]:
    """A stage's exit code and what it said, with a coordinator that listens."""
    wires = Wires(folder)
    receiver = wires.receiver("status-x")
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run_stage("x", folder, stage)), daemon=True)
    thread.start()
    try:
        message, end = None, time.monotonic() + PATIENCE
        while message is None and time.monotonic() < end:
            message = receiver.take()
        thread.join(PATIENCE)
    finally:
        wires.close()
    assert isinstance(message, Note)
    return codes[0], message


def test_done(folder: Path) -> None:
    """A stage that is done says so with what it returns."""
    assert last_words(folder, lambda *_: {"counters": {"a": 1}}) == (0, Note("done", {"counters": {"a": 1}}))


@pytest.mark.parametrize(
    ("error", "status"), [(OutputError("full", "free some"), 4), (CaptureError("cut"), 3), (InternalError("odd"), 70)]
)
def test_failed(folder: Path, error: Any, status: int) -> None:
    """A failure that a user must hear of is told with its class, its words and its hint."""

    def stage(*_: object) -> dict[str, Any]:
        raise error

    facts = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    assert last_words(folder, stage) == (status, Note("failed", facts))


def test_crashed(folder: Path) -> None:
    """A defect is told with its trace."""

    def stage(*_: object) -> dict[str, Any]:
        raise KeyError("surprise")

    code, note = last_words(folder, stage)
    assert (code, note.kind) == (70, "crashed")
    assert note.facts["message"] == "KeyError: 'surprise'"
    assert "in stage" in note.facts["trace"]


def test_a_failing_writer_says_what_failed(tmp_path: Path, folder: Path) -> None:
    """A writer without its folder ends with the error of the folder."""
    config = Config(inputs=(), output=tmp_path / "missing", workers=1)
    code, note = last_words(folder, partial(writer_stage, 0, config, tmp_path / "fragment", None))
    assert (code, note.facts["kind"]) == (4, "OutputError")
    assert "missing" in note.facts["message"]
