"""Output that cannot be written: which file, what to do, a folder that says that it is incomplete."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.bench.generate import Expected
from tests.build import Conversation, write_pcap
from tests.faults.killing import check_failed_folder
from tests.runs import COMMAND, MARKER, REPORT, ROOT, environment, files, run_apart

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
