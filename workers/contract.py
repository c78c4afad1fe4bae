"""What the stages say to one another: batches of packets in, tables of events out.

Knows: the columns of every table, their dtypes and units, the layout of a flow key.
Does not know: files, sockets, names, how anything is computed.
Invariant: all columns of one table have the same length, and a payload is always a reference
(address, size), never bytes.

Coordinates. A *packet number* counts every record of the input from 1, over all its files.
A *connection* is known by the packet number of its first packet. A *stream* is one direction of a
connection: ``connection << 1 | direction``, direction 0 being that of the connection's first packet.
An *offset* is a signed 64-bit distance from the sequence number at which the stream was first
believed to start; it never shifts. ``Rebases`` moves the stream's origin below 0 when an earlier
byte turns up in the reorder window, so a byte's place in the file is ``offset - origin``.
An *address* says where a byte was captured: the number of its input above bit 48, and below it the
byte's offset in that input, after decompression. ``Extents`` says where the bytes of an input that
cannot be mapped can be read as long as the batch is under way.
"""

from enum import IntEnum, IntFlag
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

U8: TypeAlias = NDArray[np.uint8]
U16: TypeAlias = NDArray[np.uint16]
U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]
I16: TypeAlias = NDArray[np.int16]
I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
Bools: TypeAlias = NDArray[np.bool_]

END_OF_INPUT: Final = -1

INPUT_SHIFT: Final = 48
"""An address is ``input << INPUT_SHIFT | offset``."""

MOST_INPUTS: Final = 1 << 16

OFFSET_MASK: Final = (1 << INPUT_SHIFT) - 1

SHARDS: Final = 256
"""Virtual shards. Worker ``shard % N`` and writer ``shard % M`` serve one."""


# TCP flag bits (RFC 9293, section 3.1).
FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20


class Key(IntEnum):
    """Columns of a flow key: seven 64-bit words, compared whole.

    Endpoint a is the smaller of the two by (high, low, port). An IPv4 address is its 32-bit number
    in the low word. ``PORTS`` is ``a_port << 16 | b_port``.

    The networks that the packet is on, the outermost first, fill up to eight slots of 12 bits. A VLAN id
    takes one slot (priority bits are left out), the id of an overlay (VNI) two, the upper half first. ``NET`` is
    the IP version (4 or 6) in bits 0 to 3, the number of slots in bits 4 to 7, slots 0 to 3 from bit 8 on, and
    from bit 56 on a mark for each slot: 1, k for the two of an overlay id, k being 0 for VXLAN and 1 for
    GENEVE; 0 for a VLAN. ``MORE`` holds slots 4 to 7 from bit 0 on.
    """

    A_HIGH = 0
    A_LOW = 1
    B_HIGH = 2
    B_LOW = 3
    PORTS = 4
    NET = 5
    MORE = 6


KEY_WORDS: Final = len(Key)


class Extents(NamedTuple):
    """Where spooled bytes lie while a batch is under way. Columns of equal length e, usually 0 or 1.

    The bytes from ``start`` on lie in the spool from ``place`` on, up to the next extent's start or
    further; an address below the first start of its input lies in the input itself, which can be mapped.
    """

    start: U64  # address, rising
    place: U64


class PacketBatch(NamedTuple):
    """TCP segments of one stretch of the input, for one worker. Columns of equal length n.

    ``flow`` indexes the three tables of distinct flows, whose length is u <= n. ``side`` is 0 when
    endpoint a sent the segment. Three columns are differences, nearly always 0, so that they cost
    nothing on the wire: the packet clock (a bounded running maximum of the packets' times) is
    ``time + lag``; ``size - missing`` bytes of the payload were captured; ``length - clipped``
    bytes of the frame were.
    """

    number: int  # of the batch, from 0; the same for every worker's part of it
    clock: int  # ns; the packet clock at the end of the stretch, other workers' packets included
    extents: Extents
    keys: U64  # (u, 7), see Key
    hashes: U64  # (u,) keyed hash of the key
    shards: U8  # (u,) virtual shard
    flow: U32  # (n,) index into keys
    packet: U64  # (n,) packet number, rising
    time: I64  # (n,) ns since 1970-01-01
    lag: I64  # (n,) ns
    seq: U32
    ack: U32
    flags: U8
    side: U8
    start: U64  # address of the payload's first byte
    size: U32  # payload bytes, as IP counts them
    missing: U32  # payload bytes that the capture cut off
    mac: U16  # how far before ``start`` the two 6-byte MAC addresses stand; 0: there are none
    length: U32  # frame bytes on the wire
    clipped: U32  # frame bytes that the capture cut off


