"""The page says what is recorded, and nothing else."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.bench.measure import RunFailed
from tests.bench.page import __main__ as command
from tests.bench.page.model import fit
from tests.bench.page.recorded import RECORDED, Section, load, machine
from tests.bench.page.render import PICTURE, page
from tests.bench.page.sections import SECTIONS
from tests.bench.page.tables import TABLES

MOST_PICTURE_BYTES = 100_000


@pytest.fixture(scope="module")
def recorded() -> dict[str, Section]:
    return load()


def test_the_page_in_the_tree_is_what_is_recorded(recorded: dict[str, Section]) -> None:
    """deploy/BENCHMARKS.md is made by the tool from tests/bench/page/recorded/, and edited by nobody."""
    assert command.PAGE.read_text(encoding="utf-8") == page(recorded), "python -m tests.bench.page --render"


def test_every_section_has_its_measurement_and_its_text(recorded: dict[str, Section]) -> None:
    """None is measured and not shown, none is shown and cannot be measured, all are recorded."""
    assert list(SECTIONS) == list(TABLES)
    assert set(SECTIONS) == set(recorded)


def test_what_is_not_recorded_is_not_there(recorded: dict[str, Section]) -> None:
    """A section that was never measured says so; without any there are no figures."""
    text = page({name: one for name, one in recorded.items() if name != "sizes"})
    assert text.count("Not measured yet.") == 1
    assert page({}).count("Not measured yet.") == len(TABLES)


def test_goals_stand_beside_figures(recorded: dict[str, Section]) -> None:
    """What misses its goal is marked, what reaches it is not."""
    memory = deepcopy(recorded["memory"]["data"])
    text = TABLES["memory"][1]
    for grown, missed in ((100, 0), (10**9, len(memory["connections"]))):
        for row in memory["connections"]:
            row["grown"] = grown
        assert "\n".join(text(memory)).count("**missed**") == missed


def test_what_could_not_be_measured_says_why(recorded: dict[str, Section]) -> None:
    """A capture that had no room has its reason in the table, and the others their figures."""
    sizes = deepcopy(recorded["sizes"]["data"])
    sizes["rows"].append({"gigabytes": 16, "tools": {}, "missing": "the folder of the captures has 3 GB free"})
    assert "\n".join(TABLES["sizes"][1](sizes)).count("3 GB free") == 1


def test_small_and_disturbed_measurements_are_marked(recorded: dict[str, Section]) -> None:
    """Nobody takes the figures of --quick, or of a machine that was not idle, for others."""
    changed = deepcopy(recorded)
    for one in changed.values():
        one["quick"], one["machine"]["load"] = False, 0.1
    assert "**" not in page(changed).partition("## The machine")[0]
    changed["sizes"]["quick"] = True
    assert f"(`--quick`): {TABLES['sizes'][0]}.**" in page(changed)
    changed["open"]["machine"]["load"] = 2.0
    assert f"not idle before: {TABLES['open'][0]}.**" in page(changed)


def test_machines_are_told_apart(recorded: dict[str, Section]) -> None:
    """A section that was measured elsewhere is said to be."""
    changed = deepcopy(recorded)
    changed["memory"]["machine"]["processor"] = "another"
    assert page(changed).count(" cores, ") == page(recorded).count(" cores, ") + 1


def test_nothing_of_this_machine_but_what_it_is(recorded: dict[str, Section]) -> None:
    """No host name, no user's folder, no place of captures or output is recorded or shown."""
    text = json.dumps([recorded, machine()]) + page(recorded)
    for word in (socket.gethostname(), str(Path.home()), "/dev/shm", "/tmp", str(RECORDED.parent)):
        assert word not in text


def test_the_model_on_the_page_is_fitted_to_what_is_recorded(recorded: dict[str, Section]) -> None:
    """The costs are those of the runs beside them."""
    data = recorded["model"]["data"]
    for mode, model in data["model"].items():
        again = fit([row for row in data["fitted"] if row["mode"] == mode])
        for stage, costs in model.items():
            assert costs == pytest.approx(again[stage], rel=0.02, abs=1e-12)


@pytest.mark.slow
def test_the_picture(recorded: dict[str, Section]) -> None:
    """An SVG of less than 100 kB, the same each time."""
    pytest.importorskip("matplotlib")
    from tests.bench.page.plot import plot

    text = plot(recorded)
    assert plot(recorded) == text
    assert etree.fromstring(text.encode()).tag.endswith("svg")
    for name in ("By connections open at once", "tcpflow", "flowshard"):
        assert name in text
    assert max(len(text.encode()), command.PAGE.with_name(PICTURE).stat().st_size) < MOST_PICTURE_BYTES
    assert "By the size" not in plot({name: one for name, one in recorded.items() if name != "sizes"})


def _fails(settings: object) -> dict[str, Any]:
    raise RunFailed("no room")


@pytest.mark.slow
def test_a_section_by_itself(
    tmp_path: Path, recorded: dict[str, Section], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--only replaces that section and leaves the others; one that fails changes nothing, and those behind it are done;
    --show changes nothing at all."""
    (tmp_path / "recorded").mkdir()
    monkeypatch.setattr(command, "RECORDED", tmp_path / "recorded")
    monkeypatch.setattr(command, "PAGE", tmp_path / "page.md")
    for name, figures in (("sizes", "sizes"), ("memory", "memory"), ("open", None)):
        data = recorded[figures]["data"] if figures else None
        measure = (lambda settings, data=data: data) if data else _fails
        monkeypatch.setitem(SECTIONS, name, measure)

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["page", *words])
        return command.main()

    assert run("--only", "sizes", "--quick") == 0
    before = (tmp_path / "recorded" / "sizes.json").read_text()
    assert run("--only", "open", "memory") == 1
    assert "no room" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "recorded").iterdir()) == ["memory.json", "sizes.json"]
    assert (tmp_path / "recorded" / "sizes.json").read_text() == before
    shown = (tmp_path / "page.md").read_text()
    assert shown == page(load(tmp_path / "recorded"))
    (tmp_path / "page.md").unlink()
    assert run("--only", "memory", "--show") == 0
    assert "bytes to a worker" in capsys.readouterr().out
    assert not (tmp_path / "page.md").exists()
    assert run("--render") == 0
    assert (tmp_path / "page.md").read_text() == shown


def test_help_names_every_section() -> None:
    """What --only takes is said."""
    parser: argparse.ArgumentParser = command._parser()
    assert all(name in parser.format_help() for name in SECTIONS)
