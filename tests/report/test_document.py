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

BYTES = bytes(range(256)).decode("utf-8", "surrogateescape")


def test_what_a_reader_finds() -> None:
    """Program, libraries, run, inputs with their faults, usage, options and totals are in the report."""
    inputs = [
        Input("a.pcap", 10, 30, "gzip, pcap", 3),
        Input("b", None, 20, "pcapng", 0, [(7, 2, "no block"), (12, 0, "the file ends inside a block")], 9),
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
        ("input", {"name": "a.pcap", "size": "10", "length": "30", "format": "gzip, pcap", "packets": "3"}),
        ("input", {"name": "b", "length": "20", "format": "pcapng", "packets": "0", "more_faults": "9"}),
        ("fault", {"offset": "7", "length": "2", "problem": "no block"}),
        ("fault", {"offset": "12", "length": "0", "problem": "the file ends inside a block"}),
        ("summary", {"total_flows": "2", "total_packets": "12"}),
        ("counter", {"name": "malformed.ip_truncated", "value": "3"}),
    ]  # fmt: skip


def test_the_schema(schema: etree.XMLSchema) -> None:
    """A report validates against the published DFXML schema, with inputs or without any."""
    for names in ([], ["a.pcap", BYTES]):
        inputs = [Input(name, 1, 2, BYTES, 3, [(4, 5, BYTES)] * count, count) for count, name in enumerate(names)]
        rows = b"".join(format_rows([record(filename=BYTES)], {0: "a.pcap"}))
        schema.assertValid(etree.fromstring(head(creator(BYTES, BYTES), names) + rows + tail(outcome(*inputs))))


@given(ODD_TEXT | st.text())
@example(BYTES)
@example("</command_line></execution_environment>")
def test_any_text_is_held(text: str) -> None:
    """A command line, user or file name of any bytes neither breaks the report nor is lost in it."""
    damaged = Input(text, 1, 2, text, 3, [(4, 5, text)])
    found = read(head(creator(text, text), [text]) + tail(outcome(damaged)))
    plain = read(head(creator(), ["a"]) + tail(outcome(Input("a", 1, 2, "b", 3, [(4, 5, "c")]))))
    assert found.elements == plain.elements
    assert unescape(found.tags["command_line"]) == text
    assert unescape(found.tags["username"]) == text
    assert [unescape(name) for name in found.images] == [text]
    shown = dict(found.foreign)
    assert unescape(shown["input"]["format"]) == text
    assert unescape(shown["fault"]["problem"]) == text


@pytest.mark.parametrize("name", ["", "a b", "1st", "a='1' b", "é"])
def test_a_key_that_cannot_name_an_attribute(name: str) -> None:
    """Keys are ours, so a bad one is a defect that is told, not a broken report."""
    plain = outcome()
    with pytest.raises(InternalError):
        tail(Outcome(plain.usage, {name: 1}, plain.inputs, plain.totals))
