"""Classic pcap files: a 24-byte header, then records of a 16-byte header and a frame.

Knows: the format (draft-ietf-opsawg-pcap), its two byte orders and two time units, and the 24-byte
record headers of Alexey Kuznetsov's patched libpcap (magic a1b2cd34).
Does not know: what a frame holds, how records are followed (chained).
Invariant: what makes a record damaged is said in layout and nowhere else.

The version field is not looked at. The limit of a record is the largest snap length of libpcap, or the
file's own if that is larger: one of 0 or a huge one loses nothing.
"""

import struct
from pathlib import Path
from typing import Final

from pipeline.errors import CaptureError
from pipeline.source.chain.layout import MAXIMUM_SNAPLEN, ORDERS, Layout
from pipeline.source.chain.reader import ChainReader
from pipeline.source.linktype import normal_link
from pipeline.source.magic import PCAP_MAGICS, pcap_magic
from pipeline.source.records import MOST_RECORD

FILE_HEADER: Final = 24


class PcapReader(ChainReader):
    """One classic capture. CaptureError when its file header is cut short."""

    def __init__(self, path: Path, head: bytes, *, strict: bool) -> None:
        known = pcap_magic(head)
        if known is None or len(head) < FILE_HEADER:
            raise CaptureError(f"{path} ends inside its file header", "the capture was cut off; take it again")
        order, magic = known
        unit, size = PCAP_MAGICS[magic]
        _, _, _, _, _, snaplen, link = struct.unpack_from(order + "IHHiIII", head)
        limit = min(max(snaplen, MAXIMUM_SNAPLEN), MOST_RECORD - size)
        name = f"pcap, {ORDERS[order]}, {'micro' if unit == 1000 else 'nano'}seconds"
        if size != 16:
            name += ", Kuznetsov's record headers"
        layout = Layout(order, unit, size, limit, normal_link(link))
        super().__init__(path, name, layout, FILE_HEADER, strict=strict)
