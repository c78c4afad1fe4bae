"""Abstract segments to PacketBatches, and events to comparable values: no capture files involved."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from workers.contract import ACK, FIN, KEY_WORDS, NO_EXTENTS, PSH, RST, SYN, U64, EventBatch, Key, PacketBatch
from workers.events import TABLES
from workers.limits import Limits
from workers.reassembler import Reassembler

SECOND = 1_000_000_000


class Seg(NamedTuple):
    """One packet of flow ``flow``; ``start`` is given by its place in the list when 0."""

    flow: int
    side: int
    seq: int
    flags: int = 0x10
    size: int = 0
    ack: int = 0
    time: int = 0
    missing: int = 0
    start: int = 0


def words(flows: list[int]) -> U64:
    """Keys of these flows."""
    keys = np.zeros((len(flows), KEY_WORDS), np.uint64)
    keys[:, Key.A_LOW] = flows
    keys[:, Key.NET] = 4
    return keys


def batches(segments: Sequence[Seg], size: int = 1000) -> Iterator[PacketBatch]:
    """Cut the segments into batches of ``size``; packet numbers count from 1, the clock is the running maximum."""
    clock = 0
    for number, begin in enumerate(range(0, len(segments), size)):
        part = segments[begin : begin + size]
        flows = list(dict.fromkeys(s.flow for s in part))
        index = {flow: i for i, flow in enumerate(flows)}
        times = np.array([s.time for s in part], np.int64)
        clocks = np.maximum(np.maximum.accumulate(times), clock)
        clock = int(clocks[-1])
        n = len(part)
        yield PacketBatch(
            number=number, clock=clock, extents=NO_EXTENTS, keys=words(flows),
            hashes=np.array(flows, np.uint64), shards=np.array(flows, np.uint64).astype(np.uint8),
            flow=np.array([index[s.flow] for s in part], np.uint32),
            packet=np.arange(begin + 1, begin + n + 1, dtype=np.uint64),
            time=times, lag=clocks - times,
            seq=np.array([s.seq & 0xFFFFFFFF for s in part], np.uint32),
            ack=np.array([s.ack & 0xFFFFFFFF for s in part], np.uint32),
            flags=np.array([s.flags for s in part], np.uint8), side=np.array([s.side for s in part], np.uint8),
            start=np.array([s.start or 10_000 * (begin + i + 1) for i, s in enumerate(part)], np.uint64),
            size=np.array([s.size for s in part], np.uint32), missing=np.array([s.missing for s in part], np.uint32),
            mac=np.full(n, 54, np.uint16), length=np.array([s.size + 54 for s in part], np.uint32),
            clipped=np.array([s.missing for s in part], np.uint32),
        )  # fmt: skip


def part(batch: PacketBatch, worker: int, workers: int) -> PacketBatch:
    """What ``worker`` of ``workers`` gets of a batch: the flows of its virtual shards."""
    rows = np.flatnonzero(batch.shards[batch.flow] % workers == worker)
    flows, flow = np.unique(batch.flow[rows], return_inverse=True)
    tables = {"keys": batch.keys[flows], "hashes": batch.hashes[flows], "shards": batch.shards[flows]}
    fixed = {*tables, "number", "clock", "extents", "flow"}
    columns = {name: getattr(batch, name)[rows] for name in PacketBatch._fields if name not in fixed}
    return batch._replace(**tables, flow=flow.astype(np.uint32), **columns)


def run(
    segments: Sequence[Seg],
    *,
    size: int = 1000,
    limits: Limits | None = None,
    vector: bool = True,
    workers: int = 1,
    **options: bool,
) -> list[EventBatch]:
    """All events of the segments, the closing ones included; those of several workers one after the other.

    ``options`` are the reassembler's.
    """
    found = []
    for worker in range(workers):
        reassembler = Reassembler(limits or Limits(), vector=vector, **options)
        mine = (part(batch, worker, workers) if workers > 1 else batch for batch in batches(segments, size))
        found += map(reassembler.handle, mine)
        found += reassembler.finish()
    return found


def rows(events: Sequence[EventBatch], name: str) -> list[dict[str, Any]]:
    """The rows of one table over all batches, as plain dictionaries, by stream, in order within."""
    found = []
    for batch in events:
        table = getattr(batch, name)
        if table is not None:
            columns = [column.tolist() for column in table]
            found += [dict(zip(table._fields, row, strict=True)) for row in zip(*columns, strict=True)]
    return sorted(found, key=lambda row: row["stream"])


def everything(events: Sequence[EventBatch]) -> dict[str, list[dict[str, Any]]]:
    """All tables but Frontiers, which a batch's end causes and which so depend on where batches end."""
    return {name: rows(events, name) for name in TABLES if name != "frontiers"}


# Random traffic


