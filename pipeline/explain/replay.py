"""The captures of an earlier run read again, and what became of each packet of some connections.

Knows: how a report becomes the Config of its run, where its captures are, which packets are of the same tuple.
Does not know: words, output.
Invariant: what is told is what the run did: packet numbers, offsets and counts are those of its report, as long
as the captures are the same (``locate`` says what is known to differ).

All packets are read and decoded, since numbers and the packet clock depend on all; only those of the tuple are
reassembled. Which connections a run forgot at its limit depends on all traffic too: see ``_make_room``.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple, get_args

import numpy as np

from pipeline.capture import Capture, Dealt
from pipeline.config import DEFAULT_HASH_KEY, STDIN, Config
from pipeline.decode.kernels import decode
from pipeline.decode.packets import without_vlans
from pipeline.decode.reasons import Reason
from pipeline.errors import UsageError
from pipeline.explain.report import Found, Row, whole
from pipeline.memory import Memory, places
from pipeline.shard import flow_keys
from pipeline.source.records import Records
from pipeline.spool.slabs import Spool
from workers.contract import I64, U64, Bools, CloseReason, Key, PacketBatch
from workers.events import Events
from workers.limits import Limits
from workers.overlap import PolicyName
from workers.tracing import Step, Told, Tracer

_FLOW_TABLES: Final = frozenset({"keys", "hashes", "shards"})
_WHOLE: Final = frozenset({"number", "clock", "extents", *_FLOW_TABLES})


class Dropped(NamedTuple):
    """A packet of the tuple that is no segment for the reassembly: its checksum is wrong."""

    packet: int
    time: int  # ns
    side: int  # which endpoint of the key sent it
    size: int  # payload bytes


class Tuple(NamedTuple):
    """Two endpoints, as the first words of a flow key have them; on whatever networks."""

    words: U64  # (5,)
    version: int

    def among(self, keys: U64) -> Bools:
        """Which keys (u, 7) are of these endpoints."""
        found: Bools = (keys[:, : Key.NET] == self.words).all(axis=1)
        found &= (keys[:, Key.NET] & np.uint64(15)) == self.version
        return found


def tuple_of(row: Row) -> Tuple:
    """The endpoints of a row. UsageError when the report says none."""
    try:
        ends = [(int(ip_address(row.facts[ip])), whole(row.facts, port))
                for ip, port in (("src_ipn", "srcport"), ("dst_ipn", "dstport"))]  # fmt: skip
        version = ip_address(row.facts["src_ipn"]).version
    except (KeyError, ValueError):
        raise UsageError("the report has no addresses for this stream", "give the report unchanged") from None
    (a, a_port), (b, b_port) = sorted(ends)
    low = (1 << 64) - 1
    words = [a >> 64, a & low, b >> 64, b & low, a_port << 16 | b_port]
    return Tuple(np.array(words, np.uint64), version)


def config_of(found: Found, inputs: tuple[Path, ...]) -> Config:
    """The configuration of the run, as far as it decides what becomes of a packet."""
    options = found.options
    overlap = options.get("overlap", "first")
    policies: dict[str, PolicyName] = {name: name for name in get_args(PolicyName)}
    if overlap not in policies:
        raise UsageError(f"the report names an unknown overlap policy, '{overlap}'", "it is of another version")
    return Config(
        inputs=inputs, mapped=False, quiet=True, expression=options.get("expression", ""),
        append=_is(options, "append"), ignore_vlan=_is(options, "ignore_vlan"), strict=_is(options, "strict"),
        verify_checksums=_verified(found), start_ns=_perhaps(options, "start_ns"), end_ns=_perhaps(options, "end_ns"),
        hash_key=whole(options, "hash_key", DEFAULT_HASH_KEY),
        limits=Limits(overlap=policies[overlap], stream_bytes=_perhaps(options, "stream_bytes")),
    )  # fmt: skip


def _is(options: dict[str, str], name: str) -> bool:
    return options.get(name) == "true"


def _perhaps(options: dict[str, str], name: str) -> int | None:
    return whole(options, name) if name in options else None


def _verified(found: Found) -> bool:
    """A report that does not say whether checksums were verified has the command line at least."""
    if "verify_checksums" in found.options:
        return _is(found.options, "verify_checksums")
    try:
        return "--verify-checksums" in shlex.split(found.command)
    except ValueError:  # no closing quotation: not a command line of ours
        return False


def locate(found: Found, folder: Path, given: list[str]) -> tuple[tuple[Path, ...], list[str]]:
    """The captures to read, and what of them is known to differ from those that the run read.

    ``given`` stand for the report's inputs, in their order. Without it an input is looked for from the current
    folder, then from the one that the output folder lies in. UsageError for one that cannot be read again.
    """
    names = [facts.get("name", "") for facts in found.inputs]
    if given and len(given) != len(names):
        raise UsageError(
            f"--read is given {len(given)} times, the run read {len(names)}", "give a capture for each, in their order"
        )
    paths, warnings = [], []
    for at, (name, facts) in enumerate(zip(names, found.inputs, strict=True)):
        path = Path(given[at]) if given else _again(name, facts, folder)
        if not path.is_file():
            raise UsageError(f"{path}: no such capture", "--read FILE says where it is now, once for each input")
        size = whole(facts, "size", -1)
        if size >= 0 and path.stat().st_size != size:
            warnings.append(f"{path} has {path.stat().st_size:,} bytes now, {size:,} when it was processed")
        paths.append(path.absolute() if path == STDIN else path)
    return tuple(paths), warnings


def _again(name: str, facts: dict[str, str], folder: Path) -> Path:
    if "size" not in facts:
        what = "standard input" if name == str(STDIN) else name
        raise UsageError(f"{what} was piped and cannot be read again", "if there is a copy of the capture: --read FILE")
    here, beside = Path(name), folder.absolute().parent / name
    return here if here.is_file() or not beside.is_file() else beside


class Replay:
    """One reading of the captures."""

    def __init__(self, config: Config, row: Row, tell: Callable[[Told | Dropped], None]) -> None:
        """``row``: a stream of the tuple. ``tell`` hears of all its connections, in capture order."""
        self._config = config
        self._tuple = tuple_of(row)
        self._first = row.stream >> 1
        self._tell = tell
        self._dropped: list[Dropped] = []
        self._tracer = Tracer(config.limits, self._told, append=config.append)

    def run(self, *, evicted: bool) -> None:
        """Read all. ``evicted``: the run forgot connections at its limit."""
        spool = Spool(None, self._config.spool_bytes)
        try:
            capture = Capture(self._config, 1, spool)
            memory = Memory(self._config, spool.view, keep=4)
            for dealt in capture.batches():
                self._batch(dealt, memory, evicted=evicted)
                dealt.drop()
        finally:
            spool.close()
        for _ in self._tracer.finish():
            pass

    def _batch(self, dealt: Dealt, memory: Memory, *, evicted: bool) -> None:
        if self._config.verify_checksums:
            self._dropped = list(dropped(dealt, self._tuple, memory, ignore_vlan=self._config.ignore_vlan))
        batch = chosen(dealt.parts[0], self._tuple)
        at = int(np.searchsorted(batch.packet, self._first))
        if evicted and at < len(batch.packet) and int(batch.packet[at]) == self._first:
            clocks = batch.time + batch.lag
            self._tracer.handle(slice_of(batch, 0, at)._replace(clock=int(clocks[max(0, at - 1)])))
            batch = slice_of(batch, at, len(batch.packet))
            self._make_room(batch)
        self._tracer.handle(batch)  # one without packets too: it moves the clock
        self._tell_dropped(None)

    def _make_room(self, batch: PacketBatch) -> None:
        """The connection that begins with this batch's first packet was a new one to the run, so the one before it
        on its tuple, which is still remembered here, had been forgotten."""
        flow = int(batch.flow[0])
        row = self._tracer.table.find(batch.keys[flow : flow + 1])
        if row >= 0:
            self._tracer.table.close(row, CloseReason.EVICTED, Events(batch.number, batch.extents))

    def _told(self, told: Told) -> None:
        if isinstance(told, Step):
            self._tell_dropped(told.segment.packet)
        self._tell(told)

    def _tell_dropped(self, before: int | None) -> None:
        while self._dropped and (before is None or self._dropped[0].packet < before):
            self._tell(self._dropped.pop(0))


def chosen(batch: PacketBatch, mine: Tuple) -> PacketBatch:
    """The segments of a tuple, on whatever networks."""
    wanted = mine.among(batch.keys)
    rows = np.flatnonzero(wanted[batch.flow]) if wanted.any() else np.empty(0, np.int64)
    return _taken(batch, rows)


def slice_of(batch: PacketBatch, low: int, high: int) -> PacketBatch:
    """The segments [low, high) of a batch."""
    return _taken(batch, np.arange(low, high))


def _taken(batch: PacketBatch, rows: I64) -> PacketBatch:
    """The segments ``rows``, and of the tables of flows what they need."""
    columns = {name: getattr(batch, name)[rows] for name in batch._fields if name not in _WHOLE}
    flows, renumbered = np.unique(columns["flow"], return_inverse=True)
    columns |= {name: getattr(batch, name)[flows] for name in _FLOW_TABLES}
    columns["flow"] = renumbered.astype(np.uint32)
    return batch._replace(**columns)


def dropped(dealt: Dealt, mine: Tuple, memory: Memory, *, ignore_vlan: bool) -> Iterator[Dropped]:
    """The packets of a tuple whose checksum is wrong, in capture order."""
    stretch = dealt.stretch
    assert stretch is not None
    rows = np.flatnonzero(stretch.decoded.reason == Reason.BAD_CHECKSUM)
    if not len(rows):
        return
    records = Records._make(column[rows] for column in stretch.records)
    source, place = places(stretch.table(), records.start)
    sources = np.full(len(rows), source) if isinstance(source, int) else source
    records = records._replace(start=place.view(np.uint64))
    found = []
    for each in np.unique(sources).tolist():
        some = np.flatnonzero(sources == each)
        segments = decode(memory(each), Records._make(column[some] for column in records))
        if ignore_vlan:
            net, more = without_vlans(segments.net, segments.more)
            segments = segments._replace(net=net, more=more)
        keys, sides = flow_keys(segments)
        for i in np.flatnonzero(mine.among(keys)).tolist():
            row = int(some[segments.row[i]])
            packet = dealt.first_packet + int(rows[row])
            found.append(Dropped(packet, int(records.time[row]), int(sides[i]), int(segments.size[i])))
    yield from sorted(found)
