"""pipeline.shard against its slow twins: keys, hash, grouping, clock, dealing out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.config import DEFAULT_HASH_KEY
from pipeline.decode.kernels import Decoded, decode
from pipeline.shard import distinct_flows, flow_hash, flow_keys, packet_clock, split
from tests.decode.shapes import ALL, VALID, laid_out
from tests.effort import examples
from workers.contract import I64, KEY_WORDS, NO_EXTENTS, U64, Extents, PacketBatch

# --------------------------------------------------------------------------- packet clock

SECOND = 10**9
WIDE = st.integers(-(2**63), 2**63 - 1)
NEAR = st.integers(0, 300 * SECOND)


def slow_clock(times: Sequence[int], before: int | None) -> list[int]:
    """The definition, packet by packet."""
    made: list[int] = []
    for time in times:
        last = made[-1] if made else before
        made.append(time if last is None else max(last, min(time, last + 60 * SECOND)))
    return made


@given(st.lists(st.one_of(NEAR, WIDE)), st.one_of(st.none(), NEAR, WIDE))
@example([0, 60 * SECOND, 120 * SECOND + 1], None)
@example([2**63 - 1, 0], -(2**63))
@examples(150)
def test_clock_is_the_bounded_running_maximum(times: list[int], before: int | None) -> None:
    """The clock never runs back and no packet moves it by more than a minute, whatever the times."""
    clock = packet_clock(np.array(times, np.int64), before)
    assert clock.dtype == np.int64
    assert slow_clock(times, before) == clock.tolist()


def test_a_packet_from_the_future_does_not_move_the_clock_far() -> None:
    """One packet ten years ahead costs a minute."""
    times = [0, 1, 10 * 365 * 86_400 * SECOND, 2]
    assert packet_clock(np.array(times), None).tolist() == [0, 1, 60 * SECOND + 1, 60 * SECOND + 1]


# --------------------------------------------------------------------------- keys

words = st.sampled_from([0, 1, 2, 2**32 - 1, 2**63, 2**64 - 1])
endpoints = st.tuples(words, words, st.sampled_from([0, 1, 80, 65535]))
packets = st.lists(st.tuples(endpoints, endpoints, st.sampled_from([4, 6, 4 | 1 << 4, 4 | 1 << 4 | 10 << 8])))


def decoded_of(rows: Sequence[tuple[tuple[int, int, int], tuple[int, int, int], int]]) -> Decoded:
    """A Decoded with these (source, destination, net); the rest is zeros."""
    n = len(rows)
    flat = [(*source, *destination, net) for source, destination, net in rows]
    sh, sl, sp, dh, dl, dp, net = (
        np.array([row[i] for row in flat], np.uint16 if i in (2, 5) else np.uint64) for i in range(7)
    )
    zeros = [np.zeros(n, dtype) for dtype in (np.uint32, np.uint32, np.uint8, np.uint64, np.uint32, np.uint32)]
    more = net >> np.uint64(4)
    return Decoded(
        np.zeros(n, np.uint8), np.arange(n), sh, sl, dh, dl, sp, dp, net, more, *zeros, np.zeros(n, np.uint16)
    )  # fmt: skip


@given(packets)
@examples(150)
def test_keys_are_canonical(rows) -> None:
    """A key is the sorted endpoints, their ports and the net; side 0 is the smaller endpoint's."""
    keys, side = flow_keys(decoded_of(rows))
    for (source, destination, net), key, which in zip(rows, keys.tolist(), side.tolist(), strict=True):
        a, b = sorted((source, destination))
        assert [*a[:2], *b[:2], a[2] << 16 | b[2], net, net >> 4] == key
        assert int(source != a) == which


@given(packets)
@examples(100)
def test_both_directions_have_one_key_and_one_hash(rows) -> None:
    """Turning every packet round changes nothing but the side."""
    keys, side = flow_keys(decoded_of(rows))
    back, back_side = flow_keys(decoded_of([(b, a, net) for a, b, net in rows]))
    assert keys.tolist() == back.tolist()
    assert flow_hash(keys, 7).tolist() == flow_hash(back, 7).tolist()
    assert [1 - s if a != b else 0 for s, (a, b, _) in zip(side.tolist(), rows, strict=True)] == back_side.tolist()


# --------------------------------------------------------------------------- hash

MASK = 2**64 - 1


def slow_hash(key: Sequence[int], hash_key: int) -> int:
    """The same hash with Python's integers."""

    def finish(x: int, factors: tuple[tuple[int, int], ...], last: int) -> int:
        for shift, factor in factors:
            x = (x ^ x >> shift) * factor & MASK
        return x ^ x >> last

    mixers = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
    seeds = [(hash_key + i * 0x9E3779B97F4A7C15) & MASK for i in range(1, 2 * KEY_WORDS + 2)]
    secrets = [finish(seed, tuple(zip((30, 27), mixers, strict=True)), 31) for seed in seeds]
    total = secrets[-1]
    for i, word in enumerate(key):
        mixed = word * (secrets[2 * i] | 1) & MASK
        total += (mixed ^ mixed >> 32) * (secrets[2 * i + 1] | 1)
    return finish(total & MASK, tuple(zip((31, 31), mixers, strict=True)), 31)


