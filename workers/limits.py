"""Every limit of the reassembly and of what reads its streams, with its unit, its default, and what happens at it.

Knows: numbers, and the name of the overlap policy, which whoever judges a segment needs beside them.
Does not know: who enforces them.
Invariant: no limit depends on the number of workers, so what is evicted or refused does not either.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.overlap import PolicyName

MIB = 1 << 20
GIB = 1 << 30
SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run. Times are packet time in nanoseconds."""

    reorder_packets: int = 256
    """Packets of a connection for which an earlier segment may still come."""
    reorder_ns: int = 3 * SECOND
    """... and for how long: the reorder window ends with whichever passes first."""
    window_bytes: int = GIB
    """A segment further than this from the highest accepted byte is no data (counted ``outside``)."""
    hole_bytes: int = 16 * MIB
    """Holes that one file may lay out (tcpflow allows this for every step: 2 GiB from 43 kB).
    At the limit the stream goes on in a new part, counted ``limit.hole_bytes``."""
    ranges_per_direction: int = 10_000
    """Separate ranges kept of one stream (a snap-length capture has one a segment). At the limit the
    lowest is final: later data below it is ``outside``; counted ``limit.ranges``. Under an OS policy as many
    pieces of segments are told apart beyond the frontier: what the lowest hold stays then, as below the
    frontier, and no data is given up; counted there too."""
    connections_per_shard: int = 16_384
    """Connections that a virtual shard remembers (4 Mi in all). At the limit so many are closed that an eighth is
    free: half-open ones first, then closed ones, then the longest idle; counted ``limit.connections``."""
    half_open_per_shard: int = 1_024
    """... and how many of them with neither payload nor an answer (256 Ki in all, some 40 MiB where each sent
    one packet, 120 where it sent more): a flood of SYNs takes no more. At the limit the half of them that waits longest
    is closed; counted ``limit.half_open``."""
    half_open_ns: int = 240 * SECOND
    """A connection with neither payload nor handshake is forgotten after this (2 MSL, RFC 9293 3.4.2)."""
    closed_ns: int = 240 * SECOND
    """A closed connection waits this long for stragglers (TIME-WAIT, 2 MSL, RFC 9293 3.4.2)."""
    idle_ns: int = 86_400 * SECOND
    """An open connection is given up after a day without a packet."""
    ranges_per_shard: int | None = None
    """Ranges beyond the first of each stream that a virtual shard keeps: none by default, see budget.py. At the limit
    the stream that has one more makes its lowest final, as at its own limit; counted ``limit.ranges``."""
    fragment_bytes: int = 32 * MIB
    """Memory of IP fragments that wait for others, those in tunnels a quarter of it. At the limit the oldest datagram
    is given up; counted ``unprocessed.fragment_evicted``."""
    stream_bytes: int | None = None
    """``-C``: what is kept of each stream; the rest is counted ``beyond``."""
    conflict_bytes: int = MIB
    """Losing bytes of overlap conflicts kept for one stream."""
    head_bytes: int = 64 << 10
    """Bytes of a message's head that are understood (h11 16 KiB, Zeek 64 KiB). What is beyond goes to the files
    as ever, its fields are not looked at; counted ``limit.head``."""
    head_fields: int = 256
    """... and fields of it; counted ``limit.head``."""
    open_exchanges: int = 512
    """Requests of a connection without their answers (Suricata: 512). At the limit no more of them are read until an
    answer comes or cannot come any more: nothing is lost, and nothing to count."""
    decoded_bytes: int = 64 * MIB
    """What a coded body is decoded to at most. The decoded file ends there, flagged ``limited``, counted
    ``limit.decoded``; the body as sent is kept."""
    decoded_ratio: int = 1000
    """... and how many times its own size, once it is larger than ``ratio_from``."""
    ratio_from: int = MIB
    """Decoded bytes below which the ratio does not matter: long runs of one byte are ordinary in small bodies."""
    coding_layers: int = 3
    """Codings one over the other that are undone. A body with more is kept as sent; counted ``limit.codings``."""
    form_parts: int = 1_000
    """Parts of a multipart/form-data body that become objects. Others stay in the body; counted ``limit.parts``."""
    overlap: PolicyName = "first"
    """``--overlap``: which bytes win where segments overlap."""
