"""The writers of ``-c``: streams on standard output, or with -a what is found in them; no file is left.

Knows: in which order the events of a batch are to be printed, when a stream's file can go.
Does not know: how a chunk (printing.py) or an exchange (exchanges.py) looks, how many workers there are.
Invariant: what a batch says is printed, and written out, when ``apply_together`` returns.

The files are written as ever, in a folder of their own: overlaps are compared with them, hashes made of them, and
bytes that had to wait for others are read back from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from pipeline.config import Config
from pipeline.errors import OutputError
from pipeline.memory import Arrays
from pipeline.report.rows import StreamRecord
from pipeline.writer.closing import discard
from pipeline.writer.failures import Tell
from pipeline.writer.overlaps import overlaps_of
from pipeline.writer.payload import Payload
from pipeline.writer.printing import Printer
from pipeline.writer.reading import read_back
from pipeline.writer.stream import Stream
from pipeline.writer.terminal import StandardOutput
from pipeline.writer.writer import Writer
from workers.contract import U64, Closed, EventBatch, Opened

UNPRINTED: Final = "bytes.unprinted"
"""The counter of what standard output should have, and has not."""

_Step: TypeAlias = tuple[Callable[..., None], tuple[Any, ...]]
"""What to do in the turn of a packet, and with what."""


def console_writer(config: Config, fragment: Path, arrays: Arrays, tell: Tell | None = None) -> ConsoleWriter:
    """The writer that prints what the configuration asks for, on standard output. ``tell``: as Writer."""
    return (ExchangeWriter if config.analyze else PrintingWriter)(config, fragment, arrays, tell=tell)


class ConsoleWriter(Writer):
    """A writer that prints. All workers' events of a batch are to be given at once."""

    _output: StandardOutput

    def _printed_on(self, output: StandardOutput | None) -> StandardOutput:
        """That, or standard output. When that fails a run goes on that has something else to make."""
        config = self._config
        others = (config.report, config.flows, config.unprocessed)
        goes_on = any(path is not None for path in others)
        return output or StandardOutput(took=self.folder.failures.took if goes_on else None)

    def finish(self) -> None:
        """Every stream is closed, and all is printed: make the fragment final."""
        self._output.flush()
        if self._output.unprinted:
            self.counters[UNPRINTED] = self._output.unprinted
        super().finish()

    def apply(self, events: EventBatch) -> None:
        """Do, and print, what the only worker says of a batch."""
        self.apply_together([events])

    def apply_together(self, together: Sequence[EventBatch]) -> None:
        """Do, and print, what all workers say of a batch."""
        raise NotImplementedError

    def _discard(self, stream: Stream) -> None:
        if self._config.append:
            return  # the tuple's next connection goes on in its file; all of them go with their folder
        for _, file in stream.files():
            discard(file, self.folder)
        if stream.conflict_file is not None:
            discard(stream.conflict_file, self.folder)


class ExchangeWriter(ConsoleWriter):
    """Prints what analyzers find (-a), exchange by exchange."""

    def __init__(
        self, config: Config, fragment: Path, arrays: Arrays, output: StandardOutput | None = None,
        tell: Tell | None = None,
    ) -> None:  # fmt: skip
        """As Writer; ``output`` None is standard output."""
        super().__init__(config, fragment, arrays, lambda *of: self._exchanges.host(*of), tell=tell)
        from pipeline.writer.exchanges import Exchanges

        took = self.folder.failures.took
        self._output = self._printed_on(output)
        self._exchanges = Exchanges(config.limits, config.output, self._output.put, took, colours=self._output.coloured)

    def apply_together(self, together: Sequence[EventBatch]) -> None:
        """Do what all workers say of a batch, and print what it made complete."""
        if self.analyses is not None and len(together) > 1:
            for events in together:  # a gap of one message may be in front of bytes of another
                self.analyses.expect(events)
        for events in together:
            Writer.apply(self, events)
        self._exchanges.print()
        self._output.flush()

    def finish(self) -> None:
        """Every stream is closed: print what is left, make the fragment final."""
        self._exchanges.finish()
        self._output.lack(self._exchanges.lost)
        self.counters["shown.streams"] = self._exchanges.streams
        super().finish()

    def _keep(self, stream: Stream, record: StreamRecord) -> None:
        super()._keep(stream, record)
        self._discard(stream)


