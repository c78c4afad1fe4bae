"""One direction: a table of cases for what counts as data, what is missing, and what is too much."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from tests.workers.traffic import SECOND, Seg, everything, rows, run
from workers import direction as dr
from workers.contract import ACK, FIN, PSH, RST, SYN, Completeness, GapReason
from workers.direction import Detail, Direction
from workers.limits import GIB, MIB, Limits

MID, OPEN, GAPS = Completeness.MIDSTREAM, Completeness.OPEN, Completeness.GAPS
SNAPPED, LIMITED = Completeness.SNAPPED, Completeness.LIMITED
ISN = 2**32 - 120  # every case with more than 120 bytes wraps
HELLO = [Seg(1, 0, ISN, SYN), Seg(1, 1, 500, SYN | ACK, ack=ISN + 1), Seg(1, 0, ISN + 1, ACK, ack=501)]


def put(offset: int, size: int, flags: int = PSH | ACK, **more: int) -> Seg:
    """Payload of the first side, by its offset in the stream."""
    return Seg(1, 0, ISN + 1 + offset, flags, size, ack=501, **more)


def got(offset: int, **more: int) -> Seg:
    """The other side acknowledges what lies below ``offset``."""
    return Seg(1, 1, 501, ACK, ack=ISN + 1 + offset, **more)


class Case(NamedTuple):
    """What is sent after HELLO (or alone, ``midstream``), and the stream's record."""

    name: str
    segments: list[Seg]
    record: dict[str, int]
    gaps: Sequence[tuple[int, int, int]] = ()
    runs: list[tuple[int, int]] | None = None  # None: whole
    midstream: bool = False
    limits: Limits = Limits()


PAST = Limits(reorder_packets=2)

