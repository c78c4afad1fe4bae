"""Measurements of scale measure what they say, and give no figure for what did not work."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.generate import cached
from tests.bench.measure import RunFailed, timed
from tests.bench.run import Measured, Plan, Row, flowshard
from tests.bench.scale import growth, held, peers
from tests.bench.scale.children import child
from tests.bench.scale.settings import Settings
from tests.bench.scale.sink import Sink
from tests.bench.scale.stages import REST, STAGES, Watch, staged

COMMAND = (sys.executable, "-m", "pipeline")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "captures", tmp_path, COMMAND, quick=True)


def test_output_that_need_not_stay(tmp_path: Path) -> None:
    """Names and sizes stay, what files hold is given back, the report is whole."""
    for name in ("stream", "report.xml"):
        (tmp_path / name).write_bytes(b"x" * 100_000)
    (tmp_path / "folder").mkdir()
    Sink(tmp_path, active=True).drain()
    stream, report = (tmp_path / name for name in ("stream", "report.xml"))
    assert (stream.stat().st_size, report.read_bytes()) == (100_000, b"x" * 100_000)
    assert stream.stat().st_blocks * 512 < 4_096 + report.stat().st_blocks * 512 - 90_000
    with Sink(tmp_path / "nowhere", active=False):
        pass  # it is not looked at


def test_output_is_emptied_where_it_has_no_room(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that is larger than half of the memory is measured all the same, every stream with its size, and the
    table says so."""
    monkeypatch.setattr(growth, "_available", lambda: 0)
    monkeypatch.setattr(growth, "_SIZES", (0.1,))
    (row,) = growth.sizes(settings)["rows"]
    assert row["emptied"]
    assert row["tools"]["flowshard"]["cpu"] > 0


def test_cpu_time_by_the_names_of_processes() -> None:
    """What a process called worker-0 takes is the worker's, and nobody else's."""
    burn = "open('/proc/self/comm', 'w').write('worker-0')\nimport time\nwhile time.process_time() < 0.5: pass"
    with Watch() as watch:
        took = timed([sys.executable, "-S", "-c", burn])
    assert 0.2 < watch.seconds["worker"] <= took.cpu
    assert watch.seconds["capture"] == watch.seconds["writer"] == 0


@pytest.mark.slow
def test_stages_add_up(settings: Settings, tmp_path: Path) -> None:
    """The stages and the rest are the run, whatever a sample missed."""
    path, _ = cached("tiny", 0.05, 1, settings.folder)
    found = staged(settings, path, tmp_path / "out", "streams", ["--workers=1"])
    assert found["stages"].keys() == {*STAGES, REST}
    assert sum(found["stages"].values()) == pytest.approx(found["cpu"])
    assert found["stages"][REST] > 0


@pytest.mark.slow
def test_the_capture_process_alone(settings: Settings) -> None:
    """It reads all packets, for any number of workers."""
    path, expected = settings.capture("tiny")
    for workers in (1, 3):
        found = child("tests.bench.scale.alone", path, workers)
        assert found["packets"] == expected.packets
        assert 10 < found["messages"] / expected.packets < 100
        assert found["cpu"] > 0


@pytest.mark.slow
def test_packets_in_flight(settings: Settings) -> None:
    """A packet in flight takes less than 100 bytes, in the messages of both links together."""
    path, expected = settings.capture("tiny")
    found = child("tests.bench.scale.held", "flight", path)
    assert found["packets"] == expected.packets
    assert found["to_worker"] + found["to_writer"] < 100 * expected.packets


@pytest.mark.slow
def test_connections_that_wait() -> None:
    """A worker holds less than 1 kB of an idle open connection, less than 300 bytes of a half-open one; memory is that
    of connections, so more for more."""
    for kind in ("idle", "half-open"):
        few, many = (child("tests.bench.scale.held", kind, count)["grown"] for count in (10_000, 40_000))
        assert 0 < few < many < held.GOALS[kind] * 40_000


def test_a_measurement_that_fails_is_no_figure() -> None:
    """What a child complains of is told."""
    with pytest.raises(RunFailed, match="no-such-capture"):
        child("tests.bench.scale.alone", "no-such-capture", 1)


def test_streams_that_are_missing_are_no_figure(settings: Settings, tmp_path: Path) -> None:
    """Sizes and names of all streams are looked at after each run, also where what they hold is gone."""
    _, expected = cached("start", 1.0, 1, settings.folder)
    tool = flowshard(COMMAND)
    out = tmp_path / "out"
    out.mkdir()
    for name, stream in expected.streams.items():
        (out / name).write_bytes(bytes(stream.size))
    growth.check_sizes(out, expected, tool)
    (out / name).write_bytes(b"")
    with pytest.raises(RunFailed, match="1 streams are not as expected"):
        growth.check_sizes(out, expected, tool)


def test_captures_that_have_no_room_say_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 GB on a full disk is a line with a reason; so is what does not fit into the output."""
    usage = shutil.disk_usage(settings.output)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    rows = growth.sizes(settings)["rows"]
    assert ["GB free" in row["missing"] for row in rows] == [True, True]
    with pytest.raises(RunFailed, match="hint: "), settings.room(2_000):
        pass


@pytest.mark.slow
def test_programs_that_are_not_there_are_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tcpflow, tshark and zstd there are figures of ours, and what is missing is said."""
    plans: list[Plan] = []

    def only_plan(plan: Plan, say: object) -> Iterator[Row]:
        plans.append(plan)
        _, expected = cached("start", 1.0, 1, settings.folder)
        yield Row(expected, "streams", {"flowshard": Measured([timed([sys.executable, "-S", "-c", ""])])})

    there = {"cp": shutil.which("cp"), "md5sum": shutil.which("md5sum")}
    monkeypatch.setattr(shutil, "which", there.get)
    monkeypatch.setattr(peers, "run", only_plan)
    found = peers.measure(settings)
    assert [[tool.name for tool in plan.tools] for plan in plans] == [["flowshard"]]
    assert found["missing"] == ["tcpflow", "tshark", "zstd"]
    assert {row["program"] for row in found["others"]} == {"cp", "md5sum"}
    assert [row["ratio"] for row in found["rows"]] == [None]
