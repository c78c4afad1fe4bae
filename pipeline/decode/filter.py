"""Which records a pcap filter expression matches, as libpcap judges them.

Knows: libpcap's compiler and its interpreter, through pcapy. Does not know: decoding.
Invariant: a record on a link type for which the expression cannot be compiled matches nothing.

This is the one place with a Python object per packet: libpcap's interpreter takes bytes, and only
those that were captured, at most 65,535 of them. It is helped twice. A program that asks for the
length on the wire (``greater``, ``less``, ``len``) sees cut frames filled up with zeros. Loopback
families, which differ between hosts, are put as libpcap on this host would have captured them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np

from pipeline.decode.link import AF_INET6, ATM_LLC, ETHERNET, LOOP, NULL, RAW, RAW_AS_WRITTEN
from pipeline.errors import UsageError
from pipeline.source.records import Records
from workers.contract import U8, Bools

_DLT: Final = {NULL: LOOP, ATM_LLC: 11, **dict.fromkeys((RAW, *RAW_AS_WRITTEN), 12)}
"""What libpcap on Linux calls a link type, where that is another number or we say it otherwise."""

_NO_FILTERING: Final = ("unknown data link type", "link-layer type filtering not implemented")
"""What libpcap says of link types that it cannot filter."""

_LOOKED_AT: Final = 65_535
_FILLED_UP_TO: Final = 262_144  # libpcap's largest snap length
_LENGTH_LOADS: Final = (0x80, 0x81)  # BPF_LD|BPF_W|BPF_LEN and BPF_LDX|BPF_W|BPF_LEN

_HINT: Final = "see pcap-filter(7) for the syntax, and quote the expression in a shell"


class Program(Protocol):
    """What ``pcapy.compile`` returns."""

    def filter(self, frame: bytes) -> int:
        """0: the frame does not match."""

    def get_bpf(self) -> list[tuple[int, int, int, int]]:
        """The instructions: code, jump if true, jump if false, operand."""


class Filter:
    """A pcap filter expression; ``""`` matches all. Compiled once for each link type, when first met."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._programs: dict[int, Program | None] = {}  # None: does not compile for this link type

    def check(self, link: int) -> None:
        """Raises UsageError, with libpcap's own words, if the expression cannot be used on this link type.

        Of one that libpcap cannot filter whatever the expression, Ethernet tells whether that is in order: such
        packets match nothing, and others may follow.
        """
        try:
            self._programs[link] = self._compiled(link)
        except UsageError as error:
            if not any(words in error.message for words in _NO_FILTERING):
                raise
            self._programs[link] = None
            self._compiled(ETHERNET)

    def keep(self, slab: U8, records: Records) -> Bools:
        """(n,) True where the expression matches. Reads captured bytes only; never raises."""
        kept = np.zeros(records.start.size, np.bool_)
        for link in np.unique(records.link).tolist():
            program = self._program(link)
            if program is None:
                continue
            rows = np.flatnonzero(records.link == link)
            some = Records._make(column[rows] for column in records)
            frames = _full_frames(slab, some) if _asks_for_length(program) else _frames(slab, some)
            if link in (NULL, LOOP):
                frames = (_as_captured_here(frame, link) for frame in frames)
            lengths = np.fromiter(map(program.filter, frames), np.int64, count=rows.size)
            kept[rows] = lengths != 0
        return kept

    def _program(self, link: int) -> Program | None:
        if link not in self._programs:
            try:
                self._programs[link] = self._compiled(link)
            except UsageError:
                self._programs[link] = None
        return self._programs[link]

    def _compiled(self, link: int) -> Program:
        import pcapy  # only those who filter pay for libpcap

        try:
            program: Program = pcapy.compile(_DLT.get(link, link), _LOOKED_AT, self.expression, 1, 0)
        except (pcapy.PcapError, ValueError) as error:  # ValueError: NUL or no UTF-8
            message = f"the filter expression {self.expression!r} cannot be used: {error}"
            raise UsageError(message, _HINT) from error
        return program


def _frames(slab: U8, records: Records) -> Iterator[bytes]:
    """What was captured of each."""
    start = records.start.astype(np.int64)
    stop = start + np.minimum(records.captured, _LOOKED_AT)
    places = map(slice, start.tolist(), stop.tolist())
    return map(memoryview.tobytes, map(slab.data.__getitem__, places))


def _full_frames(slab: U8, records: Records) -> Iterator[bytes]:
    """The same, as long as on the wire."""
    lengths = np.minimum(records.length, _FILLED_UP_TO).tolist()
    return (frame.ljust(n, b"\0") for frame, n in zip(_frames(slab, records), lengths, strict=True))


def _as_captured_here(frame: bytes, link: int) -> bytes:
    """A loopback frame with its family in network order and this host's number for IPv6."""
    if len(frame) < 4:
        return frame
    family = int.from_bytes(frame[:4], "big")
    if link == NULL:
        family = min(family, int.from_bytes(frame[:4], "little"))
    if family in AF_INET6:
        family = socket.AF_INET6
    return family.to_bytes(4, "big") + frame[4:]


def _asks_for_length(program: Program) -> bool:
    return any(code in _LENGTH_LOADS for code, *_ in program.get_bpf())
