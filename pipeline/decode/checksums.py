"""Checksums of IPv4 headers and TCP segments (RFC 1071, RFC 9293 3.1), whole columns at a time.

Knows: ones' complement sums. Does not know: why a checksum is wrong, what becomes of the packet.
Invariant: only the bytes that are asked about count, and all of them must be inside the slab.
"""

from typing import Final

import numpy as np

from pipeline.decode.packets import Addresses
from workers.contract import I64, U8, U64, Bools

_TCP: Final = 6
_NO_ROOM: Final = np.zeros(8, np.uint8)


def wrong_headers(slab: U8, start: I64, size: I64) -> Bools:
    """Whether the sum of each header (n,) is not 0 in ones' complement; ``size`` is at least 4 bytes."""
    wrong: Bools = _folded(_sums(slab, start, start + size)) != 0xFFFF
    return wrong


def wrong_segments(slab: U8, start: I64, end: I64, addresses: Addresses) -> Bools:
    """The same for TCP segments (n,) with the pseudo header of IPv4 or IPv6, whose sums are one and the same."""
    size = (end - start).view(np.uint64)
    pseudo = (size >> np.uint64(16)) + (size & np.uint64(0xFFFF)) + np.uint64(_TCP)
    for word in addresses:
        for shift in (0, 16, 32, 48):
            pseudo += word >> np.uint64(shift) & np.uint64(0xFFFF)
    wrong: Bools = _folded(_sums(slab, start, end) + pseudo) != 0xFFFF
    return wrong


def _sums(slab: U8, start: I64, end: I64) -> U64:
    """The sum of the network-order 16-bit words from ``start`` to ``end`` (n,), folded; an odd last byte is the
    upper half of a word. Each range is at least 4 bytes.

    The slab is summed up in 32-bit words as it lies, in whatever order they are (RFC 1071, 2 B and C): of the
    first and the last word of a range what lies outside is taken off, and a range at an odd place gives the sum
    with its bytes swapped.
    """
    if not start.size:
        return np.empty(0, np.uint64)
    low, high = int(start.min()) // 4 * 4, int(end.max())
    some = slab[low : -(-high // 4) * 4 + 4]
    if low + some.size < -(-high // 4) * 4 + 4:
        some = np.concatenate([some, _NO_ROOM])
    words = some[: some.size // 4 * 4].view("<u4")
    first, behind = (start - low) // 4, (end - low + 3) // 4
    bounds = np.stack([first, behind], axis=1).ravel()
    total = np.add.reduceat(words, bounds, dtype=np.uint64)[::2]
    before = ((start - low) % 4).view(np.uint64) * np.uint64(8)
    total -= words[first] & (np.uint64(1) << before) - np.uint64(1)
    after = (-(end - low) % 4).view(np.uint64) * np.uint64(8)
    total -= words[behind - 1] >> (np.uint64(32) - after) << (np.uint64(32) - after)
    total = _folded(total)
    odd = start % 2 == 1
    return np.where(odd, total, (total & np.uint64(0xFF)) << np.uint64(8) | total >> np.uint64(8))


def _folded(total: U64) -> U64:
    """The sums in 16 bits."""
    for _ in range(4):
        total = (total & np.uint64(0xFFFF)) + (total >> np.uint64(16))
    return total
