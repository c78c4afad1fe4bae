"""Requests and answers on standard output, for people (``-c -a``): the host of analyzers that prints.

Knows: how an exchange looks, which bodies are text, in which order exchanges come out.
Does not know: any protocol, TCP, where bytes come from, what a terminal is.
Invariant: what is printed, and in which order, depends on the streams only, not on where batches were cut nor on how
many workers there were; at most 4 KiB of a body are kept of it, however large it is.

    >>> 2021-05-03T00:00:00.123456Z 10.0.0.1.4000-10.0.0.2.80 GET http://example.test/a?b HTTP/1.1
    <<< 2021-05-03T00:00:00.125000Z 10.0.0.2.80-10.0.0.1.4000 200 OK text/html gzip 4,312 bytes (decoded 17,020)
    the decoded text, escaped (escaping.py), if its type says that it is text
    <<< - 10.0.0.2.80-10.0.0.1.4000 12,924 bytes more

Directions are marked as those of the streams (printing.py): ``>>>`` is that of the connection's first packet. The time
is that of the message's first byte. An exchange is printed in the turn of the packet by which it was complete. What is
known only because a connection is over is printed at the end of the run, connection by connection, since the moment
at which one is over depends on batches; and so are requests without an answer and answers without a request, since no
packet says that there is none. Until then all that lies in a file without a name, beyond some MiB.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from io import FileIO
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.errors import OutputError
from pipeline.report.placing import output_error
from pipeline.writer.escaping import MARKS, escape
from pipeline.writer.printing import COLOURS, RESET, Stamps
from workers.analyzers.coding import Undoing
from workers.analyzers.seam import Entity, Exchange, Fact, Moment, Piece, Protocol
from workers.contract import Completeness
from workers.limits import Limits

if TYPE_CHECKING:
    from pipeline.writer.analysis import Connected

MOST_TEXT: Final = 4096
"""Bytes of a body that are printed."""

MOST_LINE: Final = 2000
"""Characters of a request line or a status line that are printed."""

_MEMORY: Final = 4 << 20  # bytes of what waits for the end of the run that are held outside of a file

_TEXT: Final = re.compile(
    r"text/.+|message/.+|application/(?:json|xml|javascript|ecmascript|x-javascript|x-ndjson|x-www-form-urlencoded)"
    r"|[^/]+/[^/]+\+(?:json|xml)"
)
_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?(utf-?(?:16|32)(?:[bl]e)?)\b""", re.IGNORECASE)
_INCOMPLETE: Final = Completeness.DAMAGED | Completeness.LIMITED | Completeness.OPEN


class Body:
    """One content: counted, and its beginning kept if it is text."""

    __slots__ = ("_limits", "_text", "_undoing", "decoded", "entity", "flags", "missing", "size")

    def __init__(self, entity: Entity, limits: Limits) -> None:
        self.entity = entity
        self.size = 0  # bytes, as sent
        self.missing = 0
        self.decoded: int | None = None  # bytes; None: there is nothing to undo
        self.flags = Completeness(0)
        coded = any(coding not in {"", "identity"} for coding in entity.codings)
        undoing = Undoing(entity.codings, limits) if coded else None
        self._undoing = undoing if undoing is not None and undoing.suffix else None
        if self._undoing is not None:
            self.decoded = 0
        readable = _TEXT.fullmatch(_plain_type(entity)) and (self._undoing is not None or not coded)
        self._text: bytearray | None = bytearray() if readable else None

    def data(self, piece: Piece) -> None:
        """The next bytes."""
        self.size += len(piece)
        if self._undoing is None:
            self._keep(piece)
        else:
            self._take(self._undoing.feed(piece))

    def hole(self, size: int) -> None:
        """The next bytes are missing. Text ends there."""
        self.missing += size
        if self._undoing is not None:
            self._undoing.hole()

    def end(self, _offset: int, flags: Completeness, _facts: Mapping[str, Fact]) -> None:
        """It is over."""
        self.flags = flags
        if self._undoing is not None:
            self._take(self._undoing.end())
            self.flags |= self._undoing.flags
            self._undoing = None

    def described(self) -> str:
        """Type, codings, sizes, and what keeps it from being whole."""
        entity = self.entity
        words = [_plain_type(entity), *(coding for coding in entity.codings if coding), f"{self.size:,} bytes"]
        if self.decoded is not None:
            words.append(f"(decoded {self.decoded:,})")
        wrong = [f"{self.missing:,} bytes missing"] if self.missing else []
        wrong += [str(flag.name).lower() for flag in Completeness if self.flags & flag & _INCOMPLETE]
        return ", ".join([" ".join(filter(None, words)), *wrong])

    def text(self) -> bytes:
        """What is to be read of it; empty if it is no text."""
        text = bytes(self._text or b"")
        found = _CHARSET.search(self.entity.media_type)
        return _ascii_kept(text, found[1].lower()) if found else text

    def left(self) -> int:
        """How many bytes follow what is read of it; 0 if it is no text."""
        return 0 if self._text is None else (self.size if self.decoded is None else self.decoded) - len(self._text)

    def _take(self, blocks: Iterator[bytes]) -> None:
        for block in blocks:
            self.decoded = (self.decoded or 0) + len(block)
            self._keep(block)

    def _keep(self, piece: Piece) -> None:
        text = self._text
        if text is not None and len(text) < MOST_TEXT and not self.missing:
            text += piece[: MOST_TEXT - len(text)]


