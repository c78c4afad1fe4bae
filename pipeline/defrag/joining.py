"""A stretch of packets in which there are fragments, to the same stretch with what they came to.

Knows: the order of things, where rebuilt datagrams lie, what is counted, what -w gets and when.
Does not know: which fragments make a datagram (table.py), what is in a datagram (decode).
Invariant: every packet keeps exactly one reason. A fragment's is FRAGMENT_HELD until it is known better, and
``counts`` then moves it; what is said depends on the order of the packets only.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pipeline.config import Config
from pipeline.decode.kernels import Decoded, decode
from pipeline.decode.link import RAW
from pipeline.decode.packets import joined_networks, networks, without_vlans
from pipeline.decode.reasons import Reason
from pipeline.defrag.amended import Amended
from pipeline.defrag.datagram import Datagram
from pipeline.defrag.fragments import Fragment, Origin, read_fragments
from pipeline.defrag.table import GivenUp, Table
from pipeline.errors import OutputError
from pipeline.memory import Memory, nothing_spooled, places
from pipeline.reading import Lease
from pipeline.source.records import Records
from pipeline.spool.slabs import Spool
from pipeline.timeline import Stretch
from workers.contract import I64, INPUT_SHIFT, MOST_INPUTS, U8, U64

REBUILT: Final = MOST_INPUTS - 1
"""The input whose addresses rebuilt datagrams have. No run has so many inputs."""

_PLACES: Final = tuple(REBUILT << INPUT_SHIFT | part << INPUT_SHIFT - 2 for part in range(3))
"""The first addresses of datagrams rebuilt at either level, and of fragments that were given up."""

_WORD: Final = (1 << 64) - 1


class Late(NamedTuple):
    """Fragments of which it became known now that no stream takes them. Columns of equal length."""

    records: Records  # as they were captured, with addresses
    packet: U64  # packet numbers
    reason: U8
    before: I64  # the row of the stretch in front of which they stand


class Joined(NamedTuple):
    """A stretch without open questions."""

    stretch: Stretch  # a datagram that goes on stands as a raw IP packet in the place of its last fragment
    sizes: Records  # its records, with the frame bytes that they came in
    late: Late | None


class _Rebuilt(NamedTuple):
    """A datagram, and the fragment that completed it."""

    last: Fragment
    datagram: Datagram


class Joining:
    """The fragments of a run."""

    def __init__(self, config: Config, spool: Spool | None) -> None:
        self.counts = np.zeros(len(Reason), np.int64)
        """What is to be added to the counts of the reasons."""
        self.datagrams = 0
        """That were rebuilt."""
        self._spool = spool
        self._arrays = Memory(config, nothing_spooled if spool is None else spool.view, keep=4)
        self._keep = config.unprocessed is not None
        self._verify = config.verify_checksums
        self._ignore_vlan = config.ignore_vlan
        inside = config.limits.fragment_bytes // 4  # of tunnels
        self._tables = [Table(config.limits.fragment_bytes - inside), Table(inside)]
        self._next = list(_PLACES)
        self._given_up: list[GivenUp] = []  # in this stretch

    @property
    def conflicts(self) -> int:
        """Fragments that differ from bytes that were there."""
        return sum(table.conflicts for table in self._tables)

    def join(self, stretch: Stretch, clock: I64, first_packet: int) -> Joined:
        """``stretch`` has packets whose reason is FRAGMENT; ``clock`` (n,) is the packet clock at each packet."""
        work = Amended(stretch)
        outer, inner = self._found(stretch, clock, first_packet, work)
        inner += self._add(sorted(outer, key=_row), 0, work)
        self._add(sorted(inner, key=_row), 1, work)  # a third level stays FRAGMENT_REFUSED
        return self._joined(work)

    def finish(self, clock: int) -> Joined:
        """The input is over: all that still waits, behind an empty stretch. ``clock``: the last packet's."""
        nothing = np.empty(0, np.int64)
        records = Records(
            nothing.astype(np.uint64), nothing.astype(np.uint32), nothing.astype(np.uint32), nothing,
            nothing.astype(np.uint16),
        )  # fmt: skip
        work = Amended(Stretch(records, decode(np.empty(0, np.uint8), records)))
        for table in self._tables:
            table.finish(0, clock)
            self._take_given_up(table)
        return self._joined(work)

    def _joined(self, work: Amended) -> Joined:
        late = self._late(work)
        return Joined(work.stretch(), work.sizes(), late)

    def _found(self, stretch: Stretch, clock: I64, first_packet: int, work: Amended) -> list[list[Fragment]]:
        """The fragments in the packets of a stretch, outside and inside of tunnels."""
        rows = np.flatnonzero(stretch.decoded.reason == Reason.FRAGMENT)
        source, place = places(stretch.table(), stretch.records.start[rows])
        found: list[list[Fragment]] = [[], []]
        sources = np.full(len(rows), source) if isinstance(source, int) else source
        for number in np.unique(sources).tolist():
            mine = np.flatnonzero(sources == number)
            row = rows[mine]
            records = Records._make(column[row] for column in stretch.records)
            records = records._replace(start=place[mine].view(np.uint64))
            origin = Origin(
                row, row + first_packet, clock[row], [0] * len(row), [b""] * len(row), records.length.astype(np.int64),
                records.captured.astype(np.int64),
            )  # fmt: skip
            seen = read_fragments(self._arrays(number), records, origin, ignore_vlan=self._ignore_vlan)
            for some, more in zip(found, (seen.outer, seen.inner), strict=True):
                some += more
            for bad, reason in seen.bad:
                work.reason[bad] = reason
        return found

    def _add(self, fragments: Sequence[Fragment], level: int, work: Amended) -> list[Fragment]:
        """Fragments by row, those of one level; returns the ones of the next that they come to."""
        table = self._tables[level]
        done = []
        for fragment in fragments:
            reason, datagram = table.add(fragment)
            work.reason[fragment.row] = reason
            if datagram is not None:
                done.append(_Rebuilt(fragment, datagram))
        self._take_given_up(table)
        return self._rebuild(done, level, work) if done else []

    def _take_given_up(self, table: Table) -> None:
        for each in table.given_up:
            self.counts[Reason.FRAGMENT_HELD] -= 1
            self.counts[each.reason] += 1
        if self._keep:
            self._given_up += table.given_up
        table.given_up.clear()

    def _rebuild(self, done: Sequence[_Rebuilt], level: int, work: Amended) -> list[Fragment]:
        """Puts datagrams into a slab and decodes them; returns the fragments among them."""
        array, base, records, before = self._laid_out(done, level, work)
        decoded = decode(array, records, verify=self._verify)
        origin = _origin(done)
        self._settle(done, decoded.reason, work)
        goes_on = np.flatnonzero((decoded.reason == Reason.TCP) | (decoded.reason == Reason.FRAGMENT))
        placed = Records._make(column[goes_on] for column in records)
        placed = placed._replace(start=placed.start + np.uint64(base))
        work.replace(origin.row[goes_on], placed, origin.wire[goes_on], origin.captured[goes_on])
        work.add(self._segments(decoded, origin, records, before, base))
        inner = np.flatnonzero(decoded.reason == Reason.FRAGMENT)
        if not len(inner):
            return []
        some = Records._make(column[inner] for column in records)
        seen = read_fragments(array, some, _chosen(origin, inner), ignore_vlan=self._ignore_vlan)
        for bad, reason in seen.bad:
            work.reason[bad] = reason
        return seen.outer + seen.inner

    def _laid_out(self, done: Sequence[_Rebuilt], level: int, work: Amended) -> tuple[U8, int, Records, I64]:
        """Datagrams in a slab, each behind its MAC addresses: the slab, its address, the datagrams' places in it as
        records, how many bytes of addresses each has."""
        packets = [each.datagram.packet() for each in done]
        macs = [_first(each).macs for each in done]
        before = np.array([len(mac) for mac in macs], np.int64)
        captured = np.array([len(data) for data, _ in packets], np.int64)
        ends = np.cumsum(before + captured)
        parts = [part for mac, (data, _) in zip(macs, packets, strict=True) for part in (mac, data)]
        array, base = self._put(parts, int(ends[-1]), level, work)
        records = Records(
            start=(ends - captured).view(np.uint64),
            captured=captured.astype(np.uint32),
            length=np.array([length for _, length in packets], np.uint32),
            time=np.array([each.last.time for each in done], np.int64),
            link=np.full(len(done), RAW, np.uint16),
        )
        return array, base, records, before

    def _settle(self, done: Sequence[_Rebuilt], reasons: U8, work: Amended) -> None:
        """What the fragments of complete datagrams are counted as, the last one by what the datagram is."""
        self.datagrams += len(done)
        for (last, datagram), reason in zip(done, reasons.tolist(), strict=True):
            others = datagram.waiting[:-1]
            self.counts[Reason.FRAGMENT_HELD] -= len(others)
            self.counts[Reason.FRAGMENT_MERGED] += len(others)
            work.reason[last.row] = Reason.FRAGMENT_REFUSED if reason == Reason.FRAGMENT else reason
            if self._keep and reason not in (Reason.TCP, Reason.FRAGMENT):
                self._given_up += [GivenUp(last.row, Reason.FRAGMENT_MERGED, each) for each in others]

    def _segments(self, decoded: Decoded, origin: Origin, records: Records, before: I64, base: int) -> Decoded:
        """The segments with the rows of the stretch, addresses, the networks and the MAC addresses of the fragments."""
        row, net, more = decoded.row, decoded.net, decoded.more
        if self._ignore_vlan:
            net, more = without_vlans(net, more)
        outside = [origin.networks[i] for i in row.tolist()]
        joined = list(map(joined_networks, outside, map(networks, net.tolist(), more.tolist())))
        far = decoded.start.view(np.int64) - records.start.view(np.int64)[row] + before[row]
        return decoded._replace(
            row=origin.row[row],
            net=net & np.uint64(15) | np.array([each & _WORD for each in joined], np.uint64),
            more=np.array([each >> 64 for each in joined], np.uint64),
            start=decoded.start + np.uint64(base),
            mac=np.where((decoded.mac == 0) & (before[row] > 0), far, decoded.mac).astype(np.uint16),
        )

    def _late(self, work: Amended) -> Late | None:
        """What was given up, its frames in a slab."""
        if not self._given_up:
            return None
        given_up = sorted(self._given_up, key=_row)
        self._given_up.clear()
        frames = [each.fragment.frame for each in given_up]
        sizes = np.array([len(frame) for frame in frames], np.int64)
        ends = np.cumsum(sizes)
        _, base = self._put(frames, int(ends[-1]), 2, work)
        fragments = [each.fragment for each in given_up]
        records = Records(
            (ends - sizes).view(np.uint64) + np.uint64(base),
            sizes.astype(np.uint32),
            np.array([each.length for each in fragments], np.uint32),
            np.array([each.time for each in fragments], np.int64),
            np.array([each.link for each in fragments], np.uint16),
        )
        return Late(
            records,
            np.array([each.packet for each in fragments], np.uint64),
            np.array([each.reason for each in given_up], np.uint8),
            np.array([each.row for each in given_up], np.int64),
        )

    def _put(self, parts: Sequence[bytes], size: int, which: int, work: Amended) -> tuple[U8, int]:
        """Puts bytes into a slab that the stretch holds; the slab, and the address of its first byte."""
        if self._spool is None:
            raise OutputError("there is no spool to put fragments together in", "--spool-dir DIR gives it a place")
        slab = self._spool.take(size)
        slab.data[:size] = b"".join(parts)
        base = self._next[which]
        self._next[which] += size
        work.held.append(Lease(self._spool, slab))
        work.extents.append((base, slab.place))
        return np.frombuffer(slab.data, np.uint8, size), base


def _row(each: Fragment | GivenUp) -> int:
    return each.row


def _first(each: _Rebuilt) -> Fragment:
    first = each.datagram.first
    assert first is not None  # or it would not be complete
    return first


def _origin(done: Sequence[_Rebuilt]) -> Origin:
    """Where rebuilt datagrams come from, for the fragments in them."""
    last = [each.last for each in done]
    waiting = [each.datagram.waiting for each in done]
    return Origin(
        row=np.array([each.row for each in last], np.int64),
        packet=np.array([each.packet for each in last], np.int64),
        clock=np.array([each.clock for each in last], np.int64),
        networks=[_first(each).networks for each in done],
        macs=[_first(each).macs for each in done],
        wire=np.array([sum(each.wire for each in some) for some in waiting], np.int64),
        captured=np.array([sum(each.captured for each in some) for some in waiting], np.int64),
    )


def _chosen(origin: Origin, rows: I64) -> Origin:
    index = rows.tolist()
    return Origin(
        origin.row[rows], origin.packet[rows], origin.clock[rows], [origin.networks[row] for row in index],
        [origin.macs[row] for row in index], origin.wire[rows], origin.captured[rows],
    )  # fmt: skip
