"""A capture made wrong: cut off, bits turned over, fields that lie, records swapped, repeated, snapped, wrapped.

Knows: where records, and in their frames the fields of headers, roughly are. Does not know: flowshard; what
should come of a capture.
Invariant: pure; the same seed makes the same bytes of the same capture. Any bytes can be mutated, also what is no
capture. A capture grows by no more than MOST_GROWTH, so that a run stays short.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from tests import build as b

MOST_GROWTH: Final = 1 << 18
MOST_TURNS: Final = 6

LINKS: Final = (0, 1, 9, 12, 14, 50, 51, 101, 104, 105, 107, 108, 113, 127, 147, 228, 229, 239, 276, 65535)
"""Link types (LINKTYPE_ numbers): those that decoders read, and two that hardly one does."""

ETHER_TYPES: Final = (
    0x0800, 0x86DD, 0x8100, 0x88A8, 0x9100, 0x8847, 0x8848, 0x8863, 0x8864, 0x0806, 0x6558, 0x22EB, 0x88BE, 0, 1500,
    0xFFFF,
)  # fmt: skip
PROTOCOLS: Final = (0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 135, 137, 255)
PORTS: Final = (4789, 8472, 6081, 2152, 3544, 80, 0, 65535)
BYTES: Final = (0, 1, 0x0F, 0x10, 0x20, 0x40, 0x45, 0x4F, 0x60, 0x7F, 0x80, 0xFE, 0xFF)
NUMBERS: Final = (
    0, 1, 2, 3, 4, 7, 8, 15, 16, 19, 20, 21, 27, 28, 39, 40, 41, 54, 60, 64, 1500, 0x7FFF, 0x8000, 0xFFF8, 0xFFFF,
    0x10000, 262144, 262145, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF,
)  # fmt: skip
"""Where lengths and sequence numbers turn over."""


class Capture(NamedTuple):
    """A capture in parts: joined they are the file."""

    head: bytearray
    records: list[bytearray]
    frame: int  # where in a record its frame begins
    lengths: tuple[int, ...]  # where in a record its 32-bit lengths are; the first two: captured, on the wire
    order: str  # of struct

    def joined(self) -> bytes:
        return b"".join((self.head, *self.records))


def taken_apart(data: bytes) -> Capture:
    """The capture by its records, as far as they are sound; what is behind is the last one. Never raises."""
    if data[:8] == b"snoop\0\0\0":
        return _chain(data, 16, 24, (4, 0, 8), ">", lambda at: struct.unpack_from(">I", data, at + 8)[0])
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        order = ">" if data[8:12] == b"\x1a\x2b\x3c\x4d" else "<"
        return _chain(data, 0, 28, (20, 24, 4), order, lambda at: struct.unpack_from(order + "I", data, at + 4)[0])
    order = ">" if data[:1] == b"\xa1" else "<"
    head = 24 if b"\x34\xcd" in (data[:2], data[2:4][::-1]) else 16
    return _chain(
        data, 24, head, (8, 12), order, lambda at: head + int(struct.unpack_from(order + "I", data, at + 8)[0])
    )


def _chain(
    data: bytes, at: int, frame: int, lengths: tuple[int, ...], order: str, size: Callable[[int], int]
) -> Capture:
    head, records = bytearray(data[:at]), []
    while at + 16 <= len(data):
        end = at + max(12, size(at))
        if end > len(data):
            break
        records.append(bytearray(data[at:end]))
        at = end
    if at < len(data):
        records.append(bytearray(data[at:]))
    return Capture(head, records, frame, lengths, order)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The capture after one to MOST_TURNS changes, seldom none of which shows."""
    for _ in range(rng.randint(1, MOST_TURNS)):
        made = rng.choices(_WAYS, _WEIGHTS)[0](data, rng)
        if len(made) <= len(data) + MOST_GROWTH:
            data = made
    return data


# --------------------------------------------------------------------------- bytes, whatever they mean


def truncated(data: bytes, rng: random.Random) -> bytes:
    """Cut off anywhere."""
    return data[: rng.randint(0, len(data))]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """A few bits turned over, or one in some thousand."""
    made = bytearray(data)
    count = rng.choice([1, 3, 10, len(data) // 500])
    for _ in range(count if made else 0):
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def overwritten(data: bytes, rng: random.Random) -> bytes:
    """A stretch of zeros, ones, chance, or of the capture's own bytes from elsewhere; or cut out, or put in."""
    at, size = rng.randint(0, len(data)), rng.choice([1, 2, 4, 16, 100, 512, 4096])
    other = rng.randint(0, len(data))
    filler = rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size), data[other : other + size], b""])
    return data[:at] + filler + data[at + (size if rng.random() < 0.7 else 0) :]


# --------------------------------------------------------------------------- records


def lying(data: bytes, rng: random.Random) -> bytes:
    """A length in a record's header is an extreme, or a little off; sometimes another field of it."""
    capture = taken_apart(data)
    for record in _some(capture.records, rng):
        at = rng.choice([*capture.lengths, rng.randrange(0, 28, 4)])
        if at + 4 <= len(record):
            (old,) = struct.unpack_from(capture.order + "I", record, at)
            new = rng.choice([*NUMBERS, old - 1, old + 1, old + 4, old - 4, old * 2, len(data)])
            struct.pack_into(capture.order + "I", record, at, new & 0xFFFFFFFF)
    return capture.joined()


