"""Many small pieces of a file, close to one another: what lies around them is read, and all is written at once.

Knows: which rows of a Data table jump about within their streams, which pieces lie close together.
Does not know: who may write, what is hashed when. Invariant: a file has the bytes that it would have, had each piece
been written by itself, and takes no more room: between two pieces there is less than a block.

A capture of one-byte segments in the worst order costs a call of the system for each of them else.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.errors import OutputError
from pipeline.writer.folder import Folder
from pipeline.writer.payload import Payload, PieceColumns, pieces
from pipeline.writer.stream import Stream
from workers.contract import U8, Data, EventBatch

_MANY: Final = 8
"""Pieces that are worth it."""
_MOST: Final = 512
"""... and at most so many at once, so that a buffer stays below a megabyte."""
_SMALL: Final = 1024
_CLOSE: Final = 512
"""Bytes of a piece, and between two of them, beyond which they are written one by one."""


def in_file_order(events: EventBatch, streams: dict[int, Stream]) -> EventBatch:
    """With the rows of each stream's Data by their offsets, if many of them jump: each offset is there once, so any
    order does. Those of a stream in several parts stay: what is next to one another there may be in two files."""
    data = events.data
    if data is None:
        return events
    same = data.stream[1:] == data.stream[:-1]
    jumps = same & (data.offset[1:] != data.offset[:-1] + data.size[:-1])
    if np.count_nonzero(jumps) < max(_MANY, len(data.stream) // _MANY):
        return events
    parted = [] if events.parts is None else events.parts.stream.tolist()
    numbers = data.stream[np.append(True, ~same)].tolist()
    parted += [number for number in numbers if number in streams and streams[number].parted]
    stays = np.isin(data.stream, np.array(parted, np.uint64))
    order = np.lexsort((np.where(stays, np.arange(len(stays)), data.offset), data.stream))
    return events._replace(data=Data._make(column[order] for column in data))


def write_together(
    found: PieceColumns, data: Data, payload: Payload, streams: dict[int, Stream], folder: Folder
) -> PieceColumns:
    """Write the pieces that lie close together, and move their streams' frontiers; returns the others.

    What cannot be written in this way is among the others: whoever writes those one by one meets the error."""
    clusters = _clusters(found) if len(found.low) >= _MANY else []
    if not clusters:
        return found
    left = np.ones(len(found.low), np.bool_)
    for low, high in clusters:
        pieces = PieceColumns._make(column[low:high] for column in found)
        left[low:high] = not _write(pieces, data, payload, streams[int(found.stream[low])], folder)
    return PieceColumns._make(column[left] for column in found)


def _clusters(found: PieceColumns) -> list[tuple[int, int]]:
    """Which pieces [low, high) are of one stream, small, and close together."""
    stream, offset, size = found.stream, found.offset, found.size
    apart = np.ones(len(stream), np.bool_)
    between = offset[1:] - (offset[:-1] + size[:-1])
    apart[1:] = (stream[1:] != stream[:-1]) | (between < 0) | (between > _CLOSE)
    large = size > _SMALL
    apart |= large
    apart[1:] |= large[:-1]
    begin = np.flatnonzero(apart)
    many = np.diff(np.append(begin, len(stream)))
    worth = many >= _MANY
    return [
        (at, min(at + _MOST, low + count))
        for low, count in zip(begin[worth].tolist(), many[worth].tolist(), strict=True)
        for at in range(low, low + count, _MOST)
    ]


def _write(found: PieceColumns, data: Data, payload: Payload, stream: Stream, folder: Folder) -> bool:
    """Read what lies there, put the pieces in, write it. False: it cannot be done so."""
    low, high = int(found.offset[0]), int(found.offset[-1] + found.size[-1])
    if stream.parted or high > stream.cap:
        return False
    file, place = stream.file, low - stream.origin + stream.base
    whole = np.zeros(high - low, np.uint8)
    try:
        if file.made:
            there = folder.read(file, high - low, place)
            whole[: len(there)] = np.frombuffer(there, np.uint8)
        _put(whole, low, found, data, payload)
        folder.write(file, [whole.data], high - low, place)
    except OutputError:
        return False
    if stream.digest is not None and not stream.stale:
        _hash(whole, found, stream)
    return True


def _put(whole: U8, begin: int, found: PieceColumns, data: Data, payload: Payload) -> None:
    low, high = int(found.low[0]), int(found.high[-1])
    rows = payload.items(low, high)
    if rows is not None:
        shape = (len(whole) - rows.itemsize + 1,)
        np.ndarray(shape, rows.dtype, whole, strides=(1,))[data.offset[low:high] - begin] = rows
        return
    for piece in pieces(found):
        at = piece.offset - begin
        for buffer in payload.gather(piece.low, piece.high, even=piece.even):
            whole[at : at + len(buffer)] = np.frombuffer(buffer, np.uint8)
            at += len(buffer)


def _hash(whole: U8, found: PieceColumns, stream: Stream) -> None:
    """The one at the frontier, which the others do not touch; what lies below it was hashed before, as it was."""
    at = int(np.searchsorted(found.offset, stream.frontier))
    stream.stale = at > 0
    if stream.digest is not None and not at and found.offset[0] == stream.frontier:
        stream.digest.update(whole[: int(found.size[0])].data)
        stream.frontier += int(found.size[0])
