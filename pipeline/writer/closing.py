"""A stream's end: its files made complete, its hash, its record for the report.

Knows: what a finished file must look like. Does not know: how events arrive.
Invariant: a record's sizes, runs and digests are those of the files on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from pipeline.report.rows import Conflict, Part, Run, StreamRecord
from pipeline.writer.folder import Folder, StoredFile
from pipeline.writer.spans import by_input
from pipeline.writer.stream import Stream
from workers.contract import Completeness

new_record: Final = tuple.__new__  # a third of what the class's own constructor takes, for 38 fields
_READ: Final = 1 << 20  # bytes read back at a time


def new_counters() -> dict[str, int]:
    """What a writer counts, for the accounting identity and the summary."""
    names = (
        "data_bytes",
        "run_bytes",
        "duplicate",
        "conflicting",
        "conflicts",
        "gaps",
        "gap_bytes",
        "files",
        "rows",
        "skipped",  # bytes that were to be written, and there was no room (room.py)
        "unwritten",  # accepted bytes that no file has because of that
        "uncompared",  # overlapping ones that could not be compared with them
    )
    return dict.fromkeys(names, 0)


def read_all(file: StoredFile, folder: Folder, at: int = 0) -> Iterator[bytes]:
    """A file as it lies on disk, from ``at`` on, in blocks."""
    while block := folder.read(file, _READ, at):
        yield block
        at += len(block)


def hash_up_to(stream: Stream, offset: int, folder: Folder) -> None:
    """The frontier jumped to ``offset``: hash what lies on disk up to it. A hole at the end has to wait."""
    if stream.digest is None or stream.stale:
        return
    while stream.frontier < offset:
        size = min(_READ, offset - stream.frontier)
        block = folder.read(stream.file, size, stream.frontier - stream.origin)
        if not block:
            return
        stream.digest.update(block)
        stream.frontier += len(block)


def close_stream(
    stream: Stream, row: Sequence[int], runs: Sequence[Run], folder: Folder, counters: dict[str, int], *,
    shared: bool = False,
) -> StreamRecord:  # fmt: skip
    """Complete the files; ``row`` is a row of Closed, ``runs`` are its stream's, without the first columns.

    ``shared``: another stream may go on in them (appended.py, which also counts them). The record is that of
    the stream all the same: its size, its runs, the parts that hold some of it.
    """
    (number, _, origin, end, written, seen, overlap, beyond, outside, not_data, refused, first, last, packets,
     length, clipped, disorder, flags, reason) = row  # fmt: skip
    size = end - origin
    runs = _runs(stream, origin, runs)
    present = sum([run[1] for run in runs])
    file = stream.file
    parts: Sequence[Part] = ()
    first_size = size
    if stream.parted:
        first_size, md5, parts = _close_parts(stream, end, folder)
    else:
        if present != size or stream.stale or not file.made:
            folder.cut(file, stream.base + size)  # a hole at its end, or less where the limit moved down
        md5 = _digest(stream, end, folder) if stream.digest is not None else None
    if not shared:
        folder.finish(file, last)
        for _, part in stream.parted:
            folder.finish(part, last)
        counters["files"] += 1 + len(stream.parted)
    counters["run_bytes"] += present
    if present != size:
        _count_gaps(counters, runs, size, present)
    conflicts: Sequence[Conflict] = ()
    conflict_file = None
    if stream.conflicts is not None:
        conflicts, conflict_file = _conflicts(stream, origin, last, folder)
        flags |= Completeness.CONFLICTS
    ends, macs = stream.ends, stream.macs
    mac_src, mac_dst = (macs[6:].hex(":"), macs[:6].hex(":")) if macs else (None, None)
    return new_record(StreamRecord, (
        number, file.name, first_size, runs, first, last, ends.src, ends.sport, ends.dst, ends.dport,
        ends.family, packets, length, length - clipped, seen, written, overlap, beyond, outside, not_data,
        refused, size - present, disorder, flags, reason, md5, ends.networks, mac_src, mac_dst, parts,
        conflicts, stream.conflict_bytes, conflict_file, stream.provisional, (),
    ))  # fmt: skip


def capped(
    stream: Stream, row: Sequence[int], runs: Sequence[Run], counters: dict[str, int]
) -> tuple[tuple[int, ...], Sequence[Run]]:
    """A stream for which there was no room from its cap on: it ends there, whatever was accepted, and written, of what
    is beyond. As ``row`` and ``runs`` of ``close_stream``."""
    number, shard, origin, end, written, *counts, flags, reason = row
    end = max(min(end, stream.cap), origin)
    kept = [(at, min(size, end - at), image, place) for at, size, image, place in runs if at < end]
    lost = sum([run[1] for run in runs]) - sum([run[1] for run in kept])
    counters["unwritten"] += lost
    counters["limit.output"] = counters.get("limit.output", 0) + 1
    return (number, shard, origin, end, written - lost, *counts, flags | Completeness.LIMITED, reason), kept


def _runs(stream: Stream, origin: int, runs: Sequence[Run]) -> Sequence[Run]:
    """The runs in their order, placed in the file, and cut where the input changes."""
    if stream.spans:
        runs = by_input(runs, stream.spans)
    if len(runs) == 1 and not origin:
        return runs
    return [(offset - origin, run, image, place) for offset, run, image, place in sorted(runs)]


def _digest(stream: Stream, end: int, folder: Folder) -> str:
    """The MD5 of a stream's only file, as it lies on disk."""
    assert stream.digest is not None
    if stream.stale:
        return file_digest(stream.file, folder)
    hash_up_to(stream, end, folder)
    return stream.digest.hexdigest()


def file_digest(file: StoredFile, folder: Folder) -> str:
    """The MD5 of a file as it lies on disk."""
    digest = hashlib.md5(usedforsecurity=False)
    for block in read_all(file, folder):
        digest.update(block)
    return digest.hexdigest()


def _close_parts(stream: Stream, end: int, folder: Folder) -> tuple[int, str | None, list[Part]]:
    """Size and MD5 of the first file, and the further ones."""
    while stream.own_parts() and stream.parted[-1][0] >= end:  # -C keeps none of it, since the start moved down
        folder.discard(stream.parted.pop()[1])
    start, last = stream.files()[-1]
    folder.cut(last, end - start)
    with_md5 = stream.digest is not None
    told = [
        Part(
            file.name,
            start - stream.origin,
            folder.size(file),
            file_digest(file, folder) if with_md5 else None,
        )
        for start, file in [stream.home(), *stream.own_parts()]
    ]
    return told[0].size, told[0].md5, told if stream.inherited else told[1:]


def _conflicts(stream: Stream, origin: int, last: int, folder: Folder) -> tuple[list[Conflict], str | None]:
    """The conflicts, placed in the file, and the name of the file that holds the losing bytes."""
    if stream.conflict_file is not None:
        folder.finish(stream.conflict_file, last)
    moved = [conflict._replace(offset=conflict.offset - origin) for conflict in stream.conflicts or ()]
    return moved, stream.conflict_file.name if stream.conflict_file is not None and stream.kept else None


def _count_gaps(counters: dict[str, int], runs: Sequence[Run], size: int, present: int) -> None:
    counters["gap_bytes"] += size - present
    position = 0
    for offset, length, _, _ in runs:
        counters["gaps"] += offset > position
        position = offset + length
    counters["gaps"] += size > position
