"""IEEE 802.11 frames, bare and behind radiotap.

Knows: IEEE 802.11 data frames, radiotap (https://www.radiotap.org). Does not know: links, IP.
Invariant: of what cannot be read (management, encrypted, fragments, several frames in one) nothing is guessed.
"""

from typing import Final

import numpy as np

from pipeline.decode.packets import LLC, WLAN, WLAN_PADDED, Layers, Packets, byte, chosen, drop, gather, only, u8
from pipeline.decode.reasons import Reason
from workers.contract import I64, U8, U32, Bools

_BITMAPS: Final = 8
"""Radiotap's words of presence that are followed; with more, its flags are not looked for."""

_TSFT, _FLAGS, _MORE = 1, 2, 1 << 31
_PADDED: Final = 0x20  # bit of the field Flags


def radiotap(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """Version 0, a length (little endian), words that say which fields are there, the fields; then 802.11."""
    packets = drop(packets, packets.at + 8 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    header = gather(slab, packets.at, 4)
    size = u8(header, 2) + u8(header, 3) * np.int64(256)
    known = (u8(header, 0) == 0) & (size >= 8)
    cut = known & (packets.at + size > packets.stop)
    layers.verdict[packets.row[cut]] = Reason.FRAME_TRUNCATED
    layers.verdict[packets.row[~known]] = Reason.OTHER_NETWORK_PROTOCOL
    kept = np.flatnonzero(known & ~cut)
    packets, size = chosen(packets, kept), size[kept]
    kind = np.where(_is_padded(slab, packets.at, size), WLAN_PADDED, WLAN).astype(np.uint16)
    return packets._replace(at=packets.at + size, kind=kind)


def _is_padded(slab: U8, at: I64, size: I64) -> Bools:
    """Whether the radiotap headers (n,) at ``at``, of ``size`` bytes, say that what follows 802.11's is aligned."""
    present = _little(slab, at + 4)
    offset = np.full(at.size, 8)
    left, word = np.arange(at.size), present
    for _ in range(_BITMAPS - 1):
        left = left[word & _MORE != 0]
        left = left[offset[left] + 4 <= size[left]]
        if not left.size:
            break
        word = _little(slab, at[left] + offset[left])
        offset[left] += 4
    else:
        offset[left[word & _MORE != 0]] = 1 << 16
    offset = np.where(present & _TSFT, (offset + 7 & ~7) + 8, offset)
    padded: Bools = (present & _FLAGS != 0) & (offset < size)
    places = np.flatnonzero(padded)
    padded[places] = byte(slab, at[places] + offset[places]) & _PADDED != 0
    return padded


def _little(slab: U8, places: I64) -> U32:
    """The little endian number at each place."""
    return gather(slab, places, 4).view("<u4").astype(np.uint32)


def wlan(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """A data frame: LLC follows its header."""
    return _wlan(slab, packets, layers, padded=False)


def wlan_padded(slab: U8, packets: Packets, layers: Layers) -> Packets:
    """The same; LLC follows at the next multiple of 4 bytes."""
    return _wlan(slab, packets, layers, padded=True)


def _wlan(slab: U8, packets: Packets, layers: Layers, *, padded: bool) -> Packets:
    packets = drop(packets, packets.at + 24 > packets.stop, Reason.FRAME_TRUNCATED, layers.verdict)
    header = gather(slab, packets.at, 24)
    first, flags = u8(header, 0), u8(header, 1)
    other = first & 0x4F != 0x08  # version 0, a data frame, with data
    other |= flags & 0x44 != 0  # encrypted, or more fragments follow
    other |= u8(header, 22) & 0x0F != 0  # a later fragment
    qos = first & 0x80 != 0
    size = 24 + (flags & 3 == 3) * np.int64(6)
    control = packets.at + size
    size += qos * np.int64(2) + (qos & (flags & 0x80 != 0)) * np.int64(4)
    if padded:
        size = size + 3 & ~3
    cut = packets.at + size > packets.stop
    whole = np.flatnonzero(qos & ~cut)
    other[whole] |= byte(slab, control[whole]) & 0x80 != 0  # several frames in one
    packets = packets._replace(at=packets.at + size, kind=np.full_like(packets.kind, LLC))
    layers.verdict[packets.row[cut]] = Reason.FRAME_TRUNCATED
    layers.verdict[packets.row[other]] = Reason.OTHER_NETWORK_PROTOCOL
    return only(packets, ~(other | cut))
