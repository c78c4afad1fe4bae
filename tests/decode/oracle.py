"""The slow, obvious twin of the decoder: one packet at a time, plain Python.

Knows: link, tunnel, IP and TCP headers. Does not know: columns, slabs, the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack, unpack_from

from tests.build import internet_sum

DEPTH = 8
SLOTS = 8

ETHER_TYPES = {
    0x0800: "ipv4", 0x86DD: "ipv6", 0x0806: "arp", 0x8864: "pppoe", 0x8847: "mpls", 0x8848: "mpls",
    0x8100: "tag", 0x88A8: "tag", 0x9100: "tag", 0x9200: "tag",
}  # fmt: skip
GRE_TYPES = ETHER_TYPES | {0x6558: "ethernet", 0x880B: "ppp"} | dict.fromkeys(range(0x8200, 0x8380, 16), "802.11")
PPP_TYPES = {0x21: "ipv4", 0x57: "ipv6", 0x281: "mpls", 0x283: "mpls"}
PORTS = {4789: "vxlan", 8472: "vxlan", 6081: "geneve", 2152: "gtp", 3544: "teredo"}
EXTENSIONS = {4: (51,), 6: (0, 43, 44, 51, 60, 135, 139, 140)}


@dataclass(frozen=True)
class Segment:
    """What a TCP packet says. Places are relative to the frame's first byte."""

    src: bytes
    dst: bytes
    sport: int
    dport: int
    networks: tuple[int | str, ...]  # VLAN ids, "vx5", "ge5"
    seq: int
    ack: int
    flags: int
    start: int
    size: int
    missing: int
    mac: int


class Rejected(Exception):
    """The packet yields no segment; the message is the reason's label."""


def segment(frame: bytes, length: int, link: int, *, verify: bool = False) -> Segment | str:
    """The segment in the captured bytes ``frame`` of a packet that had ``length``, or why there is none."""
    try:
        return Walk(frame, length, verify).walk(link)
    except Rejected as reason:
        return str(reason)


