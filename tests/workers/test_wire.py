"""Messages: what goes in comes out, and what is not ours raises WireError and nothing else."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.workers.traffic import SECOND, batches, mix, run
from workers import wire
from workers.contract import KEY_WORDS, NO_EXTENTS, EventBatch, Extents, PacketBatch, Stored
from workers.events import TABLES, dtypes
from workers.wire import Happened, Note, Packets, WireError

SHAPES = ("any", "same", "near", "extreme")


def column(rng: np.random.Generator, dtype: np.dtype[Any], count: int, shape: str, wide: bool) -> Any:
    """Values that ask for each coding: as they are, one number for all, distances from the smallest."""
    kind = np.iinfo(dtype)
    size = (count, KEY_WORDS) if wide else (count,)
    if shape == "same":
        return np.full(size, rng.integers(kind.min, kind.max, dtype=dtype, endpoint=True), dtype)
    if shape == "near" and dtype.itemsize == 8:
        base = int(rng.integers(kind.min, kind.max - 2**32, dtype=dtype))
        return (rng.integers(0, 2**32, size, dtype=np.uint64) + np.uint64(base % 2**64)).astype(dtype)
    if shape == "extreme":
        return rng.choice(np.array([kind.min, kind.max, 0], dtype), size)
    return rng.integers(kind.min, kind.max, size, dtype=dtype, endpoint=True)


def extents(rng: np.random.Generator, count: int) -> Extents:
    """So many windows of a spool."""
    start = np.unique(rng.integers(0, 2**64, count, dtype=np.uint64))
    return Extents(start, rng.integers(0, 2**48, len(start), dtype=np.uint64))


def tables(seed: int, most: int = 40) -> EventBatch:
    """An EventBatch of random tables."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for name, table in TABLES.items():
        count = int(rng.integers(0, most))
        if count and rng.random() < 0.8:
            found[name] = table(*(
                column(rng, dtype, count, str(rng.choice(SHAPES)), field == "key")
                for field, dtype in dtypes(table).items()
            ))  # fmt: skip
    return EventBatch(int(rng.integers(-1, 1 << 40)), extents(rng, int(rng.integers(0, 4))), **found)


def same(one: Any, other: Any) -> bool:
    """Equal columns, of equal types."""
    if one is None or other is None:
        return one is other
    pairs = zip(one, other, strict=True)
    return all(a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b) for a, b in pairs)


def joined(messages: list[wire.Message]) -> EventBatch:
    """Several messages as the one set of events that they were."""
    parts = [message.events for message in messages if isinstance(message, Happened)]
    found: dict[str, Any] = {}
    for name in TABLES:
        some = [table for part in parts if (table := getattr(part, name)) is not None]
        if some:
            found[name] = TABLES[name](*(np.concatenate(columns) for columns in zip(*some, strict=True)))
    return EventBatch(parts[0].number, parts[0].extents, **found)


@given(st.integers(0, 2**32))
@examples(150)
def test_events_come_out_as_they_went_in(seed: int) -> None:
    """Every table, column, type and value, whichever coding it took."""
    events = tables(seed)
    [frames] = wire.encode_events(events)
    message = wire.decode([bytes(frame) for frame in frames])
    assert isinstance(message, Happened)
    assert message.last
    assert message.events.number == events.number
    assert same(message.events.extents, events.extents)
    assert all(same(getattr(message.events, name), getattr(events, name)) for name in TABLES)


def test_packets_come_out_as_they_went_in() -> None:
    """Batches of real shape, of one packet, and of none."""
    segments = mix(random.Random(7), range(5))
    whole = [*batches(segments, 10**6), *batches(segments[:40], 1)]
    empty = whole[0]._replace(**{name: getattr(whole[0], name)[:0] for name in PacketBatch._fields[3:]})
    spooled = whole[0]._replace(extents=extents(np.random.default_rng(1), 3))
    for batch in (*whole, empty, spooled):
        message = wire.decode(wire.encode_packets(batch))
        assert isinstance(message, Packets)
        assert message.batch[:2] == batch[:2]
        assert same(message.batch.extents, batch.extents)
        assert same(message.batch[3:], batch[3:])


