"""Encapsulations without end: what is beyond the eighth is counted, and costs no more than what is within."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from pipeline.decode.kernels import DEPTH, decode
from pipeline.decode.reasons import Reason
from tests import build as b
from tests.decode import layers as t
from tests.decode.shapes import Case, laid_out

Wrap = Callable[[bytes], bytes]


def nested(around: Wrap, most: int, packet: bytes) -> bytes:
    """The packet in so many layers, or as many as 60,000 bytes hold."""
    for _ in range(most):
        if len(packet) > 60_000:
            break
        packet = around(packet)
    return packet


def in_udp(port: int, body: bytes) -> bytes:
    return b.ipv4(b.udp(port, port, body), protocol=17)


INNER = b.ipv4(b.tcp(80, 1234, payload=b"deep"))
NESTS = {
    "VLAN tags": lambda depth: b.ethernet(INNER, vlans=[7] * depth),
    "MPLS labels": lambda depth: b.ethernet(t.mpls(INNER, *[9] * depth), kind=0x8847),
    "IP in IP": lambda depth: b.ethernet(nested(lambda p: b.ipv4(p, protocol=4), depth, INNER)),
    "GRE": lambda depth: b.ethernet(nested(lambda p: b.ipv4(t.gre(p, 0x0800), protocol=47), depth, INNER)),
    "6in4in6": lambda depth: b.ethernet(
        nested(lambda p: b.ipv4(b.ipv6(p, next_header=4), protocol=41), depth // 2, INNER)
    ),
    "VXLAN": lambda depth: b.ethernet(
        nested(lambda p: in_udp(4789, t.vxlan(t.inner_ethernet(p))), depth, INNER)
    ),
    "GTP-U": lambda depth: b.ethernet(nested(lambda p: in_udp(2152, t.gtp(p)), depth, INNER)),
    "IPv6 extension headers": lambda depth: b.ethernet(
        b.ipv6(nested(lambda p: b.ipv6_extension(p, 60), depth - 1, b.ipv6_extension(b.tcp(80, 1234))), next_header=60)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NESTS)
def test_a_thousand_layers_are_counted(kind: str) -> None:
    """Encapsulation recursion: a packet a thousand layers deep is set aside as too deep."""
    found = decode(*laid_out([Case(NESTS[kind](1000))]))
    assert found.reason.tolist() == [Reason.TOO_DEEP]


@pytest.mark.parametrize("kind", NESTS)
def test_a_thousand_layers_cost_what_the_limit_costs(kind: str) -> None:
    """Encapsulation recursion: such packets take no longer than those that are just beyond the limit: what is deeper
    is not looked at. (By themselves they take some microseconds; the bound is 100.)"""
    deep, beyond = (laid_out([Case(NESTS[kind](depth))] * 200) for depth in (1000, 2 * DEPTH))
    spent = [min(_seconds(*each) for _ in range(5)) for each in (deep, beyond)]
    assert spent[0] < 3 * spent[1] + 200 * 20e-6
    assert spent[0] < 200 * 100e-6


def _seconds(*made: object) -> float:
    begin = time.process_time()
    decode(*made)  # type: ignore[arg-type]
    return time.process_time() - begin
