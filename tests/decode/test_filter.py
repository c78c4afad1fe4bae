"""pipeline.decode.filter: libpcap's judgement, one record at a time, without surprises."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.decode.filter import Filter
from pipeline.errors import UsageError
from tests import build as b
from tests.decode.shapes import ALL, VALID, Case, laid_out

HTTP = b.ipv4(b.tcp(40000, 80, payload=b"x"))
SSH = b.ipv4(b.tcp(40000, 22, payload=b"x"))
HTTP6 = b.ipv6(b.tcp(40000, 80, payload=b"x"))


def kept(expression: str, *cases: Case) -> list[bool]:
    answer = Filter(expression).keep(*laid_out(cases))
    assert answer.dtype == np.bool_
    return [bool(one) for one in answer]


@pytest.mark.parametrize(("link", "framed"), [
    (1, b.ethernet),
    (101, bytes),
    (228, bytes),
    (113, b.sll),
    (276, b.sll2),
    (0, b.null_loopback),
    (0, lambda packet: b.null_loopback(packet, big_endian=True)),
    (108, lambda packet: b.null_loopback(packet, big_endian=True)),
])  # fmt: skip
def test_ports_on_every_link_type(link, framed) -> None:
    """A port is a port on every link type that the decoder knows."""
    assert kept("tcp port 80", Case(framed(SSH), link), Case(framed(HTTP), link)) == [False, True]


@pytest.mark.parametrize("family", [10, 24, 28, 30])
def test_ipv6_of_every_loopback_family(family: int) -> None:
    """IPv6 on loopback matches whichever system captured it (libpcap knows its own host's number only)."""
    frames = [b.null_loopback(HTTP6, family=family, big_endian=big) for big in (False, True)]
    assert kept("ip6 and tcp port 80", Case(frames[0], 0), Case(frames[1], 0), Case(frames[1], 108)) == [True] * 3


def test_link_types_in_one_batch() -> None:
    """Each record is judged by the program of its own link type."""
    cases = [Case(b.ethernet(HTTP)), Case(HTTP, 101), Case(b.sll(SSH), 113), Case(b.sll(HTTP), 113)]
    assert kept("port 80", *cases) == [True, True, False, True]


def test_what_does_not_compile_matches_nothing() -> None:
    """A link type on which the expression means nothing (here: no MAC addresses) is no reason to stop."""
    cases = [Case(b.ethernet(HTTP)), Case(HTTP, 101), Case(HTTP, 65535)]
    assert kept("ether dst 02:00:00:00:00:02", *cases) == [True, False, False]


def test_only_captured_bytes_are_looked_at() -> None:
    """A test on a byte that the capture cut off fails, though the next record's bytes follow."""
    case = Case(b.ethernet(HTTP), captured=54)
    assert kept("tcp[20] = 0x78", case._replace(captured=None), case, case) == [True, False, False]


def test_length_is_the_length_on_the_wire() -> None:
    """``greater`` and ``less`` ask about the packet, not about what the snap length left of it."""
    cut = Case(b.ethernet(b.ipv4(b.tcp(1, 2, payload=bytes(1000)))), captured=60)
    endless = Case(b.ethernet(HTTP), length=0xFFFFFFFF)
    assert kept("greater 1000", cut, endless, Case(b.ethernet(HTTP))) == [True, True, False]
    assert kept("less 1000", cut, endless, Case(b.ethernet(HTTP))) == [False, False, True]


def test_no_expression_keeps_all() -> None:
    """The empty expression matches every record of a link type that libpcap knows, empty ones too."""
    known = [case for case in ALL if case.link not in (14, 100, 65535)]
    assert kept("", *known) == [True] * len(known)
    assert kept("") == []


@pytest.mark.parametrize("expression", ["tcp prt 80", "\0", "\udcff", "port 99999"])
def test_a_bad_expression_is_the_users(expression: str) -> None:
    """A wrong expression is a usage error that quotes it, with a hint where the syntax stands."""
    with pytest.raises(UsageError) as caught:
        Filter(expression).check(1)
    assert repr(expression) in caught.value.message
    assert caught.value.hint is not None
    assert "pcap-filter(7)" in caught.value.hint


def test_libpcaps_own_words_are_passed_on() -> None:
    """libpcap's message is part of ours; a right expression passes the check."""
    Filter("tcp port 80").check(101)
    with pytest.raises(UsageError, match="syntax error"):
        Filter("tcp prt 80").check(1)


def test_a_filter_is_reused() -> None:
    """The same Filter judges batch after batch."""
    judge = Filter("vlan 10")
    batch = laid_out([VALID["vlan"], VALID["four vlans"]])
    assert [judge.keep(*batch).tolist() for _ in range(2)] == [[True, False]] * 2
