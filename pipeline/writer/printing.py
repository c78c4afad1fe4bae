"""Streams on standard output in packet order over all connections (``-c``).

Knows: how far each stream is printed, what lies beyond a hole, the form of the lines that are ours.
Does not know: TCP, where a stream's bytes are kept, what a terminal is.
Invariant: each byte of a stream's file is printed once; what is printed does not depend on where batches were
cut, nor on how many workers there were.

A chunk is a line of ours and the bytes of one packet, escaped (escaping.py), with a newline at its end:

    >>> 2021-05-03T00:00:00.123456Z 10.0.0.1.4000-10.0.0.2.80 517 bytes        of the connection's first sender
    <<< 2021-05-03T00:00:00.125000Z 10.0.0.2.80-10.0.0.1.4000 4 bytes late, at offset 1460
    <<< - 10.0.0.2.80-10.0.0.1.4000 1460 bytes missing

Each direction is printed in the order of its bytes. A packet at the frontier of its stream is printed in its
turn, and then what it joins on to; one beyond waits, as a note of where it lies. Bytes that are given up are
said to be missing in the turn of the packet that made it clear; what still comes of them, or lies before the
start that a stream was believed to have, is ``late``. Its offset counts from that start. When a stream closes
depends on no packet, so what waits then is printed at the end of the run, stream by stream. Where a disk failed what
waited may be gone: its place has a line ``4 bytes could not be kept``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from pipeline.writer.escaping import MARKS, escape
from pipeline.writer.folder import Piece

COLOURS: Final = (b"\x1b[36m", b"\x1b[33m")
"""Of the two directions: cyan and yellow, which show on light and dark."""
RESET: Final = b"\x1b[0m"

MOST_NOTES: Final = 64
"""Packets of a stream noted one by one beyond its frontier; more are noted as the ranges that they make, of which
the worker bounds the number."""

MOST_CHUNK: Final = 1 << 20
"""Bytes of a range that are printed under one header."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = 1_000_000_000


class Stretch(NamedTuple):
    """Bytes beyond the frontier, and the time (ns) of the packet that brought the first of them."""

    offset: int
    size: int
    time: int


