"""A process that dies ends the run at once, with status 70, a message that names it, and no orphans.

Processes are ended at random moments of a run that is large enough to be caught; a try that came too
late is made again.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.bench.generate import Expected, generate
from tests.build import Conversation, write_pcap
from tests.forms import crossed
from tests.runs import COMMAND, MARKER, REPORT, ROOT, Finished, environment, files, report_of, run_apart, run_here

NAMES = ("capture", "worker-0", "worker-1", "writer-0", "writer-1")
"""In the order in which they are started."""
SHAPE = ["--workers", "2", "--writers", "2"]
TRIES = 12


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expected]:
    """A capture of some 50 MB, which takes long enough to be interrupted."""
    path = tmp_path_factory.mktemp("large") / "large.pcap"
    return path, generate("bulk", 0.05, 3, path)


@pytest.fixture
def temp() -> Iterator[Path]:
    """A temporary folder whose name is short enough for sockets; the run is told to use it."""
    with tempfile.TemporaryDirectory(prefix="fs-", dir="/tmp") as folder:
        yield Path(folder)


def state(pid: int) -> tuple[str, int, int] | None:
    """State letter, parent and start time of a process (proc(5)); None when it is gone."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    rest = line.rpartition(")")[2].split()
    return rest[0], int(rest[1]), int(rest[19])


