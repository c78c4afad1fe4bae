"""A writer's notes: what is known of its streams when it is dead is what it had done, and no more."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer import notes as module
from pipeline.writer.closing import new_counters
from pipeline.writer.notes import COMPARED, SPAN, Known, Notes, begin, joined, merged, notes_of, read
from workers.contract import INPUT_SHIFT, NO_EXTENTS, Closed, Data, EventBatch, Opened, Parts, Rebases
from workers.events import dtypes


def table(kind: Any, **columns: list[int]) -> Any:
    """With zeros in the columns that are not given."""
    count = len(columns["stream"])
    made = {name: np.zeros((count, 7) if name == "key" else count, dtype) for name, dtype in dtypes(kind).items()}
    return kind(**made | {name: np.array(values, made[name].dtype) for name, values in columns.items()})


def said(**tables: Any) -> EventBatch:
    return EventBatch(0, NO_EXTENTS, **tables)


def opened(*streams: int) -> EventBatch:
    return said(opened=table(Opened, stream=list(streams)))


def written(stream: int, offset: int, size: int, start: int) -> EventBatch:
    return said(data=table(Data, stream=[stream], offset=[offset], size=[size], start=[start], time=[offset]))


def closed(*streams: int) -> EventBatch:
    return said(closed=table(Closed, stream=list(streams)))


def counted(**counts: int) -> dict[str, int]:
    return new_counters() | counts


def spans(known: Known) -> list[tuple[int, ...]]:
    return [tuple(row)[:4] for row in known.spans.tolist()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return notes_of(tmp_path / "fragment-0")


def told(notes: Notes, *events: EventBatch, made: tuple[tuple[int, int, int], ...] = ()) -> None:
    for each in events:
        notes.about(each, 1)
        for file in made:
            notes.made(*file)
        notes.done(counted(duplicate=7))


def test_what_is_done_is_known(path: Path) -> None:
    """Streams, their pieces, files and moves; of each worker what it told; counters of the last message."""
    notes = Notes(path, 2)
    told(notes, opened(4, 6), written(4, 0, 10, 100), written(4, 10, 5, 110), written(6, 0, 3, 200), made=((4, 8, 9),))
    told(notes, said(rebases=table(Rebases, stream=[4], origin=[-5]), parts=table(Parts, stream=[6], offset=[99])))
    known = read(path)
    assert known.opened is not None
    assert known.opened.stream.tolist() == [4, 6]
    assert spans(known) == [(4, 0, 15, 100), (6, 0, 3, 200)]
    assert known.moves == [(4, "rebases", -5), (6, "parts", 99)]
    assert known.files == {4: {(8, 9)}}
    assert known.told == {1: [18, 0, 2]}
    assert {name: known.counters[name] for name in COMPARED} == dict.fromkeys(COMPARED, 0) | {"duplicate": 7}
    assert known.undone is None


def test_what_was_about_to_be_done_is_told_apart(path: Path) -> None:
    """A message that a writer died over: nothing of it counts as done, but that a stream has begun that has a file."""
    notes = Notes(path, 2)
    told(notes, opened(4), written(4, 0, 10, 100))
    moved = said(opened=table(Opened, stream=[8, 10]), rebases=table(Rebases, stream=[4], origin=[-5]))
    notes.about(moved._replace(data=written(4, -5, 5, 110).data), 1)
    notes.made(10, 8, 9)
    known = read(path)
    assert spans(known) == [(4, 0, 10, 100)]
    assert known.told == {1: [10, 0, 2]}
    assert known.moves == []
    assert known.opened is not None
    assert known.opened.stream.tolist() == [4, 10]
    assert known.undone is not None
    assert known.undone.opened is not None
    assert known.undone.opened.stream.tolist() == [8]
    assert known.undone.moved == {4}
    assert known.undone.spans["low"].tolist() == [-5]


def test_streams_are_forgotten_when_their_rows_are_on_disk(path: Path) -> None:
    """A stream that was closed is known until then, and its bytes count all the same."""
    notes = Notes(path, 2)
    told(notes, opened(4, 6), written(4, 0, 10, 100), written(6, 0, 3, 200), closed(4), made=((4, 8, 9),))
    assert spans(read(path)) == [(4, 0, 10, 100), (6, 0, 3, 200)]
    notes.check({"": [1000, 1]}, counted(rows=1))
    told(notes, closed(6))
    known = read(path)
    assert known.opened is not None
    assert (known.opened.stream.tolist(), spans(known), known.files) == ([6], [(6, 0, 3, 200)], {})
    assert (known.ends, known.counters["rows"], known.told) == ({"": [1000, 1]}, 1, {1: [13, 0, 2]})


def test_notes_that_are_made_shorter_say_the_same(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever that is done; and the file stays as small as what is open."""
    rng = random.Random(1)
    other = notes_of(tmp_path / "fragment-1")
    both = Notes(path, 2), Notes(other, 2)
    for n in range(0, 4000, 2):
        events = [opened(n), *(written(n, 10 * i, 10, 1000 * n + 10 * i) for i in range(rng.randrange(4)))]
        events += [closed(n - 100)] if n >= 100 else []
        for notes, least in zip(both, (4096, 1 << 30), strict=True):
            monkeypatch.setattr(module, "_LEAST", least)
            notes._most = min(notes._most, least) if n == 0 else notes._most
            told(notes, *events, made=((n, 1, n),))
            if n % 20 == 0:
                notes.check({"": [n, n]}, counted(rows=n))
    short, long = read(path), read(other)
    assert path.stat().st_size * 4 < other.stat().st_size
    assert short.opened is not None
    assert long.opened is not None
    assert short.opened.stream.tolist() == long.opened.stream.tolist()
    assert (spans(short), short.moves, short.files, short.told) == (spans(long), long.moves, long.files, long.told)
    assert (short.ends, short.counters) == (long.ends, long.counters)


