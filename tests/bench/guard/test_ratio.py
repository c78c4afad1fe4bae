"""A product that takes twice the CPU time is noticed, one that takes a little more is not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bench.guard import __main__ as command
from tests.bench.guard import ratio
from tests.bench.guard.ratio import OUTPUT, Found, judge, measure
from tests.bench.guard.reference import work
from tests.bench.measure import Timed

_TWICE = """
import resource, subprocess, sys, time
done = subprocess.run([sys.executable, "-m", "pipeline", *sys.argv[1:]])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
while time.process_time() < used.ru_utime + used.ru_stime:
    pass
sys.exit(done.returncode)
"""
"""flowshard, and as much CPU time again."""


@pytest.mark.parametrize(("times", "fine"), [(0.4, True), (1.0, True), (1.4, True), (1.6, False), (2.0, False)])
def test_twice_is_too_much(times: float, fine: bool) -> None:
    """What noise makes is allowed, what a defect makes is not."""
    assert (judge(times * 2.5, 2.5) is None) == fine


def test_the_least_of_each_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Product and reference run in turn, and a disturbed run changes nothing."""
    order: list[str] = []
    seconds = {"reference": iter([9.0, 1.0, 3.0]), "pipeline": iter([2.0, 2.0, 30.0, 1.0, 1.5, 1.5])}

    def run(line: Sequence[str]) -> Timed:
        order.append("reference" if "tests.bench.guard.reference" in line else "pipeline")
        return Timed(1.0, next(seconds[order[-1]]))

    monkeypatch.setattr(ratio, "timed", run)
    found = measure(["pipeline"], tmp_path, tmp_path, 3, part=0.001)
    assert order == ["reference", "pipeline", "pipeline"] * 3
    assert found == Found(3.0, 1.0)


@pytest.mark.parametrize(("product", "status"), [(2.0, 0), (4.0, 1)])
def test_the_command_fails_when_it_is_slower(
    product: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against what is recorded, with a hint."""
    monkeypatch.setattr(command, "recorded", lambda: 2.0)
    monkeypatch.setattr(command, "measure", lambda *_, **__: Found(product, 1.0))
    monkeypatch.setattr(sys, "argv", ["guard"])
    assert command.main() == status
    assert ("hint: " in capsys.readouterr().err) == bool(status)


@pytest.mark.slow
def test_the_reference_is_fixed(tmp_path: Path) -> None:
    """Another reference would make every recorded ratio void."""
    assert work(tmp_path) == "e2ebad636f4c76b86c20693878846fad"
    assert len(list(tmp_path.iterdir())) == 8_000


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_product_twice_as_slow_is_noticed(tmp_path: Path) -> None:
    """The real product with as much CPU time again fails where the real product is what is expected."""
    plain, twice = [sys.executable, "-m", "pipeline"], [sys.executable, "-c", _TWICE]
    expected, slower = (measure(each, tmp_path, OUTPUT, 3, part=0.25).ratio for each in (plain, twice))
    assert judge(expected, expected) is None
    assert judge(slower, expected) is not None
