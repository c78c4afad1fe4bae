"""The slow twin of the overlap policies: one stream as a map of bytes, with every segment that ever came.

Written straight from the published table: for each case, which data each policy prefers. Where a byte lies in
several earlier segments, a later one has to win against each of them.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from workers.overlap import PolicyName

TABLE = """
starts after, ends within or with it | first old | last new | bsd old | linux old | solaris old
starts after, ends beyond            | first old | last new | bsd old | linux old | solaris new
same start, shorter                  | first old | last new | bsd old | linux old | solaris old
same start, same end                 | first old | last new | bsd old | linux old | solaris new
same start, longer                   | first old | last new | bsd old | linux new | solaris new
starts before, ends inside           | first old | last new | bsd new | linux new | solaris old
starts before and covers it          | first old | last new | bsd new | linux new | solaris new
"""

_ROWS = [line.split("|") for line in TABLE.strip().splitlines()]
PREFERS = {(row[0].strip(), *cell.split()) for row in _ROWS for cell in row[1:]}
POLICY_NAMES: tuple[PolicyName, ...] = ("first", "last", "bsd", "linux", "solaris")


def case(new: range, old: range) -> str:
    """The row of the table for two segments that overlap."""
    if new[0] == old[0]:
        longer = {0: "same end", 1: "longer", -1: "shorter"}
        return f"same start, {longer[(len(new) > len(old)) - (len(new) < len(old))]}"
    if new[0] > old[0]:
        return "starts after, ends beyond" if new[-1] > old[-1] else "starts after, ends within or with it"
    return "starts before, ends inside" if new[-1] < old[-1] else "starts before and covers it"


class Lost(NamedTuple):
    """A conflict: one later segment, one maximal run of differing bytes; what stays and what is lost."""

    packet: int
    offset: int
    stays: bytes
    loses: bytes


class Oracle:
    """One stream from its SYN on. ``take`` its segments as they come."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.held: dict[int, int] = {}
        self.segments: list[range] = []
        self.lost: list[Lost] = []

    def frontier(self) -> int:
        """The first byte that is missing."""
        at = 0
        while at in self.held:
            at += 1
        return at

    def wins(self, at: int, segment: range, frontier: int) -> bool:
        """Whether a byte of a later segment replaces the one that is there."""
        if at < frontier:
            return self.policy == "last"
        return all((case(segment, old), self.policy, "new") in PREFERS for old in self.segments if at in old)

    def take(self, offset: int, payload: bytes, packet: int) -> None:
        segment, frontier = range(offset, offset + len(payload)), self.frontier()
        run: list[tuple[int, int, int]] = []
        for at, byte in zip(segment, payload, strict=True):
            there = self.held.get(at)
            if there is None or there == byte:
                self._end(run, packet)
                self.held[at] = byte
                continue
            stays, loses = (byte, there) if self.wins(at, segment, frontier) else (there, byte)
            self.held[at] = stays
            run.append((at, stays, loses))
        self._end(run, packet)
        self.segments.append(segment)

    def _end(self, run: list[tuple[int, int, int]], packet: int) -> None:
        if run:
            self.lost.append(Lost(packet, run[0][0], bytes(r[1] for r in run), bytes(r[2] for r in run)))
            run.clear()

    def content(self) -> bytes:
        """The file: zeros where nothing came."""
        return bytes(self.held.get(at, 0) for at in range(max(self.held, default=-1) + 1))


def arrangements(count: int) -> list[tuple[tuple[int, int], ...]]:
    """Every way in which ``count`` intervals can lie to one another, once: ends as small numbers, in order of
    arrival."""
    ends = range(2 * count)
    intervals = [(a, b) for a in ends for b in ends if a < b]
    found = {}
    for several in product(intervals, repeat=count):
        numbers = sorted({end for interval in several for end in interval})
        if numbers == list(range(len(numbers))):
            found[several] = None
    return list(found)
