"""Records with a header of 32-bit words in front of the frame: pcap and snoop alike.

Knows: where in such a header the words stand, which headers are damaged, and how to guess where one is.
Does not know: file headers, windows, what to do about damage.
Invariant: positions handed in have ``head`` bytes before the window's end; no read passes them.

A record is damaged when it is longer than any snap length, when its lengths contradict each other, or when
its header is zeros throughout, as in a hole of a file. Nothing else is: a fraction of a second or more, a
captured length above the original one, a time that jumps or stands still, an empty frame are what some
writers write.
"""

import struct
from typing import Final, NamedTuple

import numpy as np

from pipeline.source.records import MOST_RECORD, Buffer, Records
from pipeline.source.walk import Chain, words_at
from workers.contract import I64, U32, Bools

MAXIMUM_SNAPLEN: Final = 262_144
"""libpcap's largest."""

ORDERS: Final = {"<": "little endian", ">": "big endian"}

_GUESS_TRIES: Final = 16


class Layout(NamedTuple):
    """What a record header looks like. The last five are numbers of 32-bit words in it."""

    order: str  # "<" or ">"
    unit: int  # ns in one step of the fraction
    head: int  # bytes of a record header
    limit: int  # largest captured length that is no damage
    link: int  # of all records
    seconds: int = 0
    fraction: int = 1
    captured: int = 2
    length: int = 3
    whole: int = -1  # bytes of the record, header and padding included; -1: there is no padding

    @property
    def chain(self) -> Chain:
        """How one record leads to the next."""
        if self.whole < 0:
            return Chain(self.order, 4 * self.captured, self.head, self.head, self.head)
        return Chain(self.order, 4 * self.whole, 0, self.head, self.head)

    @property
    def words(self) -> int:
        """Words of a header that are looked at."""
        return max(self.seconds, self.fraction, self.captured, self.length, self.whole) + 1


class Headers(NamedTuple):
    """Record headers as they stand. Columns of equal length n."""

    at: I64  # place in the window
    seconds: U32
    fraction: U32
    captured: U32
    length: U32
    after: I64  # where the next record is, if this one is right

    def part(self, begin: int, end: int) -> "Headers":
        """Rows ``begin`` to ``end``."""
        return Headers._make(column[begin:end] for column in self)


def headers_at(data: Buffer, found: I64, layout: Layout) -> Headers:
    """The headers at these places, each with ``layout.head`` bytes."""
    words = words_at(data, found, layout.words, layout.order)
    captured = words[:, layout.captured]
    after = found + layout.head + captured if layout.whole < 0 else found + words[:, layout.whole]
    return Headers(found, words[:, layout.seconds], words[:, layout.fraction], captured, words[:, layout.length], after)


def damaged(headers: Headers, layout: Layout) -> Bools:
    """Which of the headers cannot be right."""
    bad: Bools = headers.captured > layout.limit
    if layout.whole >= 0:
        whole = headers.after - headers.at
        bad |= (whole < layout.head + headers.captured.astype(np.int64)) | (whole > MOST_RECORD)
    empty = (headers.captured | headers.length) == 0
    if empty.any():
        bad |= empty & ((headers.seconds | headers.fraction) == 0)
    return bad


def problem_of(headers: Headers, index: int, layout: Layout) -> str:
    """What is wrong with this damaged header."""
    captured = int(headers.captured[index])
    if captured > layout.limit:
        return f"a packet record claims {captured} bytes, more than any snap length"
    if not (captured or headers.length[index] or headers.seconds[index] or headers.fraction[index]):
        return "a record header is all zeros"
    return "the lengths in a packet record contradict each other"


def records_of(headers: Headers, layout: Layout) -> Records:
    """The packets of sound headers."""
    time = headers.seconds * np.int64(1_000_000_000)
    time += headers.fraction * np.int64(layout.unit)
    return Records(
        (headers.at + layout.head).astype(np.uint64),
        headers.captured.astype(np.uint32),
        np.maximum(headers.captured, headers.length).astype(np.uint32),
        time,
        np.full(len(headers.at), layout.link, np.uint16),
    )


class RecordGuess:
    """Finds record headers by the upper half of the seconds, which changes every 18 hours."""

    def __init__(self, data: Buffer, end: int, layout: Layout) -> None:
        self.data = data
        self.end = end
        self.layout = layout
        self.shift = 4 * layout.seconds + (2 if layout.order == "<" else 0)
        self.words = struct.Struct(f"{layout.order}{layout.words}I").unpack_from

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
        after = self.leads_to(at)
        if after < 0 or self.leads_to(after) < 0:
            return False
        return self.data[after + self.shift : after + self.shift + 2] == half

    def leads_to(self, at: int) -> int:
        """Where the record at ``at`` ends, if a header may stand there; -1 if not."""
        layout = self.layout
        if at + layout.head > self.end:
            return -1
        words = self.words(self.data, at)
        captured = words[layout.captured]
        if captured > words[layout.length] or captured > layout.limit:
            return -1
        size: int = layout.head + captured
        if layout.whole >= 0:
            if not size <= words[layout.whole] <= MOST_RECORD:
                return -1
            size = words[layout.whole]
        return at + size
