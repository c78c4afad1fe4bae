"""Hostile frames on a link: bounded headers, messages and depth, one error, no time and no memory to be had.

The threat: a stage that a crafted packet took over writes what it likes to the next one.
"""

from __future__ import annotations

import random
import resource
import struct
import time
from collections.abc import Iterator

import msgpack
import pytest

from tests.effort import tries
from tests.workers.test_wire import messages
from workers import wire
from workers.wire import WireError

SIZES = (0, 1, 2, 7, 255, 65_535, 131_072, 131_073, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1)
MOST_SECONDS = 50e-6  # a frame, on average
MOST_GROWTH = 8 << 10  # KiB


def hostile(rng: random.Random) -> Iterator[list[bytes]]:
    """Messages that were ours, with some of their bytes, frames or numbers changed; noise; lies without end."""
    valid = messages()
    while True:
        frames = list(rng.choice(valid))
        for _ in range(rng.randint(1, 3)):
            _change(rng, frames)
        yield frames


def _change(rng: random.Random, frames: list[bytes]) -> None:
    at = rng.choice([0, 0, 0, rng.randrange(len(frames))]) if frames else 0
    frame = bytearray(frames[at] if frames else b"")
    place = rng.randrange(len(frame) + 1)
    match rng.randrange(7):
        case 0 if frame:
            frame[place - 1] ^= 1 << rng.randrange(8)
        case 1:
            del frame[place:]
        case 2:
            frames.insert(at, rng.randbytes(rng.randrange(40)))
            return
        case 3 if len(frames) > 1:
            del frames[at]
            return
        case 4:  # a length or a number of msgpack's
            code, form = rng.choice(
                [(0xC6, ">I"), (0xDB, ">I"), (0xDD, ">I"), (0xDF, ">I"), (0xCF, ">Q"), (0xDC, ">H")]
            )
            size = rng.choice(SIZES) % (1 << 8 * struct.calcsize(form))
            frame[place:place] = bytes([code]) + struct.pack(form, size)
        case 5:
            frame[place:place] = rng.choice([b"\x91", b"\x81\x00", b"\xc0", b"\xd4\xff"]) * rng.choice([1, 5, 600])
        case _:
            frame[place : place + 4] = rng.randbytes(4)
    frames[at : at + 1] = [bytes(frame)]


def assault(count: int, seed: int) -> tuple[int, float]:
    """How many of so many messages were refused, and the seconds of CPU that a message took. All others were ours."""
    rng = random.Random(seed)
    refused, taken = 0, 0.0
    made = hostile(rng)
    left = count
    while left:
        some = [next(made) for _ in range(min(1000, left))]
        left -= len(some)
        begun = time.process_time()
        for frames in some:
            try:
                wire.decode(frames)
            except WireError:
                refused += 1
        taken += time.process_time() - begun
    return refused, taken / count


def held_to(count: int, seed: int) -> None:
    """No exception but WireError, no growth, and no message that takes long."""
    assault(2_000, seed=0)  # what is loaded and remembered once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused, each = assault(count, seed)
    assert refused > count / 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before <= MOST_GROWTH
    assert each <= MOST_SECONDS


def test_hostile_frames_end_in_one_error() -> None:
    """Twenty thousand of them: WireError or a message, 50 µs each, 8 MiB at most."""
    held_to(20_000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", tries(10, 1))
def test_a_million_hostile_frames(seed: int) -> None:
    """The same of a million with the nightly profile, a tenth at a time; else of the first tenth."""
    held_to(100_000, 2 + seed)


def test_a_header_has_four_levels_at_most() -> None:
    """Where there is no use for it nothing is nested: header, list of columns, column, and one to spare."""
    deep: object = 1
    for level in range(1, 60):
        deep = [deep]
        header = msgpack.packb([wire.VERSION, "events", {"number": 1, "last": True, "x": deep}, []])
        if level <= wire.HEADER_DEPTH - 2:
            wire.decode([header])
            continue
        with pytest.raises(WireError, match="4 levels"):
            wire.decode([header])
    assert wire.HEADER_DEPTH == 4


def test_facts_have_eight_levels_at_most() -> None:
    """A note carries maps and lists, but no tower of them."""
    head = msgpack.packb([wire.VERSION, "done", {}, []])
    facts: object = 1
    for level in range(1, 60):
        facts = {"a": facts}
        if level <= wire.FACTS_DEPTH:
            wire.decode([head, msgpack.packb(facts)])
            continue
        with pytest.raises(WireError, match="8 deep"):
            wire.decode([head, msgpack.packb(facts)])


@pytest.mark.parametrize("spare", [0, 1])
def test_a_message_has_eight_mib_at_most(spare: int) -> None:
    """One byte more is refused before anything of it is looked at."""
    head = msgpack.packb([wire.VERSION, "done", {}, []])
    overhead = len(head) + len(msgpack.packb({"a": bytes(70_000)})) - 70_000
    facts = msgpack.packb({"a": bytes((8 << 20) - overhead + spare)})
    if not spare:
        assert len(head) + len(facts) == 8 << 20
        wire.decode([head, facts])
        return
    with pytest.raises(WireError, match="more than 8388608 bytes"):
        wire.decode([head, facts])


@pytest.mark.parametrize("version", [0, 2, 99, -1, "1", None, [1], 1 << 63, 1.5])
def test_another_version_is_refused_with_both_named(version: object) -> None:
    """A run of mixed installations says what is wrong."""
    with pytest.raises(WireError) as refused:
        wire.decode([msgpack.packb([version, "packets", {}, []])])
    assert str(refused.value) == f"message of version {version!r}, this is version {wire.VERSION}"
