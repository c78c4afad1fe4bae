"""The index of keys: the same as a dictionary of them, however their hashes meet."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from tests.workers.traffic import words
from workers import index
from workers.contract import KEY_WORDS, U8, U64
from workers.index import Index, key_bytes, keyed_hashes

HASHES: dict[str, Callable[[U64], U64]] = {
    "as ever": keyed_hashes,
    "few different": lambda keys: keyed_hashes(keys) & np.uint64(7 << 61 | 1),
    "all alike, at the last slot": lambda keys: np.full(len(keys), np.iinfo(np.uint64).max),
}


def shards(count: int) -> U8:
    """A shard for each of so many."""
    return np.arange(count).astype(np.uint8)


def find(found: Index, keys: U64) -> list[int]:
    """Rows of these keys."""
    return found.find(keys, index.keyed_hashes(keys)).tolist()


@pytest.mark.parametrize("kind", HASHES)
def test_as_a_dictionary(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys come and go: each that is there has one row, its own; shards are those it came with."""
    monkeypatch.setattr(index, "keyed_hashes", HASHES[kind])
    monkeypatch.setattr(index, "_LEAST", 4)
    rng = random.Random(1)
    found, expected = Index(2), dict[int, int]()
    for turn in range(60):
        new = [flow for flow in rng.sample(range(300), 20) if flow not in expected]
        rows = found.add(words(new), np.array(new, np.uint64).astype(np.uint8)).tolist()
        assert not {*rows} & {*expected.values()}
        expected |= zip(new, rows, strict=True)
        assert find(found, words(list(range(300)))) == [expected.get(flow, -1) for flow in range(300)]
        assert found.of_shards(np.array([7, 9])).tolist() == sorted(
            row for flow, row in expected.items() if flow % 256 in (7, 9)
        )
        gone = rng.sample(sorted(expected), len(expected) // (1 + turn % 3))
        found.drop(np.array([expected.pop(flow) for flow in gone], np.int64))
        assert found.live().tolist() == sorted(expected.values())
        assert len(found) == len(expected)
    assert found.size <= 512


def test_keys_are_compared_whole() -> None:
    """Keys that differ in any bit of any word are different flows."""
    keys = np.zeros((1 + KEY_WORDS * 64, KEY_WORDS), np.uint64)
    for bit in range(KEY_WORDS * 64):
        keys[1 + bit, bit // 64] = np.uint64(1) << np.uint64(bit % 64)
    found = Index(16)
    assert find(found, keys) == [-1] * len(keys)
    rows = found.add(keys, shards(len(keys))).tolist()
    assert find(found, keys) == rows
    assert len(set(rows)) == len(rows)
    packed = key_bytes(keys)
    assert len(set(packed)) == len(packed)
    assert packed == [key.tobytes() for key in keys]


@pytest.mark.parametrize("step", [0, 1000])
def test_what_went_takes_no_room(step: int) -> None:
    """Keys that come and go, ever new ones or the same: neither rows nor slots grow with them, nor the way to a key."""
    found = Index(1024)
    for at in range(200):
        keys = words(list(range(at * step, at * step + 1000)))
        found.drop(found.add(keys, shards(1000)))
    assert (found.size, len(found)) == (1024, 0)
    assert len(found._slots) <= 1 << 16
    assert np.count_nonzero(found._slots) < 1 << 13
