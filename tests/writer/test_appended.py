"""-R in the writer: the connections of a tuple in one file, against maps of bytes, whatever a message tells at once."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InternalError
from tests.effort import examples
from tests.report.reader import FileObject
from tests.writer.feed import LAST, Bench, Closing, Opening, Piece, conflicts, flow, name_of, whole
from tests.writer.model import Lost, Segment, Twin, md5
from workers.limits import Limits
from workers.overlap import PolicyName

NUMBERS = (2, 8, 14, 20)
"""Streams that follow one another on the tuple of the first."""
MOST_KEPT = 9


def flows(row: FileObject) -> list[dict[str, str]]:
    """All flow elements of a row."""
    return [attributes for tag, attributes in row.foreign if tag == "tcpflow"]


def first(number: int) -> Opening:
    return Opening(number, NUMBERS[0], 0)


segments = st.builds(
    Segment,
    st.just(0),
    st.integers(-8, 40),
    st.lists(st.sampled_from(b"ab\0"), min_size=1, max_size=16).map(bytes),
)
connections = st.lists(
    st.tuples(
        st.lists(st.lists(segments, min_size=1, max_size=4), min_size=1, max_size=3),  # its batches
        st.integers(0, 3),  # bytes that the snap length cut off its end
        st.booleans(),  # its last batch tells of the next connection's first, too
    ),
    min_size=1,
    max_size=len(NUMBERS),
)


class Connection:
    """One of them, and where it begins."""

    def __init__(self, twin: Twin, base: int, beyond: int) -> None:
        self.twin, self.base, self.beyond = twin, base, beyond

    def end(self) -> int:
        return self.base + self.twin.end + self.beyond - self.twin.origin

    def place(self, offset: int) -> int:
        return self.base + offset - self.twin.origin


class Message:
    """What one call of the writer is to be told."""

    def __init__(self) -> None:
        self.told: dict[str, list[Any]] = {
            name: [] for name in ("opened", "rebases", "parts", "data", "overlaps", "frontiers", "closed")
        }

    def take(self, connection: Connection, batch: list[Segment], packet: int, *, opens: bool) -> int:
        """Add a batch of a connection's segments; returns the next packet number."""
        twin, told = connection.twin, self.told
        rebased = False
        for i, (_, offset, payload) in enumerate(batch):
            before = set(twin.parts)
            said, new, old = twin.take(0 if opens and not i else offset, payload, packet)
            rebased |= "rebase" in said
            told["parts"] += [(twin.number, part) for part in twin.parts if part not in before]
            told["data"] += new
            told["overlaps"] += old
            packet += 1
        if opens:
            told["opened"].append(Opening(twin.number, NUMBERS[0], connection.base))
        if rebased:
            told["rebases"].append((twin.number, twin.origin))
        told["frontiers"].append((twin.number, twin.end))
        return packet


def tell(
    bench: Bench, story: list[tuple[list[list[Segment]], int, bool]], *, last: bool, hole: int
) -> list[Connection]:
    """Tell the writer all of it."""
    found: list[Connection] = []
    message, packet, base = Message(), 1, 0
    for number, (batches, beyond, together) in zip(NUMBERS, story, strict=False):
        connection = Connection(Twin(number, last=last, hole=hole), base, beyond)
        found.append(connection)
        for i, batch in enumerate(batches):
            packet = message.take(connection, batch, packet, opens=not i)
            if i < len(batches) - 1:
                bench.say(**message.told)
                message = Message()
        message.told["closed"].append(connection.twin.closing(beyond))
        base = connection.end()
        if not together:
            bench.say(**message.told)
            message = Message()
    if message.told["closed"]:
        bench.say(**message.told)
    return found


