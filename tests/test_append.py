"""-R as a user meets it: later connections of a tuple in the file of the first, the same for any number of workers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from lxml import etree

from tests import rough
from tests.build import Conversation, Packet, write_pcap
from tests.forms import crossed
from tests.report.reader import FileObject
from tests.runs import REPORT, counters, differences, flows, output, reads, report_of, run_apart, run_here
from tests.shared import shared_or_skip

OUT, BACK = "10.0.0.1.40000-10.0.0.2.80", "10.0.0.2.80-10.0.0.1.40000"


def three_connections() -> list[Packet]:
    """On one tuple: a whole one; one that was under way already; one of which a segment is missing."""
    whole = Conversation()
    packets = whole.packets([(0, b"request "), (1, b"answer "), (0, b"more ")])
    midstream = Conversation(isn=(90_000_000, 70_000_000), start_ns=whole.now_ns)
    midstream.open()
    packets += [*midstream.say(0, b"under way "), *midstream.say(1, b"indeed "), *midstream.reset()]
    lossy = Conversation(isn=(900_000_000, 700_000_000), start_ns=midstream.now_ns, mss=10, acknowledge=False)
    packets += lossy.open()
    first, _, last = lossy.say(0, b"0123456789abcdefghijABCDE")
    return [*packets, first, last, *lossy.say(1, b"end"), *lossy.finish()]


def run_with(folder: Path, captures: list[Path], name: str, workers: int, *words: object) -> Path:
    """A run into ``folder / name``."""
    runner = run_apart if workers else run_here
    done = runner(*reads(captures), "-o", name, "--quiet", "--workers", workers, *words, folder=folder)
    assert (done.status, done.err) == (0, "")
    return folder / name


def test_three_connections(tmp_path: Path) -> None:
    """Each begins where the one before it ended; one row a file, its size and MD5 those on disk, and in it a flow
    element a connection; workers change nothing."""
    capture = write_pcap(tmp_path / "in.pcap", three_connections())
    made = run_with(tmp_path, [capture], "out", 0, "-R", "-md5")
    expected = {
        OUT: b"request more under way 0123456789" + bytes(10) + b"ABCDE",
        BACK: b"answer indeed end",
    }
    report = report_of(made)
    assert {path.name: path.read_bytes() for path in made.iterdir() if path.name != REPORT} == expected
    for row in report.files:
        content = expected[row.tags["filename"]]
        assert row.tags["filesize"] == str(len(content))
        assert row.hashes["md5"] == hashlib.md5(content).hexdigest()
        assert (made / row.tags["filename"]).stat().st_mtime_ns == row.times["mtime"]
    told = [(row.tags["filename"], a.get("file_offset"), a["completeness"]) for row, a in flows(report)]
    assert told == [
        (OUT, None, ""), (OUT, "13", "midstream"), (OUT, "23", "gaps"),
        (BACK, None, ""), (BACK, "7", "midstream"), (BACK, "14", ""),
    ]  # fmt: skip
    assert (counters(report)["streams"], counters(report)["files"]) == (6, 2)
    for workers in (1, 2, 4):
        again = run_with(tmp_path, [capture], f"out{workers}", workers, "-R", "-md5")
        assert differences(output(made), output(again)) == []


def joined(folder: Path, row: FileObject, others: list[FileObject]) -> dict[int, bytes]:
    """The files of a row by their place: the first, and the parts that name it."""
    found = {0: (folder / row.tags["filename"]).read_bytes()}
    for other in others:
        for tag, attributes in other.foreign:
            if tag == "part_of" and attributes["flow"] == row.tags["id"]:
                found[int(attributes["stream_offset"])] = (folder / other.tags["filename"]).read_bytes()
    return found


def test_rough_traffic_is_that_of_a_run_without(tmp_path: Path) -> None:
    """Every trouble at once, over two captures: what each connection has without -R lies at its place in the file;
    0 and 3 workers agree."""
    captures = rough.write(tmp_path)
    plain = run_with(tmp_path, captures, "plain", 0)
    appended = run_with(tmp_path, captures, "appended", 0, "-R")
    assert differences(output(appended), output(run_with(tmp_path, captures, "processes", 3, "-R"))) == []
    before, after = report_of(plain), report_of(appended)
    files = {
        (a["connection"], a["direction"]): joined(plain, row, before.files) for row, a in flows(before)
    }  # fmt: skip
    shared = 0
    for row, attributes in flows(after):
        mine = files.pop((attributes["connection"], attributes["direction"]))
        base = int(attributes.get("file_offset", 0))
        if not base and len(mine) > 1:
            assert joined(appended, row, after.files) == mine
        else:
            [content] = mine.values()
            assert (appended / row.tags["filename"]).read_bytes()[base : base + len(content)] == content
        shared += base > 0
    assert not files, "every stream has its flow element"
    assert shared >= 4
    sizes = [path.stat().st_size for path in appended.iterdir() if path.name != REPORT and "conflicts" not in path.name]
    assert sum(sizes) == sum(int(row.tags["filesize"]) for row in after.files)
    unlike = {"files"}
    assert {k: v for k, v in counters(after).items() if k not in unlike} == {
        k: v for k, v in counters(before).items() if k not in unlike
    }
    assert counters(after)["files"] == len(after.files)


@pytest.mark.parametrize(
    "words",
    crossed([("-F %B/%A-%b -md5",)], ["-F %A -T", "-C 300", "--overlap last -md5", "-F %B/%A-%b -md5"]),
)
def test_other_options_beside_it(tmp_path: Path, words: str) -> None:
    """Coarse names, folders, times, limits, policies: 0 and 2 workers agree, and --flows names the files that are
    there, each as the report does."""
    captures = rough.write(tmp_path)
    made = run_with(tmp_path, captures, "out", 0, "-R", "--flows", tmp_path / "one.json", *words.split())
    again = run_with(tmp_path, captures, "again", 2, "-R", "--flows", tmp_path / "two.json", *words.split())
    if "/" not in words:
        assert differences(output(made), output(again)) == []
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    reported = {(a["connection"], a["direction"]): row.tags["filename"] for row, a in flows(report_of(made))}
    named = {}
    for line in (tmp_path / "one.json").read_text().splitlines():
        told = json.loads(line)
        named |= {(str(told["id"]), str(side)): told[way]["file"] for side, way in ((0, "out"), (1, "back"))}
    assert {whose: name for whose, name in named.items() if name is not None} == reported
    assert all((made / name).is_file() for name in reported.values())


def test_the_report_is_valid(tmp_path: Path) -> None:
    """Several flow elements in a fileobject are what the schema allows."""
    schema = etree.XMLSchema(etree.parse(shared_or_skip() / "dfxml" / "dfxml.xsd"))
    made = run_with(tmp_path, rough.write(tmp_path), "out", 0, "-R", "-md5")
    assert any(len([1 for tag, _ in row.foreign if tag == "tcpflow"]) > 1 for row in report_of(made).files)
    schema.assertValid(etree.parse(made / REPORT))
