"""The writer against its byte-map twin, and what it does with few descriptors and failing disks."""

from __future__ import annotations

import errno
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OutputError
from pipeline.writer.plain.library import CHOICE
from tests.effort import examples
from tests.report.reader import FileObject
from tests.writer.feed import LAST, Bench, Closing, Piece, conflicts, flow, name_of, whole
from tests.writer.model import Lost, Segment, Twin, md5
from workers.limits import Limits
from workers.overlap import PolicyName

STREAMS = (2, 3, 8)
MOST_KEPT = 9  # bytes of conflicts

segments = st.builds(
    Segment,
    st.sampled_from(STREAMS),
    st.integers(-8, 40),
    st.lists(st.sampled_from(b"ab\0"), min_size=1, max_size=16).map(bytes),
)


class Story:
    """Segments told to a writer batch by batch, and to the twins."""

    def __init__(self, bench: Bench, *, last: bool, hole: int, frontier: str) -> None:
        self.bench = bench
        self.twins = {number: Twin(number, last=last, hole=hole) for number in STREAMS}
        self.opened: set[int] = set()
        self.frontier = frontier
        self.told: dict[int, int] = {}
        self.packet = 0

    def batch(self, told: list[Segment]) -> None:
        opened: list[int] = []
        rebases: list[tuple[int, int]] = []
        parts: list[tuple[int, int]] = []
        data: list[Piece] = []
        overlaps: list[Piece] = []
        for number, offset, payload in told:
            self.packet += 1
            twin = self.twins[number]
            if number not in self.opened:
                self.opened.add(number)
                opened.append(number)
                offset = 0
            before = set(twin.parts)
            said, new, old = twin.take(offset, payload, self.packet)
            if "rebase" in said:
                rebases.append((number, twin.origin))
            parts += [(number, part) for part in twin.parts if part not in before]
            data += new
            overlaps += old
        self.bench.say(
            opened=opened, rebases=rebases, parts=parts, data=data, overlaps=overlaps, frontiers=self._frontiers()
        )

    def _frontiers(self) -> list[tuple[int, int]]:
        """Where all streams are, or would be if all holes were given up at once."""
        for number in self.opened if self.frontier != "untold" else ():
            twin = self.twins[number]
            now = twin.end if self.frontier == "given up" else twin.frontier()
            self.told[number] = max(now, self.told.get(number, 0))
        return sorted(self.told.items())

    def check(self, beyond: int) -> None:
        self.bench.say(closed=[self.twins[number].closing(beyond) for number in self.opened])
        by_id = {row.id: row for row in self.bench.rows()}
        names = set()
        for number in self.opened:
            names |= self._check_stream(self.twins[number], beyond, by_id)
        assert self.bench.names() == names
        assert len(by_id) == sum(1 + len(self.twins[number].parts) for number in self.opened)

    def _check_stream(self, twin: Twin, beyond: int, by_id: dict[int, FileObject]) -> set[str]:
        names = set()
        for i, (offset, expected) in enumerate(twin.files(beyond).items()):
            row = by_id[twin.number | i << 48]
            name = row.tags["filename"]
            assert name == name_of(twin.number) + (f"@{offset}" if i else "")
            assert self.bench.content(name) == expected
            assert row.hashes == {"md5": md5(expected)}
            assert row.tags["filesize"] == str(len(expected))
            names.add(name)
        row = by_id[twin.number]
        kept, places = twin.side_file(MOST_KEPT)
        assert conflicts(row) == [shown(it, twin.origin, at) for it, at in zip(twin.lost, places, strict=True)]
        side = flow(row).get("conflict_file")
        if kept:
            assert side == "conflicts-" + name_of(twin.number)
            assert self.bench.content(side) == kept
            names.add(side)
        else:
            assert side is None
        return names


def shown(lost: Lost, origin: int, side: int | None) -> dict[str, str]:
    """A conflict as the report has it."""
    record = {
        "offset": str(lost.offset - origin),
        "length": str(len(lost.loser)),
        "packet": str(lost.packet),
        "winner_md5": md5(lost.winner),
        "loser_md5": md5(lost.loser),
    }
    return record if side is None else {**record, "side_offset": str(side)}


