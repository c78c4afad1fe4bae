"""The chain walk: lock-step lanes say what one step at a time says, on any bytes."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.source import walk as walk_module
from pipeline.source.chain.layout import Layout, RecordGuess
from pipeline.source.pcapng.blocks import BlockGuess
from pipeline.source.walk import Chain, Guess, walk
from tests.build import EPOCH_NS, Packet, block, enhanced, interface, pcap_bytes, section
from tests.effort import examples
from tests.source import oracle

CLASSIC = Chain("<", 8, 16, 16, 16)
BLOCKS = Chain("<", 4, 0, 12, 12)


def walked(data: bytes, at: int, chain: Chain, guess: Guess, lanes: int = 24, records: int = 8) -> list[int]:
    pieces = list(walk(data, at, chain, guess, lanes=lanes, lane_records=records, first=8))
    assert all(len(piece) for piece in pieces)
    return [int(position) for piece in pieces for position in piece]


def classic_guess(data: bytes, order: str = "<") -> RecordGuess:
    return RecordGuess(data, len(data), Layout(order, 1000, 16, 262144, 1))


def some_packets(rng: random.Random, count: int, largest: int = 200) -> list[Packet]:
    made = []
    for number in range(count):
        size = rng.choice((0, 1, rng.randrange(largest), largest))
        made.append(Packet(EPOCH_NS + number * 1000, rng.randbytes(size)))
    return made


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("count", [0, 1, 8, 9, 1000, 12_000])
def test_lanes_find_the_records(count: int, big_endian: bool) -> None:
    """Ordinary captures: every record, once, in order, whatever the number of lanes."""
    order = ">" if big_endian else "<"
    data = pcap_bytes(some_packets(random.Random(count), count), big_endian=big_endian)
    expected = oracle.chain(data, 24, order, 8, 16, 16, 16)
    assert len(expected) == count
    chain = CLASSIC._replace(order=order)
    for lanes in (8, 24, 100):
        assert walked(data, 24, chain, classic_guess(data, order), lanes) == expected


def test_lanes_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary capture is walked in lock-step without mending, or the tests of it prove nothing."""
    calls = {"joined": 0, "serial": 0}
    join, serial = walk_module._join, walk_module.serial

    def counted_join(*args: object) -> object:
        calls["joined"] += 1
        return join(*args)  # type: ignore[arg-type]

    def counted_serial(*args: object) -> object:
        found = serial(*args)  # type: ignore[arg-type]
        calls["serial"] += len(found[0])
        return found

    monkeypatch.setattr(walk_module, "_join", counted_join)
    monkeypatch.setattr(walk_module, "serial", counted_serial)
    data = pcap_bytes(some_packets(random.Random(1), 40_000))
    found = walked(data, 24, CLASSIC, classic_guess(data), lanes=64, records=64)
    assert len(found) == 40_000
    assert calls["joined"] > 3
    assert calls["serial"] < 12_000


def nested(rng: random.Random, count: int) -> list[Packet]:
    """Packets whose payloads are stretches of captures: record headers that are none."""
    inner = pcap_bytes(some_packets(rng, 200))
    made = []
    for number in range(count):
        at = rng.randrange(len(inner))
        made.append(Packet(EPOCH_NS + number * 1000, inner[at : at + rng.randrange(400)]))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_payloads_that_look_like_records(seed: int) -> None:
    """A capture of captures being copied: guesses go wrong and the result does not."""
    data = pcap_bytes(nested(random.Random(seed), 6000))
    assert walked(data, 24, CLASSIC, classic_guess(data)) == oracle.chain(data, 24, "<", 8, 16, 16, 16)


@examples(60)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 10**9), max_size=40))
def test_any_guess_is_harmless(seed: int, noise: list[int]) -> None:
    """Lanes that start anywhere at all, on records or not, change nothing."""
    rng = random.Random(seed)
    data = pcap_bytes(some_packets(rng, rng.randrange(3000), 60))
    expected = oracle.chain(data, 24, "<", 8, 16, 16, 16)

    def guess(known: int, begin: int, stop: int) -> int:
        if noise and rng.random() < 0.5:
            return begin + rng.choice(noise) % (stop - begin)
        later = [at for at in expected[np.searchsorted(expected, begin) :][:1] if at < stop]
        return later[0] if later else -1

    assert walked(data, 24, CLASSIC, guess) == expected


