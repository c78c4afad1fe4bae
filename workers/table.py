"""All connections of one worker: key to connection, as columns; expiry and limits.

Knows: which row holds which key, loading and storing of rows, when rows are forgotten.
Does not know: how segments are judged, who has to make room (crowding.py).
Invariant: what is forgotten, and when, depends on the packets and the limits alone: never on the
number of workers, on batch sizes, or on when ``expire`` is called.

Connection ``c`` has the directions ``2 * c + side``, side 0 being that of the key's endpoint a.
Connections of a single packet without payload have no row: they are in ``lone``, until somebody looks for them.
Rows with more to tell than their columns hold (several ranges, a held SYN) have it in ``details``
and ``pending``.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers import connection as cn
from workers import direction as dr
from workers.connection import Connection
from workers.contract import (
    BACK,
    I16,
    I64,
    SHARDS,
    U8,
    U64,
    Bools,
    Closed,
    CloseReason,
    Completeness,
    Connections,
    Progress,
    Runs,
)
from workers.direction import Detail, Direction
from workers.events import Events
from workers.index import ROWS, Index, grown, key_bytes, keyed_hashes
from workers.limits import Limits
from workers.lone import Lone, fill, folded
from workers.segment import Segment
from workers.standing import Standing, progress

CONNECTION = np.dtype(list(cn.FIELDS))
DIRECTION = np.dtype(list(dr.FIELDS))
_ROW_BYTES = np.dtype((np.void, CONNECTION.itemsize))
_SIDE_BYTES = np.dtype((np.void, DIRECTION.itemsize))
_BOTH_BYTES = np.dtype((np.void, 2 * DIRECTION.itemsize))
_NEW_ROW = np.zeros(1, CONNECTION)
_NEW_ROW["counter"] = cn.NO_COUNTER

_COUNTS = ("packets", "length", "clipped", "seen")
_MANY = 256
"""Connections that wait: fewer are not worth the trouble, most are answered in the next batch."""
_SUMS = ("written", "seen", "overlap", "beyond", "outside", "not_data", "refused", "packets")


def taken(columns: NDArray[Any], chosen: I64) -> NDArray[Any]:
    """Copies of some rows of directions. As plain bytes: numpy copies records field by field."""
    found: NDArray[Any] = columns.view(_SIDE_BYTES)[chosen].view(DIRECTION)
    return found


class Table:
    """The connections that are open or waiting for stragglers."""

    def __init__(self, limits: Limits, *, append: bool = False, connections: bool = False) -> None:
        """``append``: no counters; a stream begins where the one before it in its direction of the tuple ended.
        ``connections``: say of each one what was seen of it, payload or not."""
        self.limits = limits
        self.append = append
        self.connections = connections
        self.rows: NDArray[Any] = np.zeros(ROWS, CONNECTION)
        self.sides: NDArray[Any] = np.zeros(2 * ROWS, DIRECTION)
        self.index = Index()
        self.lone = Lone()
        self.details: dict[int, Detail] = {}
        self.ranges: I64 = np.zeros(SHARDS, np.int64)
        """By shard, the ranges that ``details`` holds beyond the first of each direction, where they have a limit."""
        self.pending: dict[int, Segment] = {}
        self.carried: dict[int, int] = {}
        """Of each tuple, how many connections with payload it has had: names must stay unique. By the hash of its key,
        a third of its room, which nobody can predict; of two tuples that shared one, one would count too far."""
        self.ends: dict[tuple[bytes, int], int] = {}
        """Of each direction of a tuple, where its next stream begins in the file. Only with ``append``; as
        ``carried`` it grows with the tuples that carried payload, for their files are never forgotten."""
        self.totals = dict.fromkeys(("connections", "connections_with_payload", "streams", *_SUMS), 0)

    def __len__(self) -> int:
        """How many connections are remembered."""
        return len(self.index) + len(self.lone)

    # Rows

    @property
    def keys(self) -> U64:
        """The keys of all rows."""
        return self.index.keys

    @property
    def place(self) -> I16:
        """Of each row the shard of its connection, or -1. Apart from ``rows``: whole columns are searched for it."""
        return self.index.place

    def find(self, keys: U64) -> I64:
        """Rows of the keys (n, 7), each of them once; -1 for those that have none. Lone connections get one."""
        hashes = keyed_hashes(keys)
        rows = self.index.find(keys, hashes)
        if len(self.lone) and len(missing := np.flatnonzero(rows < 0)):
            lone = self.lone.index.find(keys[missing], hashes[missing])
            rows[missing[lone >= 0]] = self.unfold(lone[lone >= 0])
        return rows

    def unfold(self, lone: I64) -> I64:
        """Rows for these of the lone connections, which are so no more."""
        if not len(lone):
            return lone
        packets, of = self.lone.of(lone), self.lone.index
        keys, shards = of.keys[lone], of.place[lone].astype(np.uint8)
        of.drop(lone)
        new = self.add(keys, shards)
        connections, directions = np.zeros(len(new), CONNECTION), np.zeros(len(new), DIRECTION)
        fill(packets, shards, connections, directions)
        self.rows.view(_ROW_BYTES)[new] = connections.view(_ROW_BYTES)
        self.set_side_columns(2 * new + packets["side"], directions)
        return new

    def side_columns(self, sides: I64) -> NDArray[Any]:
        """Copies of the rows of these directions."""
        return taken(self.sides, sides)

    def side_columns_or_none(self, sides: I64) -> NDArray[Any]:
        """The same; of -1 those of a direction that nothing is known of."""
        if not len(sides) or sides.min() >= 0:
            return self.side_columns(sides)
        found: NDArray[Any] = np.zeros(len(sides), DIRECTION)
        known = np.flatnonzero(sides >= 0)
        found.view(_SIDE_BYTES)[known] = self.sides.view(_SIDE_BYTES)[sides[known]]
        return found

    def set_side_columns(self, sides: I64, columns: NDArray[Any]) -> None:
        """Write rows back."""
        self.sides.view(_SIDE_BYTES)[sides] = columns.view(_SIDE_BYTES)

    def add(self, keys: U64, shards: U8) -> I64:
        """New empty rows for keys (n, 7) that have none, each of them once."""
        new = self.index.add(keys, shards)
        while len(self.rows) < self.index.size:
            self.rows, self.sides = grown(self.rows), grown(self.sides)
        self.rows.view(_ROW_BYTES)[new] = _NEW_ROW.view(_ROW_BYTES)
        self.rows["shard"][new] = shards
        self.sides.view(_BOTH_BYTES)[new] = np.zeros(1, _BOTH_BYTES)
        return new

    def key_bytes(self, rows: I64) -> list[bytes]:
        """The keys of rows, as those of dictionaries."""
        return key_bytes(self.keys[rows])

    def streams(self, sides: I64) -> U64:
        """Stream numbers of directions: connection << 1, and 1 for the direction that did not begin it."""
        rows = sides >> 1
        ident: U64 = self.rows["ident"][rows]
        direction: U64 = ((sides & 1) ^ self.rows["first_side"][rows]).astype(np.uint64)
        return ident << np.uint64(1) | direction

    def fold(self, rows: I64) -> None:
        """Those of these connections that have a single quiet packet give back their rows: they are lone now."""
        sides = 2 * rows + self.rows["first_side"][rows]
        packets, quiet = folded(self.rows.view(_ROW_BYTES)[rows].view(CONNECTION), self.side_columns(sides))
        rows = rows[quiet]
        self.lone.put(packets[quiet], self.keys[rows], self.place[rows].astype(np.uint8))
        self.index.drop(rows)

    # One row at a time

    def load(self, row: int) -> Connection:
        """A row unpacked. It must be stored before the columns are looked at again."""
        columns = self.rows[row].item()
        ident, shard, first_side = columns[0], columns[6], columns[7]
        sides = tuple(
            Direction(self.sides[2 * row + side].item(), self.details.get(2 * row + side),
                      ident << 1 | (side ^ first_side), shard)
            for side in (0, 1)
        )  # fmt: skip
        return Connection(row, columns, tuple(self.keys[row].tolist()), (sides[0], sides[1]), self.pending.get(row))

    def store(self, connection: Connection) -> None:
        """Pack it again."""
        row = connection.index
        for side, direction in enumerate(connection.sides):
            if (columns := direction.row()) != direction.loaded:
                self.sides[2 * row + side] = columns
            if direction.state & dr.DETAIL:
                self.details[2 * row + side] = direction.detail
            else:
                self.details.pop(2 * row + side, None)
        if connection.pending is None:
            self.pending.pop(row, None)
        else:
            self.pending[row] = connection.pending
        self.rows[row] = connection.row()

    def next_counters(self, hashes: list[int]) -> list[int]:
        """The counters of connections that carry their first payload now, by the hashes of their tuples."""
        if self.append:
            return [0] * len(hashes)
        counters = list(map(self.carried.get, hashes, repeat(0)))
        self.carried.update(zip(hashes, [counter + 1 for counter in counters], strict=True))
        return counters

    def forget_counts(self) -> None:
        """Begin to count anew, but for tuples whose connections are remembered: no file that is still to be named, or
        is there and has no row yet, may get the name of another one."""
        known = [index.hashes(index.live()).tolist() for index in (self.index, self.lone.index)]
        self.carried = {key: self.carried[key] for key in self.carried.keys() & chain(*known)}

    def base(self, key: bytes, side: int) -> int:
        """Where in its file a stream begins that is opened now."""
        return self.ends.get((key, side), 0)

    def bases(self, rows: I64, sides: I64) -> I64:
        """The same for directions (k,), by row and side."""
        if not self.ends:
            return np.zeros(len(rows), np.int64)
        keys = self.key_bytes(rows)
        return np.array([self.base(*end) for end in zip(keys, sides.tolist(), strict=True)], np.int64)

    # The end of connections

    def over(self, rows: I64) -> Bools:
        """Which of these connections are closed: RST, or FIN from both sides and all data up to them."""
        state, frontier, fin = self.sides["state"], self.sides["next"], self.sides["fin"]
        over: Bools = (state[2 * rows] & state[2 * rows + 1] & dr.ENDED) != 0
        a = 2 * rows[over]
        over[over] = (frontier[a] >= fin[a]) & (frontier[a + 1] >= fin[a + 1])
        over |= (self.rows["state"][rows] & cn.RESET) != 0
        return over

    def half_open(self, rows: I64) -> Bools:
        """Which have neither payload nor an answer."""
        a, b = self.sides["state"][2 * rows], self.sides["state"][2 * rows + 1]
        half: Bools = ((a | b) & dr.OPENED == 0) & (a & b & dr.SEEN == 0)
        return half

    def live(self) -> I64:
        """The numbers of all connections: of each its row, or ``~`` its row in ``lone``, those behind the others."""
        return np.concatenate([self.index.live(), ~self.lone.index.live()])

    def of_shards(self, shards: I64) -> I64:
        """Those of these virtual shards."""
        return np.concatenate([self.index.of_shards(shards), ~self.lone.index.of_shards(shards)])

    def standing(self, numbers: I64) -> Standing:
        """How connections stand, lone ones last."""
        rows, lone = numbers[numbers >= 0], ~numbers[numbers < 0]
        packets, many = self.lone.of(lone), np.ones(len(lone), np.bool_)
        return Standing(
            np.concatenate([rows, ~lone]),
            np.concatenate([self.place[rows], self.lone.index.place[lone]]).astype(np.uint8),
            np.concatenate([self.half_open(rows), many]),
            np.concatenate([self.over(rows), ~many]),
            np.concatenate([self.rows["clock"][rows], packets["clock"]]),
            np.concatenate([self.rows["ident"][rows], packets["packet"]]),
        )

    def expire(self, clock: int, out: Events) -> None:
        """Close what no packet at or after ``clock`` could belong to any more."""
        standing = self.standing(self.live())
        gone = standing.due(self.limits) < clock
        self.close(standing.numbers[gone], CloseReason.IDLE, out)
        waiting = standing.numbers[standing.half & ~gone]
        if len(waiting := waiting[waiting >= 0]) >= _MANY:
            self.fold(waiting)

    def close(self, numbers: I64, reason: CloseReason, out: Events) -> None:
        """Say the final numbers of these connections and forget them.

        ``reason`` is why they are closed now; one that had ended by itself says how it did.
        """
        rows, lone = numbers[numbers >= 0], ~numbers[numbers < 0]
        if self.connections:
            rows = np.concatenate([rows, self.unfold(lone)])
        elif len(lone):  # they had no stream, and nobody wants to hear of them
            self.totals["connections"] += len(lone)
            self.totals["packets"] += len(lone)
            self.lone.index.drop(lone)
        if len(rows):
            self._close_rows(rows, reason, out)

    def _close_rows(self, rows: I64, reason: CloseReason, out: Events) -> None:
        detailed = ((self.sides["state"][2 * rows] | self.sides["state"][2 * rows + 1]) & dr.DETAIL) != 0
        detailed |= (self.rows["state"][rows] & cn.PENDING) != 0
        for row in rows[detailed].tolist():
            self._close_detail(row, out)
        reasons = np.full(len(rows), int(reason), np.uint8)
        over = self.over(rows)
        reset = (self.rows["state"][rows] & cn.RESET) != 0
        reasons[over] = np.where(reset[over], CloseReason.RESET, CloseReason.FINISHED)
        sides = np.stack([2 * rows, 2 * rows + 1], axis=1).ravel()
        self._count(rows, sides)
        opened = (self.sides["state"][sides] & dr.OPENED) != 0
        self._say_runs(sides[opened & ~np.repeat(detailed, 2)], out)
        self._say_closed(sides[opened], np.repeat(reasons, 2)[opened], out)
        if self.connections:
            self._say_connections(rows, reasons, out)
        self._forget(rows)

    def _close_detail(self, row: int, out: Events) -> None:
        """What the columns cannot say of a row that is to be closed."""
        connection = self.load(row)
        connection.absorb_pending()
        self.rows[row] = connection.row()
        for side, direction in enumerate(connection.sides):
            if self.limits.ranges_per_shard is not None:
                self.ranges[connection.shard] -= direction.further
            direction.close(self.limits, out)
            self.sides[2 * row + side] = direction.columns()

    def _say_runs(self, sides: I64, out: Events) -> None:
        """The single range of each direction that has no more than one."""
        columns = self.side_columns(sides)
        size = columns["next"] - columns["origin"]
        if self.limits.stream_bytes is not None:
            size = np.minimum(size, self.limits.stream_bytes)
        some = size > 0
        out.block("runs", Runs(
            self.streams(sides)[some], self.rows["shard"][sides >> 1][some], columns["origin"][some],
            size[some], columns["place"][some],
        ))  # fmt: skip

    def _say_closed(self, sides: I64, reasons: U8, out: Events) -> None:
        columns = self.side_columns(sides)
        end = columns["end"]
        if self.limits.stream_bytes is not None:
            end = np.minimum(end, columns["origin"] + self.limits.stream_bytes)
        end = np.where(end - columns["next"] > self.limits.hole_bytes, columns["next"], end)
        flags = self._completeness(sides, columns)
        counts = [columns[name] for name in Closed._fields[4:-2]]
        shard = self.rows["shard"][sides >> 1]
        if self.append:
            sizes = (end - columns["origin"]).tolist()
            for stream_end in zip(self.key_bytes(sides >> 1), (sides & 1).tolist(), sizes, strict=True):
                key, side, size = stream_end
                self.ends[key, side] = self.base(key, side) + size
        out.block(
            "closed",
            Closed._make([self.streams(sides), shard, columns["origin"], end, *counts, flags, reasons]),
        )

    def _say_connections(self, rows: I64, reasons: U8, out: Events) -> None:
        side = self.rows["first_side"][rows]
        front, back = 2 * rows + side, 2 * rows + (1 - side)
        one, other = self.side_columns(front), self.side_columns(back)
        met = (other["state"] & dr.SEEN) != 0  # the first packet's sender always is
        state = progress(one["state"]) | progress(other["state"]) << np.uint16(BACK)
        state |= np.where(self.rows["state"][rows] & cn.RESET, Progress.RESET, 0).astype(np.uint16)
        counts = [[columns[name] for name in _COUNTS] for columns in (one, other)]
        out.block("connections", Connections._make([
            self.streams(front), self.rows["shard"][rows], self.keys[rows], side, state, reasons,
            np.where(met, np.minimum(one["first"], other["first"]), one["first"]),
            np.where(met, np.maximum(one["last"], other["last"]), one["last"]),
            self._completeness(front, one), *counts[0], self._completeness(back, other), *counts[1],
        ]))  # fmt: skip

    def _completeness(self, sides: I64, columns: NDArray[Any]) -> NDArray[np.uint16]:
        state = columns["state"]
        reset = (self.rows["state"][sides >> 1] & cn.RESET) != 0
        ended = (state & dr.ENDED) != 0
        flags = np.where(state & dr.BEGUN, 0, Completeness.MIDSTREAM)
        flags |= np.where(ended | reset, 0, Completeness.OPEN)
        tail_lost = ended & (columns["fin"] > columns["end"])
        flags |= np.where((state & dr.GAPPED != 0) | tail_lost, Completeness.GAPS, 0)
        flags |= np.where(columns["snapped"] > 0, Completeness.SNAPPED, 0)
        limited = (columns["beyond"] > 0) | (columns["refused"] > 0) | (state & dr.CAPPED != 0)
        flags |= np.where(limited, Completeness.LIMITED, 0)
        return flags.astype(np.uint16)

    def _count(self, rows: I64, sides: I64) -> None:
        totals = self.totals
        totals["connections"] += len(rows)
        totals["connections_with_payload"] += int(np.count_nonzero(self.rows["state"][rows] & cn.PAID))
        columns = self.side_columns(sides)
        totals["streams"] += int(np.count_nonzero(columns["state"] & dr.OPENED))
        for name in _SUMS:
            totals[name] += int(columns[name].sum())

    def _forget(self, rows: I64) -> None:
        if self.details or self.pending:
            for side in (2 * rows).tolist():
                self.details.pop(side, None)
                self.details.pop(side + 1, None)
                self.pending.pop(side >> 1, None)
        self.index.drop(rows)
