"""A writer that dies while packets keep coming (killed, short of memory, a defect) has another one take its place: the
files that it wrote have their rows, no byte is claimed that is not there, and what is lost is counted.

Piped, which is what a live run is but for its source; and live.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.effort import tries
from tests.faults.feeding import (
    HEIRS,
    PATIENCE,
    PORTS,
    SIZE,
    check_all,
    fed,
    kill_at_random,
    later,
    live_without,
    wait_for,
)  # fmt: skip
from tests.faults.killing import in_session
from tests.faults.test_dies_while_it_cannot_be_repeated import check_claims, streams
from tests.live.network import Network
from tests.runs import counters, flows, report_of, run_apart

LATE = "writer-1@70"
"""A fault at a time when all are at work: 64 batches are under way at most."""


@pytest.mark.parametrize("fault", [LATE, pytest.param("writer-0@70:raise", marks=pytest.mark.slow)])
def test_a_writer_that_dies_has_another_in_its_place(fault: str, tmp_path: Path, temp: Path) -> None:
    """The streams that it had open end, marked as lost; what comes later is in streams of other names; no packet is
    lost, and of the bytes no more than came before the other one was at work."""
    out = tmp_path / "out"
    with fed(tmp_path, temp, fault) as run:
        run.feed_until(later(out))
        before = run.packets
        for _ in range(5):
            run.feed()
        err = run.end()
        assert run.process.returncode == 70, err
    name = fault.partition("@")[0]
    assert HEIRS.findall(err) == [f"writer-{int(name[-1]) + 2}"]
    assert f"error: {name} died\n" in err
    told = check_all(run, out)
    assert told["lost_with_worker.packets"] == 0
    assert told["bytes.payload"] == told["bytes.written"] + told["lost_with_writer.bytes"]
    assert 0 < told["lost_with_writer.bytes"] < before * SIZE
    for file, flow in flows(report_of(out)):
        marks, again = flow["completeness"].split(), file.tags["filename"].endswith("c0001")
        assert ("midstream" in marks) is again
        assert not ("lost" in marks and again)


def test_a_manifest_verifies(tmp_path: Path, temp: Path) -> None:
    """What the dead one wrote is in the manifest, as it lies on disk."""
    out = tmp_path / "out"
    with fed(tmp_path, temp, LATE, "--manifest") as run:
        run.feed_until(later(out))
        err = run.end()
        assert run.process.returncode == 70, err
    done = run_apart("verify", out, "--read", run.kept)
    assert done.status == 0, done.err


@pytest.mark.slow
def test_what_is_written_beside_goes_on(tmp_path: Path, temp: Path) -> None:
    """-e, --flows, --packet-map and -w with another writer: the account holds, and each file is finished."""
    flows_file, rest, out = tmp_path / "flows.jsonl", tmp_path / "rest.pcapng", tmp_path / "out"
    more = ("-e", "http", "--flows", str(flows_file), "-w", str(rest), "--packet-map")
    with fed(tmp_path, temp, LATE, *more) as run:
        run.feed_until(later(out))
        err = run.end()
        assert run.process.returncode == 70, err
    assert len(HEIRS.findall(err)) == 1
    assert {"objects.jsonl", "packet-map.tsv"} <= set(os.listdir(out))
    assert flows_file.exists()
    assert rest.exists()
    check_claims(out, run.kept)


def test_writers_that_die_again_and_again_end_the_run(tmp_path: Path, temp: Path) -> None:
    """Five within a minute are replaced; the sixth death ends the run in order, as long before the input's end."""
    with fed(tmp_path, temp, "writer-1@2x9") as run:
        with pytest.raises(BrokenPipeError):
            run.feed_until(lambda: False)
        _, err = run.process.communicate(timeout=PATIENCE)
        assert run.process.returncode == 70, err
    assert HEIRS.findall(err) == [f"writer-{n}" for n in (3, 5, 7, 9, 11)]
    assert "hint: the capture ends, the others finish what they have" in err
    check_claims(tmp_path / "out", run.kept)
    told = counters(report_of(tmp_path / "out"))
    assert told["bytes.payload"] == told["bytes.written"] + told["lost_with_writer.bytes"]


@pytest.mark.slow
def test_a_coordinator_that_dies_takes_the_new_writer_along(tmp_path: Path, temp: Path) -> None:
    """No orphan, though another process forked it."""
    with fed(tmp_path, temp, LATE) as run:
        run.feed_until(later(tmp_path / "out"))
        assert len(in_session(run.process.pid)) == 7  # the coordinator, five stages, who makes others
        run.process.kill()
        wait_for(lambda: not in_session(run.process.pid))


@pytest.mark.slow
def test_foreign_files_stay_as_they_are(tmp_path: Path, temp: Path) -> None:
    """Files and links under names that streams would get: none is taken for the dead writer's, none is changed."""
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir(mode=0o700)
    victim.write_bytes(b"victim")
    names = [f"10.0.0.1.{PORTS + n}-10.0.0.2.80{again}" for n in range(16) for again in ("", "c0001")]
    for n, name in enumerate(names):
        if n % 3 == 0:
            (out / name).symlink_to(victim)
        elif n % 3 == 1:
            (out / name).hardlink_to(victim)
        else:
            (out / name).write_bytes(b"foreign")
    with fed(tmp_path, temp, LATE) as run:
        run.feed_until(lambda: any("c0001~" in name for name in os.listdir(out)))
        err = run.end()
        assert run.process.returncode == 70, err
    assert victim.read_bytes() == b"victim"
    assert all((out / name).read_bytes() == b"foreign" for name in names[2::3])
    named, lost = check_claims(out, run.kept)
    assert lost
    assert named == streams(out) - set(names)


@pytest.mark.slow
@pytest.mark.parametrize("stages", [("writer-",), ("worker-", "writer-")])
def test_kills_at_random_moments(stages: tuple[str, ...], tmp_path: Path, temp: Path) -> None:
    """Whenever writers, or workers with them, are killed, every byte is written or counted as lost, and every claim is
    true."""
    kill_at_random(0, stages, tmp_path, temp)


@pytest.mark.slow
@pytest.mark.parametrize("seed", tries(50, 8))
@pytest.mark.parametrize("stages", [("writer-",), ("worker-", "writer-")])
def test_kills_at_fifty_times_random_moments(seed: int, stages: tuple[str, ...], tmp_path: Path, temp: Path) -> None:
    """... in 50 of 50 runs each with the nightly profile."""
    kill_at_random(seed, stages, tmp_path, temp)


# --------------------------------------------------------------------------- live


@pytest.mark.live
def test_a_live_run_goes_on_when_a_writer_dies(network: Network, tmp_path: Path) -> None:
    """The capture goes on with another writer, confined as the first was; every packet that was handed over is done."""
    told = live_without(network, tmp_path / "out", "writer-1", 4)
    assert told["bytes.payload"] == told["bytes.written"] + told["lost_with_writer.bytes"]
