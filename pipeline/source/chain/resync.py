"""After damage: where does the next record begin?

Knows: what a record header of a layout looks like, and how much a chain of them proves.
Does not know: windows as such, faults.
Invariant: each byte is looked at a bounded number of times; what is found does not depend on how much of
the capture is in the window: where that is not enough, the answer is to ask for more.

A header alone, at a time near that of the good records before, proves itself: of random bytes one offset in
10**12 passes. Without such a time, or with lengths the wrong way round, several in a row are asked for.
"""

from typing import Final, NamedTuple

import numpy as np

from pipeline.source.chain.layout import Headers, Layout, damaged, headers_at
from pipeline.source.damage import CAREFUL, Found, Hit
from pipeline.source.records import Buffer
from workers.contract import I64, Bools

SEARCHED: Final = 262_144
"""Longest record that is looked for; a longer one is passed over, and reading goes on behind it."""

NEAR: Final = 4 * 86_400
"""Seconds that packets around damage may lie apart."""

_REAL_TIMES: Final = 1 << 20
"""Below it seconds are small numbers like any other, and being near proves nothing."""

NEW_ROW: Final = 6
"""Records in a row that prove themselves at any time."""

_ODD_ROW, _NEVER = 3, 1 << 30
_FIRST_CHUNK, _CHUNK = 1 << 12, 1 << 18


class Chains(NamedTuple):
    """Of each candidate, the sound headers in a row that it begins. Columns of equal length."""

    size: I64  # itself included
    strict: I64  # ... of them up to the first one whose lengths are the wrong way round
    whole: Bools  # the last one ends exactly where the window ends
    open: Bools  # the window ends before the row does
    reach: I64  # where the row stood then


class Span(NamedTuple):
    """The first and the last of some places; -1 without any."""

    first: int
    last: int


NO_SPAN: Final = Span(-1, -1)


def find_record(
    data: Buffer, end: int, begin: int, layout: Layout, seconds: tuple[int, ...], *, careful: bool, final: bool
) -> Hit:
    """The first record in [begin, end). ``seconds`` are those of records near by; ``careful`` asks for a
    chain through CAREFUL bytes."""
    if careful:
        return _find_long_chain(data, end, begin, layout, seconds, final=final)
    stop = end - layout.head + 1
    chunk = _FIRST_CHUNK
    while begin < stop:
        upto = min(begin + chunk, stop)
        found = possible(data, begin, upto, layout)
        if len(found.at):
            hit = _first(data, end, found, layout, seconds, final=final)
            if hit is not None:
                return hit
        begin = upto
        chunk = min(4 * chunk, _CHUNK)
    return Hit(Found.NOTHING, begin, begin + layout.head)


def _find_long_chain(
    data: Buffer, end: int, begin: int, layout: Layout, seconds: tuple[int, ...], *, final: bool
) -> Hit:
    """``find_record`` where damage was frequent."""
    stop = end - layout.head + 1
    while begin < stop:
        upto = begin + CAREFUL
        if end < upto + reach(layout) and not final:
            return Hit(Found.MORE, begin, upto + reach(layout))
        at = crossing(data, end, begin, min(upto, stop), layout, seconds, final=final).first
        if at >= 0:
            return Hit(Found.RECORD, at)
        begin = min(upto, stop)
    return Hit(Found.NOTHING, begin, begin + layout.head)


def possible(data: Buffer, begin: int, stop: int, layout: Layout) -> Headers:
    """Headers at any offset in [begin, stop) whose captured length is at most SEARCHED, of packets that had
    a byte at least. The window must go on for ``layout.head - 1`` bytes behind ``stop``."""
    size = stop - begin
    bytes_ = np.frombuffer(data, np.uint8, size + layout.head - 1, begin)
    # Bytes of the two words by weight, the lowest first.
    weights = (0, 1, 2, 3) if layout.order == "<" else (3, 2, 1, 0)
    captured = [bytes_[4 * layout.captured + place :][:size] for place in weights]
    length = [bytes_[4 * layout.length + place :][:size] for place in weights]
    mask = captured[3] == 0
    mask &= captured[2] <= SEARCHED >> 16
    filled = captured[0] | captured[1]
    for part in (captured[2], *length):
        filled |= part
    mask &= filled != 0
    headers = headers_at(data, np.flatnonzero(mask) + begin, layout)
    kept = headers.captured <= SEARCHED
    if layout.whole >= 0:
        padding = headers.after - headers.at - headers.captured - layout.head
        kept &= (padding >= 0) & (padding <= SEARCHED)
    return Headers._make(column[kept] for column in headers)


