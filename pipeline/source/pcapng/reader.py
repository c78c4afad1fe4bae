"""pcapng captures: blocks followed window by window, over damage and on.

Knows: sections may change the byte order; when a block can be read. Does not know: what blocks hold.
Invariant: a block is read when its length stood at both ends, so that nothing before it is in doubt.

Damage of the structure is followed by a search for the next sound block (blocks); a sound block with
wrong content is a fault by itself (packets). A block of a type that holds no packets and is longer than
MOST_RECORD is not in any window: ``consumed`` points behind it.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.errors import CaptureError
from pipeline.source.damage import UNREADABLE, Account, Found, unreadable
from pipeline.source.magic import PCAPNG_ORDERS
from pipeline.source.pcapng.blocks import (
    HEAD,
    LOOK,
    SECTION_SIZE,
    BlockGuess,
    Blocks,
    Broken,
    blocks_at,
    broken,
    find_block,
    is_known,
    last_to_the_end,
    same_order,
    swallows_packets,
)
from pipeline.source.pcapng.packets import State, read_blocks
from pipeline.source.records import CUT_OFF, MOST_RECORD, Records, Window
from pipeline.source.walk import Chain, walk

MAXIMUM_TURNS: Final = 4096
"""Changes of byte order in one capture; each costs as much as thousands of packets. More end it."""

_IMPOSSIBLE: Final = "a block has an impossible length"
_CUT: Final = CUT_OFF + "a block"
_NAMES: Final = {"<": "little endian", ">": "big endian"}


class PcapngReader(Account):
    """One pcapng capture. CaptureError when its first section header is cut short. See records.Reader."""

    def __init__(self, path: Path, head: bytes, *, strict: bool) -> None:
        if len(head) < SECTION_SIZE:
            raise CaptureError(f"{path} ends inside its section header", "the capture was cut off; take it again")
        self._order = PCAPNG_ORDERS[head[8:HEAD]]
        super().__init__(path, f"pcapng, {_NAMES[self._order]}", 0, strict=strict)
        self._state = State((), 0)
        self._turns = 0
        self._last: int | None = None  # offset of the last block that leads to the end; -1: none; None: not known
        self._passing = 0  # offset of the last block that no window held

    def pieces(self, window: Window) -> Iterator[Records]:
        """See records.Reader."""
        self.wants = 0
        going = not self.stopped
        while going:
            going = self._search(window) if self._lost else (yield from self._follow(window))
        self.consumed = self._next - window.base

    def _search(self, window: Window) -> bool:
        """Look for the end of the damage; whether there is more to do in this window."""
        begin = self._next - window.base
        hit = find_block(window.data, window.end, begin, self._order, careful=self._is_careful, final=window.final)
        return self._searched(window, hit)

    def _follow(self, window: Window) -> Generator[Records, None, bool]:
        """Yield packets up to damage or the window's end; whether there is more to do in it."""
        data, end, at = window.data, window.end, self._next - window.base
        if at > end:
            return self._passed(window, self._passing - window.base, at)
        if not self._begin(window, at):
            return False
        order = self._order
        for found in walk(data, at, Chain(order, 4, 0, HEAD, HEAD), BlockGuess(data, end, order), end=end):
            blocks = blocks_at(data, end, found, order)
            ours = blocks.first(same_order(blocks))
            met = broken(ours, window) if len(ours.at) else None
            yield from self._sound(window, ours.first(met.row) if met else ours)
            if self.stopped:
                return False
            if met:
                return self._stopped_at(window, ours, met)
            if len(ours.at):
                at = int(ours.at[-1]) + int(ours.total[-1])
            if len(ours.at) < len(found):
                self._next = window.base + at
                return True
        if not window.final:
            self._pause(window, at, at + HEAD)
            return False
        if at < end:
            self._tell(window.base + at, _CUT, end - at)
        self._next = window.base + end
        return False

    def _begin(self, window: Window, at: int) -> bool:
        """A section at ``at`` may change the byte order. Whether reading goes on."""
        head = window.data[at : min(at + HEAD, window.end)]
        order = PCAPNG_ORDERS.get(head[8:HEAD], self._order) if head[:4] == b"\n\r\r\n" else self._order
        if order != self._order:
            self._order = order
            self._turns += 1
        if self._turns <= MAXIMUM_TURNS:
            return True
        self._stop(window.base + at, "the byte order changes too often")
        return False

    def _stopped_at(self, window: Window, blocks: Blocks, met: Broken) -> bool:
        """Go on behind a block that is damaged or passes the window's end; whether in this window."""
        at, total, kind = (int(column[met.row]) for column in (blocks.at, blocks.total, blocks.kind))
        offset = window.base + at
        problem = met.problem
        if not problem and total > MOST_RECORD:
            swallows = swallows_packets(window.data, window.end, at + HEAD, self._order, final=window.final)
            if swallows is None:
                self._pause(window, at, at + HEAD + LOOK)
                return False
            if not swallows:
                return self._passed(window, at, at + total)
            problem = _IMPOSSIBLE
        if problem:
            if self._strict:
                self._stop(offset, problem)
                return False
            self._lose(offset, problem, offset + 1)
            return True
        if not window.final:
            self._pause(window, at, at + total)
            return False
        return self._ended(window, at, kind)

    def _ended(self, window: Window, at: int, kind: int) -> bool:
        """The capture ends inside this block, or damage made its length too large: then blocks are in it."""
        data, end, base = window.data, window.end, window.base
        if not self._strict:
            if self._last is None:
                last = last_to_the_end(data, end, at + 1, self._order)
                self._last = base + last if last >= 0 else -1
            hides = self._last > base + at
            if not hides and not is_known(kind):
                hit = find_block(data, end, at + 1, self._order, careful=self._is_careful, final=True)
                hides = hit.found is Found.RECORD
            if hides:
                self._lose(base + at, _IMPOSSIBLE, base + at + 1)
                return True
        self._tell(base + at, _CUT, end - at)
        self._next = base + end
        return False

    def _passed(self, window: Window, at: int, after: int) -> bool:
        """Leave out a block up to ``after``, which may lie behind this window; whether there is more in it."""
        self._passing = window.base + at
        self._next = window.base + after
        if after > window.end and window.final:
            self._tell(self._passing, _CUT, window.base + window.end - self._passing)
            self._next = window.base + window.end
        return after <= window.end

    def _sound(self, window: Window, blocks: Blocks) -> Iterator[Records]:
        """The packets of these blocks; wrong content is told."""
        if not len(blocks.at):
            return
        spoilt: dict[int, str] = {}
        if window.unreadable:
            dark = unreadable(window, blocks.at, blocks.at + blocks.total)
            spoilt = dict.fromkeys(np.flatnonzero(dark).tolist(), UNREADABLE)
        records, state, wrong = read_blocks(window.data, blocks, self._order, self._state, spoilt)
        if wrong and self._strict:
            at = int(blocks.at[wrong[0][0]])
            sound = int(np.count_nonzero(records.start < np.uint64(at)))
            records = Records._make(column[:sound] for column in records)
        if len(records.start):
            yield records
        self._state = state
        if wrong and self._strict:
            self._stop(window.base + at, wrong[0][1])
            return
        rows = [row for row, _ in wrong]
        begins = (blocks.at[rows] + window.base).tolist()
        ends = [begin + size for begin, size in zip(begins, blocks.total[rows].tolist(), strict=True)]
        first = 0
        for last, (_, problem) in enumerate(wrong):
            if last + 1 == len(wrong) or begins[last + 1] != ends[last] or wrong[last + 1][1] != problem:
                self._tell(begins[first], problem, ends[last] - begins[first])
                first = last + 1
