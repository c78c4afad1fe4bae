"""Bytes that arrive where a stream already has bytes: the same again, or a conflict.

Knows: what a conflict record says, how rows of Overlaps make one segment's overlap.
Does not know: which bytes overlap and which of them win (the worker said so), where files are.
Invariant: of each overlap, identical and differing bytes add up to its size.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from workers.contract import Overlaps

Verdicts: TypeAlias = Sequence[tuple[int, int]]
"""(size, wins) of stretches that follow one another: 1 where the later bytes win."""

Version: TypeAlias = bytes | memoryview


class Overlap(NamedTuple):
    """A maximal stretch of a segment where its stream has bytes."""

    stream: int
    offset: int
    packet: int
    new: memoryview
    verdicts: Verdicts


class Differing(NamedTuple):
    """A maximal run of differing bytes, relative to the overlap."""

    offset: int
    length: int


def differing(old: bytes, new: Version) -> list[Differing]:
    """The maximal runs in which two byte strings of one length differ, in order."""
    if old == new:
        return []
    unequal = np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8)
    edges = np.flatnonzero(np.diff(unequal, prepend=False, append=False))
    return [Differing(low, high - low) for low, high in edges.reshape(-1, 2).tolist()]


def overlaps_of(table: Overlaps, news: Sequence[memoryview]) -> Iterator[Overlap]:
    """The overlaps of a table; ``news`` are the bytes of its rows. Rows of one segment that touch are one overlap."""
    rows = zip(
        table.stream.tolist(), table.offset.tolist(), table.packet.tolist(), table.size.tolist(), table.wins.tolist(),
        news, strict=True,
    )  # fmt: skip
    touch = table.offset[1:] == table.offset[:-1] + table.size[:-1]
    touch &= (table.packet[1:] == table.packet[:-1]) & (table.stream[1:] == table.stream[:-1])
    if not touch.any():
        for stream, offset, packet, size, wins, new in rows:
            yield Overlap(stream, offset, packet, new, [(size, wins)])
        return
    held: list[tuple[int, int, int, int, int, memoryview]] = []
    for row, joins in zip(rows, [False, *touch.tolist()], strict=True):
        if held and not joins:
            yield _joined(held)
            held = []
        held.append(row)
    if held:
        yield _joined(held)


def _joined(rows: Sequence[tuple[int, int, int, int, int, memoryview]]) -> Overlap:
    stream, offset, packet, *_ = rows[0]
    new = rows[0][-1] if len(rows) == 1 else memoryview(b"".join(row[-1] for row in rows))
    return Overlap(stream, offset, packet, new, [(row[3], row[4]) for row in rows])


def cut(overlap: Overlap, low: int, high: int) -> Overlap:
    """Bytes [low, high) of it, both offsets in the stream."""
    at, verdicts = overlap.offset, []
    for size, wins in overlap.verdicts:
        begin, end = max(at, low), min(at + size, high)
        if begin < end:
            verdicts.append((end - begin, wins))
        at += size
    part = slice(low - overlap.offset, high - overlap.offset)
    return overlap._replace(offset=low, new=overlap.new[part], verdicts=verdicts)


def settle(old: bytes, new: Version, verdicts: Verdicts) -> tuple[Version, Version]:
    """The version that stays and the one that loses."""
    if all(wins for _, wins in verdicts):
        return new, old
    if not any(wins for _, wins in verdicts):
        return old, new
    stays, loses = bytearray(old.ljust(len(new), b"\0")), bytearray(new)
    at = 0
    for size, wins in verdicts:
        if wins:
            part = slice(at, at + size)
            stays[part], loses[part] = loses[part], stays[part]
        at += size
    return bytes(stays), bytes(loses)


def md5(piece: Version) -> str:
    """The MD5 that a conflict record names a version by."""
    return hashlib.md5(piece, usedforsecurity=False).hexdigest()
