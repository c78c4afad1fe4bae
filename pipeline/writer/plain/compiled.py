"""The kernel in C.

Knows: how to call it (files.c, spelling.c). Does not know: what is plain.
Invariant: it is given no address that does not lie in memory that is held for the time of the call, and none is used
whose layout is not that of this module.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.writer.payload import Payload
from pipeline.writer.plain.layout import (
    CLOSING,
    LAYOUT,
    LEFT,
    PLAIN,
    Facts,
    Kernel,
    Pieces,
    Rows,
    Table,
    flag_texts,
    reason_texts,
)
from pipeline.writer.plain.library import load
from workers.contract import I32, I64, U32, U64, Bools

_FEW: Final = 512  # rows made in one buffer
ROW: Final = 1536
"""Bytes of a row without its texts: a name, two addresses, twenty-odd numbers, the words; 1,323 at most."""


class _Text(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_char_p), ("at", ctypes.c_void_p))


class _Facts(ctypes.Structure):
    _fields_ = (
        ("suffixes", _Text), ("links", _Text), ("flags", _Text), ("reasons", _Text),
        ("folder", ctypes.c_int32), ("timestamp", ctypes.c_int32),
    )  # fmt: skip


def compiled() -> Callable[[Facts], Kernel] | None:
    """The kernel, if there is one that may be used."""
    library = load()
    if library is None or library.layout() != LAYOUT << 24 | CLOSING.itemsize << 12 | PLAIN.itemsize:
        return None
    return lambda facts: Compiled(library, facts)


class Compiled:
    """A Kernel."""

    def __init__(self, library: ctypes.CDLL, facts: Facts) -> None:
        self._library = library
        self._facts = facts
        self._known = -1  # texts of networks that C knows
        self._held: list[Any] = []

    def make(self, table: Table, slot: int) -> int:
        """As Kernel.make."""
        failed: int = self._library.make_one(self._given(), _at(table), ctypes.c_int64(slot))
        return failed

    def write(self, table: Table, pieces: Pieces, payload: Payload, *, keep: bool) -> I32:
        """As Kernel.write. Where a piece does not lie in memory that we have none is tried."""
        found = payload.addresses
        if found is None:
            return np.full(len(pieces.slot), LEFT, np.int32)
        address, sizes, held = found
        slot, offset, low, high, size = map(np.ascontiguousarray, pieces)
        result = np.empty(len(slot), np.int32)
        self._library.write_pieces(
            self._given(), _at(table), ctypes.c_int64(len(slot)), _at(slot), _at(offset), _at(low), _at(high),
            _at(size), _at(address), _at(sizes), ctypes.c_int32(keep), _at(result),
        )  # fmt: skip
        del held
        return result

    def compare(self, table: Table, rows: Rows, payload: Payload) -> Bools:
        """As Kernel.compare."""
        found = payload.addresses_of(rows.start, rows.size)
        if found is None:
            return np.zeros(len(rows.slot), np.bool_)
        address, size, held = found
        slot, offset, result = rows.slot, np.ascontiguousarray(rows.offset), np.empty(len(rows.slot), np.int32)
        self._library.compare(
            self._given(), _at(table), ctypes.c_int64(len(slot)), _at(slot), _at(offset), _at(address), _at(size),
            _at(result),
        )  # fmt: skip
        del held
        same: Bools = result == 1
        return same

    def shut(self, table: Table, slots: I64) -> I32:
        """As Kernel.shut."""
        result = np.empty(len(slots), np.int32)
        self._library.shut(_at(table), ctypes.c_int64(len(slots)), _at(slots), _at(result))
        return result

    def finish(self, table: Table, slots: I64, times: I64) -> I32:
        """As Kernel.finish."""
        result = np.empty(len(slots), np.int32)
        slots, times = np.ascontiguousarray(slots), np.ascontiguousarray(times)
        self._library.finish(self._given(), _at(table), ctypes.c_int64(len(slots)), _at(slots), _at(times), _at(result))
        return result

    def rows(self, table: Table, ends: NDArray[np.void]) -> tuple[bytes, U64]:
        """As Kernel.rows."""
        given, out = self._given(), []
        buffer = np.empty(min(len(ends), _FEW) * (ROW + self._longest), np.uint8)
        lengths = np.empty(len(ends), np.uint64)
        for at in range(0, len(ends), _FEW):
            some = ends[at : at + _FEW]
            size = self._library.format_rows(
                given, _at(table), ctypes.c_int64(len(some)), _at(some), _at(buffer), _at(lengths[at:])
            )
            out.append(buffer[:size].tobytes())
        return b"".join(out), lengths

    def _given(self) -> Any:
        """The facts as C has them: made anew when there are texts that it does not know."""
        facts = self._facts
        if self._known != len(facts.suffixes):
            self._known = len(facts.suffixes)
            texts = [facts.suffixes, facts.links, flag_texts(), reason_texts()]
            self._longest = sum([max(map(len, each)) for each in texts])
            made = [_text(each) for each in texts]
            self._held = [
                _Facts(*[_Text(text, at.ctypes.data) for text, at in made], facts.folder, facts.timestamp), made
            ]  # fmt: skip
        return ctypes.byref(self._held[0])


def _text(strings: Sequence[str]) -> tuple[bytes, U32]:
    """One behind the other, and where each begins; they are ASCII."""
    encoded = [each.encode("ascii") for each in strings]
    return b"".join(encoded), np.concatenate(([0], np.cumsum(list(map(len, encoded))))).astype(np.uint32)


def _at(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
