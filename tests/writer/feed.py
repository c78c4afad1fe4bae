"""A writer, event tables written by hand as lists of rows, and the report's rows read back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.config import Config
from pipeline.memory import SPOOL
from pipeline.report.merge import merge
from pipeline.writer.writer import Writer
from tests.report.reader import FOREIGN, NAMESPACE, FileObject, read
from workers.contract import (
    INPUT_SHIFT,
    NO_EXTENTS,
    U8,
    Closed,
    Data,
    EventBatch,
    Extents,
    Frontiers,
    Gaps,
    Opened,
    Overlaps,
    Parts,
    Rebases,
    Runs,
)
from workers.events import dtypes
from workers.overlap import POLICIES

HEAD = f"<dfxml xmlns='{NAMESPACE}' xmlns:tcpflow='{FOREIGN}'>".encode()
TAIL = b"</dfxml>"
LAST = 1_600_000_000_000_000_000  # ns; the time of every stream's last packet
MACS = bytes.fromhex("020000000001020000000002")


class Piece(NamedTuple):
    """Payload for a row of Data or Overlaps."""

    stream: int
    offset: int
    payload: bytes
    packet: int = 1
    wins: bool | None = None  # None: as the policy says of bytes that were delivered


def table(kind: Any, rows: Sequence[tuple[Any, ...]]) -> Any:
    """Rows as a table of the contract; None without rows."""
    if not rows:
        return None
    columns = zip(*rows, strict=True)
    return kind(*(np.array(c, d) for c, d in zip(columns, dtypes(kind).values(), strict=True)))


def key_of(stream: int) -> list[int]:
    """The key of a stream's connection: 10.0.0.1 with a port of the connection's own, and 10.0.0.2:80."""
    return [0, 0x0A000001, 0, 0x0A000002, (1000 + (stream >> 1)) << 16 | 80, 4, 0]


def name_of(stream: int) -> str:
    """The default name that follows."""
    ends = [f"10.0.0.1.{1000 + (stream >> 1)}", "10.0.0.2.80"]
    return "-".join(ends[::-1] if stream & 1 else ends)


class Opening(NamedTuple):
    """How a stream begins, if not as the first of its tuple with a SYN: in the file of another one (-R), midstream."""

    stream: int
    like: int  # a stream of the tuple
    base: int = 0
    midstream: bool = False


class Bench:
    """A writer on a folder. The payload of each ``say`` is an input of its own; every other one is spooled."""

    def __init__(self, folder: Path, fragment: str = "fragment-0", **options: Any) -> None:
        self.out = folder / "out"
        self.out.mkdir(exist_ok=True)
        options.setdefault("md5", True)
        options.setdefault("inputs", (Path("one.pcap"),))
        self.config = Config(output=self.out, **options)
        self.fragment = folder / fragment
        self._arrays: dict[int, U8] = {}
        self._addresses: dict[tuple[int, int], int] = {}  # of Data, by stream and offset
        self._said = 0
        self.writer = Writer(self.config, self.fragment, self._arrays.__getitem__)

    def say(
        self,
        *,
        opened: Iterable[int | Opening] = (),
        rebases: Iterable[tuple[int, int]] = (),
        parts: Iterable[tuple[int, int]] = (),
        data: Iterable[Piece] = (),
        overlaps: Iterable[Piece] = (),
        gaps: Iterable[tuple[int, int, int, int]] = (),
        frontiers: Iterable[tuple[int, int]] = (),
        runs: Iterable[tuple[int, int, int]] = (),
        closed: Iterable[Closing] = (),
    ) -> None:
        """Apply one batch. ``runs`` (stream, offset, size) are those said before their stream closes; ``gaps`` are
        (stream, offset, size, packet)."""
        number, self._said = self._said, self._said + 1
        begin = number << INPUT_SHIFT
        captured = bytearray(MACS + b"\x08\x00padding")
        opening = [
            (s, s & 255, key_of(like), s & 1, 0, LAST - 1, begin + len(MACS), len(MACS), base, midstream)
            for s, like, base, midstream in (o if isinstance(o, Opening) else Opening(o, o) for o in opened)
        ]
        new = [self._row(begin, captured, piece) for piece in data]
        later = POLICIES[self.config.overlap].delivered
        again = [
            (*self._row(begin, captured, piece)[:6], later if piece.wins is None else piece.wins) for piece in overlaps
        ]
        closing = list(closed)
        self._addresses |= {(row[0], row[2]): row[3] for row in new}
        ranges = [*runs, *((c.stream, offset, size) for c in closing for offset, size in c.runs)]
        told = [(s, 0, offset, size, self._addresses.get((s, offset), 0)) for s, offset, size in ranges]
        self.writer.apply(EventBatch(
            number, self._lay_down(number, bytes(captured)),
            opened=table(Opened, opening),
            rebases=table(Rebases, [(stream, 0, origin) for stream, origin in rebases]),
            parts=table(Parts, [(stream, 0, offset) for stream, offset in parts]),
            data=table(Data, new),
            overlaps=table(Overlaps, again),
            gaps=table(Gaps, [(stream, 0, offset, size, 0, packet) for stream, offset, size, packet in gaps]),
            frontiers=table(Frontiers, [(stream, 0, offset) for stream, offset in frontiers]),
            runs=table(Runs, told),
            closed=table(Closed, [c.row() for c in closing]),
        ))  # fmt: skip

    def _lay_down(self, number: int, captured: bytes) -> Extents:
        """Where the payload can be read from now on."""
        if number % 2 == 0:
            self._arrays[number] = np.frombuffer(captured, np.uint8)
            return NO_EXTENTS
        place = 10 * number
        self._arrays[SPOOL] = np.frombuffer(bytes(place) + captured, np.uint8)
        return Extents(np.array([number << INPUT_SHIFT], np.uint64), np.array([place], np.uint64))

    @staticmethod
    def _row(begin: int, captured: bytearray, piece: Piece) -> tuple[int, ...]:
        captured += b"#" * (len(piece.payload) % 3)  # payloads seldom stand side by side
        captured += piece.payload
        start = begin + len(captured) - len(piece.payload)
        return piece.stream, 0, piece.offset, start, len(piece.payload), piece.packet, LAST

    def rows(self) -> list[FileObject]:
        """End the writer; the report's rows, by stream."""
        self.writer.finish()
        report = self.out.parent / "report.xml"
        merge([self.fragment], report, HEAD, TAIL)
        return read(report.read_bytes()).files

    def content(self, name: str) -> bytes:
        """A file of the output."""
        return (self.out / name).read_bytes()

    def names(self) -> set[str]:
        """All names in the output folder."""
        return {path.name for path in self.out.iterdir()}


class Closing(NamedTuple):
    """The end of a stream: the numbers of Closed that the writer itself goes by, and its runs."""

    stream: int
    end: int
    runs: Sequence[tuple[int, int]]  # (offset, size)
    origin: int = 0

    def row(self) -> tuple[int, ...]:
        written = sum(size for _, size in self.runs)
        numbers = (self.origin, self.end, written, written, 0, 0, 0, 0, 0, LAST - 1, LAST, 1, 100, 0, 0, 0, 5)
        return self.stream, 0, *numbers


def whole(stream: int, size: int) -> Closing:
    """The end of a stream that has all its bytes."""
    return Closing(stream, size, [(0, size)])


def flow(row: FileObject) -> dict[str, str]:
    """The attributes of a row's flow element."""
    return next(attributes for tag, attributes in row.foreign if tag == "tcpflow")


def conflicts(row: FileObject) -> list[dict[str, str]]:
    """The attributes of its conflicts."""
    return [attributes for tag, attributes in row.foreign if tag == "conflict"]
