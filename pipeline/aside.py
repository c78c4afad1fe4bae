"""What no stream took, batch by batch, for ``-w``.

Knows: which packets of a batch were no segments, which segments a worker set aside, where their bytes are.
Does not know: the file's format (unprocessed.py).
Invariant: batches are written in their order, each once, while their bytes can still be read. A fragment stands
where it became known that no stream takes it. A disk that fails costs packets that are set aside, never the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.config import Config
from pipeline.decode.reasons import Reason
from pipeline.memory import Memory, places
from pipeline.source.records import Records
from pipeline.unprocessed import Unprocessed
from pipeline.writer.failures import Failures, Tell
from workers.contract import I64, U8, Bools

if TYPE_CHECKING:
    from pipeline.capture import Dealt
    from pipeline.timeline import Stretch


UNWRITTEN: Final = "packets.unwritten"
"""The counter of packets that the file should have, and has not."""

_LEFT_OUT: Final[Bools] = np.ones(256, np.bool_)
"""Of each reason, whether the packet is known to be left out."""
_LEFT_OUT[[Reason.TCP, Reason.FRAGMENT_HELD, Reason.FRAGMENT_MERGED]] = False


class Aside:
    """Packets set aside, on their way to a file."""

    def __init__(self, config: Config, spool: Callable[[], U8], tell: Tell) -> None:
        """``tell``: what is told of writes that fail. OutputError: the file cannot be made."""
        assert config.unprocessed is not None
        self.failed: dict[str, int] = {}
        """What was counted of writes that failed."""
        self._file = Unprocessed(config.unprocessed, config.unfinished, took=Failures(self.failed, tell).took)
        self._memory = Memory(config, spool, keep=4)

    def write(self, dealt: Dealt, untaken: Iterable[tuple[int, int]]) -> None:
        """``untaken``: (packet number, reason) of segments of this batch that no stream took."""
        stretch = dealt.stretch
        assert stretch is not None
        reasons = stretch.decoded.reason.copy()
        chosen = _LEFT_OUT[reasons]
        for packet, reason in untaken:
            row = packet - dealt.first_packet
            chosen[row], reasons[row] = True, reason
        rows = np.flatnonzero(chosen)
        records, late, packets = stretch.records, dealt.late, None
        reasons = reasons[rows]
        if late is not None:
            order = np.argsort(np.concatenate([late.before, rows]), kind="stable")
            packets = np.concatenate([late.packet.view(np.int64), rows + dealt.first_packet])[order]
            rows = np.concatenate([len(records.start) + np.arange(len(late.before)), rows])[order]
            columns: Any = zip(records, late.records, strict=True)
            records = Records._make(map(np.concatenate, columns))
            reasons = np.concatenate([late.reason, reasons])[order]
        rest = stretch._replace(records=records)
        add_packets(self._file, self._memory, rest, dealt.first_packet, rows, reasons, packets)

    def close(self) -> dict[str, int]:
        """All batches are written: the file gets its name. What was counted of writes that failed, if any did."""
        self._file.close()
        return self.failed | ({UNWRITTEN: self._file.unwritten} if self.failed else {})


def add_packets(
    file: Unprocessed, memory: Memory, stretch: Stretch, first_packet: int, rows: I64, reasons: U8,
    packets: I64 | None = None,
) -> None:  # fmt: skip
    """Packets of a stretch, whose bytes can still be read, to a file. See Unprocessed.add for the columns."""
    if not len(rows):
        return
    records = stretch.records
    source, place = places(stretch.table(), records.start[rows])
    start = records.start.copy()
    start[rows] = place.view(np.uint64)
    placed = records._replace(start=start)
    if isinstance(source, int):
        file.add(memory(source), placed, first_packet, rows, reasons, packets=packets)
    else:
        arrays = {each: memory(each) for each in np.unique(source).tolist()}
        file.add(arrays, placed, first_packet, rows, reasons, source, packets)
