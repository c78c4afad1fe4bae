"""Which bytes of a stream are missing, and why each of them is.

Knows: what a stream has, what was cut off, what was given up. Does not know: packets, words.
Invariant: the holes are sorted, disjoint, and together with the runs fill the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

Range: TypeAlias = tuple[int, int]
"""Offset of the first byte, offset behind the last one."""


class Hole(NamedTuple):
    """Bytes that a file lacks, for one cause."""

    offset: int
    size: int
    cause: str


def holes(
    runs: Iterable[Range], start: int, end: int, causes: Mapping[str, Sequence[Range]], otherwise: str
) -> list[Hole]:
    """What ``runs`` leave of [start, end), by the first of the ``causes`` that covers it."""
    _, left = split([(start, end)] if start < end else [], runs)
    found: list[Hole] = []
    for cause, ranges in causes.items():
        inside, left = split(left, ranges)
        found += [Hole(low, high - low, cause) for low, high in inside]
    found += [Hole(low, high - low, otherwise) for low, high in left]
    return sorted(found)


def split(ranges: Sequence[Range], by: Iterable[Range]) -> tuple[list[Range], list[Range]]:
    """What of ``ranges`` (sorted, disjoint) lies in any of ``by``, and what in none; both sorted."""
    inside: list[Range] = []
    outside: list[Range] = []
    covers = _merged(by)
    at = 0
    for low, high in ranges:
        while at < len(covers) and covers[at][1] <= low:
            at += 1
        i, place = at, low
        while i < len(covers) and covers[i][0] < high:
            begin, stop = max(covers[i][0], place), min(covers[i][1], high)
            if place < begin:
                outside.append((place, begin))
            inside.append((begin, stop))
            place = stop
            i += 1
        if place < high:
            outside.append((place, high))
        at = max(at, i - 1)
    return inside, outside


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """Sorted, disjoint, none empty."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if low >= high:
            continue
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged
