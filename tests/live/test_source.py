"""All interfaces as one input: when it ends, what belongs to it, and that every packet is accounted for."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.config import Config, Live
from pipeline.live import source as module
from pipeline.live.source import LiveInput
from pipeline.spool.slabs import Spool
from tests.live.taps import Tap

Make = Callable[..., LiveInput]


class Clock:
    """Time as the test has it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def taps() -> list[Tap]:
    return [Tap()]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, taps: list[Tap], clock: Clock) -> Iterator[Make]:
    """Makes an input of the taps; ``slabs`` bounds the spool, the rest are limits of the capture."""
    made: list[LiveInput] = []

    def opened(slabs: int = 16, **limits: int) -> LiveInput:
        waiting = iter(taps)
        monkeypatch.setattr(module, "Interface", lambda *_: next(waiting))
        live = Live(tuple(str(n) for n in range(len(taps))), **limits)  # type: ignore[arg-type]
        page = mmap.PAGESIZE
        made.append(LiveInput(Config(inputs=(Path("tap0"),), live=live), Spool(None, slabs * page, page)))
        return made[-1]

    yield opened
    for each in made:
        each.close()


def taken(source: LiveInput) -> int:
    """Packets of all blocks that can be had."""
    count = 0
    while (block := source.next()) is not None:
        count += len(block.records.start)
        assert block.lease is not None
        block.lease.drop()
    return count


def test_what_a_stop_finds_in_the_ring_is_read(make: Make, taps: list[Tap], clock: Clock) -> None:
    """What the kernel had received when the capture was stopped belongs to it, what comes later does not."""
    source = make()
    taps[0].receive([60] * 5)
    source.read()
    taps[0].received += 3  # in a block of the ring that is not handed over yet
    source.stop()
    source.read()
    assert not source.ended
    taps[0].receive([60] * 7)
    source.read()
    assert source.ended
    assert taken(source) == 8
    assert source.counters()["received"] == source.handed == 8
    assert source.counters()["unaccounted"] == 0


def test_a_ring_that_stays_empty_ends_it(make: Make, taps: list[Tap], clock: Clock) -> None:
    """Where the kernel's count is no promise, a moment without packets is the end; a count that was one is told."""
    source = make()
    taps[0].received = 9
    source.stop()
    source.read()
    assert not source.ended
    clock.now += module._QUIET * 1.1
    source.read()
    assert source.ended
    assert source.counters()["unaccounted"] == 9
    taps[0].exact = False
    assert source.counters()["unaccounted"] == 0


def test_a_ring_that_is_too_full_is_left(make: Make, taps: list[Tap], clock: Clock) -> None:
    """What could not be read in time was dropped in the kernel's ring."""
    source = make()
    taps[0].received = 100
    source.stop()
    while not source.ended:
        taps[0].receive([60])
        taps[0].received -= 1
        clock.now += 0.1
        source.read()
    found = source.counters()
    assert 0 < found["handed"] < 20
    assert (found["handed"] + found["dropped.kernel"], found["unaccounted"]) == (100, 0)


@pytest.mark.parametrize(
    ("limits", "packets"),
    [({"packets": 7}, 7), ({"packets": 3}, 3), ({"bytes": 600}, 6), ({"bytes": 601}, 7), ({"bytes": 1}, 1), ({}, 10)],
)
def test_a_limit_is_kept_to_the_packet(make: Make, taps: list[Tap], limits: dict[str, int], packets: int) -> None:
    """The packet that reaches a number of bytes is the last one; none behind it is counted."""
    source = make(**limits)
    taps[0].receive([100] * 5)
    taps[0].receive([100] * 5)
    source.read()
    assert source.ended == bool(limits)
    assert taken(source) == source.handed == packets
    assert source.counters()["unaccounted"] == 0


def test_a_limit_counts_over_all_interfaces(make: Make, taps: list[Tap]) -> None:
    """The second interface gets what the first left."""
    taps.append(Tap())
    source = make(packets=7)
    for tap in taps:
        tap.receive([100] * 5)
    source.read()
    assert source.ended
    assert taken(source) == 7


def test_a_duration_ends_it(make: Make, clock: Clock) -> None:
    """By a clock that nobody sets."""
    source = make(duration=5)
    source.read()
    clock.now += 4.9
    source.read()
    assert not source.stopped
    clock.now += 0.2
    source.read()
    assert source.ended


def test_what_has_no_room_is_dropped_and_counted(make: Make, taps: list[Tap]) -> None:
    """Packets handed over are those stored and those dropped; the kernel's own drops stand beside them."""
    source = make(slabs=2)
    for _ in range(3):
        taps[0].receive([mmap.PAGESIZE // 2] * 2)
    taps[0].drop(11)
    source.stop()
    source.read()
    source.read()
    found = source.counters()
    assert taken(source) == 4
    assert (found["handed"], found["dropped.spool"], found["dropped.spool.bytes"]) == (6, 2, mmap.PAGESIZE)
    assert (found["received"], found["dropped.kernel"], found["unaccounted"]) == (17, 11, 0)
    assert found["dropped.seconds"] == 1


def test_what_nobody_takes_in_time_is_counted(make: Make, taps: list[Tap]) -> None:
    """Nothing waits behind it."""
    source = make()
    taps[0].receive([60] * 5)
    source.read()
    assert source.waiting
    source.abandon()
    assert not source.waiting
    assert source.next() is None
    assert source.counters()["dropped.unfinished"] == 5
    assert source.counters()["dropped.unfinished.bytes"] == 300


def test_an_interface_that_is_lost_is_a_fault(make: Make, taps: list[Tap]) -> None:
    """The others go on; with the last one the capture ends."""
    taps.append(Tap())
    source = make()
    for tap in taps:
        tap.receive([60] * 2)
    taps[0].lost = "The interface went down"
    source.read()
    source.read()
    assert not source.ended
    assert source.descriptors() == [taps[1].descriptor]
    assert [fault.problem for fault in source.facts.faults] == ["tap0: the interface went down"]
    taps[1].lost = "The interface went down"
    source.read()
    assert source.ended
    assert taken(source) == 4
    assert [fault.offset for fault in source.facts.faults] == [240, 240]
