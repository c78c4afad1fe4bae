"""The columns of plain streams, and what kernels are told and tell.

Knows: the layout that plain.h has, too. Does not know: who makes streams, files.
Invariant: a table's rows are never moved while a kernel has it; texts are only ever added.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.report.rows import completeness, networks_attributes, reason_word
from pipeline.writer.names import Names, networks, networks_suffix
from pipeline.writer.payload import Payload
from workers.contract import I32, I64, KEY_WORDS, U32, U64, Bools

LAYOUT: Final = 1
"""Of what is exchanged with the kernel in C: changes when its meaning does."""

PLAIN: Final = np.dtype(
    [
        ("number", "<u8"), ("key", "<u8", (KEY_WORDS,)),
        ("opened", "<i8"),  # ns; the connection's first packet
        ("size", "<i8"),  # bytes written
        ("device", "<u8"), ("inode", "<u8"),  # of a file that was shut
        ("run_start", "<u8"), ("run_size", "<i8"),  # the last of its Runs that was told, which began at 0
        ("counter", "<u4"), ("net", "<u4"),  # which of the texts
        ("runs", "<u4"),  # how many were told
        ("descriptor", "<i4"),  # of the file, while it is open
        ("side", "u1"), ("state", "u1"), ("mac_known", "u1"), ("mac", "u1", (12,)),
    ],
    align=True,
)  # fmt: skip
"""A plain stream. A slot is a row of a table of them."""

BEGUN, OPEN, SHUT, BROKEN = range(4)
"""States: no file yet; it is open; it is not; it was closed with an error: some of it may not be there."""

CLOSING: Final = np.dtype(
    [
        (name, "<i8")
        for name in (
            "slot", "size", "written", "seen", "overlap", "beyond", "outside", "not_data", "refused", "first", "last",
            "packets", "length", "clipped", "disorder",
            "place",  # of its first byte in the capture; -1: not known
            "flags", "reason",  # which of the texts
        )
    ]
    + [("md5", "S32")]
)  # fmt: skip
"""What a stream's row says beside what is known of the stream itself: columns of Closed, of a stream that is whole."""

LEFT: Final = -4096
"""In place of an error's number: the piece was not tried."""

Table: TypeAlias = NDArray[np.void]
"""Of dtype PLAIN."""

_MOST_NETWORKS: Final = 4096
"""Different tags that are remembered: a stream of one more is not plain."""


class Pieces(NamedTuple):
    """Pieces of plain streams, each the rows [low, high) of the Data; those of a slot stand together."""

    slot: I64
    offset: I64
    low: I64
    high: I64
    size: I64  # bytes


class Rows(NamedTuple):
    """Bytes of plain streams."""

    slot: I64
    offset: I64
    start: U64  # address
    size: U32


class Facts:
    """What is the same for all plain streams of a writer."""

    def __init__(self, folder: int, names: Names, images: Sequence[str]) -> None:
        """``folder``: a descriptor of the one that files are made in; ``images``: the capture files."""
        self.folder = folder
        self.names = names
        self.images = images
        self.suffixes = [""]
        """By PLAIN's ``net``: what a name ends with, and ..."""
        self.links = [""]
        """... attributes of a row."""
        self._nets: dict[tuple[int, int], int] = {}

    def net(self, net: int, more: int) -> int | None:
        """Which texts are those of the last two words of a key; None: there are too many."""
        if not net >> 4:
            return 0
        found = self._nets.get((net, more))
        if found is None and len(self.suffixes) < _MOST_NETWORKS:
            where = networks(net, more)
            found = self._nets[net, more] = len(self.suffixes)
            self.suffixes.append(networks_suffix(where))
            self.links.append(networks_attributes(where))
        return found

    @property
    def timestamp(self) -> bool:
        """Whether a name begins with the time of the first packet."""
        return self.names.timestamp


class Kernel(Protocol):
    """What is done to many streams at once. None of it raises; a number per row says 0, or minus an errno."""

    def make(self, table: Table, slot: int) -> int:
        """One file is made, and noted which it is."""
        ...

    def write(self, table: Table, pieces: Pieces, payload: Payload, *, keep: bool) -> I32:
        """Pieces to their places in the files; a file that is not there is made, one that was shut is opened again.

        ``keep``: such a one stays open, else it is shut behind its last piece. Behind a piece that fails its stream's
        others are LEFT."""
        ...

    def compare(self, table: Table, rows: Rows, payload: Payload) -> Bools:
        """Whether files have the bytes of these rows at their places. False: others, or they could not be read."""
        ...

    def shut(self, table: Table, slots: I64) -> I32:
        """Close files that are open, and note which they are."""
        ...

    def finish(self, table: Table, slots: I64, times: I64) -> I32:
        """Files are complete: their modification times (ns), if the system takes them, and closed."""
        ...

    def rows(self, table: Table, ends: NDArray[np.void]) -> tuple[bytes, U64]:
        """A row of each, of dtype CLOSING, as format_rows makes it, one behind the other; and their lengths."""
        ...


@cache
def flag_texts() -> list[str]:
    """What a row says, by the bits of Completeness."""
    return [completeness(flags) for flags in range(1 << 10)]


@cache
def reason_texts() -> list[str]:
    """... by CloseReason."""
    return [str(reason_word(reason)) for reason in range(256)]
