"""A stream's end: its files made complete, its hash, its record for the report.

Knows: what a finished file must look like. Does not know: how events arrive.
Invariant: a record's sizes, runs and digests are those of the files on disk. A disk that fails makes a stream shorter,
or leaves it without a file, and the record says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from pipeline.errors import NoMoreFiles, OutputError
from pipeline.report.rows import Conflict, Part, Run, StreamRecord
from pipeline.writer.failures import FAILED
from pipeline.writer.folder import Folder, StoredFile
from pipeline.writer.spans import by_input
from pipeline.writer.stream import NO_CAP, Stream
from workers.contract import Completeness

new_record: Final = tuple.__new__  # a third of what the class's own constructor takes, for 38 fields
_READ: Final = 1 << 20  # bytes read back at a time
_ABSENT: Final = int(Completeness.ABSENT)  # a plain number, since & with a flag takes 2 us, for each stream


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
        FAILED,  # what the system refused (failures.py)
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
        try:
            block = folder.read(stream.file, size, stream.frontier - stream.origin)
        except OutputError as error:
            folder.failures.took(error)
            stream.stale = True
            return
        if not block:
            return
        stream.digest.update(block)
        stream.frontier += len(block)


def complete_stream(
    stream: Stream, row: tuple[int, ...], runs: Sequence[Run], folder: Folder, counters: dict[str, int], *, shared: bool
) -> tuple[tuple[int, ...], Sequence[Run], StreamRecord]:
    """A stream's files as they stay, and what there is of its row and its runs then, whatever the disk refuses; else as
    ``close_stream``."""
    origin = row[2]
    for again in (False, True):
        if stream.cap < row[3] or is_doubtful(stream):
            row, runs = capped(stream, row, runs, folder, counters)
            stream.end_at(row[3])
        try:
            if folder.part:
                folder.bring(*[file for _, file in stream.files()])
            return row, runs, close_stream(stream, row, runs, folder, counters, shared=shared)
        except OutputError as error:
            folder.failures.took(error)
            stream.failed = stream.failed or not isinstance(error, NoMoreFiles)
            if again or isinstance(error, NoMoreFiles):
                stream.end_at(origin)  # nothing is said of it
    row, runs = capped(stream, row, runs, folder, counters)
    return row, runs, close_stream(stream, row, runs, folder, counters)


def close_stream(
    stream: Stream, row: Sequence[int], runs: Sequence[Run], folder: Folder, counters: dict[str, int], *,
    shared: bool = False,
) -> StreamRecord:  # fmt: skip
    """Complete the files; ``row`` is a row of Closed, ``runs`` are its stream's, without the first columns.

    ``shared``: another stream may go on in them (appended.py, which also counts them). The record is that of
    the stream all the same: its size, its runs, the parts that hold some of it. OutputError, and nothing is counted:
    the files are not what the row says.
    """
    (number, _, origin, end, written, seen, overlap, beyond, outside, not_data, refused, first, last, packets,
     length, clipped, disorder, flags, reason) = row  # fmt: skip
    size = end - origin
    runs = _runs(stream, origin, runs)
    present = sum([run[1] for run in runs])
    file, absent = stream.file, flags & _ABSENT
    first_size, md5, parts = _close_files(stream, end, folder, whole=present == size, absent=bool(absent))
    if not (shared or absent):
        for _, part in stream.files():
            flags |= finish(part, last, folder)
        counters["files"] += 1 + len(stream.parted)
    counters["run_bytes"] += present
    if present != size:
        _count_gaps(counters, runs, size, present)
    conflicts: Sequence[Conflict] = ()
    conflict_file = None
    if stream.conflicts is not None:
        conflicts, conflict_file = _conflicts(stream, origin, last, folder)
        flags |= Completeness.CONFLICTS
    ends, macs, suffix = stream.ends, stream.macs, "" if absent else stream.provisional
    mac_src, mac_dst = (macs[6:].hex(":"), macs[:6].hex(":")) if macs else (None, None)
    return new_record(StreamRecord, (
        number, file.name, first_size, runs, first, last, ends.src, ends.sport, ends.dst, ends.dport,
        ends.family, packets, length, length - clipped, seen, written, overlap, beyond, outside, not_data,
        refused, size - present, disorder, flags, reason, md5, ends.networks, mac_src, mac_dst, parts,
        conflicts, stream.conflict_bytes, conflict_file, suffix, (),
    ))  # fmt: skip


def _close_files(
    stream: Stream, end: int, folder: Folder, *, whole: bool, absent: bool
) -> tuple[int, str | None, Sequence[Part]]:
    """Size and MD5 of the first file, and the further ones."""
    if absent:
        _leave_out(stream, folder)
        return 0, None, ()
    if stream.parted:
        return _close_parts(stream, end, folder)
    size, file = end - stream.origin, stream.file
    if not whole or stream.stale or not file.made or stream.cap != NO_CAP:
        _fit(file, stream.base + size, folder)  # a hole at its end, or less where the limit moved down
    return size, _digest(stream, end, folder) if stream.digest is not None else None, ()


def capped(
    stream: Stream, row: Sequence[int], runs: Sequence[Run], folder: Folder, counters: dict[str, int]
) -> tuple[tuple[int, ...], Sequence[Run]]:
    """A stream for which there was no room from its cap on, or which could not be written there: it ends there,
    whatever was accepted, and written, of what is beyond. As ``row`` and ``runs`` of ``close_stream``.

    One of which nothing is left is ABSENT.
    """
    number, shard, origin, end, written, *counts, flags, reason = row
    failed = is_doubtful(stream)
    end = max(min(end, stream.cap, _there(stream, folder) if failed else end), origin)
    kept = [(at, min(size, end - at), image, place) for at, size, image, place in runs if at < end]
    lost = sum([run[1] for run in runs]) - sum([run[1] for run in kept])
    counters["unwritten"] += lost
    why = "limit.disk" if failed else "limit.output"
    if not flags & (Completeness.UNWRITTEN | Completeness.ABSENT):  # those were here before
        counters[why] = counters.get(why, 0) + 1
    flags |= Completeness.LIMITED | (Completeness.UNWRITTEN if failed else 0) | (0 if kept else Completeness.ABSENT)
    return (number, shard, origin, end if kept else origin, written - lost, *counts, flags, reason), kept


def is_doubtful(stream: Stream) -> bool:
    """Whether its files may lack some of what was written."""
    return stream.failed or stream.file.broken or any(part.broken for _, part in stream.parted)


def _there(stream: Stream, folder: Folder) -> int:
    """The offset up to which its files are there; they may have holes."""
    end = stream.origin
    for start, file in stream.files():
        if not file.made:
            return start
        try:
            end = start + folder.size(file)
        except OutputError as error:
            folder.failures.took(error)
            file.made = False  # it is not ours, or not there any more
            return start
    return end


def _leave_out(stream: Stream, folder: Folder) -> None:
    """It has no file: those that were made go, and what it has in those of streams before it."""
    for _, file in stream.own_parts():
        discard(file, folder)
    del stream.parted[stream.inherited :]
    start, home = stream.home()
    _shorten(home, stream.origin - start, folder)
    if stream.conflict_file is not None:
        _shorten(stream.conflict_file, stream.side_start, folder)
    stream.conflicts, stream.kept = None, 0


def _shorten(file: StoredFile, size: int, folder: Folder) -> None:
    """What lies behind so many bytes of it goes; all of it if there is nothing else."""
    if not size:
        discard(file, folder)
        return
    try:
        if file.made and folder.size(file) > size:
            folder.cut(file, size)
    except OutputError as error:
        folder.failures.took(error)


def discard(file: StoredFile, folder: Folder) -> None:
    """Remove a file that is not wanted; one that cannot be removed stays, and that is counted."""
    try:
        folder.discard(file)
    except OutputError as error:
        folder.failures.took(error)


def _fit(file: StoredFile, size: int, folder: Folder) -> None:
    """Make the file so long. OutputError."""
    try:
        folder.cut(file, size)
    except OutputError:
        if not file.made or folder.size(file) != size:
            raise


def finish(file: StoredFile, time: int, folder: Folder) -> int:
    """The file is complete. What is to be said of it if it may not be: a flag."""
    try:
        folder.finish(file, time)
    except OutputError as error:
        folder.failures.took(error)
        return Completeness.UNWRITTEN
    return 0


def _runs(stream: Stream, origin: int, runs: Sequence[Run]) -> Sequence[Run]:
    """The runs in their order, placed in the file, and cut where the input changes."""
    if stream.spans:
        runs = by_input(runs, stream.spans)
    if len(runs) == 1 and not origin:
        return runs
    return [(offset - origin, run, image, place) for offset, run, image, place in sorted(runs)]


def _digest(stream: Stream, end: int, folder: Folder) -> str | None:
    """The MD5 of a stream's only file, as it lies on disk; None: it cannot be read."""
    assert stream.digest is not None
    if not stream.stale:
        hash_up_to(stream, end, folder)
    if not stream.stale:
        return stream.digest.hexdigest()
    return read_digest(stream.file, folder)


