"""Captures that are a chain of records, window by window, over damage and on.

Knows: when a record can be yielded, and what damage makes doubtful. Does not know: file headers.
Invariant: a record is yielded when what it leads to was looked at, so that one with a false length, which
damage made, can be told by the nonsense that follows it; at the end of an idle window nothing follows yet,
and what ends there is believed.

Where a header is damaged, so may be the length that led there. The record before is dropped if its bytes
hold records that go on behind it; and so are records shortly before it, up to DOUBTED, if the time jumped by
days there, since nonsense may have been followed until it could be told. Then a record is looked for (resync).
A record cut by the end of the capture is only damage if records are found in it that end exactly there.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.source.chain.layout import Headers, Layout, RecordGuess, damaged, headers_at, problem_of, records_of
from pipeline.source.chain.resync import NEAR, NEW_ROW, crossing, find_record, reach
from pipeline.source.damage import UNREADABLE, Account, Found, unreadable
from pipeline.source.records import CUT_OFF, Records, Window
from pipeline.source.walk import walk
from workers.contract import Bools

DOUBTED: Final = 16
ANCHORED: Final = 64
"""Records in a row that can be no nonsense: what comes after them comes near their time."""

_NONE: Final = np.empty(0, np.int64)


def _too_long(headers: Headers, row: int) -> str:
    return f"a packet record claims {int(headers.captured[row])} bytes, more than there are"


class ChainReader(Account):
    """A capture whose first record stands at ``first``. See records.Reader."""

    def __init__(self, path: Path, name: str, layout: Layout, first: int, *, strict: bool) -> None:
        super().__init__(path, name, first, strict=strict)
        self.layout = layout
        self._seconds: int | None = None  # of the last record yielded
        self._anchor: int | None = None  # ... of the last one after ANCHORED in a row
        self._row = 0  # records yielded since damage
        self._last: int | None = None  # offset of the last one that leads to the end; -1: none; None: not known
        self._doubtless = 0  # offset up to which swallowed records were looked for

    def pieces(self, window: Window) -> Iterator[Records]:
        """See records.Reader."""
        self.wants = 0
        going = not self.stopped
        while going:
            going = self._search(window) if self._lost is not None else (yield from self._follow(window))
        self.consumed = self._next - window.base

    def _search(self, window: Window) -> bool:
        """Look for the end of the damage; whether there is more to do in this window."""
        assert self._lost is not None
        hit = find_record(
            window.data,
            window.end,
            self._next - window.base,
            self.layout,
            self._lost.seconds,
            careful=self._is_careful,
            final=window.final,
        )
        return self._searched(window, hit)

    def _follow(self, window: Window) -> Generator[Records, None, bool]:
        """Yield sound records up to damage or the window's end; whether there is more to do in it."""
        data, end, layout = window.data, window.end, self.layout
        at, held = self._next - window.base, _NONE
        for found in walk(data, at, layout.chain, RecordGuess(data, end, layout), end=end):
            headers = headers_at(data, np.concatenate([held, found]) if len(held) else found, layout)
            bad = damaged(headers, layout)
            if window.unreadable:
                bad |= unreadable(window, headers.at, headers.after if self._strict else headers.at + layout.head)
            stop = bad | (headers.after > end)
            if stop.any():
                return (yield from self._stopped_at(window, headers, int(stop.argmax()), bad))
            keep = max(self._believed(headers, len(headers.at) - 1), 0)
            yield from self._sound(window, headers.part(0, keep))
            held, at = headers.at[keep:], int(headers.after[-1])
        if window.final:
            return (yield from self._ended(window, headers_at(data, held, layout), at))
        if window.idle and at == end:
            headers = headers_at(data, held, layout)
            if self._believed(headers, len(held) - 1) == len(held) - 1:
                yield from self._sound(window, headers)
                held = _NONE
        self._pause(window, int(held[0]) if len(held) else at, at + layout.head)
        return False

    def _stopped_at(self, window: Window, headers: Headers, index: int, bad: Bools) -> Generator[Records, None, bool]:
        """The header at ``index`` is damaged, or its record passes the window's end."""
        if bad[index]:
            problem = UNREADABLE
            if not window.unreadable or not unreadable(window, headers.at, headers.after)[index]:
                problem = problem_of(headers, index, self.layout)
            return (yield from self._damage(window, headers, index, problem))
        if window.final:
            return (yield from self._ended(window, headers.part(0, index + 1), int(headers.at[index])))
        keep = max(self._believed(headers, index), 0)
        yield from self._sound(window, headers.part(0, keep))
        self._pause(window, int(headers.at[keep]), int(headers.after[index]))
        return False

    def _damage(self, window: Window, headers: Headers, index: int, problem: str) -> Generator[Records, None, bool]:
        """The header at ``index`` is nonsense: find out from where on, and begin to search."""
        base = window.base
        if self._strict:
            yield from self._sound(window, headers.part(0, index))
            self._stop(base + int(headers.at[index]), problem)
            return False
        last = self._believed(headers, index - 1) if index else -1
        place = int(headers.at[last + 1])
        if not window.final and window.end < place + reach(self.layout):
            keep = max(last, 0)
            yield from self._sound(window, headers.part(0, keep))
            self._pause(window, int(headers.at[keep]), place + reach(self.layout))
            return False
        swallows = self._swallows(window, headers, last, place)
        yield from self._sound(window, headers.part(0, last + (not swallows)))
        self._seek(window, headers, last if swallows else last + 1, problem, believed=swallows)
        return True

    def _seek(self, window: Window, headers: Headers, row: int, problem: str, *, believed: bool) -> None:
        """Damage begins with this row, whose time may be ``believed``; those before it were yielded."""
        self._row = 0
        offset = window.base + int(headers.at[row])
        known = self._known(int(headers.seconds[row]) if believed else None)
        self._lose(offset, problem, offset + 1, known)

    def _known(self, seconds: int | None) -> tuple[int, ...]:
        """Times near which packets go on: this one, that of the last record, and one that is in no doubt."""
        times = {seconds, self._seconds, self._anchor}
        return tuple(second for second in times if second is not None)

    def _ended(self, window: Window, headers: Headers, at: int) -> Generator[Records, None, bool]:
        """The capture ends inside what begins at ``at``: a record, of which the header may be the last row."""
        base, end = window.base, window.end
        whole = at + self.layout.head <= end
        index = len(headers.at) - whole
        problem = f"{CUT_OFF}a {'packet record' if whole else 'record header'}"
        if at < end and not self._strict:
            if whole and self._doubtful_from(headers, index) <= index:
                if self._holds_record(window, headers, index):
                    return (yield from self._damage(window, headers, index, _too_long(headers, index)))
            elif self._hides(window, headers, index, whole=whole):
                index -= not whole
                yield from self._sound(window, headers.part(0, index))
                self._seek(window, headers, index, _too_long(headers, index), believed=True)
                return True
        yield from self._sound(window, headers.part(0, index))
        if at < end:
            self._tell(base + at, problem, end - at)
        self._next = base + end
        return False

    def _hides(self, window: Window, headers: Headers, index: int, *, whole: bool) -> bool:
        """Whether records are in the one that the capture cuts, or, if all there is of that is a piece of its
        header, in the one before. Only a false length can hide records."""
        row = index if whole else index - 1
        if row < 0:
            return False
        begin = int(headers.at[row]) + 1
        if self._last is None:
            known = (self._time_before(headers, index) if whole else int(headers.seconds[row]),)
            stop = window.end - self.layout.head + 1
            last = crossing(window.data, window.end, begin, stop, self.layout, known, final=True).last
            self._last = window.base + last if last >= 0 else -1
        odd = whole and headers.captured[row] > headers.length[row]
        return self._last >= window.base + begin or bool(odd and self._holds_record(window, headers, row))

    def _holds_record(self, window: Window, headers: Headers, index: int) -> bool:
        """Whether a record stands behind this header in what is left of the capture."""
        row = self._believed(headers, index)
        known = self._known(self._time_before(headers, row + 1))
        begin = int(headers.at[index]) + 1
        hit = find_record(window.data, window.end, begin, self.layout, known, careful=self._is_careful, final=True)
        return hit.found is Found.RECORD

    def _swallows(self, window: Window, headers: Headers, last: int, stop: int) -> bool:
        """Whether there are records behind the header in row ``last`` that lead over ``stop``."""
        if last < 0:
            return False
        begin = max(int(headers.at[last]) + self.layout.head, self._doubtless - window.base)
        self._doubtless = max(self._doubtless, window.base + stop)
        known = (int(headers.seconds[last]),)
        return crossing(window.data, window.end, begin, stop, self.layout, known, final=window.final).first >= 0

    def _believed(self, headers: Headers, index: int) -> int:
        """The last row up to ``index`` that is not in doubt; DOUBTED rows are passed at most. -1: none."""
        least = max(index - DOUBTED, -1)
        while index > least and (first := self._doubtful_from(headers, index)) <= index:
            index = first - 1
        return max(index, least)

    def _doubtful_from(self, headers: Headers, index: int) -> int:
        """From which row on those up to ``index`` may be nonsense with sound lengths; ``index + 1``: none.

        They may where the time has jumped and NEW_ROW packets have not followed since, and an empty packet may.
        """
        if not headers.captured[index] and not headers.length[index]:
            return index
        jumps = range(max(index - NEW_ROW + 1, 0), index + 1)
        return next((row for row in jumps if self._is_far(headers, row)), index + 1)

    def _is_far(self, headers: Headers, index: int) -> bool:
        """Whether the time of a row lies days from that of the packet before."""
        return abs(int(headers.seconds[index]) - self._time_before(headers, index)) > NEAR

    def _time_before(self, headers: Headers, index: int) -> int:
        """Seconds of the record before that in row ``index``; of that itself if it is the first of all."""
        if index:
            return int(headers.seconds[index - 1])
        return int(headers.seconds[0]) if self._seconds is None else self._seconds

    def _sound(self, window: Window, headers: Headers) -> Iterator[Records]:
        """The packets of these headers, but those that the storage did not give."""
        if not len(headers.at):
            return
        self._seconds = int(headers.seconds[-1])
        self._row += len(headers.at)
        if self._row >= ANCHORED:
            self._anchor = self._seconds
        if window.unreadable:
            lost = unreadable(window, headers.at, headers.after)
            for row in np.flatnonzero(lost).tolist():
                at = int(headers.at[row])
                self._tell(window.base + at, UNREADABLE, int(headers.after[row]) - at)
            headers = Headers._make(column[~lost] for column in headers)
        if len(headers.at):
            yield records_of(headers, self.layout)
