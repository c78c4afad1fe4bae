"""One input from its path to decodable stretches of packets, whichever way its bytes come.

Knows: which inputs are mapped and which go through the spool, what holds a slab, what is known of an input
when it was read. Does not know: decoding, formats, how bytes are decompressed.
Invariant: a slab is given back when no window and no batch refers to it any more, not before.

A plain file is mapped, and is one window. What is piped, compressed or still growing is copied, and so is
every input when ``config.mapped`` is off: a mapping whose bytes the storage does not give ends the process
(SIGBUS), where a read says what is wrong.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from pipeline.config import STDIN, Config
from pipeline.errors import CaptureError, UsageError
from pipeline.source import reader_for, rebatch
from pipeline.source.opening import map_file
from pipeline.source.records import CUT_OFF, Fault, Reader, Records, Window
from pipeline.spool.compressed import coding, plain
from pipeline.spool.feed import Feed, open_feed
from pipeline.spool.slabs import Slab, Spool
from pipeline.spool.windows import Windows
from workers.contract import INPUT_SHIFT, U8

if TYPE_CHECKING:
    from pipeline.manifest.inputs import InputHashes

HEAD: Final = 64
"""Bytes that tell a format."""

UNKNOWN: Final = "unknown"
"""The format of an input that is no capture."""

_PEEKED: Final = 1 << 18
"""Bytes looked at to find the first packet of an input before its turn."""


@dataclass(slots=True)
class InputFacts:
    """One input, for the report."""

    path: Path
    size: int | None  # bytes of the file; None: it is piped
    length: int = 0  # bytes of the capture that were read, after decompression
    format: str = UNKNOWN
    packets: int = 0
    faults: list[Fault] = field(default_factory=list)
    more_faults: int = 0  # beyond those in the list
    digest: tuple[str, int, str] | None = None  # --manifest: SHA-256, of so many bytes; or none, and why


class Lease:
    """A slab, and how many refer to it. It starts with one: the window that is being read."""

    def __init__(self, spool: Spool, slab: Slab) -> None:
        self._spool = spool
        self._slab = slab
        self._count = 1

    @property
    def place(self) -> int:
        """Of its first byte in the spool."""
        return self._slab.place

    def take(self) -> None:
        """One more refers to it."""
        self._count += 1

    def drop(self) -> None:
        """One less; the last one gives the slab back."""
        self._count -= 1
        if not self._count:
            self._spool.give_back(self._slab)


class Block(NamedTuple):
    """Packets of one window. Whoever takes it drops the lease, if there is one, when the bytes were used."""

    data: U8  # the window's bytes
    records: Records  # places in data
    base: int  # address of data[0]
    lease: Lease | None


class First(NamedTuple):
    """The first packet of an input."""

    time: int  # ns
    link: int


class Input:
    """An input, read once from front to back."""

    def __init__(self, number: int, config: Config, spool: Spool | None, hashes: InputHashes | None = None) -> None:
        """``hashes``: who wants to see its bytes as they lie there."""
        self.number = number
        self.path = config.inputs[number]
        self.facts = InputFacts(self.path, size_of(self.path))
        self.idle: Callable[[], None] = lambda: None
        """Called again and again while its bytes are waited for."""
        self.position = 0
        """How far it is read: bytes of the file, compressed as it may be."""
        self._config = config
        self._spool = spool
        self._hashes = hashes
        self._windows: Windows | None = None
        self._reader: Reader | None = None
        self._stopped = False

    def stop(self) -> None:
        """What is piped or followed ends with what has come: no fault of it, be it inside a record. What has an end
        is read up to that."""
        self._stopped = self._config.follow or self.facts.size is None
        if self._stopped and self._windows is not None:
            self._windows.stop()

    def blocks(self, packets: int) -> Iterator[Block]:
        """Its packets in order, at most so many in a block. ``facts`` are complete when it is exhausted."""
        running = self._blocks(packets)
        try:
            yield from running
        except (CaptureError, UsageError) as error:
            self.refuse(error)
        finally:
            running.close()
            if self._reader is not None:
                self._note_faults(self._reader)

    def _note_faults(self, reader: Reader) -> None:
        faults = reader.faults
        if self._stopped and faults and faults[-1].problem.startswith(CUT_OFF):
            faults = faults[:-1]
        self.facts.faults += faults
        self.facts.more_faults += reader.more_faults

    def refuse(self, error: CaptureError | UsageError) -> None:
        """It is no capture, or cannot be opened any more: that is its only fault, and there is nothing to read."""
        problem = error.message.removeprefix(f"cannot read {self.path}: ").removeprefix(f"{self.path} ")
        self.facts.faults.append(Fault(self.path, 0, problem))
        self.position = self.facts.size or 0

    def _blocks(self, packets: int) -> Generator[Block, None, None]:
        if self._spool is None or self._is_mappable():
            yield from self._mapped(packets)
        else:
            yield from self._spooled(packets, self._spool)

    def _is_mappable(self) -> bool:
        return self._config.mapped and not self._config.follow and not is_copied(self.path)

    def _mapped(self, packets: int) -> Iterator[Block]:
        data = map_file(self.path)
        if self._hashes is not None:
            self._hashes.beside(self.facts, data)
        reader = self._read_by(reader_for(self.path, data[:HEAD], final=True, strict=self._config.strict))
        array = np.frombuffer(data, np.uint8)
        window = Window(data, len(data), 0, final=True)
        base = self.number << INPUT_SHIFT
        for records in rebatch(reader.pieces(window), packets):
            self.position = int(records.start[-1]) + int(records.captured[-1])
            yield Block(array, records, base, None)
        self.position = self.facts.length = len(data)

    def _spooled(self, packets: int, spool: Spool) -> Iterator[Block]:
        feed = open_feed(self.path, follow=self._config.follow)
        feed.idle = self.idle
        hashing = None if self._hashes is None else self._hashes.passing(self.facts, feed)
        windows = self._windows = Windows(feed, spool, self.path)
        if self._stopped:  # before its turn came
            windows.stop()
        try:
            head = windows.head(HEAD)
            reader = self._read_by(
                reader_for(self.path, head, final=len(head) < HEAD, strict=self._config.strict), *windows.coding
            )
            filled = windows.next(0, 0)
            while filled is not None:
                lease = Lease(spool, filled.slab)
                window = filled.window
                array = np.frombuffer(window.data, np.uint8, window.end)
                base = self.number << INPUT_SHIFT | window.base
                self.facts.length = window.base + window.end
                for records in rebatch(reader.pieces(window), packets):
                    self.position = windows.position
                    lease.take()
                    yield Block(array, records, base, lease)
                filled = None if reader.stopped else windows.next(reader.consumed, reader.wants)
                lease.drop()
        finally:
            self.facts.faults += windows.faults
            self.position = windows.position
            if hashing is not None:
                hashing.finish()
            windows.close()

    def _read_by(self, reader: Reader, *codings: str) -> Reader:
        self._reader = reader
        self.facts.format = ", ".join([*codings, reader.format])
        return reader


def size_of(path: Path) -> int | None:
    """Bytes of a regular file; None for what is piped. Of what is gone, 0: whoever opens it will tell."""
    if path == STDIN:
        return None
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def is_copied(path: Path) -> bool:
    """Whether an input goes through the spool in any case: piped or compressed."""
    if size_of(path) is None:
        return True
    try:
        with path.open("rb", buffering=0) as file:
            return coding(file.read(HEAD)) is not None
    except OSError:  # whoever opens it will tell
        return False


def is_endless(config: Config) -> bool:
    """Whether an input is live, piped or followed: an interrupt then ends the input, not the run."""
    return config.follow or config.live is not None or any(size_of(path) is None for path in config.inputs)


def peek(path: Path) -> First | None:
    """The first packet of a regular file, None when the beginning of the file holds none.

    CaptureError: it is no capture. UsageError: it cannot be opened.
    """
    feed: Feed = open_feed(path)
    try:
        feed, head, _ = plain(feed)
        start = bytearray(head).ljust(_PEEKED, b"\0")
        got = len(head)
        while got < len(start) and (more := feed.readinto(memoryview(start)[got:])):
            got += more
        reader = reader_for(path, bytes(start[:HEAD][:got]), final=got < HEAD, strict=False)
        for records in reader.pieces(Window(bytes(start[:got]), got, 0, final=got < len(start))):
            return First(int(records.time[0]), int(records.link[0]))
        return None
    finally:
        feed.close()
