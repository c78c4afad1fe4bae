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
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pipeline.config import Config
from pipeline.report.merge import plain_streams, read_index
from pipeline.report.placing import output_error
from pipeline.report.text import unescape
from pipeline.tree import Tree
from workers.contract import U64

_NAMES = re.compile(rb"[>']([^<>'\x01]*)\x01([^\x02]*)\x02([^<>']*)[<']")
_STREAMS = re.compile(rb"<tcpflow:tcpflow[^>]* connection='(\d+)' direction='([01])'")


def rename_plain(config: Config, fragments: Sequence[Path]) -> U64:
    """Rename the files whose names lose their suffix; return their streams, rising.

    Whatever else names files of these streams (``--flows``) drops the suffix of just these. On the console
    there are no files, and the streams are those that would get plain names. With -R a file is that of
    several streams. OutputError.
    """
    if config.name_format is None:
        return np.empty(0, np.uint64)
    index = read_index(fragments)
    plain = plain_streams(index)
    if not len(plain) or (config.console and not config.append):
        return plain
    rows = np.searchsorted(index.stream, plain)
    where = zip(*(column[rows].tolist() for column in (index.fragment, index.offset, index.length)), strict=True)
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in fragments]
        settled: list[int] = []
        try:
            tree = None if config.console else stack.enter_context(Tree(config.output))
            for stream, (f, offset, size) in zip(plain.tolist(), where, strict=True):
                row = os.pread(files[f].fileno(), size, offset)
                if tree is None or _rename(tree, row):
                    settled += _streams(row) if config.append else [stream]
        except OSError as error:
            raise output_error("rename files in", config.output, error) from error
    return np.unique(np.array(settled, np.uint64))


def _streams(row: bytes) -> list[int]:
    """The streams that the row's file holds."""
    return [int(connection) << 1 | int(direction) for connection, direction in _STREAMS.findall(row)]


def _rename(tree: Tree, row: bytes) -> bool:
    """All files of a row, or none of them when one of the plain names is taken, or is none."""
    names = {(_text(name + suffix + rest), _text(name + rest)) for name, suffix, rest in _NAMES.findall(row)}
    done: list[tuple[str, str]] = []
    for provisional, plain in sorted(names):
        if not tree.rename(provisional, plain):
            for old, new in done:
                tree.rename(new, old)
            return False
        done.append((provisional, plain))
    return True


def _text(escaped: bytes) -> str:
    return unescape(html.unescape(escaped.decode()))
