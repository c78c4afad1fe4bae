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
    """Runs in which these writes fail, one each or, if ``lasting``, all from there on; how many runs lost something."""
    capture = write_pcap(tmp_path / "x.pcap", talks(), nanoseconds=True)
    assert run_here("-r", capture, "-o", tmp_path / "whole", *WORDS, *more).status == 0
    touched = 0
    for n in which:
        out = tmp_path / f"out-{n}"
        refused = range(n, n + 60) if lasting else range(n, n + 1)
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


@pytest.mark.parametrize(
    ("number", "more"), crossed([(errno.EIO, ()), (errno.ENOSPC, FOUND)], [errno.ENOSPC, errno.EIO], [(), FOUND])
)
def test_a_write_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, more: tuple[str, ...]
) -> None:
    """Disk full or bad: whichever write it is, no crash and no loss that is not marked."""
    assert lose(tmp_path, monkeypatch, range(1, 200, 19), number, *more) > 3
