"""The open streams of a writer, most of which are written in one piece.

Knows: when a stream is no more than its name and one file. Does not know: events, what a row says.
Invariant: whoever asks for a stream gets all there is of it; ``taken`` gives it away.

A connection of a few packets lies in one batch: its stream begins, its bytes are written from the first one on, and
nothing more is heard of it until it closes. Such a stream is kept as a tuple, and a Stream is made of it only when
something else happens to it: 22 fields, an end that asks for each of them. That was a fifth of the CPU time of a
capture of many small connections.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from pipeline.config import Config
from pipeline.errors import OutputError
from pipeline.report.rows import Run
from pipeline.writer.folder import Folder, Piece, StoredFile
from pipeline.writer.names import Endpoints
from pipeline.writer.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from hashlib import _Hash


class Single(NamedTuple):
    """A stream of which ``size`` bytes were written at once, from its first one on, and nothing else is known."""

    ends: Endpoints
    name: str
    macs: bytes
    file: StoredFile
    size: int
    digest: _Hash | None

    def is_whole(self, row: Sequence[int], runs: Sequence[Run]) -> bool:
        """Whether that is all that there is of it when it closes; ``row`` and ``runs`` as in close_stream."""
        size, origin, end = self.size, row[2], row[3]
        return not origin and end == size and len(runs) == 1 and runs[0][1] == size and not self.file.broken


def are_simple(config: Config) -> bool:
    """Whether a stream is no more than a file and a row, as far as the options say."""
    asked = (config.protocols, config.append, config.console, config.flows, config.packet_map, config.name_format)
    return not any(asked) and len(config.inputs) == 1 and config.rotation is None


class Streams(dict[int, Stream]):
    """By number. ``begin`` and ``write`` are for streams that may be singles."""

    def __init__(self, folder: Folder, *, md5: bool) -> None:
        super().__init__()
        self._folder = folder
        self._md5 = md5
        self.begun: dict[int, tuple[Endpoints, str, bytes]] = {}
        """Those of which nothing is written yet."""
        self.singles: dict[int, Single] = {}
        self.passing = False
        """So many begin together that what is written of them now had better not wait for more with an open file."""

    @property
    def open(self) -> int:
        """How many there are."""
        return len(self) + len(self.begun) + len(self.singles)

    def begin(self, number: int, ends: Endpoints, name: str, macs: bytes) -> None:
        """A stream with one file of that name, from offset 0 on."""
        self.begun[number] = ends, name, macs

    def write(self, number: int, pieces: Sequence[Piece], size: int) -> None:
        """The first bytes, from offset 0 on, of one of which nothing is written yet. OutputError: as in Folder.write,
        and the stream has the file, but none of the bytes is hashed."""
        ends, name, macs = self.begun.pop(number)
        file = StoredFile(name, number)
        try:
            if self.passing:
                self._folder.write_new(file, pieces, size)
            else:
                self._folder.write(file, pieces, size, 0)
        except OutputError:
            stream = self[number] = Stream(number, name, "", ends, macs, md5=self._md5)
            stream.file = file
            raise
        digest = None
        if self._md5:
            digest = hashlib.md5(usedforsecurity=False)
            for piece in pieces:
                digest.update(piece)
        self.singles[number] = Single(ends, name, macs, file, size, digest)

    def __missing__(self, number: int) -> Stream:
        """One that was as simple as that."""
        single = self.singles.pop(number, None)
        ends, name, macs = self.begun.pop(number) if single is None else single[:3]
        stream = self[number] = Stream(number, name, "", ends, macs, md5=self._md5)
        if single is not None:
            stream.file = single.file
            if single.digest is not None:
                stream.digest, stream.frontier = single.digest, single.size
        return stream

    def taken(self, number: int) -> Stream:
        """One of them, which is none of them any more."""
        stream = self[number]
        del self[number]
        return stream
