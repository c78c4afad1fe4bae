"""pipeline.defrag.datagram: fragments in any order, overlapping and cut, come to what a map of bytes says."""

from __future__ import annotations

import time
from collections import Counter
from typing import TypeAlias

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.defrag.datagram import Datagram, Outcome
from tests.build import internet_sum
from tests.defrag.fragmented import cut, fragment
from tests.defrag.oracle import ByteMap
from tests.effort import examples

BODY = bytes(i % 251 + 1 for i in range(4096))


def payload(datagram: Datagram) -> tuple[bytes, int]:
    """Of a complete one: what is captured of it, and how long it is."""
    packet, length = datagram.packet()
    header = 20 if packet[0] >> 4 == 4 else 40
    return packet[header:], length - header


Step: TypeAlias = tuple[int, int, bool, int, int | None]
"""Offset, size, more; whose bytes; how many of them were captured (None: all)."""


@st.composite
def steps(draw: st.DrawFn) -> list[Step]:
    """The fragments of a datagram in any order, and among them others that repeat, overlap and contradict."""
    units = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    offsets = [8 * sum(units[:i]) for i in range(len(units))]
    last = draw(st.integers(0, 7))
    whole: list[Step] = [(at, 8 * n, True, 0, None) for at, n in zip(offsets, units, strict=True)]
    whole[-1] = (offsets[-1], 8 * units[-1] - last, False, 0, None)
    foreign = st.tuples(
        st.integers(0, sum(units)).map(lambda unit: 8 * unit), st.integers(1, 6).map(lambda unit: 8 * unit),
        st.sampled_from([True, True, True, False]), st.sampled_from([0, 1, 1]), st.sampled_from([None, None, 0, 5]),
    )  # fmt: skip
    others = draw(st.lists(st.one_of(foreign, st.sampled_from(whole)), max_size=draw(st.sampled_from([0, 2, 4, 6]))))
    cut = draw(st.sampled_from([None, None, 0, 3, 9]))
    if cut is not None:
        at = draw(st.integers(0, len(whole) - 1))
        whole[at] = (*whole[at][:4], cut)
    return draw(st.permutations([*whole, *others]))


seen: Counter[str] = Counter()


@examples(350)
@given(st.sampled_from([4, 4, 6]), steps())
def _agree(version: int, given_steps: list[Step]) -> None:
    ours, theirs = Datagram(), ByteMap(version)
    for at, size, more, other, kept in given_steps:
        data = bytes((place * 7 + other) % 256 for place in range(at, at + size))[:kept]
        said = theirs.add(at, size, more, data)
        assert ours.add(fragment(at, data, more, version=version, size=size)).name.lower() == said
        seen[said] += 1
        if said == "impossible":
            return
        assert ours.conflicts == theirs.conflicts
        seen["conflict"] += theirs.conflicts > 0
        if said == "complete":
            assert payload(ours) == theirs.payload()
            return


def test_any_fragments_are_what_a_map_of_bytes_says() -> None:
    """Outcome by outcome, conflict by conflict, byte by byte, until the datagram is complete or cannot be."""
    seen.clear()
    _agree()
    assert min(seen[outcome] for outcome in ("new", "complete", "duplicate", "impossible", "conflict")) > 3, seen


@given(st.permutations(cut(BODY[:203], [24, 8, 64, 16, 40])), st.sampled_from([4, 6]))
def test_order_does_not_matter(order: list[tuple[int, bytes, bool]], version: int) -> None:
    """Fragments in any order come to the datagram, with its last one and not before."""
    datagram = Datagram()
    for i, (offset, data, more) in enumerate(order):
        outcome = datagram.add(fragment(offset, data, more, version=version))
        assert outcome is (Outcome.COMPLETE if i + 1 == len(order) else Outcome.NEW)
    assert payload(datagram) == (BODY[:203], 203)


