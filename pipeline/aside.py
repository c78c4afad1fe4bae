"""What no stream took, batch by batch, for ``-w``.

Knows: which packets of a batch were no segments, which segments a worker set aside, where their bytes are.
Does not know: the file's format (unprocessed.py).
Invariant: batches are written in their order, each once, while their bytes can still be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import Config
from pipeline.decode.reasons import Reason
from pipeline.memory import Memory, places
from pipeline.unprocessed import Unprocessed
from workers.contract import U8, Extents

if TYPE_CHECKING:
    from pipeline.capture import Dealt


class Aside:
    """Packets set aside, on their way to a file."""

    def __init__(self, config: Config, spool: Callable[[], U8]) -> None:
        """OutputError: the file cannot be made."""
        assert config.unprocessed is not None
        self._file = Unprocessed(config.unprocessed, config.unfinished)
        self._memory = Memory(config, spool, keep=4)

    def write(self, dealt: Dealt, untaken: Iterable[tuple[int, int]]) -> None:
        """``untaken``: (packet number, reason) of segments of this batch that no stream took."""
        reasons = dealt.stretch.decoded.reason.copy()
        chosen = reasons != Reason.TCP
        for packet, reason in untaken:
            row = packet - dealt.first_packet
            chosen[row], reasons[row] = True, reason
        rows = np.flatnonzero(chosen)
        if not len(rows):
            return
        records = dealt.stretch.records
        columns = np.array(dealt.stretch.extents, np.uint64).reshape(-1, 2)
        source, place = places(Extents(columns[:, 0], columns[:, 1]), records.start[rows])
        start = records.start.copy()
        start[rows] = place.view(np.uint64)
        placed = records._replace(start=start)
        if isinstance(source, int):
            self._file.add(self._memory(source), placed, dealt.first_packet, rows, reasons[rows])
        else:
            arrays = {each: self._memory(each) for each in np.unique(source).tolist()}
            self._file.add(arrays, placed, dealt.first_packet, rows, reasons[rows], source)

    def close(self) -> None:
        """All batches are written: the file gets its name."""
        self._file.close()
