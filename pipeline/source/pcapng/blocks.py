"""The blocks of a pcapng capture: which are sound, and where the next one is after damage.

Knows: the block structure of draft-ietf-opsawg-pcapng: a type, a length at both ends, 32-bit words.
Does not know: interfaces, packets' fields, windows as such.
Invariant: no read passes the window's end; each byte is looked at a bounded number of times.

A block is damaged when its length is below 12, no multiple of 4, above MOST_RECORD or differs from the one
that trails it. Longer ones of a type that holds no packets are passed over by their first length alone, unless
a sound packet is seen to begin inside, near its beginning.
"""

import struct
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.source.chain.resync import SEARCHED, proved_span
from pipeline.source.damage import CAREFUL, UNREADABLE, Found, Hit, unreadable
from pipeline.source.records import MOST_RECORD, Buffer, Window
from pipeline.source.walk import words_at
from workers.contract import I64, U32, Bools

SECTION: Final = 0x0A0D0D0A
INTERFACE: Final = 1
OBSOLETE: Final = 2
SIMPLE: Final = 3
ENHANCED: Final = 6

SECTION_SIZE: Final = 28
HEAD: Final = 12
"""Bytes of the shortest block."""

LEAST_SIZE: Final = {SECTION: SECTION_SIZE, INTERFACE: 20, OBSOLETE: 32, SIMPLE: 16, ENHANCED: 32}

LOOK: Final = CAREFUL + SEARCHED
"""Bytes of a window in which blocks can be seen that begin in its first CAREFUL bytes."""

MAGIC: Final = 0x1A2B3C4D

_PACKETLESS: Final = (4, 5, 7, 8, 9, 10, 0x0BAD, 0x4000_0BAD)
"""Names, statistics, two for special hardware, journal entries, secrets, custom blocks."""

_KNOWN: Final = np.array([*LEAST_SIZE, *_PACKETLESS], np.uint32)

_MAGIC_SWAPPED: Final = 0x4D3C2B1A
_GUESS_TRIES: Final = 16
_FIRST_CHUNK, _CHUNK = 1 << 12, 1 << 18


class Blocks(NamedTuple):
    """A stretch of blocks of one byte order. Columns of equal length n."""

    at: I64
    kind: U32
    total: U32
    trailer: U32
    body: U32  # (n, 5) words behind the total; beyond the end of a shorter block they mean nothing

    def first(self, count: int) -> "Blocks":
        """The first so many."""
        return Blocks._make(column[:count] for column in self) if count < len(self.at) else self


class Broken(NamedTuple):
    """The first block of a stretch behind which the next one cannot simply be taken."""

    row: int
    problem: str  # "": the window ends inside it, or it is longer than MOST_RECORD


def blocks_at(data: Buffer, end: int, found: I64, order: str) -> Blocks:
    """The blocks that a walk found, each with 12 bytes at least; nothing is judged.

    One gather for all: every further visit to so many places costs as much as the first. The word
    before a block is the trailing length of the one before it.
    """
    inside = (found >= 4) & (found <= end - 28)
    words = np.empty((len(found), 8), np.uint32)
    words[inside] = words_at(data, found[inside] - 4, 8, order)
    for index in np.flatnonzero(~inside).tolist():  # the first block and the last two, at most
        at = int(found[index])
        text = data[max(at - 4, 0) : at].rjust(4, b"\0") + data[at : min(at + 28, end)].ljust(28, b"\0")
        words[index] = struct.unpack(order + "8I", text)
    total = words[:, 2]
    trailer = np.empty(len(found), np.uint32)
    trailer[:-1] = words[1:, 0]
    stop = int(found[-1]) + int(total[-1])
    trailer[-1] = int.from_bytes(data[stop - 4 : stop], "little" if order == "<" else "big") if stop <= end else 0
    return Blocks(found, words[:, 1], total, trailer, words[:, 3:])


def same_order(blocks: Blocks) -> int:
    """How many of the blocks come before a section of the other byte order."""
    other = (blocks.kind == SECTION) & (blocks.body[:, 0] == _MAGIC_SWAPPED)
    return int(other.argmax()) if other.any() else len(other)


