"""The comparison is fair, and figures of wrong output are never shown."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.generate import Expected, cached, stream_names
from tests.bench.measure import RunFailed, Timed
from tests.bench.run import Measured, Plan, Row, Tool, check_output, flowshard, padded_name, run, tcpflow

_COPY = """
import pathlib, shutil, sys
source, log, name = sys.argv[1:4]
target = sys.argv[sys.argv.index("-o") + 1]
if any(pathlib.Path(target).iterdir()):
    sys.exit("the folder is not empty")
shutil.copytree(source, target, dirs_exist_ok=True)
with open(log, "a") as words:
    words.write(name + " ")
"""


@pytest.fixture
def right(tmp_path: Path) -> Path:
    """The output that is expected for the capture of five packets."""
    capture, expected = cached("start", 1.0, 1, tmp_path / "captures")
    folder = tmp_path / "right"
    folder.mkdir()
    (folder / "report.xml").write_text("<dfxml/>")
    frames = capture.read_bytes()
    for name, stream in expected.streams.items():
        start = frames.index(b"GET " if name.endswith(".80") else b"HTTP/1.1 200")
        (folder / name).write_bytes(frames[start : start + stream.size])
    return folder


def copier(name: str, source: Path, log: Path) -> Tool:
    """A tool that puts a copy of ``source`` where its output goes."""
    words = (sys.executable, "-S", "-c", _COPY, str(source), str(log), name)
    return Tool(name, words, {"streams": (), "md5": ("-md5",)})


def plan_of(tmp_path: Path, *tools: Tool) -> Plan:
    return Plan(("start",), ("streams",), tools, 3, 1.0, 1, tmp_path / "captures", tmp_path)


def test_tools_run_in_turn(tmp_path: Path, right: Path) -> None:
    """A warm-up each, then A B A B A B, then memory; each into an empty folder that is gone at the end."""
    log = tmp_path / "log"
    tools = [copier(name, right, log) for name in ("A", "B")]
    (row,) = run(plan_of(tmp_path, *tools), lambda words: None)
    assert log.read_text().split() == ["A", "B"] + ["A", "B"] * 3 + ["A", "B"]
    assert [len(one.runs) for one in row.tools.values()] == [3, 3]
    assert all(one.memory is not None for one in row.tools.values())
    assert not list(tmp_path.glob("flowshard-bench-*"))


@pytest.mark.parametrize("damage", ["missing", "more", "differs", "report"])
def test_wrong_output_is_refused(damage: str, tmp_path: Path, right: Path) -> None:
    """No figures for a tool that did not do the work."""
    client, _ = stream_names(0, 80)
    if damage == "missing":
        (right / client).unlink()
    elif damage == "more":
        (right / "more").touch()
    elif damage == "differs":
        (right / client).write_bytes((right / client).read_bytes()[:-1] + b"!")
    else:
        (right / "report.xml").unlink()
    with pytest.raises(RunFailed, match=r"missing|unexpected|differ|no report"):
        list(run(plan_of(tmp_path, copier("A", right, tmp_path / "log")), lambda words: None))


@pytest.mark.parametrize(
    ("kind", "names", "problem"),
    [
        ("web", ["-HTTP", "-HTTPBODY"], None),
        ("web", ["-HTTP"], "no bodies"),
        ("start", [], None),
        ("start", ["-HTTPBODY-002"], None),
        ("start", ["-TLS"], "1 unexpected"),
    ],
)
def test_files_of_what_was_found(kind: str, names: list[str], problem: str | None, tmp_path: Path, right: Path) -> None:
    """With analysis there are more files than streams, but only such and a picture; of web there must be bodies."""
    _, expected = cached("start", 1.0, 1, tmp_path / "captures")
    client, _ = stream_names(0, 80)
    for name in (f"{client}{mark}" for mark in names):
        (right / name).touch()
    (right / "report.pdf").touch()
    tool = copier("A", right, tmp_path / "log")
    with pytest.raises(RunFailed, match=problem) if problem else nullcontext():
        check_output(right, dataclasses.replace(expected, kind=kind), tool, analyzed=True)


def test_analysis_is_measured_where_it_says_something(tmp_path: Path, right: Path) -> None:
    """Not on captures that are large and hold nothing that is known."""
    tool = copier("A", right, tmp_path / "log")
    plan = dataclasses.replace(plan_of(tmp_path, tool), modes=("analyze",), captures=("bulk", "disorder"), size=0.001)
    assert list(run(plan, lambda words: None)) == []


def test_too_little_room_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: Path) -> None:
    """Output that will not fit is a message, not a full tmpfs."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000))
    with pytest.raises(RunFailed, match="hint: "):
        list(run(plan_of(tmp_path, copier("A", right, tmp_path / "log")), lambda words: None))


@pytest.mark.parametrize(
    ("name", "padded"),
    [
        ("10.1.0.1.32768-192.0.2.1.80", "010.001.000.001.32768-192.000.002.001.00080"),
        ("192.0.2.200.5001-10.1.15.250.40000", "192.000.002.200.05001-010.001.015.250.40000"),
    ],
)
def test_padded_names(name: str, padded: str) -> None:
    """tcpflow pads every byte of an address to three digits and a port to five."""
    assert padded_name(name) == padded


