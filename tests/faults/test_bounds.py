"""How often a run begins anew, and what is never begun anew: without processes, and by a clock of the test's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.coordinator import MappingLost, ProcessLost
from pipeline.errors import CaptureError, InternalError
from pipeline.recovery.anew import MOST_A_MINUTE, MOST_IN_A_ROW, Deaths, run_until_done
from pipeline.results import Results
from pipeline.stages.inhand import Place
from tests.runs import run_here

DONE = Results({}, (), (), (), ())


def place(first: int, name: str = "worker-0") -> Place:
    return Place(name, first // 100, first, first + 100)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "x.pcap").write_bytes(b"")
    return Config(inputs=(tmp_path / "x.pcap",))


class Runs:
    """Stands for the runs: each item is what one of them ends with."""

    def __init__(self, *ends: Exception | None) -> None:
        self.ends = list(ends)
        self.begun: list[tuple[bool, int]] = []  # with mappings, and how often before
        self.cleared = 0

    def once(self, config: Config, begun: int) -> Results:
        self.begun.append((config.mapped, begun))
        end = self.ends.pop(0)
        if end is not None:
            raise end
        return DONE

    def clear(self) -> None:
        self.cleared += 1


def lost(where: Place | None) -> ProcessLost:
    return ProcessLost("worker-0", where, "worker-0 died", "please report this")


def test_deaths_here_and_there_are_survived(config: Config) -> None:
    """As many as a minute allows, in different places: each time what was made is removed first."""
    runs = Runs(*(lost(place(1 + 100 * n)) for n in range(MOST_A_MINUTE)), None)
    assert run_until_done(config, runs.once, runs.clear) is DONE
    assert (runs.cleared, [begun for _, begun in runs.begun]) == (5, [0, 1, 2, 3, 4, 5])


def test_more_deaths_than_a_minute_allows_end_the_run(config: Config) -> None:
    """The sixth within a minute is told with its number, and is the last."""
    runs = Runs(*(lost(None) for _ in range(MOST_A_MINUTE + 1)))
    with pytest.raises(InternalError, match="with nothing in hand: 6 deaths within a minute"):
        run_until_done(config, runs.once, runs.clear)


def test_the_minute_moves_on() -> None:
    """A death every 13 s is within the budget for ever."""
    deaths = Deaths()
    assert all(deaths.add("worker-0", place(n), None, 13.0 * n) is None for n in range(100))


def test_deaths_in_one_place_are_counted_in_a_row() -> None:
    """Another place, or another process there, begins the count anew."""
    deaths = Deaths()
    for n in range(MOST_IN_A_ROW):
        assert deaths.add("worker-0", place(1), None, 100.0 * n) is None
    assert deaths.add("writer-0", place(1, "writer-0"), None, 1000.0) is None
    for n in range(MOST_IN_A_ROW):
        assert deaths.add("worker-0", place(1), None, 2000.0 + 100 * n) is None
    assert deaths.add("worker-0", place(1), None, 3000.0) == "4 times in a row there"


def test_what_cannot_be_done_again_is_not(config: Config) -> None:
    """-c and --follow: the first death ends the run."""
    for kind in (replace(config, console=True), replace(config, follow=True)):
        runs = Runs(lost(place(1)))
        with pytest.raises(InternalError, match=r"worker-0 died at packets 1 to 100 of .*x\.pcap"):
            run_until_done(kind, runs.once, runs.clear)
        assert runs.cleared == 0


def test_a_mapping_that_fails_is_read_as_copies_once(config: Config) -> None:
    """It is no death; a second one is the input's fault."""
    runs = Runs(MappingLost("a bad block"), MappingLost("again"))
    with pytest.raises(CaptureError, match="again"):
        run_until_done(config, runs.once, runs.clear)
    assert runs.begun == [(True, 0), (False, 0)]


def test_in_one_process_nobody_is_left_to_save(config: Config, tmp_path: Path) -> None:
    """--save-crash is refused with --workers 0, and where its folder cannot be."""
    done = run_here("-r", config.inputs[0], "-o", tmp_path / "out", "--workers", "0", "--save-crash", tmp_path / "k")
    assert (done.status, "--save-crash and --workers 0 exclude one another" in done.err) == (2, True)
    done = run_here("-r", config.inputs[0], "-o", tmp_path / "out", "--save-crash", config.inputs[0])
    assert (done.status, "is not a folder" in done.err) == (2, True)
