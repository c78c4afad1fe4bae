"""Which fragment belongs to which datagram; which of them are given up, and when.

Knows: keys, packet time, the limit of memory. Does not know: how datagrams are put together, where they go.
Invariant: ``held`` never exceeds the limit between two fragments; every fragment that waits is told of exactly
once, in the datagram that it completed or in ``given_up``.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from pipeline.decode.reasons import Reason
from pipeline.defrag.datagram import Datagram, Outcome
from pipeline.defrag.fragments import Fragment
from workers.limits import SECOND

EXPIRY_NS: Final = {4: 30 * SECOND, 6: 60 * SECOND}
"""How long fragments wait for the others, by IP version. RFC 8200 says 60 s; of IPv4 hosts most give 30 s."""

FRAGMENT_BYTES: Final = 700
"""Memory of a fragment beside its frame."""

DATAGRAM_BYTES: Final = 900
"""Memory of a datagram beside its fragments."""

_NEVER: Final = (1 << 63) - 1


class GivenUp(NamedTuple):
    """A fragment that waited in vain."""

    row: int  # of the packet at which that became known
    reason: Reason
    fragment: Fragment


class _Begun(NamedTuple):
    """A datagram that is not complete. Its place in the table is that of its first fragment."""

    packet: int
    due: int  # ns; it expires when the clock has passed it
    datagram: Datagram | None  # None: given up, and its further fragments are too


class Table:
    """Fragments that wait. They are added in the order of their packets."""

    def __init__(self, limit: int) -> None:
        """``limit``: bytes of memory."""
        self.held = 0
        self.conflicts = 0
        self.given_up: list[GivenUp] = []  # for whoever adds to take away
        self._limit = limit
        self._due = _NEVER  # nothing expires before
        self._begun: dict[int, OrderedDict[bytes, _Begun]] = {4: OrderedDict(), 6: OrderedDict()}

    def add(self, fragment: Fragment) -> tuple[Reason, Datagram | None]:
        """What becomes of a fragment, FRAGMENT_HELD for now or in the end, and the datagram if it is complete."""
        if fragment.clock > self._due:
            self._expire(fragment.row, fragment.clock)
        if not fragment.size or (fragment.more and fragment.size % 8):
            return Reason.FRAGMENT_REFUSED, None
        version = fragment.version
        if version == 6 and fragment.atomic:
            return self._alone(fragment)
        begun = self._begun[version]
        entry = begun.get(fragment.key)
        if entry is None:
            due = fragment.clock + EXPIRY_NS[version]
            entry = begun[fragment.key] = _Begun(fragment.packet, due, Datagram())
            self._due = min(self._due, due)
            self.held += DATAGRAM_BYTES
        datagram = entry.datagram
        if datagram is None:
            return Reason.FRAGMENT_REFUSED, None
        conflicts = datagram.conflicts
        outcome = datagram.add(fragment)
        self.conflicts += datagram.conflicts - conflicts
        if outcome is Outcome.COMPLETE:
            del begun[fragment.key]
            self.held -= DATAGRAM_BYTES + datagram.held
            return Reason.FRAGMENT_MERGED, datagram
        if outcome is Outcome.NEW:
            size = FRAGMENT_BYTES + len(fragment.frame)
            datagram.held += size
            self.held += size
            self._evict(fragment.row)
            return Reason.FRAGMENT_HELD, None
        if outcome is Outcome.DUPLICATE:
            return Reason.FRAGMENT_DUPLICATE, None
        begun[fragment.key] = entry._replace(datagram=None)
        self._give_up(datagram, fragment.row, Reason.FRAGMENT_REFUSED)
        self._evict(fragment.row)
        return Reason.FRAGMENT_REFUSED, None

    def finish(self, row: int, clock: int) -> None:
        """The input is over."""
        self._expire(row, clock)
        entries = [entry for begun in self._begun.values() for entry in begun.values()]
        for entry in sorted(entries, key=lambda entry: entry.packet):
            if entry.datagram is not None:
                self._give_up(entry.datagram, row, Reason.FRAGMENT_HELD)
        for begun in self._begun.values():
            begun.clear()
        self.held = 0

    def _alone(self, fragment: Fragment) -> tuple[Reason, Datagram | None]:
        datagram = Datagram()
        if datagram.add(fragment) is Outcome.COMPLETE:
            return Reason.FRAGMENT_MERGED, datagram
        return Reason.FRAGMENT_REFUSED, None

    def _expire(self, row: int, clock: int) -> None:
        for begun in self._begun.values():
            while begun:
                entry = next(iter(begun.values()))
                if clock <= entry.due:
                    break
                begun.popitem(last=False)
                self._drop(entry, row, Reason.FRAGMENT_EXPIRED)
        self._due = min((next(iter(begun.values())).due for begun in self._begun.values() if begun), default=_NEVER)

    def _evict(self, row: int) -> None:
        """Gives up the oldest until the rest is within the limit."""
        while self.held > self._limit:
            queues = [begun for begun in self._begun.values() if begun]
            oldest = min(queues, key=lambda begun: next(iter(begun.values())).packet)
            self._drop(oldest.popitem(last=False)[1], row, Reason.FRAGMENT_EVICTED)

    def _drop(self, entry: _Begun, row: int, reason: Reason) -> None:
        self.held -= DATAGRAM_BYTES
        if entry.datagram is not None:
            self._give_up(entry.datagram, row, reason)

    def _give_up(self, datagram: Datagram, row: int, reason: Reason) -> None:
        self.held -= datagram.held
        self.given_up += [GivenUp(row, reason, fragment) for fragment in datagram.waiting]
