"""Which row of a table has which key: a hash table in columns, asked for all keys of a batch at once.

Knows: keys, the shards of their connections, which rows are free. Does not know: what else a row holds.
Invariant: keys are compared whole, and nobody who chooses them can tell which ones meet: the hash is keyed with what
Python draws for the hashes of bytes when it starts.

Open addressing with linear probing, at most half full. A dict of bytes took ten times as long for each of the many
keys of a flood, and 200 bytes of each connection that waits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.contract import I16, I64, KEY_WORDS, SHARDS, U8, U64

ROWS: Final = 16_384
"""At the start; rows that were never used cost address space only."""

_FREE: Final = -1
_GONE: Final = -1  # a slot whose row was dropped: what probed past it is still found
_ROOM: Final = 3
_LEAST: Final = 1_024
"""Slots for each key, and keys, at least, when they are laid out anew: as soon as half of them are taken."""

_SECRETS: Final = np.array([[hash(b"%d %d" % (word, half)) for half in (0, 1)] for word in range(KEY_WORDS)]).view(
    np.uint64
)
_AT_ONCE: Final = 2_048  # keys: what is made of them stays in the cache
_FACTOR: Final = np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64's finish (Steele, Lea, Flood 2014)


def key_bytes(keys: U64) -> list[bytes]:
    """Flow keys (n, 7) as dictionary keys: bytes, whose hash nobody outside can predict."""
    packed: list[bytes] = np.ascontiguousarray(keys).view(f"V{8 * KEY_WORDS}").ravel().tolist()
    return packed


def keyed_hashes(keys: U64) -> U64:
    """A hash of each key (n, 7): the halves of each word, added to secrets of their own, multiplied and summed up.

    The upper 32 bits of such a sum are strongly universal (Thorup, "High Speed Hashing for Integers and Strings",
    section 3): of keys that were chosen without knowing the secrets as many meet as of random ones.
    """
    halves = np.ascontiguousarray(keys).view(np.uint32).reshape(-1, KEY_WORDS, 2)
    total = np.empty(len(keys), np.uint64)
    for at in range(0, len(keys), _AT_ONCE):
        salted = halves[at : at + _AT_ONCE] + _SECRETS
        np.einsum("kw,kw->k", salted[:, :, 0], salted[:, :, 1], out=total[at : at + _AT_ONCE])
    total ^= total >> 32
    total *= _FACTOR
    return total


class Index:
    """Rows with keys. ``size`` rows at the start, and twice as many whenever they do not suffice."""

    def __init__(self, size: int = ROWS) -> None:
        self.keys: U64 = np.zeros((size, KEY_WORDS), np.uint64)
        self.place: I16 = np.full(size, _FREE, np.int16)
        """Of each row the shard of its connection, or -1: there is none."""
        self._hashes: U64 = np.zeros(size, np.uint64)
        self._at: NDArray[np.int32] = np.zeros(size, np.int32)  # the slots of the rows
        self._left: NDArray[np.int32] = np.zeros(size, np.int32)  # rows that were used and are so no more: a stack
        self._free = 0  # ... of so many
        self._used = 0  # rows below were used
        self._slots: NDArray[np.int32] = np.zeros(0, np.int32)  # 1 + row; 0: never used
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
        rows = np.full(len(keys), -1, np.int64)
        left, at = np.arange(len(keys)), self._home(hashes)
        while len(left):
            row = self._slots[at] - 1
            same = np.flatnonzero((self._hashes[row] == hashes[left]) & (row >= 0))
            if not np.array_equal(self.keys.take(row[same], axis=0), keys.take(left[same], axis=0)):
                same = same[(self.keys[row[same]] == keys[left[same]]).all(axis=1)]  # other keys share the hash
            rows[left[same]] = row[same]
            on = row != -1
            on[same] = False
            left, at = left[on], self._next(at[on])
        return rows

    def add(self, keys: U64, shards: U8) -> I64:
        """Rows for keys (n, 7) that have none, each of them once; those that were used before come first."""
        count = len(keys)
        rows = self._rows_for(count)
        if 2 * (self._taken + count) > len(self._slots):
            self._rebuild()
        hashes = keyed_hashes(keys)
        self.keys[rows] = keys
        self._hashes[rows] = hashes
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
        self._hashes, self._at, self._left = grown(self._hashes), grown(self._at), grown(self._left)

    # Slots

    def _home(self, hashes: U64) -> I64:
        at: I64 = (hashes >> self._shift).view(np.int64)
        return at

    def _next(self, at: NDArray[Any]) -> NDArray[Any]:
        behind: NDArray[Any] = (at + 1) & (len(self._slots) - 1)
        return behind

    def _put(self, rows: I64, hashes: U64) -> None:
        """Give rows that have no slot one: the first that is free. Of several that want one the last gets it."""
        left, at = rows, self._home(hashes)
        while len(left):
            was = self._slots[at]
            free = was <= 0
            self._slots[at[free]] = left[free] + 1
            done = self._slots[at] == left + 1
            self._at[left[done]] = at[done]
            self._taken += int(np.count_nonzero(was[done] == 0))
            left, at = left[~done], self._next(at[~done])

    def _rebuild(self) -> None:
        """New slots for the rows that are used."""
        bits = (_ROOM * max(len(self), _LEAST)).bit_length()
        self._slots, self._taken = np.zeros(1 << bits, np.int32), 0
        self._shift = np.uint64(64 - bits)
        rows = self.live()
        self._put(rows, self._hashes[rows])


def grown(columns: NDArray[Any]) -> NDArray[Any]:
    """Twice as many rows. Those that are new take no memory: nothing is written there."""
    more: NDArray[Any] = np.zeros((2 * len(columns), *columns.shape[1:]), columns.dtype)
    as_bytes = columns.ravel().view(np.uint8)  # records are copied field by field
    more.ravel().view(np.uint8)[: len(as_bytes)] = as_bytes
    return more
