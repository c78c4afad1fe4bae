"""What a person is told while packets are captured, and afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config, Live
from pipeline.live import told
from pipeline.live.drops import NAMES
from pipeline.live.told import Lookout, after
from tests.live.test_source import Clock

NONE = dict.fromkeys(NAMES, 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(told, "time", made)
    return made


def config(expression: str = "") -> Config:
    return Config(inputs=(Path("eth0"),), live=Live(("eth0",)), expression=expression)


@pytest.mark.parametrize(
    ("up", "passed", "expression", "hint"),
    [
        (False, 0, "", "eth0 is down: ip link set eth0 up"),
        (True, 40, "port 80", "40 passed there meanwhile: check the filter expression and --direction"),
        (True, 40, "", "is it the right interface?"),
        (True, 0, "port 80", "is it the right interface?"),
    ],
)
def test_silence_at_the_beginning_is_worth_a_word(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, up: bool, passed: int, expression: str, hint: str
) -> None:
    """After five seconds, once, with the most likely cause."""
    seen = iter([0, passed])
    monkeypatch.setattr(told, "passed", lambda _: next(seen))
    monkeypatch.setattr(told, "is_up", lambda _: up)
    lookout = Lookout(config(expression))
    clock.now += 4
    assert lookout.look(0, NONE) is None
    clock.now += 2
    remark = lookout.look(0, NONE)
    assert remark is not None
    assert remark[0] == "no packet on eth0 for 5 s"
    assert remark[1].startswith(hint)
    clock.now += 100
    assert lookout.look(0, NONE) is None


def test_silence_later_on_is_none(clock: Clock) -> None:
    """Nobody sends all the time."""
    lookout = Lookout(config())
    assert lookout.look(1, NONE) is None
    clock.now += 100
    assert lookout.look(1, NONE) is None


def test_drops_are_told_every_ten_seconds(clock: Clock) -> None:
    """Each time those that are new, with what helps against them."""
    lookout = Lookout(config())
    dropped = NONE | {"kernel": 1500}
    remark = lookout.look(9, dropped)
    assert remark is not None
    assert remark[0] == "packets were dropped: 1,500 in the kernel's ring"
    assert remark[1].startswith("what helps: a larger --buffer-size; ")
    clock.now += 9
    dropped = dropped | {"kernel": 1600, "spool": 7}
    assert lookout.look(9, dropped) is None
    clock.now += 2
    remark = lookout.look(9, dropped)
    assert remark is not None
    assert remark[0] == "packets were dropped: 100 in the kernel's ring, 7 for want of room in the spool"
    clock.now += 11
    assert lookout.look(9, dropped) is None


@pytest.mark.parametrize(
    ("counters", "messages"),
    [
        ({"packets": 5}, []),
        ({"packets": 0}, ["no packet was captured on eth0"]),
        ({"packets": 0, "dropped.spool": 3}, ["packets were dropped: 3 for want of room in the spool"]),
        ({"packets": 5, "dropped.interface": 2}, ["packets were dropped: 2 by the interface"]),
        ({"packets": 5, "unaccounted": 2}, ["2 packets that the kernel counted were neither handed over nor dropped"]),
    ],
)
def test_what_is_said_at_the_end(counters: dict[str, int], messages: list[str]) -> None:
    """Nothing, when all went well."""
    assert [message for message, _ in after(config(), counters)] == messages
