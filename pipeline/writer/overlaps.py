"""Bytes that arrive where a stream already has bytes: the same again, or a conflict.

Knows: the overlap policies ``first`` and ``last``, what a conflict record says.
Does not know: which bytes overlap (the worker said so), where files are.
Invariant: of each overlap, identical and differing bytes add up to its size.
"""

import hashlib
from typing import NamedTuple

import numpy as np


class Differing(NamedTuple):
    """A maximal run of differing bytes, relative to the overlap."""

    offset: int
    length: int


def differing(old: bytes, new: bytes | memoryview) -> list[Differing]:
    """The maximal runs in which two byte strings of one length differ, in order."""
    if old == new:
        return []
    unequal = np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8)
    edges = np.flatnonzero(np.diff(unequal, prepend=False, append=False))
    return [Differing(low, high - low) for low, high in edges.reshape(-1, 2).tolist()]


def md5(piece: bytes | memoryview) -> str:
    """The MD5 that a conflict record names a version by."""
    return hashlib.md5(piece, usedforsecurity=False).hexdigest()