def alive(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    found = state(pid)
    return found is not None and found[0] not in "ZX"


def children(parent: int) -> list[int]:
    """Its children, those that have ended included, in the order in which they were made."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = [(facts[2], pid) for pid in pids if (facts := state(pid)) is not None and facts[1] == parent]
    return [pid for _, pid in sorted(found)]


def in_session(session: int) -> list[int]:
    """Processes of a session, zombies left out: nobody else is in the one that a test started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == session:
                    found.append(int(entry.name))
    return found


@dataclass
class Running:
    """A run under way. ``pids`` are those of its stages, by name."""

    process: subprocess.Popen[str]
    pids: dict[str, int] = field(default_factory=dict)

    def caught(self) -> bool:
        """Wait until all stages are there; False when the run was faster."""
        while self.process.poll() is None:
            pids = children(self.process.pid)
            if len(pids) == len(NAMES):
                self.pids = dict(zip(NAMES, pids, strict=True))
                return True
            time.sleep(0.002)
        return False

    def end(self, timeout: float) -> Finished:
        """Wait for its end; fails when that takes longer than ``timeout`` seconds."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the run went on for {timeout} s; {in_session(self.process.pid)} are still there")
        return Finished(self.process.returncode, out, err)


@contextlib.contextmanager
def running(capture: Path, out: Path, temp: Path, *words: str) -> Iterator[Running]:
    """Starts a run; whatever becomes of it, nothing of it is left behind."""
    process = subprocess.Popen(
        [*COMMAND, "-r", str(capture), "-o", str(out), "-md5", *SHAPE, *words], env=environment(TMPDIR=str(temp)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Running(process)
    finally:
        for pid in in_session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


def check_failed_folder(out: Path) -> None:
    """The folder says that it is incomplete; no report, no scratch files."""
    left = os.listdir(out)
    assert MARKER in left
    assert REPORT not in left
    assert [name for name in left if name.startswith(".")] == []


def kill_one(name: str, moment: float, large: tuple[Path, Expected], out: Path, temp: Path) -> bool:
    """One try to end a stage ``moment`` seconds after all are there; False when it came too late."""
    with running(large[0], out, temp) as run:
        if not run.caught():
            return False
        time.sleep(moment)
        victim = run.pids[name]
        if not alive(victim):  # it has done its work: let the others, too
            run.end(5)
            return False
        os.kill(victim, signal.SIGKILL)
        begun = time.monotonic()
        done = run.end(5)
        if done.status == 0:  # it had said its last words
            return False
        assert time.monotonic() - begun < 5
        assert in_session(run.process.pid) == []
    assert done.status == 70, done.err
    assert done.err.startswith(f"error: {name} (process {victim}) was ended by SIGKILL\n"), done.err
    assert "hint: the output is incomplete" in done.err
    assert done.out == ""
    assert list(temp.iterdir()) == []
    check_failed_folder(out)
    return True


def try_to_kill(name: str, rng: random.Random, large: tuple[Path, Expected], folder: Path, temp: Path) -> Path:
    """End a stage at a random moment, earlier with each try; returns the folder of the run that was hit."""
    longest = 0.1
    for number in range(TRIES):
        out = folder / f"out-{name}-{rng.random()}-{number}"
        if kill_one(name, rng.uniform(0, longest), large, out, temp):
            return out
        longest /= 2
    pytest.fail(f"{name} was never caught at work")


@pytest.mark.parametrize("name", crossed([("capture",), ("worker-1",), ("writer-0",)], NAMES))
def test_a_process_that_is_killed(name: str, large: tuple[Path, Expected], tmp_path: Path, temp: Path) -> None:
    """SIGKILL of any stage: status 70 within 5 s, its name, no orphan, no sockets left, a marked folder."""
    try_to_kill(name, random.Random(name), large, tmp_path, temp)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", NAMES)
def test_a_process_that_is_killed_at_many_moments(
    name: str, seed: int, large: tuple[Path, Expected], tmp_path: Path, temp: Path
) -> None:
    """At whatever moment a stage dies, the run ends the same way."""
    try_to_kill(name, random.Random(f"{name} {seed}"), large, tmp_path, temp)


def test_a_failed_folder_can_be_used_again(large: tuple[Path, Expected], tmp_path: Path, temp: Path) -> None:
    """After a run that died, --overwrite makes the output that an undisturbed run makes, and no more."""
    capture, expected = large
    out = try_to_kill("writer-1", random.Random(1), large, tmp_path, temp)
    refused = run_here("-r", capture, "-o", out)
    assert (refused.status, "holds the output of an earlier run" in refused.err) == (2, True)
    done = run_apart("-r", capture, "-o", out, "-md5", *SHAPE, "--overwrite", "--quiet")
    assert (done.status, done.err) == (0, "")
    found = {file.tags["filename"]: file.hashes["md5"] for file in report_of(out).files}
    assert found == {name: stream.md5 for name, stream in expected.streams.items()}
    assert sorted(os.listdir(out)) == sorted([*found, REPORT])


@pytest.mark.parametrize(
    ("how", "to_all"),
    [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["coordinator", "terminal", "SIGTERM"],
)
def test_an_interrupt(
    how: signal.Signals, to_all: bool, large: tuple[Path, Expected], tmp_path: Path, temp: Path
) -> None:
    """SIGINT, were it from a terminal to all, or SIGTERM: status 130, one line, no orphan, a marked folder."""
    for number in range(TRIES):
        out = tmp_path / str(number)
        with running(large[0], out, temp) as run:
            if not run.caught():
                continue
            time.sleep(0.1 / (number + 1))
            (os.killpg if to_all else os.kill)(run.process.pid, how)
            done = run.end(5)
            if done.status == 0 or MARKER not in os.listdir(out):  # it had done its work
                continue
            assert in_session(run.process.pid) == []
        assert (done.status, done.out) == (130, ""), done.err
        assert done.err == "error: interrupted\nhint: what was written so far is not complete\n"
        assert list(temp.iterdir()) == []
        check_failed_folder(out)
        return
    pytest.fail("the run was never caught at work")


def test_a_coordinator_that_dies(large: tuple[Path, Expected], tmp_path: Path, temp: Path) -> None:
    """A dead coordinator takes all with it, within 2 s; the folder stays marked and has no report."""
    for number in range(TRIES):
        out = tmp_path / str(number)
        with running(large[0], out, temp) as run:
            if not run.caught():
                continue
            run.process.send_signal(signal.SIGKILL)
            status = run.process.wait(5)
            if status == 0:
                continue
            deadline = time.monotonic() + 2
            while (left := in_session(run.process.pid)) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert left == []
        assert MARKER in os.listdir(out)
        assert REPORT not in os.listdir(out)
        return
    pytest.fail("the run was never caught at work")


@pytest.mark.parametrize("workers", ["0", "2"])
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
    assert re.match(f"error: {where}: ZeroDivisionError: on purpose\nhint: ", done.err), done.err
    assert list(temp.iterdir()) == []
    check_failed_folder(tmp_path / "out")


# --------------------------------------------------------------------------- output that fails


TOO_LARGE = (
    "error: cannot write {out}/10.0.0.2.80-10.0.0.1.40000: File too large\n"
    "hint: the file system, or ulimit -f, allows no larger file\n"
)
NO_SPOOL = (
    "error: cannot make the spool: files may not be larger than 1,048,576 bytes\n"
    "hint: ulimit -f says so; allow at least 16 MiB\n"
)


@pytest.mark.parametrize(("workers", "mib", "said"), [("0", 16, TOO_LARGE), ("2", 1, TOO_LARGE), ("0", 1, NO_SPOOL)])
def test_files_that_may_not_grow(workers: str, mib: int, said: str, tmp_path: Path, temp: Path) -> None:
    """A file that the system lets grow no further: status 4, which file, what to do, a marked folder."""
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (mib << 20, mib << 20))

    talk = Conversation(mss=60_000, acknowledge=False)
    capture = write_pcap(tmp_path / "x.pcap", talk.packets([(0, b"q"), (1, bytes((mib << 20) + 1))]))
    words = ["-r", capture, "-o", tmp_path / "out", "--workers", workers]
    done = run_apart(*words, preexec=limited, env={"TMPDIR": str(temp)})
    assert done.status == 4, done.err
    assert done.err == said.format(out=tmp_path / "out")
    assert list(temp.iterdir()) == []
    check_failed_folder(tmp_path / "out")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_full_disk(workers: str, large: tuple[Path, Expected], tmp_path: Path, temp: Path) -> None:
    """A disk that fills up: status 4 within 5 s of it, which file, what to do, and a folder that is marked."""
    disk, seen = tmp_path / "disk", tmp_path / "seen"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=4m none "$1" || exit 99; shift; "$@"; status=$?; '
    script += 'ls -a "$OUT" >"$SEEN"; exit $status'
    command = [*COMMAND, "-r", str(large[0]), "-o", str(disk / "out"), "--workers", workers]
    try:
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", str(disk), *command], cwd=ROOT, check=False,
            env=environment(TMPDIR=str(temp), OUT=str(disk / "out"), SEEN=str(seen)),
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("unshare is not there")
    if done.returncode == 99 or done.stderr.startswith("unshare: "):
        pytest.skip("may not mount a file system")
    assert done.returncode == 4, done.stderr
    assert re.match(
        r"warning: \S*/disk/out: 4,194,304 bytes are free there, and the captures hold [\d,]+\nhint: make room.*\n"
        r"error: cannot write \S*/disk/out/\S*: No space left on device\nhint: free some space there", done.stderr
    ), done.stderr  # fmt: skip
    assert MARKER in seen.read_text().split()
    assert REPORT not in seen.read_text().split()
    assert list(temp.iterdir()) == []
    assert files(disk) == {}
