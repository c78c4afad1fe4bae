"""Packets as blocks of a pcapng capture, for those who write one.

Knows: the layout of section headers, interface descriptions and enhanced packet blocks with their options
(draft-ietf-opsawg-pcapng, sections 3 and 4). Does not know: files, why a packet is written.
Invariant: every block is whole, little endian, and a multiple of 4 bytes long.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Self

import numpy as np

from pipeline import __version__
from pipeline.source.records import Records
from workers.contract import I64, U16, U32

COMMENT: Final = 1
WORD: Final = np.dtype("<u4")
HEAD: Final = 7
"""Words of a packet's block in front of the frame."""
FOOT: Final = 5
"""Words behind the comment: packet id, end of the options, length."""
DESCRIPTION: Final = 8
"""Words of an interface description of ``descriptions``."""

_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_ENHANCED: Final = 6
_APPLICATION: Final = 4
_NAME: Final = 2
_DESCRIBED: Final = 3
_RESOLUTION: Final = 9
_FILTER: Final = 11
_PACKET_ID: Final = 5
_LONGEST: Final = 0xFFFF
"""Bytes of an option."""


class Blocks(NamedTuple):
    """Packets on their way to blocks. Columns of equal length; sizes and places in words."""

    records: Records
    packet: I64  # what is to be its epb_packetid
    interface: I64
    kind: I64  # which comment
    described: I64  # DESCRIPTION where the interface is to be described first, else 0
    commented: I64  # the comment's words
    total: I64  # the block's words
    end: I64  # place behind the block

    def part(self, begin: int, stop: int) -> Self:
        """The packets [begin, stop)."""
        records, *columns = self
        chosen = Records._make(column[begin:stop] for column in records)
        return type(self)(chosen, *(column[begin:stop] for column in columns))


def text(views: Iterator[memoryview], blocks: Blocks, comments: Sequence[U32], base: int) -> memoryview:
    """The bytes of blocks that follow one another from the place ``base`` on. Takes a view for each.

    The fields are set column by column, each frame is copied by itself: twice as fast as joining the pieces.
    """
    out = np.empty(int(blocks.end[-1]) - base, WORD)
    end = blocks.end - base
    begin = end - blocks.total
    foot = end - FOOT
    records = blocks.records
    fresh = np.flatnonzero(blocks.described)
    if len(fresh):
        _put(out, begin[fresh] - DESCRIPTION, descriptions(records.link[fresh]))
    out[foot - blocks.commented - 1] = 0  # the frame's padding; without a frame the head comes over it
    _put(out, begin, _heads(blocks))
    for kind in np.unique(blocks.kind).tolist():
        _put(out, (foot - blocks.commented)[blocks.kind == kind], comments[kind])
    _put(out, foot, _feet(blocks))
    told = out.view(np.uint8).data
    places = ((begin + HEAD) * 4).tolist()
    # The views come last: zip would take one too many of them.
    for at, start, size, data in zip(places, records.start.tolist(), records.captured.tolist(), views, strict=False):
        told[at : at + size] = data[start : start + size]
    return told


def _put(out: U32, places: I64, words: U32) -> None:
    """Sets words, (w,) or (n, w), from each of the places (n,) on."""
    out[places[:, None] + np.arange(words.shape[-1])] = words


def _heads(blocks: Blocks) -> U32:
    """(n, 7): what stands in front of a frame."""
    records = blocks.records
    time = np.maximum(records.time, 0)
    head = np.empty((len(time), HEAD), WORD)
    head[:, 0] = _ENHANCED
    head[:, 1] = blocks.total * 4
    head[:, 2] = blocks.interface
    head[:, 3] = time >> 32
    head[:, 4] = time & 0xFFFFFFFF
    head[:, 5] = records.captured
    head[:, 6] = records.length
    return head


def _feet(blocks: Blocks) -> U32:
    """(n, 5): what stands behind a comment."""
    foot = np.zeros((len(blocks.packet), FOOT), WORD)
    foot[:, 0] = _PACKET_ID | 8 << 16
    foot[:, 1] = blocks.packet & 0xFFFFFFFF
    foot[:, 2] = blocks.packet >> 32
    foot[:, 4] = blocks.total * 4
    return foot


def descriptions(links: U16) -> U32:
    """(n, 8): an interface description block for each link type."""
    words = np.zeros((len(links), DESCRIPTION), WORD)
    words[:, 0] = _INTERFACE
    words[:, 1] = words[:, 7] = DESCRIPTION * 4
    words[:, 2] = links  # the upper half is reserved; the snap length is 0
    words[:, 4] = _RESOLUTION | 1 << 16
    words[:, 5] = 9
    return words


def description(link: int, snap_length: int, digits: int, names: Sequence[str], expression: str) -> bytes:
    """An interface description block: a clock of so many decimal digits, the name of the interface, or that it is
    one of several, and the filter (section 4.2)."""
    options = option(_NAME, names[0].encode()) if len(names) == 1 else option(_DESCRIBED, " or ".join(names).encode())
    options += option(_RESOLUTION, bytes([digits]))
    if expression:
        options += option(_FILTER, b"\0" + expression.encode())
    return _block(_INTERFACE, struct.pack("<HHI", link, 0, snap_length) + options + bytes(4))


def option(code: int, value: bytes) -> bytes:
    """An option, cut where it is longer than one can be."""
    value = value[:_LONGEST]
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(comment: str | None = None) -> bytes:
    """The section header: little endian, of unknown length."""
    options = b"" if comment is None else option(COMMENT, comment.encode())
    options += option(_APPLICATION, f"flowshard {__version__}".encode()) + bytes(4)
    return _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)


def _block(kind: int, body: bytes) -> bytes:
    total = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + total + body + total
