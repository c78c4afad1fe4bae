"""Fragments: committed by rename, private, never in the place of another file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import OutputError
from pipeline.report import fragments, placing
from pipeline.report.derived import DerivedRecord
from pipeline.report.fragments import _BUNCH, INDEX, MARKED, VOID, FragmentWriter, index_path, name_key
from tests.report.samples import derived


def test_rows_and_index(tmp_path: Path) -> None:
    """The index says where each row lies, in the order of adding, through many flushes."""
    path = tmp_path / "0"
    rows = {stream: bytes([stream % 256]) * (stream * 997 % 5000) for stream in range(1000, 0, -1)}
    with FragmentWriter(path) as writer:
        for stream, row in rows.items():
            writer.add([stream], [row], [stream % 3])
        writer.add([], [])
    content = path.read_bytes()
    index = np.fromfile(index_path(path), INDEX)
    assert index["stream"].tolist() == list(rows)
    assert index["name"].tolist() == [stream % 3 for stream in rows]
    for entry, row in zip(index, rows.values(), strict=True):
        assert content[int(entry["offset"]) :][: int(entry["length"])] == row
    assert len(content) == sum(map(len, rows.values())) > 1 << 21


def test_serials_and_voids(tmp_path: Path) -> None:
    """The index has them in the order in which they were said, each void where the next row will lie."""
    with FragmentWriter(tmp_path / "0") as writer:
        writer.add([7, 7], [b"own", b"first"], serials=[0, 1])
        writer.void(7)
        writer.add([9], [b"other"])
        writer.void(9)
    found = np.fromfile(index_path(tmp_path / "0"), INDEX)[["stream", "serial", "offset", "length"]].tolist()
    assert found == [(7, 0, 0, 3), (7, 1, 3, 5), (7, VOID, 8, 0), (9, 0, 8, 5), (9, VOID, 13, 0)]


def test_rows_that_are_made_later(tmp_path: Path) -> None:
    """Of many records together, and of the last ones at the end; those that are void by then are never made."""
    made: list[int] = []

    def make(records: list[DerivedRecord]) -> tuple[list[bytes], list[int]]:
        made.append(len(records))
        return [b"%d" % record.serial for record in records], [record.size for record in records]

    with FragmentWriter(tmp_path / "0") as writer:
        writer.add_later([derived(serial, stream=7, size=0) for serial in range(1, _BUNCH + 1)], make)
        writer.add_later([derived(1, stream=9), derived(1, stream=11, size=MARKED), derived(2, stream=9)], make)
        writer.void(9)
        writer.void(7)
    assert made == [_BUNCH, 1]
    found = np.fromfile(index_path(tmp_path / "0"), INDEX)[["stream", "serial", "name", "length"]].tolist()
    assert found[:1] == [(7, 1, 0, 1)]
    assert found[_BUNCH:] == [(9, VOID, 0, 0), (7, VOID, 0, 0), (11, 1, MARKED, 1)]


def test_nothing_shows_before_close(tmp_path: Path) -> None:
    """A half-written fragment has no final name, and giving it up leaves nothing behind."""
    writer = FragmentWriter(tmp_path / "0")
    writer.add([1], [b"x" * (2 << 20)])
    assert {path.name for path in tmp_path.iterdir()} == {"0.part", "0.part.index"}
    writer.abandon()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), FragmentWriter(tmp_path / "1"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_files_are_private(tmp_path: Path) -> None:
    """Nobody else can read a fragment, whatever the umask."""
    before = os.umask(0)
    try:
        with FragmentWriter(tmp_path / "0") as writer:
            writer.add([1], [b"x"])
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["0.part", "0.part.index"])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str) -> None:
    """A link in the place of a file of ours is an error with a hint, and its target stays as it is."""
    victim = tmp_path / "victim"
    (tmp_path / name).symlink_to(victim)
    with pytest.raises(OutputError) as caught:
        FragmentWriter(tmp_path / "0")
    assert caught.value.hint
    assert not victim.exists()
    assert {path.name for path in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """If it is full to the end: exit 4 with a hint, and nothing that could be merged."""

    def full(descriptor: int, data: object, at: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fragments.os, "pwrite", full)
    with pytest.raises(OutputError) as caught, FragmentWriter(tmp_path / "0") as writer:
        writer.add([1], [b"row"])
    assert caught.value.status == 4
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_short_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes a few bytes at a time gets them all, in order."""
    real = os.writev

    def short(descriptor: int, pieces: list[bytes]) -> int:
        return real(descriptor, [b"".join(pieces)[:5]])

    monkeypatch.setattr(placing.os, "writev", short)
    descriptor = placing.create(tmp_path / "f")
    placing.write_all(descriptor, [b"abc", b"", b"defgh", memoryview(b"ijklmnopq"), b"r"])
    os.close(descriptor)
    assert (tmp_path / "f").read_bytes() == b"abcdefghijklmnopqr"


def test_name_keys() -> None:
    """Names have keys that differ and are never 0, which means "final"."""
    keys = {name_key(name) for name in ("", "a", "b", "\udcff", "é")}
    assert len(keys) == 5
    assert 0 not in keys