def shuffled(data: bytes, rng: random.Random) -> bytes:
    """Records swapped, repeated, lost, moved to the end or the beginning."""
    capture = taken_apart(data)
    records = capture.records
    for _ in range(rng.choice([1, 3, 20]) if records else 0):
        one, other = rng.randrange(len(records)), rng.randrange(len(records))
        what = rng.randrange(4)
        if what == 0:
            records[one], records[other] = records[other], records[one]
        elif what == 1:
            records.insert(other, bytearray(records[one]))
        elif what == 2 and len(records) > 1:
            records.pop(one)
        else:
            records.insert(rng.choice([0, len(records)]), records.pop(one))
    return capture.joined()


def snapped(data: bytes, rng: random.Random) -> bytes:
    """A snap length: records of classic captures and of EPBs as a capture with one would have them."""
    capture = taken_apart(data)
    most, pcapng = rng.choice([0, 1, 13, 14, 33, 34, 40, 53, 54, 60, 96, 200]), capture.frame == 28
    for place, record in enumerate(capture.records):
        if len(record) < capture.frame or (pcapng and bytes(record[:4]) not in (b"\6\0\0\0", b"\0\0\0\6")):
            continue
        (captured,) = struct.unpack_from(capture.order + "I", record, capture.lengths[0])
        if captured > most and capture.frame + captured <= len(record) and rng.random() < 0.9:
            made = record[: capture.frame + most]
            struct.pack_into(capture.order + "I", made, capture.lengths[0], most)
            if pcapng:
                made += bytes(-most % 4 + 4)
                struct.pack_into(capture.order + "I", made, 4, len(made))
                struct.pack_into(capture.order + "I", made, len(made) - 4, len(made))
            elif capture.order == ">" and capture.frame == 24 and len(capture.lengths) == 3:
                struct.pack_into(">I", made, 8, len(made))
            capture.records[place] = made
    return capture.joined()


def relinked(data: bytes, rng: random.Random) -> bytes:
    """Another link type, snap length, version or magic number in the header of the file or an interface."""
    capture = taken_apart(data)
    if capture.frame == 28:
        for record in capture.records:
            if bytes(record[:4]) in (b"\1\0\0\0", b"\0\0\0\1") and len(record) >= 10:
                struct.pack_into(capture.order + "H", record, 8, rng.choice(LINKS))
    elif len(capture.head) >= 16:
        at = len(capture.head) - 4
        struct.pack_into(capture.order + "I", capture.head, at, rng.choice(LINKS))
        if rng.random() < 0.1:
            capture.head[rng.randrange(len(capture.head))] = rng.choice(BYTES)
    return capture.joined()


# --------------------------------------------------------------------------- frames


def header_lies(data: bytes, rng: random.Random) -> bytes:
    """Fields of IP, TCP, UDP and tunnels that are extremes, in one frame, some or all."""
    capture = taken_apart(data)
    field = rng.choice(_FIELDS)
    for record in _some(capture.records, rng):
        if len(record) > capture.frame:
            (field if rng.random() < 0.7 else rng.choice(_FIELDS))(record, capture.frame, rng)
    return capture.joined()


def wrapped(data: bytes, rng: random.Random) -> bytes:
    """The frames of a classic capture inside a tunnel, in some layers, or cut into IP fragments."""
    capture = taken_apart(data)
    if capture.frame == 28 or len(capture.lengths) == 3 or not capture.records:
        return data
    depth, way = rng.choice([1, 1, 2, 9]), rng.choice(_TUNNELS)
    for place, record in enumerate(capture.records):
        if len(record) < capture.frame or rng.random() < 0.1:
            continue
        frame = bytes(record[capture.frame :])
        for _ in range(depth):
            frame = way(frame[:60_000])
        made = record[: capture.frame] + frame
        struct.pack_into(capture.order + "II", made, 8, len(frame), len(frame) + rng.choice([0, 0, 0, 4, 1000]))
        capture.records[place] = made
    return capture.joined()


def _in_udp(port: int, head: bytes) -> Callable[[bytes], bytes]:
    return lambda frame: b.ethernet(b.ipv4(b.udp(7, port, head + frame), "192.168.0.1", protocol=17))


def _fragmented(frame: bytes) -> bytes:
    """The first or second half of the datagram, by its last byte: both come up in a capture."""
    body = frame[34:]
    half = len(body) // 16 * 8
    if body[-1:] < b"\x60":
        return b.ethernet(b.ipv4(body[:half], more_fragments=True))
    return b.ethernet(b.ipv4(body[half:], fragment_offset=half))