def broken(blocks: Blocks, window: Window) -> Broken | None:
    """The first block that is damaged or passes the window's end. What they hold is not judged here."""
    crooked = (blocks.total < HEAD) | (blocks.total & 3 != 0)
    past_end = blocks.at + blocks.total > window.end
    torn = blocks.trailer != blocks.total
    huge = blocks.total > MOST_RECORD
    if huge.any():
        crooked |= huge & ~np.isin(blocks.kind, _PACKETLESS)
        torn &= ~huge
        past_end |= huge
    dark = np.zeros(0, np.bool_)
    if window.unreadable:
        dark = unreadable(window, blocks.at, blocks.at + 8)
        torn &= ~unreadable(window, blocks.at, blocks.at + blocks.total)
    met = [
        Broken(int(mask.argmax()), problem)
        for mask, problem in (
            (dark, UNREADABLE),
            (crooked, "a block has an impossible length"),
            (past_end, ""),
            (torn, "the lengths at both ends of a block differ"),
        )
        if mask.any()
    ]
    return min(met, key=lambda one: one.row) if met else None


def is_known(kind: int) -> bool:
    """Whether a block of this type is nothing unheard of."""
    return kind in LEAST_SIZE or kind in _PACKETLESS


class Candidates(NamedTuple):
    """Places where a block may stand. Columns of equal length."""

    at: I64
    after: I64
    sound: Bools  # the length stands at its other end too
    turned: Bools  # a section of the other byte order


def find_block(data: Buffer, end: int, begin: int, order: str, *, careful: bool, final: bool) -> Hit:
    """The first block at any offset in [begin, end): of a known type, its length at both ends. ``careful``
    asks for blocks that lead through CAREFUL bytes, or for a new section."""
    stop = end - HEAD + 1
    chunk = CAREFUL if careful else _FIRST_CHUNK
    while begin < stop:
        upto = min(begin + chunk, stop)
        if careful and not final and end < begin + LOOK:
            return Hit(Found.MORE, begin, begin + LOOK)
        found = _candidates(data, end, begin, upto, order)
        asks = ~found.sound & (found.after > end) & (not final)
        good = found.sound | asks
        if careful:
            good = found.turned & found.sound
            at = proved_span(found.at, found.after, found.sound & (found.after >= min(upto, end))).first
            good |= found.at == at
        if good.any():
            index = int(good.argmax())
            kind = Found.MORE if asks[index] else Found.RECORD
            return Hit(kind, int(found.at[index]), int(found.after[index]))
        begin = upto
        chunk = chunk if careful else min(4 * chunk, _CHUNK)
    return Hit(Found.NOTHING, begin, begin + HEAD)


def swallows_packets(data: Buffer, end: int, begin: int, order: str, *, final: bool) -> bool | None:
    """Whether a sound enhanced packet block begins in the CAREFUL bytes from ``begin`` on.

    For a block that is too long to be looked at, if its length is false. None: a larger window is needed, one
    of ``begin + LOOK``.
    """
    if not final and end < begin + LOOK:
        return None
    stop = min(begin + CAREFUL, end - HEAD + 1)
    if stop <= begin:
        return False
    found = _candidates(data, end, begin, stop, order)
    return bool((words_at(data, found.at[found.sound], 1, order) == ENHANCED).any())


def last_to_the_end(data: Buffer, end: int, begin: int, order: str) -> int:
    """The last block in [begin, end) from which sound blocks lead to the end exactly; -1 without one."""
    parts = []
    for chunk in range(begin, end - HEAD + 1, _CHUNK):
        found = _candidates(data, end, chunk, min(chunk + _CHUNK, end - HEAD + 1), order)
        parts.append(np.stack([found.at[found.sound], found.after[found.sound]]))
    if not parts:
        return -1
    places, ends = np.concatenate(parts, axis=1)
    return proved_span(places, ends, ends == end).last


