"""Disks that fail: small ones, writes that are refused, and what a run may leave on them.

Knows: what is true of any output, whatever failed. Does not know: which fault was made.
Invariant: what a report says of a file is so on disk, and every file on disk is in the report.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.writer.plain.library import CHOICE
from tests.build import EPOCH_NS, Conversation, Packet, disturb, in_turns
from tests.report.reader import Report
from tests.runs import COMMAND, MARKER, REPORT, ROOT, Finished, counters, environment, flows, report_of

LINES = "objects.jsonl"


def talks(count: int = 12, *, size: int = 3_000, mss: int = 500) -> list[Packet]:
    """So many connections at once, with disorder and retransmissions that differ; every third of them is HTTP."""
    made = []
    for n in range(count):
        start, isn = EPOCH_NS + n, (n * 7919, n)
        talk = Conversation(client=("10.0.0.1", 40_000 + n), isn=isn, start_ns=start, mss=mss)
        body = bytes((n + at * at) & 0xFF for at in range(size))
        if n % 3:
            turns = [(0, b"ask %d" % n), (1, body), (0, b"again"), (1, body[::-1])]
        else:
            packed = zlib.compress(body) if n % 2 else body
            coding = b"Content-Encoding: deflate\r\n" if n % 2 else b""
            head = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (coding, len(packed))
            turns = [(0, b"GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n" % n), (1, head + packed)] * 2
        packets = talk.packets(turns)
        other = talk.segment(1, b"?" * 700, seq=talk.isn[1] + 101)  # differs from what is there
        packets.insert(-3, replace(other, time_ns=packets[-4].time_ns))
        rng = random.Random(n)
        made.append(packets if n % 4 else disturb(packets, rng, reorder=0.3, lose=0.01, duplicate=0.1))
    return in_turns(*made)


def check(folder: Path, whole: Path, beside: Sequence[Path] = ()) -> Report:
    """What a run left in a folder is a part of what an undisturbed one left in ``whole``, and the report says which:
    every stream has its row, every file is as its row says, no other file is there, and no byte is lost unsaid.

    ``beside``: files that stand there for the whole run, if they do. Gives the report.
    """
    report, expected = report_of(folder), report_of(whole)
    truth = {file.id: (file, flow) for file, flow in flows(expected)}
    found = {file.id: (file, flow) for file, flow in flows(report)}
    assert found.keys() == truth.keys()
    claimed = {REPORT} | {path.name for path in (folder / LINES, *beside) if path.exists()}
    lost = 0
    for number, (file, flow) in found.items():
        lost += _check_stream(folder, whole, file, flow, truth[number], claimed)
    for file in report.files:
        if file.id not in found:
            _check_derived(folder, file, claimed)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == claimed
    _check_objects(folder)
    ours, all_of_it = counters(report), counters(expected)
    for name in ("packets", "packets.tcp", "connections", "streams", "bytes.payload"):
        assert ours[name] == all_of_it[name], name
    assert ours["bytes.written"] + lost == all_of_it["bytes.written"]
    return report


def _check_stream(
    folder: Path, whole: Path, file: Any, flow: dict[str, str], truth: tuple[Any, dict[str, str]], claimed: set[str]
) -> int:
    """Bytes of one stream that are not there, and marked so."""
    name, words = file.tags["filename"], flow["completeness"].split()
    expected = (whole / truth[0].tags["filename"]).read_bytes()
    lost = int(truth[1]["written"]) - int(flow["written"])
    if "absent" in words:
        assert not os.path.lexists(folder / name)
        assert (file.tags["filesize"], flow["written"], file.hashes) == ("0", "0", {})
        assert "limited" in words
        return lost
    claimed.add(name)
    if "conflict_file" in flow:
        claimed.add(flow["conflict_file"])
    data = (folder / name).read_bytes()
    assert len(data) == int(file.tags["filesize"])
    if "md5" in file.hashes:
        assert file.hashes["md5"] == hashlib.md5(data).hexdigest()
    else:
        assert "limited" in words
    assert sum(int(run["len"]) for run in file.runs if "fill" not in run) == int(flow["written"])
    if lost or data != expected:
        assert "limited" in words, (name, words)
        assert expected.startswith(data) or "conflicts" in truth[1]["completeness"]
    return lost


def check_appended(folder: Path, whole: Path) -> Report:
    """As ``check``, of runs with -R: rows are of files, and each has a flow element for every connection in it.

    What a file has of a connection is what it has in ``whole``, at the same place.
    """
    report, expected = report_of(folder), report_of(whole)
    truth = {_whose(flow): (file, flow) for file, flow in flows(expected)}
    rows = {file.id: file for file, _ in flows(report)}
    found = {_whose(flow): flow for _, flow in flows(report)}
    assert found.keys() == truth.keys()
    claimed = {REPORT}
    for file in rows.values():
        mine = [flow for row, flow in flows(report) if row is file]
        claimed |= {flow["conflict_file"] for flow in mine if "conflict_file" in flow}
        _check_shared(folder, whole, file, mine, truth[_whose(mine[0])][0], claimed)
    lost = 0
    for whose, flow in found.items():
        lost += (less := int(truth[whose][1]["written"]) - int(flow["written"]))
        assert not less or "limited" in flow["completeness"], flow
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == claimed
    ours, all_of_it = counters(report), counters(expected)
    for name in ("packets", "packets.tcp", "connections", "streams", "bytes.payload"):
        assert ours[name] == all_of_it[name], name
    assert ours["bytes.written"] + lost == all_of_it["bytes.written"]
    assert ours["files"] == sum(name != REPORT and "conflicts-" not in name for name in claimed)
    return report


def _whose(flow: dict[str, str]) -> tuple[str, str]:
    return flow["connection"], flow["direction"]


def _check_shared(
    folder: Path, whole: Path, file: Any, mine: list[dict[str, str]], truth: Any, claimed: set[str]
) -> None:
    """One file that streams share is as its row says."""
    name = file.tags["filename"]
    runs = [run for run in file.runs if "fill" not in run]
    assert sum(int(run["len"]) for run in runs) == sum(int(flow["written"]) for flow in mine)
    if all("absent" in flow["completeness"] for flow in mine):
        assert not os.path.lexists(folder / name)
        assert file.tags["filesize"] == "0"
        return
    claimed.add(name)
    data, expected = (folder / name).read_bytes(), (whole / truth.tags["filename"]).read_bytes()
    assert len(data) == int(file.tags["filesize"])
    limited = any("limited" in flow["completeness"] for flow in mine)
    assert file.hashes.get("md5") == hashlib.md5(data).hexdigest() or (limited and not file.hashes)
    for run in runs:
        at, size = int(run["file_offset"]), int(run["len"])
        assert data[at : at + size] == expected[at : at + size]
    assert limited or data == expected


def _check_derived(folder: Path, file: Any, claimed: set[str]) -> None:
    """A file that was derived is as its row says."""
    name = file.tags["filename"]
    claimed.add(name)
    data = (folder / name).read_bytes()
    assert len(data) == int(file.tags["filesize"])
    for kind, digest in file.hashes.items():
        assert digest == hashlib.new(kind, data).hexdigest()


def _check_objects(folder: Path) -> None:
    if (folder / LINES).exists():
        for record in map(json.loads, (folder / LINES).read_text().splitlines()):
            if record["file"] is None:
                assert "limited" in record["completeness"] or not record["size"]
            else:
                data = (folder / record["file"]).read_bytes()
                assert (len(data), hashlib.sha256(data).hexdigest()) == (record["size"], record["sha256"])


@dataclass
class Writes:
    """The calls that put something on a disk beneath a folder: counted, and some of them refused."""

    folder: Path
    refused: Callable[[int], bool]
    number: int = errno.ENOSPC
    count: int = 0

    def meet(self, descriptor: int) -> None:
        """One more; OSError if it is refused."""
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(self.folder)):
            self.check()

    def check(self) -> None:
        self.count += 1
        if self.refused(self.count):
            raise OSError(self.number, os.strerror(self.number))


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, writes: Writes) -> Iterator[Writes]:
    """Every call of this process that writes into the folder, or makes a file or a folder there, asks first."""
    with monkeypatch.context() as patch:
        patch.setenv(CHOICE, "twin")  # the calls of the one in C cannot be asked
        for name in ("write", "writev", "pwrite", "pwritev", "ftruncate"):
            patch.setattr(os, name, _asking(getattr(os, name), writes))
        opened = os.open

        def asked(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            inside = str(path).startswith(str(writes.folder)) if dir_fd is None else True
            if flags & os.O_CREAT and inside and not str(path).startswith("/dev"):
                writes.check()
            return opened(path, flags, mode, dir_fd=dir_fd)

        patch.setattr(os, "open", asked)
        yield writes


def _asking(call: Callable[..., Any], writes: Writes) -> Callable[..., Any]:
    def asking(descriptor: int, *rest: Any) -> Any:
        writes.meet(descriptor)
        return call(descriptor, *rest)

    return asking


def on_a_disk(
    folder: Path, options: str, *words: object, limit: str = "", timeout: float = 30
) -> tuple[Finished, Path]:
    """A run whose output lies on a disk (tmpfs) of its own, made with these options; how it ended, and a copy of what
    it left. ``limit``: a command of the shell to be given before. It needs the right to mount, here or in a namespace.
    """
    disk, copy = folder / "disk", folder / "copy"
    disk.mkdir()
    script = f'mount -t tmpfs -o {options} none "$1" || exit 99; cd "$2"; shift 2; {limit}\n'
    script += f'"$@"; status=$?; cp -a {disk}/out {copy}; exit $status'
    apart = [] if os.geteuid() == 0 else ["-Ur"]
    command = [*COMMAND, *map(str, words), "-o", str(disk / "out")]
    try:
        done = subprocess.run(
            ["unshare", *apart, "-m", "sh", "-c", script, "sh", str(disk), str(ROOT), *command],
            env=environment(), capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("unshare is not there")
    if done.returncode == 99 or done.stderr.startswith("unshare: "):
        pytest.skip("may not mount a file system")
    assert not (copy / MARKER).exists(), done.stderr
    return Finished(done.returncode, done.stdout, done.stderr), copy
