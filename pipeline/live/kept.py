"""The files of --keep-packets: captured packets, as pcapng captures that follow one another.

Knows: when a file is full, how it is named, which one goes when there are too many.
Does not know: processes, where packets come from, who counts what could not be kept.
Invariant: a file that can be seen is a capture by itself, whole up to its last packet; none is ever overwritten,
and only plain files with such a name are removed.

A name is that of the run and the address of its first packet: ``flowshard-20260501T101500Z-3fa9c1-000000012345678``.
A packet's epb_packetid is the address of its first byte, so the packet behind a place that the report gives
(``img_offset``) is the last one whose id is not above it, in the last file of that run whose number is not above it.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
from typing import Final

import numpy as np

from pipeline.config import Keep, Live
from pipeline.errors import OutputError
from pipeline.pcapng import FOOT, HEAD, Blocks, description, section, text
from pipeline.report.placing import output_error, write_all
from pipeline.source.records import Records
from pipeline.writer.failures import count_failure
from workers.contract import I64, U8, U32, Stored

_NAME: Final = re.compile(r"flowshard-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}-[0-9]{15}\.pcapng", re.ASCII)
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BUFFER: Final = 1 << 16
"""Words of blocks that are made at a time: between two of them one can be asked to hurry."""

_AGAIN: Final = 1.0
"""Seconds until a folder that could not be written to is tried again."""

_TICK: Final = 1000
_DIGITS: Final = 6
"""pcapy-ng gives microseconds."""

_CUT: Final = (
    "packets captured by flowshard; epb_packetid is the place that the report gives as img_offset. A packet of {0:,} "
    "bytes was cut by the snap length: its original length is what its outermost IP header says, or is not known "
    "and stands as {0:,}"
)


class KeptFiles:
    """The folder of kept packets, and the file that is being written."""

    def __init__(self, keep: Keep, live: Live, expression: str = "") -> None:
        """Makes the folder if it is missing. OutputError: that cannot be, or files cannot be made in it."""
        self.counters = {"kept": 0, "kept.bytes": 0, "kept.files": 0, "kept.removed": 0}
        self.problem: OutputError | None = None
        """What went wrong last, until somebody takes it."""
        self._keep, self._live, self._expression = keep, live, expression
        make_folder(keep)
        self._folder = os.open(keep.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._names = deque(sorted(filter(_NAME.fullmatch, os.listdir(self._folder)))) if keep.files else deque[str]()
        self._file = -1
        self._name = ""
        self._size = 0  # of the file
        self._empty = True  # it holds no packet
        self._until = 0  # ns: packets from then on go into the next file
        self._links: dict[int, int] = {}  # link type: number of the interface in the file
        self._retry = 0.0

    def add(self, data: U8, stored: Stored, hurried: Callable[[], bool]) -> int:
        """Keep these packets, in their order; ``data`` is the spool. Gives how many were, from the first on.

        ``hurried`` is asked before each part that is written: whether to leave it at that.
        """
        if time.monotonic() < self._retry:
            return 0
        packets = _Packets(stored)
        done = 0
        try:
            while done < packets.count and not hurried():
                if self._file < 0:
                    self._begin(int(packets.address[done]), int(packets.time[done]))
                interfaces = self._described(packets.links)
                stop = self._fitting(packets, done, len(interfaces))
                if stop == done:
                    self._shut()
                    continue
                if interfaces:
                    self._write(interfaces)
                self._write(packets.blocks(done, stop, self._links, data.data))
                self._empty = False
                self.counters["kept"] += stop - done
                self.counters["kept.bytes"] += int(packets.records.captured[done:stop].sum(dtype=np.int64))
                done = stop
        except OSError as error:
            self._failed(error)
            self._retry = time.monotonic() + _AGAIN
            self._give_up()
        return done

    def close(self) -> None:
        """No more will be kept. What a file system says only now is a problem, too."""
        try:
            self._shut()
        except OSError as error:
            self._failed(error)
        os.close(self._folder)

    def _failed(self, error: OSError) -> None:
        self.problem = output_error("write", self._keep.folder / self._name, error)
        count_failure(self.counters, self.problem)

    def _fitting(self, packets: _Packets, begin: int, ahead: int) -> int:
        """Up to which packet the file has room and time behind ``ahead`` bytes, as far as one write should go;
        ``begin`` if it is full.

        A file that is empty has room for any packet.
        """
        before = int(packets.end[begin - 1]) if begin else 0
        room = (self._keep.size - self._size - ahead) // 4
        stop = int(np.searchsorted(packets.end, before + min(room, _BUFFER), "right"))
        if stop <= begin:
            stop = begin + (self._empty or int(packets.end[begin]) - before <= room)
        if self._keep.seconds is not None:
            late = packets.time[begin:stop] >= self._until
            stop = begin + int(late.argmax()) if late.any() else stop
        return stop

    def _begin(self, address: int, first: int) -> None:
        """A new file, in the place of the oldest when there are enough."""
        while self._keep.files is not None and len(self._names) >= self._keep.files:
            self._remove(self._names.popleft())
        self._name = f"{self._keep.run}{address:015}.pcapng"
        self._file = os.open(self._name, _NEW, 0o600, dir_fd=self._folder)
        if self._keep.files is not None:
            self._names.append(self._name)
        self._size, self._links = 0, {}
        self._until = first + (self._keep.seconds or 0) * 1_000_000_000
        self._write(section(_CUT.format(self._live.snap_length)))
        self._empty = True
        self.counters["kept.files"] += 1

    def _remove(self, name: str) -> None:
        with suppress(OSError):  # somebody has removed it
            if stat.S_ISREG(os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=self._folder)
                self.counters["kept.removed"] += 1

    def _described(self, links: list[int]) -> bytes:
        """The interfaces that the file does not know yet."""
        live, told = self._live, b""
        for link in links:
            if link not in self._links:
                told += description(link, live.snap_length, _DIGITS, live.interfaces, self._expression)
                self._links[link] = len(self._links)
        return told

    def _write(self, data: bytes | memoryview) -> None:
        write_all(self._file, [data])
        self._size += len(data)

    def _give_up(self) -> None:
        """The file ends behind the last block that is whole."""
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            with suppress(OSError):
                self._shut()

    def _shut(self) -> None:
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Packets:
    """A batch, laid out as blocks."""

    def __init__(self, stored: Stored) -> None:
        self.count = len(stored.start)
        self.time: I64 = stored.time
        self.address = stored.start.view(np.int64) + stored.base
        start = stored.start + np.uint64(stored.place)
        ticks = np.maximum(stored.time, 0) // _TICK
        self.records = Records(start, stored.captured, stored.length, ticks, stored.link)
        self.links: list[int] = np.unique(stored.link).tolist()
        self._total = HEAD + (stored.captured.astype(np.int64) + 3) // 4 + FOOT
        self.end = np.cumsum(self._total)

    def blocks(self, begin: int, stop: int, links: dict[int, int], data: memoryview) -> memoryview:
        """The packets [begin, stop) as they stand in a file that knows their ``links``."""
        nothing = np.zeros(self.count, np.int64)
        interface = nothing.copy()
        for link, number in links.items():
            interface[self.records.link == link] = number
        whole = Blocks(self.records, self.address, interface, nothing, nothing, nothing, self._total, self.end)
        return text(repeat(data), whole.part(begin, stop), [_NO_COMMENT], int(self.end[begin - 1]) if begin else 0)


_NO_COMMENT: Final[U32] = np.zeros(0, np.uint32)


def make_folder(keep: Keep) -> None:
    """The folder for kept packets is there, and a file can be made in it. OutputError."""
    try:
        for folder in (*reversed(keep.folder.parents), keep.folder):  # not parents=True: the umask's are the others
            if folder == keep.folder or not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        if not os.access(keep.folder, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise output_error("keep packets in", keep.folder, error) from error
