"""Payload of a batch, gathered from its slab piece by piece.

Knows: which rows of a Data table continue one another, how to gather them cheaply.
Does not know: files, streams. Invariant: a piece's buffers together are its rows' bytes, in order.

A slice of the slab costs 0.1 us a segment. The segments of a long piece are nearly all of one size, so
numpy gathers those at 14 GB/s instead, as items of a type of that size; the odd last one is a slice.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers.contract import U8, Data

_FEW = 24  # rows that are not worth a gather


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
    """The bytes that one slab has of one batch."""

    def __init__(self, slab: U8, data: Data | None) -> None:
        self._slab = slab
        self._view = slab.data
        self._types: dict[int, NDArray[np.void]] = {}
        if data is not None:
            self._data = data
            self._starts: list[int] = data.start.tolist()
            self._stops: list[int] = (data.start + data.size).tolist()

    def slice(self, start: int, size: int) -> memoryview:
        """``size`` bytes from ``start`` on."""
        return self._view[start : start + size]

    def gather(self, low: int, high: int, *, even: bool) -> list[memoryview]:
        """The bytes of rows [low, high) of the Data; ``even``: all but the last are of one size."""
        view = self._view
        if even and high - low > _FEW:
            starts = self._data.start[low : high - 1].astype(np.int64)
            items = self._items(int(self._data.size[low]))[starts]
            return [items.view(np.uint8).data, view[self._starts[high - 1] : self._stops[high - 1]]]
        if high - low == 1:
            return [view[self._starts[low] : self._stops[low]]]
        return [view[a:b] for a, b in zip(self._starts[low:high], self._stops[low:high], strict=True)]

    def _items(self, size: int) -> NDArray[np.void]:
        """The slab as overlapping items of ``size`` bytes, one at every place."""
        found = self._types.get(size)
        if found is None:
            shape = (len(self._slab) - size + 1,)
            found = np.ndarray(shape, np.dtype((np.void, size)), self._slab, strides=(1,))
            self._types[size] = found
        return found
