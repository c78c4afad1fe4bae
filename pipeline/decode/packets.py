"""What the layers of the decoder hand to one another, and how they read headers.

Knows: columns, bounds, unaligned reads, where the ids of networks go. Does not know: any header.
Invariant: ``stop`` is inside the slab. A kernel first drops the packets whose header is not wholly
captured (``drop``) and then reads exactly that many bytes (``gather``), so no read passes a packet's
captured bytes; inside a tunnel none passes the end of the datagram around it either.
"""

from typing import Final, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.decode.reasons import Reason
from pipeline.source.records import Records
from workers.contract import I64, U8, U16, U32, U64, Bools

Headers: TypeAlias = NDArray[np.void]
"""One header of a fixed width for each packet, (n,) V<width>."""

# Kinds. Numbers from LOWEST_ETHERTYPE on are EtherTypes; those below are lengths there, and here stand for headers
# that are read together with the layer around them (link.settle).
RAW: Final = 1  # IPv4 or IPv6 by the version nibble
ETHER: Final = 2  # an Ethernet header inside another layer
LLC: Final = 3  # IEEE 802.2
PPP: Final = 4
WLAN: Final = 5  # IEEE 802.11
WLAN_PADDED: Final = 6  # ... its header filled up to a multiple of 4 bytes
RADIOTAP: Final = 7
LENGTH: Final = 8  # IEEE 802.3 without LLC
LOWEST_ETHERTYPE: Final = 0x0600  # IEEE 802.3, 3.2.6
IPV4: Final = 0x0800
IPV6: Final = 0x86DD
NOTHING: Final = 0xFFFF  # reserved: stands for what is not read


class Packets(NamedTuple):
    """Packets still in the running. Columns of equal length; places are in the slab. Rows rise."""

    row: I64  # in Records
    at: I64  # place of the header to be read next
    stop: I64  # behind the last captured byte
    end: I64  # behind the last byte of the enclosing layer: of the frame on the wire, then of the datagram
    kind: U16  # EtherType of what stands at ``at``, or one of the kinds above
    net: U64  # as workers.contract.Key.NET; the version is 0 outside of IP


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


def only(packets: Packets, good: Bools) -> Packets:
    """The packets that are ``good``; the verdict on the others stays what it is."""
    return packets if good.all() else chosen(packets, np.flatnonzero(good))


def joined(parts: list[Packets]) -> Packets:
    """At least one Packets as one, by row."""
    if len(parts) == 1:
        return parts[0]
    whole = Packets._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
    return chosen(whole, np.argsort(whole.row, kind="stable"))


def bounded(packets: Packets, size: U16) -> Packets:
    """The packets with the layer that begins at ``at`` ending ``size`` bytes (n,) on at most; 0 says nothing, as
    segmentation offload leaves it."""
    end = np.minimum(packets.end, np.where(size == 0, packets.end, packets.at + size))
    return packets._replace(end=end, stop=np.minimum(packets.stop, end))


def passing(packets: Packets, why: U8, verdict: U8) -> I64 | None:
    """Judges packets by ``why`` (n,), the reason that their IP or TCP header gives: ``verdict`` becomes it.

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


def judged(packets: Packets, why: U8, verdict: U8) -> Packets:
    """The packets without a reason in ``why`` (n,); it is the others' verdict. Of those that go on nothing is said."""
    bad = why != 0
    if not bad.any():
        return packets
    verdict[packets.row[bad]] = why[bad]
    return chosen(packets, np.flatnonzero(~bad))


class Notes(NamedTuple):
    """Where IP headers were found, to be filled by ``decode``. Rows of the Packets are those of its Records.

    ``at`` is the IP header's place, ``end`` the end of the layer around it, ``net`` without the version.
    """

    fragments: list[Packets]  # of packets whose reason is FRAGMENT, the header of the fragment
    outermost: list[Packets]  # the first IP header of every packet that has one
    layers: "list[Layers]"  # one: what was noted of the records by row


