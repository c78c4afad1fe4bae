"""What the replay tells, as lines: text for people, or JSON.

Knows: which streams are wanted, what a line looks like, where in the file an offset lies.
Does not know: where lines go.
Invariant: a line is told once the start of its streams can no longer move, so its offsets are the file's. Strings
from outside are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from pipeline.console import printable
from pipeline.explain.replay import Dropped
from pipeline.explain.report import Row
from pipeline.explain.summary import Account
from pipeline.explain.words import GAPS, Places, flags, said
from pipeline.report.text import timestamps
from workers.contract import FIN, GapReason
from workers.limits import SECOND, Limits
from workers.tracing import COUNTS, Ending, Gap, Step, Told

_LINE: Final = "{:>10} {:>15} {} {:<4} {:>10} {:>13} {:>6}  {}"
_FRACTION: Final = 9


class Teller:
    """Hears all of a replay, says what concerns the wanted streams."""

    def __init__(
        self, rows: Sequence[Row], limits: Limits, say: Callable[[str], None], *, as_json: bool, failures: str = ""
    ) -> None:
        """``failures``: what the system called the writes that failed."""
        self.accounts = {row.stream: Account(row, failures) for row in rows}
        self._connections = {row.stream >> 1 for row in rows}
        self._differing = {(row.stream, conflict.packet): 0 for row in rows for conflict in row.conflicts}
        for row in rows:
            for conflict in row.conflicts:
                self._differing[row.stream, conflict.packet] += conflict.length
        self._limits = limits
        self._say = say
        self._json = as_json
        self._held: list[Step | Dropped] = []
        self._open: int | None = None  # the wanted connection that is being told
        self._sides: tuple[int, int] = (0, 1)  # direction of each side of its key
        self._first: int | None = None  # ns; of the first packet told
        self._bases = {row.stream: row.base for row in rows}

    def hear(self, told: Told | Dropped) -> None:
        """One thing, in capture order."""
        if isinstance(told, Ending):
            stream = int(told.closed.stream)
            if stream >> 1 in self._connections:
                self._end(told, stream)
        elif isinstance(told, Dropped):
            if self._open is not None:
                self._held.append(told)
        elif told.stream >> 1 in self._connections:
            self._step(told)

    def _step(self, step: Step) -> None:
        if step.stream >> 1 != self._open:
            self._open = step.stream >> 1
            direction = step.stream & 1
            self._sides = (direction, 1 - direction) if step.segment.side == 0 else (1 - direction, direction)
        self._held.append(step)
        if step.settled:
            self._flush(step.origins)

    def _end(self, ending: Ending, stream: int) -> None:
        origins = [int(ending.closed.origin)] * 2
        if self._held:
            last = next((each for each in reversed(self._held) if isinstance(each, Step)), None)
            self._flush(last.origins if last is not None else (origins[0], origins[1]))
        self._open = None
        account = self.accounts.get(stream)
        if account is not None:
            account.ending = ending
            for gap in ending.gaps:
                self._gap(gap, None, account.row.base - account.origin)

    def _flush(self, origins: tuple[int, int]) -> None:
        held, self._held = self._held, []
        for each in held:
            if isinstance(each, Dropped):
                self._tell_dropped(each)
            else:
                self._tell(each, origins)

    def _tell(self, step: Step, origins: tuple[int, int]) -> None:
        account = self.accounts.get(step.stream)
        peer = self.accounts.get(step.stream ^ 1)
        if peer is not None and step.acked is not None:
            peer.acked, peer.lacking = step.acked, step.lacking
        shift = self._bases.get(step.stream, 0) - origins[step.stream & 1]
        if account is not None:
            differing = self._differing.get((step.stream, step.segment.packet), 0)
            account.add(step, differing)
            if step.segment.flags & FIN and step.offset is not None:
                account.fin = step.offset + step.segment.size
            self._segment(step, Places(shift, differing))
        for gap in step.gaps:
            mine = self.accounts.get(gap.stream)
            if mine is not None:
                self._gap(gap, step.segment.packet, mine.row.base - origins[gap.stream & 1])

    def _segment(self, step: Step, places: Places) -> None:
        segment = step.segment
        what = said(step, places, self._limits)
        offset = None if step.offset is None or not segment.size else step.offset + places.shift
        if not self._json:
            self._line(segment.packet, segment.time, step.stream & 1, flags(segment.flags), str(segment.seq), offset,
                       segment.size, what.text)  # fmt: skip
            return
        self._object({
            "type": "segment", "packet": segment.packet, "time_ns": segment.time, "stream": step.stream,
            "connection": step.stream >> 1, "direction": step.stream & 1, "flags": flags(segment.flags),
            "seq": segment.seq, "ack": segment.ack, "offset": offset, "size": segment.size,
            "captured": segment.size - segment.missing, "verdict": what.verdict, "text": what.text,
            **dict(zip(COUNTS, step.counts, strict=True)), "conflicting": places.differing,
            "overlaps": [
                {"offset": each.offset + places.shift, "size": each.size, "wins": each.wins} for each in step.overlaps
            ],
        })  # fmt: skip

    def _tell_dropped(self, packet: Dropped) -> None:
        assert self._open is not None
        stream = self._open << 1 | self._sides[packet.side]
        account = self.accounts.get(stream)
        if account is None:
            return
        account.bad_checksums += 1
        text = "bad checksum: left out"
        if self._json:
            self._object({"type": "dropped", "packet": packet.packet, "time_ns": packet.time, "stream": stream,
                          "size": packet.size, "verdict": "bad_checksum", "text": text})  # fmt: skip
        else:
            self._line(packet.packet, packet.time, stream & 1, "", "", None, packet.size, text)

    def _gap(self, gap: Gap, packet: int | None, shift: int) -> None:
        account = self.accounts.get(gap.stream)
        if account is None:
            return
        account.give_up(gap.offset, gap.size, gap.reason)
        reason = GapReason(gap.reason)
        if self._json:
            self._object({
                "type": "gap", "stream": gap.stream, "offset": gap.offset + shift, "size": gap.size,
                "reason": reason.name.lower(), "packet": packet,
            })  # fmt: skip
        else:
            self._say(_LINE.format("", "", "<" if gap.stream & 1 else ">", "gap", "", f"{gap.offset + shift:,}",
                                   f"{gap.size:,}", f"given up: {GAPS[reason]}"))  # fmt: skip

    def _line(
        self, packet: int, time: int, direction: int, bits: str, seq: str, offset: int | None, size: int, text: str
    ) -> None:
        if self._first is None:
            self._first = time
            self._say(f"times count from {timestamps([time])[0] or time}; offsets are those of the stream's file")
            self._say(_LINE.format("packet", "time", " ", "", "sequence", "offset", "size", "what was done with it"))
        sign, past = ("-", self._first - time) if time < self._first else ("", time - self._first)
        stamp = f"{sign}{past // SECOND}.{past % SECOND:0{_FRACTION}}"
        place = "" if offset is None else f"{offset:,}"
        self._say(_LINE.format(packet, stamp, "<" if direction else ">", bits, seq, place, size, text))

    def _object(self, facts: dict[str, Any]) -> None:
        self._say(json.dumps(facts))

    def conclude(self) -> None:
        """All was heard: sum up each stream."""
        for account in self.accounts.values():
            if account.ending is None:
                continue
            if self._json:
                self._object({"type": "stream", **account.facts(), "disagreements": account.disagreements()})
            else:
                self._say("")
                for line in account.sentences():
                    self._say(line)


def heading(rows: Sequence[Row]) -> list[str]:
    """Which streams are explained, and the signs of their directions."""
    return [
        f"{'<' if row.stream & 1 else '>'} {printable(row.filename)}: connection {row.stream >> 1}, "
        f"{'the answering side' if row.stream & 1 else 'the side that began'}"
        for row in rows
    ]
