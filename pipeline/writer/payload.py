"""Payload of a batch, gathered from its slab piece by piece.

Knows: which rows of a Data table continue one another, how to gather them cheaply.
Does not know: files, streams. Invariant: a piece's buffers together are its rows' bytes, in order.

A slice of the slab a segment costs 0.2 us. Most segments of a piece are of one size, so numpy gathers
those at 14 GB/s instead, as items of a type of that size; the odd last one is a slice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workers.contract import U8, Data

_FEW = 4  # rows that are not worth a gather


class Piece(NamedTuple):
    """Rows [low, high) of one stream that continue one another: ``size`` bytes from ``offset`` on."""

    stream: int
    offset: int
    low: int
    high: int
    size: int
    even: bool  # all rows but the last are of one size


def pieces(data: Data) -> list[Piece]:
    """The table cut where the stream changes or a byte is skipped."""
    size = data.size.astype(np.int64)
    count = len(size)
    cut = np.empty(count, np.bool_)
    cut[0] = True
    cut[1:] = (data.stream[1:] != data.stream[:-1]) | (data.offset[1:] != data.offset[:-1] + size[:-1])
    low = np.flatnonzero(cut)
    high = np.append(low[1:], count)
    total = np.add.reduceat(size, low)
    changes = np.zeros(count, np.int64)
    np.cumsum(size[1:] != size[:-1], out=changes[1:])
    even = changes[np.maximum(high - 2, low)] == changes[low]
    columns = (data.stream[low], data.offset[low], low, high, total, even)
    return list(map(Piece._make, zip(*(column.tolist() for column in columns), strict=True)))


class Payload:
    """Gathers from one slab."""

    def __init__(self, slab: U8) -> None:
        self._slab = slab
        self._view = memoryview(slab)
        self._types: dict[int, np.ndarray[tuple[int], np.dtype[np.void]]] = {}

    def slice(self, start: int, size: int) -> memoryview:
        """``size`` bytes from ``start`` on."""
        return self._view[start : start + size]

    def gather(self, data: Data, piece: Piece) -> list[memoryview]:
        """The bytes of a piece."""
        low, high = piece.low, piece.high
        if not piece.even or high - low < _FEW:
            starts, sizes = data.start[low:high].tolist(), data.size[low:high].tolist()
            view = self._view
            return [view[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        size = int(data.size[low])
        items = self._items(size)[data.start[low : high - 1].astype(np.int64)]
        last = int(data.start[high - 1])
        return [memoryview(items.view(np.uint8)), self._view[last : last + int(data.size[high - 1])]]

    def _items(self, size: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """The slab as overlapping items of ``size`` bytes, one at every place."""
        found = self._types.get(size)
        if found is None:
            shape = (len(self._slab) - size + 1,)
            found = np.ndarray(shape, np.dtype(f"V{size}"), self._slab, strides=(1,))  # type: ignore[call-overload]
            self._types[size] = found
        return found