class PrintingWriter(ConsoleWriter):
    """Prints streams, packet by packet."""

    def __init__(
        self, config: Config, fragment: Path, arrays: Arrays, output: StandardOutput | None = None,
        tell: Tell | None = None,
    ) -> None:  # fmt: skip
        """As Writer; ``output`` None is standard output."""
        super().__init__(config, fragment, arrays, tell=tell)
        self._output = self._printed_on(output)
        self._printer = Printer(self._output.put, self._read_back, colours=self._output.coloured)
        self._closed: dict[int, Stream] = {}  # of which bytes are still to be printed

    def apply_together(self, together: Sequence[EventBatch]) -> None:
        """Do, and print, what all workers say of a batch."""
        payloads = [self._take_in(events) for events in together]
        self._print(together, payloads)
        for events in together:
            self._conclude(events)
        self._output.flush()

    def finish(self) -> None:
        """Every stream is closed: print what is left, make the fragment final."""
        for number in self._printer.rest():
            if number in self._closed:
                self._discard(self._closed.pop(number))
        super().finish()

    def _print(self, together: Sequence[EventBatch], payloads: Sequence[Payload | None]) -> None:
        """Packet by packet: compare its overlaps, for they may change what waits; print its bytes, then the gaps."""
        packets: list[U64] = []
        steps: list[_Step] = []
        for events, payload in zip(together, payloads, strict=True):
            if events.overlaps is not None and payload is not None:
                olds = payload.slices(events.overlaps.start, events.overlaps.size.tolist())
                overlaps = list(overlaps_of(events.overlaps, olds))
                packets.append(np.array([overlap.packet for overlap in overlaps], np.uint64))
                steps += [(self._comparing.compare_one, (overlap,)) for overlap in overlaps]
        for events, payload in zip(together, payloads, strict=True):
            data = events.data
            if data is not None and payload is not None:
                packets.append(data.packet)
                news = payload.slices(data.start, data.size.tolist())
                rows = zip(data.stream.tolist(), data.offset.tolist(), data.time.tolist(), news, strict=True)
                steps += [(self._printer.data, row) for row in rows]
        for events in together:
            gaps = events.gaps
            if gaps is not None:
                clear = gaps.packet != 0  # the others are of streams that are closed
                packets.append(gaps.packet[clear])
                ends = (gaps.offset + gaps.size)[clear].tolist()
                steps += [(self._gap, row) for row in zip(gaps.stream[clear].tolist(), ends, strict=True)]
        if steps:
            for at in np.argsort(np.concatenate(packets), kind="stable").tolist():
                do, row = steps[at]
                do(*row)

    def _gap(self, number: int, end: int) -> None:
        self._printer.gap(number, self._end(self._streams[number], end))

    def _end(self, stream: Stream, end: int) -> int:
        """Where what is kept of a stream ends that would end at ``end``. Its origin is final when a gap is clear."""
        most = self._config.limits.stream_bytes
        return end if most is None else min(end, stream.origin + most)

    # Streams and their files

    def _open(self, opened: Opened, payload: Payload) -> None:
        super()._open(opened, payload)
        for number in opened.stream.tolist():
            stream = self._streams[number]
            self._printer.open(number, stream.name + stream.provisional)

    def _close(self, closed: Closed) -> None:
        streams = [self._streams[number] for number in closed.stream.tolist()]
        super()._close(closed)
        for stream, end in zip(streams, closed.end.tolist(), strict=True):
            if self._printer.close(stream.number, self._end(stream, end)):
                self._closed[stream.number] = stream
            else:
                self._discard(stream)

    def _read_back(self, number: int, offset: int, size: int) -> bytes:
        stream = self._streams.get(number) or self._closed[number]
        kept = min(size, stream.cap - offset)  # from there on it may be what it was, or zeros
        try:
            return read_back(stream, self.folder, offset, kept) if kept > 0 else b""
        except OutputError as error:
            self._fail(stream, offset, error)
            return b""
