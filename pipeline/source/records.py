"""What every reader of a capture format yields: where the packets of a window lie, as columns.

Knows: the columns of a Records, how a capture is handed over in windows, how damage is told.
Does not know: any file format, where a window's bytes come from.
Invariant: ``start + captured`` never passes the end of its window, so nobody behind needs to check it.

A capture is read window by window. A mapped file is one window; what is piped, compressed or still growing
comes in several, each beginning with the first byte that the one before did not consume. What a reader
yields does not depend on where the windows were cut.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from workers.contract import I64, U16, U32, U64

Buffer: TypeAlias = "bytes | mmap.mmap"
"""What a window lies in: bytes with ``find``."""

MOST_FAULTS: Final = 1000
"""Faults that are kept of one capture; further ones are counted."""

MOST_RECORD: Final = 64 << 20
"""Bytes of one packet record or block. A longer one is damage: no window has to hold more."""


CUT_OFF: Final = "the file ends inside "
"""How the problem begins of a fault at the end of a capture."""


class Records(NamedTuple):
    """A stretch of packet records in file order. Columns of equal length n."""

    start: U64  # place of the frame's first byte in the window
    captured: U32  # frame bytes in the window
    length: U32  # frame bytes on the wire, as the record says; never less than captured
    time: I64  # ns since 1970-01-01
    link: U16  # link type of the frame (LINKTYPE_ number), per record: pcapng interfaces may differ


class Window(NamedTuple):
    """A stretch of a capture: ``data[:end]``."""

    data: Buffer
    end: int
    base: int  # offset in the capture of data[0]
    final: bool  # the capture ends with it
    unreadable: tuple[tuple[int, int], ...] = ()
    """Stretches [begin, end) of data that the storage did not give: they hold zeros, and no packet."""
    idle: bool = False
    """More may come, but not at once: a record that ends where the window does is whole."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Damage in a capture: ``length`` bytes from ``offset`` on are no packets that could be read."""

    path: Path
    offset: int  # in the capture, after decompression
    problem: str  # one line, no trailing period: "the file ends inside a packet record"
    length: int = 0


class Reader(Protocol):
    """A capture format. ``pieces`` is called once a window and exhausted before the next one."""

    format: str
    """For people: "pcap, little endian, microseconds"."""
    faults: list[Fault]
    """In order, neighbours with one problem joined; at most MOST_FAULTS."""
    more_faults: int
    """Faults that are not in the list."""
    consumed: int
    """After ``pieces``: place in its window where the next one must begin. It may lie beyond the window's
    end: then the bytes up to there are to be left out."""
    wants: int
    """After ``pieces``: how many bytes the next window should have at least; 0: any number."""
    stopped: bool
    """Reading is over before the end of the capture: ``strict`` was asked for and damage was met."""

    def pieces(self, window: Window) -> Iterator[Records]:
        """The packets of a window, in file order, in stretches of any length."""
