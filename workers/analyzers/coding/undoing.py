"""The codings of one body, undone one behind the other.

Knows: the names of codings, their order, the limits on what may come out.
Does not know: any coding's format, what the body is part of, files.
Invariant: what comes out depends on the body's bytes only, not on its pieces, and is never more than the limits
allow. The ratio is judged block by block of the body, by what of it was looked at so far; each coding's output is
judged like the last one's, so that nested bombs end at the first that is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from workers.analyzers.coding.decoder import Decoder
from workers.analyzers.coding.flate import Deflate, Gzip, deflate_at_once, gzip_at_once
from workers.analyzers.seam import Fact, Piece
from workers.contract import Completeness
from workers.limits import Limits


def _br() -> Decoder:
    from workers.analyzers.coding.brotlied import Brotli  # its library is loaded by whoever meets the coding

    return Brotli()


def _zstd() -> Decoder:
    from workers.analyzers.coding.zstd import Zstd  # as above

    return Zstd()


def _br_at_once(body: Piece, most: int) -> bytes | None:
    from workers.analyzers.coding.brotlied import brotli_at_once  # as above

    return brotli_at_once(body, most)


DECODERS: Final[dict[str, tuple[str, Callable[[], Decoder]]]] = {
    "gzip": ("-GZIP", Gzip),
    "x-gzip": ("-GZIP", Gzip),  # RFC 9110 8.4.1.3
    "deflate": ("-DEFLATE", Deflate),
    "br": ("-BR", _br),
    "zstd": ("-ZSTD", _zstd),
}
"""Coding: the end of its file's name, what undoes it. ``compress`` (LZW) is not among them: nobody sends it."""

_AT_ONCE: Final[dict[str, Callable[[Piece, int], bytes | None]]] = {
    "gzip": gzip_at_once,
    "x-gzip": gzip_at_once,
    "deflate": deflate_at_once,
    "br": _br_at_once,
}
"""What undoes a whole body in one step, or gives None. A library's way to do that with zstd has other limits."""

_NOTHING_DONE: Final = frozenset({"", "identity"})


def at_once(codings: Sequence[str], body: Piece, limits: Limits) -> tuple[str, bytes] | None:
    """What an ``Undoing`` would make of a whole body, in one step: its suffix, and what comes out.

    None unless all is well, there is one coding, and so little comes out that no limit is near: an Undoing has to
    look at it. Not more than that is ever decoded."""
    most = min(limits.ratio_from, limits.decoded_bytes)
    if len(codings) != 1 or limits.coding_layers < 1 or most < 1 or codings[0] not in _AT_ONCE:
        return None
    out = _AT_ONCE[codings[0]](body, most)
    return None if out is None else (DECODERS[codings[0]][0], out)


