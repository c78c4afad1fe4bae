"""Which packets are remembered, and what they answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.writer.analysis.fine import KEPT, Fine
from pipeline.writer.analysis.moments import Moments
from workers.analyzers.seam import Moment


def told(cuts: list[int], size: int = 10) -> Moments:
    """Packets 1, 2, 3 ... of ``size`` bytes each, in pieces of so many packets."""
    moments, packet = Moments(), 1
    for count in cuts:
        numbers = list(range(packet, packet + count))
        offsets = [(number - 1) * size for number in numbers]
        moments.append(offsets, numbers, numbers)
        packet += count
    return moments


@given(st.lists(st.integers(1, 40), min_size=1), st.data())
def test_each_byte_is_its_packets(cuts: list[int], data: st.DataObject) -> None:
    """However the packets came together; from the coarse ones it is so for the first 64."""
    moments = told(cuts)
    offset = data.draw(st.integers(0, 10 * sum(cuts) - 1))
    packet = offset // 10 + 1
    assert moments.at(offset) == Moment(packet, packet, packet)
    coarse = moments.coarse(offset)
    assert coarse.packet <= packet
    assert packet > 64 or coarse == moments.at(offset)
    assert packet - coarse.packet <= packet // 32


@pytest.mark.parametrize("cuts", [[300_000], [65_530, 100, 1] + [7] * 30_000, [1] * 140_000])
def test_long_streams_are_thinned_alike(cuts: list[int]) -> None:
    """Beyond 65,536 packets every second is kept, and so on: which ones does not depend on how they came."""
    moments, packets = told(cuts), sum(cuts)
    assert len(moments.unfold()._offsets) < 65_536 + 32_768 * 3
    assert len(moments._offsets) < 64 + 32 * 14
    for packet in (1, 65_536, 65_537, 65_538, 100_000, 139_999):
        step = 1 if packet <= 65_536 else 2 if packet <= 131_072 else 4
        expected = (packet - 1) // step * step + 1
        assert moments.at(10 * packet - 1).packet == expected
    assert moments.at(10 * packets - 1).packet > packets - 8


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 1999))
def test_few_packets_are_as_fine_as_many(cuts: list[int], offset: int) -> None:
    """What is kept of a stream of few packets answers as the fine ones would."""
    moments, fine, count = told(cuts), Fine(), sum(cuts)
    packets = range(1, count + 1)
    fine.add(0, range(0, 10 * count, 10), packets, packets)
    assert moments.at(offset) == fine.at(offset) == moments.unfold().at(offset)


def test_what_was_out_of_order() -> None:
    """A byte is known when all below it are there, or were given up; the packet is its own all the same."""
    moments = Moments()
    moments.append([0], [1], [1])
    fine = moments.unfold()
    for packet, offset in ((2, 20), (3, 40)):
        fine.add_ahead(moments.note([offset], [packet], [packet]), offset, packet, packet)
    moments.append([10], [4], [4])
    fine.settle(30)
    fine.give_up(30, 9)
    fine.settle(50)
    assert [moments.at(offset) for offset in (0, 15, 25, 35, 45)] == [
        Moment(1, 1, 1), Moment(4, 4, 4), Moment(2, 2, 4), Moment(2, 2, 9), Moment(3, 3, 9)
    ]  # fmt: skip
    assert [moments.coarse(offset).known for offset in (0, 15, 25, 45)] == [1, 4, 4, 4]


def test_what_was_fed_is_forgotten() -> None:
    """But for what a head may have taken, and the coarse ones."""
    moments = told([50] * 100, size=1000)
    moments.unfold().forget(4_000_000)
    assert len(moments.unfold()._offsets) < 1000 + 2 + KEPT // 1000
    for offset in (4_000_000 - KEPT, 4_000_000, 4_999_999):
        assert moments.at(offset).packet == offset // 1000 + 1
    moments.drop()
    assert moments.coarse(4_999_999).packet > 4_800
