"""Several inputs as one timeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.kernels import Decoded
from pipeline.source.records import Records
from pipeline.timeline import OVERLAP_NS, Stretch, cut, interleave, merge, pieces

SECOND = 1_000_000_000
SEGMENT = 0  # Reason.TCP
OTHER = 11

Packet = tuple[int, int, bool]
"""Time, a number of its own, whether it is a segment."""


class Hold:
    """Counts who holds it."""

    def __init__(self) -> None:
        self.count = 1

    def take(self) -> None:
        assert self.count > 0
        self.count += 1

    def drop(self) -> None:
        self.count -= 1
        assert self.count >= 0


def stretch_of(packets: Sequence[Packet], hold: Hold | None = None, window: int = 0) -> Stretch:
    """A stretch whose columns all say the packet's own number."""
    time, own, segments = (np.array(column) for column in zip(*packets, strict=True))
    row = np.flatnonzero(segments)
    records = Records(
        own.astype(np.uint64),
        own.astype(np.uint32),
        own.astype(np.uint32),
        time.astype(np.int64),
        own.astype(np.uint16),
    )
    columns = {name: own[row].astype(np.uint64) for name in Decoded._fields if name not in {"reason", "row"}}
    decoded = Decoded(np.where(segments, SEGMENT, OTHER).astype(np.uint8), row.astype(np.int64), **columns)  # type: ignore[arg-type]
    return Stretch(records, decoded, ((window, window),), () if hold is None else (hold,))


def packets_of(stretch: Stretch) -> list[Packet]:
    """The packets again, after a look at whether every column still belongs to its packet."""
    records, decoded = stretch.records, stretch.decoded
    for column in (records.captured, records.length, records.link):
        assert column.tolist() == records.start.tolist()
    segments = decoded.reason == SEGMENT
    assert decoded.row.tolist() == np.flatnonzero(segments).tolist()
    for column in decoded[2:]:
        assert column.tolist() == records.start[decoded.row].tolist()
    return list(zip(records.time.tolist(), records.start.tolist(), segments.tolist(), strict=True))


class Recorded:
    """An input, cut into stretches of these sizes."""

    def __init__(self, packets: Sequence[Packet], sizes: Sequence[int], *, known: bool = True) -> None:
        self.packets = packets
        self.sizes = sizes
        self.first = packets[0][0] if packets and known else -(1 << 63)
        self.holds: list[Hold] = []

    def stretches(self) -> Iterator[Stretch]:
        at, turn = 0, 0
        while at < len(self.packets):
            size = self.sizes[turn % len(self.sizes)]
            self.holds.append(Hold())
            yield stretch_of(self.packets[at : at + size], self.holds[-1], at)
            at, turn = at + size, turn + 1


def merged(lanes: Sequence[Recorded], batch: int = 5) -> list[Packet]:
    """What comes out; every hold must be gone when all of it was used."""
    out = []
    for stretch in merge(lanes):
        for piece in pieces(stretch, batch):
            out += packets_of(piece)
            for hold in piece.held:
                hold.drop()
    assert all(hold.count == 0 for lane in lanes for hold in lane.holds)
    return out


def slowly(inputs: Sequence[Sequence[Packet]]) -> list[Packet]:
    """The same, packet by packet: the lowest running maximum first, of equals the input that begins first."""
    ranked = sorted((packets for packets in inputs if packets), key=lambda packets: packets[0][0])
    keyed = []
    for rank, packets in enumerate(ranked):
        high = packets[0][0]
        for place, packet in enumerate(packets):
            high = max(high, packet[0])
            keyed.append((high, rank, place, packet))
    return [packet for *_, packet in sorted(keyed, key=lambda item: item[:3])]


TIMES = st.integers(0, 30).map(lambda n: n * SECOND)  # apart, so that no input is nearly done
INPUTS = st.lists(st.lists(st.tuples(TIMES, st.booleans()), max_size=12), min_size=1, max_size=5)


def numbered(inputs: Sequence[Sequence[tuple[int, bool]]]) -> list[list[Packet]]:
    count = 0
    out = []
    for packets in inputs:
        out.append([(time, count + i, segment) for i, (time, segment) in enumerate(packets)])
        count += len(packets)
    return out


