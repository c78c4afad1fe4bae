"""Headers around packets, for tests: tunnels, labels, odd links. They compose as those of tests/build.py do.

Knows: how the headers are laid out. Does not know: flowshard.
"""

from __future__ import annotations

import struct

from tests import build as b

INNER = b.ethernet(b"", src=bytes.fromhex("0a0000000001"), dst=bytes.fromhex("0a0000000002"), kind=0)[:12]


def inner_ethernet(packet: bytes, *, kind: int | None = None, vlans: tuple[int, ...] = ()) -> bytes:
    """An Ethernet frame with other addresses than those of the frame around it."""
    return INNER + b.ethernet(packet, kind=kind, vlans=vlans)[12:]


def llc(packet: bytes, *, kind: int | None = None, oui: int = 0) -> bytes:
    """LLC and SNAP."""
    return (
        b"\xaa\xaa\x03"
        + oui.to_bytes(3, "big")
        + struct.pack(">H", b.ether_type(packet) if kind is None else kind)
        + packet
    )


def ieee_802_3(body: bytes) -> bytes:
    """A frame with a length instead of an EtherType."""
    return b.ethernet(body, kind=len(body))


def mpls(packet: bytes, *labels: int) -> bytes:
    """A label stack, the outermost first."""
    last = len(labels) - 1
    return b"".join(struct.pack(">I", label << 12 | (i == last) << 8 | 64) for i, label in enumerate(labels)) + packet


def ppp(packet: bytes, *, protocol: int | None = None, framed: bool = False, short: bool = False) -> bytes:
    """PPP, perhaps with address and control, perhaps with a protocol of one byte."""
    number = (0x57 if b.ether_type(packet) == b.ETHER_IPV6 else 0x21) if protocol is None else protocol
    return (b"\xff\x03" if framed else b"") + number.to_bytes(1 if short else 2, "big") + packet


def pppoe(body: bytes, *, code: int = 0) -> bytes:
    return struct.pack(">BBHH", 0x11, code, 77, len(body)) + body


def cisco_hdlc(packet: bytes, *, kind: int | None = None) -> bytes:
    return struct.pack(">HH", 0x0F00, b.ether_type(packet) if kind is None else kind) + packet


def gre(body: bytes, protocol: int, *, flags: int = 0, version: int = 0) -> bytes:
    """The fields that ``flags`` say, each filled with its own number."""
    fields = [number for number, bit in enumerate((0x8000, 0x2000, 0x1000, 0x0080), 1) if flags & bit]
    return struct.pack(">HH", flags | version, protocol) + b"".join(struct.pack(">I", n) for n in fields) + body


def erspan_2(frame: bytes, *, version: int = 1) -> bytes:
    return struct.pack(">HHI", version << 12 | 100, 7, 0) + frame


def erspan_3(body: bytes, *, frame_type: int = 0, longer: bool = False, version: int = 2) -> bytes:
    last = frame_type << 10 | longer
    return struct.pack(">HHIHH", version << 12 | 100, 7, 0, 0, last) + bytes(8 if longer else 0) + body


def vxlan(frame: bytes, vni: int = 5001, *, flags: int = 8) -> bytes:
    return struct.pack(">BxxxI", flags, vni << 8) + frame


def geneve(body: bytes, vni: int = 5001, *, kind: int = 0x6558, options: bytes = b"", version: int = 0) -> bytes:
    return struct.pack(">BBHI", version << 6 | len(options) // 4, 0, kind, vni << 8) + options + body


def gtp(packet: bytes, *, flags: int = 0, extensions: tuple[bytes, ...] = (), message: int = 255) -> bytes:
    """GTP-U; each of ``extensions`` is the content of an extension header, two bytes short of words."""
    flags |= 4 if extensions else 0
    made = b""
    for i, content in enumerate(extensions):
        following = 0x85 if i + 1 < len(extensions) else 0
        made += bytes([(len(content) + 2) // 4]) + content + bytes([following])
    optional = struct.pack(">HBB", 1, 0, 0x85 if extensions else 0) if flags & 7 else b""
    body = optional + made + packet
    return struct.pack(">BBHI", 0x30 | flags, message, len(body), 99) + body


def teredo(packet: bytes, *, origin: bool = False, authentication: tuple[int, int] | None = None) -> bytes:
    """Teredo; ``authentication``: lengths of the client's name and of the value."""
    head = b""
    if authentication is not None:
        head = struct.pack(">HBB", 1, *authentication) + bytes(sum(authentication) + 9)
    return head + (struct.pack(">HHI", 0, 1234, 5678) if origin else b"") + packet


def authentication(body: bytes, *, next_header: int = 6, value: int = 12) -> bytes:
    """AH (RFC 4302)."""
    return struct.pack(">BBHII", next_header, (12 + value) // 4 - 2, 0, 1, 2) + bytes(value) + body


def jumbo(body: bytes, *, length: int | None = None, next_header: int = 6, before: bytes = b"") -> bytes:
    """A hop-by-hop header with the length of a jumbogram, behind other options."""
    content = before + b"\xc2\x04" + bytes(4)
    content += bytes(-(len(content) + 2) % 8)
    total = len(content) + 2 + len(body) if length is None else length
    content = content.replace(b"\xc2\x04" + bytes(4), struct.pack(">BBI", 0xC2, 4, total))
    return b.ipv6_extension(body, next_header, content)


def wlan(
    body: bytes, *, qos: bool = False, four: bool = False, ordered: bool = False, flags: int = 1, pad: int = 0,
    kind: int = 0x08, fragment: int = 0, several: bool = False,
) -> bytes:  # fmt: skip
    """An 802.11 frame, of data unless ``kind`` says otherwise."""
    first, second = kind | 0x80 * qos, flags | 3 * four | 0x80 * ordered
    head = struct.pack("<BBH", first, second, 0) + b.MAC_A + b.MAC_B + b.MAC_A + struct.pack("<H", fragment)
    head += b.MAC_B if four else b""
    head += struct.pack("<H", 0x80 * several) if qos else b""
    head += bytes(4) if qos and ordered else b""
    return head + bytes(pad) + body


def radiotap(frame: bytes, *, words: tuple[int, ...] = (0,), fields: bytes = b"", version: int = 0) -> bytes:
    """Radiotap; ``words`` say which fields there are."""
    body = struct.pack(f"<{len(words)}I", *words) + fields
    return struct.pack("<BBH", version, 0, 4 + len(body)) + body + frame


def nflog(packet: bytes, *, before: int = 2, order: str = "<", family: int = 2, length: int | None = None) -> bytes:
    """NFLOG: ``before`` attributes of 5 bytes, then the packet."""
    other = struct.pack(order + "HH", 9, 10) + b"name\0" + bytes(3)
    size = 4 + len(packet) if length is None else length
    return struct.pack(">BBH", family, 0, 0) + other * before + struct.pack(order + "HH", size, 9) + packet