def expected_files(found: Sequence[Connection]) -> dict[int, bytes]:
    """What each file holds, by its place."""
    held = {c.place(at): byte for c in found for at, byte in c.twin.held.items()}
    starts = [0, *(c.place(part) for c in found for part in c.twin.parts)]
    ends = dict.fromkeys(starts, 0)

    def reach(place: int, end: int) -> None:
        """The file that holds ``place`` goes on to ``end``."""
        start = max(start for start in starts if start <= place)
        ends[start] = max(ends[start], end)

    for c in found:
        for at in c.twin.held:
            reach(c.place(at), c.place(at) + 1)
        reach(c.place(max([*c.twin.parts, c.twin.origin])), c.end())
    return {start: bytes(held.get(at, 0) for at in range(start, max(ends[start], start))) for start in starts}


def shown(lost: Lost, connection: Connection, side: int | None) -> dict[str, str]:
    """A conflict as the report has it: all offsets are the file's."""
    record = {
        "offset": str(connection.place(lost.offset)),
        "length": str(len(lost.loser)),
        "packet": str(lost.packet),
        "winner_md5": md5(lost.winner),
        "loser_md5": md5(lost.loser),
    }
    return record if side is None else {**record, "side_offset": str(side)}


def check_conflicts(bench: Bench, found: Sequence[Connection], row: FileObject) -> set[str]:
    """Each connection keeps up to the limit, all of them in one side file; returns its name, if it has one."""
    kept, listed = b"", []
    for c, attributes in zip(found, flows(row), strict=True):
        mine, places = c.twin.side_file(MOST_KEPT)
        listed += [
            shown(lost, c, None if place is None else place + len(kept))
            for lost, place in zip(c.twin.lost, places, strict=True)
        ]
        assert attributes.get("conflict_file") == (f"conflicts-{name_of(2)}" if mine else None)
        kept += mine
    assert conflicts(row) == listed
    if not kept:
        return set()
    assert bench.content(f"conflicts-{name_of(2)}") == kept
    return {f"conflicts-{name_of(2)}"}


@examples(80)
@given(story=connections, last=st.booleans(), hole=st.sampled_from([5, 1000]))
def test_files_rows_and_conflicts_are_the_twins(
    story: list[tuple[list[list[Segment]], int, bool]], last: bool, hole: int
) -> None:
    """Disorder, holes, rebases, parts, both policies, a connection opened and rebased in the message that closes the
    one before it: each connection lies at its base, and the rows say so."""
    with tempfile.TemporaryDirectory() as folder:
        policy: PolicyName = "last" if last else "first"
        bench = Bench(Path(folder), limits=Limits(conflict_bytes=MOST_KEPT, overlap=policy), append=True)
        found = tell(bench, story, last=last, hole=hole)
        files = expected_files(found)
        rows = {row.id: row for row in bench.rows()}
        assert sorted(rows) == [2 | i << 48 for i in range(len(files))]
        names = set()
        for i, (place, content) in enumerate(files.items()):
            row = rows[2 | i << 48]
            name = row.tags["filename"]
            assert name == name_of(2) + (f"@{place}" if i else "")
            assert bench.content(name) == content
            assert row.tags["filesize"] == str(len(content))
            assert row.hashes == {"md5": md5(content)}
            names.add(name)
        assert [(a["connection"], a.get("file_offset", "0"), a["written"]) for a in flows(rows[2])] == [
            (str(c.twin.number >> 1), str(c.base), str(len(c.twin.held))) for c in found
        ]
        there = {place for place in (c.place(at) for c in found for at in c.twin.held) if place < [*files, 1 << 62][1]}
        runs = [run for run in rows[2].runs if "fill" not in run]
        assert {int(run["file_offset"]) + i for run in runs for i in range(int(run["len"]))} == there
        assert bench.names() == names | check_conflicts(bench, found, rows[2])
        assert bench.writer.counters["rows"] == len(found)
        assert bench.writer.counters["files"] == len(files)


# --------------------------------------------------------------------------- examples with a name


