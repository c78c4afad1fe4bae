"""A fragment: what its IP headers say, and the bytes that are kept of it.

Knows: IPv4 fragments (RFC 791, 3.2), the IPv6 fragment header and the headers before it (RFC 8200, 4.5).
Does not know: links, tunnels (the decoder has found the IP header), other fragments.
Invariant: nothing beyond a packet's captured bytes is read; ``size`` is what IP declares, never more than the
frame had on the wire, and ``body + size`` may lie beyond the frame's captured bytes.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from pipeline.decode.kernels import decode
from pipeline.decode.link import ETHERNET
from pipeline.decode.packets import Notes, joined_networks, networks, without_vlans
from pipeline.decode.reasons import Reason
from pipeline.source.records import Records
from workers.contract import I64, U8

_FRAGMENT_HEADER: Final = 44
_V4: Final = Struct(">BxH2xHxBxx8s")
_V6: Final = Struct(">4xHBx32s")
_EXTENSION: Final = Struct(">BB")
_FRAGMENT: Final = Struct(">BxH4s")
_AUTHENTICATION: Final = 51
_EXTENSIONS: Final = frozenset({0, 43, _AUTHENTICATION, 60, 135, 139, 140})
_MORE_4: Final = 0x2000
_NETWORK: Final = 14  # bytes of the number for a packet's networks


class Fragment(NamedTuple):
    """One fragment, wherever it was found."""

    row: int  # of its packet in the stretch
    packet: int  # packet number
    time: int  # ns
    clock: int  # ns; the packet clock at it
    key: bytes  # version, networks, addresses, identification; of IPv4 the protocol too
    addresses: bytes  # source, then destination: 8 or 32 bytes
    protocol: int  # of IPv6 the next header, which only the first fragment's counts
    offset: int  # of its payload in the datagram's
    size: int  # payload bytes that IP declares
    more: bool  # it is not the last
    body: int  # place of its payload in frame
    networks: int  # see ``networks``
    macs: bytes  # 12 bytes, or none
    frame: bytes  # as captured, or the datagram that it was found in, from its IP header on
    link: int  # link type of frame
    length: int  # frame's bytes, cut ones included
    wire: int  # bytes of all frames that it came in, on the wire
    captured: int  # ... captured

    @property
    def version(self) -> int:
        return self.key[0]

    @property
    def atomic(self) -> bool:
        """Whether it is a whole datagram (RFC 6946)."""
        return not self.offset and not self.more


class Origin(NamedTuple):
    """What is known of packets in which fragments are. Columns of equal length, rising by row."""

    row: I64  # of the stretch
    packet: I64
    clock: I64
    networks: list[int]  # before a packet's first byte: of the fragments that it was rebuilt from
    macs: list[bytes]  # the same
    wire: I64
    captured: I64


class Found(NamedTuple):
    """The fragments of some packets, by row, and the others' reasons."""

    outer: list[Fragment]  # no IP header is before theirs
    inner: list[Fragment]
    bad: list[tuple[int, Reason]]  # (row, reason) where the headers are cut or cannot be


def read_fragments(array: U8, records: Records, origin: Origin, *, ignore_vlan: bool = False) -> Found:
    """The fragments in packets whose reason is FRAGMENT. ``records.start`` are places in ``array``.

    A packet that the decoder does not see as a fragment is in none of the lists.
    """
    found = Found([], [], [])
    view = array.data
    for (
        is_outermost, index, begin, behind, at, stop, end, net, more, ether, time, link, length, row, packet, clock,
        wire, captured,
    ) in _located(array, records, origin, ignore_vlan):  # fmt: skip
        frame = view[begin:behind].tobytes()
        where = joined_networks(origin.networks[index], networks(net, more))
        fields = _ipv4(frame, at, end, where) if frame[at] >> 4 == 4 else _ipv6(frame, at, stop, end, where)
        if isinstance(fields, Reason):
            found.bad.append((row, fields))
            continue
        macs = frame[ether : ether + 12] if ether >= 0 else origin.macs[index]
        fragment = Fragment(row, packet, time, clock, *fields, where, macs, frame, link, length, wire, captured)
        (found.outer if is_outermost else found.inner).append(fragment)
    return found


def _located(array: U8, records: Records, origin: Origin, ignore_vlan: bool) -> Iterator[tuple[int, ...]]:
    """For each fragment where its IP header lies, counted from its frame's first byte, and its packet's columns."""
    notes = Notes([], [], [])
    decode(array, records, notes=notes)
    if not notes.fragments:
        return iter(())
    names = ("row", "at", "stop", "end", "net")
    table = [np.concatenate([getattr(each, name) for each in notes.fragments]) for name in names]
    order = np.argsort(table[0], kind="stable")
    row, at, stop, end, net = (column[order] for column in table)
    first = np.full(len(records.start), -1, np.int64)
    for each in notes.outermost:
        first[each.row] = each.at
    [layers] = notes.layers
    more = np.zeros(len(row), np.uint64) if layers.more is None else layers.more[row]
    if ignore_vlan:
        net, more = without_vlans(net, more)
    start = records.start.view(np.int64)[row]
    columns = (
        at == first[row], row, start, start + records.captured[row], at - start, stop - start, end - start, net, more,
        layers.macs(ETHERNET)[row] - start, records.time[row], records.link[row], records.length[row], origin.row[row],
        origin.packet[row], origin.clock[row], origin.wire[row], origin.captured[row],
    )  # fmt: skip
    return zip(*(column.tolist() for column in columns), strict=True)


_Fields: TypeAlias = tuple[bytes, bytes, int, int, int, bool, int]
"""key, addresses, protocol, offset, size, more, body"""


def _ipv4(frame: bytes, at: int, end: int, where: int) -> _Fields:
    """The decoder has seen that the whole header is captured, and that its lengths can be."""
    first, total, fragment, protocol, addresses = _V4.unpack_from(frame, at)
    body = at + (first & 15) * 4
    if total:  # else segmentation offload: it ends with the frame
        end = min(end, at + total)
    key = b"\4" + where.to_bytes(_NETWORK, "big") + addresses + frame[at + 4 : at + 6] + frame[at + 9 : at + 10]
    size = max(end - body, 0)
    return key, addresses, protocol, (fragment & 0x1FFF) * 8, size, bool(fragment & _MORE_4), body


def _ipv6(frame: bytes, at: int, stop: int, end: int, where: int) -> _Fields | Reason:
    """The fixed header is captured; what is between it and the fragment header may not be."""
    declared, following, addresses = _V6.unpack_from(frame, at)
    if declared:
        end = min(end, at + 40 + declared)
    body = at + 40
    while following in _EXTENSIONS and body + 2 <= stop:
        kind, (following, words) = following, _EXTENSION.unpack_from(frame, body)
        body += (words + 2) * 4 if kind == _AUTHENTICATION else (words + 1) * 8
    if body + 8 > stop:
        return Reason.IP_TRUNCATED
    if following != _FRAGMENT_HEADER or body + 8 > end:
        return Reason.IP_BAD_HEADER
    following, fragment, identification = _FRAGMENT.unpack_from(frame, body)
    body += 8
    key = b"\6" + where.to_bytes(_NETWORK, "big") + addresses + identification
    return key, addresses, following, fragment & 0xFFF8, end - body, bool(fragment & 1), body
