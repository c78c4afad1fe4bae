"""A disk that is slow for a while: nothing is lost while the spool has room, then what is dropped is counted.

The soaks of tests/bench/soak.py, for some seconds.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.soak import MIB, slow_disk, steady
from tests.live.network import Network, capturing
from tests.live.talk import Talk
from tests.runs import counters, report_of

pytestmark = pytest.mark.live


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("words", [pytest.param((), marks=pytest.mark.slow), ("--keep-packets", "kept")])
def test_a_signal_ends_it_in_time_though_the_disk_is_slow(
    network: Network, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """What the disk has no time for is given up, and counted; what is under way to it is little."""
    network.command = lambda *rest: [sys.executable, "-m", "tests.live.slow", "1e6", "1000", *rest]  # type: ignore[method-assign]
    talk = Talk(20, 2, 50, 8000)
    keep = [*words[:1], *(tmp_path / word for word in words[1:])]
    with capturing(network, tmp_path / "live", "-i", "a1", "--no-promiscuous", *keep) as run:
        sender = network.start([sys.executable, "-m", "tests.live.talk", "a0", *talk.words()])
        assert sender.wait(20) == 0
        begun = time.monotonic()
        status, said = run.stops(signal.SIGINT)
        assert time.monotonic() - begun < 5
    assert status == 0, said
    found = counters(report_of(tmp_path / "live"))
    assert found["dropped.unfinished"] > 0
    assert found["packets"] + found["dropped.unfinished"] == found["received"] == talk.connections * talk.packets
    assert f"{found['dropped.unfinished']:,} when the time to finish was over" in said


@pytest.mark.slow
def test_a_slow_disk_costs_what_the_spool_cannot_hold() -> None:
    """And not longer than it is slow."""
    assert slow_disk(Talk(25, 21, 50, 4000), 14, 32 * MIB).wrong == []


@pytest.mark.slow
def test_it_stays_as_small_as_it_is() -> None:
    """Memory, open files, processes; within what so short a time can tell."""
    wrong = steady(Talk(200, 12, 10, 1000)).wrong
    assert [each for each in wrong if "memory" not in each] == []
