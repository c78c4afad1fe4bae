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


def facts(*faults: list[Any], more: int = 0) -> dict[str, Any]:
    return {
        "size": 1000, "bytes": 4000, "format": "pcap, little endian", "packets": 7, "faults": list(faults),
        "more_faults": more,
    }  # fmt: skip


def report(config: Config, inputs: list[dict[str, Any]], started: int = 0) -> Report:
    return read(report_head(config, started) + report_tail(config, inputs, COUNTERS, 1.5))


def test_program_host_and_command() -> None:
    """Who made the report, on which host, by which command, as the user typed it."""
    config = Config(inputs=(Path("a&b.pcap"), Path("c.pcap")), command_line="flowshard -r 'a&b.pcap' <x>")
    made = report(config, [facts(), facts()], started=1_600_000_000_123_456_789)
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
    """Each input's sizes, format and packets; each place where it broke, how, and over how many bytes."""
    broken = facts([24, "no packet record", 100], [900, "the file ends inside a packet record", 0], more=5)
    made = report(Config(inputs=(Path("a"), Path("b"))), [facts(), broken])
    plain = {"size": "1000", "length": "4000", "format": "pcap, little endian", "packets": "7"}
    assert [(tag, seen) for tag, seen in made.foreign if tag in {"input", "fault"}] == [
        ("input", {"name": "a"} | plain),
        ("input", {"name": "b"} | plain | {"more_faults": "5"}),
        ("fault", {"offset": "24", "length": "100", "problem": "no packet record"}),
        ("fault", {"offset": "900", "length": "0", "problem": "the file ends inside a packet record"}),
    ]


def test_options_that_shape_the_output() -> None:
    """Everything but counts of processes; what was not asked for is left out or false."""
    config = Config(
        inputs=(), expression="port 80 && ip", name_format="%A", name_timestamp=True, md5=True,
        limits=Limits(stream_bytes=4096, overlap="last"), hash_key=0xABC, start_ns=1, end_ns=2, append=True,
        packet_map=True, ignore_vlan=True, strict=True, verify_checksums=True,
    )  # fmt: skip
    (asked,) = [seen for tag, seen in report(config, []).foreign if tag == "configuration"]
    assert asked == {
        "expression": "port 80 && ip", "name_format": "%A", "name_timestamp": "true", "md5": "true",
        "overlap": "last", "append": "true", "verify_checksums": "true", "packet_map": "true",
        "ignore_vlan": "true", "start_ns": "1",
        "end_ns": "2", "strict": "true", "stream_bytes": "4096", "hash_key": "0xabc",
    }  # fmt: skip
    (plain,) = [seen for tag, seen in report(Config(inputs=()), []).foreign if tag == "configuration"]
    assert set(plain.values()) == {"false", "first", "0x9e3779b97f4a7c15"}
    assert asked.keys() - plain.keys() == {"expression", "name_format", "start_ns", "end_ns", "stream_bytes"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(inputs=(), analyze=True), {"analyze": "true", "decoded_bytes": "67108864", "decoded_ratio": "1000"}),
        (Config(inputs=(), extract=("a", "b"), limits=Limits(decoded_bytes=7, decoded_ratio=9)),
         {"extract": "a b", "decoded_bytes": "7", "decoded_ratio": "9"}),
    ],
)  # fmt: skip
def test_analysis_is_told_with_its_bounds(config: Config, expected: dict[str, str]) -> None:
    """... and only where there was one."""
    (plain,) = [seen for tag, seen in report(Config(inputs=()), []).foreign if tag == "configuration"]
    (asked,) = [seen for tag, seen in report(config, []).foreign if tag == "configuration"]
    assert asked == plain | expected


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
