"""One packet that is judged by itself, where a column would not do.

Knows: its numbers, as contract.PacketBatch has them. Does not know: who judges it.
Invariant: it is made only for packets that do not simply follow one another.
"""

from typing import NamedTuple


class Segment(NamedTuple):
    """One packet of a PacketBatch, as plain numbers."""

    flow: int
    packet: int
    time: int
    clock: int
    seq: int
    ack: int
    flags: int
    side: int
    start: int
    size: int
    missing: int
    mac: int
    length: int
    clipped: int
