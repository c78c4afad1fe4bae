"""Rows of derived files: what a record says stands in the fileobject, in the order of the schema."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from pipeline.report.derived import DerivedRecord, format_derived
from pipeline.report.rows import Part, format_rows, settle_name
from pipeline.report.text import unescape
from tests.effort import examples
from tests.report.reader import FileObject, read
from tests.report.samples import MD5, derived, derived_records, document, record, records
from workers.contract import Completeness


def files(*given: DerivedRecord, plain: bool = False) -> list[FileObject]:
    """What a reader finds of the records."""
    return read(document(format_derived(given), plain)).files


def test_an_ordinary_body() -> None:
    """Name, size, times, runs and hashes as a stream has them, and where it came from."""
    facts = {"trailing": 12, "problem": "a < b", "members": None, "whole": False, "limit.head": 1, "flow": ["x", "y"]}
    (file,) = files(derived(3, 5, sha256="ab" * 32, flags=Completeness.GAPS | Completeness.OPEN, facts=facts))
    assert file.tags == {"filename": "n-HTTPBODY-003-GZIP", "id": str(5 + (1 << 47) + (3 << 48)), "filesize": "50"}
    assert file.times == {"mtime": 1_620_000_001_500_000_000, "crtime": 1_620_000_000_000_000_001}
    assert file.runs == [{"file_offset": "0", "len": "50"}]
    assert file.hashes == {"md5": MD5, "sha256": "ab" * 32}
    assert file.foreign == [("derived_from", {
        "flow": "5", "connection": "2", "direction": "1", "kind": "HTTPBODY", "file_offset": "1000", "len": "30",
        "encoding": "gzip", "completeness": "open gaps", "trailing": "12", "problem": "a < b", "whole": "false",
        "limit_head": "1", "flow_": "x y",
    })]  # fmt: skip


@pytest.mark.parametrize(
    ("runs", "size", "shown"),
    [
        ((), 0, []),
        ((), 7, [("0", "7", "0")]),
        (((0, 7),), 7, [("0", "7", None)]),
        (((0, 3), (5, 2)), 9, [("0", "3", None), ("3", "2", "0"), ("5", "2", None), ("7", "2", "0")]),
    ],
)
def test_holes(runs: tuple[tuple[int, int], ...], size: int, shown: list[tuple[str, str, str | None]]) -> None:
    """Every byte of a file is in a run, or in a hole with fill."""
    (file,) = files(derived(runs=runs, size=size, coding="", md5=None))
    assert [(run["file_offset"], run["len"], run.get("fill")) for run in file.runs] == shown
    assert file.hashes == {}
    assert "encoding" not in file.foreign[0][1]


@pytest.mark.parametrize(
    ("name", "kept", "plain"),
    [
        ("n~7-HTTP", "n~7-HTTP", "n-HTTP"),
        ("a/n~7-HTTPBODY-002-GZIP", "a/n~7-HTTPBODY-002-GZIP", "a/n-HTTPBODY-002-GZIP"),
        ("n~7-HTTP~7", "n~7-HTTP~7", "n-HTTP~7"),  # the name was taken
        ("~7/x~7-y~7-HTTP", "~7/x~7-y~7-HTTP", "~7/x~7-y-HTTP"),  # the format has the like
        ("it's <n>~7-HTTP", "it's <n>~7-HTTP", "it's <n>-HTTP"),
        ("n~7", "n~7", "n"),
        ("n", "n", "n"),
    ],
)
def test_provisional_names(name: str, kept: str, plain: str) -> None:
    """The suffix of the stream goes with that of the stream, and no other text like it."""
    found = [files(derived(filename=name, suffix="~7"), plain=drop)[0].tags["filename"] for drop in (False, True)]
    assert found == [kept, plain]


@settings(deadline=None)
@given(st.lists(derived_records(), max_size=4), st.booleans())
@example([derived(facts={"xmlns": "x", "xmlns:a": "y", "flow": 1, "flow_": 2})], True)
def test_rows_validate(schema: etree.XMLSchema, items: list[DerivedRecord], plain: bool) -> None:
    """Whatever the texts and the facts' names: valid, readable, each record in one fileobject, and no fact lost."""
    rows = format_derived(items)
    whole = document(rows, plain)
    schema.assertValid(etree.fromstring(whole))
    for item, file in zip(items, read(whole).files, strict=True):
        ((tag, told),) = file.foreign
        assert (tag, int(told["flow"]), int(told["len"])) == ("derived_from", item.stream, item.length)
        assert unescape(told["kind"]) == item.kind
        facts = sum(value is not None for value in item.facts.values())
        assert len(told) == 7 + bool(item.coding) + facts
        if not plain:
            assert unescape(file.tags["filename"]) == item.filename
    assert [settle_name(row, False) for row in rows] == [
        format_derived([item._replace(suffix="")])[0] for item in items
    ]


@examples(40)
@given(st.lists(records(), max_size=3), st.lists(derived_records(), max_size=6))
@example([record(4, runs=(), parts=(Part("n@1", 1, 1), Part("n@2", 2, 1)))], [derived(1), derived(2)])
def test_ids_are_unique(streams: list[object], items: list[DerivedRecord]) -> None:
    """No stream, part or derived file has the id of another, however many a stream has."""
    streams = list({item.stream: item for item in streams}.values())
    items = list({(item.stream, item.serial): item for item in items}.values())
    found = [file.id for file in read(document(format_rows(streams) + format_derived(items))).files]
    assert len(found) == len(set(found))