@examples(100)
@given(
    told=st.lists(st.lists(segments, min_size=1, max_size=6), min_size=1, max_size=8),
    last=st.booleans(),
    hole=st.sampled_from([5, 1000]),
    frontier=st.sampled_from(["untold", "true", "given up"]),
    beyond=st.integers(0, 3),
)
def test_files_hashes_and_conflicts_are_the_twins(
    told: list[list[Segment]], last: bool, hole: int, frontier: str, beyond: int
) -> None:
    """Disorder, holes, rebases, parts and both policies, in any cut into batches: every file, MD5 and conflict is
    that of a map of bytes."""
    with tempfile.TemporaryDirectory() as folder:
        policy: PolicyName = "last" if last else "first"
        bench = Bench(Path(folder), limits=Limits(conflict_bytes=MOST_KEPT, overlap=policy))
        story = Story(bench, last=last, hole=hole, frontier=frontier)
        for batch in told:
            story.batch(batch)
        story.check(beyond)


# --------------------------------------------------------------------------- examples with a name


def test_a_stream_in_order(tmp_path: Path) -> None:
    """The common case: one file, its size, its MD5, the time of its last packet, only its owner's to read."""
    bench = Bench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, i * 100, bytes([i]) * 100) for i in range(50)])
    bench.say(data=[Piece(2, 5000, b"end")], closed=[whole(2, 5003)])
    (row,) = bench.rows()
    content = b"".join(bytes([i]) * 100 for i in range(50)) + b"end"
    path = bench.out / name_of(2)
    assert path.read_bytes() == content
    assert row.hashes == {"md5": md5(content)}
    status = path.stat()
    assert (status.st_mtime_ns, status.st_mode & 0o777) == (LAST, 0o600)
    assert (flow(row)["mac_daddr"], flow(row)["mac_saddr"]) == ("02:00:00:00:00:01", "02:00:00:00:00:02")


def test_a_late_fill_is_hashed(tmp_path: Path) -> None:
    """A hole given up, stepped over by the frontier and filled afterwards: the MD5 is of the file as it lies there."""
    bench = Bench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, 0, b"aaaa"), Piece(2, 8, b"cccc")], frontiers=[(2, 12)])
    bench.say(data=[Piece(2, 12, b"dd")])
    bench.say(data=[Piece(2, 4, b"bbbb")], closed=[whole(2, 14)])
    (row,) = bench.rows()
    assert bench.content(name_of(2)) == b"aaaabbbbccccdd"
    assert row.hashes == {"md5": md5(b"aaaabbbbccccdd")}


def test_a_run_may_be_told_before_its_stream_closes(tmp_path: Path) -> None:
    """A range that a limit made final is told when that happens, and stands in the report all the same."""
    bench = Bench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, 0, b"aa"), Piece(2, 4, b"cc")], runs=[(2, 0, 2)])
    bench.say(closed=[Closing(2, 6, [(4, 2)])])
    (row,) = bench.rows()
    assert [(run["file_offset"], run["len"], "fill" in run) for run in row.runs] == [
        ("0", "2", False), ("2", "2", True), ("4", "2", False),
    ]  # fmt: skip
    assert bench.writer.counters["run_bytes"] == 4


def test_a_run_over_two_inputs_says_so(tmp_path: Path) -> None:
    """A stream that runs on through rotated captures: each stretch is where its first byte was captured, mapped or
    spooled."""
    bench = Bench(tmp_path, inputs=(Path("one.pcap"), Path("two.pcap")))
    bench.say(opened=[2, 4], data=[Piece(2, 0, b"aaaa"), Piece(4, 0, b"zzz")])
    bench.say(data=[Piece(2, 4, b"bb"), Piece(2, 6, b"c")], closed=[whole(2, 7), whole(4, 3)])
    rows = bench.rows()
    assert bench.content(name_of(2)) == b"aaaabbc"
    assert [(run["file_offset"], run["img_offset"], run["len"]) for run in rows[0].runs] == [
        ("0", "22", "4"), ("4", "23", "3"),
    ]  # fmt: skip
    assert [attributes for tag, attributes in rows[0].foreign if tag == "image"] == [
        {"file_offset": "0", "name": "one.pcap"}, {"file_offset": "4", "name": "two.pcap"},
    ]  # fmt: skip
    assert flow(rows[1])["image"] == "one.pcap"