def read_digest(file: StoredFile, folder: Folder) -> str | None:
    """The MD5 of a file as it lies on disk; None: it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        for block in read_all(file, folder):
            digest.update(block)
        return digest.hexdigest()
    except OutputError as error:
        folder.failures.took(error)
        return None


def _close_parts(stream: Stream, end: int, folder: Folder) -> tuple[int, str | None, list[Part]]:
    """Size and MD5 of the first file, and the further ones."""
    while stream.own_parts() and stream.parted[-1][0] >= end:  # -C keeps none of it, since the start moved down
        discard(stream.parted.pop()[1], folder)
    start, last = stream.files()[-1]
    _fit(last, end - start, folder)
    with_md5 = stream.digest is not None
    told = [
        Part(
            file.name,
            start - stream.origin,
            folder.size(file),
            read_digest(file, folder) if with_md5 else None,
        )
        for start, file in [stream.home(), *stream.own_parts()]
    ]
    return told[0].size, told[0].md5, told if stream.inherited else told[1:]


def _conflicts(stream: Stream, origin: int, last: int, folder: Folder) -> tuple[list[Conflict], str | None]:
    """The conflicts, placed in the file, and the name of the file that holds the losing bytes."""
    if stream.conflict_file is not None and stream.kept:
        finish(stream.conflict_file, last, folder)
    elif stream.conflict_file is not None:
        discard(stream.conflict_file, folder)
    moved = [conflict._replace(offset=conflict.offset - origin) for conflict in stream.conflicts or ()]
    return moved, stream.conflict_file.name if stream.conflict_file is not None and stream.kept else None


def _count_gaps(counters: dict[str, int], runs: Sequence[Run], size: int, present: int) -> None:
    counters["gap_bytes"] += size - present
    position = 0
    for offset, length, _, _ in runs:
        counters["gaps"] += offset > position
        position = offset + length
    counters["gaps"] += size > position