@given(st.integers(0, 2**32), st.integers(0, 40))
@settings(deadline=None)
def test_packets_to_keep_come_out_as_they_went_in(seed: int, count: int) -> None:
    """Every column; one of another length is refused."""
    rng = np.random.default_rng(seed)
    columns = [column(rng, dtype, count, str(rng.choice(SHAPES)), wide=False) for dtype in dtypes(Stored).values()]
    stored = Stored(seed, 1 << 47, 1 << 33, *columns)
    message = wire.decode(wire.encode_stored(stored))
    assert isinstance(message, Stored)
    assert message[:3] == stored[:3]
    assert same(message[3:], stored[3:])
    with pytest.raises(WireError, match="different lengths"):
        wire.decode(wire.encode_stored(stored._replace(link=np.zeros(count + 1, np.uint16))))


@pytest.mark.parametrize(
    ("values", "frames", "bytes_"),
    [
        ([7, 7, 7], 0, 0),
        ([10**18, 10**18 + 2**32 - 1], 1, 8),
        ([10**18, 10**18 + 2**32], 1, 16),
        ([-(2**63), -(2**63) + 5], 1, 8),
        ([-(2**63), 2**63 - 1], 1, 16),
    ],
)
def test_each_coding_at_its_bounds(values: list[int], frames: int, bytes_: int) -> None:
    """One number for all, 32-bit distances, or as it is: the smallest that holds the values."""
    stream, shard = np.arange(len(values), dtype=np.uint64), np.zeros(len(values), np.uint8)
    events = EventBatch(0, NO_EXTENTS, frontiers=TABLES["frontiers"](stream, shard, np.array(values, np.int64)))
    [sent] = wire.encode_events(events)
    assert sum(map(len, sent[2:])) == bytes_  # behind the header and the stream
    assert len(sent) == 2 + frames
    message = wire.decode(sent)
    assert isinstance(message, Happened)
    assert message.events.frontiers is not None
    assert message.events.frontiers.offset.tolist() == values


def test_a_note_comes_out_as_it_went_in() -> None:
    """Numbers, strings, lists and maps of them."""
    note = Note("failed", {"status": 4, "message": "disk full", "list": [1, "a", None], "map": {"x": 2**63}})
    assert wire.decode(wire.encode_note(note)) == note


def test_a_segments_overlap_is_never_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one segment that touch travel in one message, wherever its end would fall."""
    monkeypatch.setattr(wire, "ROWS", 4)
    packet = np.array([1, 1, 1, 2, 2, 2, 3, 3], np.uint64)
    offset = np.array([0, 2, 4, 6, 8, 10, 50, 70], np.int64)  # the last two do not touch
    n = len(packet)
    overlaps = TABLES["overlaps"](
        np.full(n, 2, np.uint64), np.zeros(n, np.uint8), offset, np.arange(n, dtype=np.uint64),
        np.full(n, 2, np.uint32), packet, np.arange(n, dtype=np.uint8) % 2,
    )  # fmt: skip
    messages = [wire.decode(frames) for frames in wire.encode_events(EventBatch(0, NO_EXTENTS, overlaps=overlaps))]
    told = [m.events.overlaps.packet.tolist() for m in messages if isinstance(m, Happened) and m.events.overlaps]
    assert told == [[1, 1, 1, 2, 2, 2], [3, 3]]
    assert same(joined(messages).overlaps, overlaps)


def test_long_events_are_several_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long set of events is split; joined again it is the same, in order, and the last message says so."""
    for rows in (1, 7, 50, 10**6):
        monkeypatch.setattr(wire, "ROWS", rows)
        for seed in range(10):
            events = tables(seed)
            messages = [wire.decode(frames) for frames in wire.encode_events(events)]
            again = joined(messages)
            assert all(same(getattr(again, name), getattr(events, name)) for name in TABLES)
            assert [message.last for message in messages if isinstance(message, Happened)] == [False] * (
                len(messages) - 1
            ) + [True]
            for message in messages:
                assert isinstance(message, Happened)
                assert same(message.events.extents, events.extents)
                sizes = [len(table.stream) for name in TABLES if (table := getattr(message.events, name)) is not None]
                assert sum(sizes) <= rows


