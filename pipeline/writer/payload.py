"""Payload of a batch, gathered from where it was captured, piece by piece.

Knows: which rows of a Data table continue one another, how to gather them cheaply.
Does not know: files, streams. Invariant: a piece's buffers together are its rows' bytes, in order.

A slice costs 0.1 us a segment. The segments of a long piece are nearly all of one size, so numpy gathers
those at 14 GB/s instead, as items of a type of that size; the odd last one is a slice.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.memory import Arrays, places
from workers.contract import I64, INPUT_SHIFT, U8, U32, U64, Bools, Data, EventBatch

_FEW = 24  # rows that are not worth a gather


class Piece(NamedTuple):
    """Rows [low, high) of one stream that continue one another: ``size`` bytes from ``offset`` on."""

    stream: int
    offset: int
    low: int
    high: int
    size: int
    even: bool  # all rows but the last are of one size


class PieceColumns(NamedTuple):
    """Pieces as columns."""

    stream: U64
    offset: I64
    low: I64
    high: I64
    size: I64
    even: Bools


class Addresses(NamedTuple):
    """Bytes as they lie in this process."""

    address: U64
    size: U32
    held: list[U8]
    """What must be held as long as somebody reads there."""


def cut(data: Data) -> PieceColumns:
    """The table cut where the stream changes, a byte is skipped, or the input changes."""
    size = data.size.astype(np.int64)
    count = len(size)
    cut = np.empty(count, np.bool_)
    cut[0] = True
    cut[1:] = (data.stream[1:] != data.stream[:-1]) | (data.offset[1:] != data.offset[:-1] + size[:-1])
    number = data.start >> INPUT_SHIFT
    cut[1:] |= number[1:] != number[:-1]
    low = np.flatnonzero(cut)
    high = np.append(low[1:], count)
    total = np.add.reduceat(size, low)
    changes = np.zeros(count, np.int64)
    np.cumsum(size[1:] != size[:-1], out=changes[1:])
    even = changes[np.maximum(high - 2, low)] == changes[low]
    return PieceColumns(data.stream[low], data.offset[low], low, high, total, even)


def pieces(columns: PieceColumns) -> list[Piece]:
    """One by one."""
    return list(map(Piece._make, zip(*(column.tolist() for column in columns), strict=True)))


def distinct(values: I64) -> I64:
    """Each value once, rising. As np.unique, which loads numpy.ma for that (8 ms)."""
    rising = np.sort(values)
    return rising[np.append(True, rising[1:] != rising[:-1])] if len(rising) else rising


class Payload:
    """The bytes that a batch refers to."""

    def __init__(self, arrays: Arrays, events: EventBatch) -> None:
        self._arrays = arrays
        self._extents = events.extents
        self._types: dict[tuple[int, int], NDArray[np.void]] = {}
        data = events.data
        if data is not None:
            self._data = data
            self._source, self._places = places(events.extents, data.start)
            self._view = arrays(self._source).data if isinstance(self._source, int) else None

    @cached_property
    def _starts(self) -> list[int]:
        found: list[int] = self._places.tolist()
        return found

    @cached_property
    def _stops(self) -> list[int]:
        found: list[int] = (self._places + self._data.size).tolist()
        return found

    @cached_property
    def addresses(self) -> Addresses | None:
        """Those of the rows of the Data."""
        return self._addresses(self._source, self._places, self._data.size)

    def addresses_of(self, starts: U64, sizes: U32) -> Addresses | None:
        """Where ``sizes`` bytes from these addresses on lie in this process; None: not all lie in the arrays."""
        return self._addresses(*places(self._extents, starts), sizes)

    def _addresses(self, source: int | I64, place: I64, size: U32) -> Addresses | None:
        held = {n: self._arrays(n) for n in ([source] if isinstance(source, int) else distinct(source).tolist())}
        base, length = np.zeros(len(place), np.int64), np.zeros(len(place), np.int64)
        for number, array in held.items():
            there = slice(None) if isinstance(source, int) else source == number
            base[there], length[there] = array.ctypes.data, len(array)
        if (place < 0).any() or (place + size > length).any():
            return None
        return Addresses((base + place).view(np.uint64), np.ascontiguousarray(size), list(held.values()))

    def items_at(self, starts: U64, size: int, wanted: Bools) -> tuple[U8, Bools]:
        """``size`` bytes from each of these addresses (n,) on, those that are ``wanted``, else zeros: (n, size); and
        which of them lie in the arrays, or are not wanted."""
        source, place = places(self._extents, starts)
        found, there = np.zeros((len(starts), size), np.uint8), ~wanted
        for number in [source] if isinstance(source, int) else distinct(source).tolist():
            array = self._arrays(number)
            some = wanted & (place >= 0) & (place + size <= len(array))
            if not isinstance(source, int):
                some &= source == number
            if some.any():
                found[some] = self._items(number, size)[place[some]].view(np.uint8).reshape(-1, size)
            there |= some
        return found, there

    def slices(self, starts: U64, sizes: Sequence[int]) -> list[memoryview]:
        """So many bytes from each of these addresses on."""
        source, place = places(self._extents, starts)
        if isinstance(source, int):
            view = self._arrays(source).data
            return [view[a : a + n] for a, n in zip(place.tolist(), sizes, strict=True)]
        rows = zip(source.tolist(), place.tolist(), sizes, strict=True)
        return [self._arrays(which).data[a : a + n] for which, a, n in rows]

    def gather(self, low: int, high: int, *, even: bool, whole: bool = False) -> list[memoryview]:
        """The bytes of rows [low, high) of the Data; ``even``: all but the last are of one size; ``whole``: as one."""
        source = self._source
        if not isinstance(source, int):
            mixed, source = source[low:high], int(source[low])
            if (mixed != source).any():  # the start of an input is mapped, the rest is spooled
                found = self.slices(self._data.start[low:high], self._data.size[low:high].tolist())
                return [memoryview(b"".join(found))] if whole else found
        view = self._arrays(source).data if self._view is None else self._view
        if even and high - low > _FEW:
            size, last, stop = int(self._data.size[low]), self._starts[high - 1], self._stops[high - 1]
            items = self._items(source, size)
            if whole and last < len(items) and stop - last <= size:  # the last one with what is behind it
                joined = items[self._places[low:high]].view(np.uint8)
                return [joined[: len(joined) - size + stop - last].data]
            found = [items[self._places[low : high - 1]].view(np.uint8).data, view[last:stop]]
        else:
            found = [view[a:b] for a, b in zip(self._starts[low:high], self._stops[low:high], strict=True)]
        return [memoryview(b"".join(found))] if whole and len(found) > 1 else found

    def items(self, low: int, high: int) -> NDArray[np.void] | None:
        """Rows [low, high) as items of one size; None where they are not, or not of one array."""
        source, sizes = self._source, self._data.size[low:high]
        if not isinstance(source, int) or (sizes != sizes[0]).any():
            return None
        found: NDArray[np.void] = self._items(source, int(sizes[0]))[self._places[low:high]]
        return found

    def _items(self, source: int, size: int) -> NDArray[np.void]:
        """An array as overlapping items of ``size`` bytes, one at every place."""
        found = self._types.get((source, size))
        if found is None:
            array = self._arrays(source)
            shape = (len(array) - size + 1,)
            found = np.ndarray(shape, np.dtype((np.void, size)), array, strides=(1,))
            self._types[source, size] = found
        return found
