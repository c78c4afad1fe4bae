"""Segments to workers: flow keys, their hash, the packet clock, one batch a worker.

Knows: which worker gets a packet. Does not know: what a worker does with it, how a batch travels.
Invariants: both directions of a connection have one key and reach one worker; keys are compared
whole, a hash alone never makes two packets one flow; what a worker gets of a flow does not depend
on the number of workers.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.decode.kernels import Decoded
from pipeline.source.records import Records
from workers.contract import (
    FLOW_COLUMNS,
    I64,
    KEY_WORDS,
    PACKET_COLUMNS,
    U8,
    U32,
    U64,
    Bools,
    Extents,
    Key,
    PacketBatch,
)
from workers.limits import SECOND

CLOCK_STEP_NS: Final = 60 * SECOND
"""How far one packet can move the clock: a packet from the far future does not expire every flow."""

_SHARD_SHIFT: Final = 56  # the virtual shard is the top byte of the hash
_MASK: Final = (1 << 64) - 1

_OFTEN_ZERO: Final = (Key.A_HIGH, Key.B_HIGH, Key.MORE)


def packet_clock(time: I64, before: int | None) -> I64:
    """The bounded running maximum of the packets' times, ns.

    ``c[i] = max(c[i-1], min(time[i], c[i-1] + CLOCK_STEP_NS))``; ``before`` is the clock after the
    batch before, None at the start of the input, where the clock is the first packet's time.
    """
    if not time.size:
        return time.copy()
    start = int(time[0]) if before is None else before
    clock = np.maximum.accumulate(np.concatenate([np.array([start], np.int64), time]))
    steps = np.diff(clock.view(np.uint64))  # never negative; as a signed number it could overflow
    if steps.max() <= CLOCK_STEP_NS:
        return clock[1:]
    now, bounded = start, []
    for moment in time.tolist():
        now = max(now, min(moment, now + CLOCK_STEP_NS))
        bounded.append(now)
    return np.array(bounded, np.int64)


def flow_keys(decoded: Decoded) -> tuple[U64, U8]:
    """Canonical keys (m, 7) as workers.contract.Key, and sides (m,): 0 where the source is endpoint a."""
    swapped = _source_is_greater(decoded)
    keys = np.empty((decoded.row.size, KEY_WORDS), np.uint64)
    source = decoded.src_high, decoded.src_low, decoded.sport
    destination = decoded.dst_high, decoded.dst_low, decoded.dport
    ports = [np.where(swapped, d, s) for s, d in ((source[2], destination[2]), (destination[2], source[2]))]
    for word, (s, d) in enumerate(zip(source[:2], destination[:2], strict=True)):
        keys[:, Key.A_HIGH + word] = np.where(swapped, d, s)
        keys[:, Key.B_HIGH + word] = np.where(swapped, s, d)
    keys[:, Key.PORTS] = ports[0].astype(np.uint32) << 16 | ports[1]
    keys[:, Key.NET] = decoded.net
    keys[:, Key.MORE] = decoded.more
    return keys, swapped.astype(np.uint8)


def _source_is_greater(decoded: Decoded) -> Bools:
    """By (high, low, port)."""
    greater: Bools = decoded.src_low > decoded.dst_low
    same = decoded.src_low == decoded.dst_low
    if same.any():
        greater |= same & (decoded.sport > decoded.dport)
    if decoded.src_high.any() or decoded.dst_high.any():
        greater &= decoded.src_high == decoded.dst_high
        greater |= decoded.src_high > decoded.dst_high
    return greater


def flow_hash(keys: U64, hash_key: int) -> U64:
    """A keyed hash of each key (u, 7): 64 bits, of which the top 8 are the virtual shard.

    Every word is mixed with two secret factors of its own before the words are added up, so no
    difference between words cancels for all hash keys, as it would in an XOR of the endpoints.
    """
    secrets = _secrets(hash_key, 2 * KEY_WORDS + 1)
    total = np.full(len(keys), secrets[-1], np.uint64)
    for word in range(KEY_WORDS):
        column = keys[:, word]
        if word in _OFTEN_ZERO and not column.any():
            continue  # 0 adds 0: IPv4 need not pay for IPv6, nor most for many VLANs
        mixed = column * np.uint64(secrets[2 * word] | 1)
        mixed ^= mixed >> 32
        mixed *= np.uint64(secrets[2 * word + 1] | 1)
        total += mixed
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):  # splitmix64's finish (Steele, Lea, Flood 2014)
        total ^= total >> 31
        total *= np.uint64(factor)
    total ^= total >> 31
    return total


def _secrets(hash_key: int, count: int) -> list[int]:
    """splitmix64 (Steele, Lea, Flood 2014), seeded with the key: ``count`` 64-bit numbers."""
    made = []
    for step in range(1, count + 1):
        x = (hash_key + step * 0x9E3779B97F4A7C15) & _MASK
        x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ x >> 27) * 0x94D049BB133111EB) & _MASK
        made.append(x ^ x >> 31)
    return made


def distinct_flows(keys: U64, hashes: U64) -> tuple[U32, I64]:
    """Groups equal keys (m, 7): the flow of each row (m,), and each flow's first row (u,).

    Flows are numbered by first appearance: the result depends on ``keys`` alone.
    """
    lead = _first_equal(hashes)
    if not np.array_equal(keys, keys.take(lead, axis=0)):  # two keys share a hash: ask the keys themselves
        _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        lead = first[group.reshape(-1)]
    is_first = lead == np.arange(lead.size)
    number = np.cumsum(is_first, dtype=np.uint32) - np.uint32(1)
    return number.take(lead), np.flatnonzero(is_first)


def _first_equal(hashes: U64) -> I64:
    """For each row the first row with the same hash.

    A round puts every row into one of 65,536 slots by 16 bits of its hash. The slot's first row
    stands for all that have its hash; the others go to the next round, with the next 16 bits.
    """
    rows, left = np.arange(hashes.size), hashes
    lead = np.empty(hashes.size, np.int64)
    table = np.empty(1 << 16, np.int64)  # only slots that the round has filled are read
    for shift in (0, 16, 32, 48):
        slot = (left >> shift).astype(np.uint16).astype(np.int64)
        table[slot[::-1]] = rows[::-1]  # of several rows in a slot the last assignment stays: the first row
        found = table.take(slot)
        lead[rows] = found
        others = np.flatnonzero(hashes.take(found) != left)
        if not others.size:
            return lead
        rows, left = rows.take(others), left.take(others)
    _, first, group = np.unique(left, return_index=True, return_inverse=True)
    lead[rows] = rows[first[group]]
    return lead


def split(
    number: int,
    extents: Extents,
    records: Records,
    decoded: Decoded,
    first_packet: int,
    clock: I64,
    workers: int,
    hash_key: int,
) -> list[PacketBatch]:
    """One batch for each of ``workers``, perhaps empty. Worker w serves shards with ``shard % workers == w``.

    ``first_packet`` is the packet number of the first record, ``clock`` (n,) the packet clock of
    all n >= 1 records.
    """
    keys, side = flow_keys(decoded)
    hashes = flow_hash(keys, hash_key)
    flow, first = distinct_flows(keys, hashes)
    hashes = hashes.take(first)
    row = decoded.row
    time, captured, length, now = records.time, records.captured, records.length, clock
    if row.size != time.size:
        time, captured, length, now = time.take(row), captured.take(row), length.take(row), now.take(row)
    whole = PacketBatch(
        number=number, clock=int(clock[-1]), extents=extents,
        keys=keys.take(first, axis=0), hashes=hashes, shards=(hashes >> _SHARD_SHIFT).astype(np.uint8),
        flow=flow, packet=row.view(np.uint64) + np.uint64(first_packet), time=time, lag=now - time,
        seq=decoded.seq, ack=decoded.ack, flags=decoded.flags, side=side, start=decoded.start,
        size=decoded.size, missing=decoded.missing, mac=decoded.mac, length=length, clipped=length - captured,
    )  # fmt: skip
    return [whole] if workers == 1 else _dealt(whole, workers)


def _dealt(whole: PacketBatch, workers: int) -> list[PacketBatch]:
    """The parts of a batch, each with its flows numbered anew; order within a part is kept."""
    worker = (whole.shards % np.int64(workers)).astype(np.uint8)
    flows, flow_bounds = _by_worker(worker, workers)
    rows, bounds = _by_worker(worker.take(whole.flow), workers)
    renumbered = np.empty(flows.size, np.uint32)
    renumbered[flows] = np.arange(flows.size) - flow_bounds[worker.take(flows)]
    tables = {name: getattr(whole, name).take(flows, axis=0) for name in FLOW_COLUMNS}
    columns = {name: getattr(whole, name).take(rows) for name in PACKET_COLUMNS}
    columns["flow"] = renumbered.take(columns["flow"])
    batches = []
    for w in range(workers):
        part = {name: table[flow_bounds[w] : flow_bounds[w + 1]] for name, table in tables.items()}
        part |= {name: column[bounds[w] : bounds[w + 1]] for name, column in columns.items()}
        batches.append(whole._replace(**part))
    return batches


def _by_worker(worker: U8, workers: int) -> tuple[I64, I64]:
    """Indices by worker, each worker's in order, and the bounds of each worker's stretch of them."""
    counts = np.bincount(worker, minlength=workers)
    return np.argsort(worker, kind="stable"), np.concatenate([[0], np.cumsum(counts)])
