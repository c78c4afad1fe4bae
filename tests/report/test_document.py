"""Head and tail of a report: valid by the schema, and read in the manner of the reference library."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from pipeline.errors import InternalError
from pipeline.report.document import Input, Outcome, head, tail
from pipeline.report.rows import format_rows
from pipeline.report.text import unescape
from tests.report.reader import read
from tests.report.samples import ODD_TEXT, creator, outcome, record
from tests.shared import shared_or_skip

BYTES = bytes(range(256)).decode("utf-8", "surrogateescape")


def test_what_a_reader_finds() -> None:
    """Program, libraries, run, inputs with their faults, usage, options and totals are in the report."""
    inputs = [
        Input("a.pcap", 10, "pcap", 3),
        Input("b", None, "pcapng", 0, 7, "the file ends inside a block"),
    ]
    rows = b"".join(format_rows([record()], {0: "a.pcap"}))
    found = read(head(creator(), ["a.pcap", "b"]) + rows + tail(outcome(*inputs)))
    assert found.images == ["a.pcap", "b"]
    assert found.libraries == [("libpcap", "1.9.1"), ("numpy", "2.1.0"), ("libzmq", "4.3.5")]
    assert found.tags["program"] == "flowshard"
    assert found.tags["command_line"] == "flowshard -r a.pcap"
    assert found.tags["start_time"] == "2021-05-03T00:00:00.000000000Z"
    assert found.tags["utime"] == "0.500000"
    assert [file.id for file in found.files] == [2]
    assert found.foreign == [
        ("configuration", {"md5": "true", "overlap": "first"}),
        ("processes", {"workers": "1", "writers": "2"}),
        ("sources", {}),
        ("input", {"name": "a.pcap", "size": "10", "format": "pcap", "packets": "3"}),
        ("input", {"name": "b", "format": "pcapng", "packets": "0", "fault_offset": "7",
                   "problem": "the file ends inside a block"}),
        ("summary", {"total_flows": "2", "total_packets": "12"}),
        ("counter", {"name": "malformed.ip_truncated", "value": "3"}),
    ]  # fmt: skip


def test_the_schema() -> None:
    """A report validates against the published DFXML schema, with inputs or without any."""
    schema = etree.XMLSchema(etree.parse(str(shared_or_skip() / "dfxml" / "dfxml.xsd")))
    for names in ([], ["a.pcap", BYTES]):
        inputs = [Input(name, 1, BYTES, 2, 3, BYTES) for name in names]
        rows = b"".join(format_rows([record(filename=BYTES)], {0: "a.pcap"}))
        schema.assertValid(etree.fromstring(head(creator(BYTES, BYTES), names) + rows + tail(outcome(*inputs))))


@given(ODD_TEXT | st.text())
@example(BYTES)
@example("</command_line></execution_environment>")
def test_any_text_is_held(text: str) -> None:
    """A command line, user or file name of any bytes neither breaks the report nor is lost in it."""
    fault = Input(text, 1, text, 2, 3, text)
    found = read(head(creator(text, text), [text]) + tail(outcome(fault)))
    plain = read(head(creator(), ["a"]) + tail(outcome(Input("a", 1, "b", 2, 3, "c"))))
    assert found.elements == plain.elements
    assert unescape(found.tags["command_line"]) == text
    assert unescape(found.tags["username"]) == text
    assert [unescape(name) for name in found.images] == [text]
    (shown,) = [attributes for tag, attributes in found.foreign if tag == "input"]
    assert unescape(shown["problem"]) == text


@pytest.mark.parametrize("name", ["", "a b", "1st", "a='1' b", "é"])
def test_a_key_that_cannot_name_an_attribute(name: str) -> None:
    """Keys are ours, so a bad one is a defect that is told, not a broken report."""
    plain = outcome()
    with pytest.raises(InternalError):
        tail(Outcome(plain.usage, {name: 1}, plain.inputs, plain.totals))
