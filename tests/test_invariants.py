"""The same output, bit for bit, for any number of workers and writers and any size of a batch."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.errors import CaptureError
from pipeline.reading import peek
from tests import rough
from tests.effort import one_in_turn, tries
from tests.forms import crossed
from tests.runs import differences, output, reads, run_apart, run_here
from tests.shared import capture, manifest

ONE_PROCESS = ["--workers", 0]
OPTIONS: list[list[object]] = [
    [],
    ["-F", "%A"],
    ["-F", "x"],
    ["-F", "%T-%V"],
    ["-T"],
    ["-C", 100],
    ["--overlap", "last"],
    ["-F", "%B", "-T", "-C", 3000, "--overlap", "last", "tcp and not port 43000"],
]
CAPTURES = [row["file"] for row in manifest() if row["kind"].startswith("pcap")] or ["none"]

BATCHES: dict[str, list[object]] = {
    "batches of 7": [0, "--batch-packets", 7],
    "batches of 1000": [0, "--batch-packets", 1000],
}
PROCESSES: dict[str, list[object]] = {
    "two": [2, "--writers", 1, "--batch-packets", 100],
    "four": [4, "--writers", 2],
    "alone": [1],
    "three": [3],
    "eight": [8],
}


def made_by(captures: list[Path], folder: Path, *words: object, apart: bool = False) -> dict[str, bytes]:
    """The output of a run; all of a shape have the same inputs, so that their reports may agree."""
    runner = run_apart if apart else run_here
    done = runner(*reads(captures), "-o", folder, "-md5", "--quiet", *words)
    assert (done.status, done.out, done.err) == (0, "", ""), done.err
    return output(folder)


@pytest.fixture(scope="module")
def alone(rough_captures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of the rough captures, batches as large as they come."""
    return made_by(rough_captures, tmp_path_factory.mktemp("alone") / "out", *ONE_PROCESS)


def test_what_is_compared_has_everything_in_it(alone: dict[str, bytes]) -> None:
    """The capture behind these tests has conflicts, gaps, parts, later connections, VLANs and IPv6."""
    names = " ".join(alone)
    assert [mark for mark in ("conflicts-", "@", "c0003", "--10.20", "2001:db8::7") if mark not in names] == []
    for word in (b"midstream", b"snapped", b"gaps", b"fill='0'", b"reset", b"reused", b"<tcpflow:conflict "):
        assert word in alone["report.xml"]


@pytest.mark.parametrize(("workers", "writers"), crossed([(1, 1), (2, 2)], [1, 2, 3, 4, 8], [1, 2]))
def test_processes(
    workers: int, writers: int, rough_captures: list[Path], alone: dict[str, bytes], tmp_path: Path
) -> None:
    """Files, times, names and report do not depend on how many workers and writers there are."""
    words = ["--workers", workers, "--writers", writers]
    assert differences(alone, made_by(rough_captures, tmp_path / "out", *words, apart=True)) == []


def test_one_process(rough_captures: list[Path], alone: dict[str, bytes], tmp_path: Path) -> None:
    """--workers 0 makes the same output, whatever --writers says."""
    made = made_by(rough_captures, tmp_path / "out", *ONE_PROCESS, "--writers", 2)
    assert differences(alone, made) == []


@pytest.mark.parametrize("packets", crossed([(7,)], [1, 7, 64, 1000]))
def test_batches(packets: int, rough_captures: list[Path], alone: dict[str, bytes], tmp_path: Path) -> None:
    """The output does not depend on where batches are cut."""
    made = made_by(rough_captures, tmp_path / "out", *ONE_PROCESS, "--batch-packets", packets)
    assert differences(alone, made) == []


def test_small_batches_through_processes(rough_captures: list[Path], alone: dict[str, bytes], tmp_path: Path) -> None:
    """Many batches under way between several processes make the same output, too."""
    words = ["--workers", 3, "--writers", 2, "--batch-packets", 7]
    assert differences(alone, made_by(rough_captures, tmp_path / "out", *words, apart=True)) == []


