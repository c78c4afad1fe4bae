"""A worker or a writer that dies while the input cannot be read again: the run claims no byte that is not there. It
costs what was under way; the run goes on (test_worker_is_replaced.py, test_writer_is_replaced.py).

Piped, which is what a live run is but for its source; and live.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.stages.inhand import FAULT
from tests.bench.generate import generate
from tests.build import Conversation, write_pcap
from tests.effort import tries
from tests.faults.killing import children, in_session
from tests.faults.trials import BATCHES
from tests.forms import crossed
from tests.live.network import Network, capturing
from tests.rough import Rough
from tests.runs import COMMAND, MARKER, REPORT, Finished, counters, environment, flows, report_of, run_apart

DEATHS = ["0@0", "1@4", "0@-1", "1@3:raise"]


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of HTTP, some ten batches of 256 packets."""
    path = tmp_path_factory.mktemp("web") / "web.pcap"
    generate("web", 0.008, 5, path)
    return path


def piped(capture: Path, out: Path, temp: Path, fault: str = "", *more: str) -> Finished:
    """A run on standard input, with a fault (see stages/inhand.py)."""
    with capture.open("rb") as source, started(out, temp, source.fileno(), fault, *more) as process:
        try:
            _, err = process.communicate(timeout=30)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert in_session(process.pid) == []
    return Finished(process.returncode, "", err)


def started(out: Path, temp: Path, source: int, fault: str, *more: str) -> subprocess.Popen[str]:
    shape = ["--workers", "2", "--writers", "2", *BATCHES]
    return subprocess.Popen(
        [*COMMAND, "-r", "-", "-o", str(out), "-md5", *shape, "--quiet", *more], stdin=source,
        stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment(TMPDIR=str(temp), **{FAULT: fault}),
    )  # fmt: skip


def check_claims(out: Path, capture: Path | None = None) -> tuple[set[str], set[str]]:
    """Every byte that the report claims is on disk, and was captured where it says. The files it names, and those of
    them that are marked as lost."""
    report = report_of(out)
    source = b"" if capture is None else capture.read_bytes()
    named, lost = set(), set()
    for file, flow in flows(report):
        data = (out / file.tags["filename"]).read_bytes()
        assert (len(data), hashlib.md5(data).hexdigest()) == (int(file.tags["filesize"]), file.hashes["md5"])
        for run in file.runs:
            if "img_offset" in run and capture is not None:
                at, place = int(run["file_offset"]), int(run["img_offset"])
                assert data[at : at + 16][: int(run["len"])] == source[place : place + 16][: int(run["len"])]
        named.add(file.tags["filename"])
        if "lost" in flow["completeness"].split():
            lost.add(file.tags["filename"])
    return named, lost


def streams(out: Path) -> set[str]:
    return set(os.listdir(out)) - {REPORT, MARKER}


@pytest.mark.parametrize("fault", crossed([("worker-0@0",)], [f"worker-{death}" for death in DEATHS]))
def test_a_worker_that_dies_leaves_streams_that_are_marked(fault: str, web: Path, tmp_path: Path, temp: Path) -> None:
    """Status 70; what was written is in the report, marked where the worker had it; its packets are counted as lost."""
    done = piped(web, tmp_path / "out", temp, fault)
    name = fault.partition("@")[0]
    assert done.status == 70, done.err
    assert done.err.startswith(f"warning: {name} "), done.err
    assert f"error: {name} died\n" in done.err
    assert list(temp.iterdir()) == []
    named, lost = check_claims(tmp_path / "out", web)
    assert named == streams(tmp_path / "out")
    assert bool(lost) is not fault.endswith("@0")
    told = counters(report_of(tmp_path / "out"))
    assert told["packets"] == told["packets.tcp"] + told["lost_with_worker.packets"]
    assert told["lost_with_worker.packets"] > 0 or fault.endswith("@-1")
    assert told["bytes.written"] == sum((tmp_path / "out" / file).stat().st_size for file in named)


@pytest.mark.parametrize("fault", crossed([("writer-1@4",)], [f"writer-{death}" for death in DEATHS]))
def test_a_writer_that_dies_leaves_no_claim(fault: str, web: Path, tmp_path: Path, temp: Path) -> None:
    """Status 70; what it had written is in the report, marked where it was open; what it was told of beyond that is
    counted as lost."""
    done = piped(web, tmp_path / "out", temp, fault)
    name = fault.partition("@")[0]
    assert done.status == 70, done.err
    assert done.err.startswith(f"warning: {name} "), done.err
    assert f"error: {name} died\n" in done.err
    assert list(temp.iterdir()) == []
    named, lost = check_claims(tmp_path / "out", web)
    assert named == streams(tmp_path / "out")
    assert bool(lost) is not fault.endswith("@0")
    assert MARKER not in os.listdir(tmp_path / "out")
    told = counters(report_of(tmp_path / "out"))
    assert told["bytes.written"] == sum((tmp_path / "out" / file).stat().st_size for file in named)
    assert told["streams"] == len(named)
    assert told["lost_with_worker.packets"] == 0
    assert (told["lost_with_writer.bytes"] > 0) is not fault.endswith("@-1")