_TUNNELS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    _fragmented,
    lambda frame: b.ethernet(frame[14:], vlans=(7,)),
    lambda frame: b.ethernet(b"\0\0\x51\x40" + frame[14:], kind=0x8847),
    lambda frame: b.ethernet(b"\x11\0\0\1" + struct.pack("!HH", len(frame) & 0xFFFF, 0x21) + frame[14:], kind=0x8864),
    lambda frame: b.ethernet(b.ipv4(frame[14:], protocol=4)),
    lambda frame: b.ethernet(b.ipv6(frame[14:], next_header=4)),
    lambda frame: b.ethernet(b.ipv4(b"\0\0\x08\0" + frame[14:], protocol=47)),
    lambda frame: b.ethernet(b.ipv4(b"\0\0\x65\x58" + frame, protocol=47)),
    lambda frame: b.ethernet(b.ipv4(b"\x10\0\x88\xbe\0\0\0\1" + b"\x10\x05" + bytes(6) + frame, protocol=47)),
    lambda frame: b.ethernet(b.ipv6(b.ipv6_fragment(frame[34:]), next_header=44)),
    lambda frame: b.ethernet(b.ipv6(b.ipv6_extension(frame[34:], content=bytes(14)), next_header=60)),
    _in_udp(4789, b"\x08\0\0\0\0\0\7\0"),
    _in_udp(6081, b"\0\0\x65\x58\0\0\7\0"),
    lambda frame: _in_udp(2152, b"\x30\xff" + struct.pack("!HI", len(frame) & 0xFFFF, 5))(frame[14:]),
)


def _some(records: list[bytearray], rng: random.Random) -> list[bytearray]:
    """One of the records, a few, or each with some probability."""
    if not records:
        return []
    if rng.random() < 0.6:
        return [rng.choice(records) for _ in range(rng.choice([1, 1, 5]))]
    share = rng.choice([0.02, 0.3, 1])
    return [record for record in records if rng.random() < share]


def _network(record: bytearray, frame: int, rng: random.Random) -> int:
    """Where an IP header may begin in a record: what looks like one, the first or a further one; else anywhere."""
    found = [
        at for at in range(frame, min(len(record), frame + 200)) if record[at] >> 4 == 6 or 0x45 <= record[at] <= 0x4F
    ]
    return rng.choice([found[0], found[0], rng.choice(found)]) if found else rng.randrange(frame, len(record))


def _put(record: bytearray, at: int, value: int, width: int) -> None:
    if at + width <= len(record):
        record[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "big")


def _ip_length(record: bytearray, frame: int, rng: random.Random) -> None:
    at = _network(record, frame, rng)
    _put(
        record, at + (2 if record[at] >> 4 == 4 else 4), rng.choice([*NUMBERS, len(record) - at, rng.randrange(100)]), 2
    )


def _ip_first(record: bytearray, frame: int, rng: random.Random) -> None:
    _put(record, _network(record, frame, rng), rng.choice([*BYTES, *range(0x40, 0x50)]), 1)


def _ip_fragment(record: bytearray, frame: int, rng: random.Random) -> None:
    _put(record, _network(record, frame, rng) + 6, rng.choice([0x2000, 0x1FFF, 0x3FFF, 1, 2, 0x2001, 0x8000]), 2)


def _ip_protocol(record: bytearray, frame: int, rng: random.Random) -> None:
    at = _network(record, frame, rng)
    _put(record, at + (9 if record[at] >> 4 == 4 else 6), rng.choice(PROTOCOLS), 1)


def _ether_type(record: bytearray, frame: int, rng: random.Random) -> None:
    _put(record, frame + rng.choice([12, 14, 16, 0, 2]), rng.choice(ETHER_TYPES), 2)


def _transport(record: bytearray, frame: int, rng: random.Random) -> None:
    """TCP's ports, numbers, offset and flags, or UDP's ports and length; extension and GRE headers stand there too."""
    at = _network(record, frame, rng)
    at += 40 if record[at] >> 4 == 6 else (record[at] & 15) * 4
    place, width = rng.choice(
        [(0, 2), (2, 2), (4, 4), (4, 2), (8, 4), (12, 1), (13, 1), (13, 1), (0, 1), (1, 1), (16, 2)]
    )
    old = int.from_bytes(record[at + place : at + place + width], "big")
    new = [rng.choice(NUMBERS), rng.choice(BYTES), old + rng.choice([-1, 1, 100]), old + (rng.choice([1, -1]) << 30)]
    _put(record, at + place, rng.choice([*new, rng.choice(PORTS), old + (1 << 31)]), width)


def _any_byte(record: bytearray, frame: int, rng: random.Random) -> None:
    _put(record, rng.randrange(frame, min(len(record), frame + 120)), rng.choice(BYTES), 1)


def _time(record: bytearray, frame: int, rng: random.Random) -> None:
    _put(record, rng.choice([0, 4, 8, 12, 16]), rng.choice([*NUMBERS, rng.getrandbits(32)]), 4)


_FIELDS: Final = (
    _ip_length, _ip_first, _ip_fragment, _ip_protocol, _ether_type, _transport, _transport, _transport, _any_byte,
    _time,
)  # fmt: skip
_WAYS: Final = (truncated, flipped, overwritten, lying, shuffled, snapped, relinked, header_lies, wrapped)
_WEIGHTS: Final = (1, 3, 2, 3, 3, 1, 1, 8, 2)