FLOW_COLUMNS: Final = ("keys", "hashes", "shards")
"""Of a PacketBatch, those of distinct flows."""
PACKET_COLUMNS: Final = PacketBatch._fields[PacketBatch._fields.index("flow") :]
"""... and those of packets."""

NO_EXTENTS: Final = Extents(np.empty(0, np.uint64), np.empty(0, np.uint64))


class Opened(NamedTuple):
    """A stream's first payload: it will have a file. All that its name and its record need."""

    stream: U64
    shard: U8
    key: U64  # (k, 7)
    side: U8  # 0: the key's endpoint a is the source
    counter: U32  # how many connections with payload this tuple had before
    time: I64  # ns; the connection's first packet
    start: U64  # address of the first payload byte
    mac: U16
    base: I64  # place in the file of the stream's origin: with -R the end of the connection before
    midstream: U8  # 1: no SYN of this direction had been seen when its first payload was taken


class Data(NamedTuple):
    """New bytes of a stream, each offset at most once. In capture order within a stream.

    Data at the frontier moves the frontier on by its size without a word.
    """

    stream: U64
    shard: U8
    offset: I64
    start: U64
    size: U32
    packet: U64
    time: I64  # ns


class Overlaps(NamedTuple):
    """Bytes of a segment that lie where the stream already has bytes. In capture order.

    The rows of one segment stand together and rise. Rows of it that touch differ in ``wins`` and are in one
    message: together they are one overlap.
    """

    stream: U64
    shard: U8
    offset: I64
    start: U64
    size: U32
    packet: U64
    wins: U8  # 1: these bytes replace those that are there; 0: they lose


class Frontiers(NamedTuple):
    """At the end of the batch all of the stream below ``offset`` has arrived or was given up.

    Only of streams of which Data alone does not say so, once a batch at most. A Rebase may leave a hole
    between its bytes and the old origin, below a frontier that has passed: no Gap tells of that one.
    """

    stream: U64
    shard: U8
    offset: I64


class Gaps(NamedTuple):
    """Bytes given up: the frontier steps over them. What still comes fills the hole in the file."""

    stream: U64
    shard: U8
    offset: I64
    size: I64
    reason: U8  # GapReason
    packet: U64  # the one that made it clear; 0: the stream is closed


class Rebases(NamedTuple):
    """A midstream stream starts lower than was believed: its origin moves down to ``origin`` (<= 0)."""

    stream: U64
    shard: U8
    origin: I64


class Parts(NamedTuple):
    """The holes below ``offset`` are too large to lay out: a new file of the stream starts there."""

    stream: U64
    shard: U8
    offset: I64


class Runs(NamedTuple):
    """A contiguous range that the finished stream has, and where its first byte was captured."""

    stream: U64
    shard: U8
    offset: I64
    size: I64
    start: U64  # address


class Untakens(NamedTuple):
    """Packets with payload of which no stream took a byte. Only when they are asked for."""

    stream: U64
    shard: U8
    packet: U64
    reason: U8  # Untaken


class Closed(NamedTuple):
    """A stream is finished: its final numbers. Only of streams that were opened.

    ``seen == written + overlap + beyond + outside + not_data + refused`` in every row.
    """

    stream: U64
    shard: U8
    origin: I64  # offset of the file's first byte
    end: I64  # offset just behind the last accepted segment, cut bytes included
    written: I64  # bytes accepted as Data, less what a Rebase moved beyond the limit of -C
    seen: I64  # payload bytes captured
    overlap: I64  # ... of them offered as Overlaps
    beyond: I64  # ... beyond the limit of -C
    outside: I64  # ... outside the window, or before the stream's start
    not_data: I64  # ... of keep-alive probes and resets
    refused: I64  # ... refused by a limit
    first: I64  # ns; the stream's first packet
    last: I64  # ns; its last
    packets: I64
    length: I64  # frame bytes on the wire
    clipped: I64  # frame bytes that the capture cut off
    disorder: I64  # segments that did not continue where the highest one ended
    flags: U16  # Completeness
    reason: U8  # CloseReason


