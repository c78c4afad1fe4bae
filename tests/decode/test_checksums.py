"""pipeline.decode.checksums against sums made word by word."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.checksums import wrong_headers
from pipeline.decode.kernels import decode
from pipeline.decode.reasons import Reason
from tests import build as b
from tests.decode import layers as t
from tests.decode import oracle
from tests.decode.shapes import ALL, V4, Case, as_told, laid_out
from tests.effort import examples

SRC, DST = "10.0.0.1", "10.0.0.2"
SRC6, DST6 = "2001:db8::1", "2001:db8::2"


def right(payload: bytes, *, six: bool = False) -> bytes:
    """An IP packet whose sums are right."""
    segment = b.tcp(40000, 80, seq=7, payload=payload)
    if six:
        return b.ipv6(b.with_checksum(segment, SRC6, DST6), SRC6, DST6)
    return b.ipv4(b.with_checksum(segment, SRC, DST), SRC, DST)


def agree(cases: list[Case], gap: bytes = b"") -> list[oracle.Segment | str]:
    slab, made = laid_out(cases, gap)
    told = as_told(decode(slab, made, verify=True), made.start.tolist())
    assert [oracle.segment(case.seen, case.wire, case.link, verify=True) for case in cases] == told
    return told


def test_right_sums_pass() -> None:
    """Segments of every length, at every alignment, whose sums are right are segments."""
    for six in (False, True):
        cases = [Case(b.ethernet(right(bytes(range(n)), six=six), vlans=(1,) * (n % 3))) for n in range(200)]
        for gap in (b"", b"a", b"ab", b"abc"):
            assert "bad_checksum" not in agree(cases, gap)


def test_any_flipped_bit_is_seen() -> None:
    """One bit of the segment or of the IPv4 header turned over is a wrong sum, or another reason."""
    packet = right(b"payload")
    cases = []
    for bit in range(len(packet) * 8):
        frame = bytearray(packet)
        frame[bit // 8] ^= 1 << bit % 8
        cases.append(Case(b.ethernet(bytes(frame), kind=0x0800)))
    told = agree(cases)
    assert not any(isinstance(one, oracle.Segment) for one in told)
    assert told.count("bad_checksum") > len(told) * 3 // 4


@pytest.mark.parametrize(("case", "reason"), [
    (Case(b.ethernet(V4)), Reason.BAD_CHECKSUM),  # 0, as offload leaves it
    (Case(b.ethernet(right(bytes(100))), captured=100), Reason.TCP),  # cannot be told
    (Case(b.ethernet(right(bytes(100)) + b"trailer")), Reason.TCP),
    (Case(b.ethernet(b.udp4()[14:24] + b"\0\0" + b.udp4()[26:])), Reason.BAD_CHECKSUM),
    (Case(b.ethernet(b.ipv4(right(b"x"), protocol=4))), Reason.TCP),
    (Case(b.ethernet(b.ipv4(right(b"x"), protocol=4)[:10] + b"\0\0" + b.ipv4(right(b"x"), protocol=4)[12:])),
     Reason.BAD_CHECKSUM),
    (Case(b.ethernet(b.ipv4(V4, protocol=4))), Reason.BAD_CHECKSUM),
    (Case(b.ethernet(b.ipv4(b.udp(1, 4789, t.vxlan(t.inner_ethernet(right(b"x", six=True)))), protocol=17))),
     Reason.TCP),
])  # fmt: skip
def test_what_is_verified(case: Case, reason: Reason) -> None:
    """The segment's sum and those of all IPv4 headers before it, when all of it was captured; UDP's are not."""
    slab, made = laid_out([case])
    assert decode(slab, made, verify=True).reason.tolist() == [reason]


def test_nothing_is_verified_unless_asked() -> None:
    """Offload makes sums wrong at the sender, so without the option they do not count."""
    slab, made = laid_out([Case(b.ethernet(V4))])
    assert decode(slab, made).reason.tolist() == [Reason.TCP]


@given(
    st.lists(st.tuples(st.binary(max_size=70), st.booleans(), st.integers(0, 200)), max_size=8), st.binary(max_size=3)
)
@examples(150)
def test_sums_of_a_batch(made: list[tuple[bytes, bool, int]], gap: bytes) -> None:
    """Packets with right and wrong sums, and cut ones, in one batch: as the twin adds them up."""
    cases = []
    for payload, wrong, cut in made:
        packet = bytearray(right(payload))
        packet[-1] ^= wrong
        cases.append(Case(b.ethernet(bytes(packet), kind=0x0800), captured=None if cut > 130 else cut))
    agree(cases, gap)


def test_every_shape() -> None:
    """Every shape, verified: as the twin says."""
    agree(ALL)


@given(st.binary(min_size=40, max_size=80), st.integers(0, 3), st.integers(1, 9))
@examples(200)
def test_sum_of_a_header(data: bytes, before: int, words: int) -> None:
    """A header's sum is that of its words and of nothing beside them."""
    size = words * 4
    head = data[before : before + size]
    total = sum(struct.unpack(f">{words * 2}H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    wrong = wrong_headers(np.frombuffer(data, np.uint8), np.array([before]), np.array([size]))
    assert wrong.tolist() == [total != 0xFFFF]
