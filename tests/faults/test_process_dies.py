"""A process that dies: the run begins anew, and its output is that of an undisturbed run; or it ends, and says why.

Processes are ended at chosen batches, and at random moments of a run that is large enough to be caught; a try that
came too late is made again.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from pipeline.stages.inhand import FAULT
from tests.bench.generate import Expected, generate
from tests.build import Conversation, write_pcap
from tests.effort import tries
from tests.faults.killing import NAMES, TRIES, alive, check_failed_folder, in_session, running
from tests.faults.trials import BATCHES, Undisturbed, whole, words
from tests.forms import crossed
from tests.report.reader import Report
from tests.runs import REPORT, Finished, differences, report_of, run_apart, run_here

PLAIN: tuple[str, ...] = ()
FOUND = ("-a", "-e", "http")
LAST = -1  # the end of the input


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of HTTP, some ten batches of 256 packets."""
    path = tmp_path_factory.mktemp("web") / "web.pcap"
    generate("web", 0.008, 5, path)
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))


def hit(fault: str, capture: Path, out: Path, temp: Path, workers: int = 2, *more: str) -> Finished:
    """A run with a fault; see stages/inhand.py."""
    return run_apart(*words(capture, out, workers, *more), "--quiet", env={FAULT: fault, "TMPDIR": str(temp)})


@pytest.mark.parametrize(
    ("fault", "more"),
    crossed(
        [
            ("capture@3 of 1", PLAIN), ("worker-1@-1 of 2", PLAIN), ("writer-0@2 of 1", FOUND),
        ],
        [
            "capture@3 of 1", "worker-0@0 of 1", "worker-0@4 of 2", "worker-1@-1 of 2", "writer-0@2 of 1",
            "writer-1@-1 of 2", "worker-3@5 of 4",
        ],
        [PLAIN, FOUND],
    ),
)  # fmt: skip
def test_a_worker_killed_at_any_batch_leaves_the_output_as_it_would_have_been(
    fault: str, more: tuple[str, ...], web: Path, undisturbed: Undisturbed, tmp_path: Path, temp: Path
) -> None:
    """Whoever dies, at whatever batch: the run begins anew, says so, and its output is the undisturbed one's."""
    fault, _, workers = fault.partition(" of ")
    done = hit(fault, web, tmp_path / "out", temp, int(workers), *more)
    assert done.status == 0, done.err
    name, _, batch = fault.partition("@")
    where = (
        "at the end of the input" if batch == str(LAST) else r"at packets? \d[\d,]*( to [\d,]+| and those behind it)"
    )
    assert re.fullmatch(
        rf"warning: {name} \(process \d+\) was ended by SIGKILL {where} of {re.escape(str(web))}\n"
        "hint: the run begins anew, and its output will be the same\n",
        done.err,
    ), done.err
    assert differences(whole(tmp_path / "out"), undisturbed(web, *more)) == []
    assert list(temp.iterdir()) == []


def test_a_defect_that_ends_a_worker_once_is_survived(
    web: Path, undisturbed: Undisturbed, tmp_path: Path, temp: Path
) -> None:
    """An exception that escapes a worker is such a death, too, and told as one."""
    done = hit("worker-1@4:raise", web, tmp_path / "out", temp)
    assert done.status == 0
    assert done.err.startswith("warning: worker-1 failed: RuntimeError: "), done.err
    assert differences(whole(tmp_path / "out"), undisturbed(web)) == []


def test_a_batch_that_kills_again_and_again_ends_the_run_and_is_kept(web: Path, tmp_path: Path, temp: Path) -> None:
    """Three new beginnings in one place, then status 70, which packets they were, and a capture of just these."""
    kept = tmp_path / "kept"
    done = hit("worker-1@4x9", web, tmp_path / "out", temp, 2, "--save-crash", str(kept))
    assert done.status == 70
    assert done.err.count("the run begins anew") == 3
    last = done.err.splitlines()[-2:]
    file = kept / "crash-worker-1-packet-1025.pcapng"
    assert re.fullmatch(
        rf"error: worker-1 \(process \d+\) was ended by SIGKILL at packets 1,025 to 1,280 of {re.escape(str(web))}: "
        "4 times in a row there",
        last[0],
    )
    assert last[1].endswith(f"; the packets are in {file}")
    assert list(kept.iterdir()) == [file]
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(temp.iterdir()) == []
    check_failed_folder(tmp_path / "out")
    # The file is what the input has there: what one packet filter counts in both.
    alone = run_here("-r", file, "-o", tmp_path / "alone", "--workers", "0")
    assert (alone.status, alone.err.split()[:2]) == (0, ["packets", "256,"])


@pytest.mark.parametrize("fault", ["capture@2x9", pytest.param("writer-0@2x9", marks=pytest.mark.slow)])
def test_what_the_others_had_in_hand_is_kept_too(fault: str, web: Path, tmp_path: Path, temp: Path) -> None:
    """Of the capture process it is what it was about to read; the process that saves it does not die of it."""
    kept = tmp_path / "kept"
    assert hit(fault, web, tmp_path / "out", temp, 2, "--save-crash", str(kept)).status == 70
    (file,) = kept.iterdir()
    assert file.name == f"crash-{fault.partition('@')[0]}-packet-513.pcapng"
    alone = run_here("-r", file, "-o", tmp_path / "alone", "--workers", "0")
    assert alone.err.split()[:2] == ["packets", "256,"]


def test_without_a_place_to_keep_it_the_hint_names_the_option(web: Path, tmp_path: Path, temp: Path) -> None:
    """Who is hit learns how the batch can be kept for a report of the defect."""
    done = hit("writer-0@1x9:raise", web, tmp_path / "out", temp)
    assert done.status == 70
    assert "Traceback" in done.err
    assert done.err.rstrip().endswith("--save-crash DIR keeps these packets")


