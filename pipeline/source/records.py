"""What every source yields: where the packets of a capture lie, as columns.

Knows: the columns of a Records, and how damage is told. Does not know: any file format.
Invariant: ``start + captured`` never passes the end of the slab, so no reader behind needs to check it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from workers.contract import I64, U8, U16, U32, U64


class Records(NamedTuple):
    """A stretch of packet records in file order. Columns of equal length n."""

    start: U64  # place of the frame's first byte in the slab
    captured: U32  # frame bytes in the slab
    length: U32  # frame bytes on the wire, as the record says; never less than captured
    time: I64  # ns since 1970-01-01
    link: U16  # link type of the frame (LINKTYPE_ number), per record: pcapng interfaces may differ


@dataclass(frozen=True, slots=True)
class Fault:
    """Damage in an input: everything before ``offset`` was read."""

    path: Path
    offset: int
    problem: str  # one line, no trailing period: "the file ends inside a packet record"


class Source(Protocol):
    """An open capture file."""

    path: Path
    slab: U8
    """The whole file, mapped read-only."""
    format: str
    """For people: "pcap, little endian, microseconds"."""
    fault: Fault | None
    """Set once the damage has been met; looked at when ``batches`` is exhausted."""

    def batches(self, packets: int) -> Iterator[Records]:
        """Records in file order, ``packets`` in each but the last. Ends at the end or at damage."""

    def close(self) -> None:
        """Unmap. References into ``slab`` are dead after this."""
