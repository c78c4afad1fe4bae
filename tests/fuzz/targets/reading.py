"""The readers on any bytes: what they yield lies in the window, and does not depend on where windows are cut.

An input is four bytes and a capture: how large the windows are (three, in units that differ), and whether damage
ends it (the last, odd).
"""

from __future__ import annotations

import gzip

from pipeline.errors import CaptureError
from tests.build import Conversation, Packet, tcp4
from tests.source.reading import FORMATS, Result, read

SECONDS = 1_000_000_000


def target(data: bytes) -> None:
    """One window against many; both end, and no record passes its window (tests/source/reading.py looks)."""
    if len(data) < 4:
        return
    capture, strict = data[4:], bool(data[3] & 1)
    sizes = [1 + data[0] % 64, 1 + data[1], 1 + data[2] * 16] * (1 + len(capture) // 64)
    whole = _told(capture, [], strict)
    parts = _told(capture, sizes, strict)
    assert (whole is None) == (parts is None)
    if whole is None or parts is None:
        return
    assert parts._replace(windows=0) == whole._replace(windows=0)
    ends = [start + captured for start, captured, *_ in whole.rows]
    assert all(start >= end for (start, *_), end in zip(whole.rows[1:], ends, strict=False)), "records overlap"
    assert all(captured <= length for _, captured, length, *_ in whole.rows)
    assert not strict or len(whole.faults) <= 1
    spans = sorted((fault.offset, fault.offset + fault.length) for fault in whole.faults)
    assert all(0 <= low <= high <= len(capture) for low, high in spans), "damage outside of the capture"


def _told(capture: bytes, sizes: list[int], strict: bool) -> Result | None:
    """What is read; None: it is no capture."""
    try:
        return read(capture, sizes, strict=strict)
    except CaptureError:
        return None


def seeds() -> list[bytes]:
    """A small capture of each format, whole and in order; and what is none."""
    packets = [*Conversation().packets([(0, b"question"), (1, b"answer" * 20)]), Packet(SECONDS, tcp4(), 1000)]
    made = [build(packets) for build in FORMATS.values()]
    return [b"\x10\x20\x03" + bytes([strict]) + data for data in made for strict in (0, 1)] + [
        bytes(4) + gzip.compress(made[0], mtime=0)
    ]