class Walk:
    """Where one packet is being read: at ``at``, up to ``stop``, in a layer that ends at ``end``."""

    def __init__(self, frame: bytes, length: int, verify: bool) -> None:
        self.frame, self.stop, self.end, self.verify = frame, len(frame), length, verify
        self.at = 0
        self.ether: int | None = None
        self.networks: list[int | str] = []
        self.slots = 0

    def walk(self, link: int) -> Segment:
        kind = self.settled(self.link(link))
        for _ in range(DEPTH + 1):
            if kind in ("ipv4", "ipv6"):
                kind = self.ipv4() if kind == "ipv4" else self.ipv6()
                if kind == "tcp":
                    return self.tcp()
            elif kind in ("tag", "mpls", "pppoe"):
                kind = {"tag": self.tag, "mpls": self.mpls, "pppoe": self.pppoe}[kind]()
            else:
                raise Rejected({"arp": "arp", "802.3": "ieee_802_3"}.get(kind, "other_network_protocol"))
            kind = self.settled(kind)
        raise Rejected("too_deep")

    # ----------------------------------------------------------------------- reading

    def need(self, size: int, reason: str = "frame_truncated") -> None:
        if self.at + size > self.stop:
            raise Rejected(reason)

    def number(self, size: int, offset: int = 0, order: str = "big") -> int:
        place = self.at + offset
        assert place + size <= self.stop
        return int.from_bytes(self.frame[place : place + size], order)  # type: ignore[arg-type]

    def bound(self, size: int) -> None:
        if size:
            self.end = min(self.end, self.at + size)
            self.stop = min(self.stop, self.end)

    def join(self, network: int | str) -> None:
        self.slots += 1 if isinstance(network, int) else 2
        if self.slots > SLOTS:
            raise Rejected("too_deep")
        self.networks.append(network)

    def nibble(self) -> str:
        return {4: "ipv4", 6: "ipv6"}.get(self.frame[self.at] >> 4, "")

    # ----------------------------------------------------------------------- links

    def link(self, link: int) -> str:
        plain = {
            1: "link", 9: "ppp", 12: "raw", 14: "raw", 100: "llc", 101: "raw", 105: "802.11", 127: "radiotap",
            219: "mpls", 228: "raw", 229: "raw",
        }  # fmt: skip
        if link == 1:
            self.ether = 0
            return self.ethernet_header()
        if link in plain:
            return plain[link]
        kernels = {
            0: self.family, 50: self.serial, 51: self.pppoe, 104: self.cisco, 108: self.family, 113: self.cooked,
            204: self.directed, 239: self.nflog, 276: self.cooked,
        }  # fmt: skip
        if link not in kernels:
            raise Rejected("unknown_link_type")
        return kernels[link](link) if link in (0, 108, 113, 276) else kernels[link]()  # type: ignore[operator]

    def family(self, link: int) -> str:
        self.need(4)
        families = {self.number(4)} | ({self.number(4, 0, "little")} if link == 0 else set())
        self.at += 4
        return "ipv4" if 2 in families else "ipv6" if families & {10, 23, 24, 26, 28, 30} else "other"

    def cooked(self, link: int) -> str:
        size, hardware, field = (16, 2, 14) if link == 113 else (20, 8, 0)
        self.need(size)
        device, kind = self.number(2, hardware), self.number(2, field)
        self.at += size
        if device in (770, 824):
            return "other"
        if device == 803:
            return "radiotap"
        if kind < 0x600:
            return "llc" if kind == 4 else "802.3"
        return "ethernet" if kind == 0x6558 else ETHER_TYPES.get(kind, "other")

    def serial(self) -> str:
        self.need(1)
        return self.cisco() if self.frame[0] in (0x0F, 0x8F) else "ppp"

    def cisco(self) -> str:
        self.need(4)
        self.at += 4
        return ETHER_TYPES.get(self.number(2, -2), "other")

    def directed(self) -> str:
        self.need(1)
        self.at += 1
        return "ppp"

    def nflog(self) -> str:
        self.need(4)
        if self.frame[1]:
            raise Rejected("other_network_protocol")
        self.at += 4
        for _ in range(32):
            self.need(4)
            order = "little" if self.frame[self.at + 2] else "big"
            size, kind = self.number(2, 0, order), self.number(2, 2, order)
            if size < 4:
                break
            if kind == 9:
                self.end = min(self.end, self.at + size)
                self.stop = min(self.stop, self.end)
                self.at += 4
                return "raw"
            self.at += (size + 3) // 4 * 4
        raise Rejected("other_network_protocol")

    # ----------------------------------------------------------------------- within a layer

    def settled(self, kind: str) -> str:
        """Reads on until there is an EtherType."""
        if kind == "radiotap":
            kind = self.radiotap()
        if kind in ("802.11", "802.11 padded"):
            kind = self.wlan(padded=kind == "802.11 padded")
        if kind == "ethernet":
            self.ether = self.at
            kind = self.ethernet_header()
        if kind == "llc":
            kind = self.llc()
        if kind == "ppp":
            kind = self.ppp()
        if kind == "raw":
            self.need(1)
            kind = self.nibble()
            if not kind:
                raise Rejected("ip_bad_header")
        return kind

    def ethernet_header(self) -> str:
        self.need(14)
        self.at += 14
        return self.ether_type(self.number(2, -2))

    def ether_type(self, field: int) -> str:
        return "llc" if field < 0x600 else ETHER_TYPES.get(field, "other")

    def radiotap(self) -> str:
        self.need(8)
        size = self.number(2, 2, "little")
        if self.frame[self.at] or size < 8:
            raise Rejected("other_network_protocol")
        self.need(size)
        words = [self.number(4, 4, "little")]
        while words[-1] >> 31 and len(words) < 8 and 8 + 4 * len(words) <= size:
            words.append(self.number(4, 4 + 4 * len(words), "little"))
        place = 4 + 4 * len(words)
        if words[0] & 1:
            place = (place + 7) // 8 * 8 + 8
        known = words[0] & 2 and place < size and not (len(words) == 8 and words[-1] >> 31)
        padded = known and self.number(1, place) & 0x20
        self.at += size
        return "802.11 padded" if padded else "802.11"

    def wlan(self, *, padded: bool) -> str:
        self.need(24)
        first, flags = self.number(1), self.number(1, 1)
        unread = first & 0x0F != 8 or first & 0x40 or flags & 0x44 or self.number(1, 22) % 16
        size = 30 if flags & 3 == 3 else 24
        qos = first & 0x80
        control = size
        if qos:
            size += 6 if flags & 0x80 else 2
        if padded:
            size = (size + 3) // 4 * 4
        if self.at + size <= self.stop and qos:
            unread = unread or self.number(1, control) & 0x80
        if unread:
            raise Rejected("other_network_protocol")
        self.need(size)
        self.at += size
        return "llc"

    def llc(self) -> str:
        self.need(8, "ieee_802_3")
        head, kind = self.frame[self.at : self.at + 6].hex(), self.number(2, 6)
        if head not in ("aaaa03000000", "aaaa030000f8") or kind < 0x600:
            return "802.3"
        self.at += 8
        return ETHER_TYPES.get(kind, "other")

    def ppp(self) -> str:
        self.need(2)
        if self.number(2) == 0xFF03:
            self.at += 2
        self.need(2)
        size = 1 if self.number(1) % 2 else 2
        self.at += size
        return PPP_TYPES.get(self.number(size, -size), "other")

    # ----------------------------------------------------------------------- shims

    def tag(self) -> str:
        self.need(4)
        self.join(self.number(2) % 4096)
        self.at += 4
        return self.ether_type(self.number(2, -2))

    def mpls(self) -> str:
        for _ in range(16):
            self.need(4)
            bottom = self.number(4) & 0x100
            self.at += 4
            if bottom:
                break
        else:
            raise Rejected("too_deep")
        self.need(1)
        first = self.frame[self.at] >> 4
        if self.nibble() or first == 1:
            return self.nibble() or "other"
        if self.plausible_ethernet(self.at):
            return "ethernet"
        if first == 0 and self.plausible_ethernet(self.at + 4):
            self.at += 4
            return "ethernet"
        return "other"

    def pppoe(self) -> str:
        self.need(6)
        if self.number(2) != 0x1100:
            raise Rejected("other_network_protocol")
        size = self.number(2, 4)
        self.at += 6
        self.bound(size)
        return "ppp"

    def plausible_ethernet(self, at: int) -> bool:
        return at + 15 <= self.stop and self.plausible(int.from_bytes(self.frame[at + 12 : at + 14], "big"), at + 14)

    def plausible(self, kind: int, at: int) -> bool:
        if at >= self.stop or kind not in ETHER_TYPES:
            return False
        version = {0x0800: 4, 0x86DD: 6}.get(kind)
        return version is None or self.frame[at] >> 4 == version

    # ----------------------------------------------------------------------- IP

    def ipv4(self) -> str:
        self.need(20, "ip_truncated")
        begin = self.at
        first, _, total, _, fragment, _, protocol = unpack_from(">BBHHHBB", self.frame, begin)
        size = first % 16 * 4
        if first // 16 != 4 or size < 20 or 0 < total < size:
            raise Rejected("ip_bad_header")
        self.need(size, "ip_truncated")
        if self.verify and internet_sum(self.frame[begin : begin + size]) != 0:
            raise Rejected("bad_checksum")
        if fragment & 0x3FFF:
            raise Rejected("fragment")
        self.at += size
        self.src, self.dst = self.frame[begin + 12 : begin + 16], self.frame[begin + 16 : begin + 20]
        if total:
            self.end = min(self.end, begin + total)
        return self.behind_ip(4, protocol)

    def ipv6(self) -> str:
        self.need(40, "ip_truncated")
        begin = self.at
        first, _, _, payload, following = unpack_from(">BBHHB", self.frame, begin)
        if first // 16 != 6:
            raise Rejected("ip_bad_header")
        self.at += 40
        self.src, self.dst = self.frame[begin + 8 : begin + 24], self.frame[begin + 24 : begin + 40]
        if payload:
            self.end = min(self.end, self.at + payload)
        elif following == 0:
            self.end = min(self.end, self.jumbo_end())
        return self.behind_ip(6, following)

    def jumbo_end(self) -> int:
        if self.at + 8 <= self.stop:
            limit = min(self.stop, self.at + (self.frame[self.at + 1] + 1) * 8)
            place = self.at + 2
            for _ in range(8):
                if place + 2 > limit:
                    break
                kind, size = self.frame[place], self.frame[place + 1]
                if kind == 0xC2:
                    if size == 4 and place + 6 <= limit:
                        return self.at + int.from_bytes(self.frame[place + 2 : place + 6], "big")
                    break
                place += 2 + size if kind else 1
        return self.end

    def behind_ip(self, version: int, protocol: int) -> str:
        """Follows extension headers, and tunnels."""
        for count in range(9):
            if protocol not in EXTENSIONS[version]:
                break
            if count == 8:
                raise Rejected("too_deep")
            self.need(8, "ip_truncated")
            kind, protocol, words = protocol, self.number(1), self.number(1, 1)
            if kind == 44 and self.number(2, 2) & 0xFFF9:
                raise Rejected("fragment")
            size = {44: 8, 51: (words + 2) * 4}.get(kind, (words + 1) * 8)
            self.need(size, "ip_truncated")
            self.at += size
        if protocol == 6:
            return "tcp"
        if protocol == {4: 1, 6: 58}[version]:
            raise Rejected("icmp")
        self.stop = min(self.stop, self.end)
        inside = {4: "ipv4", 41: "ipv6", 137: "mpls", 143: "ethernet"}.get(protocol, "")
        if protocol == 47:
            inside = self.gre()
        if protocol == 17:
            inside = self.udp()
            if not inside:
                raise Rejected("udp")
        if not inside:
            raise Rejected("other_transport_protocol")
        return inside

    # ----------------------------------------------------------------------- tunnels

    def gre(self) -> str:
        self.need(4)
        flags, protocol = self.number(2), self.number(2, 2)
        size = 4 + 4 * sum(flags & bit != 0 for bit in (0x8000, 0x2000, 0x1000))
        if flags % 8 == 1:
            if protocol != 0x880B or flags & 0x3000 != 0x3000:
                return ""
            size += 4 if flags & 0x80 else 0
        elif flags % 8 or flags & 0x4000:
            return ""
        if protocol not in GRE_TYPES and protocol not in (0x88BE, 0x22EB):
            return ""
        self.need(size)
        self.at += size
        if protocol == 0x88BE:
            return self.erspan(2) if flags & 0x1000 else "ethernet"
        return self.erspan(3) if protocol == 0x22EB else GRE_TYPES[protocol]

    def erspan(self, number: int) -> str:
        size = {2: 8, 3: 12}[number]
        self.need(size)
        version, kind = self.number(1) >> 4, "ethernet"
        if number == 3:
            last = self.number(2, 10)
            size += last % 2 * 8
            kind = {0: "ethernet", 2: "raw"}.get(last >> 10 & 31, "")
        if version != number - 1 or not kind:
            return ""
        self.need(size)
        self.at += size
        return kind

    def udp(self) -> str:
        """What is inside, or "" for plain UDP."""
        if self.at + 8 > self.stop:
            return ""
        tunnel = PORTS.get(self.number(2, 2)) or PORTS.get(self.number(2))
        self.bound(self.number(2, 4))
        self.at += 8
        return getattr(self, tunnel)() if tunnel else ""

    def vxlan(self) -> str:
        if self.at + 8 > self.stop or not self.number(1) & 8 or not self.plausible_ethernet(self.at + 8):
            return ""
        self.join(f"vx{self.number(3, 4)}")
        self.at += 8
        return "ethernet"

    def geneve(self) -> str:
        if self.at + 8 > self.stop or self.number(1) >> 6:
            return ""
        inner, kind = self.at + 8 + self.number(1) % 64 * 4, self.number(2, 2)
        good = self.plausible_ethernet(inner) if kind == 0x6558 else self.plausible(kind, inner)
        if not good:
            return ""
        self.join(f"ge{self.number(3, 4)}")
        self.at = inner
        return "ethernet" if kind == 0x6558 else ETHER_TYPES[kind]

    def gtp(self) -> str:
        if self.at + 8 > self.stop or self.number(1) >> 4 != 3 or self.number(1, 1) != 255:
            return ""
        flags = self.number(1) % 8
        self.at += 12 if flags else 8
        if self.at > self.stop:
            return ""
        for count in range(9 if flags & 4 else 0):
            if not self.number(1, -1):
                break
            if count == 8:
                raise Rejected("too_deep")
            size = self.number(1) * 4 if self.at < self.stop else 0
            self.at += size
            if not size or self.at > self.stop:
                return ""
        return self.nibble() if self.at < self.stop else ""

    def teredo(self) -> str:
        if self.at + 4 <= self.stop and self.number(2) == 1:
            self.at += 13 + self.number(1, 2) + self.number(1, 3)
        if self.at + 2 <= self.stop and self.number(2) == 0:
            self.at += 8
        fits = self.at + 40 <= self.stop and self.at + 40 + self.number(2, 4) <= self.end
        return "ipv6" if fits and self.nibble() == "ipv6" else ""

    # ----------------------------------------------------------------------- TCP

    def tcp(self) -> Segment:
        self.need(20, "tcp_truncated")
        if self.end - self.at < 20:
            raise Rejected("ip_bad_header")
        sport, dport, seq, ack, offset, flags = unpack_from(">HHIIBB", self.frame, self.at)
        start = self.at + offset // 16 * 4
        if start < self.at + 20 or start > self.end:
            raise Rejected("tcp_bad_offset")
        if self.verify and self.end <= self.stop:
            whole = self.frame[self.at : self.end]
            if internet_sum(self.src + self.dst + pack(">II", len(whole), 6) + whole):
                raise Rejected("bad_checksum")
        size, captured = self.end - start, len(self.frame[start : min(self.end, self.stop)])
        mac = 0 if self.ether is None or start - self.ether > 0xFFFF else start - self.ether
        return Segment(
            self.src, self.dst, sport, dport, tuple(self.networks), seq, ack, flags, start, size, size - captured, mac
        )
