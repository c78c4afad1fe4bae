"""pcapng interfaces: link type, snap length, and what a tick of their clock means.

Knows: interface description blocks and their options if_tsresol and if_tsoffset
(draft-ietf-opsawg-pcapng, section 4.2). Does not know: packets, files.
Invariant: a time is the exact number of whole nanoseconds, without floating point, held inside
64 bits signed (years 1677 to 2262): what lies outside becomes the nearest end.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from pipeline.source.linktype import normal_link
from workers.contract import I64, U8, U16, U32, U64

_BODY_AT: Final = 8
_OPTIONS_AT: Final = 16
_END, _RESOLUTION, _OFFSET = 0, 9, 14
_MAXIMUM_OPTIONS: Final = 1024
"""Options looked at in one block; the rest of a longer list is left alone."""

MICROSECONDS: Final = 6
SECOND: Final = 1_000_000_000
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1


class Interface(NamedTuple):
    """One interface description."""

    link: int
    snaplen: int  # 0: none
    resolution: int  # the if_tsresol byte: n, or 0x80 | n
    offset: int  # ns


class Table(NamedTuple):
    """Interfaces as columns."""

    link: U16
    snaplen: U32
    resolution: U8
    offset: I64

    @classmethod
    def of(cls, interfaces: Sequence[Interface]) -> "Table":
        links, snaplens, resolutions, offsets = zip(*interfaces, strict=True) if interfaces else ((), (), (), ())
        return cls(
            np.array(links, np.uint16),
            np.array(snaplens, np.uint32),
            np.array(resolutions, np.uint8),
            np.array(offsets, np.int64),
        )


def described(block: bytes, order: str) -> Interface:
    """The interface that this whole block (20 bytes or more) describes."""
    link, _, snaplen = struct.unpack_from(order + "HHI", block, _BODY_AT)
    resolution, seconds = MICROSECONDS, 0
    for code, value in _options(block[_OPTIONS_AT:-4], order):
        if code == _RESOLUTION and len(value) == 1:
            resolution = value[0]
        elif code == _OFFSET and len(value) == 8:
            (seconds,) = struct.unpack(order + "q", value)
    offset = min(max(seconds * SECOND, _LOWEST), _HIGHEST)
    return Interface(normal_link(link), snaplen, resolution, offset)


def _options(area: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    for _ in range(_MAXIMUM_OPTIONS):
        if at + 4 > len(area):
            return
        code, size = struct.unpack_from(order + "HH", area, at)
        if code == _END or at + 4 + size > len(area):
            return
        yield code, area[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4


def times(ticks: U64, rows: I64, table: Table) -> I64:
    """ns since 1970-01-01 of ticks counted by the interfaces in these rows of the table."""
    if not len(ticks):
        return np.empty(0, np.int64)
    kinds = set(table.resolution.tolist())
    if len(kinds) == 1:
        time = nanoseconds(ticks, kinds.pop())
    else:
        time = np.zeros(len(ticks), np.int64)
        resolution = table.resolution[rows]
        for kind in kinds:
            chosen = np.flatnonzero(resolution == kind)
            if len(chosen):
                time[chosen] = nanoseconds(ticks[chosen], kind)
    if not table.offset.any():
        return time
    offset = table.offset[rows]
    # Times are not negative here, so only the upper end can be passed.
    room = _HIGHEST - np.maximum(offset, 0)
    moved: I64 = np.minimum(time, room) + offset
    return moved


def nanoseconds(ticks: U64, resolution: int) -> I64:
    """Whole nanoseconds in these ticks of 10**-n s (``n``) or 2**-n s (``0x80 | n``)."""
    power = resolution & 0x7F
    whole = _binary(ticks, power) if resolution & 0x80 else _decimal(ticks, power)
    return np.minimum(whole, np.uint64(_HIGHEST)).astype(np.int64)


def _decimal(ticks: U64, power: int) -> U64:
    if power > 28:  # 10**20 and more exceed any 64-bit number
        return np.zeros_like(ticks)
    if power > 9:
        return ticks // np.uint64(10 ** (power - 9))
    factor = 10 ** (9 - power)
    return np.minimum(ticks, np.uint64(_HIGHEST // factor + 1)) * np.uint64(factor)


def _binary(ticks: U64, power: int) -> U64:
    """``ticks * 10**9 >> power`` by halves: the product needs up to 94 bits."""
    if power >= 64:
        seconds, fraction = np.zeros_like(ticks), ticks
    else:
        seconds = ticks >> np.uint64(power)
        fraction = ticks & np.uint64((1 << power) - 1)
    low = (fraction & np.uint64(0xFFFFFFFF)) * np.uint64(SECOND)
    high = (fraction >> np.uint64(32)) * np.uint64(SECOND)
    if power < 32:
        rest = low >> np.uint64(power)  # the fraction has no upper half
    else:
        # What the low half loses here is below one unit of ``high``, so the floor stays exact.
        upper = high + (low >> np.uint64(32))
        rest = upper >> np.uint64(power - 32) if power < 96 else np.zeros_like(ticks)
    return np.minimum(seconds, np.uint64(_HIGHEST // SECOND + 1)) * np.uint64(SECOND) + rest
