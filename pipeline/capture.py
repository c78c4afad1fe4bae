"""Inputs in, batches of TCP segments for the workers out: what the capture process does.

Knows: the inputs as one timeline, packet numbers, the packet clock, what is counted of a packet that is no
TCP segment, what of the input must stay readable until a batch is written.
Does not know: sockets, what workers do.
Invariant: every record of every input is counted under exactly one reason; an input's number is its place
in the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pipeline.config import STDIN, Config
from pipeline.decode.kernels import Decoded, decode
from pipeline.decode.link import ETHERNET
from pipeline.decode.linknames import MOST_NAMED, link_name
from pipeline.decode.packets import without_vlans
from pipeline.decode.reasons import Reason
from pipeline.errors import CaptureError, UsageError
from pipeline.inputs import natural
from pipeline.memory import allow_files
from pipeline.reading import Block, First, Input, InputFacts, is_copied, peek, size_of
from pipeline.shard import packet_clock, split
from pipeline.source.records import Records
from pipeline.timeline import Held, Stretch, cut, merge, pieces
from workers.contract import I64, U8, Bools, PacketBatch

if TYPE_CHECKING:
    from pipeline.decode.filter import Filter
    from pipeline.defrag.joining import Joined, Joining, Late
    from pipeline.live.interface import Interface
    from pipeline.live.source import LiveInput
    from pipeline.manifest.inputs import InputHashes
    from pipeline.parts.cutting import Cut, Cuts
    from pipeline.spool.slabs import Spool

_UNKNOWN_FIRST: Final = -(1 << 63)
"""Stands for the time of a first packet that is not known beforehand: such an input is begun at once."""


@dataclass(slots=True)
class Dealt:
    """One stretch of the input, dealt to the workers."""

    number: int
    parts: list[PacketBatch]
    bytes_read: int  # of all inputs, up to the end of this stretch
    held: tuple[Held, ...]  # what keeps its bytes where they are
    first_packet: int
    stretch: Stretch | None  # until ``forget``
    late: Late | None = None  # fragments of earlier stretches, or of this one, that were given up

    def forget(self) -> None:
        """It was sent: the packets are not looked at again, and their columns would fill the memory meanwhile."""
        self.parts.clear()
        self.stretch = None

    def drop(self) -> None:
        """All its bytes were used."""
        for held in self.held:
            held.drop()


class _Lane:
    """An input of several, for the timeline."""

    def __init__(self, capture: Capture, source: Input, first: int) -> None:
        self.first = first
        self._capture = capture
        self._source = source

    def stretches(self) -> Iterator[Stretch]:
        return self._capture.decoded(self._source)


@dataclass
class Capture:
    """Reads all inputs once. ``counters`` and ``inputs`` are complete when ``batches`` is exhausted."""

    config: Config
    workers: int
    spool: Spool | None = None
    interfaces: Sequence[Interface] = ()  # live: open ones; else they are opened when the capture begins
    each_second: Callable[[], None] = lambda: None  # live, in one process
    packets: int = 0
    inputs: list[InputFacts] = field(default_factory=list)
    reasons: Any = field(default_factory=lambda: np.zeros(len(Reason), np.int64))
    cuts: Cuts | None = None  # --rotate
    on_cut: Callable[[Cut], None] = lambda _: None  # told of each part that ends
    _clock: int | None = None
    _number: int = 0
    _times: tuple[int, int] | None = None  # of the earliest and the latest packet
    _filter: Filter | None = None
    _sources: Sequence[Input | LiveInput] = ()
    _live: LiveInput | None = None
    _stopped: bool = False
    _links: dict[str, int] = field(default_factory=dict)  # packets of link types that are not decoded, by name
    _joining: Joining | None = None  # made when the first fragment comes
    _hashes: InputHashes | None = None  # --manifest

    def batches(self) -> Iterator[Dealt]:
        """Every stretch of the timeline, in order."""
        if self.config.live is not None:
            yield from self._captured()
            return
        allow_files(len(self.config.inputs))
        self._filter = make_filter(self.config)
        if self.config.manifest:
            from pipeline.manifest.inputs import InputHashes

            self._hashes = InputHashes()
        sources = [Input(number, self.config, self.spool, self._hashes) for number in range(len(self.config.inputs))]
        self._sources = sources
        if self._stopped:  # a signal came first
            self.stop()
        self.inputs = [source.facts for source in sources]
        for source in sources:
            source.idle = self._rotate_if_overdue
        if len(sources) == 1:
            stretches = self.decoded(sources[0])
        else:
            named = sorted(sources, key=lambda source: natural(str(source.path)))
            stretches = merge([lane for source in named for lane in self._lane(source)])
        for stretch in stretches:
            for piece in self._pieces(stretch):
                yield self._deal(piece)
        yield from self.finish()

    def begin_live(self) -> LiveInput:
        """The interfaces, opened. What is dealt of them is up to the caller: ``deal``, ``idle`` and ``finish``."""
        from pipeline.live.source import LiveInput

        assert self.spool is not None
        source = self._live = LiveInput(self.config, self.spool, self.interfaces)
        self._sources, self.inputs = [source], [source.facts]
        if self._stopped:  # a signal came first
            source.stop()
        return source

    def _captured(self) -> Iterator[Dealt]:
        """What is captured live, waiting for it."""
        source = self._live or self.begin_live()
        try:
            for block in source.blocks(self.each_second):
                yield from self.idle(source.idle_clock()) if block is None else self.deal(block)
        finally:
            source.close()
        yield from self.finish()

    def deal(self, block: Block) -> Iterator[Dealt]:
        """A block that was captured live."""
        self.inputs[0].packets += len(block.records.start)
        for piece in self._pieces(self._decode(block)):
            yield self._deal(piece)

    def _pieces(self, stretch: Stretch) -> Iterator[Stretch]:
        """The stretch in batches, none of which lies in two parts of the output. Whoever takes one sends it before
        the next: a part ends in between."""
        for piece in pieces(stretch, self.config.batch_packets):
            if self.cuts is None:
                yield piece
                continue
            begin, count = 0, len(piece.records.start)
            while begin < count:
                if self.cuts.due():
                    self.rotate()
                end = begin + self.cuts.take(piece.records.captured[begin:])
                if end < count:
                    for held in piece.held:
                        held.take()
                yield cut(piece, begin, end)
                begin = end

    def _rotate_if_overdue(self) -> None:
        """Nothing comes, and all that came was sent."""
        if self.cuts is not None and self.cuts.overdue():
            self.rotate()

    def rotate(self) -> None:
        """A part of the output ends here, behind all that was dealt."""
        if self.cuts is not None:
            counters = self.counters()
            counters.pop("unaccounted", None)  # what waits in the kernel's ring is not lost
            self.on_cut(self.cuts.next(counters, [describe(facts) for facts in self.inputs]))

    def idle(self, now: int) -> Iterator[Dealt]:
        """Nothing has come: a batch without packets moves the packet clock towards ``now`` (ns), as one would."""
        if self._clock is not None:
            nothing = Records._make(
                np.empty(0, kind) for kind in (np.uint64, np.uint32, np.uint32, np.int64, np.uint16)
            )
            stretch = Stretch(nothing, decode(np.empty(0, np.uint8), nothing))
            yield self._dealt((stretch, nothing, None), packet_clock(np.array([now], np.int64), self._clock))

    def finish(self) -> Iterator[Dealt]:
        """The end: -w wants the fragments that are left."""
        if self._joining is not None:
            rest = self._joining.finish(self._clock or 0)
            if rest.late is not None:
                yield self._dealt(rest, np.array([self._clock], np.int64))

    def stop(self) -> None:
        """What is piped or followed ends here; all that has come is dealt."""
        self._stopped = True
        for source in self._sources:
            source.stop()

    def decoded(self, source: Input) -> Iterator[Stretch]:
        """The packets of one input, with addresses."""
        for block in source.blocks(self.config.batch_packets):
            yield self._decode(block)
            source.facts.packets += len(block.records.start)

    def hash_rest(self) -> None:
        """All batches were dealt: wait for the hashes of the inputs, if they are wanted."""
        if self._hashes is not None:
            self._hashes.finish()

    def _lane(self, source: Input) -> Iterator[_Lane]:
        """The lane of an input; none for what is no capture."""
        first: First | None = None
        try:
            if source.facts.size is not None and not self.config.follow:
                first = peek(source.path)
        except (CaptureError, UsageError) as error:
            source.refuse(error)
            return
        yield _Lane(self, source, first.time if first else _UNKNOWN_FIRST)

    def _decode(self, block: Block) -> Stretch:
        records, config = block.records, self.config
        if self._filter is not None and not self.packets:
            self._filter.check(int(records.link[0]))
        mask, untimely = self._mask(block)
        found = decode(block.data, records, mask, config.verify_checksums)
        self._note_links(records, found)
        if untimely is not None:
            found.reason[untimely] = Reason.OUTSIDE_TIME
        if config.ignore_vlan:
            net, more = without_vlans(found.net, found.more)
            found = found._replace(net=net, more=more)
        held: tuple[Held, ...] = ()
        extents: tuple[tuple[int, int], ...] = ()
        if block.lease is not None:
            held, extents = (block.lease,), ((block.base, block.lease.place),)
        return Stretch(*_at(block.base, records, found), extents, held)

    def _note_links(self, records: Records, found: Decoded) -> None:
        """Count the packets of link types that are not decoded, by name."""
        unknown = found.reason == Reason.UNKNOWN_LINK_TYPE
        if not unknown.any():
            return
        links, first, counts = np.unique(records.link[unknown], return_index=True, return_counts=True)
        for i in np.argsort(first).tolist():  # as they came: which are named must not depend on batches
            name = f"link.{link_name(int(links[i]))}"
            name = name if name in self._links or len(self._links) < MOST_NAMED else "link.others"
            self._links[name] = self._links.get(name, 0) + int(counts[i])

    def _mask(self, block: Block) -> tuple[Bools | None, Bools | None]:
        """Which packets to decode (None: all), and which lie outside of --start and --end."""
        time, config = block.records.time, self.config
        untimely: Bools | None = None
        if config.start_ns is not None or config.end_ns is not None:
            untimely = np.zeros(len(time), np.bool_)
            if config.start_ns is not None:
                untimely |= time < config.start_ns
            if config.end_ns is not None:
                untimely |= time >= config.end_ns
        mask = None if self._filter is None else self._filter.keep(block.data, block.records)
        if untimely is not None:
            mask = ~untimely if mask is None else mask & ~untimely
        return mask, untimely

    def _deal(self, stretch: Stretch) -> Dealt:
        clock = packet_clock(stretch.records.time, self._clock)
        reasons = np.bincount(stretch.decoded.reason, minlength=len(self.reasons))
        joined: Joined | None = None
        if reasons[Reason.FRAGMENT]:
            joined = self._join(stretch, clock)
            reasons = np.bincount(joined.stretch.decoded.reason, minlength=len(self.reasons))
        self.reasons += reasons
        self._note_times(int(stretch.records.time.min()), int(stretch.records.time.max()))
        return self._dealt(joined or (stretch, stretch.records, None), clock)

    def _join(self, stretch: Stretch, clock: I64) -> Joined:
        """The stretch with IP datagrams in place of their fragments."""
        if self._joining is None:
            from pipeline.defrag.joining import Joining

            self._joining = Joining(self.config, self.spool)
        return self._joining.join(stretch, clock, self.packets + 1)

    def _dealt(self, joined: Joined | tuple[Stretch, Records, None], clock: I64) -> Dealt:
        """``clock``: at each packet; what stands behind the last one has that one's."""
        stretch, sizes, late = joined
        first = self.packets + 1
        extents, decoded = stretch.table(), stretch.decoded
        parts = split(self._number, extents, sizes, decoded, first, clock, self.workers, self.config.hash_key)
        self._clock = int(clock[-1])
        self.packets += len(sizes.start)
        self._number += 1
        read = sum(source.position for source in self._sources)
        return Dealt(self._number - 1, parts, read, stretch.held, first, stretch, late)

    def _note_times(self, low: int, high: int) -> None:
        known = self._times
        self._times = (low, high) if known is None else (min(low, known[0]), max(high, known[1]))

    def counters(self) -> dict[str, int]:
        """Packets read, and of what kind they were."""
        reasons, joining = self.reasons, self._joining
        told = {"fragments.datagrams": 0, "fragments.conflicts": 0}
        if joining is not None:
            reasons = reasons + joining.counts
            told = {"fragments.datagrams": joining.datagrams, "fragments.conflicts": joining.conflicts}
        found = {f"reason.{Reason(i).label}": count for i, count in enumerate(reasons.tolist())}
        times = {} if self._times is None else {"time.first": self._times[0], "time.last": self._times[1]}
        live = {} if self._live is None else self._live.counters()
        return {"read": self.packets, **found, **told, **times, **self._links, **live}


