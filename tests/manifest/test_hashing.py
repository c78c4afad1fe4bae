"""Hashes of many files by several processes, and of inputs beside their reading."""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline.config import Config, Live
from pipeline.errors import InternalError
from pipeline.manifest import hashing, making
from pipeline.manifest.hashing import Job, hash_files
from pipeline.manifest.inputs import InputHashes, Passing
from pipeline.reading import InputFacts
from pipeline.spool.feed import Unreadable, open_feed
from tests.manifest.proven import told


def tree(folder: Path) -> list[Job]:
    """Files of all sizes around those that are read at once, in folders, one of them longer than all the others."""
    rng = random.Random(1)
    sizes = [0, 1, *(rng.randrange(1 << 20, 5 << 20) for _ in range(5)), *(rng.randrange(5000) for _ in range(200))]
    jobs = []
    for n, size in enumerate(sizes):
        name = f"{n % 7}/{n % 3}/{n}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(rng.randbytes(size))
        jobs.append(Job(name, size, exact=False))
    return [*jobs, Job(str(folder / jobs[-1].name), 0, exact=False), Job("0/none", 9, exact=True)]


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_any_number_of_processes_finds_the_same(
    tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the jobs, what is missing as an outcome among them."""
    monkeypatch.setattr(hashing, "_WORTH_IT", 1)
    jobs = tree(tmp_path)
    found = hash_files(tmp_path, jobs, processes)
    for job, each in zip(jobs[:-1], found, strict=False):
        data = (tmp_path / job.name).read_bytes()
        assert (each.size, each.digest, each.problem) == (len(data), hashlib.sha256(data).digest(), 0)
    assert (found[-1].digest, os.strerror(found[-1].problem)) == (b"", "No such file or directory")


def test_a_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no manifest with zeros in it, and no process stays."""

    def die(*_: object) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    monkeypatch.setattr(hashing, "_WORTH_IT", 1)
    monkeypatch.setattr(hashing, "hash_one", die)
    with pytest.raises(InternalError, match=r"hashes-0 .* was ended by SIGKILL"):
        hash_files(tmp_path, tree(tmp_path), 2)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_mapped_inputs_are_hashed_in_their_turn(tmp_path: Path) -> None:
    """Several at once, whatever was asked first; ``finish`` waits for all."""
    hashes, wanted = InputHashes(), []
    for n in range(5):
        path = tmp_path / str(n)
        path.write_bytes(os.urandom(9 << 20))
        facts = InputFacts(path, path.stat().st_size)
        with path.open("rb") as file:
            hashes.beside(facts, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        wanted.append((facts, (hashlib.sha256(path.read_bytes()).hexdigest(), 9 << 20, "")))
    hashes.finish()
    hashes.finish()
    assert [facts.digest for facts, _ in wanted] == [digest for _, digest in wanted]


@pytest.mark.parametrize("taken", [0, 10, 3 << 20])
def test_the_rest_of_a_file_counts(tmp_path: Path, taken: int) -> None:
    """What nobody read of a file (behind the end of a compressed stream) is in its hash."""
    (tmp_path / "a").write_bytes(data := os.urandom(3 << 20))
    feed = open_feed(tmp_path / "a")
    facts = InputFacts(tmp_path / "a", len(data))
    hashing_ = Passing(facts, feed)
    while feed.position < taken:
        feed.readinto(memoryview(bytearray(min(7777, taken - feed.position))))
    hashing_.finish()
    feed.close()
    assert facts.digest == (hashlib.sha256(data).hexdigest(), len(data), "")


def test_a_bad_sector_leaves_no_hash(tmp_path: Path) -> None:
    """Zeros stand for what storage does not give: that is not the file as it lies there, and it is said."""
    (tmp_path / "a").write_bytes(b"abc")
    feed = open_feed(tmp_path / "a")
    facts = InputFacts(tmp_path / "a", 3)
    passing = Passing(facts, feed)
    feed.unreadable.append(Unreadable(0, 3, "input/output error"))
    passing.finish()
    feed.close()
    assert facts.digest == ("", 3, "it could not be read as it lies there")


def test_a_live_capture_has_no_hash_and_says_so(tmp_path: Path) -> None:
    """The interfaces are the input; kept packets are named among the options."""
    config = Config(inputs=(Path("eth0"),), output=tmp_path, report=tmp_path / "report.xml")
    (tmp_path / "report.xml").write_text("<dfxml/>\n")
    making.make_of_run(replace(config, manifest=True, live=Live(("eth0",))), [{"size": None}], 0)
    assert told(tmp_path)["inputs"] == [
        {"name": "eth0", "note": "a live capture has no bytes to hash but the streams'", "sha256": None, "size": 0}
    ]