# Evasion catalogue, item 25. (offset, bytes, more), what it is, for IPv4 and IPv6
A, B, C = b"A" * 48, b"B" * 48, b"C" * 48
CASES: dict[str, tuple[list[tuple[int, bytes, bool]], list[str], list[str], bytes]] = {
    "teardrop: the second inside of the first": (
        [(0, A[:40], True), (24, B[:4], False)], ["new", "impossible"], ["new", "impossible"], b"",
    ),
    "teardrop: one byte over the first": (
        [(0, A[:32], True), (24, B[:16], False)], ["new", "complete"], ["new", "impossible"], A[:32] + B[:8],
    ),
    "before and over": (
        [(16, A[:16], False), (0, B[:24], True)], ["new", "complete"], ["new", "impossible"], B[:16] + A[:16],
    ),
    "around": (
        [(8, A[:8], True), (0, B[:24], False)], ["new", "complete"], ["new", "impossible"], B[:8] + A[:8] + B[:8],
    ),
    "the same place, other bytes": (
        [(0, A[:8], True), (0, B[:8], True), (8, C[:8], False)], ["new", "duplicate", "complete"],
        ["new", "duplicate", "complete"], A[:8] + C[:8],
    ),
    "sent twice": (
        [(0, A[:8], True), (0, A[:8], True), (8, C[:5], False)], ["new", "duplicate", "complete"],
        ["new", "duplicate", "complete"], A[:8] + C[:5],
    ),
    "two ends": ([(8, A[:8], False), (16, A[:8], False)], ["new", "impossible"], ["new", "impossible"], b""),
    "beyond the end": ([(8, A[:8], False), (16, A[:8], True)], ["new", "impossible"], ["new", "impossible"], b""),
    "an end before what came": (
        [(16, A[:8], True), (8, A[:8], False)], ["new", "impossible"], ["new", "impossible"], b"",
    ),
    "an end that was there already": (
        [(0, A[:16], True), (8, A[:8], False)], ["new", "complete"], ["new", "impossible"], A[:16],
    ),
    "the end said later of the same bytes": (
        [(8, A[:8], True), (0, A[:8], True), (8, A[:8], False)], ["new", "new", "complete"],
        ["new", "new", "impossible"], A[:16],
    ),
    "longer than IP allows": ([(65_512, A[:24], False)], ["impossible"], ["impossible"], b""),
}  # fmt: skip


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", CASES)
def test_evasions(name: str, version: int) -> None:
    """IPv4: first come, first kept. IPv6: an overlap that is no repetition gives up the datagram (RFC 8200, 4.5)."""
    steps, four, six, expected = CASES[name]
    datagram = Datagram()
    said = [datagram.add(fragment(*step, version=version)).name.lower() for step in steps]
    assert said == (four if version == 4 else six)
    if said[-1] == "complete":
        assert payload(datagram) == (expected, len(expected))


def test_the_longest_datagram() -> None:
    """65,535 bytes with the header of IPv4, without that of IPv6: 65,535 can be, one more cannot."""
    for version, most in ((4, 65_515), (6, 65_535)):
        body = bytes(most)
        datagram = Datagram()
        outcomes = [datagram.add(fragment(*piece, version=version)) for piece in cut(body, [1480] * 60)]
        assert outcomes[-1] is Outcome.COMPLETE
        assert payload(datagram) == (body, most)
        assert Datagram().add(fragment(65_504, bytes(most - 65_503), more=False, version=version)) is Outcome.IMPOSSIBLE


def test_a_cut_fragment_cuts_the_datagram() -> None:
    """What a snap length cut off is missing, and all behind it: a segment misses bytes at its end only."""
    datagram = Datagram()
    datagram.add(fragment(0, BODY[:10], True, size=16))
    assert datagram.add(fragment(16, BODY[16:32], False)) is Outcome.COMPLETE
    assert payload(datagram) == (BODY[:10], 32)


def test_padding_is_no_payload() -> None:
    """Bytes of the frame behind the datagram are not looked at."""
    datagram = Datagram()
    datagram.add(fragment(8, BODY[8:13], False, padding=30))
    datagram.add(fragment(0, BODY[:8], True, padding=30))
    assert payload(datagram) == (BODY[:13], 13)


def test_the_header_is_right() -> None:
    """Another decoder reads the datagram: lengths, protocol, addresses, checksum."""
    datagrams = {4: Datagram(), 6: Datagram()}
    for version, datagram in datagrams.items():
        for piece in cut(BODY[:100], [48]):
            datagram.add(fragment(*piece, version=version))
    four, _ = datagrams[4].packet()
    ip = dpkt.ip.IP(four)
    assert (ip.len, ip.p, ip.hl, ip.rf, ip.df, ip.mf, ip.offset) == (120, 6, 5, 0, 0, 0, 0)
    assert (ip.src, ip.dst) == (b"\x0a\0\0\x01", b"\x0a\0\0\x02")
    assert internet_sum(four[:20]) == 0
    six, length = datagrams[6].packet()
    assert (length, len(six)) == (140, 140)
    assert (six[0] >> 4, int.from_bytes(six[4:6], "big"), six[6]) == (6, 100, 6)


def test_time_is_linear_in_the_bytes() -> None:
    """Fragments of 8 bytes in the worst order, and repetitions of large ones over them, cost a bounded time each."""
    tiny = [(8 * i, BODY[:8], True) for i in range(0, 8000, 2)]
    begin = time.perf_counter()
    datagram = Datagram()
    for piece in [*reversed(tiny)]:
        datagram.add(fragment(*piece))
    one = time.perf_counter() - begin
    huge = fragment(0, BODY[:8], True, size=64_000)  # it says more than it has
    begin = time.perf_counter()
    for _ in range(4000):
        datagram.add(huge)
    assert time.perf_counter() - begin < max(4 * one, 0.4)