def _first(
    data: Buffer, end: int, found: Headers, layout: Layout, seconds: tuple[int, ...], *, final: bool
) -> Hit | None:
    """The first of the candidates that is a record, or that a larger window may show to be one."""
    close = near(found, seconds)
    strict = is_strict(found)
    wanted = np.where(close, np.where(strict, 1, _ODD_ROW), np.where(strict, NEW_ROW, _NEVER))
    likely = np.flatnonzero(wanted < _NEVER)
    found, close, strict, wanted = (
        Headers._make(c[likely] for c in found),
        close[likely],
        strict[likely],
        wanted[likely],
    )
    rows = rows_of(data, end, found, layout, NEW_ROW)
    fits = found.after <= end
    sound = fits & (np.where(close, rows.size, rows.strict) >= wanted)
    if final:
        sound |= fits & rows.whole & strict & (close | (rows.size > 1) | (not seconds))
        asks = np.zeros(len(sound), np.bool_)
    else:
        asks = ~sound & rows.open
    good = sound | asks
    if not good.any():
        return None
    index = int(good.argmax())
    at = int(found.at[index])
    if sound[index]:
        return Hit(Found.RECORD, at)
    return Hit(Found.MORE, at, int(rows.reach[index]) + layout.head)


def near(headers: Headers, seconds: tuple[int, ...]) -> Bools:
    """Which of the headers bear a time near one of these."""
    close = np.zeros(len(headers.at), np.bool_)
    for known in seconds:
        if known >= _REAL_TIMES:
            close |= np.abs(headers.seconds.astype(np.int64) - known) <= NEAR
    return close


def is_strict(headers: Headers) -> Bools:
    """Which of the headers have lengths as they should be."""
    right: Bools = (headers.captured <= headers.length) & (headers.length <= SEARCHED)
    return right


def rows_of(data: Buffer, end: int, headers: Headers, layout: Layout, most: int) -> Chains:
    """What each candidate leads to, all of them step by step together, ``most`` headers at most."""
    count = np.ones(len(headers.at), np.int64)
    strict = is_strict(headers).astype(np.int64)
    place = headers.after.copy()
    unread = np.zeros(len(count), np.bool_)
    going = np.arange(len(count))
    for _ in range(most - 1):
        inside = place[going] + layout.head <= end
        unread[going[~inside]] = True
        going = going[inside]
        if not len(going):
            break
        there = headers_at(data, place[going], layout)
        apart = np.abs(there.seconds.astype(np.int64) - headers.seconds[going])
        sound = (there.captured <= SEARCHED) & ((there.captured | there.length) != 0) & (apart <= NEAR)
        sound &= there.after - there.at >= there.captured.astype(np.int64) + layout.head
        going = going[sound]
        strict[going] += is_strict(there)[sound] & (strict[going] == count[going])
        count[going] += 1
        place[going] = there.after[sound]
    unread |= place > end
    return Chains(count, strict, unread & (place == end), unread, place)


def crossing(
    data: Buffer, end: int, begin: int, stop: int, layout: Layout, seconds: tuple[int, ...], *, final: bool
) -> Span:
    """The first and the last record in [begin, stop) from which a chain of records leads over ``stop`` to
    another one, or exactly to the end of the capture.

    For a record whose length is in doubt: did it swallow others? The window must reach ``reach(layout)``
    bytes beyond ``stop``, or to the end of the capture.
    """
    parts = []
    for chunk in range(begin, stop, _CHUNK):
        found = possible(data, chunk, min(chunk + _CHUNK, stop), layout)
        kept = near(found, seconds) & is_strict(found)
        parts.append(np.stack([found.at[kept], found.after[kept]]))
    if not parts:
        return NO_SPAN
    places, ends = np.concatenate(parts, axis=1)
    proved = (ends == end) if final else np.zeros(len(ends), np.bool_)
    over = np.flatnonzero((ends >= stop) & (ends + layout.head <= end))
    there = headers_at(data, ends[over], layout)
    proved[over] |= near(there, seconds) & ~damaged(there, layout)
    return proved_span(places, ends, proved)


def proved_span(places: I64, ends: I64, proved: Bools) -> Span:
    """The first and the last of the places from which a chain of them leads to one that is proved.

    ``places`` rise; each leads to the one that stands where it ends, if there is one.
    """
    if not proved.any():
        return NO_SPAN
    rows = np.arange(len(places))
    following = np.minimum(np.searchsorted(places, ends), len(places) - 1)
    last = np.where((places[following] == ends) & ~proved, following, rows)
    while not np.array_equal(further := last[last], last):  # doubles the steps each time
        last = further
    found = places[proved[last]]
    return Span(int(found[0]), int(found[-1]))


def reach(layout: Layout) -> int:
    """Bytes behind a place that tell whether a record stands there that a search may find."""
    return 2 * (SEARCHED + layout.head)
