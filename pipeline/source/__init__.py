"""Capture files: which packets they hold and where, without copying any.

    path -> open_source -> slab (the mapped file) and Records (columns: place, lengths, time, link type)

    records     what every source yields
    slab        opening, refusing, mapping, batching, unmapping
    walk        following the chain of records, many lanes at a time
    pcap        the classic format
    pcapng      the block format; interfaces: its link types and clocks

Knows: file formats. Does not know: what a frame holds.
Invariant: a damaged file yields every packet before the damage and then says where it is.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.source.pcap import PcapSource, is_pcap
from pipeline.source.pcapng import PcapngSource, is_pcapng
from pipeline.source.records import Source
from pipeline.source.slab import map_file, refuse

__all__ = ["open_source"]

_HEAD = 32


def open_source(path: Path) -> Source:
    """The capture file at ``path``, recognised by its first bytes, not by its name.

    UsageError: it cannot be opened. CaptureError: it is no capture, or its file header is cut short.
    """
    data = map_file(path)
    try:
        head = data[:_HEAD]
        if is_pcap(head):
            return PcapSource(path, data)
        if is_pcapng(head):
            return PcapngSource(path, data)
        raise refuse(path, head)
    except BaseException:
        data.close()
        raise
