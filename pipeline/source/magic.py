"""The first bytes of each format.

Knows: magic numbers. Does not know: what follows them.
Invariant: cheap to import, so that a run loads the reader of its own format only.
"""

import struct
from typing import Final

PCAP_MAGICS: Final = {0xA1B2C3D4: (1000, 16), 0xA1B23C4D: (1, 16), 0xA1B2CD34: (1000, 24)}
"""Magic number: the fraction's unit in ns, the size of a record header."""

SNOOP_MAGIC: Final = b"snoop\0\0\0"

PCAPNG_ORDERS: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
"""Byte-order magic of a section header: the byte order."""


def is_capture(head: bytes) -> bool:
    """Whether what begins so is a capture, to all appearances."""
    return is_pcap(head) or is_pcapng(head) or is_snoop(head)


def is_pcap(head: bytes) -> bool:
    """Whether a file that begins so is a classic capture."""
    return pcap_magic(head) is not None


def pcap_magic(head: bytes) -> tuple[str, int] | None:
    """Byte order and magic number of a classic capture."""
    for order in "<>" if len(head) >= 4 else "":
        (magic,) = struct.unpack_from(order + "I", head)
        if magic in PCAP_MAGICS:
            return order, magic
    return None


def is_pcapng(head: bytes) -> bool:
    """Whether a file that begins so is a pcapng capture."""
    return head[:4] == b"\n\r\r\n" and (len(head) < 12 or head[8:12] in PCAPNG_ORDERS)


def is_snoop(head: bytes) -> bool:
    """Whether a file that begins so is a snoop capture."""
    return head.startswith(SNOOP_MAGIC)