def _plain_type(entity: Entity) -> str:
    """The declared type without its parameters."""
    return entity.media_type.partition(";")[0].strip().lower()[:100]


def _ascii_kept(text: bytes, charset: str) -> bytes:
    """Text in units of two or four bytes in UTF-8. Without a mark it is little-endian (https://encoding.spec.whatwg.org)."""
    name = charset.replace("-", "")
    size = int(name[3:5]) // 8
    order = "be" if name.endswith("be") or text[:size] in {b"\xfe\xff", b"\0\0\xfe\xff"} else "le"
    return text.decode(f"utf-{size * 8}-{order}", "replace").removeprefix("\ufeff").encode()


class _Told(NamedTuple):
    """A block, and its place among the others."""

    known: int
    connection: int
    number: int  # of the exchange within the connection
    text: bytes


class ExchangeHost:
    """What the analyzer of one connection talks to."""

    __slots__ = ("_connected", "_counts", "_exchanges", "told")

    final: Final = True
    """What was printed cannot be taken back."""

    def __init__(self, exchanges: Exchanges, connected: Connected) -> None:
        self._exchanges = exchanges
        self._connected = connected
        self._counts: tuple[dict[str, int], dict[str, int]] = {}, {}
        self.told = 0  # exchanges

    def moment(self, side: int, offset: int) -> Moment:
        """When a byte was there."""
        return self._connected.moment(side, offset)

    def text(self, side: int, kind: str, piece: Piece) -> None:
        """Header blocks are not printed."""

    def begin(self, entity: Entity) -> Body:
        """An entity begins."""
        return Body(entity, self._exchanges.limits)

    def whole(self, entity: Entity, piece: Piece, offset: int, flags: Completeness, facts: Mapping[str, Fact]) -> Body:
        """See seam.py."""
        content = self.begin(entity)
        content.data(piece)
        content.end(offset, flags, facts)
        return content

    def exchange(self, exchange: Exchange) -> None:
        """Print it, now or later."""
        connected = self._connected
        names = []
        for side in (0, 1):
            stream = connected.stream(side)
            names.append(None if stream is None else escape((stream.name + stream.provisional).encode()))
        self._exchanges.tell(connected.connection, self.told, exchange, names, over=connected.closing)
        self.told += 1

    def count(self, side: int, name: str, amount: int = 1) -> None:
        """Add to a fact of the flow."""
        counts = self._counts[side]
        counts[name] = counts.get(name, 0) + amount

    def facts(self, side: int) -> Mapping[str, int]:
        """What was counted."""
        return self._counts[side]

    def turn(self, part: str) -> None:
        """What is printed has no parts."""

    def discard(self) -> None:
        """Another protocol's analyzer got the connection. Whoever has told an exchange is not asked for this."""
        self._counts = {}, {}

    def close(self) -> None:
        """The connection is over."""
        self._exchanges.streams += sum(self._connected.stream(side) is not None for side in (0, 1))