@given(st.lists(st.tuples(*[st.one_of(st.just(0), st.integers(0, MASK))] * KEY_WORDS)), st.integers(0, MASK))
@examples(100)
def test_hash_is_a_function_of_the_key_alone(rows, hash_key: int) -> None:
    """Every key hashes as it would on its own, whatever else is in the batch."""
    keys = np.array(rows, np.uint64).reshape(-1, KEY_WORDS)
    assert [slow_hash(row, hash_key) for row in rows] == flow_hash(keys, hash_key).tolist()


def _keys(count: int, **columns: object) -> U64:
    keys = np.zeros((count, KEY_WORDS), np.uint64)
    keys[:, 5] = 4
    for name, values in columns.items():
        keys[:, ["ah", "al", "bh", "bl", "ports", "net", "more"].index(name)] = values
    return keys


COUNT = 100_000
steps = np.arange(COUNT, dtype=np.uint64)
random = np.random.default_rng(1)
FLOW_SETS = {
    "random": random.integers(0, MASK, (COUNT, KEY_WORDS), np.uint64),
    "random ipv4": _keys(
        COUNT,
        al=random.integers(0, 2**32, COUNT),
        bl=random.integers(0, 2**32, COUNT),
        ports=random.integers(0, 2**32, COUNT),
    ),
    "a counting port": _keys(COUNT, al=1, bl=2, ports=steps << 16 | 80),
    "a counting address": _keys(COUNT, al=0x0A000000 + steps, bl=0xC0A80001, ports=443),
    "equal endpoints": _keys(COUNT, al=steps, bl=steps, ports=80 << 16 | 80),
    "one XOR of the endpoints": _keys(COUNT, al=steps, bl=steps ^ 0x5A5A5A5A, ports=80),
    "one sum of the endpoints": _keys(COUNT, al=steps, bl=2**32 - steps, ports=80),
    "high bits only": _keys(COUNT, ah=steps << 47, al=1, bh=steps << 47, bl=2, ports=80),
    "ipv6 networks": _keys(COUNT, ah=steps << 16, al=1, bh=1, bl=2, ports=80, net=6),
    "many vlans": _keys(COUNT, al=1, bl=2, ports=80, net=4 | 6 << 4, more=steps),
    "vlans": _keys(4096, al=1, bl=2, ports=80, net=4 | 1 << 4 | steps[:4096] << 8),
}


@pytest.mark.parametrize("name", FLOW_SETS)
def test_no_set_of_flows_favours_a_worker(name: str) -> None:
    """Flows spread evenly over 2 to 16 workers (the busiest has at most 5 % more than the mean, plus
    what chance gives), also where endpoints count up or cancel in an XOR or a sum."""
    keys = FLOW_SETS[name]
    hashes = flow_hash(keys, DEFAULT_HASH_KEY)
    assert len(np.unique(hashes)) == len(keys)
    loads = np.bincount(hashes >> 56, minlength=256)
    for workers in (2, 3, 4, 8, 16):
        load = np.array([loads[w::workers].sum() for w in range(workers)])
        share = np.array([len(range(w, 256, workers)) for w in range(workers)]) / 256
        expected = share * len(keys)
        allowed = 1.05 if len(keys) == COUNT else 1.05 + 3 / np.sqrt(len(keys) / workers)
        assert (load / expected).max() <= allowed


def test_the_hash_key_changes_everything() -> None:
    """Flows that share a shard under one hash key are spread under another."""
    keys = FLOW_SETS["random ipv4"]
    together = keys[flow_hash(keys, 1) >> 56 == 7]
    assert len(np.unique(flow_hash(together, 2) >> 56)) > 150


# --------------------------------------------------------------------------- grouping


def slow_groups(keys: U64) -> tuple[list[int], list[int]]:
    """Flows by a dictionary, in order of appearance."""
    number: dict[tuple[int, ...], int] = {}
    flow = [number.setdefault(tuple(key), len(number)) for key in keys.tolist()]
    return flow, [flow.index(n) for n in range(len(number))]


def check_groups(keys: U64, hashes: U64) -> None:
    flow, first = distinct_flows(keys, hashes)
    assert (np.uint32, np.int64) == (flow.dtype, first.dtype)
    assert slow_groups(keys) == (flow.tolist(), first.tolist())


@given(
    st.lists(st.tuples(*[st.sampled_from([0, 1, MASK])] * KEY_WORDS)), st.sampled_from([MASK, 0xFFFF, 3 << 62, 1, 0])
)
@examples(150)
def test_grouping_is_exact_even_if_hashes_are_poor(rows, hash_bits: int) -> None:
    """Rows are one flow if and only if their keys are equal, though different keys share hashes."""
    keys = np.array(rows, np.uint64).reshape(-1, KEY_WORDS)
    check_groups(keys, flow_hash(keys, 1) & np.uint64(hash_bits))


