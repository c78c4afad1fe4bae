"""The decoder on any bytes: as its slow twin reads them, whatever follows them in the slab.

An input is three bytes and a frame: how many bytes of it the snap length cut, how many more were on the wire (in
16 bytes), the number of the link type. The frame is decoded on that link type and on Ethernet, in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from pipeline.decode.kernels import decode
from pipeline.decode.link import ETHERNET, LINKS
from pipeline.decode.packets import Notes
from tests.decode import oracle
from tests.decode.shapes import ALL, as_told, records

TAILS: Final = (b"", bytes(100), b"\xff" * 100, b"\x45\0\0\x28\0\0\0\0\x40\6\0\0\x0a\0\0\1\x0a\0\0\2" * 5)
NUMBERS: Final = (*sorted(LINKS), 147)


def target(data: bytes) -> None:
    """The twin's answer before every tail, with checksums and without; what is noted is captured."""
    if len(data) < 3:
        return
    frame, links = data[3:], sorted({NUMBERS[data[2] % len(NUMBERS)], ETHERNET})
    seen, wire = frame[: max(0, len(frame) - data[0])], len(frame) + data[1] * 16
    slab = np.frombuffer(b"".join(seen + tail for tail in TAILS), np.uint8)
    places = np.cumsum([0, *(len(seen) + len(tail) for tail in TAILS)])[:-1].tolist()
    rows = [(place, link) for place in places for link in links]
    starts, link = [place for place, _ in rows], [number for _, number in rows]
    made = records(starts, [len(seen)] * len(rows), [wire] * len(rows), link)
    for verify in (False, True):
        expected = [oracle.segment(seen, wire, number, verify=verify) for number in links] * len(TAILS)
        notes = Notes([], [], [])
        found = as_told(decode(slab, made, verify=verify, notes=notes), starts)
        assert found == expected, list(_different(link, found, expected))
        for packets in (*notes.fragments, *notes.outermost):
            stop = np.array(starts)[packets.row] + len(seen)
            assert (packets.at + 20 <= stop).all(), "an IP header is noted that is not captured"
            assert (packets.stop <= stop).all(), "what is noted ends behind the captured bytes"


def _different(
    link: Sequence[int], found: Sequence[object], expected: Sequence[object]
) -> Iterator[tuple[int, object, object]]:
    for number, one, other in zip(link, found, expected, strict=True):
        if one != other:
            yield number, one, other


def seeds() -> list[bytes]:
    """A packet of every shape, of such a size, on its link type."""
    some = [case for case in ALL if len(case.seen) < 1500 and case.link in NUMBERS]
    return [bytes([0, 0, NUMBERS.index(case.link)]) + case.seen for case in some]