class Exchanges:
    """All exchanges that were told, until they are printed."""

    def __init__(
        self, limits: Limits, folder: Path, put: Callable[[bytes], None], took: Callable[[OutputError], None], *,
        colours: bool = False,
    ) -> None:  # fmt: skip
        """``put`` takes text. In ``folder`` lies what has to wait for the end of the run; ``took`` is told when it
        cannot."""
        self.limits = limits
        self.streams = 0  # of connections that are over, of which exchanges were told or could have been
        self._put = put
        self._leads = [colour + mark for colour, mark in zip(COLOURS, MARKS, strict=True)] if colours else MARKS
        self._tail = RESET if colours else b""
        self._stamp = Stamps()
        self._told: list[_Told] = []
        self._rest = _Rest(folder, took)

    @property
    def lost(self) -> int:
        """Bytes of text that could not wait."""
        return self._rest.lost

    def host(self, _: Protocol, connected: Connected) -> ExchangeHost:
        """For one connection."""
        return ExchangeHost(self, connected)

    def tell(self, connection: int, number: int, exchange: Exchange, names: list[bytes | None], *, over: bool) -> None:
        """An exchange, the ``number``-th of its connection, whose streams are called ``names``.

        ``over``: it is told because the connection is.
        """
        text = b"".join(self._messages(exchange, names))
        whole = all(_seen(exchange, answer) for answer in (0, 1))
        if over or not whole or not exchange.known:
            self._rest.add(connection, text)
        else:
            self._told.append(_Told(exchange.known, connection, number, text))

    def print(self) -> None:
        """A batch was taken in: print what it made complete, in the order of packets."""
        for told in sorted(self._told):
            self._put(told.text)
        self._told.clear()

    def finish(self) -> None:
        """The run is over: print what is left."""
        self.print()
        for text in self._rest.blocks():
            self._put(text)

    def _messages(self, exchange: Exchange, names: list[bytes | None]) -> Iterator[bytes]:
        for answer, line in enumerate((_asked(exchange), _answered(exchange))):
            side, began = exchange.side ^ answer, exchange.began[answer]
            name = names[side]
            mine = [body for body in exchange.contents if isinstance(body, Body) and body.entity.side == side]
            if name is None:  # there is no such stream
                continue
            if not _seen(exchange, answer) and not mine:
                yield self._message(side, None, name, "no answer seen" if answer else "no request seen")
                continue
            yield self._message(side, began, name, line, mine[0] if mine else None)
            for body in mine[1:]:
                yield self._message(side, None, name, "", body)

    def _message(self, side: int, began: Moment | None, name: bytes, line: str, body: Body | None = None) -> bytes:
        """A line of ours, and the text of the body."""
        lead = self._leads[side]
        stamp = b"-" if began is None else self._stamp(began.time)
        words = [lead + stamp, name]
        words += [_one_line(text) for text in (line, "" if body is None else body.described()) if text]
        shown = b" ".join(words) + b"\n"
        if body is not None and (text := escape(body.text())):
            shown += text if text.endswith(b"\n") else text + b"\n"
        if body is not None and (left := body.left()):
            shown += b"%b- %b %b bytes more\n" % (lead, name, f"{left:,}".encode())
        return shown + self._tail


def _seen(exchange: Exchange, answer: int) -> bool:
    """Whether there is a request (0), an answer (1)."""
    return bool((exchange.asked, exchange.answered)[answer]) or exchange.began[answer] is not None


def _asked(exchange: Exchange) -> str:
    """The request line, with the whole URL if that is known."""
    line, target, url = exchange.asked, exchange.facts.get("target"), exchange.facts.get("url")
    if isinstance(target, str) and isinstance(url, str) and target:
        line = line.replace(f" {target}", f" {url}", 1)
    return line


def _answered(exchange: Exchange) -> str:
    """The status line, without the version if that can be told."""
    _, _, rest = exchange.answered.partition(" ")
    status = exchange.facts.get("status")
    return rest if status is not None and rest.startswith(str(status)) else exchange.answered


def _one_line(text: str) -> bytes:
    """A peer's words, in latin-1, as part of a line of ours."""
    shown = escape(text[:MOST_LINE].encode("latin-1", "backslashreplace")).replace(b"\n", b"\\x0a")
    return shown + b" ..." if len(text) > MOST_LINE else shown


class _Rest:
    """Blocks that wait for the end of the run, the last of them in memory, the others in a file without a name."""

    def __init__(self, folder: Path, took: Callable[[OutputError], None]) -> None:
        self.lost = 0
        self._folder = folder
        self._took = took
        self._file: FileIO | None = None
        self._places: list[tuple[int, int, int]] = []  # connection, place in the file, size
        self._end = 0
        self._held: list[tuple[int, bytes]] = []
        self._size = 0  # of those

    def add(self, connection: int, text: bytes) -> None:
        """One more."""
        self._held.append((connection, text))
        self._size += len(text)
        if self._size > _MEMORY:
            self._put_away()

    def _put_away(self) -> None:
        """What is held into the file. A block that it has no room for is lost."""
        done, text = 0, memoryview(b"".join(block for _, block in self._held))
        try:
            if self._file is None:
                self._file = TemporaryFile(buffering=0, dir=str(self._folder))  # noqa: SIM115 - closed by ``blocks``
            while done < len(text):
                done += os.pwrite(self._file.fileno(), text[done:], self._end + done)
        except OSError as error:
            self._took(output_error("write to", self._folder, error))
        place = 0
        for connection, block in self._held:
            place += len(block)
            if place > done:
                self.lost += len(block)
                continue
            self._places.append((connection, self._end, len(block)))
            self._end += len(block)
        self._held, self._size = [], 0

    def blocks(self) -> Iterator[bytes]:
        """All of them by connection, each connection's in their order."""
        places: list[tuple[int, int | bytes, int]] = [*self._places, *((c, text, len(text)) for c, text in self._held)]
        with self._file or nullcontext():
            for _, place, size in sorted(places, key=itemgetter(0)):
                text = self._read(place, size) if isinstance(place, int) else place
                self.lost += size - len(text)
                yield text

    def _read(self, place: int, size: int) -> bytes:
        assert self._file is not None
        try:
            return os.pread(self._file.fileno(), size, place)
        except OSError as error:
            self._took(output_error("read", self._folder, error))
            return b""
