"""Plain streams, with each kernel, beside streams that are not plain; and what the system refuses a kernel."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import PropertyMock, patch

import pytest

from pipeline.errors import OutputError
from pipeline.writer import writer as writer_module
from pipeline.writer.folder import Folder
from pipeline.writer.folder import Piece as Bytes
from pipeline.writer.plain.compiled import Compiled
from pipeline.writer.plain.library import CHOICE
from pipeline.writer.plain.streams import PlainStreams
from pipeline.writer.plain.twin import Twin
from tests.writer.feed import Bench, Closing, Piece, name_of, whole
from tests.writer.kernels import KERNELS

NUMBERS = range(2, 42)


def tell(bench: Bench, seed: int) -> None:
    """Forty streams: some whole at once, some in two messages, some with a hole, a later beginning or a conflict."""
    rng = random.Random(seed)
    kinds = {
        number: rng.choice(["once", "twice", "hole", "earlier", "later", "conflict", "late"]) for number in NUMBERS
    }
    bodies = {number: rng.randbytes(rng.randint(4, 40)) for number in NUMBERS}
    half = {number: len(body) // 2 for number, body in bodies.items()}

    def first(number: int) -> Piece:
        body, kind = bodies[number], kinds[number]
        if kind == "later":
            return Piece(number, 3, body)
        return Piece(number, 0, body[: half[number]] if kind == "twice" else body)

    bench.say(opened=NUMBERS, data=[first(n) for n in NUMBERS if kinds[n] != "late"])
    bench.say(
        rebases=[(n, -2) for n in NUMBERS if kinds[n] == "earlier"],
        data=[
            *(Piece(n, half[n], bodies[n][half[n] :]) for n in NUMBERS if kinds[n] == "twice"),
            *(Piece(n, 0, bodies[n]) for n in NUMBERS if kinds[n] == "late"),
            *(Piece(n, -2, b"<>") for n in NUMBERS if kinds[n] == "earlier"),
            *(Piece(n, 100, b"end") for n in NUMBERS if kinds[n] == "hole"),
        ],
        overlaps=[Piece(n, 1, b"?!") for n in NUMBERS if kinds[n] == "conflict"],
        frontiers=[(n, len(bodies[n])) for n in NUMBERS if kinds[n] == "once" and n % 3],
    )
    ends = {
        "hole": lambda n: Closing(n, 103, [(0, len(bodies[n])), (100, 3)]),
        "later": lambda n: Closing(n, 3 + len(bodies[n]), [(3, len(bodies[n]))]),
        "earlier": lambda n: Closing(n, len(bodies[n]), [(-2, 2 + len(bodies[n]))], -2),
    }
    bench.say(closed=[ends.get(kinds[n], lambda n: whole(n, len(bodies[n])))(n) for n in NUMBERS])


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which one writers have."""
    monkeypatch.setenv(CHOICE, request.param)
    return request.param


def plain(bench: Bench) -> PlainStreams:
    found = bench.writer._streams.plain
    assert found is not None
    return found


def room(files: int) -> Any:
    """Plain streams may have so many files open."""
    return patch.object(Folder, "room_for_lent", new_callable=PropertyMock, return_value=files)


@pytest.mark.parametrize("md5", [False, True])
@pytest.mark.parametrize("files", [0, 7, 512])
def test_a_plain_stream_is_told_as_any_other(tmp_path: Path, kernel: str, files: int, *, md5: bool) -> None:
    """Files, rows and counters are those of a writer that makes no difference."""
    for seed in range(4):
        told: list[Any] = []
        for may_be in (False, True):
            folder = tmp_path / f"{seed}-{may_be}"
            folder.mkdir()
            with patch.object(writer_module, "may_be_plain", return_value=may_be), room(files):
                bench = Bench(folder, md5=md5)
                tell(bench, seed)
                rows = bench.rows()
            told.append((rows, bench.writer.counters, {name: bench.content(name) for name in bench.names()}))
        assert told[0] == told[1]


@pytest.mark.parametrize("files", [0, 512])
def test_files_are_told_of_as_soon_as_they_are_made(tmp_path: Path, kernel: str, files: int) -> None:
    """Of each file, before a byte is written to it: its stream, its device and its inode."""
    told: dict[int, tuple[int, int, int]] = {}

    def made(stream: int, device: int, inode: int) -> None:
        told[stream] = device, inode, (bench.out / name_of(stream)).stat().st_size

    bench = Bench(tmp_path)
    bench.writer.folder.made = made
    with room(files):
        bench.say(opened=[2, 3, 4], data=[Piece(2, 0, b"two"), Piece(3, 0, b"three"), Piece(2, 3, b"!")])
        bench.say(data=[Piece(3, 5, b"more")])
        bench.say(closed=[whole(2, 4), whole(3, 9), Closing(4, 0, [])])
        bench.rows()
    found = {n: os.stat(bench.out / name_of(n)) for n in (2, 3)}
    assert {n: told[n] for n in (2, 3)} == {n: (one.st_dev, one.st_ino, 0) for n, one in found.items()}
    assert (bench.content(name_of(2)), bench.content(name_of(3))) == (b"two!", b"threemore")