def test_a_header_fits_4_kib() -> None:
    """With every table present and the largest numbers in it, a header keeps to its limit; so does a message."""
    each = wire.ROWS // len(TABLES)
    full = {
        name: table(*(
            np.full((each, KEY_WORDS) if field == "key" else each, np.iinfo(dtype).max, dtype)
            for field, dtype in dtypes(table).items()
        ))
        for name, table in TABLES.items()
    }  # fmt: skip
    top = np.array([2**64 - 2, 2**64 - 1], np.uint64)
    for frames in wire.encode_events(EventBatch(2**62, Extents(top, top[::-1]), **full)):
        assert len(frames[0]) <= wire.HEADER_BYTES
    rng = np.random.default_rng(1)
    for name, table in TABLES.items():
        columns = (column(rng, d, wire.ROWS + 5, "any", field == "key") for field, d in dtypes(table).items())
        for frames in wire.encode_events(EventBatch(0, NO_EXTENTS, **{name: table(*columns)})):
            assert sum(map(len, frames)) <= wire.MESSAGE_BYTES


@pytest.mark.parametrize("writers", [1, 2, 3, 7])
def test_each_row_has_one_writer(writers: int) -> None:
    """The parts of all writers are the whole: rows by shard, in their order, none twice, none lost."""
    events = run(mix(random.Random(2), [256 * i + shard for i in range(2) for shard in range(9)]), size=200)
    for batch in [*events, tables(3)]:
        parts = [wire.for_writer(batch, writer, writers) for writer in range(writers)]
        for name in TABLES:
            whole = getattr(batch, name)
            shards = np.zeros(0, np.uint8) if whole is None else whole.shard
            for writer, part in enumerate(parts):
                assert part.number == batch.number
                assert same(part.extents, batch.extents)
                mine = np.flatnonzero(shards % writers == writer)
                table = getattr(part, name)
                assert (table is None) == (len(mine) == 0)
                assert table is None or same(table, [column[mine] for column in whole])


# What is not ours


def messages() -> list[list[bytes]]:
    """One valid message of each kind."""
    [batch] = batches(mix(random.Random(7), range(3)), 10**6)
    found = [wire.encode_packets(batch), *wire.encode_events(tables(5)), wire.encode_note(Note("end", {"a": 1}))]
    return [[bytes(frame) for frame in frames] for frames in found]


def survives(frames: list[bytes]) -> None:
    """Either a message or WireError."""
    try:
        message = wire.decode(frames)
    except WireError:
        return
    if isinstance(message, Packets):
        batch = message.batch
        assert not len(batch.flow) or int(batch.flow.max()) < len(batch.keys)
        assert not len(batch.side) or int(batch.side.max()) <= 1


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_noise_is_refused(frames: list[bytes]) -> None:
    """Random bytes are no message, and no error of another kind."""
    survives(frames)


MSGPACK = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=9),
        st.binary(max_size=9),
    ),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
COLUMN = st.tuples(
    st.sampled_from(["data.stream", "closed.flags", "extents.start", "extents.place", "keys", "flow", "x", 5, None]),
    st.sampled_from(["<u8", "|u1", "<i8", "<f8", "O", "V9", "<u4,<u4", "<M8[ns]", "(3,)u1", "", 7, None]),
    st.sampled_from([0, 1, 2, 3, -1, None, "0", True]),
    st.one_of(st.integers(-(2**63), 2**64 - 1), MSGPACK),
    st.one_of(st.sampled_from([0, 1, -1, 2**17, 2**17 + 1, 2**62, 1.5, None, "9"]), MSGPACK),
)


@given(
    st.sampled_from(["packets", "events", "note", None, 5]),
    st.one_of(MSGPACK, st.just({"number": 1, "clock": 5, "last": True})),
    st.one_of(MSGPACK, st.lists(COLUMN, max_size=4)),
    st.lists(st.binary(max_size=64), max_size=4),
)
@examples(100)
def test_lying_headers_are_refused(kind: Any, scalars: Any, described: Any, frames: list[bytes]) -> None:
    """Headers that are well-formed and say anything at all: a message or WireError."""
    survives([msgpack.packb([wire.VERSION, kind, scalars, described]), *frames])


