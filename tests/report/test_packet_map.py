"""The packet map against a plain model, however its pieces were spread; its commit, damage and failures."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InternalError, OutputError
from pipeline.report import packet_map, placing
from pipeline.report.packet_map import ENTRY, HEADER, MapFragment, merge_maps
from workers.contract import END_OF_INPUT, Data

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1


class Piece(NamedTuple):
    """A row of Data."""

    packet: int
    stream: int
    offset: int
    size: int = 10
    time: int = 1_620_000_000_000_000_001
    start: int = 4096


def table(pieces: Sequence[Piece]) -> Data:
    def column(name: str, kind: type) -> np.ndarray:
        return np.array([getattr(piece, name) for piece in pieces], kind)

    return Data(
        column("stream", np.uint64),
        np.zeros(len(pieces), np.uint8),
        column("offset", np.int64),
        column("start", np.uint64),
        column("size", np.uint32),
        column("packet", np.uint64),
        column("time", np.int64),
    )


def model(pieces: Sequence[Piece], shifts: dict[int, int]) -> str:
    """The map, line by line, from exact integers."""
    made = [HEADER.decode()]
    for piece in sorted(pieces, key=lambda piece: (piece.packet, piece.offset)):
        seconds, fraction = divmod(abs(piece.time), 1_000_000_000)
        image, place = divmod(piece.start, 1 << 48)
        fields = (
            piece.packet,
            piece.stream // 2,
            piece.stream % 2,
            piece.offset + shifts.get(piece.stream, 0),
            piece.size,
            f"{'-' if piece.time < 0 else ''}{seconds}.{fraction:09}",
            image,
            place,
        )
        made.append("\t".join(map(str, fields)) + "\n")
    return "".join(made)


def fragment(path: Path, messages: Sequence[tuple[int, Sequence[Piece]]], shifts: dict[int, int]) -> Path:
    made = MapFragment(path)
    for batch, pieces in messages:
        made.add(batch, table(pieces))
    for stream, by in shifts.items():
        made.shift(stream, by)
    made.close()
    return path


def test_lines(tmp_path: Path) -> None:
    """A line has the packet, connection, direction, place in the file, length, time and place in the input."""
    pieces = [Piece(9, 7, -20, 3, 1_620_000_000_000_000_001, (2 << 48) + 77), Piece(8, 4, 0, 1, -1_500_000_000, 5)]
    path = fragment(tmp_path / "0", [(0, pieces)], {7: 20})
    assert merge_maps([path], tmp_path / "map") == 2
    assert (tmp_path / "map").read_text().splitlines() == [
        "packet connection direction file_offset length time image img_offset".replace(" ", "\t"),
        "8\t2\t0\t0\t1\t-1.500000000\t0\t5",
        "9\t3\t1\t0\t3\t1620000000.000000001\t2\t77",
    ]


def test_numbers_at_their_ends(tmp_path: Path) -> None:
    """Every number that a column can hold is written as it is."""
    pieces = [
        Piece(1, (1 << 64) - 1, LOWEST, (1 << 32) - 1, LOWEST, (1 << 64) - 1),
        Piece((1 << 64) - 1, 0, HIGHEST, 0, HIGHEST, 0),
        Piece(2, 0, -1, 0, -1, (1 << 48) - 1),
        Piece(3, 0, 0, 0, 0, 1 << 48),
    ]
    merge_maps([fragment(tmp_path / "0", [(0, pieces)], {})], tmp_path / "map")
    assert (tmp_path / "map").read_text() == model(pieces, {})


@st.composite
def spread(draw: st.DrawFn) -> tuple[list[Piece], dict[int, int], list[list[tuple[int, list[Piece]]]]]:
    """Pieces, shifts, and messages of fragments that hold them: batches are stretches of packets, a stream
    is in one fragment, and messages come in any order."""
    count = draw(st.integers(1, 3))
    pieces = draw(
        st.lists(
            st.builds(
                Piece,
                st.integers(1, 40),
                st.integers(0, 9),
                st.integers(-100, 100),
                st.integers(0, 2000),
                st.integers(LOWEST, HIGHEST),
                st.integers(0, (1 << 64) - 1),
            ),
            max_size=40,
            unique_by=lambda piece: (piece.packet, piece.offset),
        )
    )
    size = draw(st.integers(1, 45))
    ended = draw(st.integers(1, 60))  # packets from this one on come with the end of the input
    shifts = draw(st.dictionaries(st.integers(0, 11), st.integers(-(1 << 40), 1 << 40)))
    messages: list[list[tuple[int, list[Piece]]]] = [[] for _ in range(count)]
    left = draw(st.permutations(pieces))
    while left:
        piece = left.pop()
        batch = END_OF_INPUT if piece.packet >= ended else piece.packet // size
        home = messages[piece.stream % count]
        if home and home[-1][0] == batch and draw(st.booleans()):
            home[-1][1].append(piece)
        else:
            home.append((batch, [piece]))
    return pieces, shifts, messages


@given(spread())
def test_any_spread_gives_the_same_map(case: tuple[list[Piece], dict[int, int], list]) -> None:
    """The map does not depend on fragments, messages and batches: by packet, then offset, shifts applied."""
    pieces, shifts, messages = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [
            fragment(folder / str(n), held, {s: by for s, by in shifts.items() if s % len(messages) == n})
            for n, held in enumerate(messages)
        ]
        assert merge_maps(paths, folder / "map") == len(pieces)
        assert (folder / "map").read_text() == model(pieces, shifts)


def test_many_pieces(tmp_path: Path) -> None:
    """Writes of a fragment and stretches of text meet without a seam."""
    pieces = [Piece(1 + i // 3, i * 7919 % 1000, i, i % 1460, i * 10**9, i * 1460) for i in range(60_000)]
    even, odd = ([pieces[at : at + 24_000][n::2] for at in range(0, 60_000, 24_000)] for n in range(2))
    paths = [
        fragment(tmp_path / "0", [(2, even[2]), (1, even[1]), (0, even[0])], {3: 1000}),
        fragment(tmp_path / "1", [(0, odd[0]), (2, odd[2])], {}),
        fragment(tmp_path / "2", [(1, odd[1])], {}),
    ]
    merge_maps(paths, tmp_path / "map")
    assert (tmp_path / "map").read_text() == model(pieces, {3: 1000})


def test_no_pieces(tmp_path: Path) -> None:
    """Without pieces, and without fragments, the map is its header."""
    empty = fragment(tmp_path / "0", [(0, [])], {})
    for number, fragments in enumerate([[], [empty], [empty, fragment(tmp_path / "1", [], {1: 1})]]):
        out = tmp_path / f"map{number}"
        assert merge_maps(fragments, out) == 0
        assert out.read_bytes() == HEADER


def test_nothing_shows_before_close(tmp_path: Path) -> None:
    """A half-written fragment has no final name, and giving it up leaves nothing behind."""
    made = MapFragment(tmp_path / "0")
    made.add(0, table([Piece(1, 2, 3)] * 30_000))
    assert {path.name for path in tmp_path.iterdir()} == {"0.part", "0.shifts.part", "0.index.part"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    made.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["0.part", "0.shifts.part", "0.index.part"])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str) -> None:
    """A link in the place of a file of ours is an error; the link and its target stay as they are."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / name).symlink_to(victim)
    with pytest.raises(OutputError, match="cannot create"):
        MapFragment(tmp_path / "0")
    assert {path.name for path in tmp_path.iterdir()} == {"victim", name}
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("damage", ["cut", "short", "index", "order", "gone", "twice"])
def test_an_unsound_fragment_is_a_defect(tmp_path: Path, damage: str) -> None:
    """What does not agree with itself is not merged, and the map of an earlier run stays."""
    path = fragment(tmp_path / "0", [(0, [Piece(1, 2, 3)]), (1, [Piece(4, 5, 6), Piece(7, 8, 9)])], {2: 1})
    index = tmp_path / "0.index"
    if damage == "cut":
        os.truncate(path, 3 * 44 - 1)
    elif damage == "short":
        os.truncate(path, 2 * 44)
    elif damage == "index":
        os.truncate(index, 2 * ENTRY.itemsize - 1)
    elif damage == "order":
        np.fromfile(index, ENTRY)[::-1].tofile(index)
    elif damage == "gone":
        index.unlink()
    else:
        shifts = tmp_path / "0.shifts"
        shifts.write_bytes(shifts.read_bytes() * 2)
    (tmp_path / "map").write_text("earlier")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(InternalError, match="packet map"):
        merge_maps([path], tmp_path / "map")
    assert (tmp_path / "map").read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == before