def test_a_run_on_the_console_is_not_begun_anew(web: Path, tmp_path: Path, temp: Path) -> None:
    """What -c has printed cannot be taken back: a death ends the run, with status 70."""
    done = run_apart("-r", web, "-c", "--workers", "1", *BATCHES, env={FAULT: "worker-0@3", "TMPDIR": str(temp)})
    assert done.status == 70
    assert "hint: the output is incomplete" in done.err
    assert list(temp.iterdir()) == []


def test_a_capture_process_that_dies_at_a_pipe_ends_the_run(web: Path, tmp_path: Path, temp: Path) -> None:
    """What came through a pipe is gone with it: status 70 at once, a marked folder and no report."""
    code = (
        "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-m', 'pipeline', *sys.argv[2:]],"
        " stdin=open(sys.argv[1], 'rb')).returncode)"
    )
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    feed = f"import os; os.system('cat {web} > {fifo} &')\n"
    done = run_apart(
        fifo, *words(Path("-"), tmp_path / "out", 2), "--quiet", code=feed + code,
        env={FAULT: "capture@3", "TMPDIR": str(temp)},
    )  # fmt: skip
    assert done.status == 70, done.err
    assert re.match(r"error: capture \(process \d+\) was ended by SIGKILL at packet [\d,]+ and ", done.err), done.err
    check_failed_folder(tmp_path / "out")


# --------------------------------------------------------------------------- at random moments


class Hit:
    """A run one of whose stages was ended at a random moment."""

    def __init__(self, name: str, done: Finished, seconds: float, out: Path) -> None:
        self.name, self.done, self.seconds, self.out = name, done, seconds, out


def kill_one(name: str, moment: float, large: tuple[Path, Expected], out: Path, temp: Path) -> Hit | None:
    """One try to end a stage ``moment`` seconds after all are there; None when it came too late."""
    with running(large[0], out, temp, "--quiet") as run:
        if not run.caught():
            return None
        time.sleep(moment)
        victim = run.pids[name]
        if not alive(victim):  # it has done its work: let the others, too
            run.end(20)
            return None
        os.kill(victim, signal.SIGKILL)
        begun = time.monotonic()
        done = run.end(20)
        seconds = time.monotonic() - begun
        assert in_session(run.process.pid) == []
    if done.err == "":  # it had said its last words
        return None
    assert done.status == 0, done.err
    assert done.err.startswith(f"warning: {name} (process {victim}) was ended by SIGKILL"), done.err
    assert done.out == ""
    assert list(temp.iterdir()) == []
    return Hit(name, done, seconds, out)


def try_to_kill(name: str, rng: random.Random, large: tuple[Path, Expected], folder: Path, temp: Path) -> Hit:
    """End a stage at a random moment, earlier with each try; returns the run that was hit."""
    longest = 0.3
    for number in range(TRIES):
        out = folder / f"out-{name}-{rng.random()}-{number}"
        if (found := kill_one(name, rng.uniform(0, longest), large, out, temp)) is not None:
            return found
        longest /= 2
    pytest.fail(f"{name} was never caught at work")


def check_claims(out: Path, expected: Expected) -> None:
    """Every stream is there, with its MD5, and no row claims a byte that its file does not have."""
    report: Report = report_of(out)
    assert {file.tags["filename"]: file.hashes["md5"] for file in report.files} == {
        name: stream.md5 for name, stream in expected.streams.items()
    }
    for file in report.files:
        assert (out / file.tags["filename"]).stat().st_size == int(file.tags["filesize"])
    assert sorted(os.listdir(out)) == sorted([*expected.streams, REPORT])


@pytest.mark.parametrize("name", crossed([("writer-1",)], NAMES))
def test_a_process_that_is_killed(name: str, large: tuple[Path, Expected], tmp_path: Path, temp: Path) -> None:
    """SIGKILL of any stage at a random moment: the output is complete, no orphan and no socket is left."""
    found = try_to_kill(name, random.Random(name), large, tmp_path, temp)
    check_claims(found.out, large[1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", tries(20, 4))
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.timeout(120)
def test_a_process_that_is_killed_at_many_moments(
    name: str, seed: int, large: tuple[Path, Expected], tmp_path: Path, temp: Path
) -> None:
    """100 of 100: at whatever moment a stage dies, no report claims a byte that is not on disk, and none is missing."""
    found = try_to_kill(name, random.Random(f"{name} {seed}"), large, tmp_path, temp)
    check_claims(found.out, large[1])


@pytest.mark.parametrize("workers", [pytest.param("0", marks=pytest.mark.slow), "2"])
def test_a_defect_in_a_stage(workers: str, tmp_path: Path, temp: Path) -> None:
    """An exception that nobody expected is status 70 and a marked folder, and names what failed."""
    code = (
        "import sys, workers.reassembler as r; from pipeline.cli import main\n"
        "def boom(*_): raise ZeroDivisionError('on purpose')\n"
        "r.Reassembler.handle = boom; sys.exit(main())"
    )
    capture = write_pcap(tmp_path / "x.pcap", Conversation().packets([(0, b"x")]))
    words = ["-r", capture, "-o", tmp_path / "out", "--workers", workers]
    done = run_apart(*words, code=code, env={"TMPDIR": str(temp)})
    where = r"worker-\d failed" if workers != "0" else "internal error"
    assert done.status == 70
    assert re.search(f"^error: {where}: ZeroDivisionError: on purpose.*\nhint: ", done.err, re.MULTILINE), done.err
    assert list(temp.iterdir()) == []
    check_failed_folder(tmp_path / "out")
