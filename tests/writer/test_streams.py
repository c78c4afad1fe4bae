"""Streams that are written in one piece, and kept as less, beside those that are not."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from pipeline.writer import writer as writer_module
from pipeline.writer.folder import Folder
from pipeline.writer.folder import Piece as Bytes
from pipeline.writer.streams import Streams
from tests.writer.feed import Bench, Closing, Piece, name_of, whole

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


@pytest.mark.parametrize("md5", [False, True])
@pytest.mark.parametrize("passing", [False, True])
def test_a_stream_of_one_piece_is_told_as_any_other(tmp_path: Path, *, passing: bool, md5: bool) -> None:
    """Files, rows and counters are those of a writer that makes no difference."""
    for seed in range(4):
        told: list[Any] = []
        for simple in (False, True):
            folder = tmp_path / f"{seed}-{simple}"
            folder.mkdir()
            with (
                patch.object(writer_module, "are_simple", return_value=simple),
                patch.object(Folder, "overflows", return_value=passing),
            ):
                bench = Bench(folder, md5=md5)
                tell(bench, seed)
                rows = bench.rows()
            told.append((rows, bench.writer.counters, {name: bench.content(name) for name in bench.names()}))
        assert told[0] == told[1]


def test_most_are_kept_as_less(tmp_path: Path) -> None:
    """A stream that is written at once is no Stream until something else happens to it."""
    bench = Bench(tmp_path)
    streams = bench.writer._streams
    bench.say(opened=[2, 3, 4], data=[Piece(2, 0, b"two"), Piece(3, 0, b"three")])
    assert (dict(streams), set(streams.begun), set(streams.singles), streams.open) == ({}, {4}, {2, 3}, 3)
    bench.say(data=[Piece(3, 5, b"more"), Piece(4, 2, b"late")])
    assert (set(streams), set(streams.begun), set(streams.singles), streams.open) == ({3, 4}, set(), {2}, 3)
    bench.say(closed=[whole(2, 3)])
    assert streams.open == 2
    with pytest.raises(KeyError):
        streams[2]


@pytest.mark.parametrize("most", [0, 1, 4])
def test_a_short_write_is_completed(tmp_path: Path, most: int) -> None:
    """A file that is made, written and closed at once has all its bytes, whatever one call takes of them."""
    real = os.writev

    def short(descriptor: int, pieces: Sequence[Bytes]) -> int:
        return real(descriptor, [b"".join(pieces)[:most]])

    folder = Folder(tmp_path)
    streams = Streams(folder, md5=False)
    streams.passing = True
    streams.begin(2, None, "name", b"")  # type: ignore[arg-type]  # who it is does not matter here
    with patch.object(os, "writev", short):
        streams.write(2, [b"some ", b"bytes"], 10)
    folder.shut()
    assert (tmp_path / "name").read_bytes() == b"some bytes"


def test_a_name_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    """What somebody else has there stays, a link is not followed, and the stream's file is called something else."""
    with patch.object(Folder, "overflows", return_value=True):
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