def _at(base: int, records: Any, decoded: Decoded) -> tuple[Any, Decoded]:
    """Records and segments with addresses in place of places in a window."""
    if not base:
        return records, decoded
    shift = np.uint64(base)
    return records._replace(start=records.start + shift), decoded._replace(start=decoded.start + shift)


def describe(facts: InputFacts) -> dict[str, Any]:
    """An input's facts as a note carries them; its path is known from the configuration."""
    faults = [[fault.offset, fault.problem, fault.length] for fault in facts.faults]
    return {
        "size": facts.size, "bytes": facts.length, "format": facts.format, "packets": facts.packets,
        "faults": faults, "more_faults": facts.more_faults,
        **({} if facts.digest is None else {"digest": list(facts.digest)}),
    }  # fmt: skip


def make_filter(config: Config) -> Filter | None:
    """The filter that was asked for. Imported only then: most runs have none."""
    if not config.expression:
        return None
    from pipeline.decode.filter import Filter

    return Filter(config.expression)


def first_batch(config: Config) -> tuple[U8, Records] | None:
    """The first packets of the first input that is a file, and the bytes that they lie in."""
    if config.live is not None:
        return None
    for number, path in enumerate(config.inputs):
        if size_of(path) is None or is_copied(path):
            continue
        for block in Input(number, replace(config, follow=False), None).blocks(config.batch_packets):
            return block.data, block.records
    return None


def check_inputs(config: Config) -> None:
    """Refuse what cannot work, before anything is written. What is piped is not looked at.

    Raises UsageError for a filter that does not compile for the first input's link type, or for an interface that
    cannot be opened, and the first input's CaptureError when no input is a capture at all; one among others is a
    fault of the run.
    """
    if config.live is not None:
        from pipeline.live.interface import try_to_open
        from pipeline.privileges import raised

        with raised(None):
            try_to_open(config.live, config.expression)
        return
    keep = make_filter(config)
    errors: list[CaptureError] = []
    files = [path for path in config.inputs if path != STDIN and size_of(path) is not None]
    for path in files:
        try:
            first = peek(path)
        except CaptureError as error:
            errors.append(error)
            continue
        if keep is None:
            return
        if first is not None:
            keep.check(first.link)
            return
    if len(errors) == len(config.inputs):
        raise errors[0]
    if keep is not None and len(files) == len(config.inputs):  # no packet anywhere: a bad expression is refused
        keep.check(ETHERNET)
