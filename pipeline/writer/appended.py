"""``-R``: the later connections of a tuple go on in the files of the first, each direction in its own.

Knows: which streams share files, in which order they lie there. Does not know: events, how bytes are written.
Invariant: a stream lies behind all that were opened before it, and is the last in the files until it is
closed: nobody else's byte is moved or cut when its start moves down or its end is known.

A stream can be opened and written to before the one in front of it is closed, if one message to the writer
tells of both (all tables of a message apply together). Till then it has files of its own, ``NAME~ID``.

The files are named by the first stream (with ``-T``, by the time of its connection). What their rows need
is kept until the run ends, since more may be appended: some hundred bytes for each tuple that carried
payload, and for each of its connections a record with its runs. Their MD5 is made then, by reading them back.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from pipeline.errors import InternalError, OutputError
from pipeline.report.rows import Part, StreamRecord, conflicts_name, format_shared, moved_runs
from pipeline.writer.closing import discard, finish, read_all, read_digest
from pipeline.writer.folder import Folder, StoredFile
from pipeline.writer.names import provisional
from pipeline.writer.stream import Stream
from workers.contract import KEY_WORDS, Completeness

_ROWS = 4096  # formatted together
_UNWRITTEN = Completeness.LIMITED | Completeness.UNWRITTEN


class _Chain:
    """The streams of one direction of a tuple, one behind the other."""

    __slots__ = ("first", "latest", "records", "waiting")

    def __init__(self, stream: Stream) -> None:
        self.first = stream.number
        self.latest = stream  # the last in the files
        self.records: list[tuple[int, StreamRecord]] = []  # of those that are closed, each with its base
        self.waiting: deque[tuple[Stream, int]] = deque()  # those in files of their own, each with its base

    def is_there(self) -> bool:
        """Whether any of those that are closed has a byte in the files."""
        return any(not record.flags & Completeness.ABSENT for _, record in self.records)


class Appended:
    """All files of a writer that streams may share. ``open`` and ``close`` each stream, then ``rows``."""

    def __init__(self, folder: Folder, fail: Callable[[Stream, int, OutputError], None]) -> None:
        """``fail`` is told of what cannot be written, or read, at an offset of a stream that is open."""
        self._folder = folder
        self._fail = fail
        self._chains: dict[bytes, _Chain] = {}
        self._open: dict[int, _Chain] = {}
        self._tuples: dict[bytes, list[int]] = {}  # the connections of each so far, but one; the latest

    def counter(self, number: int, key: Sequence[int]) -> int:
        """Which of its tuple's connections a stream's is, from 0: with -R the events do not say so."""
        latest = self._tuples.setdefault(struct.pack(f"{KEY_WORDS}Q", *key), [-1, -1])
        if latest[1] != number >> 1:
            latest[:] = latest[0] + 1, number >> 1
        return latest[0]

    def open(self, stream: Stream, key: Sequence[int], side: int, base: int) -> None:
        """A new stream, of direction ``side`` of the tuple ``key``: its origin lies ``base`` bytes into the files."""
        whose = struct.pack(f"{KEY_WORDS}QB", *key, side)
        chain = self._chains.get(whose)
        if chain is None:
            self._chains[whose] = self._open[stream.number] = _Chain(stream)
            return
        before = chain.latest
        stream.name, stream.provisional = before.name, before.provisional
        if before.number in self._open:
            stream.file = StoredFile(stream.name + provisional(stream.number), stream.number)
            chain.waiting.append((stream, base))
        else:
            stream.follow(before, base)
            chain.latest = stream
        self._open[stream.number] = chain

    def close(self, stream: Stream, record: StreamRecord) -> None:
        """``stream`` is complete: the next one goes on behind it."""
        chain = self._open.pop(stream.number)
        if chain.latest is not stream:
            raise InternalError(f"stream {stream.number} was closed before the one that it is appended to")
        chain.records.append((stream.base, record))
        if chain.waiting:
            chain.latest, base = chain.waiting.popleft()
            self._join(chain.latest, stream, base)

    def _join(self, stream: Stream, before: Stream, base: int) -> None:
        """What the stream has in files of its own goes behind ``before``; its parts are renamed."""
        folder, own, parts, side = self._folder, stream.file, stream.parted, stream.conflict_file
        stream.follow(before, base)
        start, home = stream.home()
        at = stream.origin - start
        try:
            for block in read_all(own, folder) if own.made else ():
                if block.count(0) < len(block):  # a hole stays one
                    folder.write(home, [block], len(block), at)
                at += len(block)
            if own.made:
                folder.cut(home, at)
        except OutputError as error:
            self._fail(stream, start + at, error)
        discard(own, folder)
        stream.parted += parts
        for offset, part in parts:
            try:
                folder.rename(part, stream.part_name(offset))
            except OutputError as error:
                folder.failures.took(error)
        if side is not None:
            self._join_conflicts(stream, side)

    def _join_conflicts(self, stream: Stream, side: StoredFile) -> None:
        kept = True
        try:
            if stream.conflict_file is None:
                stream.conflict_file = side
                self._folder.rename(side, conflicts_name(stream.file.name))
                return
            lost = b"".join(read_all(side, self._folder))
            self._folder.write(stream.conflict_file, [lost], len(lost), stream.side_start)
        except OutputError as error:
            self._folder.failures.took(error)
            if stream.conflict_file is side:  # it keeps its name
                return
            stream.kept, kept = 0, False
        discard(side, self._folder)
        stream.conflicts = [
            conflict._replace(
                side_offset=conflict.side_offset + stream.side_start
                if kept and conflict.side_offset is not None
                else None
            )
            for conflict in stream.conflicts or ()
        ]

    def rows(
        self, images: Mapping[int, str], counters: dict[str, int], *, md5: bool
    ) -> Iterator[tuple[list[int], list[bytes], list[str]]]:
        """Every stream is closed: complete the files. Streams that rows are filed under, rows, and wanted names, empty
        where there is no file."""
        chains = list(self._chains.values())
        for at in range(0, len(chains), _ROWS):
            some = chains[at : at + _ROWS]
            files = [self._file(chain, counters, md5=md5) for chain in some]
            yield (
                [chain.first for chain in some],
                format_shared(files, [chain.records for chain in some], images),
                [chain.latest.name if chain.is_there() else "" for chain in some],
            )

    def _file(self, chain: _Chain, counters: dict[str, int], *, md5: bool) -> StreamRecord:
        """What the report says of the files themselves."""
        last = chain.latest
        time = chain.records[-1][1].last_ns
        told, flags = [], 0
        there = chain.is_there()
        for start, stored in last.files():
            size, digest, more = self._complete(stored, time, md5=md5) if there else self._leave_out(stored)
            flags |= more
            told.append(Part(stored.name, start - last.origin + last.base, size, digest))
        if flags:
            chain.records = [(base, each._replace(flags=each.flags | flags)) for base, each in chain.records]
        counters["files"] += len(told) if there else 0
        counters["rows"] += len(chain.records)
        record = chain.records[0][1]
        suffix = last.provisional if there else ""
        file = record._replace(
            filename=told[0].filename, size=told[0].size, md5=told[0].md5, parts=told[1:], suffix=suffix
        )
        if len(chain.records) == 1:
            return file
        runs = [moved for base, each in chain.records for moved in moved_runs(each.runs, base)]
        return file._replace(runs=runs, last_ns=time, conflicts=(), conflict_file=None)

    def _complete(self, stored: StoredFile, time: int, *, md5: bool) -> tuple[int, str | None, int]:
        """A file as it stays: its size, its MD5, and what is to be said of all streams in it if it may not be whole."""
        folder = self._folder
        try:
            size = folder.size(stored)
        except OutputError as error:
            folder.failures.took(error)
            return 0, None, _UNWRITTEN
        digest = read_digest(stored, folder) if md5 else None
        failed = stored.broken or finish(stored, time, folder) or (md5 and digest is None)
        return size, digest, _UNWRITTEN if failed else 0

    def _leave_out(self, stored: StoredFile) -> tuple[int, None, int]:
        """None of the streams has a byte: there is no file."""
        discard(stored, self._folder)
        return 0, None, 0
