"""How connections stand: what decides how long they are remembered and who goes first, and what is told of it.

Knows: times and states, as columns. Does not know: rows, packets, shards' limits (crowding.py).
Invariant: it is the same for a connection of one packet, whether it has a row or not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workers import direction as dr
from workers.contract import I64, U8, U16, U64, Bools, Progress
from workers.limits import Limits

_PROGRESS = (
    (dr.SEEN, Progress.SEEN),
    (dr.BEGUN, Progress.SYN),
    (dr.ENDED, Progress.FIN),
    (dr.OPENED, Progress.DATA),
)


class Standing(NamedTuple):
    """What decides how long connections are remembered."""

    numbers: I64
    shard: U8
    half: Bools  # neither payload nor an answer
    over: Bools  # see Table.over
    clock: I64  # ns; at the latest packet
    ident: U64

    def but(self, gone: Bools) -> Standing:
        """The others."""
        return Standing._make(column[~gone] for column in self)

    def due(self, limits: Limits) -> I64:
        """The packet clock after which each of them is forgotten."""
        patience = np.where(self.half, limits.half_open_ns, limits.idle_ns)
        return self.clock + np.where(self.over, limits.closed_ns, patience)


def progress(states: U16) -> U16:
    """State bits of directions (k,) as Progress."""
    told = np.zeros(len(states), np.uint16)
    for bit, shown in _PROGRESS:
        told[(states & bit) != 0] |= np.uint16(shown)
    return told
