"""Which connections carried the most bytes lately: a bounded sketch over batches of columns.

Knows: flow keys, bytes of frames. Does not know: who shows it, how long "lately" is: whoever takes it begins anew.
Invariant: at most ``most`` connections are held, and a count is never more than the truth, nor less than it by
more than ``error``, which is at most the bytes of all by ``most + 1``.

This is the summary of Misra and Gries (1982), which merges: a batch's own summary is added, and what stands at place
``most + 1`` is taken off everybody. Space-saving counts the same, upwards. No Python object a packet, nor a flow.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from workers.contract import I64, KEY_WORDS, U64, PacketBatch

MOST: Final = 128
"""Connections held. One that has a hundredth of all bytes is among them for certain, and so are smaller ones as a
rule: traffic is seldom spread evenly."""


class Talker(NamedTuple):
    """A connection and its bytes, frames as captured on the wire, both directions together."""

    key: tuple[int, ...]  # see workers.contract.Key
    bytes: int


class Talkers:
    """The sketch of a worker."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._keys: U64 = np.empty((0, KEY_WORDS), np.uint64)
        self._bytes: I64 = np.empty(0, np.int64)
        self.error = 0

    def add(self, batch: PacketBatch) -> None:
        """The packets of a batch."""
        if not len(batch.packet):
            return
        sizes = np.bincount(batch.flow, batch.length, len(batch.keys)).astype(np.int64)
        keys, sizes = self._largest(batch.keys, sizes)
        keys, group = _distinct(np.concatenate([self._keys, keys]))
        sums = np.zeros(len(keys), np.int64)
        np.add.at(sums, group, np.concatenate([self._bytes, sizes]))
        self._keys, self._bytes = self._largest(keys, sums)

    def take(self, count: int) -> list[Talker]:
        """The first ``count``, the largest first. The sketch is empty then."""
        order = np.argsort(-self._bytes, kind="stable")[:count]
        found = [
            Talker(tuple(key), size)
            for key, size in zip(self._keys[order].tolist(), self._bytes[order].tolist(), strict=True)
        ]
        self._keys, self._bytes, self.error = self._keys[:0], self._bytes[:0], 0
        return found

    def _largest(self, keys: U64, sizes: I64) -> tuple[U64, I64]:
        """No more than ``most`` of them, each less by the first that is left out."""
        if len(sizes) <= self._most:
            return keys, sizes
        off = int(np.partition(sizes, -self._most - 1)[-self._most - 1])
        self.error += off
        stay = sizes > off
        return keys[stay], sizes[stay] - off


def _distinct(keys: U64) -> tuple[U64, Any]:
    """Keys without their repetitions, and of each row of ``keys`` which one it is."""
    order = np.lexsort(keys.T)
    ordered = keys[order]
    first = np.ones(len(keys), np.bool_)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    group = np.empty(len(keys), np.int64)
    group[order] = np.cumsum(first) - 1
    return ordered[first], group