class Stamps:
    """Times as text. Those of one second share most of it, and follow one another."""

    def __init__(self) -> None:
        self._second: int | None = None
        self._text = b""

    def __call__(self, time: int) -> bytes:
        """``time`` in ns, to the microsecond, or to the nanosecond if there are any."""
        second, fraction = divmod(time, _SECOND)
        if second != self._second:
            self._second = second
            self._text = (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S").encode()
        if fraction % 1000:
            return b"%b.%09dZ" % (self._text, fraction)
        return b"%b.%06dZ" % (self._text, fraction // 1000)


class _Stream:
    """How far a stream is printed."""

    __slots__ = ("beyond", "end", "frontier", "lead", "name")

    def __init__(self, lead: bytes, name: bytes) -> None:
        self.lead = lead  # of its lines
        self.name = name
        self.frontier = 0  # offset: all below is printed, was given up, or will be late
        self.beyond: list[Stretch] = []  # by offset, disjoint
        self.end = 0  # offset; when it is closed

    def note(self, offset: int, size: int, time: int) -> None:
        """Bytes that are not to be printed yet."""
        beyond = self.beyond
        at = bisect_left(beyond, (offset,))
        if len(beyond) >= MOST_NOTES:
            if at and beyond[at - 1].offset + beyond[at - 1].size == offset:
                at -= 1
                offset, size, time = beyond[at].offset, beyond[at].size + size, beyond[at].time
                del beyond[at]
            if at < len(beyond) and beyond[at].offset == offset + size:
                size += beyond[at].size
                del beyond[at]
        beyond.insert(at, Stretch(offset, size, time))

    def close(self, end: int) -> None:
        """Nothing at ``end`` or beyond is to be printed."""
        self.end = end
        while self.beyond and self.beyond[-1].offset >= end:
            self.beyond.pop()
        if self.beyond:
            last = self.beyond[-1]
            self.beyond[-1] = last._replace(size=min(last.size, end - last.offset))


class Printer:
    """Prints streams as they are told of, packet by packet in capture order."""

    def __init__(
        self, put: Callable[[bytes], None], read: Callable[[int, int, int], bytes], *, colours: bool = False
    ) -> None:
        """``put`` takes text; ``read(stream, offset, size)`` gives bytes that were noted, or the first of them that
        are still there."""
        self._put = put
        self._read = read
        self._leads = [colour + mark for colour, mark in zip(COLOURS, MARKS, strict=True)] if colours else MARKS
        self._tail = RESET if colours else b""
        self._streams: dict[int, _Stream] = {}
        self._stamp = Stamps()

    def open(self, number: int, name: str) -> None:
        """A stream, and the name that its file would have."""
        self._streams[number] = _Stream(self._leads[number & 1], escape(name.encode()))

    def data(self, number: int, offset: int, time: int, payload: Piece) -> None:
        """New bytes of a stream; ``time`` in ns."""
        stream = self._streams[number]
        if offset < stream.frontier:
            late = payload[: stream.frontier - offset]
            self._chunk(stream, time, late, b" late, at offset %d" % offset)
            offset, payload = offset + len(late), payload[len(late) :]
            if not payload:
                return
        if offset > stream.frontier:
            stream.note(offset, len(payload), time)
            return
        self._chunk(stream, time, payload)
        stream.frontier += len(payload)
        if stream.beyond:
            self._go_on(number, stream)

    def gap(self, number: int, to: int) -> None:
        """The bytes from the frontier up to ``to`` were given up."""
        self._give_up(number, self._streams[number], to)

    def close(self, number: int, end: int) -> bool:
        """A stream is complete; what of it is kept ends at ``end``. Whether some of it is still to be read."""
        stream = self._streams[number]
        stream.close(end)
        if stream.frontier >= end:
            del self._streams[number]
        return bool(stream.beyond)

    def rest(self) -> Iterator[int]:
        """The run is over: print what the closed streams left, by number; gives the number of each."""
        for number in sorted(self._streams):
            stream = self._streams.pop(number)
            while stream.beyond:
                self._give_up(number, stream, stream.beyond[0].offset)
            if stream.frontier < stream.end:
                self._give_up(number, stream, stream.end)
            yield number

    def _give_up(self, number: int, stream: _Stream, to: int) -> None:
        if to > stream.frontier:
            size = to - stream.frontier
            self._lack(stream, size, b"missing")
            stream.frontier = to
            self._go_on(number, stream)

    def _go_on(self, number: int, stream: _Stream) -> None:
        """Print what lies at the frontier now."""
        done = 0
        for offset, size, time in stream.beyond:
            if offset != stream.frontier:
                break
            for at in range(offset, offset + size, MOST_CHUNK):
                wanted = min(MOST_CHUNK, offset + size - at)
                found = self._read(number, at, wanted)
                if found:
                    self._chunk(stream, time, found)
                if len(found) < wanted:
                    self._lack(stream, wanted - len(found), b"could not be kept")
            stream.frontier += size
            done += 1
        del stream.beyond[:done]

    def _lack(self, stream: _Stream, size: int, why: bytes) -> None:
        self._put(b"%b- %b %d bytes %b%b\n" % (stream.lead, stream.name, size, why, self._tail))

    def _chunk(self, stream: _Stream, time: int, payload: Piece, note: bytes = b"") -> None:
        text = escape(bytes(payload))
        end = b"" if text[-1:] == b"\n" else b"\n"
        self._put(b"%b%b %b %d bytes%b\n%b%b%b" % (
            stream.lead, self._stamp(time), stream.name, len(payload), note, text, end, self._tail,
        ))  # fmt: skip
