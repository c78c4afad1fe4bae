"""Log flooding: however much goes wrong, a person is told a few lines of it, and how much was not told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import console
from pipeline.console import SELDOM_SECONDS, Seldom
from tests import build as b
from tests.runs import counters, report_of, run_here

MOST_LINES = 10


def told(err: str) -> list[str]:
    """The lines that are messages."""
    return [line for line in err.splitlines() if line.startswith(("warning", "error", "hint"))]


def test_a_warning_of_a_kind_is_told_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log flooding while a run goes on: of each kind one message in ten seconds; how many others there were is told
    with the next one, or at the end."""
    now, said = [100.0], []
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    seldom = Seldom(lambda message, hint: said.append((message, hint)))
    for i in range(1000):
        seldom(f"file {i}: disk full", "make room")
        seldom(f"packets were dropped: {i}", "a larger spool")
    assert said == [("file 0: disk full", "make room"), ("packets were dropped: 0", "a larger spool")]
    now[0] += SELDOM_SECONDS
    seldom("file x: disk full", "make room")
    assert said[2:] == [("file x: disk full (999 more like it were not told)", "make room")]
    seldom.rest()
    assert said[3:] == [("999 more like these were not told", "a larger spool")]
    seldom.rest()
    assert len(said) == 4


def test_damaged_captures_are_told_in_a_few_lines(tmp_path: Path) -> None:
    """Log flooding: a folder of captures, each damaged in several places, is told in ten lines, and how many more
    are damaged."""
    folder = tmp_path / "in"
    folder.mkdir()
    good = b.pcap_bytes(b.Conversation().packets([(0, b"x" * 300)]))
    for i in range(60):
        damaged = good[:24] + b"".join(good[24:] + b"\xff" * (20 + k) for k in range(1 + i % 6))
        (folder / f"{i}.pcap").write_bytes(damaged)
    done = run_here("-r", folder, "-o", tmp_path / "out", "--workers", 0, "--quiet")
    assert done.status == 3
    lines = told(done.err)
    assert len(lines) <= MOST_LINES
    assert " more inputs are damaged" in lines[-2]


def test_foreign_files_are_told_in_a_few_lines(tmp_path: Path) -> None:
    """Log flooding: where foreign files have the names of hundreds of streams, three are told and how many more."""
    packets = [b.Conversation(client=("10.0.0.1", 2000 + i)).say(0, b"data")[0] for i in range(300)]
    capture = b.write_pcap(tmp_path / "in.pcap", packets)
    (tmp_path / "out").mkdir()
    for i in range(300):
        (tmp_path / "out" / f"10.0.0.1.{2000 + i}-10.0.0.2.80").touch()
    done = run_here("-r", capture, "-o", tmp_path / "out", "--workers", 0, "--quiet")
    assert done.status == 0
    lines = told(done.err)
    assert len(lines) == 8
    assert "… and so are 297 more names" in lines[-2]


def test_link_types_are_a_few_counters(tmp_path: Path) -> None:
    """Log flooding by -v: a pcapng whose thousand interfaces claim a link type each has 33 counters of them, the same
    for any batches."""
    frame = b.arp_frame()
    blocks = [b.section(), *(b.interface(link=20_000 + i) for i in range(1000))]
    blocks += [b.enhanced(i, frame, interface_id=7 * i % 1000) for i in range(2000)]
    capture = b.write_pcapng(tmp_path / "in.pcapng", *blocks)
    found = []
    for size in (16_384, 50):
        out = tmp_path / str(size)
        done = run_here("-r", capture, "-o", out, "--workers", 0, "-v", "--batch-packets", size)
        found.append({name: n for name, n in counters(report_of(out)).items() if name.startswith("link.")})
        assert sum(line.startswith("link.") for line in done.err.splitlines()) == 33
    assert found[0] == found[1]
    assert (len(found[0]), sum(found[0].values()), found[0]["link.others"]) == (33, 2000, 2000 - 2 * 32)
