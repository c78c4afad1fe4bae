"""Who may look at the output, or change it: its owner; and a folder that others may write to is told.

The threat: captures hold secrets, and whoever may write into a folder may replace what lies in it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.build import write_pcap
from tests.example import packets
from tests.runs import run_apart, run_here

WORDS = ("-a", "-e", "http", "--packet-map", "--manifest", "-md5", "-F", "%A/%T-%a-%B.%b")


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_files_are_their_owners(tmp_path: Path, workers: int) -> None:
    """With umask 0: every file 0600, every folder 0700, those of -w, --flows and -X too."""
    capture = write_pcap(tmp_path / "a.pcap", packets())
    top = tmp_path / "top"
    top.mkdir(mode=0o755)
    done = run_apart(
        "-r", capture, "-o", top / "new" / "out", *WORDS, "-w", top / "rest", "--flows", top / "flows",
        "-X", top / "a.xml", "--workers", workers, preexec=lambda: os.umask(0) and None,
    )  # fmt: skip
    assert done.status == 0, done.err
    made = list(top.rglob("*"))
    assert len(made) > 30
    for path in made:
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize(
    ("mode", "whom"), [(0o777, "everybody"), (0o770, "its group"), (0o1777, ""), (0o755, ""), (0o700, "")]
)
def test_a_folder_of_others_is_told_once(tmp_path: Path, mode: int, whom: str) -> None:
    """One warning with what to do; none where the sticky bit keeps others from replacing files."""
    capture = write_pcap(tmp_path / "a.pcap", packets())
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(mode)
    done = run_here("-r", capture, "-o", out, "--workers", 0, "--quiet")
    assert done.status == 0
    assert done.err.count("may replace files there") == (1 if whom else 0)
    assert f"{whom} may replace" in done.err or not whom