@given(INPUTS, st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 7), st.booleans())
def test_the_order_is_that_of_the_running_maxima(
    inputs: list[list[tuple[int, bool]]], sizes: list[int], batch: int, known: bool
) -> None:
    """Several inputs are one timeline, whatever pieces they are read in: each keeps its order, and of two
    packets the one that was captured earlier comes first."""
    packets = numbered(inputs)
    lanes = [Recorded(each, sizes, known=known) for each in packets]
    expected = slowly(packets) if known else None
    out = merged(lanes, batch)
    if expected is not None and not _meets_rotation(packets):
        assert out == expected
    assert sorted(packet[1] for packet in out) == list(range(sum(map(len, packets))))
    for each in packets:
        assert [packet for packet in out if packet in each] == each


def _meets_rotation(inputs: Sequence[Sequence[Packet]]) -> bool:
    """Whether the rule for rotated captures could apply: an input ends just where the next one begins."""
    ranked = sorted((packets for packets in inputs if packets), key=lambda packets: packets[0][0])
    return any(
        max(time for time, *_ in one) == two[0][0] > one[0][0]
        for at, one in enumerate(ranked)
        for two in ranked[at + 1 :]
    )


def test_the_order_of_names_decides_nothing_but_ties() -> None:
    """Rotated files may be given in any order."""
    packets = numbered([[(0, True), (SECOND, False)], [(2 * SECOND, True)], [(3 * SECOND, True), (4 * SECOND, True)]])
    expected = [packet for each in packets for packet in each]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        assert merged([Recorded(packets[i], [1]) for i in order]) == expected


def test_captures_without_times_come_one_after_the_other() -> None:
    """When all times are equal nothing is interleaved."""
    packets = numbered([[(0, True)] * 7, [(0, False)] * 5])
    assert merged([Recorded(each, [2]) for each in packets]) == [*packets[0], *packets[1]]


MS = 1_000_000


@pytest.mark.parametrize(
    ("overlap", "duration", "finished"),
    [
        (5 * MS, 10 * SECOND, True),
        (0, SECOND, True),
        (OVERLAP_NS, 20 * SECOND, True),
        (OVERLAP_NS + 1, 20 * SECOND, False),
        (50 * MS, SECOND, False),  # more than a hundredth of what the first one lasts
    ],
)
def test_rotated_captures_whose_times_cross_a_little(overlap: int, duration: int, finished: bool) -> None:
    """A capture that was cut is put together as it was, even where packets around the cut are out of order."""
    one = [(i * duration // 10, i, True) for i in range(10)]
    one += [(duration + overlap, 10, True), (duration + overlap // 2, 11, True)]
    two = [(duration, 20, True), (duration + overlap + MS, 21, True), (duration + SECOND, 22, True)]
    for sizes in ([1], [3], [100]):
        out = merged([Recorded(two, sizes), Recorded(one, sizes)])
        assert (out == one + two) is finished


def test_two_taps_that_run_side_by_side_are_interleaved() -> None:
    """The two directions of a link, captured into a file each, come together packet by packet."""
    one = [(i * 2 * MS, i, True) for i in range(50)]
    two = [(i * 2 * MS + MS, 100 + i, True) for i in range(50)]
    expected = [packet for pair in zip(one, two, strict=True) for packet in pair]
    assert merged([Recorded(one, [7]), Recorded(two, [11])]) == expected


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.data())
def test_a_cut_stretch_is_what_lay_between(segments: list[bool], data: st.DataObject) -> None:
    """Cutting loses no packet and mixes none up."""
    packets = [(i, i, segment) for i, segment in enumerate(segments)]
    begin = data.draw(st.integers(0, len(packets)))
    end = data.draw(st.integers(begin, len(packets)))
    assert packets_of(cut(stretch_of(packets), begin, end)) == packets[begin:end]


def test_extents_of_several_windows_rise() -> None:
    """What says where bytes lie is in the order of addresses, as whoever looks them up needs it."""
    parts = [stretch_of([(0, 1, True)], window=9), stretch_of([(0, 2, True)], window=4)]
    assert interleave(parts, None).extents == ((4, 4), (9, 9))
