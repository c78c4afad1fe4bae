"""pipeline.decode.kernels against its slow twin, on every shape, cut and damage."""

from __future__ import annotations

import socket

import dpkt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode import link
from pipeline.decode.kernels import Decoded, decode
from pipeline.decode.packets import Notes
from pipeline.decode.reasons import Reason
from tests import build as b
from tests.decode import layers as t
from tests.decode import oracle
from tests.decode.shapes import (
    ALL,
    LINKS,
    REJECTED,
    TUNNELS,
    V4,
    VALID,
    Case,
    as_told,
    laid_out,
    networks,
    records,
    tunnel,
    udp,
)  # fmt: skip
from tests.effort import examples
from tests.forms import crossed


def agree(cases: list[Case], gap: bytes = b"") -> None:
    """The decoder and its twin say the same about every one of the cases, decoded together."""
    slab, made = laid_out(cases, gap)
    told = as_told(decode(slab, made), made.start.tolist())
    for case, ours in zip(cases, told, strict=True):
        assert oracle.segment(case.seen, case.wire, case.link) == ours, case


def alone(case: Case) -> Decoded:
    return decode(*laid_out([case]))


def test_columns_of_one_packet() -> None:
    """Each column holds what contract.py says, dtype included (written out by hand, not by the twin)."""
    frame = b.tcp4("1.2.3.4", "5.6.7.8", 1000, 2000, seq=7, ack=9, flags=0x12, payload=b"abc", vlans=(0xE001, 2))
    slab, made = laid_out([Case(b.arp_frame()), Case(frame, captured=64)])
    place = len(b.arp_frame())
    expected = {
        "reason": (np.uint8, [Reason.ARP, Reason.TCP]),
        "row": (np.int64, [1]),
        "src_high": (np.uint64, [0]),
        "src_low": (np.uint64, [0x01020304]),
        "dst_high": (np.uint64, [0]),
        "dst_low": (np.uint64, [0x05060708]),
        "sport": (np.uint16, [1000]),
        "dport": (np.uint16, [2000]),
        "net": (np.uint64, [4 | 2 << 4 | 1 << 8 | 2 << 20]),
        "more": (np.uint64, [0]),
        "seq": (np.uint32, [7]),
        "ack": (np.uint32, [9]),
        "flags": (np.uint8, [0x12]),
        "start": (np.uint64, [place + 62]),
        "size": (np.uint32, [3]),
        "missing": (np.uint32, [1]),
        "mac": (np.uint16, [62]),
    }
    got = {name: (column.dtype.type, column.tolist()) for name, column in decode(slab, made)._asdict().items()}
    assert expected == got


@pytest.mark.parametrize("name", VALID)
def test_valid_shapes_yield_a_segment(name: str) -> None:
    """Every shape that the decoder knows is decoded, and as the twin reads it."""
    assert alone(VALID[name]).reason.tolist() == [Reason.TCP]
    agree([VALID[name]])


@pytest.mark.parametrize(("name", "size", "missing"), [
    ("empty, padded", 0, 0),
    ("padded", 2, 0),
    ("ipv6 with a trailer", 7, 0),
    ("vlan, padded", 0, 0),
    ("offloaded", 3000, 0),
    ("offloaded ipv6", 3000, 0),
    ("claims more than the frame", 7, 0),
    ("snapped", 100, 74),
    ("snapped, no payload left", 100, 100),
    ("snapped inside tcp options", 7, 7),
    ("offloaded inside", 300, 0),
    ("padded inside", 2, 0),
    ("claims more than the datagram around it", 7, 0),
    ("claims more than pppoe", 7, 0),
    ("claims more than udp", 7, 0),
    ("snapped inside", 100, 84),
    ("jumbogram", 70000, 0),
    ("jumbogram, other option first", 7, 0),
])  # fmt: skip
def test_payload_is_what_ip_says(name: str, size: int, missing: int) -> None:
    """Padding is no payload, a snapped segment leaves a gap of known size, a lie is clipped to the layer around it; a
    jumbogram says how long it is."""
    decoded = alone(VALID[name])
    assert [size, missing] == [int(decoded.size[0]), int(decoded.missing[0])]


@pytest.mark.parametrize("reason", REJECTED, ids=lambda reason: reason.label)
def test_what_yields_no_segment_says_why(reason: Reason) -> None:
    """Each record that yields no segment is counted under one reason."""
    for case in REJECTED[reason]:
        decoded = alone(case)
        assert ([reason], 0) == (decoded.reason.tolist(), decoded.row.size), case
    agree(REJECTED[reason])


def test_every_reason_is_covered() -> None:
    """The tables above leave no reason out."""
    assert set(Reason) >= {Reason.TCP, Reason.FILTERED, Reason.BAD_CHECKSUM, *REJECTED}


def test_every_truncation() -> None:
    """At every snap length, all shapes in one batch: as the twin reads the captured bytes alone."""
    for cut in range(max(len(case.seen) for case in ALL if len(case.frame) < 1000) + 1):
        agree([case._replace(captured=cut, length=case.wire) for case in ALL if cut <= len(case.seen)])


