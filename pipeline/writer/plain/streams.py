"""The plain streams of a writer: begun, written, closed as columns.

Knows: which streams are plain, in which slot each one is, which of their files are open.
Does not know: what becomes of a stream to which something else happens: it is given away.
Invariant: a stream is in a slot or it is given away, never both; of what a kernel could not do nothing is said here:
the stream is given away, and whoever has it then meets the error.

A stream is plain while all that was heard of it is that it began, and bytes from there on (with MD5: in their order).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from pipeline.errors import OutputError
from pipeline.report.fragments import FragmentWriter
from pipeline.report.placing import output_error
from pipeline.report.rows import Run
from pipeline.writer.folder import Folder
from pipeline.writer.payload import Payload, PieceColumns, distinct
from pipeline.writer.plain.compiled import compiled
from pipeline.writer.plain.layout import (
    BEGUN,
    BROKEN,
    CLOSING,
    LEFT,
    OPEN,
    PLAIN,
    SHUT,
    Facts,
    Kernel,
    Pieces,
    Rows,
    Table,
)
from pipeline.writer.plain.twin import Twin
from pipeline.writer.stream import Stream
from workers.contract import I32, I64, INPUT_SHIFT, OFFSET_MASK, Bools, Closed, Completeness, Opened, Overlaps, Runs

if TYPE_CHECKING:
    from hashlib import _Hash

Some = TypeVar("Some", Opened, Pieces, PieceColumns, Overlaps, Closed, Runs)

_FIRST: Final = 1024  # slots at first
_ROWS: Final = 1024  # made together
_MAC: Final = 12  # bytes: destination, source
_MAPPED: Final = np.uint64(0xFFFF)
_UNUSUAL: Final = int(~(Completeness.MIDSTREAM | Completeness.OPEN | Completeness.SNAPPED | Completeness.DAMAGED))
"""Flags of streams whose rows say more."""
_SAME: Final = tuple(name for name in CLOSING.names or () if name in Closed._fields)


class PlainStreams:
    """By slot. ``begin``, ``write``, ``note`` and ``close`` give what is not of plain streams, in its order."""

    def __init__(
        self, facts: Facts, folder: Folder, fragment: FragmentWriter, runs: dict[int, list[Run]], *, md5: bool
    ) -> None:
        """``runs``: where those of streams that are given away go."""
        self._folder = folder
        self._fragment = fragment
        self._facts = facts
        self._twin = Twin(facts)
        self._kernel: Kernel = (compiled() or Twin)(facts)
        self._runs = runs
        self._md5 = md5
        self._digests: dict[int, _Hash] = {}
        self._slots: dict[int, int] = {}
        self._table: Table = np.zeros(_FIRST, PLAIN)
        self._free = list(range(_FIRST))
        self._held: dict[int, None] = {}
        """Slots with open files, the one opened first in front."""
        folder.take_back = self._take_back

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, number: object) -> bool:
        return number in self._slots

    def begin(self, opened: Opened, payload: Payload) -> Opened | None:
        """Streams begin."""
        nets = self._nets(opened)
        macs, there = payload.items_at(opened.start - opened.mac, _MAC, opened.mac != 0)
        fit = (nets >= 0) & there & (opened.base == 0)
        mine = _some(opened, fit) if not fit.all() else opened
        slots = self._take(len(mine.stream))
        rows = np.zeros(len(slots), PLAIN)
        rows["number"], rows["key"], rows["side"] = mine.stream, mine.key, mine.side
        rows["opened"], rows["counter"], rows["net"] = mine.time, mine.counter, nets[fit]
        rows["mac"], rows["mac_known"], rows["descriptor"] = macs[fit], mine.mac != 0, -1
        self._table[slots] = rows
        self._slots.update(zip(mine.stream.tolist(), slots, strict=True))
        return _rest(opened, ~fit)

    def write(self, found: PieceColumns, payload: Payload, give: Callable[[int], object]) -> PieceColumns | None:
        """Bytes of streams. ``give`` is called with those that are not plain any more."""
        ranks = (found.stream,) if self._md5 else (found.offset, found.stream)
        order = np.lexsort(ranks)  # which is stable
        if (order[1:] < order[:-1]).any():  # those of a stream together, so that its file is opened once
            found = _some(found, order)
        slots = self._of(found.stream)
        mine = slots >= 0
        if not mine.any():
            return found
        self._part_with(self._otherwise(found, slots) & mine, slots, give)
        mine &= self._table["number"][slots] == found.stream  # it still is in its slot
        if not mine.any():
            return found
        columns = (slots, found.offset, found.low, found.high, found.size)
        pieces = Pieces._make(column[mine] for column in columns)
        failed = np.zeros(len(slots), np.bool_)
        failed[mine] = self._write(pieces, payload) != 0
        if self._md5:
            self._hash(found, slots, mine & ~failed, payload)
        self._part_with(failed, slots, give)
        return _rest(found, ~mine | failed)

    def compare(self, overlaps: Overlaps, payload: Payload, counters: dict[str, int]) -> Overlaps | None:
        """Bytes that come again, where streams have some: those of streams that have just the same are counted."""
        slots = self._of(overlaps.stream)
        mine = slots >= 0
        if not mine.any():
            return overlaps
        columns = (slots, overlaps.offset, overlaps.start, overlaps.size)
        rows = Rows._make(column[mine] for column in columns)
        same = np.zeros(len(slots), np.bool_)
        same[mine] = self._kernel.compare(self._table, rows, payload)
        same &= ~np.isin(slots, slots[mine & ~same])  # what differs is told of all of a segment
        counters["duplicate"] += int(overlaps.size[same].sum(dtype="int64"))
        return _rest(overlaps, ~same)

    def note(self, runs: Runs) -> Runs | None:
        """What streams have that are about to be closed."""
        slots = self._of(runs.stream)
        known, first, count = np.unique(slots, return_index=True, return_counts=True)
        once = np.zeros(len(slots), np.bool_)
        once[first[(count == 1) & (known >= 0)]] = True
        once &= (self._table["runs"][slots] == 0) & (runs.offset == 0)
        mine = slots[once]
        self._table["runs"][mine] = 1
        self._table["run_size"][mine], self._table["run_start"][mine] = runs.size[once], runs.start[once]
        for slot in set(slots[~once & (slots >= 0)].tolist()):
            self._tell_run(slot)
        return _rest(runs, ~once)

    def close(self, closed: Closed, counters: dict[str, int]) -> Closed | None:
        """Streams end; those that are whole have their rows."""
        slots = self._of(closed.stream)
        table = self._table
        state, flags = table["state"][slots], closed.flags.astype(np.int64)
        whole = (slots >= 0) & (closed.origin == 0) & (closed.end == table["size"][slots]) & (flags & _UNUSUAL == 0)
        whole &= (table["runs"][slots] == 1) & (table["run_size"][slots] == closed.end)
        whole &= (state == OPEN) | (state == SHUT)
        found = np.flatnonzero(whole)
        for at in range(0, len(found), _ROWS):  # a message can close tens of thousands, whose rows take 1 kB each
            some = found[at : at + _ROWS]
            self._close(_some(closed, some), slots[some], counters)
        return _rest(closed, ~whole)

    def give(self, number: int) -> Stream | None:
        """A stream that is not plain any more; None: there is none of that number."""
        slot = self._slots.get(number)
        if slot is None:
            return None
        row, name, ends = self._table[slot], self._twin.name(self._table, slot), self._twin.ends(self._table, slot)
        stream = Stream(number, name, "", ends, bytes(row["mac"]) if row["mac_known"] else b"", md5=self._md5)
        file, descriptor = stream.file, int(row["descriptor"])
        file.made = row["state"] != BEGUN
        if descriptor >= 0:
            self._folder.lend(-1)
            self._folder.keep_open(file, descriptor)
        elif file.made:
            file.identity = int(row["device"]), int(row["inode"])
            file.broken = row["state"] == BROKEN  # the system closed it with an error
        if stream.digest is not None:
            stream.digest, stream.frontier = self._digests.pop(slot, stream.digest), int(row["size"])
        self._tell_run(slot)
        self._leave([slot])
        return stream

    # Slots

    def _of(self, numbers: Any) -> I64:
        """Their slots; -1: none."""
        return np.array(list(map(self._slots.get, numbers.tolist(), repeat(-1))), np.int64)

    def _take(self, count: int) -> list[int]:
        while len(self._free) < count:
            before = len(self._table)
            self._table = np.concatenate((self._table, np.zeros(before, PLAIN)))
            self._free += range(before, 2 * before)
        at = len(self._free) - count
        taken = self._free[at:]
        del self._free[at:]
        return taken

    def _leave(self, slots: Sequence[int]) -> None:
        """They are nobody's. Their files are closed, or others have them."""
        for number in self._table["number"][slots].tolist():
            del self._slots[number]
        self._table[slots] = np.zeros((), PLAIN)
        self._free += slots
        for slot in slots:
            self._held.pop(slot, None)
            self._digests.pop(slot, None)

    def _nets(self, opened: Opened) -> I64:
        """By row which texts its tags have; -1: it is not plain."""
        key = opened.key
        net = key[:, 5]
        found = np.zeros(len(net), np.int64)
        tagged = np.flatnonzero(net >> np.uint64(4))
        if len(tagged):
            texts = [self._facts.net(*pair) for pair in key[tagged, 5:7].tolist()]
            found[tagged] = [-1 if text is None else text for text in texts]
        if ((net & np.uint64(15)) != 4).any():  # how an IPv4 address in an IPv6 one is spelled depends on Python
            mapped = (key[:, 0:4:2] == 0) & (key[:, 1:4:2] >> np.uint64(32) == _MAPPED)
            found[mapped.any(axis=1) & ((net & np.uint64(15)) != 4)] = -1
        return found

    def _tell_run(self, slot: int) -> None:
        """The run of a stream that is not all there is to tell of it."""
        row = self._table[slot]
        if row["runs"] == 1:
            start = int(row["run_start"])
            run = (0, int(row["run_size"]), start >> INPUT_SHIFT, start & int(OFFSET_MASK))
            self._runs.setdefault(int(row["number"]), []).append(run)
        row["runs"] = 2

    # Files

    def _otherwise(self, found: PieceColumns, slots: I64) -> Bools:
        """Pieces of streams that something else happens to: with MD5, they do not go on where their stream ended."""
        other: Bools = self._table["state"][slots] == BROKEN
        if self._md5:
            follows = np.append(False, slots[1:] == slots[:-1])
            end = np.append(0, found.offset[:-1] + found.size[:-1])
            other |= found.offset != np.where(follows, end, self._table["size"][slots])
        return other

    def _part_with(self, some: Bools, slots: I64, give: Callable[[int], object]) -> None:
        if some.any():
            for number in set(self._table["number"][slots[some]].tolist()):
                give(number)

    def _write(self, pieces: Pieces, payload: Payload) -> I32:
        new = distinct(pieces.slot[self._table["state"][pieces.slot] != OPEN])
        keep = self._makes_room(len(new))
        if self._folder.made is None:
            result = self._kernel.write(self._table, pieces, payload, keep=keep)
        else:
            room = self._folder.room_for_lent - len(self._held)
            result = self._write_noted(pieces, payload, len(pieces.slot) if keep else max(1, room))
        for slot in new[self._table["descriptor"][new] >= 0].tolist():
            self._held[slot] = None
            self._folder.lend(1)
        return result

    def _write_noted(self, pieces: Pieces, payload: Payload, most: int) -> I32:
        """Each file is told of as soon as it is made. ``most``: streams that may have their files open."""
        table, results = self._table, []
        begins = np.flatnonzero(np.append(True, pieces.slot[1:] != pieces.slot[:-1]))
        for at in range(0, len(begins), most):
            stop = begins[at + most] if at + most < len(begins) else len(pieces.slot)
            lot = Pieces._make(column[begins[at] : stop] for column in pieces)
            opened = distinct(lot.slot[table["state"][lot.slot] != OPEN])
            self._make(opened[table["state"][opened] == BEGUN])
            there = table["state"][lot.slot] != BEGUN
            result = np.full(len(there), LEFT, np.int32)
            result[there] = self._kernel.write(table, _some(lot, there), payload, keep=True)
            if most < len(begins):
                opened = opened[table["state"][opened] == OPEN]
                failed = opened[self._kernel.shut(table, opened) != 0]
                result[np.isin(lot.slot, failed)] = LEFT
            results.append(result)
        return np.concatenate(results)

    def _make(self, slots: I64) -> None:
        """Make files, each told of at once; of those that cannot be made the state says so."""
        table, made = self._table, self._folder.made
        assert made is not None
        for slot, number in zip(slots.tolist(), table["number"][slots].tolist(), strict=True):
            if not self._kernel.make(table, slot):
                made(number, int(table["device"][slot]), int(table["inode"][slot]))

    def _makes_room(self, files: int) -> bool:
        """Whether so many new files may stay open: then others are shut for them."""
        room = self._folder.room_for_lent
        if files > room:
            return False
        if (many := len(self._held) + files - room) > 0:
            self._shut(list(self._held)[:many])
        return True

    def _take_back(self) -> bool:
        """The folder needs a descriptor: whether there is one more now."""
        if not self._held:
            return False
        self._shut([next(iter(self._held))])
        return True

    def _shut(self, slots: list[int]) -> None:
        result = self._kernel.shut(self._table, np.array(slots, np.int64))
        for slot, failed in zip(slots, result.tolist(), strict=True):
            del self._held[slot]
            self._folder.lend(-1)
            if failed:
                self._folder.failures.took(self._error("write", slot, failed))

    def _hash(self, found: PieceColumns, slots: I64, mine: Bools, payload: Payload) -> None:
        digests = self._digests
        columns = (slots, found.low, found.high, found.even)
        for slot, low, high, even in zip(*(column[mine].tolist() for column in columns), strict=True):
            digest = digests.get(slot)
            if digest is None:
                digest = digests[slot] = hashlib.md5(usedforsecurity=False)
            for piece in payload.gather(low, high, even=even):
                digest.update(piece)

    def _error(self, action: str, slot: int, failed: int) -> OutputError:
        path = self._folder.path / self._twin.name(self._table, slot)
        return output_error(action, path, OSError(-failed, os.strerror(-failed)))

    # The end

    def _close(self, closed: Closed, slots: I64, counters: dict[str, int]) -> None:
        table, count = self._table, len(slots)
        result = self._kernel.finish(table, slots, closed.last)
        ends = np.zeros(count, CLOSING)
        for name in _SAME:
            ends[name] = getattr(closed, name)
        ends["slot"], ends["size"] = slots, closed.end
        start = table["run_start"][slots]
        captured = start >> INPUT_SHIFT < np.uint64(len(self._facts.images))
        ends["place"] = np.where(captured, (start & OFFSET_MASK).view(np.int64), -1)
        listed = slots.tolist()
        if self._md5:
            ends["md5"] = [self._digests[slot].hexdigest() for slot in listed]
        lent = [slot for slot in listed if slot in self._held]
        self._folder.lend(-len(lent))
        for at in np.flatnonzero(result).tolist():
            ends["flags"][at] |= int(Completeness.UNWRITTEN)
            self._folder.failures.took(self._error("write", listed[at], int(result[at])))
        rows, lengths = self._kernel.rows(table, ends)
        self._fragment.add_made(closed.stream.tolist(), rows, lengths.tolist())
        counters["files"] += count
        counters["rows"] += count
        counters["run_bytes"] += int(closed.end.sum())
        self._leave(listed)


def _some(table: Some, rows: Bools | I64) -> Some:
    columns: Any = (column[rows] for column in table)
    return type(table)(*columns)


def _rest(table: Some, rows: Bools) -> Some | None:
    """Those rows; None: there are none."""
    if rows.all():
        return table
    return _some(table, rows) if rows.any() else None