@pytest.mark.parametrize("key", crossed([(0xFFFFFFFFFFFFFFFF,)], [1, 0xFFFFFFFFFFFFFFFF]))
def test_hash_keys(key: int, rough_captures: list[Path], alone: dict[str, bytes], tmp_path: Path) -> None:
    """Which process a connection is dealt to shows in the report's configuration only."""
    made = made_by(rough_captures, tmp_path / "out", "--workers", 2, "--writers", 2, "--hash-key", key, apart=True)
    told = made["report.xml"].replace(f"hash_key='{key:#x}'".encode(), b"hash_key='0x9e3779b97f4a7c15'")
    assert differences(alone, made | {"report.xml": told}) == []


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, marks=() if words in OPTIONS[1::2] else pytest.mark.slow) for words in OPTIONS],
    ids=lambda words: " ".join(map(str, words)) or "none",
)
def test_options(words: list[object], rough_captures: list[Path], tmp_path: Path) -> None:
    """With coarse names, time stamps, -C or the later bytes winning, batches do not show either."""
    first = made_by(rough_captures, tmp_path / "a", *ONE_PROCESS, *words)
    seven = made_by(rough_captures, tmp_path / "b", *ONE_PROCESS, "--batch-packets", 7, *words)
    assert differences(first, seven) == []


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, marks=() if words in OPTIONS[7:] else pytest.mark.slow) for words in OPTIONS[1:]],
    ids=lambda words: " ".join(map(str, words)),
)
def test_options_through_processes(words: list[object], rough_captures: list[Path], tmp_path: Path) -> None:
    """Which of several writers has a stream does not show, whatever names -F gives."""
    first = made_by(rough_captures, tmp_path / "a", *ONE_PROCESS, *words)
    apart = made_by(rough_captures, tmp_path / "b", "--workers", 4, "--writers", 2, *words, apart=True)
    assert differences(first, apart) == []


def other_seeds(seed: int, folder: Path) -> None:
    (folder / "in").mkdir()
    captures = rough.write(folder / "in", seed, disturbed=6)
    rng = random.Random(seed)
    words = rng.choice(OPTIONS)
    first = made_by(captures, folder / "a", *ONE_PROCESS, *words)
    for packets in (1, rng.randint(2, 20), rng.randint(20, 300)):
        other = folder / f"batches of {packets}"
        made = made_by(captures, other, *ONE_PROCESS, "--batch-packets", packets, *words)
        assert differences(first, made) == [], (words, packets)


@pytest.mark.parametrize("seed", [100])
def test_other_traffic(seed: int, tmp_path: Path) -> None:
    """Nor does other traffic of the kind show where batches were cut."""
    other_seeds(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", tries(42, 12))
def test_much_other_traffic(seed: int, tmp_path: Path) -> None:
    """Nor does any other traffic."""
    other_seeds(200 + seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CAPTURES)
def test_real_captures(name: str, tmp_path: Path) -> None:
    """On captures that were not made by us the output is the same for any processes and batches.

    Each in one size of batches and in one number of processes, which go round; nightly in all of them.
    """
    path = capture(name)
    try:
        peek(path)
    except CaptureError as error:
        pytest.skip(str(error))

    def made_so(shape: str, words: list[object]) -> dict[str, bytes]:
        runner = run_here if words[0] == 0 else run_apart
        done = runner("-r", path, "-o", tmp_path / shape, "-md5", "--quiet", "--workers", *words)
        assert done.status in {0, 3}, done.err
        return output(tmp_path / shape)

    first = made_so("one", [0])
    for shapes in (BATCHES, PROCESSES):
        for shape in one_in_turn(shapes, CAPTURES.index(name)):
            assert differences(first, made_so(shape, shapes[shape])) == [], shape