class Layers:
    """What is noted of records, by row, while their layers come off.

    ``more`` and ``ether`` come into being when the first packet needs them: most captures have no tunnels.
    """

    __slots__ = ("ether", "fragments", "more", "outermost", "records", "verdict", "verify")

    def __init__(self, records: Records, verdict: U8, *, verify: bool, notes: Notes | None) -> None:
        self.records = records
        self.verdict = verdict  # (n,) Reason
        self.verify = verify  # checksums
        self.more: U64 | None = None  # (n,) as workers.contract.Key.MORE
        self.ether: I64 | None = None  # (n,) place of the innermost Ethernet header; -1: there is none
        # The lists of the notes, not the notes: these hold the layers, and no collector would find such a circle.
        self.fragments: list[Packets] | None = None
        self.outermost: list[Packets] | None = None
        if notes is not None:
            self.fragments, self.outermost = notes.fragments, notes.outermost
            notes.layers.append(self)

    def macs(self, ethernet: int) -> I64:
        """``ether``, with the frames of the link type ``ethernet`` to begin with."""
        if self.ether is None:
            self.ether = np.where(self.records.link == ethernet, self.records.start.view(np.int64), -1)
        return self.ether

    def on_vlan(self, packets: Packets, vlan: U64) -> Packets:
        """Adds VLAN ids (n,) to the networks that the packets are on."""
        room = _slots(packets) < SLOTS
        if not room.all():
            packets, vlan = drop(packets, ~room, Reason.TOO_DEEP, self.verdict), vlan[room]
        return self._with_slot(packets, vlan, np.uint64(0))

    def on_overlay(self, packets: Packets, vni: U64, kind: int) -> Packets:
        """The same with 24-bit ids of an overlay, 0 VXLAN, 1 GENEVE."""
        room = _slots(packets) < SLOTS - 1
        if not room.all():
            packets, vni = drop(packets, ~room, Reason.TOO_DEEP, self.verdict), vni[room]
        packets = self._with_slot(packets, vni >> np.uint64(12), np.uint64(1))
        return self._with_slot(packets, vni & np.uint64(0xFFF), np.uint64(kind))

    def _with_slot(self, packets: Packets, value: U64, mark: np.uint64) -> Packets:
        """One slot more, for which there is room."""
        slot = _slots(packets)
        net = packets.net + (np.uint64(1) << np.uint64(4)) + (mark << (slot + np.uint64(56)))
        beyond = slot >= _IN_NET
        if beyond.any():
            if self.more is None:
                self.more = np.zeros(self.verdict.size, np.uint64)
            late = np.flatnonzero(beyond)
            self.more[packets.row[late]] |= value[late] << (slot[late] - _IN_NET) * _WIDTH
            value = np.where(beyond, np.uint64(0), value)
            slot = np.where(beyond, np.uint64(0), slot)
        return packets._replace(net=net + (value << (slot * _WIDTH + np.uint64(8))))


def without_vlans(net: U64, more: U64) -> tuple[U64, U64]:
    """Key.NET and Key.MORE (n,) with the overlays only."""
    plain = net & np.uint64(15)
    rows = np.flatnonzero(net >> np.uint64(56))
    rest = np.zeros_like(more)
    for row in rows.tolist():  # few have overlays and want no VLANs
        low, high = int(net[row]), int(more[row])
        kept = marks = count = place = 0
        slots, taken = _slots_of(low | high << 64), low >> 4 & 15
        while place < taken:
            if overlay := low >> 56 + place & 1:
                kept |= (slots >> 12 * place & 0xFFFFFF) << 12 * count
                marks |= (low >> 56 + place & 3) << count
                count += 2
            place += 1 + overlay
        plain[row] |= np.uint64(count << 4 | (kept & _LOW_SLOTS) << 8 | marks << 56)
        rest[row] = kept >> 48
    return plain, rest


def networks(net: int, more: int) -> int:
    """The networks of a packet as one number: Key.NET without the version, and Key.MORE above it."""
    return net & ~15 | more << 64


def joined_networks(before: int, behind: int) -> int:
    """``behind`` inside of ``before``, both as of ``networks``. Slots beyond the eighth are left out."""
    if not before or not behind:
        return before | behind
    count, more = before >> 4 & 15, behind >> 4 & 15
    slots = _slots_of(before) | _slots_of(behind) << 12 * count
    marks = (before >> 56 & 0xFF | (behind >> 56 & 0xFF) << count) & 0xFF
    high = slots >> 48 & _LOW_SLOTS
    return min(count + more, SLOTS) << 4 | (slots & _LOW_SLOTS) << 8 | marks << 56 | high << 64


def _slots_of(network: int) -> int:
    """The slots of a ``networks``, the outermost in the lowest bits."""
    return network >> 8 & _LOW_SLOTS | network >> 64 << 48


SLOTS: Final = 8
_IN_NET: Final = np.uint64(4)
_WIDTH: Final = np.uint64(12)
_LOW_SLOTS: Final = (1 << 48) - 1  # those that Key.NET has


def _slots(packets: Packets) -> U64:
    """How many slots are taken."""
    taken: U64 = packets.net >> np.uint64(4) & np.uint64(15)
    return taken


def gather(slab: U8, places: I64, width: int) -> Headers:
    """``width`` bytes at each of ``places``; all of them must be inside the slab."""
    if not places.size:
        return np.empty(0, f"V{width}")
    windows: Headers = np.ndarray((slab.size - width + 1,), f"V{width}", buffer=slab, strides=(1,))
    return windows[places]


def byte(slab: U8, places: I64) -> U8:
    """The byte at each of ``places``, which must be inside the slab."""
    return slab.take(places)


def version(slab: U8, places: I64) -> U8:
    """The upper half of the byte at each of ``places``: the version of an IP packet there."""
    return slab.take(places) >> np.uint8(4)


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
