"""Whole runs over mutated captures keep every promise; and what breaks one is noticed."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from signal import ITIMER_PROF

import pytest

from tests.effort import tries
from tests.fuzz import promises
from tests.fuzz.__main__ import main
from tests.fuzz.found import keep, kept, outcome, reduced
from tests.fuzz.promises import OPTIONS, Case, broken_promise, case
from tests.fuzz.seeds import made
from tests.runs import Finished, run_here


def check(numbers: range, folder: Path, *, real: bool) -> None:
    """Cases of seed 1."""
    for number in numbers:
        place = folder / str(number)
        place.mkdir()
        assert broken_promise(case(1, number, real=real), place) is None, f"case {number}"


def test_mutated_captures(tmp_path: Path) -> None:
    """Any capture, any options: status 0 or 3, in time, in its folder, in bounds, with a report that can be read."""
    check(range(50), tmp_path, real=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", range(4))
def test_mutated_captures_at_length(block: int, tmp_path: Path) -> None:
    """The same for many more, the shared captures among them where they are; nightly for 2000."""
    check(range(1000 + 500 * block, 1500 + 500 * block)[: len(tries(500, 120))], tmp_path, real=True)


@pytest.mark.parametrize("name", kept())
def test_what_was_found_stays_mended(name: str, tmp_path: Path) -> None:
    """A capture that once broke a promise keeps it."""
    assert broken_promise(kept()[name], tmp_path) is None


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_sound_captures_keep_the_promises(options: tuple[str, ...], tmp_path: Path) -> None:
    """Under every set of options the captures that are mutated are processed without damage."""
    source, out = tmp_path / "in.pcap", tmp_path / "out"
    source.write_bytes(made()["rough.pcap"])
    out.mkdir()
    words = [word.replace("{out}", str(out)) for word in options]
    assert run_here("-r", source, "-o", out, "--workers", 0, "--quiet", *words).status == 0


def test_mutations_damage_some_and_leave_some() -> None:
    """Mutated captures are neither all refused nor all sound: streams come of most of them."""
    statuses = Counter[int]()

    def counted(*words: object, folder: Path | None = None) -> Finished:
        done = run_here(*words, folder=folder)
        statuses[done.status] += 1
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promises, "run_here", counted)
        for number in range(24):
            assert outcome(case(9, number, real=False), timer=ITIMER_PROF) is None
    assert statuses[0] >= 4
    assert statuses[3] >= 4


# What breaks a promise is noticed


def write(path: Path, data: bytes = b"x") -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return 0


def pipe(out: Path) -> int:
    out.mkdir(parents=True)
    os.mkfifo(out / "pipe")
    return 0


def spin() -> int:
    end = time.process_time() + 10
    while time.process_time() < end:
        pass
    return 0


BREAKERS: dict[str, Callable[[Path, Path, Path], int]] = {
    "status 70": lambda source, out, here: 70,
    "did not end": lambda source, out, here: spin(),
    "the capture was changed": lambda source, out, here: write(source),
    "outside of the output folder": lambda source, out, here: write(out.parent / "beside"),
    "outside of the output": lambda source, out, here: write(here / "current"),
    "bytes, more than": lambda source, out, here: write(out / "long", bytes(promises.HOLES + 1000)),
    "is no file": lambda source, out, here: pipe(out),
    "no report": lambda source, out, here: 0,
    "the report": lambda source, out, here: write(out / "report.xml", b"<dfxml"),
}
"""What a run does, its capture, its output folder and its current one being given; and its status."""


@pytest.mark.parametrize("problem", BREAKERS)
def test_a_broken_promise_is_noticed(problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that does one forbidden thing is reported for it."""

    def breaking(*words: object, folder: Path) -> Finished:
        return Finished(BREAKERS[problem](Path(str(words[1])), Path(str(words[3])), folder), "", "")

    monkeypatch.setattr(promises, "run_here", breaking)
    monkeypatch.setattr(promises, "SECONDS", 0.2)
    found = broken_promise(Case(b"data", "", ("-md5",)), tmp_path)
    assert found is not None
    assert problem in found


def test_a_found_case_is_made_small_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a capture only the records stay that the failure needs, and the case is read back as it was written."""
    needed = b"question"

    def failing(*words: object, folder: Path) -> Finished:
        return Finished(70 if needed in Path(str(words[1])).read_bytes() else 3, "", "error: a defect\n")

    monkeypatch.setattr(promises, "run_here", failing)
    whole = Case(made()["plain.pcap"], "", ("-md5", "--flows", "{out}/a b"))
    small = reduced(whole, "status 70\nerror: a defect\n", timer=ITIMER_PROF)
    assert needed in small.data
    assert len(small.data) < len(whole.data) // 5
    keep(small, "1-2", tmp_path)
    keep(whole, "3-4", tmp_path)
    assert kept(tmp_path) == {"1-2": small, "3-4": whole}


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command runs as many as it is told, on several processes, and says how it went."""
    assert main(["--captures", "40", "--jobs", "2", "--made", "--keep", str(tmp_path)]) == 0
    assert "40 captures in" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
