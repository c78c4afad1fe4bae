"""Which row of a table has which key: a hash table in columns, asked for all keys of a batch at once.

Knows: keys, the shards of their connections, which rows are free. Does not know: what else a row holds.
Invariant: keys are compared whole, and nobody who chooses them can tell which ones meet.

Open addressing with linear probing. A dict of such keys took 200 bytes of each connection that waits, and most of the
time of a flood.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from workers.contract import I16, I64, KEY_WORDS, SHARDS, U8, U64

_Slot = TypeVar("_Slot", int, NDArray[Any])

ROWS: Final = 16_384
"""At the start; rows that were never used cost address space only."""

_FREE: Final = -1
_GONE: Final = -1  # a slot whose row was dropped: what lies beyond it is still found
_LEAST: Final = 1_024
_LAID_OUT, _TAKEN = 4, 3
"""Slots a key (or for _LEAST keys) when they are laid out, at least, and when that is done anew: so few meet others."""


def key_bytes(keys: U64) -> list[bytes]:
    """Flow keys (n, 7) as dictionary keys: bytes, whose hash nobody outside can predict."""
    packed: list[bytes] = np.ascontiguousarray(keys).view(f"V{8 * KEY_WORDS}").ravel().tolist()
    return packed


def keyed_hashes(keys: U64) -> U64:
    """Python's hashes of the keys (n, 7) as bytes, keyed with what was drawn when the program started; all odd."""
    return np.fromiter(map(hash, key_bytes(keys)), np.int64, len(keys)).view(np.uint64) | np.uint64(1)


