"""A worker that dies while packets keep coming (killed, short of memory, a defect) has another one take its place: what
was under way to it is lost and counted, and no byte is claimed that is not there.

Piped, which is what a live run is but for its source; and live.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.effort import tries
from tests.faults.feeding import HEIRS, PATIENCE, fed, kill_at_random, later, live_without, wait_for
from tests.faults.killing import alive, children, in_session
from tests.faults.test_dies_while_it_cannot_be_repeated import check_claims, streams
from tests.live.network import Network
from tests.runs import counters, flows, report_of

LATE = "worker-1@70"
"""A fault at a time when the writers are at work: 64 batches are under way at most."""


@pytest.mark.parametrize("fault", [LATE, pytest.param("worker-0@70:raise", marks=pytest.mark.slow)])
def test_a_worker_that_dies_has_another_in_its_place(fault: str, tmp_path: Path, temp: Path) -> None:
    """Its streams end, marked as lost; what comes later is in streams of other names; the account holds, and of the
    packets no more are lost than came before the other one was at work."""
    out = tmp_path / "out"
    with fed(tmp_path, temp, fault) as run:
        run.feed_until(later(out))
        before = run.packets
        for _ in range(5):
            run.feed()
        err = run.end()
        assert run.process.returncode == 70, err
    name = fault.partition("@")[0]
    assert HEIRS.findall(err) == [f"worker-{int(name[-1]) + 2}"]
    assert f"error: {name} died\n" in err
    named, lost = check_claims(out, run.kept)
    assert named == streams(out)
    assert lost
    assert not any(file.endswith("c0001") for file in lost)
    told = counters(report_of(out))
    assert told["packets"] == run.packets
    assert told["packets"] == told["packets.tcp"] + told["lost_with_worker.packets"]
    assert 0 < told["lost_with_worker.packets"] < before
    assert told["bytes.written"] == sum((out / file).stat().st_size for file in named)
    for file, flow in flows(report_of(out)):
        assert ("midstream" in flow["completeness"].split()) is file.tags["filename"].endswith("c0001")


@pytest.mark.slow
def test_what_is_written_beside_goes_on(tmp_path: Path, temp: Path) -> None:
    """-a, --flows and -w with another worker: the account holds, and each file is finished."""
    flows_file, rest = tmp_path / "flows.jsonl", tmp_path / "rest.pcapng"
    with fed(tmp_path, temp, LATE, "-a", "--flows", str(flows_file), "-w", str(rest)) as run:
        run.feed_until(later(tmp_path / "out"))
        err = run.end()
        assert run.process.returncode == 70, err
    assert len(HEIRS.findall(err)) == 1
    assert flows_file.exists()
    assert rest.exists()
    check_claims(tmp_path / "out", run.kept)


def test_workers_that_die_again_and_again_end_the_run(tmp_path: Path, temp: Path) -> None:
    """Five within a minute are replaced; the sixth death ends the run in order, as long before the input's end."""
    with fed(tmp_path, temp, "worker-1@2x9") as run:
        with pytest.raises(BrokenPipeError):
            run.feed_until(lambda: False)
        _, err = run.process.communicate(timeout=PATIENCE)
        assert run.process.returncode == 70, err
    assert HEIRS.findall(err) == [f"worker-{n}" for n in (3, 5, 7, 9, 11)]
    assert "hint: the capture ends, the others finish what they have" in err
    check_claims(tmp_path / "out", run.kept)
    told = counters(report_of(tmp_path / "out"))
    assert told["packets"] == told["packets.tcp"] + told["lost_with_worker.packets"]


@pytest.mark.parametrize("stage", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_without_who_makes_others_the_run_ends(stage: int, tmp_path: Path, temp: Path) -> None:
    """The process that makes them can be killed, too: then the death of a worker or a writer ends the run in order."""
    with fed(tmp_path, temp, "") as run:
        run.feed_until(lambda: len(children(run.process.pid)) == 6)
        zygote, stage = children(run.process.pid)[5], children(run.process.pid)[stage]
        os.kill(zygote, signal.SIGKILL)
        wait_for(lambda: not alive(zygote))
        os.kill(stage, signal.SIGKILL)
        with pytest.raises(BrokenPipeError):
            run.feed_until(lambda: False)
        _, err = run.process.communicate(timeout=PATIENCE)
        assert run.process.returncode == 70, err
    assert HEIRS.findall(err) == []
    named, _ = check_claims(tmp_path / "out", run.kept)
    assert named == streams(tmp_path / "out")


@pytest.mark.slow
def test_a_coordinator_that_dies_takes_the_new_worker_along(tmp_path: Path, temp: Path) -> None:
    """No orphan, though another process forked it."""
    with fed(tmp_path, temp, LATE) as run:
        run.feed_until(later(tmp_path / "out"))
        assert len(in_session(run.process.pid)) == 7  # the coordinator, five stages, who makes workers
        run.process.kill()
        wait_for(lambda: not in_session(run.process.pid))


@pytest.mark.parametrize("fault", [pytest.param(LATE, marks=pytest.mark.slow), "writer-1@70"])
def test_appended_streams_end_the_run(fault: str, tmp_path: Path, temp: Path) -> None:
    """With -R only the dead one knew where in a file its connections go on: nobody takes its place."""
    with fed(tmp_path, temp, fault, "-R") as run:
        with pytest.raises(BrokenPipeError):
            run.feed_until(lambda: False)
        _, err = run.process.communicate(timeout=PATIENCE)
    assert run.process.returncode == 70, err
    assert HEIRS.findall(err) == []


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path, temp: Path) -> None:
    """Whenever workers are killed, every packet is done or counted as lost, and every claim is true."""
    kill_at_random(0, ("worker-",), tmp_path, temp)


@pytest.mark.slow
@pytest.mark.parametrize("seed", tries(50, 8))
def test_kills_at_fifty_times_random_moments(seed: int, tmp_path: Path, temp: Path) -> None:
    """... in 50 of 50 runs with the nightly profile."""
    kill_at_random(seed, ("worker-",), tmp_path, temp)


# --------------------------------------------------------------------------- live


@pytest.mark.live
def test_a_live_run_goes_on_when_a_worker_dies(network: Network, tmp_path: Path) -> None:
    """The capture goes on with another worker; every packet that was handed over is done, or counted."""
    told = live_without(network, tmp_path / "out", "worker-1", 2)
    assert told["packets"] == told["packets.tcp"] + told["lost_with_worker.packets"]
