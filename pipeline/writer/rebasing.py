"""A stream begins earlier than was thought: what was written of it moves up in its files.

Knows: what lies where before and after. Does not know: events, hashes.
Invariant: no byte of a stream before it, in a file that they share (-R), is moved or cut.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.errors import OutputError
from pipeline.writer.closing import read_all
from pipeline.writer.folder import Folder
from pipeline.writer.stream import Stream


def rebase(stream: Stream, origin: int, folder: Folder, fail: Callable[[Stream, int, OutputError], None]) -> None:
    """What its first file holds of it moves up; it is no more than a reorder window's worth.

    ``origin``: the offset of its first byte from now on. ``fail`` is told of what cannot be moved, and from where on.
    """
    shift = stream.move_origin(origin)
    start, file = stream.home()
    begin = origin - start  # what lies below is of streams before this one
    try:
        if file.made:
            held = b"".join(read_all(file, folder, begin))
            folder.cut(file, begin)
            folder.write(file, [held], len(held), begin + shift)
    except OutputError as error:
        fail(stream, origin + shift, error)
    for start, part in reversed(stream.own_parts()):  # names say offsets; the last moves out of the way first
        try:
            folder.rename(part, stream.part_name(start))
        except OutputError as error:
            folder.failures.took(error)
