"""A stretch of packets whose reasons, records and segments are being changed.

Knows: columns, which of them have to stay in step. Does not know: fragments, why anything is changed.
Invariant: the stretch that it was made of stays as it was; segments are in the order of their rows.
"""

from typing import Any, Final

import numpy as np

from pipeline.decode.kernels import Decoded
from pipeline.source.records import Records
from pipeline.timeline import Held, Stretch
from workers.contract import I64

_MOST: Final = np.iinfo(np.uint32).max


class Amended:
    """``reason`` (n,), ``held`` and ``extents`` are for whoever changes them."""

    def __init__(self, stretch: Stretch) -> None:
        self.reason = stretch.decoded.reason.copy()
        self.held: list[Held] = list(stretch.held)
        self.extents: list[tuple[int, int]] = list(stretch.extents)
        self._stretch = stretch
        self._records = Records._make(column.copy() for column in stretch.records)
        self._length = stretch.records.length.copy()
        self._captured = stretch.records.captured.copy()
        self._segments = [stretch.decoded]

    def replace(self, row: I64, records: Records, length: I64, captured: I64) -> None:
        """``records`` (k,), with addresses, stand in these rows; ``length`` and ``captured``: the frame bytes that
        they came in."""
        columns: list[Any] = list(self._records)
        for column, new in zip(columns, records, strict=True):
            column[row] = new
        self._length[row] = np.minimum(length, _MOST)
        self._captured[row] = np.minimum(captured, _MOST)

    def add(self, segments: Decoded) -> None:
        """Segments of rows that had none, with addresses; their column ``reason`` is not looked at."""
        self._segments.append(segments)

    def stretch(self) -> Stretch:
        """The stretch as it is now."""
        _, *columns = zip(*self._segments, strict=True)
        order = np.argsort(np.concatenate(columns[0]), kind="stable")
        decoded = Decoded(self.reason, *(np.concatenate(column).take(order) for column in columns))
        return Stretch(self._records, decoded, tuple(sorted(self.extents)), tuple(self.held))

    def sizes(self) -> Records:
        """Its records with frame bytes in place of those of packets that were put together."""
        return self._records._replace(length=self._length, captured=self._captured)