class Undoing:
    """Undoes the codings of one body, piece by piece.

    ``codings``: in the order in which they were applied, lower case: ("gzip", "br"). "identity" and "" are none.
    The iterators that ``feed`` and ``end`` return do the work: each is to be exhausted before the next call.
    ``between`` gets what comes out of each coding but the last one undone, with the number of codings undone by then
    (1 is the first), under the same limits."""

    def __init__(
        self, codings: Sequence[str], limits: Limits, between: Callable[[int, bytes], None] | None = None
    ) -> None:
        names = [name for name in reversed(codings) if name not in _NOTHING_DONE]
        self._limits = limits
        self._between = between
        self._layers: list[Decoder] = []
        self._given: list[int] = []  # bytes that came out of each layer
        self._limited = False
        self._closed = False  # coded bytes are missing: nothing more goes in
        self._facts: dict[str, Fact] = {}
        self.flags = Completeness(0)
        """After ``end``: 0, or DAMAGED (it cannot be decoded on), OPEN (the coded data ended too early), LIMITED (a
        bomb; or so many codings that none was undone)."""
        self.suffix = ""
        """Of the decoded file's name: "-BR-GZIP", in the order in which they are undone; "" if nothing is: there is
        nothing to undo, or one coding is unknown, or there are too many."""
        self.suffixes: list[str] = []
        """The suffix after each coding that is undone: ["-BR", "-BR-GZIP"]."""
        unknown = next((name for name in names if name not in DECODERS), None)
        if unknown is not None:
            self._facts["unknown_coding"] = unknown
        elif len(names) > limits.coding_layers:
            self._facts["problem"] = f"{len(names)} codings"
            self.flags = Completeness.LIMITED
        else:
            self.suffix = "".join(DECODERS[name][0] for name in names)
            self.suffixes = ["".join(DECODERS[name][0] for name in names[: depth + 1]) for depth in range(len(names))]
            self._layers = [DECODERS[name][1]() for name in names]
            self._given = [0] * len(names)

    def feed(self, piece: Piece) -> Iterator[bytes]:
        """The next bytes of the body. What comes out: never empty, at most 256 KiB."""
        if self._layers and not self._closed:
            yield from self._through(self._layers[0].feed(piece), 0)

    def hole(self) -> None:
        """Coded bytes are missing here. What was fed before can be decoded, what comes behind cannot."""
        self._closed = True

    def end(self) -> Iterator[bytes]:
        """The body is over; the last bytes that come out of it. Once exhausted, ``flags`` and ``facts`` are settled."""
        for depth, layer in enumerate(self._layers):
            if self._layers and not self._stopped():
                yield from self._through(layer.end(), depth)
        self._settle()

    def facts(self) -> dict[str, Fact]:
        """After ``end``; only those that there are:

        - ``broke_at``: offset at which it could not be decoded on, or stops, in the coded body; of codings one over the
          other, in the input of the one that ``broke_in`` names. ``problem``: what is wrong there, in words
        - ``trailing``: bytes behind the end of the coded data
        - ``members``: members of gzip, or frames of zstd, if there is more than one
        - ``unknown_coding``: the last applied of those that are not known
        """
        return self._facts

    def _through(self, pieces: Iterator[bytes], depth: int) -> Iterator[bytes]:
        """What a layer gave, through all that are behind it."""
        deeper = depth + 1 < len(self._layers)
        for piece in pieces:
            room = self._allowed() - self._given[depth]
            if len(piece) > room:
                piece = piece[:room]
                self._limited = True
            self._given[depth] += len(piece)
            if deeper:
                if self._between is not None and piece:
                    self._between(depth + 1, piece)
                yield from self._through(self._layers[depth + 1].feed(piece), depth + 1)
            elif piece:
                yield piece
            if self._stopped():
                break
        if self._stopped() and depth == 0:
            self._settle()

    def _allowed(self) -> int:
        """Bytes that may come out of each layer, after so much of the body."""
        limits = self._limits
        return min(limits.decoded_bytes, max(limits.ratio_from, limits.decoded_ratio * self._layers[0].taken))

    def _stopped(self) -> bool:
        """Nothing more will come out; that an end was seen does not count, since what trails it is counted."""
        return self._limited or any(layer.broke_at is not None for layer in self._layers)

    def _settle(self) -> None:
        """Keep what is to be said of the layers, and let them go, since a bomb's are large."""
        several = len(self._layers) > 1
        for layer in self._layers:
            if layer.broke_at is not None:
                self.flags |= Completeness.DAMAGED
                self._facts |= {"broke_at": layer.broke_at, "problem": layer.problem}
                if several:
                    self._facts["broke_in"] = layer.name
            if layer.trailing:
                self._facts.setdefault("trailing", layer.trailing)
            if layer.members > 1:
                self._facts.setdefault("members", layer.members)
        if self._limited:
            self.flags |= Completeness.LIMITED
        elif not self.flags:
            self._note_early_end()
        self._layers = []

    def _note_early_end(self) -> None:
        """Where the coded data stop, if that is before their end: in the first layer of which that is so, since those
        behind it lack what it did not give."""
        short = next((layer for layer in self._layers if not layer.whole), None)
        if short is not None:
            self.flags |= Completeness.OPEN
            problem = "a part is missing" if self._closed else "it ends too early"
            self._facts |= {"broke_at": short.taken, "problem": problem}
            if len(self._layers) > 1:
                self._facts["broke_in"] = short.name