def test_nothing_beyond_the_captured_bytes_matters() -> None:
    """A cut packet reads the same whether its own bytes, zeros, ones or nothing at all follow the cut."""
    for case in ALL:
        whole = case.seen[:160]
        cuts = range(len(whole) + 1)
        expected = [oracle.segment(whole[:cut], case.wire, case.link) for cut in cuts]
        for tail in (whole, bytes(200), b"\xff" * 200):
            rows = [whole[:cut] + tail[cut:] for cut in cuts]
            starts = np.cumsum([0, *map(len, rows)])[:-1].tolist()
            made = records(starts, list(cuts), [case.wire] * len(cuts), [case.link] * len(cuts))
            slab = np.frombuffer(b"".join(rows), np.uint8)
            assert expected == as_told(decode(slab, made), starts)


@pytest.mark.parametrize("third", crossed([(0,)], range(3)))
def test_every_flipped_bit(third: int) -> None:
    """Any one bit of the headers turned over: as the twin reads it."""
    for number, case in enumerate(ALL):
        flipped = []
        for bit in range((third + number) % 3, min(len(case.frame), 100) * 8, 3):
            frame = bytearray(case.frame)
            frame[bit // 8] ^= 1 << bit % 8
            flipped.append(case._replace(frame=bytes(frame)))
        agree(flipped)


@pytest.mark.parametrize("name", ["ethernet ipv4", "ethernet ipv6", "vlan", "sll2", "null", "raw ipv4"])
def test_every_value_of_every_header_byte(name: str) -> None:
    """Any one byte of the link and IP headers and the data offset with any value: as the twin reads it."""
    case = VALID[name]
    changed = []
    for place in range(len(case.frame) - len("payload") - 7):
        for value in range(256):
            frame = case.frame[:place] + bytes([value]) + case.frame[place + 1 :]
            changed.append(case._replace(frame=frame))
    agree(changed)


LINK_TYPES = sorted(link.LINKS)

damage = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4)


@st.composite
def damaged(draw: st.DrawFn) -> Case:
    """A shape with some bytes overwritten, cut anywhere, perhaps on another link or of another length."""
    case = draw(st.sampled_from(ALL))
    frame = bytearray(case.frame)
    for place, value in draw(damage):
        if place < len(frame):
            frame[place] = value
    return Case(
        bytes(frame),
        draw(st.one_of(st.just(case.link), st.sampled_from([*LINK_TYPES, 5]))),
        draw(st.one_of(st.none(), st.integers(0, len(frame)))),
        draw(st.one_of(st.just(case.length), st.integers(0, 0xFFFFFFFF))),
    )


@given(st.lists(damaged(), max_size=12), st.binary(max_size=3))
@examples(120)
def test_damaged_packets(cases: list[Case], gap: bytes) -> None:
    """Damaged packets of all kinds in one batch: as the twin reads them, and never an exception."""
    agree(cases, gap)


anything = st.builds(Case, st.binary(max_size=120), st.sampled_from(LINK_TYPES), st.none(), st.none())


@given(st.lists(anything, max_size=8))
@examples(200)
def test_random_bytes(cases: list[Case]) -> None:
    """Bytes that are no packet at all: as the twin reads them."""
    agree(cases)


def test_dpkt_agrees_on_valid_packets() -> None:
    """A third reading of what is valid: addresses, ports, numbers, flags and payload as dpkt has them."""
    unknown_to_dpkt = {"four vlans", "eight vlans", "offloaded", "offloaded ipv6"}  # TPID 0x9100; length 0
    for name, case in VALID.items():
        if case.link != 1 or case.captured is not None or name in unknown_to_dpkt or name in TUNNELS | LINKS:
            continue
        decoded = alone(case)
        packet = dpkt.ethernet.Ethernet(case.frame).data
        family = socket.AF_INET if packet.v == 4 else socket.AF_INET6
        words = ("src_high", "src_low", "dst_high", "dst_low")
        sh, sl, dh, dl = (int(getattr(decoded, word)[0]) for word in words)
        width = 4 if family == socket.AF_INET else 16
        start, size = int(decoded.start[0]), int(decoded.size[0])
        theirs = packet.data
        assert packet.src == (sh << 64 | sl).to_bytes(width, "big")
        assert packet.dst == (dh << 64 | dl).to_bytes(width, "big")
        assert [theirs.sport, theirs.dport, theirs.seq, theirs.ack, theirs.flags & 0xFF] == [
            int(column[0]) for column in (decoded.sport, decoded.dport, decoded.seq, decoded.ack, decoded.flags)
        ]
        assert bytes(theirs.data) == case.frame[start : start + size]


def test_filtered_records_are_not_decoded() -> None:
    """A record that the filter does not keep is FILTERED, whatever it holds; the others are as ever."""
    slab, made = laid_out(ALL)
    keep = np.arange(len(ALL)) % 3 != 0
    decoded, free = decode(slab, made, keep), decode(slab, made)
    assert np.where(keep, free.reason, Reason.FILTERED).tolist() == decoded.reason.tolist()
    kept = keep[free.row]
    for ours, all_of_it in zip(decoded[1:], free[1:], strict=True):
        assert all_of_it[kept].tolist() == ours.tolist()