def test_no_md5_unless_asked(tmp_path: Path) -> None:
    """Without -md5 no file is hashed, whatever happens to it."""
    bench = Bench(tmp_path, md5=False)
    bench.say(opened=[2], data=[Piece(2, 0, b"aa"), Piece(2, 900, b"b")], parts=[(2, 900)], frontiers=[(2, 901)])
    bench.say(closed=[Closing(2, 901, [(0, 2), (900, 1)])])
    rows = bench.rows()
    assert [row.hashes for row in rows] == [{}, {}]
    assert bench.names() == {name_of(2), name_of(2) + "@900"}


def test_what_a_rebase_moved_beyond_the_limit_is_cut(tmp_path: Path) -> None:
    """With -C the file ends where the record says, though more was written before the start moved down."""
    bench = Bench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, 0, b"01234567")])
    bench.say(rebases=[(2, -3)], data=[Piece(2, -3, b"abc")])
    bench.say(closed=[Closing(2, 5, [(-3, 8)], -3)])
    (row,) = bench.rows()
    assert bench.content(name_of(2)) == b"abc01234"
    assert row.hashes == {"md5": md5(b"abc01234")}


def test_an_overlap_over_two_parts_is_compared_with_both(tmp_path: Path) -> None:
    """A segment that repeats the end of one file and the start of the next is a duplicate, not a conflict."""
    bench = Bench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, 0, b"aaaa"), Piece(2, 100, b"cccc")], parts=[(2, 100)])
    bench.say(data=[Piece(2, 4, b"b" * 96)])
    bench.say(overlaps=[Piece(2, 98, b"bbcc")], closed=[whole(2, 104)])
    rows = bench.rows()
    assert bench.writer.counters["duplicate"] == 4
    assert conflicts(rows[0]) == []


def test_a_part_is_named_by_its_final_offset(tmp_path: Path) -> None:
    """When the start moves down behind the part's back, its name says its place all the same: names do not depend
    on where a batch was cut."""
    for batches in (1, 2):
        bench = Bench(tmp_path)
        late = {"rebases": [(2, -5)], "data": [Piece(2, -5, b"first")]}
        if batches == 1:
            late["data"] = [Piece(2, 0, b"aaaa"), Piece(2, 100, b"cc"), *late["data"]]
            bench.say(opened=[2], parts=[(2, 100)], **late)
        else:
            bench.say(opened=[2], data=[Piece(2, 0, b"aaaa"), Piece(2, 100, b"cc")], parts=[(2, 100)])
            bench.say(**late)
        bench.say(closed=[Closing(2, 102, [(-5, 9), (100, 2)], -5)])
        rows = bench.rows()
        assert [row.tags["filename"] for row in rows] == [name_of(2), name_of(2) + "@105"]
        assert bench.content(name_of(2) + "@105") == b"cc"
        for name in bench.names():
            (bench.out / name).unlink()
        bench.fragment.unlink()


def test_the_counters_are_those_of_the_bytes(tmp_path: Path) -> None:
    """Every counter of the identity, for one stream with a hole, a duplicate and a conflict."""
    bench = Bench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, 0, b"abcd"), Piece(2, 10, b"xyz")], overlaps=[Piece(2, 0, b"aXYd")])
    bench.say(closed=[Closing(2, 15, [(0, 4), (10, 3)])])
    bench.rows()
    assert bench.writer.counters == {
        "data_bytes": 7, "run_bytes": 7, "duplicate": 2, "conflicting": 2, "conflicts": 1,
        "gaps": 2, "gap_bytes": 8, "files": 1, "rows": 1, "skipped": 0, "unwritten": 0, "uncompared": 0,
        "write_errors": 0,
    }  # fmt: skip


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    """A taken name, were it by a link to nowhere, goes to nobody else: the stream gets another one and the report
    says so."""
    bench = Bench(tmp_path)
    taken = bench.out / name_of(2)
    taken.write_bytes(b"mine")
    (bench.out / name_of(5)).symlink_to(tmp_path / "elsewhere")
    bench.say(opened=[2, 5], data=[Piece(2, 0, b"stream"), Piece(5, 0, b"other")])
    bench.say(closed=[whole(2, 6), whole(5, 5)])
    rows = bench.rows()
    assert taken.read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()
    assert [row.tags["filename"] for row in rows] == [name_of(2) + "~1", name_of(5) + "~2.1"]
    assert bench.content(name_of(2) + "~1") == b"stream"
    assert bench.writer.folder.renamed == [
        (name_of(2), name_of(2) + "~1"), (name_of(5), name_of(5) + "~2.1")
    ]  # fmt: skip


