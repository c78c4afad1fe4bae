"""What the report says of the run: the user's words, the inputs' facts, the host as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline import __version__, provenance
from pipeline.config import Config
from pipeline.provenance import report_head, report_tail
from tests.report.reader import Report, read
from workers.limits import Limits

COUNTERS = {"packets": 11, "connections": 3, "streams": 5, "bytes.gaps": 0}


def facts(fault: list[Any] | None = None) -> dict[str, Any]:
    return {"size": 1000, "format": "pcap, little endian", "packets": 7, "fault": fault}


def report(config: Config, faults: list[list[Any] | None], started: int = 0) -> Report:
    inputs = [facts(fault) for fault in faults]
    return read(report_head(config, started) + report_tail(config, inputs, COUNTERS, 1.5))


def test_program_host_and_command() -> None:
    """Who made the report, on which host, by which command, as the user typed it."""
    config = Config(inputs=(Path("a&b.pcap"), Path("c.pcap")), command_line="flowshard -r 'a&b.pcap' <x>")
    made = report(config, [None, None], started=1_600_000_000_123_456_789)
    assert made.tags["program"] == "flowshard"
    assert made.tags["version"] == __version__
    assert made.tags["command_line"] == config.command_line
    assert made.tags["uid"] == str(os.getuid())
    assert made.tags["host"] == os.uname().nodename
    assert made.tags["start_time"].startswith("2020-09-13T12:26:40.123456789")
    assert made.images == ["a&b.pcap", "c.pcap"]
    libraries = dict(made.libraries)
    assert {"numpy", "pyzmq"} <= set(libraries)
    assert "flowshard" not in libraries


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's uid need not be in any list of users: its number stands for the name."""
    for error in (KeyError("uid"), OSError("no name")):
        monkeypatch.setattr(provenance.getpass, "getuser", lambda error=error: (_ for _ in ()).throw(error))
        assert report(Config(inputs=()), []).tags["username"] == str(os.getuid())


def test_inputs_and_their_damage() -> None:
    """Each input's size, format and packets; where it broke and how, only of those that did."""
    made = report(Config(inputs=(Path("a"), Path("b"))), [None, [24, "the file ends inside a packet record"]])
    found = [attributes for tag, attributes in made.foreign if tag == "input"]
    assert [(each["name"], each["size"], each["packets"]) for each in found] == [("a", "1000", "7"), ("b", "1000", "7")]
    assert found[1].items() - {"name": "b"}.items() > found[0].items() - {"name": "a"}.items()
    extra = {value for name, value in found[1].items() if name not in found[0]}
    assert extra == {"24", "the file ends inside a packet record"}


def test_options_that_shape_the_output() -> None:
    """Everything but counts of processes; what was not asked for is left out or false."""
    config = Config(
        inputs=(), expression="port 80 && ip", name_format="%A", name_timestamp=True, md5=True, overlap="last",
        limits=Limits(stream_bytes=4096), hash_key=0xABC,
    )  # fmt: skip
    text = str(report(config, []).foreign)
    for value in ("port 80 && ip", "%A", "last", "4096", "0xabc", "true"):
        assert f"'{value}'" in text


def test_counters_are_told() -> None:
    """The counters and the counts of processes stand in the report."""
    text = str(report(Config(inputs=(), workers=3, writers=2), []).foreign)
    for value in ("'11'", "'3'", "'5'", "'2'"):
        assert value in text


def test_nothing_but_the_run_itself_varies() -> None:
    """Two reports of one command differ in execution environment, resources and processes only: the heads are the
    same but for the start, the tails but for time and memory."""
    config = Config(inputs=(Path("a"),))
    heads = {report_head(config, started).partition(b"<execution_environment>")[0] for started in (0, 10**18)}
    assert len(heads) == 1
    tails = [report_tail(config, [facts()], COUNTERS, seconds).partition(b"</rusage>")[2] for seconds in (1.0, 2.0)]
    assert tails[0]
    assert tails[0] == tails[1]
