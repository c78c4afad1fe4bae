"""Connections of which one packet is all there is, and that one has no payload: a SYN that nothing came of, mostly.

Knows: what such a packet tells, as columns. Does not know: what becomes of it (table.py).
Invariant: unfolded it is the row that the packet would have made by itself, so who looks a key up sees no difference.

A flood of SYNs is a million of them: a fifth of the room that a row and its two directions take.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.connection import NO_COUNTER
from workers.contract import ACK, FIN, I64, RST, SYN, U8, U64, Bools, PacketBatch
from workers.direction import ACKED, BASED, BEGUN, SEEN
from workers.index import ROWS, Index, grown

PACKET: Final = np.dtype([
    ("packet", "u8"), ("time", "i8"), ("clock", "i8"), ("seq", "u4"), ("ack", "u4"), ("length", "u4"),
    ("clipped", "u4"), ("flags", "u1"), ("side", "u1"),
])  # fmt: skip
"""What is kept of each, as in a PacketBatch."""

_OF_CONNECTION: Final = (("ident", "packet"), ("opened", "time"), ("clock", "clock"), ("first_side", "side"))
_OF_DIRECTION: Final = ("ack", "length", "clipped")
_TOLD: Final = SEEN | BASED | BEGUN | ACKED
_PACKET_BYTES: Final = np.dtype((np.void, PACKET.itemsize))


def may_wait(batch: PacketBatch, rows: I64) -> Bools:
    """Which packets (k,) of a batch, the first ones of their connections, say so little that more has to come."""
    quiet: Bools = (batch.size[rows] == 0) & ((batch.flags[rows] & (FIN | RST)) == 0)
    return quiet


class Lone:
    """Those packets, by the key of their connection."""

    def __init__(self) -> None:
        self.index = Index()
        self.packets: NDArray[Any] = np.zeros(ROWS, PACKET)

    def __len__(self) -> int:
        return len(self.index)

    def add(self, batch: PacketBatch, rows: I64) -> None:
        """Packets (k,) of a batch that are the only ones of their connections."""
        new = np.empty(len(rows), PACKET)
        for name in ("packet", "time", "seq", "ack", "length", "clipped", "flags", "side"):
            new[name] = getattr(batch, name)[rows]
        new["clock"] = new["time"] + batch.lag[rows]
        new["ack"][(new["flags"] & ACK) == 0] = 0  # it acknowledges nothing
        flow = batch.flow[rows]
        self.put(new, batch.keys[flow], batch.shards[flow])

    def put(self, new: NDArray[Any], keys: U64, shards: U8) -> None:
        """The same for packets as they are kept; none of the keys is there."""
        at = self.index.add(keys, shards)
        while len(self.packets) < self.index.size:
            self.packets = grown(self.packets)
        self.packets.view(_PACKET_BYTES)[at] = new.view(_PACKET_BYTES)

    def of(self, rows: I64) -> NDArray[Any]:
        """Copies of these packets."""
        found: NDArray[Any] = self.packets.view(_PACKET_BYTES)[rows].view(PACKET)
        return found


def folded(connections: NDArray[Any], directions: NDArray[Any]) -> tuple[NDArray[Any], Bools]:
    """The packets of connections (k,) and of the directions that sent the first ones, and for which of them ``fill``
    would make the same again: those that have one packet, and no payload."""
    state = directions["state"]
    quiet: Bools = (connections["count"] == 1) & (connections["state"] == 0) & ((state | _TOLD) == _TOLD)
    quiet &= ((state & BASED) != 0) == ((state & BEGUN) != 0)
    quiet &= (directions["seen"] == 0) & (directions["end"] == 0)
    packets = np.zeros(len(state), PACKET)
    for name, column in _OF_CONNECTION:
        packets[column] = connections[name]
    for name in _OF_DIRECTION:
        packets[name] = directions[name]
    begun = (state & BEGUN) != 0
    packets["flags"] = np.where(begun, SYN, 0) | np.where(state & ACKED, ACK, 0)
    packets["seq"] = np.where(begun, directions["base"] - np.uint32(1), 0)
    return packets, quiet


def fill(packets: NDArray[Any], shards: U8, connections: NDArray[Any], directions: NDArray[Any]) -> None:
    """What the packets (k,) make of their connections and of the directions that sent them, all zeros before."""
    for name, column in _OF_CONNECTION:
        connections[name] = packets[column]
    connections["count"], connections["counter"], connections["shard"] = 1, NO_COUNTER, shards
    syn, ack = (packets["flags"] & SYN) != 0, (packets["flags"] & ACK) != 0
    directions["state"] = SEEN | np.where(syn, BASED | BEGUN, 0) | np.where(ack, ACKED, 0)
    directions["base"] = np.where(syn, packets["seq"] + np.uint32(1), 0)
    directions["first"] = directions["last"] = packets["time"]
    directions["packets"] = 1
    for name in _OF_DIRECTION:
        directions[name] = packets[name]
