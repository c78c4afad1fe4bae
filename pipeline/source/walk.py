"""Finding the records of a file in which each record says where the next one begins.

Knows: such chains, and how to follow one fast. Does not know: what the records mean.
Invariant: a position is yielded only if the chain from the first record leads to it, whatever the
bytes say: guesses only choose where to start looking, and a guess that the chain does not reach is
dropped.

The chain is serial by nature: one Python step a record. But many stretches of it can be followed in
lock-step with numpy, if one knows where each begins. So a window is cut into lanes; near the start
of each a record is *guessed*; all lanes step together; and where every lane ends exactly on the guess
that the next began with, all of them were right. A lane whose predecessor misses it is walked over
serially until the chain meets a later lane's start.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.source.records import Buffer
from workers.contract import I64

Voids: TypeAlias = NDArray[np.void]

LANES: Final = 512
LANE_RECORDS: Final = 192
"""Records that a lane is meant to have; window and row count follow from it."""

SERIAL_RECORDS: Final = 1 << 16
"""Longest serial stretch, which bounds the memory that a list of Python integers takes."""

PIECE: Final = 1 << 14
"""Records in one piece at most: what is done with them then stays in the cache."""

_FIRST_RECORDS: Final = 256
_GROWTH: Final = 8
_FEW_LANES: Final = 8
_CHECK_EVERY: Final = 16
_GUESS_RECORDS: Final = 16


class Chain(NamedTuple):
    """Record at p: the 32-bit number at ``p + size_at`` says where the next one is, namely at
    ``p + max(number + extra, least)``."""

    order: str  # "<" or ">"
    size_at: int
    extra: int
    least: int  # > 0, so that a lying number still moves on
    head: int  # bytes of a record that must be in the window for it to count


class Guess(Protocol):
    """A place in [begin, stop) that looks like a record of the chain that ``known`` is on; -1: none."""

    def __call__(self, known: int, begin: int, stop: int, /) -> int: ...


def at_any_offset(data: Buffer, width: int) -> Voids:
    """All ``width``-byte items of ``data``, one at each byte offset, without a copy.

    Fancy indexing of this is the fast unaligned gather; needs ``len(data) >= width``.
    """
    return np.ndarray((len(data) - width + 1,), dtype=f"V{width}", buffer=data, strides=(1,))


def words_at(data: Buffer, positions: I64, count: int, order: str) -> NDArray[np.uint32]:
    """(n, count): 32-bit words that stand at the positions, which must have ``4 * count`` bytes each."""
    if not len(positions):
        return np.empty((0, count), np.uint32)
    return at_any_offset(data, 4 * count)[positions].view(order + "u4").reshape(-1, count)


def walk(
    data: Buffer,
    at: int,
    chain: Chain,
    guess: Guess,
    *,
    end: int | None = None,
    lanes: int = LANES,
    lane_records: int = LANE_RECORDS,
    first: int = _FIRST_RECORDS,
) -> Iterator[I64]:
    """Positions of the records in ``data[at:end]``, in pieces; ends where ``chain.head`` bytes are not left.

    Positions behind a damaged record are arbitrary: whoever judges records stops there. So that little is
    then wasted, the stretch that is walked at once grows with what was walked before.
    """
    end = len(data) if end is None else end
    stop = end - chain.head + 1
    rows: I64 | None = None
    worth = lane_records // 3  # a lane of fewer records does not pay for its guess
    found, after = serial(data, at, stop, chain, first)
    walked = 0
    while len(found):
        walked += len(found)
        mean = max((after - at) // len(found), 1)
        for begin in range(0, len(found), PIECE):
            yield found[begin : begin + PIECE]
        at = after
        expected = min((stop - at) // mean, lanes * lane_records, _GROWTH * walked)
        starts = _starts(at, expected * mean, min(lanes, expected // worth), mean, guess)
        if len(starts) < _FEW_LANES:
            found, after = serial(data, at, stop, chain, min(SERIAL_RECORDS, _GROWTH * walked))
        else:
            if rows is None:
                rows = np.empty((2 * lane_records + 1, lanes), np.int64)
            found, after = _lock_step(data, end, starts, min(at + expected * mean, stop), chain, rows)


def serial(data: Buffer, at: int, stop: int, chain: Chain, limit: int) -> tuple[I64, int]:
    """At most ``limit`` positions below ``stop``, and the next one."""
    read = struct.Struct(chain.order + "I").unpack_from
    shift, extra, short = chain.size_at, chain.extra, chain.least - chain.extra
    found: list[int] = []
    keep = found.append
    at += shift
    stop += shift
    for _ in range(limit):
        if at >= stop:
            break
        keep(at)
        (size,) = read(data, at)
        at += (size if size > short else short) + extra  # noqa: FURB136 - max() takes twice as long
    return np.array(found, np.int64) - shift, at - shift


def _starts(at: int, span: int, lanes: int, mean: int, guess: Guess) -> list[int]:
    """Guessed record starts, one a lane at most, rising; the first is ``at`` itself."""
    starts = [at]
    if lanes < _FEW_LANES:
        return starts
    width = span // lanes
    reach = min(_GUESS_RECORDS * mean, width)
    for begin in range(at + width, at + span - width + 1, width):
        hit = guess(at, begin, begin + reach)
        if hit >= 0:
            starts.append(hit)
    return starts


def _lock_step(data: Buffer, end: int, starts: list[int], stop: int, chain: Chain, rows: I64) -> tuple[I64, int]:
    """Positions from ``starts[0]`` to ``stop``, and the next one; fewer after a long serial stretch."""
    begins = np.array([start for start in starts if start < stop], np.int64)
    ends = np.append(begins[1:], stop)
    lanes = len(begins)
    sizes = at_any_offset(data, 4)
    last = np.int64(end - 4 - chain.size_at)
    shift = np.int64(chain.size_at)
    extra = np.int64(chain.extra)
    short = np.uint32(chain.least - chain.extra)
    position = begins.copy()
    place = np.empty_like(position)
    for row in range(len(rows) - 1):
        rows[row, :lanes] = position
        if row % _CHECK_EVERY == 0 and np.count_nonzero(position < ends) <= lanes // 16:
            break
        np.minimum(position, last, out=place)  # lanes run on past their end, perhaps out of the window
        place += shift
        size = sizes[place].view(chain.order + "u4")
        if short:
            size = np.maximum(size, short)
        position += size
        position += extra
    else:
        row += 1
        rows[row, :lanes] = position
    return _join(data, begins, stop, chain, rows[: row + 1, :lanes])


def _join(data: Buffer, begins: I64, stop: int, chain: Chain, rows: I64) -> tuple[I64, int]:
    """What of the lanes the chain from the first one reaches. The last row is where each one stands."""
    ends = np.append(begins[1:], stop)
    inside = ends[:, None] > rows[:-1].T
    counts = np.count_nonzero(inside, axis=1)
    landed = rows[counts, np.arange(len(begins))]
    if landed[-1] >= stop and np.array_equal(landed[:-1], begins[1:]):
        return rows[:-1].T[inside], int(landed[-1])
    return _mend(data, begins.tolist(), stop, chain, rows, counts.tolist(), landed.tolist())


def _mend(
    data: Buffer,
    begins: list[int],
    stop: int,
    chain: Chain,
    rows: I64,
    counts: list[int],
    landed: list[int],
) -> tuple[I64, int]:
    """``_join`` where lanes were guessed wrong or did not get to their end."""
    pieces: list[I64] = []
    at, lane, lanes = begins[0], 0, len(begins)
    while True:
        while lane < lanes and begins[lane] < at:
            lane += 1
        if lane < lanes and begins[lane] == at:
            pieces.append(rows[: counts[lane], lane])
            at = landed[lane]
            lane += 1
            continue
        bound = begins[lane] if lane < lanes else stop
        if at >= bound:
            break
        found, at = serial(data, at, bound, chain, SERIAL_RECORDS)
        pieces.append(found)
        if len(found) == SERIAL_RECORDS:
            break
    return np.concatenate(pieces), at