def fail(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space is an OutputError with a hint, in a fragment and in the merge; nothing of ours stays."""
    path = fragment(tmp_path / "0", [(0, [Piece(1, 2, 3)])], {})
    made = MapFragment(tmp_path / "1")
    made.add(0, table([Piece(1, 2, 3)]))
    monkeypatch.setattr(placing.os, "writev", fail)
    with pytest.raises(OutputError, match="No space left") as full:
        made.close()
    assert full.value.hint
    made.abandon()
    with pytest.raises(OutputError, match=r"cannot write .*map: No space left"):
        merge_maps([path], tmp_path / "map")
    assert {path.name for path in tmp_path.iterdir()} == {"0", "0.shifts", "0.index"}


def test_the_map_is_no_device(tmp_path: Path) -> None:
    """A link or a device is not replaced."""
    (tmp_path / "map").symlink_to("/dev/null")
    with pytest.raises(OutputError, match="not a plain file"):
        merge_maps([], tmp_path / "map")
    assert (tmp_path / "map").is_symlink()


def test_memory_holds_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is put in order and written by itself."""
    seen = []
    true_order = packet_map._in_order

    def watched(rows: np.ndarray) -> np.ndarray:
        seen.append(len(rows))
        return true_order(rows)

    monkeypatch.setattr(packet_map, "_in_order", watched)
    held = [(n % 4, [Piece(n % 4 * 10 + n, 2, n)]) for n in range(8)]
    merge_maps([fragment(tmp_path / "0", held, {})], tmp_path / "map")
    assert seen == [2, 2, 2, 2]
