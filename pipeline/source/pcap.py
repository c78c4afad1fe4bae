"""Classic pcap files: a 24-byte header, then records of a 16-byte header and a frame.

Knows: the format (draft-ietf-opsawg-pcap), its two byte orders and two time units, and the 24-byte
record headers of Alexey Kuznetsov's patched libpcap (magic a1b2cd34).
Does not know: what a frame holds.
Invariant: every record before the first damaged one is yielded, none behind it.

The version field is not looked at. A record is damaged when its captured length passes both the
largest snap length of libpcap (MAXIMUM_SNAPLEN, 262144) and the file's own, or when it passes the end
of the file. A snap length of 0 or a huge one therefore loses nothing; a fraction of a second or more
is counted as it is.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from pipeline.errors import CaptureError
from pipeline.source.records import Records
from pipeline.source.slab import Buffer, MappedSource
from pipeline.source.walk import Chain, walk, words_at
from workers.contract import I64

FILE_HEADER: Final = 24
MAXIMUM_SNAPLEN: Final = 262_144
LINK_RAW: Final = 101

_GUESS_TRIES: Final = 16


class Layout(NamedTuple):
    """What the file header says."""

    order: str  # "<" or ">"
    unit: int  # ns in one step of the fraction
    head: int  # bytes of a record header
    limit: int  # largest captured length that is no damage
    link: int


_MAGICS: Final = {0xA1B2C3D4: (1000, 16), 0xA1B23C4D: (1, 16), 0xA1B2CD34: (1000, 24)}
"""Magic number: the fraction's unit in ns, the size of a record header."""

_ORDERS: Final = {"<": "little endian", ">": "big endian"}


def is_pcap(head: bytes) -> bool:
    """Whether a file that begins so is a classic capture."""
    return len(head) >= 4 and _magic(head) is not None


def _magic(head: bytes) -> tuple[str, int] | None:
    for order in _ORDERS:
        (magic,) = struct.unpack_from(order + "I", head)
        if magic in _MAGICS:
            return order, magic
    return None


def normal_link(number: int) -> int:
    """A LINKTYPE_ number without the FCS bits above it; raw IP by its DLT_ numbers (12, 14) is 101."""
    number &= 0xFFFF
    return LINK_RAW if number in (12, 14) else number


class PcapSource(MappedSource):
    """One classic capture file. CaptureError when its header is cut short."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        known = _magic(data[:4])
        if known is None or len(data) < FILE_HEADER:
            raise CaptureError(f"{path} ends inside its file header", "the capture was cut off; take it again")
        order, magic = known
        unit, head = _MAGICS[magic]
        _, _, _, _, _, snaplen, link = struct.unpack(order + "IHHiIII", data[:FILE_HEADER])
        self.layout = Layout(order, unit, head, max(snaplen, MAXIMUM_SNAPLEN), normal_link(link))
        name = f"pcap, {_ORDERS[order]}, {'micro' if unit == 1000 else 'nano'}seconds"
        super().__init__(path, data, name if head == 16 else f"{name}, Kuznetsov's record headers")

    def pieces(self) -> Iterator[Records]:
        """See MappedSource."""
        data, layout = self.data, self.layout
        chain = Chain(layout.order, size_at=8, extra=layout.head, least=layout.head, head=layout.head)
        end = FILE_HEADER
        for found in walk(data, end, chain, RecordGuess(data, layout)):
            records, problem = read_records(data, found, layout)
            if len(records.start):
                yield records
            if problem:
                self.damage(int(found[len(records.start)]), problem)
                return
            end = int(records.start[-1]) + int(records.captured[-1])
        if end < len(data):
            self.damage(end, "the file ends inside a record header")


def read_records(data: Buffer, found: I64, layout: Layout) -> tuple[Records, str]:
    """The records at these positions up to the first damaged one, and what is wrong with that, or "".

    Every position must have ``layout.head`` bytes.
    """
    words = words_at(data, found, 4, layout.order)
    captured = words[:, 2]
    start = found + layout.head
    too_long = captured > layout.limit
    past_end = start + captured > len(data)
    damaged = too_long | past_end
    good, problem = len(found), ""
    if damaged.any():
        good = int(damaged.argmax())
        problem = "the file ends inside a packet record"
        if too_long[good]:
            problem = f"a packet record claims {captured[good]} bytes, more than any snap length"
        words, captured, start = words[:good], captured[:good], start[:good]
    time = words[:, 0] * np.int64(1_000_000_000)
    time += words[:, 1] * np.int64(layout.unit)
    records = Records(
        start.astype(np.uint64),
        captured.astype(np.uint32),
        np.maximum(captured, words[:, 3]).astype(np.uint32),
        time,
        np.full(good, layout.link, np.uint16),
    )
    return records, problem


class RecordGuess:
    """Finds record headers by the upper half of the seconds, which changes every 18 hours."""

    def __init__(self, data: Buffer, layout: Layout) -> None:
        self.data = data
        self.layout = layout
        self.shift = 2 if layout.order == "<" else 0
        self.words = struct.Struct(layout.order + "IIII").unpack_from

    def __call__(self, known: int, begin: int, stop: int) -> int:
        """See walk.Guess."""
        shift = self.shift
        half = self.data[known + shift : known + shift + 2]
        for _ in range(_GUESS_TRIES):
            hit = self.data.find(half, begin + shift, stop + shift)
            if hit < 0:
                return -1
            if self.plausible(hit - shift, half):
                return hit - shift
            begin = hit - shift + 1
        return -1

    def plausible(self, at: int, half: bytes) -> bool:
        """Whether a header may stand here and another where it says."""
        head = self.layout.head
        if at + head > len(self.data):
            return False
        _, _, captured, length = self.words(self.data, at)
        after = at + head + captured
        if captured > length or captured > self.layout.limit or after + head > len(self.data):
            return False
        _, _, captured, length = self.words(self.data, after)
        return captured <= length and self.data[after + self.shift : after + self.shift + 2] == half
