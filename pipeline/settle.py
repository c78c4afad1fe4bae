"""Names that several streams would like, once all streams are known (a coarse ``-F``).

Knows: provisional names in fragments, and the files that bear them. Does not know: who wrote them.
Invariant: of each name the lowest stream gets it plain, whatever the number of writers; nothing that
exists is replaced. All files of a stream, derived ones with them, get plain names, or none; with -R that
holds of all streams in a file.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

from pipeline.config import Config
from pipeline.report.merge import Index, plain_streams, read_index
from pipeline.report.placing import output_error
from pipeline.report.text import unescape
from pipeline.tree import Tree
from workers.contract import U64

_NAMES = re.compile(rb"[>']([^<>'\x01]*)\x01([^\x02]*)\x02([^<>']*)[<']")
_STREAMS = re.compile(rb"<tcpflow:tcpflow[^>]* connection='(\d+)' direction='([01])'")

_Names: TypeAlias = Iterator[tuple[str, str]]
"""Provisional names of files, and the plain ones."""


def rename_plain(config: Config, fragments: Sequence[Path]) -> U64:
    """Rename the files whose names lose their suffix; return their streams, rising.

    Whatever else names files of these streams (``--flows``, objects.jsonl) drops the suffix of just these. On
    the console there are no files, and the streams are those that would get plain names. With -R a file is that
    of several streams. OutputError.
    """
    if config.name_format is None:
        return np.empty(0, np.uint64)
    index = read_index(fragments)
    plain = plain_streams(index)
    if not len(plain) or (config.console and not config.append):
        return plain
    with ExitStack() as stack:
        rows = _Rows(index, [stack.enter_context(path.open("rb")) for path in fragments])
        settled: list[int] = []
        try:
            tree = None if config.console else stack.enter_context(Tree(config.output))
            for stream, at in zip(plain.tolist(), np.searchsorted(index.stream, plain).tolist(), strict=True):
                own = rows.at(at)
                streams = _streams(own) if config.append else [stream]
                if tree is None or _rename(tree, rows, own, streams):
                    settled += streams
        except OSError as error:
            raise output_error("rename files in", config.output, error) from error
    return np.unique(np.array(settled, np.uint64))


class _Rows:
    """Rows read from their fragments one at a time: a stream can have a million derived files."""

    def __init__(self, index: Index, files: Sequence[BinaryIO]) -> None:
        self._index = index
        self._files = files
        self._any_derived = bool(index.serial.any())

    def at(self, place: int) -> bytes:
        """The row at this place of the index."""
        index = self._index
        file = self._files[index.fragment[place]]
        return os.pread(file.fileno(), int(index.length[place]), int(index.offset[place]))

    def derived(self, stream: int) -> Iterator[bytes]:
        """Those of the stream's derived files whose names wait to be settled."""
        if not self._any_derived:
            return
        index = self._index
        first, behind = np.searchsorted(index.stream, np.array([stream, stream + 1], np.uint64)).tolist()
        for place in range(first, behind):
            if index.serial[place] and index.name[place]:
                yield self.at(place)


def _streams(row: bytes) -> list[int]:
    """The streams that the row's file holds."""
    return [int(connection) << 1 | int(direction) for connection, direction in _STREAMS.findall(row)]


def _rename(tree: Tree, rows: _Rows, own: bytes, streams: Sequence[int]) -> bool:
    """All files of the streams, or none of them when one of the plain names is taken, or is none."""
    for done, (provisional, plain) in enumerate(_all_names(rows, own, streams)):
        if not tree.rename(provisional, plain):
            for old, new in islice(_all_names(rows, own, streams), done):
                tree.rename(new, old)
            return False
    return True


def _all_names(rows: _Rows, own: bytes, streams: Sequence[int]) -> _Names:
    """Of the file that has the row ``own``, and of those derived from the ``streams`` in it; none twice."""
    for row in chain([own], *map(rows.derived, streams)):
        names = {(_text(name + suffix + rest), _text(name + rest)) for name, suffix, rest in _NAMES.findall(row)}
        yield from sorted(names)


def _text(escaped: bytes) -> str:
    return unescape(html.unescape(escaped.decode()))
