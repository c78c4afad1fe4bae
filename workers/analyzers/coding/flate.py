"""gzip (RFC 1952) and deflate: zlib's format (RFC 1950), or raw (RFC 1951) as many servers send it.

Knows: how zlib says what it thinks of its input, members of gzip, how to tell the two formats of deflate apart.
Does not know: limits. Invariant: what can be decoded before a break is given, but for at most one byte; where it
broke is the first byte with which zlib sees that it is broken.

A gzip header's optional checksum, the checksum of the content and its length are zlib's to check.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import ClassVar, Final

from workers.analyzers.coding.decoder import BLOCK, MOST_OUT, SNIFFED, Decoder, is_text
from workers.analyzers.seam import Piece

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS

_MEMBER: Final = b"\x1f\x8b\x08"
"""How a member begins: magic number, and the only method there is (RFC 1952 2.3.1)."""

_TRIED: Final = 4 << 10
"""First bytes of a body that are tried as both formats where they could be both."""


class Stream:
    """One stream of zlib's, which can say where it broke."""

    def __init__(self, window_bits: int) -> None:
        self._zlib = zlib.decompressobj(window_bits)
        self.broke_at: int | None = None
        """Offset in the data that were fed last."""
        self.problem = ""

    @property
    def ended(self) -> bool:
        """The end of the stream was seen."""
        return self._zlib.eof

    @property
    def rest(self) -> bytes:
        """What was fed last of that lies behind the end."""
        return self._zlib.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The next bytes, a block at most. Not to be fed once it broke or ended."""
        rest, out = data, b""
        while rest or len(out) == MOST_OUT:
            before = self._zlib.copy()
            try:
                out = self._zlib.decompress(rest, MOST_OUT)
            except zlib.error as error:
                self.problem = _reason(error)
                yield from self._up_to_the_break(before, rest, len(data) - len(rest))
                return
            if out:
                yield out
            rest = self._zlib.unconsumed_tail

    def _up_to_the_break(self, state: zlib._Decompress, data: bytes, offset: int) -> Iterator[bytes]:
        """Halve ``data``, which breaks ``state`` before MOST_OUT bytes have come out, until one byte is left that does.

        ``offset``: of ``data`` in what was fed."""
        good, bad = 0, len(data)  # data[:good] is decoded, data[:bad] breaks
        while bad - good > 1:
            middle = (good + bad) // 2
            trial = state.copy()
            try:
                out = trial.decompress(data[good:middle])
            except zlib.error:
                bad = middle
            else:
                state, good = trial, middle
                yield out
        self.broke_at = offset + good
        yield self._within(state, data[good:bad])

    @staticmethod
    def _within(state: zlib._Decompress, byte: bytes) -> bytes:
        """What comes out of the byte that breaks it: a byte of output is asked for at a time."""
        found = bytearray()
        try:
            while out := state.decompress(byte, 1):
                found += out
                byte = state.unconsumed_tail
        except zlib.error:
            pass
        return bytes(found)


class Gzip(Decoder):
    """Members, one behind the other (RFC 1952 2.2)."""

    name: ClassVar[str] = "gzip"

    def __init__(self) -> None:
        super().__init__()
        self._member: Stream | None = None

    def _decode(self, block: bytes) -> Iterator[bytes]:
        rest, self._held = self._held + block, b""
        while rest:
            if self._member is None:
                if len(rest) < len(_MEMBER) and _MEMBER.startswith(rest):
                    self._held = rest
                    return
                if not rest.startswith(_MEMBER):
                    self._no_member(rest)
                    return
                self._member = Stream(_GZIP)
                self.members += 1
                self.whole = False
            yield from self._member.feed(rest)
            if self._member.broke_at is not None:
                self._broken(self.taken - len(rest) + self._member.broke_at, self._member.problem)
                return
            if not self._member.ended:
                return
            rest, self._member, self.whole = self._member.rest, None, True

    def _no_member(self, rest: bytes) -> None:
        if self.members:
            self._ended(len(rest))
        else:
            self._broken(0, "not gzip")


class Deflate(Decoder):
    """One stream, of either format."""

    name: ClassVar[str] = "deflate"

    def __init__(self) -> None:
        super().__init__()
        self._stream: Stream | None = None

    def _decode(self, block: bytes) -> Iterator[bytes]:
        if self._stream is None:
            window_bits = format_of(block)
            if window_bits is None:
                self._broken(0, "not deflate")
                return
            self._stream = Stream(window_bits)
        yield from self._stream.feed(block)
        if self._stream.broke_at is not None:
            self._broken(self.taken - len(block) + self._stream.broke_at, self._stream.problem)
        elif self._stream.ended:
            self._ended(len(self._stream.rest))


def gzip_at_once(body: Piece, most: int) -> bytes | None:
    """What comes out of a whole body that is one member and nothing else, if that is not more than ``most``, which is
    at least 1; None where it is not so simple."""
    return _at_once(body, _GZIP, most)


def deflate_at_once(body: Piece, most: int) -> bytes | None:
    """The same of a body that is one stream."""
    window_bits = format_of(bytes(body[:BLOCK]))
    return None if window_bits is None else _at_once(body, window_bits, most)


def _at_once(body: Piece, window_bits: int, most: int) -> bytes | None:
    stream = zlib.decompressobj(window_bits)
    try:
        out = stream.decompress(body, most)
    except zlib.error:
        return None
    return out if stream.eof and not stream.unused_data else None


def format_of(head: bytes) -> int | None:
    """zlib's number for the format of a body that begins with ``head``, which is all of it if shorter than a block.

    None: it is text, and not coded. A body that is neither format gets the number of the one that reads further.

    The first byte of zlib's format (method 8) is, read as raw, the head of a stored block: its length follows twice,
    the second time inverted. So most bodies can be only one of the two; those that can be both are tried."""
    could_be_zlib = head[:1] and head[0] & 15 == 8 and head[0] >> 4 <= 7 and _header_checked(head)
    if not could_be_zlib:
        return None if _is_plain(head) else _RAW
    stored = len(head) >= 5 and head[1] ^ head[3] == head[2] ^ head[4] == 0xFF
    if not stored:
        return _ZLIB
    return _RAW if _reach(head[:_TRIED], _RAW) > _reach(head[:_TRIED], _ZLIB) else _ZLIB


def _header_checked(head: bytes) -> bool:
    """RFC 1950 2.2; a preset dictionary is nothing that a client could have."""
    return len(head) == 1 or (int.from_bytes(head[:2], "big") % 31 == 0 and not head[1] & 0x20)


def _is_plain(head: bytes) -> bool:
    if not is_text(head):
        return False
    if len(head) >= SNIFFED:
        return True
    stream = Stream(_RAW)
    for _ in stream.feed(head):
        pass
    return not stream.ended


def _reach(head: bytes, window_bits: int) -> int:
    """How far it can be read; a stream that ends, or goes on behind ``head``, is read wholly."""
    stream = Stream(window_bits)
    for _ in stream.feed(head):
        pass
    return len(head) if stream.broke_at is None else stream.broke_at


def _reason(error: zlib.error) -> str:
    """zlib's own words: "Error -3 while decompressing data: invalid block type" without what is not its own."""
    return str(error).rpartition(": ")[2]