def test_three_connections_in_one_file(tmp_path: Path) -> None:
    """Each behind the one before it; one row, one MD5 of the whole, a flow element for each; the time of the last
    packet of the last connection."""
    bench = Bench(tmp_path, append=True)
    bench.say(opened=[2], data=[Piece(2, 0, b"first ")], closed=[whole(2, 6)])
    bench.say(opened=[Opening(8, 2, 6)], data=[Piece(8, 0, b"second ")], closed=[whole(8, 7)])
    bench.say(opened=[Opening(14, 2, 13)], data=[Piece(14, 0, b"third")])
    bench.say(closed=[whole(14, 5)])
    (row,) = bench.rows()
    assert bench.names() == {name_of(2)}
    assert bench.content(name_of(2)) == b"first second third"
    assert row.hashes == {"md5": md5(b"first second third")}
    assert row.tags["filesize"] == "18"
    assert [(a["connection"], a.get("file_offset"), a["payload"]) for a in flows(row)] == [
        ("1", None, "6"), ("4", "6", "7"), ("7", "13", "5"),
    ]  # fmt: skip
    assert (bench.out / name_of(2)).stat().st_mtime_ns == row.times["mtime"] == LAST


def test_one_message_that_tells_of_three_connections(tmp_path: Path) -> None:
    """Opened, Data and Closed of all three apply table by table: no end of one cuts another's bytes."""
    bench = Bench(tmp_path, append=True)
    bench.say(
        opened=[2, Opening(8, 2, 8), Opening(14, 2, 15)],
        rebases=[(8, -4)],
        data=[Piece(2, 0, b"aaaa"), Piece(8, 0, b"BBB"), Piece(8, -4, b"bbbb"), Piece(14, 3, b"c")],
        closed=[Closing(2, 8, [(0, 4)]), Closing(8, 3, [(-4, 7)], -4), Closing(14, 5, [(3, 1)])],
    )
    (row,) = bench.rows()
    assert bench.content(name_of(2)) == b"aaaa\0\0\0\0bbbbBBB\0\0\0c\0"
    assert row.hashes == {"md5": md5(bench.content(name_of(2)))}
    assert bench.names() == {name_of(2)}
    assert (bench.writer.counters["gaps"], bench.writer.counters["gap_bytes"]) == (3, 8)


def test_zeros_and_holes_of_a_connection_that_waited(tmp_path: Path) -> None:
    """A connection told of together with the one before it: its zeros are there, and its holes take no room."""
    bench = Bench(tmp_path, append=True)
    hole = 8 << 20
    bench.say(
        opened=[2, Opening(8, 2, 1), Opening(14, 2, hole + 3)],
        data=[Piece(2, 0, b"a"), Piece(8, 0, b"b"), Piece(8, hole, b"cc"), Piece(14, 0, b"\0\0")],
        closed=[whole(2, 1), Closing(8, hole + 2, [(0, 1), (hole, 2)]), whole(14, 2)],
    )
    (row,) = bench.rows()
    assert bench.content(name_of(2)) == b"ab" + bytes(hole - 1) + b"cc\0\0"
    assert row.tags["filesize"] == str(hole + 5)
    assert (bench.out / name_of(2)).stat().st_blocks * 512 < 4 << 20


def test_a_later_rebase_moves_its_own_bytes_only(tmp_path: Path) -> None:
    """The start of the second connection moves down: the first's bytes stay, its own move up."""
    bench = Bench(tmp_path, append=True)
    bench.say(opened=[2], data=[Piece(2, 0, b"1111")], closed=[whole(2, 4)])
    bench.say(opened=[Opening(8, 2, 4)], data=[Piece(8, 0, b"2222"), Piece(8, 90, b"part")], parts=[(8, 90)])
    bench.say(rebases=[(8, -2)], data=[Piece(8, -2, b"__")])
    bench.say(closed=[Closing(8, 94, [(-2, 6), (90, 4)], -2)])
    first_row, part = bench.rows()
    assert bench.content(name_of(2)) == b"1111__2222"
    assert part.tags["filename"] == name_of(2) + "@96"
    assert bench.content(name_of(2) + "@96") == b"part"
    assert first_row.tags["filesize"] == "10"


