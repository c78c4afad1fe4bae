"""The decoder and its twin on packets that were not made by us."""

from __future__ import annotations

from itertools import islice

import dpkt
import pytest

from pipeline.decode.kernels import decode
from tests.decode import oracle
from tests.decode.shapes import Case, as_told, laid_out
from tests.shared import capture, manifest

PACKETS = 1000  # of each capture


@pytest.mark.parametrize("name", [row["file"] for row in manifest() if row["kind"].startswith("pcap")] or ["none"])
def test_real_captures(name: str) -> None:
    """The first packets of every capture are decoded as the twin reads them."""
    with capture(name).open("rb") as file:
        reader = dpkt.pcap.UniversalReader(file)
        link = reader.datalink()
        cases = [Case(bytes(frame), link) for _, frame in islice(reader, PACKETS)]
    slab, records = laid_out(cases)
    told = as_told(decode(slab, records), records.start.tolist())
    assert [oracle.segment(case.seen, case.wire, case.link) for case in cases] == told
