"""Bytes of a stream, read back from the files that hold them.

Knows: where an offset lies. Does not know: why somebody wants them.
Invariant: what is read is what was written last; bytes that nobody wrote cannot be had.
"""

from __future__ import annotations

from pipeline.errors import InternalError
from pipeline.writer.folder import Folder
from pipeline.writer.stream import Stream


def read_back(stream: Stream, folder: Folder, offset: int, size: int) -> bytes:
    """``size`` bytes from ``offset`` on, over all parts. InternalError: the files end before; OutputError."""
    pieces = []
    while size:
        file, start = stream.part(offset)
        piece = folder.read(file, size, offset - start)  # it ends where the next part begins, or before
        if not piece:
            raise InternalError(f"{file.name} is shorter than what was written to it")
        pieces.append(piece)
        offset, size = offset + len(piece), size - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
