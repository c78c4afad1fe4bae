"""A stream's end: its files made complete, its hash, its record for the report.

Knows: what a finished file must look like. Does not know: how events arrive.
Invariant: a record's sizes, runs and digests are those of the files on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final

from pipeline.report.rows import Part, Run, StreamRecord
from pipeline.writer.folder import Folder, StoredFile
from pipeline.writer.stream import Stream
from workers.contract import Completeness

_READ: Final = 1 << 20  # bytes read back at a time


def new_counters() -> dict[str, int]:
    """What a writer counts, for the accounting identity and the summary."""
    names = ("data_bytes", "run_bytes", "duplicate", "conflicting", "conflicts", "gaps", "gap_bytes", "files", "rows")
    return dict.fromkeys(names, 0)


def read_all(file: StoredFile, stream: Stream, folder: Folder) -> Iterator[bytes]:
    """A file as it lies on disk, in blocks."""
    at = 0
    while block := folder.read(file, stream.suffix, _READ, at):
        yield block
        at += len(block)


def hash_up_to(stream: Stream, offset: int, folder: Folder) -> None:
    """The frontier jumped to ``offset``: hash what lies on disk up to it. A hole at the end has to wait."""
    if stream.digest is None or stream.stale:
        return
    while stream.frontier < offset:
        size = min(_READ, offset - stream.frontier)
        block = folder.read(stream.files[0], stream.suffix, size, stream.frontier - stream.origin)
        if not block:
            return
        stream.digest.update(block)
        stream.frontier += len(block)


def close_stream(
    stream: Stream, row: Sequence[int], runs: Sequence[Sequence[int]], folder: Folder, counters: dict[str, int]
) -> StreamRecord:
    """Complete the files; ``row`` and ``runs`` are rows of Closed and Runs."""
    (number, _, origin, end, written, seen, overlap, beyond, outside, not_data, refused, first, last, packets,
     length, clipped, disorder, flags, reason) = row  # fmt: skip
    size = end - origin
    shown = _shown(runs, origin)
    present = sum(run[1] for run in shown)
    sizes = _complete(stream, end, folder, whole=present == size)
    digests = _digests(stream, end, folder)
    for file in stream.files:
        folder.finish(file, last)
    if stream.conflict_file is not None:
        folder.finish(stream.conflict_file, last)
    if stream.conflicts:
        flags |= Completeness.CONFLICTS
    _count(counters, shown, size, present, len(stream.files))
    ends, macs = stream.ends, stream.macs
    mac_src, mac_dst = (macs[6:].hex(":"), macs[:6].hex(":")) if macs else (None, None)
    parts: Sequence[Part] = ()
    if len(stream.files) > 1:
        columns = zip(stream.files[1:], stream.starts[1:], sizes[1:], digests[1:], strict=True)
        parts = [Part(file.name, start - origin, count, digest) for file, start, count, digest in columns]
    return StreamRecord(
        number, stream.files[0].name, sizes[0], shown, first, last, ends.src, ends.sport, ends.dst, ends.dport,
        ends.family, packets, length, length - clipped, seen, written, overlap, beyond, outside, not_data,
        refused, size - present, disorder, flags, reason, digests[0], ends.vlans, mac_src, mac_dst, parts,
        [conflict._replace(offset=conflict.offset - origin) for conflict in stream.conflicts],
        stream.conflict_bytes, stream.conflict_file and stream.conflict_file.name, stream.provisional,
    )  # fmt: skip


def _shown(runs: Sequence[Sequence[int]], origin: int) -> list[Run]:
    """Runs by their place in the stream."""
    if len(runs) > 1:
        runs = sorted(runs, key=itemgetter(2))
    return [(offset - origin, size, slab, place) for _, _, offset, size, slab, place in runs]


def _complete(stream: Stream, end: int, folder: Folder, *, whole: bool) -> list[int]:
    """Lay out holes at the end and cut what moved beyond a limit; return the sizes of the files."""
    last = stream.files[-1]
    size = end - stream.starts[-1]
    if not whole or stream.stale or not last.made:
        folder.cut(last, stream.suffix, size)
    return [*(folder.size(file, stream.suffix) for file in stream.files[:-1]), size]


def _digests(stream: Stream, end: int, folder: Folder) -> list[str | None]:
    """The MD5 of each file, or None where it was not asked for."""
    if stream.digest is None:
        return [None] * len(stream.files)
    if not stream.stale:
        hash_up_to(stream, end, folder)
        return [stream.digest.hexdigest()]
    digests: list[str | None] = []
    for file in stream.files:
        digest = hashlib.md5(usedforsecurity=False)
        for block in read_all(file, stream, folder):
            digest.update(block)
        digests.append(digest.hexdigest())
    return digests


def _count(counters: dict[str, int], shown: Sequence[Run], size: int, present: int, files: int) -> None:
    counters["files"] += files
    counters["run_bytes"] += present
    if present != size:
        counters["gap_bytes"] += size - present
        position = 0
        for offset, length, _, _ in shown:
            counters["gaps"] += offset > position
            position = offset + length
        counters["gaps"] += size > position