@given(st.integers(0, 2), st.integers(0, 2**32))
@examples(300)
def test_damaged_messages_are_refused(which: int, seed: int) -> None:
    """Flipped bits, cut, missing, doubled and swapped frames of valid messages."""
    rng = random.Random(seed)
    frames = MESSAGES[which].copy()
    for _ in range(rng.randint(1, 3)):
        i = rng.choice([0, 0, rng.randrange(len(frames))])
        frame = bytearray(frames[i])
        match rng.randrange(5):
            case 0 if frame:
                frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
                frames[i] = bytes(frame)
            case 1:
                frames[i] = bytes(frame[: rng.randint(0, len(frame))])
            case 2:
                frames.insert(i, frames[rng.randrange(len(frames))])
            case 3 if len(frames) > 1:
                del frames[i]
            case _:
                frames[i] = bytes(rng.randbytes(rng.randint(0, 20)))
    survives(frames)


MESSAGES = messages()
NUMBERS = {"number": 0, "last": True}


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "no header"),
        ([b"\x90" * 4097], "4 KiB"),
        ([b"", bytes(9 << 20)], "8388608"),
        ([msgpack.packb([99, "packets", {}, []])], f"version 99, this is version {wire.VERSION}"),
        ([msgpack.packb(["1", "packets", {}, []])], f"version '1', this is version {wire.VERSION}"),
        ([msgpack.packb({"a": 1})], "no list"),
        ([msgpack.packb([wire.VERSION, "events", NUMBERS, []]), b"x"], "frames that no column"),
        ([msgpack.packb([wire.VERSION, "note", {}, []]), msgpack.packb([1])], "map"),
        ([msgpack.packb([wire.VERSION, "note", {}, []]), b"\x91" * 2000], "malformed"),
    ],
)  # fmt: skip
def test_a_refusal_says_why(frames: list[bytes], says: str) -> None:
    """Too long, of another version (both are named), with frames too many ..."""
    with pytest.raises(WireError, match=says):
        wire.decode(frames)


def test_a_small_message_does_not_take_much_memory() -> None:
    """One number can stand for a long column; how long, and so how much a header can ask for, is bounded."""
    described = [[f"{i:x}", "<u8", 1, 1, wire.MOST_ROWS] for i in range(250)]
    frames = [msgpack.packb([wire.VERSION, "events", NUMBERS, described])]
    assert 0.9 * wire.HEADER_BYTES < len(frames[0]) <= wire.HEADER_BYTES
    tracemalloc.start()
    with pytest.raises(WireError):
        wire.decode(frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300 << 20
    for count in (wire.MOST_ROWS + 1, 2**62, -1):
        described = [["data.stream", "<u8", 1, 1, count]]
        with pytest.raises(WireError):
            wire.decode([msgpack.packb([wire.VERSION, "events", NUMBERS, described])])


def test_extents_that_no_batch_can_have_are_refused() -> None:
    """Each window has a start and a place, and the starts rise: what a place is looked up by is checked at the door."""

    def sent(**columns: Any) -> list[wire.Frame]:
        made = [(f"extents.{name}", np.array(values, kind)) for name, (values, kind) in columns.items()]
        return wire._encode("events", NUMBERS, made)

    u8 = np.uint64
    good = wire.decode(sent(start=([5, 9], u8), place=([7, 0], u8)))
    assert isinstance(good, Happened)
    assert same(good.events.extents, Extents(np.array([5, 9], u8), np.array([7, 0], u8)))
    for lie in (
        {"start": ([5, 9], u8)},
        {"place": ([5, 9], u8)},
        {"start": ([5, 9], u8), "place": ([1, 2, 3], u8)},
        {"start": ([5, 5], u8), "place": ([1, 2], u8)},
        {"start": ([5, 9, 7], u8), "place": ([1, 2, 3], u8)},
        {"start": ([5, 9], np.int64), "place": ([1, 2], u8)},
        {"start": ([5, 9], u8), "place": ([1, 2], u8), "length": ([1, 2], u8)},
    ):
        with pytest.raises(WireError):
            wire.decode(sent(**lie))


def test_a_segment_with_more_missing_than_it_has_is_refused() -> None:
    """What a worker relies on is checked at the door: sizes, sides, flow indexes."""
    [batch] = batches(mix(random.Random(7), range(3)), 10**6)
    for lie in (
        {"missing": batch.size + 1},
        {"side": np.full_like(batch.side, 2)},
        {"flow": batch.flow + np.uint32(3)},
        {"hashes": batch.hashes[:-1]},
        {"seq": batch.seq[:-1]},
        {"time": (batch.time // SECOND).astype(np.uint64)},
    ):
        with pytest.raises(WireError):
            wire.decode(wire.encode_packets(batch._replace(**lie)))
