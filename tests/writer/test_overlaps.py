"""Differing runs, and who wins them, against twins that go byte by byte."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer.overlaps import Differing, Overlap, cut, differing, md5, overlaps_of, settle
from tests.writer.feed import Bench, Piece, conflicts, name_of, table, whole
from workers.contract import Overlaps


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"", b"", []),
        (b"same", b"same", []),
        (b"a", b"b", [(0, 1)]),
        (b"abcd", b"Xbcd", [(0, 1)]),
        (b"abcd", b"abcX", [(3, 1)]),
        (b"abcd", b"aXXd", [(1, 2)]),
        (b"abcde", b"XbXdX", [(0, 1), (2, 1), (4, 1)]),
        (b"abcd", b"wxyz", [(0, 4)]),
        (b"\0", b"\x80", [(0, 1)]),
    ],
)
def test_runs(old: bytes, new: bytes, expected: list[tuple[int, int]]) -> None:
    """At the edges, in the middle, everywhere, nowhere; a view is as good as bytes."""
    assert differing(old, memoryview(new)) == [Differing(*run) for run in expected]


@given(st.lists(st.tuples(st.sampled_from(b"ab"), st.sampled_from(b"ab")), max_size=60))
def test_runs_are_maximal(pairs: list[tuple[int, int]]) -> None:
    """Within a run every byte differs; in front of it, behind it and between runs none does."""
    old, new = bytes(a for a, _ in pairs), bytes(b for _, b in pairs)
    slow: list[list[int]] = []
    for at, (a, b) in enumerate(pairs):
        if a != b and slow and sum(slow[-1]) == at:
            slow[-1][1] += 1
        elif a != b:
            slow.append([at, 1])
    assert [list(run) for run in differing(old, new)] == slow


def test_a_version_is_named_by_its_md5() -> None:
    """Views and bytes give one digest."""
    assert md5(b"abc") == md5(memoryview(b"abc")) == hashlib.md5(b"abc").hexdigest()


verdicts = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 1)), min_size=1, max_size=6)


@given(verdicts, st.randoms(use_true_random=False))
def test_what_stays_and_what_loses(verdicts: list[tuple[int, int]], rng: Random) -> None:
    """Byte by byte the later version where it wins, the earlier one elsewhere; the loser is the other one."""
    wins = [won for size, won in verdicts for _ in range(size)]
    old, new = rng.randbytes(len(wins)), rng.randbytes(len(wins))
    stays, loses = settle(old, memoryview(new), verdicts)
    assert bytes(stays) == bytes(b if won else a for a, b, won in zip(old, new, wins, strict=True))
    assert bytes(loses) == bytes(a if won else b for a, b, won in zip(old, new, wins, strict=True))


@given(verdicts, st.data())
def test_a_cut_keeps_its_verdicts(verdicts: list[tuple[int, int]], data: st.DataObject) -> None:
    """Each byte of the piece and what was said of it."""
    wins = [won for size, won in verdicts for _ in range(size)]
    new = bytes(range(len(wins)))
    low = data.draw(st.integers(0, len(wins) - 1))
    high = data.draw(st.integers(low + 1, len(wins)))
    piece = cut(Overlap(2, 100, 7, memoryview(new), verdicts), 100 + low, 100 + high)
    assert (piece.stream, piece.offset, piece.packet, bytes(piece.new)) == (2, 100 + low, 7, new[low:high])
    assert [won for size, won in piece.verdicts for _ in range(size)] == wins[low:high]


def test_rows_of_one_segment_that_touch_are_one_overlap() -> None:
    """Not those of another stream or packet, nor with a byte between."""
    rows = [
        (2, 0, 10, 0, 2, 1, 1), (2, 0, 12, 2, 3, 1, 0), (2, 0, 15, 5, 1, 2, 0), (2, 0, 17, 6, 1, 2, 1),
        (4, 0, 18, 7, 1, 2, 1),
    ]  # fmt: skip
    news = [memoryview(piece) for piece in (b"ab", b"cde", b"f", b"g", b"h")]
    found = list(overlaps_of(table(Overlaps, rows), news))
    assert [(o.stream, o.offset, o.packet, bytes(o.new), list(o.verdicts)) for o in found] == [
        (2, 10, 1, b"abcde", [(2, 1), (3, 0)]), (2, 15, 2, b"f", [(1, 0)]), (2, 17, 2, b"g", [(1, 1)]),
        (4, 18, 2, b"h", [(1, 1)]),
    ]  # fmt: skip


def test_one_conflict_where_both_versions_win_some(tmp_path: Path) -> None:
    """A later segment wins the first bytes and loses the last: one record, both versions whole, hashed as it lies."""
    bench = Bench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, 0, b"abcdef")])
    bench.say(overlaps=[Piece(2, 1, b"XY", 9, wins=True), Piece(2, 3, b"Zef", 9, wins=False)], closed=[whole(2, 6)])
    (row,) = bench.rows()
    assert bench.content(name_of(2)) == b"aXYdef"
    assert row.hashes == {"md5": md5(b"aXYdef")}
    assert conflicts(row) == [{
        "offset": "1", "length": "3", "packet": "9", "winner_md5": md5(b"XYd"), "loser_md5": md5(b"bcZ"),
        "side_offset": "0",
    }]  # fmt: skip
    assert bench.content(f"conflicts-{name_of(2)}") == b"bcZ"
    assert (bench.writer.counters["conflicting"], bench.writer.counters["duplicate"]) == (3, 2)


def test_verdicts_over_two_parts(tmp_path: Path) -> None:
    """Where files meet within an overlap, each piece has its own verdicts and its own record."""
    bench = Bench(tmp_path)
    bench.say(opened=[2], parts=[(2, 4)], data=[Piece(2, 0, b"ab"), Piece(2, 4, b"efgh")])
    bench.say(data=[Piece(2, 2, b"cd")])
    bench.say(
        overlaps=[Piece(2, 2, b"C", 9, wins=False), Piece(2, 3, b"DE", 9, wins=True), Piece(2, 5, b"F", 9, wins=False)],
        closed=[whole(2, 8)],
    )
    (row, _) = bench.rows()
    assert (bench.content(name_of(2)), bench.content(name_of(2) + "@4")) == (b"abcD", b"Efgh")
    assert [(c["offset"], c["length"]) for c in conflicts(row)] == [("2", "2"), ("4", "2")]
    assert bench.content(f"conflicts-{name_of(2)}") == b"Cd" + b"eF"
