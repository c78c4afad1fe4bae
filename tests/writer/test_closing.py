"""A stream's end: hashing in blocks, gaps counted, records of what lies on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.writer import closing
from pipeline.writer.closing import close_stream, hash_up_to, new_counters, read_all
from pipeline.writer.folder import Folder
from pipeline.writer.names import Endpoints
from pipeline.writer.stream import Stream
from tests.writer.model import md5
from workers.contract import Closed, CloseReason, Completeness

ENDS = Endpoints("10.0.0.1", 1, "10.0.0.2", 2, (7,), 2)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    yield made
    made.shut()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "_READ", 3)


def stream(folder: Folder, content: bytes, *, with_md5: bool = True) -> Stream:
    made = Stream(6, "name", "", ENDS, bytes(range(12)), md5=with_md5)
    if content:
        folder.write(made.file, [content], len(content), 0)
    return made


def row(**values: int) -> list[int]:
    """A row of Closed; what is not said is a number of its own, so that nothing can be mixed up."""
    values.setdefault("flags", 0)
    return [values.get(name, 1000 + i) for i, name in enumerate(Closed._fields)]


def test_every_number_lands_in_its_place(folder: Folder) -> None:
    """The 19 columns of Closed become the fields of the record that they are meant for."""
    numbers = row(stream=6, origin=0, end=10, written=10, flags=3, reason=int(CloseReason.RESET))
    told = dict(zip(Closed._fields, numbers, strict=True))
    record = close_stream(stream(folder, b"0123456789"), numbers, [(0, 10, 4, 99)], folder, new_counters())
    found = record._asdict()
    for same in ("stream", "written", "overlap", "beyond", "outside", "not_data", "refused", "packets", "length",
                 "flags", "reason"):  # fmt: skip
        assert found[same] == told[same], same
    assert record.payload == told["seen"]
    assert (record.first_ns, record.last_ns) == (told["first"], told["last"])
    assert record.captured == told["length"] - told["clipped"]
    assert record.out_of_order == told["disorder"]
    assert record.runs == [(0, 10, 4, 99)]
    assert (record.filename, record.size, record.md5) == ("name", 10, md5(b"0123456789"))
    assert (record.src, record.sport, record.dst, record.dport, record.family) == ("10.0.0.1", 1, "10.0.0.2", 2, 2)
    assert record.networks == (7,)
    assert (record.mac_src, record.mac_dst) == ("06:07:08:09:0a:0b", "00:01:02:03:04:05")
    assert record.gap_bytes == 0


@pytest.mark.parametrize(
    ("runs", "end", "gaps", "missing"),
    [
        ([(0, 10)], 10, 0, 0),
        ([(0, 4), (6, 4)], 10, 1, 2),
        ([(0, 4)], 10, 1, 6),
        ([(2, 2), (6, 1)], 10, 3, 7),
        ([(6, 4), (0, 4)], 10, 1, 2),  # runs may come in any order
        ([], 10, 1, 10),
    ],
)
def test_gaps(folder: Folder, tmp_path: Path, runs: list[tuple[int, int]], end: int, gaps: int, missing: int) -> None:
    """Holes in front, between and behind are counted, and the file is as long as the stream."""
    counters = new_counters()
    made = stream(folder, b"0123456789"[: max((sum(run) for run in runs), default=0)])
    record = close_stream(made, row(stream=6, origin=0, end=end), [(at, n, 0, 0) for at, n in runs], folder, counters)
    assert (counters["gaps"], counters["gap_bytes"], record.gap_bytes) == (gaps, missing, missing)
    assert [run[:2] for run in record.runs] == sorted(runs)
    assert (tmp_path / "name").stat().st_size == record.size == end
    assert record.md5 == md5((tmp_path / "name").read_bytes())


def test_runs_count_from_the_start_of_the_file(folder: Folder) -> None:
    """Behind a start that moved down, offsets in the record are those of the file."""
    made = stream(folder, b"0123456789")
    made.move_origin(-4)
    record = close_stream(made, row(stream=6, origin=-4, end=6), [(-4, 10, 1, 50)], folder, new_counters())
    assert record.runs == [(0, 10, 1, 50)]
    assert record.size == 10


def test_the_frontier_waits_for_a_hole_at_the_end(folder: Folder) -> None:
    """Hashing goes up to what is on disk; the rest is hashed when it is there."""
    made = stream(folder, b"01234567")
    hash_up_to(made, 20, folder)
    assert made.frontier == 8
    folder.write(made.file, [b"89"], 2, 8)
    hash_up_to(made, 9, folder)
    assert made.frontier == 9
    hash_up_to(made, 10, folder)
    assert made.digest is not None
    assert made.digest.hexdigest() == md5(b"0123456789")


def test_nothing_is_hashed_for_nothing(folder: Folder) -> None:
    """Neither without -md5 nor of a stream that is to be hashed anew."""
    plain = stream(folder, b"0123", with_md5=False)
    hash_up_to(plain, 4, folder)
    assert plain.frontier == 0
    stale = Stream(8, "other", "", ENDS, b"", md5=True)
    stale.stale = True
    hash_up_to(stale, 4, folder)
    assert stale.frontier == 0


def test_conflicts_are_flagged_and_placed(folder: Folder) -> None:
    """A stream with a conflict says so in its flags, offsets counted from the file's first byte."""
    made = stream(folder, b"0123456789")
    made.move_origin(-4)
    made.conflicts = [closing.Conflict(-2, 1, 9, "w", "l", None)]
    made.conflict_bytes = 1
    record = close_stream(made, row(stream=6, origin=-4, end=6, flags=0), [(-4, 10, 0, 0)], folder, new_counters())
    assert record.flags == Completeness.CONFLICTS
    assert [conflict.offset for conflict in record.conflicts] == [2]
    assert (record.conflict_bytes, record.conflict_file) == (1, None)


def test_reading_in_blocks(folder: Folder) -> None:
    """All of a file, in order, whatever its length."""
    for size in range(8):
        made = Stream(20 + size, f"n{size}", "", ENDS, b"", md5=True)
        content = bytes(range(size))
        folder.cut(made.file, 0)
        folder.write(made.file, [content], size, 0)
        blocks = list(read_all(made.file, folder))
        assert b"".join(blocks) == content
        assert all(len(block) <= 3 for block in blocks)
