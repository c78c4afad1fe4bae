"""Somebody plants links and pipes where a run is about to write: none is followed, none is changed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.build import write_pcap
from tests.faults.disks import talks
from tests.forms import crossed
from tests.runs import REPORT, counters, report_of, run_apart, run_here

FOUND = ("-a", "-e", "http", "--packet-map", "-md5")


def plant(path: Path, kind: str, victim: Path) -> None:
    """A link to somebody's file, one to nowhere, a hard link to the file, or a pipe that nobody reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "dangling link":
        path.symlink_to(victim.with_name("nowhere"))
    elif kind == "hard link":
        os.link(victim, path)
    else:
        os.mkfifo(path)


@pytest.mark.parametrize(
    ("kind", "workers"),
    crossed(
        [("link", 0), ("dangling link", 0), ("hard link", 2), ("pipe", 0)],
        ["link", "dangling link", "hard link", "pipe"],
        [0, 2],
    ),
)
def test_planted_at_every_name(tmp_path: Path, kind: str, workers: int) -> None:
    """At the names of all streams, their conflicts, their findings and objects: the run completes beside them, under
    other names, and says so."""
    capture = write_pcap(tmp_path / "x.pcap", talks(), nanoseconds=True)
    words = ("-r", capture, *FOUND)
    assert run_here(*words, "-o", tmp_path / "whole", "--workers", 0).status == 0
    lists = {REPORT, "objects.jsonl", "packet-map.tsv"}
    names = [str(path.relative_to(tmp_path / "whole")) for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    names = [name for name in names if name not in lists]
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_bytes(b"mine")
    for name in names:
        plant(out / name, kind, victim)
    planted = {name: os.lstat(out / name).st_ino for name in names}
    done = (run_apart if workers else run_here)(*words, "-o", out, "--workers", workers)
    assert done.status == 0, done.err
    assert victim.read_bytes() == b"mine"
    assert not victim.with_name("nowhere").exists()
    assert {name: os.lstat(out / name).st_ino for name in names} == planted
    assert "is taken by a file of somebody else's" in done.err
    told = int(re.search(r"([0-9,]+) more", done.err)[1].replace(",", ""))  # type: ignore[index]
    assert told > len(names) // 3  # what has another name derives others
    ours, undisturbed = report_of(out), report_of(tmp_path / "whole")
    assert counters(ours)["bytes.written"] == counters(undisturbed)["bytes.written"]
    digests = [sorted(file.hashes.items()) for file in ours.files]
    assert sorted(digests) == sorted(sorted(file.hashes.items()) for file in undisturbed.files)


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe"])
@pytest.mark.parametrize("name", [REPORT, "objects.jsonl", "packet-map.tsv", "flowshard.incomplete", "flowshard.run"])
def test_planted_at_fixed_names(tmp_path: Path, name: str, kind: str) -> None:
    """What stands at a name that nobody chooses stops the run before anything is written, with or without
    --overwrite, unless it is a plain file that --overwrite may replace."""
    capture = write_pcap(tmp_path / "x.pcap", talks(1))
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_bytes(b"mine")
    plant(out / name, kind, victim)
    assert run_here("-r", capture, "-o", out, "--workers", 0, *FOUND).status in {2, 4}
    run_here("-r", capture, "-o", out, "--workers", 0, "--overwrite", *FOUND)
    assert victim.read_bytes() == b"mine"
    assert not victim.with_name("nowhere").exists()