class Connections(NamedTuple):
    """A connection is over, whether it had payload or not: what was seen of it. Only when they are asked for.

    Columns whose names begin with ``back_`` are of direction 1, their namesakes of direction 0. A stream's row
    of Closed comes before the row of its connection, and repeats what this one says of it.
    """

    stream: U64  # connection << 1
    shard: U8
    key: U64  # (k, 7)
    side: U8  # which endpoint of the key sent the first packet; 0: a
    state: U16  # Progress
    reason: U8  # CloseReason
    first: I64  # ns; the earliest packet
    last: I64  # ns; the latest
    flags: U16  # Completeness
    packets: I64
    length: I64  # frame bytes on the wire
    clipped: I64  # frame bytes that the capture cut off
    seen: I64  # payload bytes captured
    back_flags: U16
    back_packets: I64
    back_length: I64
    back_clipped: I64
    back_seen: I64


class EventBatch(NamedTuple):
    """What one worker says about one PacketBatch. Tables that hold nothing are None.

    To be applied in this order: opened, rebases, parts, data, overlaps, gaps, frontiers, untaken, runs,
    closed, connections.
    """

    number: int  # of the batch; END_OF_INPUT for what the end of the input causes
    extents: Extents
    opened: Opened | None = None
    rebases: Rebases | None = None
    parts: Parts | None = None
    data: Data | None = None
    overlaps: Overlaps | None = None
    gaps: Gaps | None = None
    frontiers: Frontiers | None = None
    untaken: Untakens | None = None
    runs: Runs | None = None
    closed: Closed | None = None
    connections: Connections | None = None


class Stored(NamedTuple):
    """Captured packets in one slab of the spool, on their way to be kept. Columns of equal length n."""

    number: int
    base: int  # address of the slab's first byte
    place: int  # of it in the spool
    start: U64  # place of the frame's first byte in the slab
    captured: U32
    length: U32  # on the wire
    time: I64  # ns since 1970-01-01
    link: U16  # LINKTYPE_ number


class GapReason(IntEnum):
    """Why bytes were given up."""

    ACKED_BUT_UNSEEN = 0  # the peer has them, the capture does not
    ONE_SIDED = 1  # no peer to ask, and the reorder window has passed
    LIMIT = 2  # too many separate ranges were held
    END = 3  # the stream was closed


class Untaken(IntEnum):
    """Why no stream took a segment. Numbers beyond those of the reasons why a packet is no segment."""

    OUTSIDE_WINDOW = 128  # too far from the stream's bytes, or before its start
    REFUSED = 129  # by a limit
    NOT_DATA = 130  # the payload of a keep-alive probe or of a reset
    STRAY = 131  # on a SYN-ACK with another sequence number than the connection's


class CloseReason(IntEnum):
    """Why a connection's record was closed."""

    FINISHED = 0  # FIN from both sides
    RESET = 1
    REUSED = 2  # a new connection took the tuple of one that had not ended
    IDLE = 3  # no packet for the time that the limits give
    EVICTED = 4  # too many connections at once
    INPUT_END = 5


class Progress(IntFlag):
    """What was seen of a connection: of direction 0, ``<< BACK`` of direction 1; RESET is of either."""

    SEEN = 1  # it sent a packet
    SYN = 2
    FIN = 4
    DATA = 8  # payload that a stream took
    RESET = 256


BACK: Final = 4


class Completeness(IntFlag):
    """What keeps a stream from being whole; 0 when nothing does."""

    MIDSTREAM = 1  # no SYN
    OPEN = 2  # no end seen
    GAPS = 4
    SNAPPED = 8  # the snap length cut segments
    LIMITED = 16  # -C or another limit
    CONFLICTS = 32
    DAMAGED = 64
    LOST = 128  # a process died
    UNWRITTEN = 256  # a write failed
    ABSENT = 512  # nothing of it could be written: it has no file
