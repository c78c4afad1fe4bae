"""The reassembler on any segments of a few flows: both paths and every cut say the same, every byte is accounted for.

An input is three bytes and eight for each segment: the limits, the overlap policy, the batch size; flow and side,
flags, where it lies (two, signed; near the expected one or far), size, what is cut off, time, acknowledgement.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Final

from tests.workers.test_inorder import LIMITS
from tests.workers.traffic import Seg, batches, everything, rows, run
from workers.contract import ACK, FIN, PSH, RST, SYN, EventBatch
from workers.limits import Limits
from workers.overlap import POLICIES
from workers.reassembler import Reassembler

FATES: Final = ("written", "overlap", "beyond", "outside", "not_data", "refused")
FLAGS: Final = (ACK, ACK, ACK | PSH, ACK | PSH, SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, 0, FIN, SYN | FIN)
SIZES: Final = (0, 0, 1, 2, 5, 100, 536, 1460)
STEPS: Final = (0, 1_000, 1_000_000, -500_000, 1_000_000_000, 2_900_000_000, 241_000_000_000, 90_000_000_000_000)
FLOWS: Final = (0, 256, 1, 257)  # two each to a virtual shard
MOST_SEGMENTS: Final = 80

_LIMITS: Final = (*LIMITS, Limits(connections_per_shard=1), Limits(connections_per_shard=2))


def target(data: bytes) -> None:
    """The vector path against segment by segment, whole against cut, and the sums."""
    if len(data) < 3:
        return
    segments = list(_segments(data[3:]))
    base = _LIMITS[data[0] % len(_LIMITS)]
    limits = Limits(**{name: getattr(base, name) for name in base.__slots__} | {"overlap": _policy(data[1])})
    options = {"append": bool(data[1] & 64), "untaken": True, "connections": True}
    size = 1 + data[2] % 40
    plain = everything(run(segments, limits=limits, vector=False, **options))
    assert everything(run(segments, limits=limits, **options)) == plain, "the two paths differ"
    reassembler = Reassembler(limits, **options)
    events = [reassembler.handle(batch) for batch in batches(segments, size)]
    events += reassembler.finish()
    assert everything(events) == plain, f"in batches of {size}"
    for row in plain["closed"]:
        assert row["seen"] == sum(row[fate] for fate in FATES), row
    _check_totals(segments, events, reassembler.totals())


def _check_totals(segments: list[Seg], events: list[EventBatch], totals: dict[str, int]) -> None:
    """The lines of the accounting identity that are the reassembler's own."""
    assert totals["delivered"] == totals["packets"] == len(segments)
    assert totals["seen"] == sum(segment.size - segment.missing for segment in segments)
    assert totals["seen"] == sum(totals[fate] for fate in FATES)
    assert totals["overlap"] == sum(row["size"] for row in rows(events, "overlaps"))
    assert totals["written"] == sum(row["size"] for row in rows(events, "runs"))
    assert totals["streams"] == len(rows(events, "opened")) == len(rows(events, "closed"))


def _policy(number: int) -> str:
    names = sorted(POLICIES)
    return names[number % len(names)]


def _segments(data: bytes) -> Iterator[Seg]:
    """The segments that the bytes stand for. Each direction knows where it would go on."""
    expected = {(flow, side): 2**32 - 200 if flow else 1000 for flow in FLOWS for side in (0, 1)}
    time = 10**18
    for at in range(0, min(len(data), 8 * MOST_SEGMENTS) - 7, 8):
        who, flags, lies, size_at, cut, step, acked = struct.unpack_from(">BBhBBBB", data, at)
        flow, side, size = FLOWS[who & 3], who >> 2 & 1, SIZES[size_at % len(SIZES)]
        seq = expected[flow, side] + (lies << 16 if who & 0x80 else lies if who & 0x40 else lies % 8)
        flags = FLAGS[flags % len(FLAGS)]
        time += STEPS[step % len(STEPS)] if step < 64 else 1000
        ack = expected[flow, 1 - side] - (acked if acked < 200 else 0)
        missing = min(size, cut & 15) if cut & 0x80 else size if cut == 127 else 0
        yield Seg(flow, side, seq & 0xFFFFFFFF, flags, size, ack & 0xFFFFFFFF if flags & ACK else 0, time, missing)
        if not who & 0x20:
            expected[flow, side] = (seq + size + bool(flags & SYN) + bool(flags & FIN)) & 0xFFFFFFFF


def seeds() -> list[bytes]:
    """Whole connections with some trouble in them, under each limit."""
    made = []
    for number in range(len(_LIMITS) * 2):
        rng = random.Random(number)
        rows = [(0, 4, 0, 0), (4, 5, 0, 0), (0, 0, 0, 0)]
        for _ in range(rng.randint(3, 30)):
            who = rng.choice([0, 4]) | rng.choice([0, 0, 0, 1]) | rng.choice([0, 0, 0, 0x40, 0x60])
            rows.append((who, 2, rng.choice([0, 0, -100, 100, -1]) if who & 0x40 else 0, rng.randrange(2, 8)))
        rows += [(0, 6, 0, 0), (4, 6, 0, 0), (0, 0, 0, 0)]
        body = b"".join(struct.pack(">BBhBBBB", *row, 0, 1, 0) for row in rows)
        made.append(bytes([number, number, rng.randrange(40)]) + body)
    return made