@pytest.mark.parametrize("words", [("-C", "3000"), pytest.param(("-F", "%A-%B"), marks=pytest.mark.slow)])
def test_a_writer_that_dies_amid_trouble_leaves_no_claim(words: tuple[str, ...], tmp_path: Path, temp: Path) -> None:
    """Streams whose start moves down, that have several files, that share names: the account holds, claims are true."""
    capture = write_pcap(tmp_path / "rough.pcap", Rough(1).packets(12))
    done = piped(capture, tmp_path / "out", temp, "writer-0@4", *words, "--batch-packets", "64")
    assert done.status == 70, done.err
    assert "error: writer-0 died\n" in done.err
    _, lost = check_claims(tmp_path / "out")
    assert lost


def test_what_was_analyzed_of_a_lost_stream_is_told_as_cut(web: Path, tmp_path: Path, temp: Path) -> None:
    """-a with a worker that dies: bodies end where the stream does, and the account still holds."""
    done = piped(web, tmp_path / "out", temp, "worker-1@4", "-a")
    assert done.status == 70, done.err
    assert "error: worker-1 died\n" in done.err


def test_what_it_had_in_hand_is_kept(web: Path, tmp_path: Path, temp: Path) -> None:
    """--save-crash where the input cannot be read again: the capture process still has the batch."""
    kept = tmp_path / "kept"
    done = piped(web, tmp_path / "out", temp, "worker-1@4", "--save-crash", str(kept))
    assert done.status == 70, done.err
    (file,) = kept.iterdir()
    assert f"warning: what worker-1 had in hand is in {file}\n" in done.err
    alone = run_apart("-r", file, "-o", tmp_path / "alone", "--workers", "0")
    assert (alone.status, alone.err.split()[:2]) == (0, ["packets", "256,"])


def kill_at_random(seed: int, name: str, web: Path, out: Path, temp: Path) -> None:
    """End a stage of a piped run at a random moment; the rest of the input comes slowly behind that."""
    rng, data = random.Random(f"{name} {seed}"), web.read_bytes()
    reading, writing = os.pipe()
    with started(out, temp, reading, "") as process:
        os.close(reading)
        try:
            sent = rng.randrange(len(data) // 8, len(data) * 7 // 8)
            os.write(writing, data[:64])
            while len(pids := children(process.pid)) < 5:
                time.sleep(0.002)
            with os.fdopen(writing, "wb") as feed:
                feed.write(data[64:sent])
                feed.flush()
                time.sleep(rng.uniform(0, 0.02))
                names = ("capture", "worker-0", "worker-1", "writer-0", "writer-1")
                os.kill(pids[names.index(name)], signal.SIGKILL)
                time.sleep(0.05)
                try:
                    feed.write(data[sent:])
                except BrokenPipeError:  # it has ended
                    sent = 0
        except BrokenPipeError:
            pass
        try:
            _, err = process.communicate(timeout=30)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 70, err
    check_claims(out, web)


@pytest.mark.parametrize("name", crossed([("worker-1",)], ["worker-1", "writer-0"]))
def test_a_kill_at_a_random_moment(name: str, web: Path, tmp_path: Path, temp: Path) -> None:
    """No report claims a byte that is not on disk, whenever a worker or a writer was killed."""
    kill_at_random(0, name, web, tmp_path / "out", temp)


@pytest.mark.slow
@pytest.mark.parametrize("seed", tries(50, 6))
@pytest.mark.parametrize("name", ["worker-1", "writer-0"])
def test_a_kill_at_fifty_random_moments(name: str, seed: int, web: Path, tmp_path: Path, temp: Path) -> None:
    """... at 50 of 50 points each with the nightly profile."""
    kill_at_random(1 + seed, name, web, tmp_path / "out", temp)


# --------------------------------------------------------------------------- live


@pytest.mark.live
def test_a_live_run_keeps_what_was_in_hand(network: Network, tmp_path: Path) -> None:
    """The capture process, confined as it is, may write into the folder of --save-crash."""
    packets = Conversation(acknowledge=False).packets([(0, bytes(1000))] * 40)
    words = ("-i", "a1", "--workers", "1", "--writers", "1", "--save-crash", tmp_path / "kept")
    with capturing(network, tmp_path / "out", *words, env={FAULT: "worker-0@0"}) as run:
        network.send(packets, "a0", folder=tmp_path)
        run.until("had in hand is in")
        status, err = run.stops(signal.SIGINT)
    assert status == 70, err
    (file,) = (tmp_path / "kept").iterdir()
    assert f"warning: what worker-0 had in hand is in {file}\n" in err
    assert file.stat().st_size > 10_000