# --------------------------------------------------------------------------- few descriptors


@contextmanager
def descriptors(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_many_streams_on_few_descriptors(tmp_path: Path) -> None:
    """300 streams that take turns, on a system that allows some 60 descriptors: none is missed, none stays open."""
    before = len(os.listdir("/proc/self/fd"))
    highest = max(map(int, os.listdir("/proc/self/fd")))
    numbers = range(2, 602, 2)
    with descriptors(max(64, highest + 10)):
        bench = Bench(tmp_path)
        for turn in range(4):
            order = numbers if turn % 2 else reversed(numbers)
            bench.say(opened=() if turn else numbers, data=[Piece(n, turn * 3, b"%03d" % (n % 997)) for n in order])
        bench.say(overlaps=[Piece(n, 3, b"%03d" % (n % 997)) for n in numbers])
        bench.say(closed=[whole(n, 12) for n in numbers])
        rows = bench.rows()
    assert len(rows) == 300
    assert all(bench.content(name_of(n)) == b"%03d" % (n % 997) * 4 for n in numbers)
    assert all(row.hashes["md5"] == md5(bench.content(row.tags["filename"])) for row in rows)
    assert bench.writer.counters["duplicate"] == 900
    assert len(os.listdir("/proc/self/fd")) == before


# --------------------------------------------------------------------------- a disk that fails


def everything(folder: Path) -> None:
    """A run that uses every call of the system: disorder, a rebase, a part, an overlap, a hole."""
    bench = Bench(folder, limits=Limits(overlap="last"))
    bench.say(opened=[2, 3], data=[Piece(2, 0, b"aaaa"), Piece(2, 8, b"cc"), Piece(3, 0, b"z")], frontiers=[(2, 10)])
    bench.say(rebases=[(2, -2)], parts=[(2, 100)], data=[Piece(2, -2, b"__"), Piece(2, 100, b"part")])
    bench.say(overlaps=[Piece(2, 0, b"aXXa"), Piece(3, 0, b"y")], data=[Piece(2, 4, b"bbbb")])
    bench.say(closed=[Closing(2, 106, [(-2, 12), (100, 4)], -2), Closing(3, 2, [(0, 1)])])
    bench.rows()


CALLS = ("pwritev", "pwrite", "pread", "open", "ftruncate", "close", "fstat", "writev")


@pytest.mark.parametrize("nth", range(1, 41))
def test_any_failing_call_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """Whichever call of the system is the first to find the disk full, an OutputError says so, and nothing else."""
    monkeypatch.setenv(CHOICE, "twin")
    left = nth

    def failing(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **more: object) -> object:
            nonlocal left
            left -= 1
            if not left or (left < 0 and name in {"open", "pwritev"}):  # a file's first bytes are tried twice
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **more)

        monkeypatch.setattr(os, name, call)

    for name in CALLS:
        failing(name)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        everything(tmp_path)
    monkeypatch.undo()
    assert caught.value.status == 4
    assert caught.value.hint


def test_the_run_that_fails_would_have_done(tmp_path: Path) -> None:
    """The run of the test above ends well when no call fails."""
    everything(tmp_path)
    assert (tmp_path / "out" / name_of(2)).read_bytes() == b"__aXXabbbbcc"


@pytest.mark.parametrize("most", [1, 3, 7])
def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A system that takes a few bytes at a time gets all of them, at their places."""
    monkeypatch.setenv(CHOICE, "twin")
    real = os.pwritev, os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda fd, pieces, at: real[1](fd, b"".join(map(bytes, pieces))[:most], at))
    monkeypatch.setattr(os, "pwrite", lambda fd, piece, at: real[1](fd, bytes(piece)[:most], at))
    bench = Bench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, i * 5, b"%05d" % i) for i in range(40)])
    bench.say(data=[Piece(2, 205, b"far"), Piece(2, 200, b"late!")], closed=[whole(2, 208)])
    (row,) = bench.rows()
    content = b"".join(b"%05d" % i for i in range(40)) + b"late!far"
    assert bench.content(name_of(2)) == content
    assert row.hashes == {"md5": md5(content)}
