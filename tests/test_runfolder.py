"""The folder of a run's sockets: short enough, private, and removed by the next run if a kill left it behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runfolder import RunFolder, remove_dead
from tests.runs import environment


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where run folders are made."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as made:  # a socket's name is at most 107 bytes long
        monkeypatch.setattr(tempfile, "tempdir", made)
        yield Path(made)


def test_a_long_temporary_folder(monkeypatch: pytest.MonkeyPatch, runs: Path) -> None:
    """A socket's name has room for 107 bytes: where TMPDIR leaves too few, the sockets are elsewhere."""
    assert len(str(runs)) < 68
    for length, inside in ((66, True), (67, False), (150, False)):
        where = str(runs / "x").ljust(length, "x")
        Path(where).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", where)
        folder = RunFolder()
        assert folder.path.stat().st_mode & 0o777 == 0o700
        folder.remove()
        assert not folder.path.exists()
        assert (str(folder.path.parent) == where) is inside
        assert len(str(folder.path)) + len("/status-worker-9999999") <= 107


def die_with_a_folder(runs: Path) -> Path:
    """A run that is killed; the folder with a socket that it leaves."""
    code = (
        "import os, socket; from pipeline.runfolder import RunFolder\n"
        "folder = RunFolder(); s = socket.socket(socket.AF_UNIX); s.bind(f'{folder.path}/status-capture')\n"
        "print(folder.path, flush=True); os.kill(os.getpid(), 9)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment(TMPDIR=str(runs)), stdout=subprocess.PIPE, text=True, check=False
    )
    return Path(told.stdout.strip())


def test_a_dead_runs_folder_is_removed_by_the_next_run(runs: Path) -> None:
    """0 stale sockets at the next start, after a coordinator was killed."""
    left = die_with_a_folder(runs)
    assert (left / "status-capture").is_socket()
    mine = RunFolder()
    assert list(runs.iterdir()) == [mine.path]
    mine.remove()
    assert list(runs.iterdir()) == []


def test_a_living_runs_folder_stays(runs: Path) -> None:
    """Its lock is held as long as one of its processes lives, were it not the one that made it."""
    first = RunFolder()
    second = RunFolder()
    assert set(runs.iterdir()) == {first.path, second.path}
    child = os.fork()
    if not child:
        signal_free = os.pidfd_open(os.getppid())  # nothing of pytest runs here
        os.close(signal_free)
        import time

        time.sleep(60)
        os._exit(0)
    try:
        os.close(first._lock)  # as if the one that made it were dead
        remove_dead(runs)
        assert first.path.exists()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    remove_dead(runs)
    assert not first.path.exists()
    second.remove()


@pytest.mark.parametrize("what", ["file", "link", "mode", "no lock", "lock is a link", "foreign file", "folder inside"])
def test_what_is_not_provably_a_dead_runs_stays(what: str, runs: Path, tmp_path: Path) -> None:
    """Only our own shape is touched: anything else in a folder of that name, and all of it stays."""
    left = die_with_a_folder(runs)
    if what == "file":
        for path in left.iterdir():
            path.unlink()
        left.rmdir()
        left.write_text("mine")
    elif what == "link":
        left.rename(tmp_path / "elsewhere")
        left.symlink_to(tmp_path / "elsewhere")
    elif what == "mode":
        left.chmod(0o755)
    elif what == "no lock":
        (left / "lock").unlink()
    elif what == "lock is a link":
        (left / "lock").unlink()
        (tmp_path / "victim").write_text("")
        (left / "lock").symlink_to(tmp_path / "victim")
    elif what == "foreign file":
        (left / "notes").write_text("mine")
    else:
        (left / "more").mkdir()
    before = sorted(runs.rglob("*"))
    remove_dead(runs)
    assert sorted(runs.rglob("*")) == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder away")
def test_another_users_folder_stays(runs: Path) -> None:
    """Only what is ours is removed, were we root."""
    left = die_with_a_folder(runs)
    os.chown(left, 12345, 12345)
    remove_dead(runs)
    assert (left / "lock").exists()


def test_a_socket_that_is_bound_has_no_power(runs: Path) -> None:
    """A living listener of somebody else's does not keep a dead run's folder: the lock alone says who lives."""
    left = die_with_a_folder(runs)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(left / "status-worker-0"))
        remove_dead(runs)
    assert not left.exists()
