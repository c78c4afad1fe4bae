"""The kernel in Python, stream by stream: what the one in C does, as it is best understood.

Knows: how a plain stream's file is made, written, stamped and closed, what its record is.
Does not know: which streams are plain.
Invariant: as of Kernel (layout.py). It is used where there is no compiled one, and tells what that one has to do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.report.rows import StreamRecord, format_rows
from pipeline.writer.names import Endpoints, endpoints
from pipeline.writer.payload import Payload
from pipeline.writer.plain.layout import BEGUN, BROKEN, LEFT, OPEN, SHUT, Facts, Pieces, Rows, Table
from workers.contract import I32, I64, U64, Bools

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AGAIN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_PIECES: Final = 1024  # of one call: IOV_MAX


class Twin:
    """A Kernel."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._names: dict[int, tuple[int, Endpoints, str]] = {}

    def make(self, table: Table, slot: int) -> int:
        """As Kernel.make."""
        try:
            self._open(table, slot)
            _identify(table, slot)
        except OSError as error:
            return -(error.errno or 1)
        return 0

    def write(self, table: Table, pieces: Pieces, payload: Payload, *, keep: bool) -> I32:
        """As Kernel.write."""
        state, result = table["state"], np.zeros(len(pieces.slot), np.int32)
        rows = list(zip(*(column.tolist() for column in pieces), strict=True))
        nexts = [row[0] for row in rows[1:]] + [-1]
        before, opened = -1, False
        for i, (slot, offset, low, high, length) in enumerate(rows):
            opened = opened if slot == before else state[slot] != OPEN
            if state[slot] == BROKEN or (slot == before and result[i - 1]):
                result[i] = LEFT
                continue
            before = slot
            try:
                self._open(table, slot)
                _write(int(table["descriptor"][slot]), payload.gather(low, high, even=False), offset)
                table["size"][slot] += length
                if opened and not keep and nexts[i] != slot:
                    _shut(table, slot)
            except OSError as error:
                result[i] = -(error.errno or 1)
        return result

    def compare(self, table: Table, rows: Rows, payload: Payload) -> Bools:
        """As Kernel.compare."""
        same = []
        news = payload.slices(rows.start, rows.size.tolist())
        for slot, offset, new in zip(rows.slot.tolist(), rows.offset.tolist(), news, strict=True):
            again, found = table["state"][slot] == SHUT, b""
            with suppress(OSError):
                if again:
                    self._open(table, slot)
                if table["state"][slot] == OPEN:
                    found = os.pread(int(table["descriptor"][slot]), len(new), offset)
            if again and table["state"][slot] == OPEN:
                with suppress(OSError):  # then it is BROKEN
                    _shut(table, slot)
            same.append(found == new)
        return np.array(same, np.bool_)

    def shut(self, table: Table, slots: I64) -> I32:
        """As Kernel.shut."""
        result = np.zeros(len(slots), np.int32)
        for i, slot in enumerate(slots.tolist()):
            try:
                _shut(table, slot)
            except OSError as error:
                result[i] = -(error.errno or 1)
        return result

    def finish(self, table: Table, slots: I64, times: I64) -> I32:
        """As Kernel.finish."""
        result = np.zeros(len(slots), np.int32)
        for i, (slot, time) in enumerate(zip(slots.tolist(), times.tolist(), strict=True)):
            if table["state"][slot] == OPEN:
                descriptor = int(table["descriptor"][slot])
                table["descriptor"][slot], table["state"][slot] = -1, SHUT
                with suppress(OSError):  # the row has the time
                    os.utime(descriptor, ns=(time, time))
                try:
                    os.close(descriptor)
                except OSError as error:  # a file system that writes late may say only now that it is full
                    result[i] = -(error.errno or 1)
            else:
                with suppress(OSError):
                    folder, name = self._facts.folder, self.name(table, slot)
                    os.utime(name, ns=(time, time), dir_fd=folder, follow_symlinks=False)
        return result

    def rows(self, table: Table, ends: NDArray[np.void]) -> tuple[bytes, U64]:
        """As Kernel.rows."""
        images = dict(enumerate(self._facts.images))
        rows = format_rows(list(self._records(table, ends)), images)
        return b"".join(rows), np.array(list(map(len, rows)), np.uint64)

    def _records(self, table: Table, ends: NDArray[np.void]) -> Iterator[StreamRecord]:
        for (
            slot, size, written, seen, overlap, beyond, outside, not_data, refused, first, last, packets, length,
            clipped, disorder, place, flags, reason, md5,
        ) in ends.tolist():  # fmt: skip
            stream = table[slot]
            where = self.ends(table, slot)
            macs = bytes(stream["mac"]) if stream["mac_known"] else b""
            yield StreamRecord(
                int(stream["number"]), self.name(table, slot), size, [(0, size, 0 if place >= 0 else -1, place)],
                first, last, where.src, where.sport, where.dst, where.dport, where.family,
                packets, length, length - clipped, seen, written, overlap, beyond, outside, not_data, refused,
                0, disorder, flags, reason, md5.decode() or None, where.networks,
                macs[6:].hex(":") or None, macs[:6].hex(":") or None,
            )  # fmt: skip

    def ends(self, table: Table, slot: int) -> Endpoints:
        """Who sends to whom."""
        return self._known_as(table, slot)[1]

    def name(self, table: Table, slot: int) -> str:
        """What its file is called."""
        return self._known_as(table, slot)[2]

    def _known_as(self, table: Table, slot: int) -> tuple[int, Endpoints, str]:
        """Both, behind the stream's number; they are wanted again and again."""
        number, found = int(table["number"][slot]), self._names.get(slot)
        if found is None or found[0] != number:
            ends = endpoints(table["key"][slot].tolist(), int(table["side"][slot]))
            opened, counter = int(table["opened"][slot]), int(table["counter"][slot])
            found = self._names[slot] = number, ends, self._facts.names.name(ends, opened, counter)
        return found

    def _open(self, table: Table, slot: int) -> None:
        """Its file, made if it is not there. OSError."""
        if table["state"][slot] == BEGUN:
            descriptor = os.open(self.name(table, slot), _NEW, 0o600, dir_fd=self._facts.folder)
            table["descriptor"][slot], table["state"][slot] = descriptor, OPEN
        elif table["state"][slot] == SHUT:
            descriptor = os.open(self.name(table, slot), _AGAIN, dir_fd=self._facts.folder)
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) != (table["device"][slot], table["inode"][slot]):
                os.close(descriptor)
                raise OSError(errno.EEXIST, "somebody has replaced it")
            table["descriptor"][slot], table["state"][slot] = descriptor, OPEN


def _identify(table: Table, slot: int) -> None:
    found = os.fstat(int(table["descriptor"][slot]))
    table["device"][slot], table["inode"][slot] = found.st_dev, found.st_ino


def _shut(table: Table, slot: int) -> None:
    _identify(table, slot)
    descriptor = int(table["descriptor"][slot])
    table["descriptor"][slot], table["state"][slot] = -1, BROKEN
    os.close(descriptor)
    table["state"][slot] = SHUT


def _write(descriptor: int, pieces: list[memoryview], offset: int) -> None:
    for at in range(0, len(pieces), _MOST_PIECES):
        lot = pieces[at : at + _MOST_PIECES]
        done, size = os.pwritev(descriptor, lot, offset), sum(map(len, lot))
        while done < size:  # a full disk ends this with an error, a signal does not
            done += os.pwrite(descriptor, memoryview(b"".join(lot))[done:], offset + done)
        offset += size