def conversation(flow: int, rng: random.Random, turns: int) -> list[Seg]:
    """A whole connection in order: handshake, ``turns`` segments of payload, FINs."""
    a, b = rng.getrandbits(32), rng.getrandbits(32)
    out = [Seg(flow, 0, a, SYN), Seg(flow, 1, b, SYN | ACK, 0, a + 1), Seg(flow, 0, a + 1, ACK, 0, b + 1)]
    a, b = a + 1, b + 1
    for _ in range(turns):
        size = rng.choice([1, 5, 100, 1448])
        if rng.random() < 0.3:
            out.append(Seg(flow, 0, a, ACK | PSH, size, b))
            a += size
        else:
            out.append(Seg(flow, 1, b, ACK, size, a))
            b += size
        if rng.random() < 0.4:
            out.append(Seg(flow, 0, a, ACK, 0, b))
    ends = [Seg(flow, 0, a, FIN | ACK, 0, b), Seg(flow, 1, b, FIN | ACK, 0, a + 1)]
    return [*out, *ends, Seg(flow, 0, a + 1, ACK, 0, b + 1)]


def disturb(segments: list[Seg], rng: random.Random) -> None:
    """Move, drop, double, cut a segment, or put a lie of a flag among them."""
    i = rng.randrange(len(segments))
    what = rng.random()
    if what < 0.3:
        segments.insert(min(len(segments) - 1, i + rng.randint(1, 5)), segments.pop(i))
    elif what < 0.45:
        segments.pop(i)
    elif what < 0.6:
        segments.insert(min(len(segments), i + rng.randint(1, 8)), segments[i])
    elif what < 0.7:  # again, from a little earlier or a little further
        shift = rng.choice([-50, -1, 1, 3])
        again = segments[i]._replace(seq=segments[i].seq + shift, size=max(0, segments[i].size - shift))
        segments.insert(min(len(segments), i + rng.randint(1, 8)), again)
    elif what < 0.85:
        segments[i] = segments[i]._replace(missing=rng.choice([segments[i].size // 2, segments[i].size]))
    else:
        flags = rng.choice([RST, RST | ACK, SYN, FIN | ACK, SYN | ACK])
        seq = rng.choice([segments[i].seq, segments[i].seq - 1, rng.getrandbits(32)])
        segments.insert(i, segments[i]._replace(flags=flags, size=rng.choice([0, 0, 7]), seq=seq, missing=0))


def mix(rng: random.Random, flows: Sequence[int]) -> list[Seg]:
    """Conversations of these flows in turns: some follow one another on one tuple, begin midstream, are disturbed."""
    disturbed, reuse, midstream = rng.choice([0, 0.5, 1]), rng.random() < 0.5, rng.random() < 0.4
    talks = []
    for flow in flows:
        talk = conversation(flow, rng, rng.randint(0, 20))
        if reuse and rng.random() < 0.5:
            talk += conversation(flow, rng, rng.randint(0, 20))
        if rng.random() < disturbed:
            for _ in range(rng.randint(1, 4)):
                disturb(talk, rng)
        if midstream and rng.random() < 0.5:
            talk = talk[rng.randint(0, len(talk) - 1) :]
        talks.append(talk)
    out = []
    time = 10**18
    while talks := [talk for talk in talks if talk]:
        time += rng.choice([0, 1000, 10**6, SECOND * rng.choice([0, 0, 0, 1, 2]), -500])
        out.append(rng.choice(talks).pop(0)._replace(time=time))
    return out


# What a writer sees


class View:
    """A stream as its writer sees it, byte by byte."""

    def __init__(self) -> None:
        self.there: dict[int, tuple[int, int]] = {}  # offset: packet, place
        self.given_up: set[int] = set()
        self.frontier = 0
        self.origin = 0
        self._settled = 0

    def settled(self) -> int:
        """The first offset that is neither there nor given up."""
        while self._settled in self.there or self._settled in self.given_up:
            self._settled += 1
        return self._settled


def replay(views: dict[int, View], events: EventBatch) -> set[int]:
    """Apply a batch in the contract's order; returns the streams that it closed. Asserts what a writer relies on."""

    def told(name: str) -> list[dict[str, Any]]:
        return rows([events], name)

    for row in told("opened"):
        assert row["stream"] not in views, "opened once"
        views[row["stream"]] = View()
    for row in told("rebases"):
        assert row["origin"] < views[row["stream"]].origin, "an origin moves down only"
        views[row["stream"]].origin = row["origin"]
    for row in told("data"):
        view = views[row["stream"]]
        assert row["offset"] >= view.origin, "no byte before the file's first"
        for i in range(row["size"]):
            assert row["offset"] + i not in view.there, "each offset at most once"
            view.there[row["offset"] + i] = row["packet"], row["start"] + i
        if row["offset"] == view.frontier:
            view.frontier += row["size"]
    for row in told("overlaps"):
        view = views[row["stream"]]
        assert all(row["offset"] + i in view.there for i in range(row["size"])), "an overlap is of what is there"
    for row in told("gaps"):
        view = views[row["stream"]]
        gap = range(row["offset"], row["offset"] + row["size"])
        assert not view.given_up.intersection(gap), "given up once"
        view.given_up.update(gap)
    for row in told("frontiers"):
        view = views[row["stream"]]
        assert row["offset"] >= view.frontier, "a frontier never goes back"
        view.frontier = row["offset"]
    for row in told("runs"):
        assert row["stream"] in views
    return {row["stream"] for row in told("closed")}
