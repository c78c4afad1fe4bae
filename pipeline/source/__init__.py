"""Captures: which packets they hold and where, without copying any.

    first bytes -> reader_for -> a Reader; windows of the capture -> Records (columns: place, lengths, time, link type)

    records     what every reader yields
    magic       the first bytes of each format
    opening     opening, refusing, mapping
    walk        following the chain of records, many lanes at a time
    linktype    link types by their LINKTYPE_ numbers
    chain/      the classic format and Solaris' snoop
    pcapng/     the block format
    damage      the account of faults
    rebatch     stretches of records cut anew

Knows: file formats. Does not know: what a frame holds, where bytes come from.
Invariant: a damaged capture yields every packet outside the damage, and says where the damage is.
"""

from pathlib import Path

from pipeline.source.magic import is_capture, is_pcap, is_pcapng, is_snoop
from pipeline.source.opening import refuse
from pipeline.source.rebatch import rebatch
from pipeline.source.records import Reader

__all__ = ["is_capture", "reader_for", "rebatch"]


def reader_for(path: Path, head: bytes, *, final: bool, strict: bool) -> Reader:
    """The reader of a capture that begins with ``head``, of 32 bytes at least, or ``final``: all of it.

    ``path`` is for messages. CaptureError: it is no capture, or is cut inside its file header. A format's
    modules are loaded here, when they are needed.
    """
    assert final or len(head) >= 32
    if is_pcap(head):
        from pipeline.source.chain.pcap import PcapReader

        return PcapReader(path, head, strict=strict)
    if is_pcapng(head):
        from pipeline.source.pcapng.reader import PcapngReader

        return PcapngReader(path, head, strict=strict)
    if is_snoop(head):
        from pipeline.source.chain.snoop import SnoopReader

        return SnoopReader(path, head, strict=strict)
    raise refuse(path, head)
