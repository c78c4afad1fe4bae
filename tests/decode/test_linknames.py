"""Link types that are not decoded are counted by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.decode.link import LINKS
from pipeline.decode.linknames import NAMES, link_name
from tests.build import EPOCH_NS, Packet, tcp4, write_pcap
from tests.report.reader import read
from tests.runs import run_here


@pytest.mark.parametrize(("number", "name"), [(189, "usb_linux"), (147, "user_0"), (162, "user_15"), (999, "type_999")])
def test_names(number: int, name: str) -> None:
    """Every link type has a name."""
    assert link_name(number) == name


def test_names_are_of_those_that_are_not_decoded() -> None:
    """No name is kept for nothing, and each can stand in a report."""
    assert not NAMES.keys() & LINKS.keys()
    assert len(set(NAMES.values())) == len(NAMES)
    assert all(re.fullmatch(r"[a-z0-9_.]+", name) for name in NAMES.values())


def test_a_run_names_them(tmp_path: Path) -> None:
    """The report says how many packets of which link type were not decoded."""
    capture = write_pcap(tmp_path / "x", [Packet(EPOCH_NS + i, tcp4()) for i in range(3)], link=189)
    assert run_here("-r", capture, "-o", tmp_path / "out", "--quiet").status == 0
    told = (tmp_path / "out" / "report.xml").read_bytes()
    assert b"name='link.usb_linux' value='3'" in told
    assert read(told).files == []