@pytest.mark.parametrize("flows", [1, 300, 3000])
def test_grouping_of_a_batch(flows: int) -> None:
    """A batch of usual size with few or many flows."""
    keys = FLOW_SETS["random ipv4"][random.integers(0, flows, 4000)]
    check_groups(keys, flow_hash(keys, DEFAULT_HASH_KEY))


def test_grouping_when_all_slots_collide() -> None:
    """Hashes made so that rows share slots in every round."""
    few = np.array([0, 1, 2], np.uint64)
    hashes = (few[:, None, None, None] << 48 | few[:, None, None] << 32 | few[:, None] << 16 | few).ravel()
    keys = np.repeat(_keys(hashes.size, al=hashes), 3, axis=0)
    hashes = np.repeat(hashes, 3)
    order = random.permutation(hashes.size)
    check_groups(keys[order], hashes[order])


# --------------------------------------------------------------------------- dealing out


def a_batch(size: int, seed: int) -> tuple[object, Decoded, I64]:
    """Packets of all shapes with ports that make them many flows."""
    rng = np.random.default_rng(seed)
    cases = [ALL[i] for i in rng.integers(0, len(ALL), size)] + [VALID["vlan"]]
    slab, records = laid_out(cases)
    decoded = decode(slab, records)
    ports = rng.integers(1, 50, (2, decoded.row.size)).astype(np.uint16)
    return (
        records,
        decoded._replace(sport=ports[0], dport=ports[1]),
        packet_clock(records.time[::-1].copy(), None),
    )


def rows_of(batch: PacketBatch) -> list[tuple[object, ...]]:
    """Packet by packet, with the flow's own columns in place of its number."""
    of_flow = [batch.keys.tolist(), batch.hashes.tolist(), batch.shards.tolist()]
    columns = [column.tolist() for column in batch[7:]]
    return [
        (*(table[flow] for table in of_flow), *row) for flow, *row in zip(batch.flow.tolist(), *columns, strict=True)
    ]


def test_split_fills_the_columns() -> None:
    """Each column of the one worker's batch is what contract.py says of the packet."""
    records, decoded, clock = a_batch(200, 1)
    extents = Extents(np.array([7], np.uint64), np.array([3], np.uint64))
    (batch,) = split(5, extents, records, decoded, 1000, clock, 1, DEFAULT_HASH_KEY)
    keys, side = flow_keys(decoded)
    assert (batch.number, batch.extents, batch.clock) == (5, extents, clock[-1])
    assert (keys[:, :].tolist(), side.tolist()) == (batch.keys[batch.flow].tolist(), batch.side.tolist())
    assert flow_hash(batch.keys, DEFAULT_HASH_KEY).tolist() == batch.hashes.tolist()
    assert [h >> 56 for h in batch.hashes.tolist()] == batch.shards.tolist()
    for i, row in enumerate(decoded.row.tolist()):
        length, captured = int(records.length[row]), int(records.captured[row])
        assert [1000 + row, records.time[row], clock[row], length, captured] == [
            batch.packet[i],
            batch.time[i],
            batch.time[i] + batch.lag[i],
            batch.length[i],
            batch.length[i] - batch.clipped[i],
        ]
    for name in ("seq", "ack", "flags", "start", "size", "missing", "mac"):
        assert getattr(decoded, name).tolist() == getattr(batch, name).tolist()


DTYPES = dict(zip(PacketBatch._fields[3:], map(np.dtype, "QQBIQqqIIBBQIIHII"), strict=True))


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 16, 256, 300])
def test_split_deals_every_packet_to_its_shards_worker(workers: int) -> None:
    """Each packet reaches worker ``shard % N``, in order, the same for any N; flows are numbered as they
    appear."""
    records, decoded, clock = a_batch(400, workers)
    (whole,) = split(0, NO_EXTENTS, records, decoded, 1, clock, 1, 99)
    batches = split(0, NO_EXTENTS, records, decoded, 1, clock, workers, 99)
    assert len(batches) == workers
    for worker, batch in enumerate(batches):
        assert {name: getattr(batch, name).dtype for name in DTYPES} == DTYPES
        assert [row for row in rows_of(whole) if row[2] % workers == worker] == rows_of(batch)
        assert slow_groups(batch.keys[batch.flow]) == (
            batch.flow.tolist(),
            [batch.flow.tolist().index(n) for n in range(len(batch.keys))],
        )


@pytest.mark.parametrize("workers", [1, 3])
def test_split_of_a_batch_without_segments(workers: int) -> None:
    """Every worker still hears of the batch: its number and its clock."""
    slab, records = laid_out([VALID["vlan"]._replace(link=65535)] * 3)
    batches = split(9, NO_EXTENTS, records, decode(slab, records), 1, packet_clock(records.time, None), workers, 0)
    assert [(9, 2 * SECOND, 0, 0)] * workers == [(b.number, b.clock, b.packet.size, len(b.keys)) for b in batches]