def test_a_connection_goes_on_in_the_last_part(tmp_path: Path) -> None:
    """Behind a part, the next connection's bytes are the part's, also when its start moves down; its own part is named
    by its place."""
    bench = Bench(tmp_path, append=True)
    bench.say(opened=[2], data=[Piece(2, 0, b"11"), Piece(2, 100, b"22")], parts=[(2, 100)])
    bench.say(closed=[Closing(2, 105, [(0, 2), (100, 2)])])
    bench.say(opened=[Opening(8, 2, 105)], data=[Piece(8, 0, b"33"), Piece(8, 50, b"44")], parts=[(8, 50)])
    bench.say(rebases=[(8, -1)], data=[Piece(8, -1, b"+")], closed=[Closing(8, 52, [(-1, 3), (50, 2)], -1)])
    bench.rows()
    assert {name: bench.content(name) for name in bench.names()} == {
        name_of(2): b"11", name_of(2) + "@100": b"22\0\0\0+33", name_of(2) + "@156": b"44",
    }  # fmt: skip


@pytest.mark.parametrize("append", [False, True])
def test_a_part_that_a_limit_leaves_empty_goes(tmp_path: Path, append: bool) -> None:
    """With -C the start may move down so far that nothing of a part is kept: there is no such file then."""
    bench = Bench(tmp_path, append=append)
    bench.say(
        opened=[2], data=[Piece(2, 0, b"11"), Piece(2, 100, b"22"), Piece(2, 300, b"3")], parts=[(2, 100), (2, 300)]
    )
    bench.say(rebases=[(2, -20)], data=[Piece(2, -20, b"0")], closed=[Closing(2, 90, [(-20, 1), (0, 2)], -20)])
    rows = bench.rows()
    assert [(row.tags["filename"], row.tags["filesize"]) for row in rows] == [(name_of(2), "110")]
    assert bench.names() == {name_of(2)}
    assert bench.content(name_of(2)) == b"0" + bytes(19) + b"11" + bytes(88)


def test_what_a_limit_no_longer_keeps_is_not_the_next_one_s(tmp_path: Path) -> None:
    """-C, a start that moves down, and the next connection's hole where the first one's surplus was: zeros."""
    for together in (False, True):
        folder = tmp_path / str(together)
        folder.mkdir()
        bench = Bench(folder, append=True)
        bench.say(opened=[2], data=[Piece(2, 0, b"01234567")])
        end = {"rebases": [(2, -3)], "data": [Piece(2, -3, b"abc")], "closed": [Closing(2, 5, [(-3, 8)], -3)]}
        behind = {"opened": [Opening(8, 2, 8)], "data": [Piece(8, 4, b"X")]}
        if together:
            bench.say(**{**end, **behind, "data": end["data"] + behind["data"]})
        else:
            bench.say(**end)
            bench.say(**behind)
        bench.say(closed=[Closing(8, 5, [(4, 1)])])
        bench.rows()
        assert bench.content(name_of(2)) == b"abc01234\0\0\0\0X"


def test_a_tuple_with_one_connection_has_the_row_it_had(tmp_path: Path) -> None:
    """Where no tuple carries payload twice, -R changes nothing."""
    found = []
    for append in (False, True):
        folder = tmp_path / str(append)
        folder.mkdir()
        bench = Bench(folder, append=append)
        bench.say(opened=[2, 5], data=[Piece(2, 0, b"abcd"), Piece(2, 90, b"zz"), Piece(5, 0, b"q")], parts=[(2, 90)])
        bench.say(rebases=[(2, -4)], data=[Piece(2, -4, b"____")], overlaps=[Piece(2, 1, b"XY")])
        bench.say(closed=[Closing(2, 92, [(-4, 8), (90, 2)], -4), whole(5, 1)])
        bench.rows()
        found.append(((folder / "report.xml").read_bytes(), {name: bench.content(name) for name in bench.names()}))
    assert found[0] == found[1]