def test_which_are_plain(tmp_path: Path, kernel: str) -> None:
    """A stream is no Stream until something else happens to it than bytes in their order."""
    bench = Bench(tmp_path)
    streams = bench.writer._streams
    assert isinstance(plain(bench)._kernel, Twin if kernel == "twin" else Compiled)
    bench.say(opened=[2, 3, 4], data=[Piece(2, 0, b"two"), Piece(3, 0, b"three")])
    assert (dict(streams), streams.open) == ({}, 3)
    bench.say(data=[Piece(3, 5, b"more"), Piece(4, 2, b"late")])
    assert (set(streams), streams.open, 2 in plain(bench), 3 in plain(bench)) == ({4}, 3, True, True)
    bench.say(closed=[whole(2, 3)])
    assert streams.open == 2
    with pytest.raises(KeyError):
        streams[2]


@pytest.mark.parametrize("most", [1, 4])
def test_a_short_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A file that is made, written and closed at once has all its bytes, whatever one call takes of them."""
    monkeypatch.setenv(CHOICE, "twin")
    write = os.pwrite

    def short(descriptor: int, pieces: Sequence[Bytes], offset: int) -> int:
        return write(descriptor, b"".join(pieces)[:most], offset)

    bench = Bench(tmp_path)
    with patch.object(os, "pwritev", short), room(0):
        bench.say(opened=[2], data=[Piece(2, 0, b"some "), Piece(2, 5, b"bytes")])
    bench.say(closed=[whole(2, 10)])
    assert [row.tags["filename"] for row in bench.rows()] == [name_of(2)]
    assert bench.content(name_of(2)) == b"some bytes"


@pytest.mark.parametrize("files", [0, 512])
def test_a_name_that_is_taken_is_left_alone(tmp_path: Path, kernel: str, files: int) -> None:
    """What somebody else has there stays, a link is not followed, and the stream's file is called something else."""
    with room(files):
        bench = Bench(tmp_path)
        victim = tmp_path / "victim"
        victim.write_bytes(b"mine")
        (bench.out / name_of(2)).symlink_to(victim)
        bench.say(opened=[2], data=[Piece(2, 0, b"two")])
        bench.say(closed=[whole(2, 3)])
        rows = bench.rows()
    assert victim.read_bytes() == b"mine"
    assert [bench.content(row.tags["filename"]) for row in rows] == [b"two"]
    assert rows[0].tags["filename"] == name_of(2) + "~1"


@pytest.fixture
def limits() -> Iterator[Callable[[int, int], None]]:
    """Sets soft limits of this process for the time of a test."""
    before: dict[int, tuple[int, int]] = {}

    def limit(which: int, most: int) -> None:
        before.setdefault(which, resource.getrlimit(which))
        resource.setrlimit(which, (most, before[which][1]))

    yield limit
    for which, both in before.items():
        resource.setrlimit(which, both)


def test_a_file_that_may_not_grow(tmp_path: Path, kernel: str, limits: Callable[[int, int], None]) -> None:
    """What the system refuses a kernel is refused as ever: an OutputError that names the file."""
    bench = Bench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, 0, b"some")])
    limits(resource.RLIMIT_FSIZE, 8)
    with pytest.raises(OutputError, match=f"{name_of(2)}: File too large") as caught:
        bench.say(data=[Piece(2, 4, b"much more")])
    assert (caught.value.written, bench.content(name_of(2))) == (4, b"somemuch")


def test_there_are_fewer_descriptors_than_was_believed(
    tmp_path: Path, kernel: str, limits: Callable[[int, int], None]
) -> None:
    """Streams go on when no more files can be opened: others are closed for them."""
    bench = Bench(tmp_path)
    numbers = range(2, 62)
    limits(resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + 12)
    bench.say(opened=numbers, data=[Piece(n, 0, b"a%d" % n) for n in numbers])
    bench.say(data=[Piece(n, len(b"a%d" % n), b"z") for n in numbers])
    bench.say(closed=[whole(n, len(b"a%dz" % n)) for n in numbers])
    assert len(bench.rows()) == len(numbers)
    assert all(bench.content(name_of(n)) == b"a%dz" % n for n in numbers)
