"""One direction of a connection: what of it can be fed, and the bytes, from the batch or from the stream's files.

Knows: what arrived, how far an analyzer was fed. Does not know: analyzers, the other direction.
Invariant: bytes and holes are given in order, each once between two rewinds; offsets are the contract's.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, TypeAlias

from pipeline.report.rows import Run
from pipeline.writer.analysis.coverage import Coverage
from pipeline.writer.analysis.moments import Moments
from pipeline.writer.folder import Folder
from pipeline.writer.reading import read_back
from pipeline.writer.stream import Stream
from workers.analyzers.seam import Piece, Protocol
from workers.contract import Completeness

MOST_FED: Final = 1 << 20
"""Bytes of a piece (seam.Analyzer.feed)."""

HEAD: Final = 8 << 10
"""Bytes by which a protocol recognizes its stream, or does not (seam.Protocol.recognize)."""

_BLOCK: Final = 256 << 10  # bytes read back at once; of a small body that waited the rest may be read again
_MANY: Final = 64  # holes that are worth being forgotten
_CUT: Final = int(Completeness.OPEN | Completeness.LIMITED | Completeness.GAPS)


class Start(Enum):
    """What the first bytes of a direction say, if no protocol recognizes them."""

    FOREIGN = auto()  # nobody's
    OPEN = auto()  # they are missing, or too few: an analyzer that sees more may claim it


Verdict: TypeAlias = Protocol | Start


_Ready: TypeAlias = tuple[int, int, Sequence[memoryview]]
"""Bytes of the batch that is under way, which were next when they came: offset, size, buffers."""

_NOTHING_READY: Final[list[_Ready]] = []
"""Between batches there is nothing: nobody adds to this one."""


Rows: TypeAlias = tuple[list[int], list[int], list[int], list[int]]
"""Rows of Data that continue one another: offsets, sizes, packets, times."""


class Side:
    """Told by ``take`` and ``give_up`` of what arrives; asked for ``hole`` and ``piece`` by whoever feeds it."""

    __slots__ = (
        "_cap", "_flags", "_hole", "_last", "_ready", "_rest", "_window", "begun", "bytes", "coverage", "fed",
        "foreign", "midstream", "missing", "moments", "reopened", "runs", "stream", "verdict",
    )  # fmt: skip

    def __init__(self, stream: Stream, *, midstream: bool, window: int, cap: int | None) -> None:
        """``window``: packets after which a midstream start does not move any more; ``cap``: bytes that -C keeps."""
        self.stream = stream
        self.midstream = midstream
        self.coverage = Coverage(held=midstream)
        self.moments = Moments()
        self.verdict: Verdict | None = None  # None: too early to say
        self.foreign = False
        self.fed = 0  # all below is fed
        self.begun = False  # the analyzer was told that there is something
        self.bytes = 0  # fed since the last rewind
        self.missing = 0  # ... as gaps
        self.runs: Sequence[Run] | None = None  # what the finished stream has; None: it is not finished
        self.reopened = False  # the stream's files were read
        self._cap = cap
        self._flags = 0  # Completeness, when it is finished
        self._window = window if midstream else 0  # packets after which it is released
        self._last = -1  # number of the latest packet
        self._hole = 0  # the next of the holes
        self._ready: list[_Ready] = _NOTHING_READY
        self._rest: Piece | None = None  # of the piece that was fed last

    # What arrives

    def take(self, offset: int, size: int, rows: Rows, buffers: Sequence[memoryview]) -> bool:
        """``size`` bytes from ``offset`` on, in rows of Data. False: some of them come too late."""
        coverage = self.coverage
        if offset != coverage.reach or coverage.gaps:
            return self._take_rows(*rows)
        coverage.reach = offset + size
        offsets, _, packets, times = rows
        if self.foreign:
            self.moments.note(offsets, packets, times)
        else:
            self.moments.append(offsets, packets, times)
        if self._ready:
            self._ready.append((offset, size, buffers))
        else:
            self._ready = [(offset, size, buffers)]
        if coverage.ranges:
            self._settle()
        return True

    def _take_rows(
        self, offsets: Sequence[int], sizes: Sequence[int], packets: Sequence[int], times: Sequence[int]
    ) -> bool:
        """One by one: not next, or a gap is in sight, or the start may move."""
        coverage, fine = self.coverage, None if self.foreign else self.moments.unfold()
        number = self.moments.note(offsets, packets, times) - 1
        on_time = True
        for offset, size, packet, time in zip(offsets, sizes, packets, times, strict=True):
            number += 1
            if self._window and packet != self._last:
                self._last = packet
                self._window -= 1
                if not self._window:
                    self._release(packet)
            if coverage.late(offset):
                on_time = False
                continue
            if fine is not None:
                if offset == coverage.reach:
                    fine.add(number, [offset], [packet], [time])
                else:
                    fine.add_ahead(number, offset, packet, time)
            coverage.add(offset, offset + size)
            self._settle()
        return on_time

    def note(self, rows: Rows) -> None:
        """Of a stream that will be told anew."""
        offsets, _, packets, times = rows
        self.moments.note(offsets, packets, times)

    def give_up(self, start: int, end: int, packet: int) -> bool:
        """A gap became clear. False: some of its bytes are there."""
        on_time = self.coverage.give_up(start, end, packet)
        self._settle()
        return on_time

    def _settle(self) -> None:
        fine = None if self.foreign else self.moments.unfold()
        for start, packet in self.coverage.settle():
            if fine is None:
                continue
            if packet:
                fine.give_up(start, packet)
            else:
                fine.settle(self.coverage.reach)

    def _release(self, packet: int) -> None:
        """Its start is known, as of ``packet``."""
        self.fed = self.stream.origin
        self.coverage.release(self.fed, packet)
        self.moments.unfold().known = packet
        self._settle()

    @property
    def held(self) -> bool:
        """Its start may still move down."""
        return bool(self._window)

    # The end

    def finish(self, end: int, flags: int, runs: Sequence[Run]) -> None:
        """The stream ends there: what is not there is missing. ``flags`` are its Completeness."""
        coverage = self.coverage
        if self._window:
            self.fed, self._window = self.stream.origin, 0
        coverage.finish(self.stream.origin, end)
        if self.moments.fine is not None:
            self.moments.fine.settle(end)
        self.runs = runs
        self._flags = flags

    def renew(self) -> None:
        """Give all of it again, as the finished stream is. Moments are asked of the coarse ones."""
        assert self.runs is not None, "a stream that is not finished"
        origin, coverage = self.stream.origin, self.coverage
        coverage.holes = []
        at = origin
        for offset, size, *_ in sorted(self.runs):
            if offset > at:
                coverage.holes.append((at, offset))
            at = offset + size
        if at < coverage.reach:
            coverage.holes.append((at, coverage.reach))
        self.verdict = None
        self.rewind()

    @property
    def whole(self) -> bool:
        """Its end was seen, and nothing was cut off. GAPS may be of its end, too: a FIN beyond the last segment."""
        holes = self.coverage.holes
        return not (self._flags & _CUT or (holes and holes[-1][1] >= self.coverage.reach))

    def rewind(self) -> None:
        """Give all of it again."""
        if not self._window:
            self.fed = self.stream.origin
        self.begun = False
        self.bytes = self.missing = self._hole = 0
        self._ready = _NOTHING_READY
        self._rest = None

    # What can be fed

    @property
    def stop(self) -> int:
        """All below can be fed."""
        cap, reach = self._cap, self.coverage.reach
        return reach if cap is None else min(reach, self.stream.origin + cap)

    def hole(self) -> int:
        """How many of the next bytes are missing."""
        holes = self.coverage.holes
        if self._hole == len(holes) or holes[self._hole][0] > self.fed:
            return 0
        return min(holes[self._hole][1], self.stop) - self.fed

    def passed(self) -> None:
        """The hole was fed, as a gap."""
        size = self.hole()
        self.missing += size
        self.fed += size
        self._hole += 1

    def piece(self, folder: Folder) -> Piece:
        """The next bytes, 1 MiB at most. There are some. OutputError."""
        if self._rest is None:
            ready = self._ready
            if len(ready) == 1 and ready[0][0] == self.fed and ready[0][1] <= MOST_FED:  # which is nearly always so
                buffers = ready.pop()[2]
                self._rest = buffers[0] if len(buffers) == 1 else b"".join(buffers)
                return self._rest
            while ready and ready[0][0] + ready[0][1] <= self.fed:
                del ready[0]
            if ready and ready[0][0] == self.fed:
                self._rest = self._gathered()
            else:
                end = min(self._solid(), self.fed + _BLOCK, ready[0][0] if ready else self.stop)
                self._rest = self._read_back(folder, self.fed, end - self.fed)
        return self._rest

    def took(self, size: int) -> None:
        """So many of them were fed."""
        self.fed += size
        self.bytes += size
        rest = self._rest
        assert rest is not None, "nothing was given"
        self._rest = None if size == len(rest) else memoryview(rest)[size:]

    def _solid(self) -> int:
        """Where the bytes that are next end: at a hole, or with what can be fed."""
        holes = self.coverage.holes
        return min(self.stop, holes[self._hole][0]) if self._hole < len(holes) else self.stop

    def _gathered(self) -> Piece:
        """The first of the bytes that are ready, taken out."""
        offset, size, buffers = self._ready.pop(0)
        if size > MOST_FED:
            now: list[memoryview] = []
            room, at = MOST_FED, 0
            while room >= len(buffers[at]):
                now.append(buffers[at])
                room -= len(buffers[at])
                at += 1
            now.append(buffers[at][:room])
            later = [buffers[at][room:], *buffers[at + 1 :]]
            self._ready.insert(0, (offset + MOST_FED, size - MOST_FED, later))
            buffers = now
        return buffers[0] if len(buffers) == 1 else b"".join(buffers)

    def pause(self, *, fed: bool) -> None:
        """The batch is over, its bytes cannot be had any more. ``fed``: nobody will ask for what was fed again."""
        self._ready = _NOTHING_READY
        self._rest = None
        if fed:
            if self.moments.fine is not None:
                self.moments.fine.forget(self.fed)
            else:
                self.moments.rest()
            if self._hole > _MANY:  # the last one stays: the stream may end with it
                del self.coverage.holes[: self._hole - 1]
                self._hole = 1

    # What it is

    def first(self) -> Piece | None:
        """The first bytes, if they came with this batch and by themselves."""
        ready = self._ready
        if ready and ready[0][0] == self.stream.origin == self.fed:
            return ready[0][2][0]
        return None

    def head(self, folder: Folder) -> tuple[bytes, bool]:
        """The first bytes up to the first hole, 8 KiB at most, and whether more of them may come. OutputError."""
        origin, holes = self.stream.origin, self.coverage.holes
        end = min(self.stop, holes[0][0] if holes else self.stop, origin + HEAD)
        if self.held or end < origin:
            return b"", True
        more = not holes and end < origin + HEAD and self.runs is None
        return self._read_back(folder, origin, end - origin), more

    def _read_back(self, folder: Folder, offset: int, size: int) -> bytes:
        self.reopened = True
        return read_back(self.stream, folder, offset, size)

    def settle_on(self, verdict: Verdict, *, finely: bool) -> None:
        """It is known what it is. Unless ``finely``, moments of what is nobody's are asked of the coarse ones."""
        self.verdict = verdict
        if verdict is Start.FOREIGN and not finely:
            self.foreign = True
            self.moments.drop()