class Index:
    """Rows with keys. ``size`` rows at the start, and twice as many whenever they do not suffice."""

    def __init__(self, size: int = ROWS) -> None:
        self.keys: U64 = np.zeros((size, KEY_WORDS), np.uint64)
        self.place: I16 = np.full(size, _FREE, np.int16)
        """Of each row the shard of its connection, or -1: there is none."""
        self._hashes: U64 = np.zeros(size + 2, np.uint64)  # at 1 + row; at 0 and -1 there is one that no key has
        self._at: NDArray[np.int32] = np.zeros(size, np.int32)  # the slots of the rows
        self._left: NDArray[np.int32] = np.zeros(size, np.int32)  # rows that were used and are so no more: a stack
        self._free = 0  # ... of so many
        self._used = 0  # rows below were used
        self._slots: NDArray[np.int32] = np.zeros(0, np.int32)  # 1 + row, _GONE, or 0: never used
        self._taken = 0  # slots that are not 0
        self._shift = np.uint64(0)  # of a hash to its slot
        self._rebuild()

    def __len__(self) -> int:
        """How many keys it has."""
        return self._used - self._free

    @property
    def size(self) -> int:
        """How many rows there are, used or not."""
        return len(self.place)

    def find(self, keys: U64, hashes: U64) -> I64:
        """Rows of the keys (n, 7); -1 for those that have none. ``hashes``: theirs."""
        at = self._home(hashes)
        found = self._slots[at]
        left = np.flatnonzero(self._hashes[found] != hashes)
        while len(left := left[found[left] != 0]):
            at[left] = self._next(at[left])
            found[left] = self._slots[at[left]]
            left = left[self._hashes[found[left]] != hashes[left]]
        rows = found.astype(np.int64) - 1
        known = np.flatnonzero(found)
        if not np.array_equal(self.keys.take(rows[known], axis=0), keys.take(known, axis=0)):  # some share a hash
            for n in known[(self.keys[rows[known]] != keys[known]).any(axis=1)].tolist():
                rows[n] = self._search(keys[n], hashes[n : n + 1])
        return rows

    def _search(self, key: U64, hashes: U64) -> int:
        """The row of a key, -1 where it has none: slot by slot."""
        [at] = self._home(hashes).tolist()
        while slot := self._slots[at].item():
            if slot > 0 and np.array_equal(self.keys[slot - 1], key):
                return int(slot) - 1
            at = self._next(at)
        return -1

    def add(self, keys: U64, shards: U8) -> I64:
        """Rows for keys (n, 7) that have none, each of them once; those that were used before come first."""
        count = len(keys)
        rows = self._rows_for(count)
        if _TAKEN * (self._taken + count) > len(self._slots):
            self._rebuild()
        hashes = keyed_hashes(keys)
        self.keys[rows] = keys
        self._hashes[rows + 1] = hashes
        self.place[rows] = shards
        self._put(rows, hashes)
        return rows

    def drop(self, rows: I64) -> None:
        """Forget these rows and their keys."""
        at = self._at[rows]
        self._slots[at] = _GONE
        last = at[self._slots[self._next(at)] == 0]  # nothing is behind these: nobody probes past them
        self._slots[last] = 0
        self._taken -= len(last)
        self.place[rows] = _FREE
        self._left[self._free : self._free + len(rows)] = rows
        self._free += len(rows)

    def hashes(self, rows: I64) -> U64:
        """Those of the keys of these rows."""
        return self._hashes[rows + 1]

    def live(self) -> I64:
        """All rows that have a key."""
        return np.flatnonzero(self.place != _FREE)

    def of_shards(self, shards: I64) -> I64:
        """Those of these virtual shards."""
        if len(shards) == 1:
            return np.flatnonzero(self.place == shards[0])
        wanted = np.zeros(SHARDS + 1, np.bool_)  # the last is _FREE's
        wanted[shards] = True
        return np.flatnonzero(wanted[self.place])

    def _rows_for(self, count: int) -> I64:
        again = min(count, self._free)
        self._free -= again
        first, self._used = self._used, self._used + count - again
        while self._used > self.size:
            self._grow()
        old = self._left[self._free : self._free + again]
        return np.concatenate([old[::-1], np.arange(first, self._used)], dtype=np.int64)

    def _grow(self) -> None:
        self.keys, self.place = grown(self.keys), np.concatenate([self.place, np.full(self.size, _FREE, np.int16)])
        self._at, self._left = grown(self._at), grown(self._left)
        hashes, self._hashes = self._hashes, np.zeros(self.size + 2, np.uint64)
        self._hashes[: len(hashes)] = hashes

    # Slots

    def _home(self, hashes: U64) -> I64:
        at: I64 = (hashes >> self._shift).view(np.int64)
        return at

    def _next(self, at: _Slot) -> _Slot:
        return (at + 1) & (len(self._slots) - 1)

    def _put(self, rows: I64, hashes: U64) -> None:
        """Give rows that have no slot one, the first that is free."""
        at, taker = self._home(hashes), rows + 1
        left = self._claim(at, taker)
        while len(left):
            at[left] = self._next(at[left])
            left = left[self._claim(at[left], taker[left])]
        self._at[rows] = at
        self._taken += len(rows)  # too many where one had been used before: that makes it anew the sooner

    def _claim(self, at: I64, taker: I64) -> I64:
        """Take the slots that are free, and say who (by place) got none: of several that want one the last has it."""
        was = self._slots[at]
        self._slots[at] = np.where(was > 0, was, taker)
        return np.flatnonzero(self._slots[at] != taker)

    def _rebuild(self) -> None:
        """New slots for the rows that are used."""
        bits = (_LAID_OUT * max(len(self), _LEAST)).bit_length()
        self._slots, self._taken = np.zeros(1 << bits, np.int32), 0
        self._shift = np.uint64(64 - bits)
        rows = self.live()
        self._put(rows, self.hashes(rows))


def grown(columns: NDArray[Any]) -> NDArray[Any]:
    """Twice as many rows. Those that are new take no memory: nothing is written there."""
    more: NDArray[Any] = np.zeros((2 * len(columns), *columns.shape[1:]), columns.dtype)
    as_bytes = columns.ravel().view(np.uint8)  # records are copied field by field
    more.ravel().view(np.uint8)[: len(as_bytes)] = as_bytes
    return more
