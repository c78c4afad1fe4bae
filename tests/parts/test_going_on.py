"""A run in parts while it goes on: what cuts it, what it leaves when it is killed, what it takes of memory."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

from tests.bench.measure import descendants
from tests.build import EPOCH_NS, Conversation, Packet
from tests.effort import tries
from tests.forms import crossed, ended, started
from tests.parts.days import SECOND, parts
from tests.runs import REPORT, report_of
from tests.test_piped import HEADER, put, records, wait_for

HUP = signal.SIGHUP


def conversation(n: int, *, payload: bytes = b"said", after: int = 1000) -> list[Packet]:
    """The nth connection, a while behind the one before: that one's record is closed by then."""
    talk = Conversation(client=("10.0.0.1", 40_000 + n), start_ns=EPOCH_NS + n * after * SECOND)
    return talk.packets([(0, payload)])


def locked(path: Path) -> bool:
    """Whether somebody holds it."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def descriptors(process: int) -> int:
    """How many a process has, but for those of the spool."""
    links = [os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir()]
    return sum("flowshard-spool" not in link for link in links)


def complete(output: Path) -> list[Path]:
    """Parts that have their report."""
    return sorted(path.parent for path in output.glob(f"part-*/{REPORT}"))


@pytest.mark.parametrize("workers", crossed([(2,)], [0, 2]))
def test_a_hangup_ends_the_part(tmp_path: Path, workers: int) -> None:
    """SIGHUP: what comes next is in a new part, and the one before is complete while the run goes on."""
    out = tmp_path / "out"
    with started("-r", "-", "-o", out, "--workers", workers, "--rotate", "1d") as process:
        put(process, HEADER + records(conversation(0)))
        wait_for(lambda: len(list(out.glob("part-*/10*"))) == 1)
        process.send_signal(HUP)
        wait_for(lambda: len(complete(out)) == 1)  # though nothing comes
        put(process, records(conversation(1)))
        wait_for(lambda: len(list(out.glob("part-*/10*"))) == 2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        done = ended(process)
    assert done.status == 0, done.err
    first, second = parts(out)
    assert [len(part.files) for part in (first, second)] == [0, 2]  # the first stream ended with the second's packets
    assert {part.path.name[:11] for part in (first, second)} == {"part-000001", "part-000002"}


@pytest.mark.parametrize("workers", crossed([(0,)], [0, 2]))
def test_a_hangup_without_parts_is_answered(tmp_path: Path, workers: int) -> None:
    """Without --rotate a hangup ends nothing, and a warning says why."""
    with started("-r", "-", "-o", tmp_path / "out", "--workers", workers) as process:
        put(process, HEADER + records(conversation(0)))
        wait_for(lambda: len(list((tmp_path / "out").glob("10*"))) == 1)
        os.killpg(process.pid, HUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        done = ended(process)
    assert done.status == 0
    assert "warning: a hangup (SIGHUP) rotates nothing" in done.err
    assert len(report_of(tmp_path / "out").files) == 1


@pytest.mark.slow
def test_time_ends_a_part(tmp_path: Path) -> None:
    """A part ends when it is old enough, whether packets come or not."""
    out = tmp_path / "out"
    with started("-r", "-", "-o", out, "--rotate", "1s", "--rotate", "1G") as process:
        put(process, HEADER)
        for n in range(3):
            put(process, records(conversation(n)))
            wait_for(lambda n=n: len(complete(out)) > n)  # type: ignore[misc]
        process.send_signal(signal.SIGINT)
        assert ended(process).status == 0
    assert sum(len(part.files) for part in parts(out)) == 3


def test_a_killed_run_leaves_complete_parts(tmp_path: Path) -> None:
    """All parts but the last have their reports; the next run numbers on, and removes what the killed one needed."""
    out = tmp_path / "out"
    words = ("-r", "-", "-o", out, "--rotate", "1M", "--workers", 2)
    with started(*words) as process:
        put(process, HEADER)
        for n in range(6):
            put(process, records(conversation(n, payload=bytes(600_000))))
        wait_for(lambda: len(complete(out)) == 3)  # of 1 MiB each, headers included
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    [lock] = out.glob(".flowshard-*/lock")
    wait_for(lambda: not locked(lock))
    whole = complete(out)
    assert len(list(out.glob("part-*"))) == len(whole) + 1
    assert len(list(out.glob(".flowshard-*"))) == 1
    with started(*words) as process:
        put(process, HEADER + records(conversation(0)))
        process.stdin.close()  # type: ignore[union-attr]
        process.stdin = None
        assert ended(process).status == 0
    assert complete(out)[: len(whole)] == whole
    assert complete(out)[-1].name.startswith(f"part-{len(whole) + 2:06d}")
    assert not list(out.glob(".flowshard-*"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_parts(tmp_path: Path) -> None:
    """Over 80 parts memory, descriptors and processes stay what they were after the first 20; nightly over 200."""

    def taken() -> tuple[int, int, int]:
        """KiB that are not shared, descriptors (the spool's left out, which has bounds of its own), processes."""
        run = [process.pid, *descendants(process.pid)]
        sizes = [Path(f"/proc/{each}/smaps_rollup").read_text().split("Private_Dirty:")[1].split()[0] for each in run]
        return sum(map(int, sizes)), sum(map(descriptors, run)), len(run)

    out = tmp_path / "out"
    with started("-r", "-", "-o", out, "--rotate", "1d", "--workers", 2) as process:
        put(process, HEADER + records(conversation(0)))
        wait_for(lambda: len(list(out.glob("part-*/10*"))) == 1)
        for n in tries(220, 100):
            put(process, records(packet for k in range(20) for packet in conversation(20 * n + k, after=50)))
            process.send_signal(HUP)
            wait_for(lambda n=n: len(complete(out)) > n)  # type: ignore[misc]
            if n == 20:
                before = taken()
        after = taken()
        process.send_signal(signal.SIGTERM)
        assert ended(process).status == 0
    assert after[2] == before[2]
    assert after[1] <= before[1] + 16
    assert after[0] < before[0] * 1.1 + 4096
