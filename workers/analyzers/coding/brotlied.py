"""br (RFC 7932).

Knows: how to get out of the binding what it decoded before it failed. Does not know: limits.
Invariant: within the first REPLAYED bytes of a body, what can be decoded before a break is given, where it broke is
the byte at which the library sees it, and bytes behind the end are told from damage. Beyond, all that is known to
FINE bytes: what came out of the last ones is lost, and bytes behind the end are damage.

The library fails when bytes follow the end of the coded data, drops the output of the call that fails, and its state
cannot be copied. So the input is kept, and decoded again up to the block that failed, and that one byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Final

import brotli

from workers.analyzers.coding.decoder import SNIFFED, Decoder, is_text
from workers.analyzers.seam import Piece

REPLAYED: Final = 1 << 20
"""Coded bytes that are kept to be decoded a second time: more than all but a few bodies have."""
FINE: Final = 256
"""Bytes fed at once beyond that, which takes half as long again as whole blocks."""

_OUT_LIMIT: Final = 128 << 10
"""Output of one call at which the library stops; it gives up to 224 KiB."""


class Brotli(Decoder):
    """One stream."""

    name: ClassVar[str] = "br"

    def __init__(self) -> None:
        super().__init__()
        self._brotli = brotli.Decompressor()
        self._before = bytearray()  # the input up to the block in work, as long as it is no more than REPLAYED

    def _decode(self, block: bytes) -> Iterator[bytes]:
        if self.taken == len(block) and _is_plain(block):
            self._broken(0, "not brotli")
            return
        if self.taken <= REPLAYED:
            yield from self._recorded(block)
            return
        self._before.clear()
        for at in range(0, len(block), FINE):
            step = block[at : at + FINE]
            try:
                yield from _decoded(self._brotli, step)
            except brotli.error as error:
                self._broken(self.taken - len(block) + at, _reason(error))
                return
            if self._brotli.is_finished():
                self._ended(len(block) - at - len(step))
                return

    def _recorded(self, block: bytes) -> Iterator[bytes]:
        given = 0
        try:
            for out in _decoded(self._brotli, block):
                given += len(out)
                yield out
        except brotli.error:
            yield from self._again(block, given)
            return
        if self._brotli.is_finished():
            self._ended(0)
        self._before += block

    def _again(self, block: bytes, given: int) -> Iterator[bytes]:
        """The block that failed, byte by byte. ``given``: bytes of its output that need not be given any more."""
        decoder = brotli.Decompressor()
        for _ in _decoded(decoder, self._before):
            pass
        self._before.clear()
        for at in range(len(block)):
            try:
                for out in _decoded(decoder, block[at : at + 1]):
                    if len(out) > given:
                        yield out[given:]
                    given = max(0, given - len(out))
            except brotli.error as error:
                self._broken(self.taken - len(block) + at, _reason(error))
                return
            if decoder.is_finished():
                self._ended(len(block) - at - 1)
                return


def brotli_at_once(body: Piece, most: int) -> bytes | None:
    """What comes out of a whole body that is one stream and nothing else, and not like text, if that is not more than
    ``most``, which is at least 1; None where it is not so simple."""
    if len(body) > REPLAYED or is_text(bytes(body[:SNIFFED])):
        return None
    decoder = brotli.Decompressor()
    try:
        out: bytes = decoder.process(body, output_buffer_limit=most)
    except brotli.error:
        return None
    return out if decoder.is_finished() and len(out) <= most else None


def _decoded(decoder: Any, data: bytes | bytearray) -> Iterator[bytes]:
    """All that comes out of ``data``; raises brotli.error if they break it, or if some are behind the end."""
    out: bytes = decoder.process(data, output_buffer_limit=_OUT_LIMIT)
    while out:
        yield out
        if decoder.is_finished() and decoder.can_accept_more_data():
            return
        out = decoder.process(b"", output_buffer_limit=_OUT_LIMIT)


def _is_plain(block: bytes) -> bool:
    """``block``: the first one; all of the body if it is shorter than the bytes that are looked at."""
    if not is_text(block):
        return False
    if len(block) >= SNIFFED:
        return True
    decoder = brotli.Decompressor()
    try:
        for _ in _decoded(decoder, block):
            pass
    except brotli.error:
        return True
    return not decoder.is_finished()


def _reason(error: Exception) -> str:
    """The library's own words, which are few."""
    return str(error).removeprefix("brotli: ")
