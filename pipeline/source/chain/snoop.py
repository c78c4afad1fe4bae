"""Snoop files: a 16-byte header, then records of a 24-byte header, a frame and padding (RFC 1761).

Knows: the format, and which of its datalink types have a LINKTYPE_ number.
Does not know: what a frame holds, how records are followed (chained).
Invariant: numbers are big endian, times in microseconds. Frames of a datalink type without a LINKTYPE_
number have link type NO_LINK, so that they are counted as what nobody decodes.
"""

import struct
from pathlib import Path
from typing import Final

from pipeline.errors import CaptureError
from pipeline.source.chain.layout import MAXIMUM_SNAPLEN, Layout
from pipeline.source.chain.reader import ChainReader
from pipeline.source.linktype import NO_LINK
from pipeline.source.magic import SNOOP_MAGIC

FILE_HEADER: Final = 16
RECORD_HEADER: Final = 24

_VERSION: Final = 2

_LINKS: Final = {
    0: 1,  # IEEE 802.3
    2: 6,  # IEEE 802.5, token ring
    4: 1,  # Ethernet
    8: 10,  # FDDI
    18: 123,  # IP over ATM, as SunATM writes it
    26: 226,  # Solaris ipnet
}
"""Datalink type (RFC 1761; from 18 on those of Solaris' dlpi.h): LINKTYPE_ number."""


class SnoopReader(ChainReader):
    """One snoop capture. CaptureError when its file header is cut short or of an unknown version."""

    def __init__(self, path: Path, head: bytes, *, strict: bool) -> None:
        if len(head) < FILE_HEADER:
            raise CaptureError(f"{path} ends inside its file header", "the capture was cut off; take it again")
        version, datalink = struct.unpack_from(">II", head, len(SNOOP_MAGIC))
        if version != _VERSION:
            hint = "convert it first: editcap -F pcapng IN OUT"
            raise CaptureError(f"{path} is a snoop capture of the unknown version {version}", hint)
        layout = Layout(
            ">",
            1000,
            RECORD_HEADER,
            MAXIMUM_SNAPLEN,
            _LINKS.get(datalink, NO_LINK),
            seconds=4,
            fraction=5,
            captured=1,
            length=0,
            whole=2,
        )
        super().__init__(path, "snoop", layout, FILE_HEADER, strict=strict)
