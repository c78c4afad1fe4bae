"""The n-th write of a run fails, for every n: nothing breaks, and what is lost is marked."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.build import write_pcap
from tests.faults.disks import Writes, check, failing, talks
from tests.forms import crossed
from tests.runs import counters, run_here

WORDS = ("-md5", "--workers", 0, "--batch-packets", 20)
FOUND = ("-a", "-e", "http")
BEGUN = 14
"""Writes before the first packet: marker, scratch folder, fragments."""


def lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: range, number: int, *more: str, lasting: bool = False
) -> int:
    """Runs in which these writes fail, each with some more, since those of a message are tried twice, or, if
    ``lasting``, with more of them; how many runs lost something."""
    capture = write_pcap(tmp_path / "x.pcap", talks(), nanoseconds=True)
    assert run_here("-r", capture, "-o", tmp_path / "whole", *WORDS, *more).status == 0
    touched = 0
    for n in which:
        out = tmp_path / f"out-{n}"
        refused = range(n, n + 60) if lasting else range(n, n + 20)
        writes = Writes(out, refused.__contains__, number)
        with failing(monkeypatch, writes):
            done = run_here("-r", capture, "-o", out, *WORDS, *more)
        assert done.status in {0, 4}, (n, done.err)
        assert "internal error" not in done.err
        if not (out / "report.xml").exists():
            assert (done.status, done.err.count("error: ")) == (4, 1), (n, done)
            assert n <= BEGUN or writes.count - n < 30 or lasting, (n, done.err)
            continue
        report = check(out, tmp_path / "whole")
        failed = counters(report).get("write_errors", 0)
        assert (done.status == 4) == bool(failed), (n, done.err)
        touched += bool(failed)
    return touched


def test_what_stands_beside_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--flows, --packet-map, --manifest: one that a disk does not take is left out, told, and counted; the report and
    the streams are complete without it."""
    capture = write_pcap(tmp_path / "x.pcap", talks(3), nanoseconds=True)
    words = ("-r", capture, *WORDS, "--packet-map", "--manifest", "--flows")
    assert run_here(*words, tmp_path / "flows", "-o", tmp_path / "whole").status == 0
    with failing(monkeypatch, writes := Writes(tmp_path / "none", lambda _: False)):
        assert run_here(*words, tmp_path / "none.flows", "-o", tmp_path / "none").status == 0
    touched = set()
    for n in range(writes.count - 30, writes.count + 1):
        out, lines = tmp_path / f"out-{n}", tmp_path / f"out-{n}.flows"
        with failing(monkeypatch, Writes(out, range(n, n + 1).__contains__)):
            done = run_here(*words, lines, "-o", out)
        assert "internal error" not in done.err
        if not (out / "report.xml").exists():
            assert done.err.count("error: ") == 1, (n, done.err)
            continue
        lists = {path: path.exists() for path in (lines, out / "packet-map.tsv", out / "manifest.json")}
        gone = {path.suffix for path, there in lists.items() if not there}
        failed = counters(check(out, tmp_path / "whole", beside=[path for path in lists if path.parent == out]))
        assert failed.get("write_errors", 0) >= len(gone - {".json"}), (n, done.err)
        assert (done.status == 4) == bool(failed.get("write_errors") or gone), (n, done.err)
        assert all(f"{path}" in done.err for path, there in lists.items() if not there), (n, done.err)
        touched |= gone
    assert touched == {".flows", ".tsv", ".json"}


@pytest.mark.parametrize(
    ("number", "more"), crossed([(errno.EIO, ()), (errno.ENOSPC, FOUND)], [errno.ENOSPC, errno.EIO], [(), FOUND])
)
def test_a_write_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, more: tuple[str, ...]
) -> None:
    """Disk full or bad: whichever write it is, no crash and no loss that is not marked."""
    assert lose(tmp_path, monkeypatch, range(1, 200, 19), number, *more) > 3
