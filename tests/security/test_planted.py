"""Somebody plants links and pipes where a run is about to write: none is followed, none is changed."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.destinations import LISTS
from pipeline.parts.cutting import Cut, Cuts
from pipeline.parts.folders import number_of, part_name
from pipeline.stages.inhand import FAULT
from tests.build import pcap_bytes, write_pcap
from tests.faults.disks import talks
from tests.forms import beside, crossed
from tests.live.test_kept import RUN, Source, keeper
from tests.parts.days import PART_BYTES, traffic
from tests.runs import REPORT, counters, report_of, run_apart, run_here

FOUND = ("-a", "-e", "http", "--packet-map", "-md5")
KINDS = pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe"])


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


@KINDS
@pytest.mark.parametrize("name", [REPORT, *LISTS, "flowshard.incomplete", "flowshard.run"])
def test_planted_at_fixed_names(tmp_path: Path, name: str, kind: str) -> None:
    """What stands at a name that nobody chooses stops the run before anything is written, with or without
    --overwrite, unless it is a plain file that --overwrite may replace."""
    capture = write_pcap(tmp_path / "x.pcap", talks(1))
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_bytes(b"mine")
    plant(out / name, kind, victim)
    words = ("-r", capture, "-o", out, "--workers", 0, "--manifest", *FOUND)
    assert run_here(*words).status in {2, 4}
    run_here(*words, "--overwrite")
    assert victim.read_bytes() == b"mine"
    assert not victim.with_name("nowhere").exists()


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "folder", "link to a folder"])
def test_planted_at_the_names_of_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """At the names that the next parts of a run would have, while it is under way: they get others, and it says so."""
    victim, out, pipe = tmp_path / "victim", tmp_path / "out", tmp_path / "pipe"
    os.mkfifo(pipe)
    if kind == "link to a folder":
        victim.mkdir()
    else:
        victim.write_bytes(b"mine")
    planted: list[Path] = []
    true_next = Cuts.next

    def next_part(cuts: Cuts, *facts: Any) -> Cut:
        for seconds in (0, 1):  # what it will be, unless this takes longer
            path = out / part_name(number_of(cuts.folder) + 1, time.time_ns() + seconds * 10**9)
            if kind == "folder":
                plant(path / REPORT, "link", victim)
            else:
                plant(path, kind.partition(" to")[0], victim)
            planted.append(path)
        return true_next(cuts, *facts)

    monkeypatch.setattr(Cuts, "next", next_part)
    with beside(lambda: pipe.write_bytes(pcap_bytes(traffic(), nanoseconds=True))):
        done = run_here("-r", pipe, "-o", out, "--rotate", PART_BYTES, "--workers", 0, "--manifest")
    assert done.status == 0, done.err
    assert done.err.count("is taken by something of somebody else's") == 1
    if kind == "link to a folder":
        assert list(victim.iterdir()) == []
    else:
        assert victim.read_bytes() == b"mine"
    assert not victim.with_name("nowhere").exists()
    ours = [path for path in out.iterdir() if path not in planted]
    assert len(ours) == 1 + len(planted) // 2 > 3
    assert all((path / REPORT).is_file() and (path / "manifest.json").is_file() for path in ours)
    assert kind != "folder" or all([*path.iterdir()] == [path / REPORT] for path in planted)


@KINDS
def test_planted_where_packets_are_kept(tmp_path: Path, kind: str) -> None:
    """At the name of the next file of --keep-packets: it is not written to, and the packets go into a later file."""
    victim, folder, source = tmp_path / "victim", tmp_path / "kept", Source()
    victim.write_bytes(b"mine")
    name = folder / f"{RUN}{0:015}.pcapng"
    plant(name, kind, victim)
    inode = os.lstat(name).st_ino
    files = keeper(folder)
    assert files.add(*source.batch([100, 200]), lambda: False) == 0
    assert files.problem is not None
    assert str(name) in files.problem.message
    files._retry = 0.0  # a second later
    assert files.add(*source.batch([300]), lambda: False) == 1
    files.close()
    assert (victim.read_bytes(), os.lstat(name).st_ino) == (b"mine", inode)
    assert not victim.with_name("nowhere").exists()
    assert len([path for path in folder.iterdir() if path != name]) == 1
    assert (files.counters["kept"], files.counters["write_errors.EEXIST"]) == (1, 1)


@KINDS
@pytest.mark.parametrize("at", ["file", "folder"])
def test_planted_where_a_crash_is_saved(tmp_path: Path, kind: str, at: str) -> None:
    """At the name of what --save-crash keeps: it gets another one. At that of its folder: the run is refused."""
    victim, saved = tmp_path / "victim", tmp_path / "crashes"
    victim.write_bytes(b"mine")
    capture = write_pcap(tmp_path / "x.pcap", talks(), nanoseconds=True)
    name = "crash-worker-0-packet-1"
    plant(saved / f"{name}.pcapng" if at == "file" else saved, kind, victim)
    words = ("-r", capture, "-o", tmp_path / "out", "--workers", 1, "--save-crash", saved)
    done = run_apart(*words, env={FAULT: "worker-0@0"}) if at == "file" else run_here(*words)
    assert victim.read_bytes() == b"mine"
    assert not victim.with_name("nowhere").exists()
    if at == "file":
        assert done.status == 0, done.err
        assert (saved / f"{name}-2.pcapng").is_file()
    else:
        assert (done.status, "is not a folder" in done.err) == (2, True), done.err
        assert not (tmp_path / "out").exists()
