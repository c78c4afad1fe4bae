"""How a limit on memory is divided among the limits that hold for what a run keeps.

Knows: what a connection, a range and a half-open connection take. Does not know: processes, how many there are.
Invariant: each virtual shard has the same share, whoever serves it: so what is given up depends on the input and on
the limit alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workers.contract import SHARDS
from workers.limits import Limits

CONNECTION_BYTES: Final = 3_584
"""What an open connection takes, of a worker (1.1 kB) and of a writer (2.4 kB); its names included."""
ANALYZED_BYTES: Final = 9_216
"""... and what its analyzers take besides."""
RANGE_BYTES: Final = 256
_HALF_OPEN_BYTES: Final = 768


def within(limits: Limits, memory: int, *, analyzed: bool) -> Limits:
    """The limits with which a run's state takes ``memory`` bytes at most, over all its processes; none becomes wider.

    An eighth is for fragments, a quarter for ranges that wait, half for connections, an eighth for half-open ones.
    Each virtual shard has the 256th part of it, whoever serves it: so what is given up depends on the input and on
    ``memory`` alone, not on the number of processes.
    """
    each = CONNECTION_BYTES + (ANALYZED_BYTES if analyzed else 0)
    shard = memory // SHARDS
    half_open = min(limits.half_open_per_shard, max(1, shard // 8 // _HALF_OPEN_BYTES))
    open_ones = max(1, shard // 2 // each)
    return replace(
        limits,
        connections_per_shard=min(limits.connections_per_shard, open_ones + half_open),
        half_open_per_shard=half_open,
        ranges_per_shard=max(1, shard // 4 // RANGE_BYTES),
        fragment_bytes=min(limits.fragment_bytes, memory // 8),
    )