def test_a_full_disk_makes_them_useless(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """... and whoever reads them hears it; the writer goes on."""
    notes = Notes(path, 2)
    told(notes, opened(4))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "pwrite", full)
    told(notes, written(4, 0, 10, 100))
    notes.check({"": [0, 0]}, counted())
    with pytest.raises(ValueError, match="no room"):
        read(path)


def test_an_heir_counts_on(path: Path, tmp_path: Path) -> None:
    """Connections of a tuple get the numbers behind those that the dead writer gave."""
    notes = Notes(path, 2)
    notes.counts.next[1], notes.counts.owner[1], notes.counts.base[1] = 12, 3, 5
    heir = begin(tmp_path / "fragment-2", 2, tmp_path / "fragment-0")
    assert [list(each) for each in (heir.counts.next, heir.counts.owner, heir.counts.base)] == [[0, 12], [0, 3], [0, 5]]


@given(st.integers(0, 300), st.binary(max_size=8))
def test_notes_that_are_cut_or_changed_are_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, by: bytes
) -> None:
    """ValueError, or what they say: a writer that somebody took over must not end the report with anything else."""
    path = notes_of(tmp_path_factory.mktemp("notes") / "fragment-0")
    notes = Notes(path, 2)
    told(notes, opened(4, 6), written(4, 0, 10, 100), said(parts=table(Parts, stream=[6], offset=[99])))
    text = path.read_bytes()
    behind = 8192 + at
    path.write_bytes(text[:behind] + by + text[behind + len(by) :] if by else text[:behind])
    try:
        read(path)
    except ValueError:
        return


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(0, 1), st.booleans()), max_size=40))
def test_pieces_are_joined_as_their_twin_says(pieces: list[tuple[int, int, int, bool]]) -> None:
    """Stretches of a stream in one input, whatever the order of pieces; each byte in one of them, at its address."""
    ends, rows = [0, 0, 0], []
    for stream, size, source, gap in pieces:
        offset = ends[stream] + gap
        ends[stream] = offset + size
        rows.append((stream, offset, size, source << INPUT_SHIFT | 100 * offset + stream))
    columns = dict(zip(("stream", "offset", "size", "start"), map(list, zip(*rows, strict=True)), strict=False))
    found = merged(np.concatenate([np.empty(0, SPAN), *([joined(table(Data, **columns))] if rows else [])]))
    expected: list[list[int]] = []
    for stream, offset, size, start in sorted(rows):
        last = expected[-1] if expected else [-1, 0, 0, 0]
        if (last[0], last[2], last[3] >> INPUT_SHIFT) == (stream, offset, start >> INPUT_SHIFT):
            last[2] += size
        else:
            expected.append([stream, offset, offset + size, start])
    assert [list(row)[:4] for row in found.tolist()] == expected
    assert int(found["packets"].sum()) == len(rows)
