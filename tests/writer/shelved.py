"""A shelf in a folder of its own, connections without packets, and what was told of them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

from pipeline.config import Config
from pipeline.report.derived import DerivedRecord
from pipeline.writer.analysis import ConnectionHost
from pipeline.writer.findings.shelf import Shelf
from pipeline.writer.folder import Folder
from pipeline.writer.names import Endpoints, provisional
from pipeline.writer.stream import Stream
from workers.analyzers.seam import Entity, Exchange, Fact, Moment, Protocol
from workers.contract import Completeness
from workers.limits import Limits

SECOND = 1_000_000_000
START = 1_600_000_000 * SECOND
WHOLE = Completeness(0)
CONNECTION = 17

HTTP = Protocol("http", "", ("HTTP", "HTTPBODY"), ("head_bytes", "body_bytes"), lambda _: None, None)  # type: ignore[arg-type]

TEXT = b"".join(b"%d bottles of beer on the wall\n" % i for i in range(3000))
GZIP = gzip.compress(TEXT, mtime=0)
ZLIB = zlib.compress(TEXT)


class Conversation:
    """A connection, to its host: packets of 100 bytes, a second apart."""

    def __init__(self, connection: int = CONNECTION, *, coarse: bool = False) -> None:
        self.connection = connection
        self.closing = False
        ends = Endpoints("10.0.0.1", 1000, "10.0.0.2", 80, (), 2), Endpoints("10.0.0.2", 80, "10.0.0.1", 1000, (), 2)
        self.streams = [
            Stream(number, name, provisional(number) if coarse else "", end, b"", md5=False)
            for number, name, end in zip((connection << 1, connection << 1 | 1), ("asks", "answers"), ends, strict=True)
        ]

    def stream(self, side: int) -> Stream:
        return self.streams[side]

    def moment(self, side: int, offset: int) -> Moment:
        assert offset >= 0
        packet = 1 + side + 2 * (offset // 100)
        return Moment(packet, START + packet * SECOND, packet)


class Lines:
    """What was said for objects.jsonl, by connection and number."""

    def __init__(self) -> None:
        self.records: dict[tuple[int, int], Mapping[str, object]] = {}
        self.suffixes: list[Mapping[str, str]] = []

    def add(self, connection: int, serial: int, record: Mapping[str, object], suffixes: Mapping[str, str]) -> None:
        assert (connection, serial) not in self.records, "a number twice"
        self.records[connection, serial] = record
        self.suffixes.append(suffixes)

    def void(self, connection: int) -> None:
        self.records = {key: record for key, record in self.records.items() if key[0] != connection}


@dataclass
class Bench:
    """A shelf. ``analyze`` and ``extract`` as -a and -e."""

    path: Path
    analyze: bool = True
    extract: tuple[str, ...] = ("http",)
    md5: bool = True
    append: bool = False
    limits: Limits = field(default_factory=Limits)
    rows: list[DerivedRecord] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)
    counters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.mkdir(exist_ok=True)
        self.folder = Folder(self.path)
        config = Config(
            (), self.path, analyze=self.analyze, extract=self.extract, md5=self.md5, append=self.append,
            limits=self.limits,
        )  # fmt: skip
        lines = self.lines if self.extract else None
        self.shelf = Shelf(config, self.folder, self.rows.extend, self._void, lines, self.counters)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.folder.shut()

    def _void(self, stream: int) -> None:
        self.rows[:] = [row for row in self.rows if row.stream != stream]

    def host(self, conversation: Conversation | None = None) -> ConnectionHost:
        return self.shelf.host(HTTP, conversation or Conversation())  # type: ignore[arg-type]

    def tell(self, *args: Any, **options: Any) -> ConnectionHost:
        """A connection of one answer (``tell``), its host closed."""
        host = self.host()
        tell(host, *args, **options)
        host.close()
        return host

    def files(self) -> dict[str, bytes]:
        """All that lies in the folder, by name."""
        return {str(path.relative_to(self.path)): path.read_bytes() for path in self.path.rglob("*") if path.is_file()}

    def row(self, name: str) -> DerivedRecord:
        (row,) = [row for row in self.rows if row.filename == name]
        return row

    def record(self, number: int, connection: int = CONNECTION) -> Mapping[str, object]:
        return self.lines.records[connection, number]

    def told(self) -> object:
        """All of it, comparable: names, bytes, times, rows and records."""
        times = {name: (self.path / name).stat().st_mtime_ns for name in self.files()}
        return self.files(), times, sorted(self.rows, key=lambda row: row[:2]), self.lines.records, self.counters


Benches: TypeAlias = Callable[..., Bench]
"""Makes one; its fixture clears it away."""


def tell(
    host: ConnectionHost, parts: Sequence[bytes | int] | bytes, *codings: str, side: int = 1, name: str = "page",
    media_type: str = "", boundary: bytes = b"", flags: Completeness = WHOLE,
    facts: Mapping[str, Fact] | None = None, offset: int = 300, length: int | None = None, at_once: bool = False,
) -> None:  # fmt: skip
    """An answer with one body and nothing else: its bytes, and the sizes of holes; or, ``at_once``, whole."""
    parts = [parts] if isinstance(parts, bytes) else parts
    entity = Entity(side, "HTTPBODY", offset, None, codings, media_type, name, boundary)
    size = sum(part if isinstance(part, int) else len(part) for part in parts) if length is None else length
    told = offset + size, flags, {"role": "response", **(facts or {})}
    if at_once:
        (part,) = parts
        assert isinstance(part, bytes)
        content = host.whole(entity, memoryview(part), *told)
    else:
        content = host.begin(entity)
        for part in parts:
            if isinstance(part, int):
                content.hole(part)
            else:
                shown = bytearray(part)
                content.data(memoryview(shown))
                shown[:] = b"?" * len(shown)  # nobody may have kept a view of it
        content.end(*told)
    host.exchange(Exchange({"method": "GET", "url": "http://x/page"}, contents=(content,), side=1 - side))
