"""Overlapping segments compared with what lies on disk: conflicts recorded, losing bytes kept.

Knows: which version stays. Does not know: events besides overlaps, how streams begin and end.
Invariant: a conflict is recorded for each maximal differing run of a segment; what a file holds is the version that
stays, or the stream ends in front of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from pipeline.errors import OutputError
from pipeline.report.rows import Conflict, conflicts_name
from pipeline.tree import FILE_COSTS
from pipeline.writer.folder import Folder, StoredFile
from pipeline.writer.overlaps import Differing, Overlap, Version, cut, differing, md5, overlaps_of, settle
from pipeline.writer.payload import Payload
from pipeline.writer.stream import Stream
from workers.contract import Overlaps

if TYPE_CHECKING:
    from pipeline.parts.room import Room


class Comparing:
    """One writer's. ``compare`` each table when the bytes that came with it are written."""

    def __init__(
        self, streams: Mapping[int, Stream], folder: Folder, room: Room | None, most: int, counters: dict[str, int],
        fail: Callable[[Stream, int, OutputError], None], changed: Callable[[int], None],
    ) -> None:  # fmt: skip
        """``streams``: those that are open; ``most``: losing bytes kept of each. ``fail`` is told of what cannot be
        read or written at an offset of a stream, ``changed`` of streams whose bytes are others now."""
        self._streams = streams
        self._folder = folder
        self._room = room
        self._most = most
        self._counters = counters
        self._fail = fail
        self._changed = changed

    def compare(self, overlaps: Overlaps, payload: Payload) -> None:
        """All of a table. OutputError."""
        for overlap in overlaps_of(overlaps, payload.slices(overlaps.start, overlaps.size.tolist())):
            self.compare_one(overlap)

    def compare_one(self, overlap: Overlap) -> None:
        """One of them. OutputError."""
        stream, offset, size = self._streams[overlap.stream], overlap.offset, len(overlap.new)
        inner = [start for start, _ in stream.parted if offset < start < offset + size]
        for low, high in pairwise([offset, *inner, offset + size]):  # files may meet within an overlap
            self._compare_in_file(stream, cut(overlap, low, high) if inner else overlap)

    def _compare_in_file(self, stream: Stream, overlap: Overlap) -> None:
        whole = len(overlap.new)
        if stream.cap < overlap.offset + whole:  # what is not kept cannot be compared
            overlap = cut(overlap, overlap.offset, max(overlap.offset, stream.cap))
            self._counters["uncompared"] += whole - len(overlap.new)
            if not overlap.new:
                return
        _, offset, packet, new, verdicts = overlap
        file, start = stream.part(offset)
        size = len(new)
        try:
            old = self._folder.read(file, size, offset - start)
        except OutputError as error:
            self._fail(stream, offset, error)
            self._counters["uncompared"] += size
            return
        runs = differing(old, new) if len(old) == size else [Differing(0, size)]
        lost = sum(run.length for run in runs)
        self._counters["duplicate"] += size - lost
        self._counters["conflicting"] += lost
        if not runs:
            return
        stays, loses = settle(old, new, verdicts)
        for run in runs:
            self._conflict(stream, offset, run, packet, stays, loses)
        if stays != old:
            stream.stale = True
            try:
                self._folder.write(file, [stays], size, offset - start)
            except OutputError as error:
                self._fail(stream, offset, error)
            self._changed(stream.number)

    def _conflict(
        self, stream: Stream, offset: int, run: Differing, packet: int, stays: Version, loses: Version
    ) -> None:
        """Record one conflict; keep the losing bytes, as many as the limit has room for."""
        part = slice(run.offset, run.offset + run.length)
        winner, loser = stays[part], loses[part]
        stream.conflict_bytes += run.length
        side = None
        fits = self._room is None or self._room.fits(run.length + FILE_COSTS)
        if fits and stream.kept + run.length <= self._most:
            if stream.conflict_file is None:
                stream.conflict_file = StoredFile(conflicts_name(stream.file.name), stream.number)
            side = stream.side_start + stream.kept
            try:
                self._folder.write(stream.conflict_file, [loser], run.length, side)
                stream.kept += run.length
            except OutputError as error:
                self._folder.failures.took(error)
                side = None
        at = offset + run.offset
        stream.conflicts = stream.conflicts or []
        stream.conflicts.append(Conflict(at, run.length, packet, md5(winner), md5(loser), side))
        self._counters["conflicts"] += 1