def test_directions_and_tuples_are_files_of_their_own(tmp_path: Path) -> None:
    """Who sends is what makes a file: the same tuple's other direction, and other tuples, have theirs."""
    bench = Bench(tmp_path, append=True)
    bench.say(opened=[2, 3, 4], data=[Piece(2, 0, b"out"), Piece(3, 0, b"back"), Piece(4, 0, b"other")])
    bench.say(closed=[whole(2, 3), whole(3, 4), whole(4, 5)])
    bench.say(opened=[Opening(9, 3, 4)], data=[Piece(9, 0, b"!")], closed=[whole(9, 1)])
    rows = bench.rows()
    assert [row.id for row in rows] == [2, 3, 4]
    assert bench.content(name_of(3)) == b"back!"
    assert [len(flows(row)) for row in rows] == [1, 2, 1]


def test_coarse_names_and_times_are_those_of_the_first(tmp_path: Path) -> None:
    """With -F and -T a file keeps the name that its first stream gave it, of which settle.py may take the suffix."""
    bench = Bench(tmp_path, append=True, name_format="%A")
    bench.say(opened=[2, 8], data=[Piece(2, 0, b"one"), Piece(8, 0, b"other")], closed=[whole(2, 3), whole(8, 5)])
    bench.say(
        opened=[Opening(14, 2, 3), Opening(20, 8, 5)],
        data=[Piece(14, 0, b"two"), Piece(20, 0, b"!")], overlaps=[Piece(14, 0, b"twX")],
        closed=[whole(14, 3), whole(20, 1)],
    )  # fmt: skip
    rows = bench.rows()  # a reader of this report settles the names
    assert bench.names() == {"10.0.0.1~1", "10.0.0.1~4", "conflicts-10.0.0.1~1"}
    assert [row.tags["filename"] for row in rows] == ["10.0.0.1", "10.0.0.1~4"]
    assert flows(rows[0])[1]["conflict_file"] == "conflicts-10.0.0.1"


def test_runs_name_their_inputs(tmp_path: Path) -> None:
    """With several inputs each flow element says where its stream was captured, by places in the file."""
    bench = Bench(tmp_path, append=True, inputs=(Path("one.pcap"), Path("two.pcap")))
    bench.say(opened=[2], data=[Piece(2, 0, b"aaaa")], closed=[whole(2, 4)])
    bench.say(opened=[Opening(8, 2, 4)], data=[Piece(8, 0, b"bb")], closed=[whole(8, 2)])
    (row,) = bench.rows()
    assert [a["image"] for a in flows(row)] == ["one.pcap", "two.pcap"]
    assert [run["file_offset"] for run in row.runs] == ["0", "4"]
    assert all("img_offset" in run for run in row.runs)


def test_a_stream_closed_out_of_turn_is_a_defect(tmp_path: Path) -> None:
    """What a worker never says is not taken for granted."""
    bench = Bench(tmp_path, append=True)
    bench.say(opened=[2], data=[Piece(2, 0, b"1")])
    with pytest.raises(InternalError, match="stream 8"):
        bench.say(opened=[Opening(8, 2, 1)], data=[Piece(8, 0, b"2")], closed=[whole(8, 1)])


def test_a_file_beside_that_is_taken(tmp_path: Path) -> None:
    """A foreign file under the name: the whole tuple goes to the other name, and the report says so."""
    bench = Bench(tmp_path, append=True)
    (bench.out / name_of(2)).write_bytes(b"mine")
    bench.say(opened=[2], data=[Piece(2, 0, b"a")], closed=[whole(2, 1)])
    bench.say(opened=[Opening(8, 2, 1)], data=[Piece(8, 0, b"b")], closed=[whole(8, 1)])
    (row,) = bench.rows()
    assert row.tags["filename"] == name_of(2) + "~1"
    assert bench.content(name_of(2) + "~1") == b"ab"
    assert bench.content(name_of(2)) == b"mine"
    assert flow(row)["connection"] == "1"
