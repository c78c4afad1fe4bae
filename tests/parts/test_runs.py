"""Whole runs in parts: together they are what a run without parts is, and each is complete in itself."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
from lxml import etree

from tests.build import pcap_bytes
from tests.forms import crossed, run_fed
from tests.parts.days import Part, parts, rotated, rows, traffic
from tests.runs import REPORT, counters, differences, flows, report_of
from tests.shared import shared_or_skip


def names_and_bytes(found: list[Part]) -> dict[str, bytes]:
    """Of all parts, by number."""
    return {f"{n}/{name}": data for n, part in enumerate(found) for name, data in part.files.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [("-F", "%A/%a-%B.%b", "--flows", "flows.jsonl", "--packet-map"), (), ("-F", "%A/%a-%B.%b"), ("-T",)],
)
def test_parts_do_not_depend_on_processes(tmp_path: Path, words: tuple[object, ...]) -> None:
    """Where a part ends, which streams are in it, and what they are called, is the same for any number of workers."""
    packets = traffic()
    besides = ("flows.jsonl", "packet-map.tsv") if "--flows" in words else ()
    alone, *others = (
        parts(rotated(tmp_path, packets, "--workers", *how, *words, name=f"by{n}")[0], *besides)
        for n, how in enumerate([(0,), (1, "--writers", 2), (3, "--writers", 2, "--batch-packets", 50)])
    )
    assert len(alone) > 4
    for other in others:
        assert differences(names_and_bytes(alone), names_and_bytes(other)) == []
        assert [rows(part.report) for part in alone] == [rows(part.report) for part in other]
        for name in besides:
            assert [(part.path / name).read_bytes() for part in alone] == [
                (part.path / name).read_bytes() for part in other
            ]


@pytest.mark.parametrize("workers", crossed([(2,)], [0, 2]))
def test_together_parts_are_the_whole(tmp_path: Path, workers: int) -> None:
    """Every row and every file is in exactly one part, as it is in the output without parts; counters add up."""
    packets = traffic()
    done = run_fed(pcap_bytes(packets, nanoseconds=True), "-r", "-", "-o", tmp_path / "whole", "-md5")
    assert done.status == 0
    whole = report_of(tmp_path / "whole")
    found = parts(rotated(tmp_path, packets, "--workers", workers)[0])
    together = [rows(part.report) for part in found]
    assert sum(map(len, together)) == len(set(itertools.chain(*together)))
    assert dict(itertools.chain(*(some.items() for some in together))) == rows(whole)
    contents = Counter(file.read_bytes() for file in (tmp_path / "whole").iterdir() if file.name != REPORT)
    assert Counter(data for part in found for data in part.files.values()) == contents
    total: Counter[str] = Counter()
    for part in found:
        total.update(counters(part.report))
    assert total == Counter(counters(whole))


def test_a_part_is_complete_in_itself(tmp_path: Path) -> None:
    """Its report is valid, names its files and no other ones, and counts its own rows."""
    schema = etree.XMLSchema(etree.parse(str(shared_or_skip() / "dfxml" / "dfxml.xsd")))
    for part in parts(rotated(tmp_path, traffic())[0]):
        schema.assertValid(etree.parse(part.path / REPORT))
        assert {file.tags["filename"] for file, _ in flows(part.report)} == part.files.keys()
        assert counters(part.report)["streams"] == counters(part.report)["files"] == len(part.files)


def test_no_name_is_taken_over_parts(tmp_path: Path) -> None:
    """A tuple counts on while one of its connections is remembered, and anew afterwards: so names are plain, and
    low."""
    output, done = rotated(tmp_path, traffic(200, size=15_000))
    names = [name for part in parts(output) for name in part.files]
    assert not any("~" in name for name in names), "a name was taken"
    assert "warning" not in done.err
    assert max(name.rpartition("c")[2] for name in names if "c" in name) < "0028"