@given(st.integers(0, 2**32), st.sampled_from([CLASSIC, BLOCKS, CLASSIC._replace(order=">")]))
def test_damaged_chains(seed: int, chain: Chain) -> None:
    """Sizes that lie, by a little or by gigabytes: the walk ends, and agrees with the slow one."""
    rng = random.Random(seed)
    data = bytearray(pcap_bytes(some_packets(rng, rng.randrange(3000), 60)))
    heads = oracle.chain(bytes(data), 24, *CLASSIC)
    for _ in range(rng.randrange(5)):
        at = rng.choice([head + 8 for head in heads] or [24])
        data[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 100, 2**31, 2**32 - 1)))
    damaged = bytes(data)
    expected = oracle.chain(damaged, 24, *chain)
    assert walked(damaged, 24, chain, classic_guess(damaged)) == expected


@given(st.integers(0, 2**32), st.integers(0, 3), st.sampled_from([CLASSIC, BLOCKS]))
def test_noise(seed: int, shift: int, chain: Chain) -> None:
    """Numbers that mean nothing, from lanes that start anywhere."""
    rng = random.Random(seed)
    words = rng.choices((0, 1, 4, 16, 37, 1000, 2**32 - 1), (40, 9, 9, 9, 9, 1, 0.02), k=rng.randrange(20_000))
    data = bytes(shift) + struct.pack(f"<{len(words)}I", *words)
    assert walked(data, 0, chain, lambda known, begin, stop: begin) == oracle.chain(data, 0, *chain)


def test_long_serial_stretches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no guess holds, pieces stay within the serial limit, which bounds memory."""
    monkeypatch.setattr(walk_module, "SERIAL_RECORDS", 100)
    data = pcap_bytes(some_packets(random.Random(3), 3000))
    for guess in (lambda known, begin, stop: -1, lambda known, begin, stop: begin):
        pieces = list(walk(data, 24, CLASSIC, guess, lanes=24, lane_records=8, first=8))
        assert np.concatenate(pieces).tolist() == oracle.chain(data, 24, "<", 8, 16, 16, 16)
        assert max(map(len, pieces)) <= 400


@given(st.integers(0, 2**32), st.sampled_from([CLASSIC, CLASSIC._replace(order=">")]))
def test_an_end_before_the_buffer_s(seed: int, chain: Chain) -> None:
    """``data[:end]`` is all there is: what lies behind it changes nothing."""
    rng = random.Random(seed)
    data = pcap_bytes(some_packets(rng, rng.randrange(2000), 60))
    end = rng.randrange(24, len(data) + 1)
    guess = RecordGuess(data, end, Layout(chain.order, 1000, 16, 262144, 1))
    pieces = list(walk(data, 24, chain, guess, end=end, lanes=24, lane_records=8, first=8))
    assert [int(place) for piece in pieces for place in piece] == oracle.chain(data[:end], 24, *chain)


@pytest.mark.parametrize("big_endian", [False, True])
def test_blocks(big_endian: bool) -> None:
    """pcapng blocks are walked in lanes too; other block types and payloads full of block heads between."""
    rng = random.Random(7)
    order = ">" if big_endian else "<"
    trap = enhanced(1, b"trap" * 3, big_endian=big_endian)
    parts = [section(big_endian=big_endian), interface(big_endian=big_endian)]
    for number in range(8000):
        if number % 50 == 0:
            parts.append(block(5, rng.randbytes(12), big_endian=big_endian))
        body = trap * rng.randrange(3) if number % 3 else rng.randbytes(rng.randrange(90))
        parts.append(enhanced(number, body, big_endian=big_endian))
    data = b"".join(parts)
    chain = BLOCKS._replace(order=order)
    expected = oracle.chain(data, 0, order, 4, 0, 12, 12)
    assert len(expected) == 8162
    assert walked(data, 0, chain, BlockGuess(data, len(data), order)) == expected
