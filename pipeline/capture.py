"""Inputs in, batches of TCP segments for the workers out: what the capture process does.

Knows: the order of inputs, packet numbers, the packet clock, what is counted of a packet that is no
TCP segment. Does not know: sockets, what workers do.
Invariant: every record of every input is counted under exactly one reason; a slab's number is the
place of its input in the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import Config
from pipeline.decode.kernels import decode
from pipeline.decode.link import ETHERNET
from pipeline.decode.reasons import Reason
from pipeline.errors import CaptureError
from pipeline.shard import packet_clock, split
from pipeline.source import open_source
from pipeline.source.records import Fault, Records, Source
from pipeline.source.slab import map_file
from workers.contract import U8, PacketBatch

if TYPE_CHECKING:
    from pipeline.decode.filter import Filter


@dataclass(slots=True)
class InputFacts:
    """One input, for the report."""

    path: Path
    size: int
    format: str = "unknown"
    packets: int = 0
    fault: Fault | None = None


@dataclass(slots=True)
class Dealt:
    """One stretch of the input, dealt to the workers."""

    number: int
    parts: list[PacketBatch]
    bytes_read: int  # of all inputs, up to the end of this stretch


@dataclass
class Capture:
    """Reads all inputs once. ``counters`` and ``inputs`` are complete when ``batches`` is exhausted."""

    config: Config
    workers: int
    packets: int = 0
    inputs: list[InputFacts] = field(default_factory=list)
    reasons: Any = field(default_factory=lambda: np.zeros(len(Reason), np.int64))
    _clock: int | None = None
    _number: int = 0
    _done: int = 0

    def batches(self) -> Iterator[Dealt]:
        """Every stretch of every input, in order."""
        keep = _filter(self.config)
        for slab, path in enumerate(self.config.inputs):
            facts = InputFacts(path, path.stat().st_size)
            self.inputs.append(facts)
            try:
                source = open_source(path)
            except CaptureError as error:
                facts.fault = Fault(path, 0, error.message.removeprefix(f"{path} "))
                self._done += facts.size
                continue
            facts.format = source.format
            for records in source.batches(self.config.batch_packets):
                yield self._deal(slab, source, records, keep)
                facts.packets += len(records.start)
            facts.fault = source.fault
            self._done += facts.size
            source.close()

    def _deal(self, slab: int, source: Source, records: Records, keep: Filter | None) -> Dealt:
        mask = None if keep is None else keep.keep(source.slab, records)
        decoded = decode(source.slab, records, mask)
        clock = packet_clock(records.time, self._clock)
        parts = split(self._number, slab, records, decoded, self.packets + 1, clock, self.workers, self.config.hash_key)
        self._clock = int(clock[-1])
        self.packets += len(records.start)
        self.reasons += np.bincount(decoded.reason, minlength=len(self.reasons))
        end = int(records.start[-1]) + int(records.captured[-1])
        self._number += 1
        return Dealt(self._number - 1, parts, self._done + end)

    def counters(self) -> dict[str, int]:
        """Packets read, and of what kind they were."""
        found = {f"reason.{Reason(i).label}": count for i, count in enumerate(self.reasons.tolist())}
        return {"read": self.packets, **found}


def describe(facts: InputFacts) -> dict[str, Any]:
    """An input's facts as a note carries them; its path is known from the configuration."""
    fault = None if facts.fault is None else [facts.fault.offset, facts.fault.problem]
    return {"size": facts.size, "format": facts.format, "packets": facts.packets, "fault": fault}


class Slabs:
    """Slabs by number, mapped when they are first asked for; the latest few stay mapped."""

    def __init__(self, config: Config, keep: int) -> None:
        self._config = config
        self._keep = keep
        self._mapped: dict[int, U8] = {}

    def __call__(self, number: int) -> U8:
        """The bytes of a slab."""
        found = self._mapped.pop(number, None)
        if found is None:
            while len(self._mapped) >= self._keep:
                del self._mapped[next(iter(self._mapped))]  # unmapped when nothing refers to it any more
            found = np.frombuffer(map_file(self._config.inputs[number]), np.uint8)
        self._mapped[number] = found
        return found


def _filter(config: Config) -> Filter | None:
    """The filter that was asked for. Imported only then: most runs have none."""
    if not config.expression:
        return None
    from pipeline.decode.filter import Filter

    return Filter(config.expression)


def check_inputs(config: Config) -> None:
    """Refuse what cannot work, before anything is written.

    Raises UsageError for a filter that does not compile for the first input's link type, and the first
    input's CaptureError when no input is a capture at all; one among others is a fault of the run.
    """
    keep = _filter(config)
    errors: list[CaptureError] = []
    for path in config.inputs:
        try:
            source = open_source(path)
        except CaptureError as error:
            errors.append(error)
            continue
        link = next((int(records.link[0]) for records in source.batches(1)), None) if keep else None
        source.close()
        if keep is None:
            return
        if link is not None:
            keep.check(link)
            return
    if len(errors) == len(config.inputs):
        raise errors[0]
    if keep is not None:  # no packet anywhere: a bad expression is refused all the same
        keep.check(ETHERNET)
