"""Bodies in chunks: RFC 9112, section 7.1.

Knows: chunk sizes, extensions (passed over), trailers. Does not know: heads, what becomes of a body.
Invariants: constant memory; the data of chunks is not copied; every byte taken is data, framing, text, or ``rest``.

Forgiven: a bare LF as line end, blanks behind the size, a missing blank line at the end when a message follows.
Not a chunk: a size of no or more than 16 digits (H4) or of more than 63 bits, a line of more than 4 KiB, data that no
line end follows. There the body is broken, and what was read of the line is ``rest``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from workers.analyzers.protocols.http.bodies import WHOLE, Body
from workers.analyzers.protocols.http.lines import TOKEN
from workers.analyzers.seam import Piece
from workers.contract import Completeness

ODD: Final = "anomaly.chunk"
_LINE_ROOM: Final = 4 << 10
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*+(?:;[^\n]*+)?\r?+\n")
_QUICK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_FIELD: Final = re.compile(rb"%b++[ \t]*+:" % TOKEN)
_LF: Final = re.compile(rb"\n")
_MANY: Final = 256  # chunks that are not read at once
_BLANK: Final = (b"\n", b"\r\n")


def at_once(piece: Piece, at: int) -> tuple[list[tuple[int, int]], int] | None:
    """The body that ``piece[at:]`` begins with: from where to where its data go, and where it ends, in the piece.

    None: not all of it is there, there are trailers, extensions or many chunks, or something is odd about it."""
    data: list[tuple[int, int]] = []
    while len(data) < _MANY and (found := _QUICK.match(piece, at)):
        begin = found.end()
        end = begin + int(found[1], 16)
        at = end + 2
        if piece[end:at] != b"\r\n":
            return None
        if begin == end:
            return data, at
        data.append((begin, end))
    return None


class _State(Enum):
    SIZE = 0
    DATA = 1
    DATA_END = 2
    TRAILER = 3  # the first line of what follows the last chunk
    TRAILERS = 4


class Chunked:
    """One such body."""

    __slots__ = (
        "_inside", "_left", "_line", "_state", "body", "flags", "framing", "odd", "over", "rest", "text", "trailers",
    )  # fmt: skip

    def __init__(self, body: Body) -> None:
        self.body = body
        self.text = bytearray()
        """The trailers, byte-exactly: whoever feeds takes them out."""
        self._state = _State.SIZE
        self._line = bytearray()  # of a line that is not complete
        self._left = 0  # of the chunk's data
        self.over, self.rest, self.odd, self.flags = False, b"", "", WHOLE
        self.framing = 0  # bytes of chunk lines and the blank lines
        self.trailers = 0  # fields
        self._inside = False  # the beginning of this trailer line was told already

    def feed(self, piece: Piece, at: int, offset: int) -> int:
        base, size = offset - at, len(piece)
        while at < size and not self.over:
            if self._state is _State.DATA:
                end = min(size, at + self._left)
                self.body.data(memoryview(piece)[at:end], base + at)
                self._left -= end - at
                at = end
                if not self._left:
                    self._state = _State.DATA_END
            else:
                at = self._read_line(piece, at)
        return at

    def _read_line(self, piece: Piece, at: int) -> int:
        if self._state is _State.SIZE and not self._line:
            quick = _QUICK.match(piece, at)
            if quick:
                self._sized(int(quick[1], 16), quick.end() - at)
                return quick.end()
        room = (2 if self._state is _State.DATA_END else _LINE_ROOM) - len(self._line)
        found = _LF.search(piece, at, at + room)
        end = found.end() if found else min(len(piece), at + room)
        self._line += memoryview(piece)[at:end]
        if found or end - at == room:
            line, self._line = bytes(self._line), bytearray()
            _LINES[self._state](self, line)
        return end

    # A line, or as much of it as there is room for

    def _size_line(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        size = int(found[1], 16) if found else -1
        if 0 <= size < 1 << 63:
            self._sized(size, len(line))
        else:
            self._break(line)

    def _sized(self, size: int, length: int) -> None:
        self.framing += length
        self._left = size
        self._state = _State.DATA if size else _State.TRAILER

    def _data_end(self, line: bytes) -> None:
        if line in _BLANK:
            self.framing += len(line)
            self._state = _State.SIZE
        else:
            self._break(line)

    def _first_trailer(self, line: bytes) -> None:
        if line in _BLANK:
            self.framing += len(line)
            self.over = True
        elif _FIELD.match(line):
            self._state = _State.TRAILERS
            self._trailer(line)
        else:
            self.over, self.rest, self.odd = True, line, ODD

    def _trailer(self, line: bytes) -> None:
        self.text += line
        self.over = not self._inside and line in _BLANK
        self.trailers += not self._inside and not self.over and line[:1] not in (b" ", b"\t")
        self._inside = not line.endswith(b"\n")

    def _break(self, line: bytes) -> None:
        self.over, self.rest, self.odd, self.flags = True, line, ODD, Completeness.DAMAGED

    # The end of the bytes

    def gap(self, size: int, offset: int) -> Completeness | None:
        if self._state is _State.DATA:
            known = min(size, self._left)
            self.body.hole(known, offset)
            self._left -= known
            if not self._left:
                self._state = _State.DATA_END
            if known == size:
                return None
        return self.end(offset, whole=False) and Completeness.DAMAGED

    def end(self, offset: int, *, whole: bool) -> Completeness:  # noqa: ARG002 # as a Reader has it
        self._abandon()
        return WHOLE if self._state in (_State.TRAILER, _State.TRAILERS) else Completeness.OPEN

    def _abandon(self) -> None:
        """What is there of a line is accounted for."""
        if self._line and self._state is _State.TRAILERS:
            self.text += self._line
        else:
            self.framing += len(self._line)
        self._line.clear()


_LINES: Final[dict[_State, Callable[[Chunked, bytes], None]]] = {
    _State.SIZE: Chunked._size_line,
    _State.DATA_END: Chunked._data_end,
    _State.TRAILER: Chunked._first_trailer,
    _State.TRAILERS: Chunked._trailer,
}
