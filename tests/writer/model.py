"""The slow twin of a writer: streams as maps of bytes, and of the worker that tells the writer about them."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from tests.writer.feed import Closing, Piece


class Segment(NamedTuple):
    """A segment as it was captured."""

    stream: int
    offset: int
    payload: bytes


class Lost(NamedTuple):
    """A conflict: offset in the stream, the later packet, both versions, and which of them won."""

    offset: int
    packet: int
    winner: bytes
    loser: bytes


class Twin:
    """One stream, byte by byte. ``take`` says what a worker would say of a segment."""

    def __init__(self, number: int, *, last: bool, hole: int) -> None:
        self.number = number
        self.hole = hole  # the largest that is laid out in front of new bytes
        self.last = last  # the later bytes win
        self.held: dict[int, int] = {}
        self.origin = 0
        self.end = 0  # behind the highest byte
        self.parts: list[int] = []  # where parts begin, rising
        self.lost: list[Lost] = []

    def take(self, offset: int, payload: bytes, packet: int) -> tuple[list[str], list[Piece], list[Piece]]:
        """(events out of line, Data, Overlaps)."""
        said = []
        if offset < self.origin:
            self.origin = offset
            said.append("rebase")
        new, old = [], []
        for low, high, is_new in self._ranges(offset, len(payload)):
            piece = Piece(self.number, low, payload[low - offset : high - offset], packet)
            if is_new:
                new.append(piece)
            else:
                old.append(piece)
                self._conflict(piece)
        for piece in new:
            if self._starts_part(piece.offset):
                said.append("part")
                self.parts = sorted([*self.parts, piece.offset])
            self.held.update(enumerate(piece.payload, piece.offset))
        for piece in old if self.last else ():
            self.held.update(enumerate(piece.payload, piece.offset))
        self.end = max(self.end, offset + len(payload))
        return said, new, old

    def _ranges(self, offset: int, size: int) -> list[tuple[int, int, bool]]:
        """Maximal ranges of a segment that are all new, or all there."""
        ranges: list[tuple[int, int, bool]] = []
        for at in range(offset, offset + size):
            is_new = at not in self.held
            if ranges and ranges[-1][2] == is_new:
                ranges[-1] = (ranges[-1][0], at + 1, is_new)
            else:
                ranges.append((at, at + 1, is_new))
        return ranges

    def _starts_part(self, offset: int) -> bool:
        """Whether the file that would hold ``offset`` ends more than ``hole`` bytes in front of it."""
        start = max((part for part in self.parts if part <= offset), default=self.origin)
        below = [at for at in self.held if start <= at < offset]
        return offset not in self.parts and offset - max(below, default=start - 1) - 1 > self.hole

    def _conflict(self, piece: Piece) -> None:
        """Each maximal run of differing bytes; it ends where a part does."""
        run: list[int] = []
        for at, byte in enumerate(piece.payload, piece.offset):
            if run and (byte == self.held[at] or at in self.parts):
                self._lose(run, piece)
                run = []
            if byte != self.held[at]:
                run.append(at)
        if run:
            self._lose(run, piece)

    def _lose(self, run: list[int], piece: Piece) -> None:
        old = bytes(self.held[at] for at in run)
        new = piece.payload[run[0] - piece.offset : run[-1] + 1 - piece.offset]
        winner, loser = (new, old) if self.last else (old, new)
        self.lost.append(Lost(run[0], piece.packet, winner, loser))

    def frontier(self) -> int:
        """The end of what is there without a hole."""
        at = self.origin
        while at in self.held:
            at += 1
        return at

    def runs(self) -> list[tuple[int, int]]:
        """What is there, as (offset, size)."""
        runs: list[tuple[int, int]] = []
        for at in sorted(self.held):
            if runs and sum(runs[-1]) == at:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((at, 1))
        return runs

    def closing(self, beyond: int) -> Closing:
        """The stream's end; its last segment had ``beyond`` bytes more, which the capture cut off."""
        return Closing(self.number, self.end + beyond, self.runs(), self.origin)

    def files(self, beyond: int) -> dict[int, bytes]:
        """What each file holds, by its place in the stream."""
        starts = [self.origin, *self.parts]
        found = {}
        for start, stop in zip(starts, [*self.parts, None], strict=True):
            mine = [at for at in self.held if at >= start and (stop is None or at < stop)]
            end = self.end + beyond if stop is None else max(mine, default=start - 1) + 1
            found[start - self.origin] = bytes(self.held.get(at, 0) for at in range(start, end))
        return found

    def side_file(self, most: int) -> tuple[bytes, list[int | None]]:
        """The losing bytes that are kept, and where each conflict's are."""
        kept = b""
        places: list[int | None] = []
        for _, _, _, loser in self.lost:
            fits = len(kept) + len(loser) <= most
            places.append(len(kept) if fits else None)
            kept += loser if fits else b""
        return kept, places


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
