"""What the layers of the decoder hand to one another, and how they read headers.

Knows: columns, bounds, unaligned reads. Does not know: any header.
Invariant: ``at <= stop`` and ``stop`` is inside the slab. A kernel first drops the packets whose
header is not wholly captured (``drop``) and then reads exactly that many bytes (``gather``), so no
read passes a packet's captured bytes.
"""

from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.reasons import Reason
from workers.contract import I64, U8, U16, U32, U64, Bools

Headers: TypeAlias = NDArray[np.void]
"""One header of a fixed width for each packet, (n,) V<width>."""


class Packets(NamedTuple):
    """Packets still in the running. Columns of equal length; places are in the slab."""

    row: I64  # in Records
    at: I64  # place of the header to be read next
    stop: I64  # behind the last captured byte
    end: I64  # behind the last byte of the enclosing layer: of the frame on the wire, then of the datagram
    kind: U16  # EtherType of what stands at ``at``
    net: U64  # VLAN bits of workers.contract.Key.NET


class Addresses(NamedTuple):
    """Columns that go with Packets."""

    src_high: U64
    src_low: U64
    dst_high: U64
    dst_low: U64


_Columns = TypeVar("_Columns", Packets, Addresses)


def chosen(columns: _Columns, kept: I64) -> _Columns:
    """The rows ``kept``, in that order."""
    return type(columns)._make(column.take(kept) for column in columns)


def passing(packets: Packets, why: U8, verdict: U8) -> I64 | None:
    """Judges packets by ``why`` (n,): a reason other than TCP goes to ``verdict``, a column of Records.

    Returns the indices of the packets that go on, or None when all do.
    """
    if not why.any():
        return None
    verdict[packets.row] = why
    return np.flatnonzero(why == Reason.TCP)


def drop(packets: Packets, bad: Bools, why: Reason, verdict: U8) -> Packets:
    """The packets that are not ``bad``; the others' verdict is ``why``."""
    if not bad.any():
        return packets
    verdict[packets.row[bad]] = why
    return chosen(packets, np.flatnonzero(~bad))


def gather(slab: U8, places: I64, width: int) -> Headers:
    """``width`` bytes at each of ``places``; all of them must be inside the slab."""
    if not places.size:
        return np.empty(0, f"V{width}")
    windows: Headers = np.ndarray((slab.size - width + 1,), f"V{width}", buffer=slab, strides=(1,))
    return windows[places]


def u8(headers: Headers, offset: int) -> U8:
    """The byte at ``offset`` of every header."""
    return _field(headers, offset, "u1").astype(np.uint8)


def u16(headers: Headers, offset: int) -> U16:
    """The network-order number at ``offset`` of every header."""
    return _field(headers, offset, ">u2").astype(np.uint16)


def u32(headers: Headers, offset: int) -> U32:
    """The network-order number at ``offset`` of every header."""
    return _field(headers, offset, ">u4").astype(np.uint32)


def u64(headers: Headers, offset: int) -> U64:
    """The network-order number at ``offset`` of every header."""
    return _field(headers, offset, ">u8").astype(np.uint64)


def _field(headers: Headers, offset: int, dtype: str) -> NDArray[np.unsignedinteger]:
    if not headers.size:
        return np.empty(0, dtype)
    return np.ndarray(headers.shape, dtype, buffer=headers, offset=offset, strides=headers.strides)
