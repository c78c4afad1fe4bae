"""pipeline.defrag.table: fragments find each other, wait for so long, and take so much memory."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.reasons import Reason
from pipeline.defrag.fragments import Fragment
from pipeline.defrag.table import DATAGRAM_BYTES, EXPIRY_NS, FRAGMENT_BYTES, Table
from tests.defrag.fragmented import cut, fragment

HELD, MERGED, EXPIRED = Reason.FRAGMENT_HELD, Reason.FRAGMENT_MERGED, Reason.FRAGMENT_EXPIRED
DUPLICATE, REFUSED, EVICTED = Reason.FRAGMENT_DUPLICATE, Reason.FRAGMENT_REFUSED, Reason.FRAGMENT_EVICTED
SECOND = 1_000_000_000
PLENTY = 1 << 20


def one_of(packet: int, *, second: int = 0, identification: int = 7, version: int = 4, first: bool = True) -> Fragment:
    """The first or the last half of a datagram of 16 bytes."""
    return fragment(
        0 if first else 8, b"%08d" % identification, first, version=version, identification=identification,
        packet=packet, clock=second * SECOND,
    )  # fmt: skip


def told(table: Table) -> list[tuple[int, Reason]]:
    found = [(each.fragment.packet, each.reason) for each in table.given_up]
    table.given_up.clear()
    return found


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=60), st.integers(0, 4000))
def test_every_fragment_is_told_of_once(steps: list[tuple[int, int]], room: int) -> None:
    """It is in the datagram that it completed, or given up, or was judged at once; memory ends where it began."""
    table = Table(room)
    fates = Counter[int]()
    for packet, (identification, which) in enumerate(steps, 1):
        offset, data, more = [(0, b"a" * 8, True), (8, b"b" * 8, True), (16, b"c", False), (8, b"d" * 24, True)][which]
        added = fragment(offset, data, more, identification=identification, packet=packet, clock=packet * 4 * SECOND)
        reason, datagram = table.add(added)
        assert table.held <= room
        if datagram is not None:
            assert reason is MERGED
            fates.update(each.packet for each in datagram.waiting)
            assert datagram.waiting[-1] is added
        elif reason is not HELD:
            fates[packet] += 1
        fates.update(packet for packet, _ in told(table))
    table.finish(0, len(steps) * 4 * SECOND)
    fates.update(packet for packet, _ in told(table))
    assert fates == Counter(range(1, len(steps) + 1))
    assert table.held == 0


@given(st.permutations([(i, *piece) for i in range(4) for piece in cut(bytes([65 + i]) * (40 + 9 * i), [16, 8])]))
def test_datagrams_in_turns(order: list[tuple[int, int, bytes, bool]]) -> None:
    """However the fragments of several datagrams are mixed, each comes to its own."""
    table = Table(PLENTY)
    done = {}
    for packet, (i, offset, data, more) in enumerate(order, 1):
        _, datagram = table.add(fragment(offset, data, more, identification=i, packet=packet))
        if datagram is not None:
            done[i] = datagram.packet()[0][20:]
    assert done == {i: bytes([65 + i]) * (40 + 9 * i) for i in range(4)}
    assert table.held == 0


@pytest.mark.parametrize("version", [4, 6])
def test_expiry(version: int) -> None:
    """30 s for IPv4 and 60 s for IPv6 after the first one came, be it the last of the datagram; not a moment before."""
    wait = EXPIRY_NS[version] // SECOND
    assert wait == {4: 30, 6: 60}[version]
    table = Table(PLENTY)
    assert table.add(one_of(1, version=version, first=False)) == (HELD, None)
    reason, datagram = table.add(one_of(2, version=version, second=wait))
    assert (reason, datagram is not None) == (MERGED, True)
    table.add(one_of(3, version=version, second=wait))
    assert told(table) == []
    late = fragment(8, b"x", False, version=version, packet=4, clock=2 * wait * SECOND + 1)
    assert table.add(late) == (HELD, None)
    assert told(table) == [(3, EXPIRED)]
    table.finish(0, 3 * wait * SECOND + 1)
    assert told(table) == [(4, HELD)]


def test_versions_expire_apart() -> None:
    """The shorter time of IPv4 is over when it is, whatever waits longer beside it."""
    table = Table(PLENTY)
    for packet, version, second in ((1, 6, 0), (2, 4, 0), (3, 4, 20)):
        table.add(one_of(packet, version=version, identification=packet, second=second))
    found = []
    for packet, second in enumerate((31, 51, 61), 4):
        table.add(one_of(packet, identification=packet, second=second))
        found.append(told(table))
    assert found == [[(2, EXPIRED)], [(3, EXPIRED)], [(1, EXPIRED)]]


def test_expired_or_held_at_the_end() -> None:
    """What waits when the input ends is expired if its time is over by then, and held if not."""
    table = Table(PLENTY)
    for packet, second in enumerate((0, 10, 20), 1):
        table.add(one_of(packet, identification=packet, second=second))
    table.finish(0, 41 * SECOND)
    assert told(table) == [(1, EXPIRED), (2, EXPIRED), (3, HELD)]


def test_the_oldest_goes_first() -> None:
    """Beyond the limit the datagram that began first is given up, of either version; what is left completes."""
    size = DATAGRAM_BYTES + FRAGMENT_BYTES
    frames = [one_of(packet, identification=packet, version=4 if packet % 2 else 6) for packet in range(1, 5)]
    table = Table(3 * (size + len(frames[1].frame)))
    for each in frames:
        assert table.add(each) == (HELD, None)
    assert told(table) == [(1, EVICTED)]
    assert table.held == 3 * size + sum(len(each.frame) for each in frames[1:])
    assert table.add(one_of(5, identification=3, first=False))[0] is MERGED
    table.add(one_of(6, identification=6))
    assert told(table) == []


@pytest.mark.parametrize(
    ("bad", "why"), [((8, b"", False), "no payload"), ((8, b"1234567", True), "not the last, and no multiple of 8")]
)
@pytest.mark.parametrize("version", [4, 6])
def test_refused_alone(bad: tuple[int, bytes, bool], why: str, version: int) -> None:
    """A fragment that cannot be does nothing to its datagram."""
    table = Table(PLENTY)
    table.add(one_of(1, version=version))
    assert table.add(fragment(*bad, version=version, packet=2)) == (REFUSED, None), why
    assert table.add(one_of(3, version=version, first=False))[0] is MERGED


def test_refused_for_good() -> None:
    """After a contradiction nothing more of the datagram is taken, until its time is over (RFC 8200, 4.5)."""
    table = Table(PLENTY)
    table.add(one_of(1, version=6))
    assert table.add(fragment(0, b"x" * 16, True, version=6, packet=2)) == (REFUSED, None)
    assert told(table) == [(1, REFUSED)]
    assert table.add(one_of(3, version=6, first=False, second=60)) == (REFUSED, None)
    assert table.add(one_of(4, version=6, first=False, second=61)) == (HELD, None)
    assert table.add(one_of(5, version=6, second=61))[0] is MERGED
    assert told(table) == []


def test_a_repetition() -> None:
    """It is said to be one, and is not kept: a flood of them takes no memory."""
    table = Table(PLENTY)
    table.add(one_of(1))
    held = table.held
    assert {table.add(one_of(packet)) for packet in range(2, 100)} == {(DUPLICATE, None)}
    assert table.held == held


def test_conflicts_are_counted() -> None:
    """One for each fragment that says otherwise than the bytes that came first."""
    table = Table(PLENTY)
    for packet, data in enumerate((b"a" * 16, b"a" * 16, b"b" * 16, b"ab" * 8), 1):
        table.add(fragment(0, data, True, packet=packet))
    assert table.conflicts == 2


def test_an_atomic_fragment_is_alone() -> None:
    """A fragment that is a whole datagram completes itself and nothing else (RFC 6946)."""
    table = Table(PLENTY)
    table.add(one_of(1, version=6))
    reason, datagram = table.add(fragment(0, b"whole", False, version=6, packet=2))
    assert reason is MERGED
    assert datagram is not None
    assert datagram.packet()[0][40:] == b"whole"
    assert table.add(one_of(3, version=6, first=False))[0] is MERGED
