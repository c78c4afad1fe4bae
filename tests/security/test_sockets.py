"""The sockets between the processes of a run: for the user of the run only, and none of them on a network.

The threat: another user of the machine connects to a stage, and hands it references to bytes, or reads them.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.build import pcap_bytes
from tests.example import packets
from tests.runs import COMMAND, ROOT, environment

PATIENCE = 20.0
OTHER = 65_534
LINKS = 11  # of two workers and two writers: five processes tell how they are, two get batches, two events, ...


@dataclass(frozen=True)
class Running:
    """A run that waits for its input, started with umask 0 by whoever runs the tests."""

    folder: Path  # where the sockets are
    pids: list[int]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    where = Path(tempfile.mkdtemp(prefix="flowshard-test-", dir="/tmp"))
    where.chmod(0o755)  # so that nothing but the run itself keeps others out
    with subprocess.Popen(
        [*COMMAND, "-r", "-", "-o", tmp_path / "out", "--workers", "2", "--writers", "2", "--quiet"],
        stdin=subprocess.PIPE, env=environment(TMPDIR=str(where)), umask=0, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        try:
            process.stdin.write(pcap_bytes(packets(), nanoseconds=True))
            process.stdin.flush()
            end = time.monotonic() + PATIENCE
            while len(found := [path for path in where.glob("flowshard-*/*") if path.is_socket()]) < LINKS:
                assert time.monotonic() < end, found
                time.sleep(0.01)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield Running(found[0].parent, [process.pid, *map(int, children)])
            process.stdin.close()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            shutil.rmtree(where)


def test_the_folder_is_private_whatever_the_umask(running: Running) -> None:
    """0700, in it sockets, and the lock that says whether the run lives."""
    assert stat.S_IMODE(running.folder.stat().st_mode) == 0o700
    assert running.folder.stat().st_uid == os.getuid()
    others = [path for path in running.folder.iterdir() if not stat.S_ISSOCK(path.lstat().st_mode)]
    assert [(path.name, stat.S_IMODE(path.lstat().st_mode)) for path in others] == [("lock", 0o600)]


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be somebody else")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_nobody_else_can_connect(running: Running) -> None:
    """Each of a hundred tries on each socket by another user fails; the same tries by the run's own user do not."""
    paths = [str(path) for path in running.folder.iterdir()]

    def refusals() -> int:
        found = 0
        for path in paths * 100:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
                try:
                    one.connect(path)
                except PermissionError:
                    found += 1
        return found

    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.setgroups([])
        os.setresgid(OTHER, OTHER, OTHER)
        os.setresuid(OTHER, OTHER, OTHER)
        os.write(writing, b"%d" % refusals())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        assert int(said.read()) == 100 * len(paths)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mine:
        mine.connect(paths[0])


def test_no_process_has_a_socket_on_a_network(running: Running) -> None:
    """Of all sockets of all processes none is in the tables of TCP, UDP or raw IP."""
    mine = set()
    for pid in running.pids:
        for number in Path(f"/proc/{pid}/fd").iterdir():
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(number))
            mine |= {found[1]} if found else set()
    assert len(running.pids) == 7  # the coordinator, capture, two workers, two writers, and the zygote
    assert len(mine) > 10
    tables = [Path(f"/proc/net/{name}{six}") for name in ("tcp", "udp", "raw") for six in ("", "6")]
    listed = {line.split()[9] for table in tables if table.exists() for line in table.read_text().splitlines()[1:]}
    assert not mine & listed


def test_no_address_but_paths() -> None:
    """The module that knows ZeroMQ makes one kind of address."""
    text = (ROOT / "pipeline" / "transport.py").read_text()
    assert re.findall(r"\w+://", text) == ["ipc://"] * text.count("://")
