"""Small pieces that are written together: the files and digests are those of pieces that are written one by one."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from pathlib import Path

import pytest

from pipeline.report.placing import output_error
from pipeline.writer.folder import Folder
from tests.writer.feed import Bench, Closing, Piece, name_of

STREAM = 2 << 1


def say_all(bench: Bench, order: list[int], step: int, batches: int) -> bytes:
    """Pieces of ``step`` bytes, in this order, in so many batches; what their file has to hold."""
    content = random.Random(5).randbytes(step * (max(order) + 1))
    for i in range(batches):
        part = order[i * len(order) // batches : (i + 1) * len(order) // batches]
        pieces = [Piece(STREAM, step * n, content[step * n : step * (n + 1)]) for n in part]
        bench.say(opened=[] if i else [STREAM], data=pieces)
    return content


@pytest.mark.parametrize("step", [1, 3, 700, 2000])
@pytest.mark.parametrize("kind", ["reversed", "alternating", "random", "with holes"])
def test_bytes_in_any_order_are_the_file(kind: str, step: int, tmp_path: Path) -> None:
    """Pieces backwards, every other one first, at random, or with some missing: the file has them in their places."""
    count = 120
    numbers = list(range(count))
    order = {
        "reversed": numbers[::-1],
        "alternating": numbers[1::2] + numbers[::2],
        "random": random.Random(3).sample(numbers, count),
        "with holes": random.Random(4).sample(numbers[1::3], count // 3),
    }[kind]
    bench = Bench(tmp_path)
    content = bytearray(say_all(bench, order, step, 3))
    for n in set(range(max(order))) - set(order):
        content[step * n : step * (n + 1)] = bytes(step)
    assert (bench.out / name_of(STREAM)).read_bytes() == content
    runs = [(0, len(content))] if kind != "with holes" else [(step * n, step) for n in sorted(order)]
    bench.say(closed=[Closing(STREAM, len(content), runs)])
    [row] = bench.rows()
    assert row.hashes["md5"] == hashlib.md5(content).hexdigest()


def test_few_calls_write_many_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversarial reordering: of a thousand bytes with holes between them, a batch needs a few calls of the system."""
    calls = []
    pwritev = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda *args: calls.append(1) or pwritev(*args))
    bench = Bench(tmp_path)
    say_all(bench, random.Random(3).sample(range(0, 4000, 2), 1000), 1, 2)
    assert len(calls) < 20


def test_what_cannot_be_written_together_is_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses what is larger than a piece has every piece in its place all the same."""
    write = Folder.write

    def refuse(folder: Folder, file: object, pieces: object, size: int, offset: int) -> None:
        if size > 1:
            raise output_error("write to", folder.path, OSError(errno.ENOSPC, "no space"))
        write(folder, file, pieces, size, offset)  # type: ignore[arg-type]

    monkeypatch.setattr(Folder, "write", refuse)
    bench = Bench(tmp_path)
    content = say_all(bench, list(range(1, 100, 2)), 1, 2)
    assert (bench.out / name_of(STREAM)).read_bytes()[1::2] == content[1::2]
