"""32-bit serial arithmetic, scalar and vector, in one place (RFC 9293 section 3.4, RFC 1982).

Knows: numbers on a circle of 2**32. Does not know: connections, offsets, batches.
Invariant: the scalar and the vector form agree for all inputs (tests/workers/test_seq.py).
"""

from __future__ import annotations

import numpy as np

from workers.contract import I64, U32

MASK = 0xFFFF_FFFF


def distance(a: int, b: int) -> int:
    """Signed steps from ``a`` to ``b`` on the circle, in [-2**31, 2**31)."""
    return ((b - a + 0x8000_0000) & MASK) - 0x8000_0000


def distances(a: U32, b: U32) -> I64:
    """``distance`` of each pair; uint32 columns in, int64 column out."""
    return (b - a).view(np.int32).astype(np.int64)