@pytest.mark.parametrize(
    ("kind", "mode", "ours", "theirs", "met"),
    [
        ("bulk", "streams", 1.0, 1.6, True),
        ("bulk", "streams", 1.0, 1.59, False),
        ("bulk", "md5", 1.0, 2.4, False),
        ("web", "analyze", 1.0, 1.6, True),
        ("web", "analyze", 1.0, 1.59, False),
        ("tiny", "md5", 9.0, 1.0, True),  # no target
        ("web", "streams", 1.0, None, False),  # not measured is not reached
        ("start", "streams", 0.24, None, True),
        ("start", "streams", 0.26, 9.0, False),
    ],
)
def test_targets(kind: str, mode: str, ours: float, theirs: float | None, met: bool) -> None:
    """A row is judged by the ratio of medians, the start by its seconds."""
    tools = {"flowshard": Measured([Timed(ours * part, 0.0) for part in (0.1, 1.0, 50.0)])}
    if theirs is not None:
        tools["tcpflow"] = Measured([Timed(theirs, 0.0)])
    assert Row(Expected(kind, 1.0, 1, 1, 1, 1, 1, {}), mode, tools).met() is met


def test_command_line(
    tmp_path: Path, right: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command prints a table and keeps the figures; a failed run has exit status 1."""
    tool = copier("flowshard", right, tmp_path / "log")
    monkeypatch.setattr("tests.bench.__main__.flowshard", lambda _: tool)
    words = ["bench", "--only", "tiny", "--modes", "md5", "--size", "0.0001", "--start", "--runs", "1"]
    words += ["--tools", "flowshard", "--dir", str(tmp_path / "captures"), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*words, "--json", str(tmp_path / "json")])
    assert main() == 1  # the copy is not what tiny holds
    assert "missing" in capsys.readouterr().err

    monkeypatch.setattr("tests.bench.__main__.run", lambda plan, say: run(only_start(plan), say))
    assert main() == 0
    (row,) = json.loads((tmp_path / "json").read_text())["rows"]
    assert (row["capture"], row["packets"], len(row["tools"]["flowshard"]["runs"])) == ("start", 5, 1)
    monkeypatch.setattr(sys, "argv", [*words, "--check"])
    assert main() == 0  # five packets take less than 0.25 s to copy
    shown = capsys.readouterr().out
    assert "0.25 s" in shown
    assert "start" in shown


def only_start(plan: Plan) -> Plan:
    return dataclasses.replace(plan, captures=("start",))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tcpflow") is None, reason="tcpflow is not installed")
def test_tcpflow_gives_the_expected_streams(tmp_path: Path) -> None:
    """The peer finds in every capture what the generator says is there."""
    kinds = ("bulk", "web", "tiny", "disorder")
    plan = Plan(kinds, ("md5",), (tcpflow("tcpflow"),), 1, 0.003, 5, tmp_path, tmp_path, memory=False)
    assert [row.capture.kind for row in run(plan, lambda words: None)] == list(kinds)


def test_flowshard_is_asked_for_the_same() -> None:
    """Both tools get the same capture, output folder and report, and with analysis both make MD5s."""
    ours = flowshard(["flowshard", "--workers=2"]).lines("md5", Path("x"), Path("d"))
    theirs = tcpflow("tcpflow").lines("md5", Path("x"), Path("d"))
    assert ours == [["flowshard", "--workers=2", "-md5", "-r", "x", "-o", "d", "-X", "d/report.xml"]]
    assert theirs == [["tcpflow", "-q", "-e", "md5", "-r", "x", "-o", "d", "-X", "d/report.xml"]]
    assert flowshard(["flowshard"]).lines("analyze", Path("x"), Path("d"))[0][1:3] == ["-a", "-md5"]
    assert tcpflow("tcpflow").lines("analyze", Path("x"), Path("d"))[0][2:3] == ["-a"]


def test_who_unpacks() -> None:
    """flowshard reads a compressed capture itself; tcpflow gets it from zstd through a pipe."""
    capture = Path("x.zst")
    assert flowshard(["f"]).lines("streams", capture, Path("d"), packed=True) == [
        ["f", "-r", "x.zst", "-o", "d", "-X", "d/report.xml"]
    ]
    assert tcpflow("t", "z").lines("streams", capture, Path("d"), packed=True) == [
        ["z", "-dc", "x.zst"],
        ["t", "-q", "-r", "-", "-o", "d", "-X", "d/report.xml"],
    ]


@pytest.mark.slow
@pytest.mark.skipif(not {"tcpflow", "zstd"} <= set(filter(shutil.which, ("tcpflow", "zstd"))), reason="not installed")
def test_packed_captures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--packed compares on the compressed capture, bulk unless said, after both gave the expected streams; the spool
    counts as memory."""
    words = ["bench", "--packed", "--size", "0.01", "--runs", "1", "--modes", "streams", "--dir", str(tmp_path)]
    words += ["--output", str(tmp_path), "--json", str(tmp_path / "json")]
    words += ["--command", f"{sys.executable} -m pipeline --workers=1"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0
    assert "bulk.zst" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "json").read_text())["rows"]
    assert (row["capture"], row["packed"], row["target"]) == ("bulk", True, 1.2)
    assert row["ratio"] > 0
    assert row["tools"]["flowshard"]["memory"]["shared"] > 1 << 20
    assert row["tools"]["tcpflow"]["memory"]["shared"] == 0
    assert row["tools"]["tcpflow"]["memory"]["processes"] == 2