def _candidates(data: Buffer, end: int, begin: int, stop: int, order: str) -> Candidates:
    """Blocks of known types in [begin, stop), which has HEAD - 1 bytes behind it."""
    size = stop - begin
    text = np.frombuffer(data, np.uint8, size + HEAD - 1, begin)
    total = [text[4 + place :][:size] for place in ((0, 1, 2, 3) if order == "<" else (3, 2, 1, 0))]
    mask = total[3] == 0
    mask &= total[2] <= SEARCHED >> 16
    mask &= total[0] & 3 == 0
    mask &= (total[0] | total[1] | total[2]) != 0
    at = np.flatnonzero(mask) + begin
    words = words_at(data, at, 2, order)
    known = np.isin(words[:, 0], _KNOWN)
    at, words = at[known], words[known]
    right = np.ones(len(at), np.bool_)
    for kind in LEAST_SIZE:
        rows = np.flatnonzero(words[:, 0] == kind)
        right[rows] = _fits(data, end, at[rows], words[rows, 1], kind, order)
    at, length = at[right], words[right, 1].astype(np.int64)
    turned = _sections(data, begin, text, size, ">" if order == "<" else "<", end)
    both = np.concatenate([at, turned.at])
    after = np.concatenate([at + length, turned.after])
    sound = np.concatenate([(length >= HEAD) & _closed(data, end, at, length, order), turned.sound])
    kinds = np.concatenate([np.zeros(len(at), np.bool_), turned.turned])
    by_place = np.argsort(both, kind="stable")
    return Candidates(both[by_place], after[by_place], sound[by_place], kinds[by_place])


def _fits(data: Buffer, end: int, at: I64, total: U32, kind: int, order: str) -> Bools:
    """Whether blocks of one type hold what they must, as far as the window shows it."""
    right: Bools = total >= LEAST_SIZE[kind]
    seen = right & (at + LEAST_SIZE[kind] <= end)
    body = words_at(data, at[seen], LEAST_SIZE[kind] // 4, order)
    if kind == SECTION:
        right[seen] = body[:, 2] == MAGIC
    elif kind == INTERFACE:  # 16 bits of zeros stand beside the link type
        right[seen] = (body[:, 2] & 0xFFFF0000 if order == "<" else body[:, 2] & 0xFFFF) == 0
    elif kind != SIMPLE:
        right[seen] = body[:, 5] <= body[:, 1] - 32
    return right


def _sections(data: Buffer, begin: int, text: "NDArray[np.uint8]", size: int, order: str, end: int) -> Candidates:
    """Section headers of byte order ``order`` at the first ``size`` places of ``text``."""
    mask = text[:size] == 0x0A
    for place, value in ((1, 0x0D), (2, 0x0D), (3, 0x0A)):
        mask &= text[place:][:size] == value
    at = np.flatnonzero(mask) + begin
    words = words_at(data, at, 3, order)
    right = (words[:, 2] == MAGIC) & (words[:, 1] >= SECTION_SIZE) & (words[:, 1] <= SEARCHED)
    at, length = at[right], words[right, 1].astype(np.int64)
    return Candidates(at, at + length, _closed(data, end, at, length, order), np.ones(len(at), np.bool_))


def _closed(data: Buffer, end: int, at: I64, length: I64, order: str) -> Bools:
    """Whether the length stands at the end of the block too, as far as the window shows it."""
    closed = at + length <= end
    closed[closed] = words_at(data, (at + length)[closed] - 4, 1, order)[:, 0] == length[closed]
    return closed


class BlockGuess:
    """Finds enhanced packet blocks by their type and the length at both ends."""

    def __init__(self, data: Buffer, end: int, order: str) -> None:
        self.data = data
        self.end = end
        self.kind = struct.pack(order + "I", ENHANCED)
        self.word = struct.Struct(order + "I").unpack_from

    def __call__(self, known: int, begin: int, stop: int) -> int:
        """See walk.Guess."""
        begin += (known - begin) % 4  # lengths are multiples of 4
        for _ in range(_GUESS_TRIES):
            hit = self.data.find(self.kind, begin, stop + 3)
            if hit < 0:
                return -1
            if (hit - known) % 4 == 0 and self.plausible(hit):
                return hit
            begin = hit + 1
        return -1

    def plausible(self, at: int) -> bool:
        """Whether a whole enhanced packet block may stand here."""
        if at + 8 > self.end:
            return False
        (total,) = self.word(self.data, at + 4)
        if total < LEAST_SIZE[ENHANCED] or total & 3 or at + total > self.end:
            return False
        return bool(self.word(self.data, at + total - 4)[0] == total)
