"""How much may be under way: as much as is written soon, at the pace of late."""

from __future__ import annotations

import pytest

from pipeline.stages.pace import LEAST, MOST, SECONDS, Pace


class Disk:
    """A disk that takes so many bytes a second, kept busy by whoever fills the room there is."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.now = 0.0

    def take(self, rate: float, seconds: float, delay: float = 0.05) -> int:
        """For so long; each batch takes ``delay`` besides. Gives the room at the end."""
        end = self.now + seconds
        while self.now < end:
            self.pace.sent(self.now, first=True)
            size = self.pace.room(self.now, waits=True) // 2
            self.now += size / rate + delay
            self.pace.written(size, self.now)
        return self.pace.room(self.now, waits=False)


@pytest.mark.parametrize("rate", [1e6, 5e6, 20e6])
def test_room_is_what_a_slow_disk_writes_soon(rate: float) -> None:
    """Within a few seconds, from either side."""
    disk = Disk()
    expected = max(SECONDS * rate, LEAST)
    assert expected / 2 < disk.take(rate, 8) <= expected * 1.2
    disk.take(1e9, 4)
    assert expected / 2 < disk.take(rate, 8) <= expected * 1.2


def test_a_fast_disk_gets_all_the_room_soon() -> None:
    """Though it begins with little."""
    disk = Disk()
    assert disk.pace.room(0.0, waits=False) == LEAST
    assert disk.take(1e9, 2) == MOST


def test_room_shrinks_while_nothing_is_written() -> None:
    """A disk that stops is not known to be slow until it writes again, but time tells."""
    disk = Disk()
    disk.take(1e9, 4)
    disk.pace.sent(disk.now, first=True)
    rooms = [disk.pace.room(disk.now + seconds, waits=True) for seconds in (0, 10, 1000)]
    assert rooms == sorted(rooms, reverse=True)
    assert (rooms[0], rooms[-1]) == (MOST, LEAST)


def test_time_without_work_does_not_count() -> None:
    """A link that is quiet makes no disk slow."""
    disk = Disk()
    room = disk.take(50e6, 4)
    disk.now += 3600
    for _ in range(3600):
        disk.pace.sent(disk.now, first=True)
        disk.now += 0.01
        disk.pace.written(0, disk.now)
    assert disk.pace.room(disk.now, waits=False) == room