def test_no_records() -> None:
    """An empty batch yields empty columns of the right dtypes."""
    slab, made = laid_out([])
    expected = [column.dtype for column in alone(VALID["vlan"])]
    decoded = decode(slab, made)
    assert (expected, {0}) == ([column.dtype for column in decoded], {column.size for column in decoded})


# --------------------------------------------------------------------------- what is inside of what


def told(case: Case) -> oracle.Segment | str:
    slab, made = laid_out([case])
    return as_told(decode(slab, made), made.start.tolist())[0]


@pytest.mark.parametrize(("name", "expected"), [
    ("four vlans", (1, 2, 3, 4095)),
    ("eight vlans", (1, 2, 3, 4, 5, 6, 7, 4095)),
    ("pppoe over qinq", (7, 8)),
    ("vlan, mpls", (7,)),
    ("gre ethernet", (20,)),
    ("vxlan", ("vx5001",)),
    ("vxlan, vlans on both sides", (10, 4095, "vx5001", 20)),
    ("vxlan in vxlan", ("vx1", "vx2")),
    ("vxlan in ipv6", ("vx16777215",)),
    ("geneve, options", ("ge5001", 20)),
    ("geneve ip", ("ge7",)),
    ("gtp", ()),
])  # fmt: skip
def test_networks_of_a_flow(name: str, expected: tuple[int | str, ...]) -> None:
    """A flow key holds the VLANs and overlays on the way to the segment, outside first, and no other tunnel ids."""
    segment = told(VALID[name])
    assert isinstance(segment, oracle.Segment)
    assert segment.networks == expected


@pytest.mark.parametrize(("name", "mac"), [
    ("vlan", 14 + 4 + 20 + 20),
    ("mpls", 14 + 4 + 20 + 20),
    ("gre", 14 + 20 + 4 + 20 + 20),
    ("gre ethernet", 14 + 4 + 20 + 20),
    ("vxlan", 14 + 20 + 20),
    ("mpls, control word", 14 + 20 + 20),
    ("sll of a gre interface", 14 + 20 + 20),
    ("gre of an access point", 14 + 20 + 4 + 26 + 8 + 20 + 20),
    ("802.11", 0),
    ("nflog", 0),
])  # fmt: skip
def test_mac_addresses_are_the_innermost(name: str, mac: int) -> None:
    """The MAC addresses of a segment are those of the Ethernet header next to it, if there is one."""
    assert alone(VALID[name]).mac.tolist() == [mac]


def test_a_tag_is_the_same_at_any_depth() -> None:
    """Keys of packets on different networks differ, though the ids are the same bits in another order or kind."""
    inner = t.inner_ethernet(V4, vlans=(1,))
    cases = [
        Case(b.ethernet(V4, vlans=(1, 2))), Case(b.ethernet(V4, vlans=(2, 1))), Case(b.ethernet(V4, vlans=(1,))),
        Case(b.ethernet(V4, vlans=(0, 1))), Case(b.ethernet(V4, vlans=(1, 0))), Case(b.ethernet(V4)),
        udp(t.vxlan(t.inner_ethernet(V4), 1), 4789), udp(t.geneve(t.inner_ethernet(V4), 1), 6081),
        udp(t.vxlan(inner, 0), 4789), udp(t.vxlan(t.inner_ethernet(V4), 1 << 12), 4789),
        Case(b.ethernet(b.ipv4(b.udp(1, 4789, t.vxlan(t.inner_ethernet(V4), 1)), protocol=17), vlans=(1,))),
        udp(t.vxlan(inner, 1), 4789),
    ]  # fmt: skip
    decoded = decode(*laid_out(cases))
    assert decoded.row.size == len(cases)
    assert len(set(zip(decoded.net.tolist(), decoded.more.tolist(), strict=True))) == len(cases)


def test_where_ip_headers_are() -> None:
    """Who asks is told where fragments are, in tunnels too, and where each packet's first IP header is."""
    cases = [
        Case(b.ethernet(b.ipv4(b"12345678", more_fragments=True), vlans=(7,))), Case(b.arp_frame()),
        tunnel(b.ipv6(b.ipv6_fragment(b"12345678", more=True), next_header=44), 41), Case(b.ethernet(V4)),
        VALID["mpls"], VALID["mpls"]._replace(captured=16),
    ]  # fmt: skip
    slab, made = laid_out(cases)
    notes = Notes([], [], [])
    decode(slab, made, notes=notes)
    begin = made.start.tolist()
    found = {
        name: sorted((row, at - begin[row], networks(net, 0))
        for each in part for row, at, net in zip(each.row.tolist(), each.at.tolist(), each.net.tolist(), strict=True))
        for name, part in zip(notes._fields, notes[:2], strict=False)
    }  # fmt: skip
    assert found == {
        "fragments": [(0, 18, (7,)), (2, 34, ())],
        "outermost": [(0, 18, (7,)), (2, 14, ()), (3, 14, ()), (4, 18, ())],
    }  # fmt: skip
