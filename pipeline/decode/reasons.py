"""Why a record yields no TCP segment.

Knows: every outcome of decoding, its label in the report, its term in the accounting identity.
Does not know: how an outcome is found.
Invariant: every record has exactly one reason, so the counts of all reasons add up to the records read.
"""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """What became of a record. Numbers are stable within a run only; reports use ``label``."""

    TCP = 0  # a segment: it goes on to a worker

    FRAME_TRUNCATED = 1  # the capture ends inside the header of a link, a tag, a label or a tunnel
    IP_TRUNCATED = 2  # ... inside the IP header; or the datagram around it does
    IP_BAD_HEADER = 3  # version, header length or total length cannot be
    TCP_TRUNCATED = 4  # the capture ends inside the 20 fixed bytes
    TCP_BAD_OFFSET = 5  # the data offset is below 5 or beyond the datagram
    TOO_DEEP = 6  # more encapsulations than are peeled, or more ids than a flow key holds

    UNKNOWN_LINK_TYPE = 7
    ARP = 8
    IEEE_802_3 = 9  # a length where the EtherType would be
    OTHER_NETWORK_PROTOCOL = 10

    UDP = 11
    ICMP = 12
    OTHER_TRANSPORT_PROTOCOL = 13  # also what follows ESP, and a tunnel whose header cannot be
    BAD_CHECKSUM = 14  # of the IPv4 header or the segment; only when checksums are verified

    FRAGMENT = 15  # any fragment, the first one too; an atomic one (RFC 6946) is none
    FILTERED = 16  # the filter expression does not match
    OUTSIDE_TIME = 17  # before --start, or not before --end

    # What becomes of a FRAGMENT; the last one of a datagram has the reason of the datagram.
    FRAGMENT_MERGED = 18  # part of a datagram that was put together
    FRAGMENT_HELD = 19  # the others had not come when the input ended
    FRAGMENT_EXPIRED = 20  # nor in time
    FRAGMENT_DUPLICATE = 21  # all of its bytes had come before
    FRAGMENT_REFUSED = 22  # it, or the datagram that it is of, cannot be
    FRAGMENT_EVICTED = 23  # too many were waiting

    @property
    def label(self) -> str:
        """snake_case, as it stands in the report."""
        return self.name.lower()


_GROUPS = {
    "sharded": (Reason.TCP,),
    "malformed": (
        Reason.FRAME_TRUNCATED,
        Reason.IP_TRUNCATED,
        Reason.IP_BAD_HEADER,
        Reason.TCP_TRUNCATED,
        Reason.TCP_BAD_OFFSET,
        Reason.TOO_DEEP,
        Reason.BAD_CHECKSUM,
    ),
    "not_ip": (Reason.UNKNOWN_LINK_TYPE, Reason.ARP, Reason.IEEE_802_3, Reason.OTHER_NETWORK_PROTOCOL),
    "not_tcp": (Reason.UDP, Reason.ICMP, Reason.OTHER_TRANSPORT_PROTOCOL),
    "fragments_merged": (Reason.FRAGMENT_MERGED,),
    "fragments_held": (Reason.FRAGMENT, Reason.FRAGMENT_HELD),
    "fragments_expired": (Reason.FRAGMENT_EXPIRED,),
    "fragments_refused": (Reason.FRAGMENT_DUPLICATE, Reason.FRAGMENT_REFUSED, Reason.FRAGMENT_EVICTED),
    "filtered": (Reason.FILTERED, Reason.OUTSIDE_TIME),
}

_GROUP_OF = {reason: group for group, reasons in _GROUPS.items() for reason in reasons}


def group(reason: Reason) -> str:
    """The term of the accounting identity that counts this reason."""
    return _GROUP_OF[reason]