CASES = [
    Case("in order", [put(0, 100), put(100, 100)], {"end": 200, "written": 200, "disorder": 0}),
    Case("duplicated", [put(0, 100), put(0, 100)], {"written": 100, "overlap": 100, "disorder": 1}),
    Case("out of order", [put(100, 50), put(0, 100)], {"end": 150, "written": 150, "disorder": 2}),
    Case("keep-alive with a byte", [put(0, 10), put(9, 1, ACK)], {"written": 10, "not_data": 1, "overlap": 0}),
    Case("keep-alive before any data", [put(-1, 1, ACK), put(0, 5)], {"written": 5, "not_data": 1}),
    Case("one byte sent again", [put(0, 10), put(9, 1)], {"written": 10, "not_data": 0, "overlap": 1}),
    Case("zero-window probe", [put(0, 10), put(10, 1, ACK), put(10, 5)], {"written": 15, "overlap": 1}),
    Case("an empty segment", [put(0, 10), put(9, 0), put(500, 0)], {"end": 10, "written": 10, "disorder": 0}),
    Case("before its start", [put(-10, 15), put(5, 5)], {"origin": 0, "written": 10, "outside": 10}),
    Case("a reset with text", [put(0, 10), put(10, 7, RST)], {"end": 10, "written": 10, "not_data": 7}),
    Case("data after a reset", [put(0, 10), put(10, 0, RST), put(10, 5)], {"end": 15, "written": 15}),
    Case("FIN before data", [put(10, 0, FIN | ACK), put(0, 10)], {"end": 10, "written": 10, "flags": 0}),
    Case("FIN with data", [put(0, 10, FIN | ACK)], {"end": 10, "written": 10, "flags": 0}),
    Case("data beyond a FIN", [put(0, 10, FIN | ACK), put(10, 5)], {"end": 15, "written": 15}),
    Case("a FIN past the data", [put(0, 10), put(30, 0, FIN | ACK)], {"end": 10, "written": 10, "flags": GAPS}),
    Case("an acknowledgement past the data", [put(0, 10), got(500)], {"end": 10, "written": 10, "flags": OPEN}),
    Case("urgent data is inline", [put(0, 10, 0x38)], {"end": 10, "written": 10}),
    Case(
        "a hole at the end", [put(0, 10), put(20, 10)],
        {"end": 30, "written": 20, "flags": OPEN | GAPS}, [(10, 10, GapReason.END)], [(0, 10), (20, 10)],
    ),
    Case(
        "a hole in front", [put(20, 10)],
        {"origin": 0, "end": 30, "written": 10}, [(0, 20, GapReason.END)], [(20, 10)],
    ),
    Case(
        "acknowledged, and the packets have passed", [put(0, 10), put(20, 10), got(30), put(30, 10)],
        {"end": 40, "written": 30}, [(10, 10, GapReason.ACKED_BUT_UNSEEN)], [(0, 10), (20, 20)], limits=PAST,
    ),
    Case(
        "acknowledged, and the time has passed", [put(0, 10), put(20, 10), got(30, time=3 * SECOND)],
        {"written": 20}, [(10, 10, GapReason.ACKED_BUT_UNSEEN)], [(0, 10), (20, 10)],
    ),
    Case(
        "acknowledged, but still in the window", [put(0, 10), put(20, 10), got(30, time=3 * SECOND - 1)],
        {"written": 20}, [(10, 10, GapReason.END)], [(0, 10), (20, 10)],
    ),
    Case(
        "never acknowledged: no gap however late",
        [put(0, 10), put(20, 10), got(10), put(30, 5), put(35, 5, time=99 * SECOND)],
        {"written": 30}, [(10, 10, GapReason.END)], [(0, 10), (20, 20)], limits=PAST,
    ),
    Case(
        "acknowledged one byte short of the data behind", [put(0, 10), put(20, 10), got(19), put(30, 5), put(35, 5)],
        {"written": 30}, [(10, 10, GapReason.END)], [(0, 10), (20, 20)], limits=PAST,
    ),
    Case(
        "late data fills a gap", [put(0, 10), put(20, 10), got(30), put(30, 10), put(10, 10)],
        {"end": 40, "written": 40, "overlap": 0, "flags": OPEN},
        [(10, 10, GapReason.ACKED_BUT_UNSEEN)], [(0, 40)], limits=PAST,
    ),
    Case(
        "one-sided", [put(0, 10), put(20, 10), put(30, 10), put(40, 10)],
        {"written": 40, "flags": MID | OPEN | GAPS}, [(10, 10, GapReason.ONE_SIDED)], [(0, 10), (20, 30)],
        midstream=True, limits=PAST,
    ),
    Case(
        "cut by the snap length", [put(0, 100, missing=40), put(100, 100, missing=40)],
        {"end": 200, "written": 120, "seen": 120, "flags": OPEN | SNAPPED},
        [(60, 40, GapReason.END), (160, 40, GapReason.END)], [(0, 60), (100, 60)],
    ),
    Case(
        "cut, then whole", [put(0, 100, missing=40), put(0, 100)],
        {"end": 100, "written": 100, "overlap": 60, "flags": OPEN | SNAPPED}, [], [(0, 100)],
    ),
    Case(
        "cut and missing", [put(0, 100, missing=40), put(200, 10)],
        {"end": 210, "written": 70, "flags": OPEN | SNAPPED | GAPS},
        [(60, 140, GapReason.END)], [(0, 60), (200, 10)],
    ),
    Case("more than 1 GiB away", [put(0, 10), put(10 + GIB + 1, 10)], {"end": 10, "written": 10, "outside": 10}),
    Case("more than 1 GiB back", [put(0, 10), put(10 - GIB - 1, 10)], {"end": 10, "written": 10, "outside": 10}),
    Case(
        "a midstream start moves down", [put(50, 10), put(20, 10), put(30, 20)],
        {"origin": -30, "end": 10, "written": 40, "flags": MID | OPEN}, [], [(-30, 40)], midstream=True,
    ),
    Case(
        "... for so many packets", [put(50, 10), put(60, 1), put(61, 1), put(30, 20)],
        {"origin": 0, "written": 12, "outside": 20}, [], [(0, 12)], midstream=True, limits=PAST,
    ),
    Case(
        "... and for so long", [put(50, 10), put(30, 20, time=3 * SECOND)],
        {"origin": 0, "written": 10, "outside": 20}, [], [(0, 10)], midstream=True,
    ),
    Case(
        "... and so far", [put(50, 10), put(50 - 17 * MIB, 20)],
        {"origin": 0, "written": 10, "outside": 20}, [], [(0, 10)], midstream=True,
    ),
    Case(
        "a late SYN behind data", [put(0, 10), Seg(1, 0, ISN, SYN), put(10, 5)],
        {"origin": 0, "written": 15, "flags": OPEN}, [], [(0, 15)], midstream=True,
    ),
    Case(
        "a late SYN far before the data", [put(5, 10), Seg(1, 0, ISN, SYN), put(0, 5)],
        {"origin": -5, "end": 10, "written": 15, "flags": OPEN}, [], [(-5, 15)], midstream=True,
    ),
    Case(
        "data on SYN", [Seg(1, 0, ISN, SYN, 20), put(20, 5)],
        {"origin": 0, "end": 25, "written": 25, "flags": OPEN}, [], [(0, 25)], midstream=True,
    ),
    Case(
        "-C within a segment", [put(0, 100), put(100, 100)],
        {"end": 150, "written": 150, "beyond": 50, "flags": OPEN | LIMITED}, limits=Limits(stream_bytes=150),
    ),
    Case(
        "-C counts what is sent again beyond it", [put(0, 100), put(0, 100)],
        {"end": 30, "written": 30, "overlap": 30, "beyond": 140}, limits=Limits(stream_bytes=30),
    ),
    Case(
        "-C of nothing", [put(0, 100)], {"end": 0, "written": 0, "beyond": 100}, [], [], limits=Limits(stream_bytes=0),
    ),
    Case(
        "-C and a start that moves down", [put(50, 20), put(30, 20)],
        {"origin": -20, "end": 10, "written": 30, "beyond": 10}, [], [(-20, 30)],
        midstream=True, limits=Limits(stream_bytes=30),
    ),
    Case(
        "too many ranges", [put(0, 10), put(20, 10), put(40, 10), put(10, 10)],
        {"end": 50, "written": 30, "outside": 10, "flags": OPEN | GAPS | LIMITED},
        [(10, 10, GapReason.LIMIT), (30, 10, GapReason.END)], [(0, 10), (20, 10), (40, 10)],
        limits=Limits(ranges_per_direction=2),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_counts_as_what(case: Case, size: int) -> None:
    """Each rule of the stream, with its numbers; whole batches and one packet at a time."""
    segments = case.segments if case.midstream else [*HELLO, *case.segments]
    events = run(segments, size=size, limits=case.limits)
    records = [row for row in rows(events, "closed") if not row["stream"] & 1]
    assert len(records) == 1
    record = records[0]
    assert {name: record[name] for name in case.record} == case.record
    assert [(row["offset"], row["size"], row["reason"]) for row in rows(events, "gaps")] == list(case.gaps)
    runs = [(row["offset"], row["size"]) for row in rows(events, "runs")]
    assert sorted(runs) == ([(0, record["written"])] if case.runs is None else case.runs)
    fates = ("written", "overlap", "beyond", "outside", "not_data", "refused")
    assert record["seen"] == sum(record[fate] for fate in fates)


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize(
    ("sent", "limits", "told"),
    [
        ([put(0, 10), put(20, 10), got(30), put(30, 10), put(40, 10)], PAST, [(10, 7)]),  # the window has passed
        ([put(0, 10), put(20, 10), put(30, 10), put(40, 5), got(30)], PAST, [(10, 8)]),  # the acknowledgement came
        ([put(0, 10), put(20, 10), put(40, 10)], Limits(ranges_per_direction=2), [(10, 6), (30, 0)]),
        ([put(0, 10), put(20, 10)], Limits(), [(10, 0)]),  # only the end made it clear
        ([put(0, 10), put(20, 10), put(25, 10, RST, time=999 * SECOND)], Limits(), [(10, 0)]),
    ],
)
def test_a_gap_names_the_packet_that_made_it_clear(
    sent: list[Seg], limits: Limits, told: list[tuple[int, int]], size: int
) -> None:
    """The packet at which the frontier stepped over the hole, however the input is cut; 0 for the stream's end."""
    found = rows(run([*HELLO, *sent], size=size, limits=limits), "gaps")
    assert [(row["offset"], row["packet"]) for row in found] == told


@pytest.mark.parametrize("size", [1, 1000])
def test_a_start_without_bytes_is_no_offset(size: int) -> None:
    """A midstream FIN, or a segment that was cut whole, ahead of the data: no offset is below 0 without a Rebase."""
    for first in (put(100, 0, FIN | ACK), put(100, 50, missing=50)):
        events = run([first, put(0, 100)], size=size)
        assert [(row["offset"], row["size"]) for row in rows(events, "data")] == [(0, 100)]
        assert rows(events, "rebases") == []
        [record] = rows(events, "closed")
        assert (record["origin"], record["end"]) == (0, 100 + first.size)


def test_a_rebase_comes_before_the_byte() -> None:
    """A start that moves down is told, once for each move, and the last one is the record's."""
    events = run([put(50, 10), put(40, 10), put(20, 20)])
    assert [row["origin"] for row in rows(events, "rebases")] == [-10, -30]
    assert rows(events, "closed")[0]["origin"] == -30


@pytest.mark.slow
def test_offsets_beyond_4_gib() -> None:
    """A stream of 5 GiB, wrapping the sequence number: offsets go on, for both paths."""
    step = 60_000
    count = 5 * GIB // step
    begin = time.process_time()
    segments = [Seg(1, 0, ISN, SYN)]
    segments += [put(step * i, step, start=1) for i in range(count)]
    swapped = [*segments[:-2], segments[-1], segments[-2]]
    for sent in (segments, swapped):
        events = run(sent, size=30_000)
        [record] = rows(events, "closed")
        assert record["end"] == record["written"] == step * count > 2**32
        [whole] = rows(events, "runs")
        assert (whole["offset"], whole["size"]) == (0, step * count)
        offsets = sorted(row["offset"] for row in rows(events, "data"))
        assert offsets == [step * i for i in range(count)]
    assert time.process_time() - begin < 30


@pytest.mark.parametrize(("between", "parts"), [(110, [170]), (150, [170, 150])])
def test_holes_beyond_the_limit_begin_a_part(between: int, parts: list[int]) -> None:
    """All holes of a file lay out at most so much: the stream then goes on in a new part, which has its own holes."""
    limits = Limits(hole_bytes=100)
    sent = [put(0, 10), put(60, 10), put(170, 10), put(220, 10), put(between, 10), put(10, 50), put(80, 5)]
    events = run([*HELLO, *sent], limits=limits)
    assert [row["offset"] for row in rows(events, "parts")] == parts
    assert rows(events, "closed")[0]["written"] == 105
    for size in (1, 2, 3):
        assert everything(run([*HELLO, *sent], size=size, limits=limits)) == everything(events)


def test_a_cut_end_lays_out_no_more_than_the_limit() -> None:
    """Cut bytes at the end of a stream make its file longer, but not beyond what holes may take."""
    limits = Limits(hole_bytes=100)
    for cut, end in ((100, 110), (101, 10)):
        [record] = rows(run([*HELLO, put(0, 10 + cut, missing=cut)], limits=limits), "closed")
        assert (record["end"], record["written"]) == (end, 10)


@pytest.mark.parametrize("distance", [2, 17 * MIB], ids=["holes", "parts"])
def test_hostile_holes_cost_little(distance: int) -> None:
    """A byte, a hole, a byte ...: beyond the limit of ranges, too, and the holes filled from below afterwards."""
    count = 12_000
    at, sent = 0, []
    for _ in range(count):
        sent.append(put(at, 1))
        at += distance
    behind = count // 2 if distance == 2 else 50  # 50 x 17 MiB is within the window
    sent += [put(at - distance * (behind - i) + 1, 1) for i in range(behind)]
    begin = time.process_time()
    events = run([*HELLO, *sent], size=10_000)
    took = time.process_time() - begin
    assert took < 200e-6 * len(sent), "a walk over all ranges for each segment takes more"
    [record] = rows(events, "closed")
    assert record["seen"] == len(sent)
    assert record["flags"] & LIMITED
    assert len(rows(events, "runs")) == (count - behind + 1 if distance == 2 else count)


def test_a_direction_packs_and_unpacks() -> None:
    """A row loaded and stored again is the same row; the attributes are the columns, in their order."""
    names = [name for name, _ in dr.FIELDS]
    plain = dict.fromkeys(names, 0) | {"state": dr.BASED | dr.OPENED, "next": 70, "origin": -30, "place": 9}
    loaded = Direction(tuple(plain.values()), None, 2, 0)
    assert {name: getattr(loaded, name) for name in names} == plain
    assert loaded.detail.ranges.ranges()[0][:2] == (-30, 70)
    assert dict(zip(names, loaded.row(), strict=True)) == plain
    loaded.detail.ranges.insert(90, 95, loaded.detail.ranges.origins[0])
    assert loaded.row()[names.index("state")] & dr.DETAIL
    again: Any = Direction(tuple(plain.values()), Detail(), 2, 0)
    assert again.row()[names.index("next")] == 70
