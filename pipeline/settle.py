"""Names that several streams would like, once all streams are known (a coarse ``-F``).

Knows: provisional names in fragments, and the files that bear them. Does not know: who wrote them.
Invariant: of each name the lowest stream gets it plain, whatever the number of writers; nothing that
exists is replaced.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.config import Config
from pipeline.report.merge import plain_streams, read_index
from pipeline.report.text import unescape
from workers.contract import U64

_NAMES = re.compile(rb"[>']([^<>'\x01]*)\x01([^\x02]*)\x02([^<>']*)[<']")


def rename_plain(config: Config, fragments: Sequence[Path]) -> U64:
    """Rename the files whose names lose their suffix; return their streams, rising."""
    if config.name_format is None:
        return np.empty(0, np.uint64)
    index = read_index(fragments)
    settled = []
    for stream in plain_streams(index).tolist():
        at = int(np.searchsorted(index.stream, stream))
        row = _row(fragments[int(index.fragment[at])], int(index.offset[at]), int(index.length[at]))
        if _rename(config.output, row):
            settled.append(stream)
    return np.array(settled, np.uint64)


def _row(fragment: Path, offset: int, length: int) -> bytes:
    with fragment.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _rename(folder: Path, row: bytes) -> bool:
    """All files of a row, or none of them when one of the plain names is taken."""
    names = {(_text(name + suffix + rest), _text(name + rest)) for name, suffix, rest in _NAMES.findall(row)}
    if any(os.path.lexists(folder / plain) for _, plain in names):
        return False
    for provisional, plain in sorted(names):
        (folder / provisional).rename(folder / plain)
    return True


def _text(escaped: bytes) -> str:
    return unescape(html.unescape(escaped.decode()))
