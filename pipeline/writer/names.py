"""File names of streams, and the text of addresses.

Knows: the default name, the codes of ``-F``, the suffixes. Does not know: files.
Invariant: a name is one path component of [A-Za-z0-9._:@~-] and what the user's own ``-F`` adds; the
default names of two connections of one run never agree.
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, NamedTuple

_CODE = re.compile("%([AaBbTV%])")
_ADDRESSES: Final = 1 << 16  # texts remembered


class Endpoints(NamedTuple):
    """A stream's addresses as text. ``family`` is 2 for IPv4, 10 for IPv6, as in tcpflow's report."""

    src: str
    sport: int
    dst: str
    dport: int
    vlans: tuple[int, ...]
    family: int


@lru_cache(_ADDRESSES)
def ipv4(number: int) -> str:
    """An IPv4 address, unpadded."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@lru_cache(_ADDRESSES)
def ipv6(high: int, low: int) -> str:
    """An IPv6 address (RFC 5952)."""
    return str(IPv6Address(high << 64 | low))


@lru_cache(_ADDRESSES)
def network(net: int) -> tuple[int, tuple[int, ...]]:
    """IP version and VLAN ids, outermost first, of the last word of a key."""
    return net & 15, tuple(net >> (8 + 12 * i) & 0xFFF for i in range(net >> 4 & 15))


def endpoints(key: list[int], side: int) -> Endpoints:
    """Who sends to whom: ``side`` 0 is the key's endpoint a."""
    a_high, a_low, b_high, b_low, ports, net = key
    version, vlans = network(net)
    if version == 4:
        a, b, family = ipv4(a_low), ipv4(b_low), 2
    else:
        a, b, family = ipv6(a_high, a_low), ipv6(b_high, b_low), 10
    a_port, b_port = ports >> 16 & 0xFFFF, ports & 0xFFFF
    if side:
        return Endpoints(b, b_port, a, a_port, vlans, family)
    return Endpoints(a, a_port, b, b_port, vlans, family)


class Names:
    """How a run names its streams. ``coarse``: two streams may be given one name (any ``-F``)."""

    def __init__(self, name_format: str | None, *, timestamp: bool) -> None:
        self.coarse = name_format is not None
        self._format = name_format
        self._timestamp = timestamp

    def name(self, ends: Endpoints, opened: int, counter: int) -> str:
        """``opened``: ns, the connection's first packet; ``counter``: connections with payload before it."""
        src, sport, dst, dport, vlans, _ = ends
        if self._format is None:
            name = f"{src}.{sport}-{dst}.{dport}"
            if vlans:
                name += "--" + ".".join(map(str, vlans))
        else:
            facts = {
                "A": src, "a": str(sport), "B": dst, "b": str(dport), "%": "%",
                "T": str(opened // 1_000_000_000), "V": ".".join(map(str, vlans)),
            }  # fmt: skip
            name = _CODE.sub(lambda code: facts[code[1]], self._format)
        if counter:
            name += f"c{counter:04d}"
        return f"{opened // 1_000_000_000}T{name}" if self._timestamp else name


def provisional(stream: int) -> str:
    """The suffix that tells a stream from all others: ``~ID``, and ``~ID.1`` for the answering direction."""
    return f"~{stream >> 1}.1" if stream & 1 else f"~{stream >> 1}"
