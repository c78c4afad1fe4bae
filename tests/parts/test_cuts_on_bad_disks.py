"""Disks that fail while a part is left for the next one: what stands beside reports is left out, nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.writer.writer import Writer
from tests.build import pcap_bytes
from tests.faults.disks import Writes, failing
from tests.forms import beside
from tests.parts.days import PART_BYTES, rows, traffic
from tests.runs import REPORT, Finished, report_of, run_here


def rotated(folder: Path, monkeypatch: pytest.MonkeyPatch, refused: int) -> Finished:
    """A run in parts, in which so many writes into a cut one is refused; 0: none."""
    out, pipe = folder / f"out-{refused}", folder / f"pipe-{refused}"
    os.mkfifo(pipe)
    writes = Writes(out, lambda number: False)
    true_turn = Writer.turn

    def turn(writer: Writer, *args: Any) -> None:
        before, writes.refused = writes.refused, lambda number: number == refused
        writes.count = seen[0]
        try:
            true_turn(writer, *args)
        finally:
            writes.refused, seen[0] = before, writes.count

    seen = [0]

    def feed() -> None:
        try:
            pipe.write_bytes(pcap_bytes(traffic(30), nanoseconds=True))
        except BrokenPipeError:  # the run has ended
            return

    with beside(feed), failing(monkeypatch, writes), monkeypatch.context() as patch:
        patch.setattr(Writer, "turn", turn)
        words = ("--rotate", PART_BYTES, "--workers", 0, "--packet-map", "--flows", "flows")
        return run_here("-r", pipe, "-o", out, *words)


def test_a_cut_on_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write at a cut fails: the run goes on with status 4, every stream is in one report, a part lacks a list
    at most; or, where rows of a report were lost, it ends in one message that names their file."""
    assert rotated(tmp_path, monkeypatch, 0).status == 0
    whole = sorted(str(each) for part in (tmp_path / "out-0").iterdir() for each in rows(report_of(part)))
    gone_on, lacking = 0, set()
    for n in range(1, 18):
        done = rotated(tmp_path, monkeypatch, n)
        assert "internal error" not in done.err
        if "error: " in done.err:
            assert (done.status, done.err.count("error: ")) == (4, 1)
            assert re.search(r"fragment-0(\.part)?(\.index)?: No space", done.err), done.err
            continue
        found = sorted((tmp_path / f"out-{n}").iterdir())
        assert sorted(str(each) for part in found for each in rows(report_of(part))) == whole
        assert all((part / REPORT).is_file() for part in found)
        lists = {part / name for part in found for name in ("flows", "packet-map.tsv")}
        missing = {path for path in lists if not path.exists()}
        assert len(missing) <= 1
        assert all(f"there is no {path}" in done.err for path in missing)
        assert (done.status == 4) >= bool(missing), done.err
        gone_on += done.status == 4
        lacking |= {path.name for path in missing}
    assert gone_on >= 4
    assert lacking == {"flows", "packet-map.tsv"}
