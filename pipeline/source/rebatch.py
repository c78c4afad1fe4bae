"""Stretches of records cut anew: into batches of one length.

Knows: the columns of a Records. Does not know: where they come from.
Invariant: the same records in the same order.
"""

from collections.abc import Generator, Iterator

import numpy as np

from pipeline.source.records import Records


def rebatch(pieces: Iterator[Records], packets: int) -> Generator[Records, None, None]:
    """The same records in batches of exactly ``packets``; the last one may be shorter, never empty."""
    held: list[Records] = []
    count = 0
    for piece in pieces:
        size = len(piece.start)
        at = 0
        while count + size - at >= packets:
            cut = at + packets - count
            yield _joined([*held, _sliced(piece, at, cut)])
            held, count, at = [], 0, cut
        if at < size:
            held.append(_sliced(piece, at, size))
            count += size - at
    if count:
        yield _joined(held)


def _sliced(piece: Records, begin: int, end: int) -> Records:
    return Records._make(column[begin:end] for column in piece)


def _joined(pieces: list[Records]) -> Records:
    pieces = [piece for piece in pieces if len(piece.start)]
    return pieces[0] if len(pieces) == 1 else Records._make(map(np.concatenate, zip(*pieces, strict=True)))
