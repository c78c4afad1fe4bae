"""Why a stream's file is as long as it is: a summary in sentences.

Knows: what was gathered of one stream, and what the report says of it. Does not know: single packets.
Invariant: every byte of the file is accounted for, as written or as missing for a cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.console import printable
from pipeline.explain.missing import Hole, Range, holes
from pipeline.explain.report import Row
from pipeline.explain.words import ENDS, GAPS
from workers.connection import Verdict
from workers.contract import CloseReason, Completeness, GapReason
from workers.tracing import COUNTS, Ending, Step

SHOWN: Final = 10
"""Holes that the text lists; JSON has all."""

_CUT: Final = "cut"
_CAUSES: Final = {
    _CUT: "the snap length of the captures cut them off",
    **{reason.name.lower(): text for reason, text in GAPS.items()},
    "start": "they lie in front of the first segment that was captured",
}
_OTHERWISE: Final = "start"
_LESS: Final = frozenset({"written", "gap_bytes", "conflict_bytes"})
"""What the disk has less of when it does not take all."""


@dataclass(slots=True)
class Account:
    """What was gathered of one stream. Offsets are the contract's."""

    row: Row
    failures: str = ""  # what the system called the writes of the run that failed
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    conflicting: int = 0
    bad_checksums: int = 0
    segments: int = 0  # with payload
    packets: int = 0
    cut_segments: int = 0
    cuts: list[Range] = field(default_factory=list)
    gaps: dict[str, list[Range]] = field(default_factory=dict)
    fin: int | None = None
    acked: int | None = None  # offset that the receiver acknowledged last
    lacking: int = 0  # bytes that the receiver acknowledged at the end, beyond all that were captured
    first_packet: int = 0
    last_packet: int = 0
    ending: Ending | None = None

    def add(self, step: Step, differing: int) -> None:
        """A packet of it."""
        for name, count in zip(COUNTS, step.counts, strict=True):
            self.counts[name] += count
        if step.verdict is Verdict.HOLD:  # should its answer come, it is the next connection's
            return
        self.packets += 1
        self.segments += step.segment.size > 0
        self.conflicting += differing
        self.first_packet = self.first_packet or step.segment.packet
        self.last_packet = step.segment.packet
        if step.cut[0] < step.cut[1]:
            self.cuts.append(step.cut)
        self.cut_segments += step.segment.missing > 0

    def give_up(self, offset: int, size: int, reason: int) -> None:
        """A gap was declared."""
        self.gaps.setdefault(GapReason(reason).name.lower(), []).append((offset, offset + size))

    @property
    def origin(self) -> int:
        """Offset of the first byte of its file."""
        assert self.ending is not None
        return int(self.ending.closed.origin)

    def size(self) -> int:
        """Bytes of its files, holes between them included."""
        assert self.ending is not None
        return int(self.ending.closed.end) - self.origin

    def holes(self) -> list[Hole]:
        """What it lacks. Offsets are the file's."""
        assert self.ending is not None
        shift = self.row.base - self.origin
        runs = [(offset, offset + size) for offset, size in self.ending.runs]
        causes = {_CUT: self.cuts, **self.gaps}
        end = self.origin + self.size()
        return [hole._replace(offset=hole.offset + shift) for hole in holes(runs, self.origin, end, causes, _OTHERWISE)]

    def disagreements(self) -> list[str]:
        """Where this is not what the report says. Of a stream that the disk has less of it cannot be what is less."""
        if self.row.flags() & Completeness.LOST:  # what only the worker knew is 0
            return []
        ours = {**self.counts, "payload": sum(self.counts.values()), "conflict_bytes": self.conflicting,
                "gap_bytes": sum(hole.size for hole in self.holes()) if self.ending is not None else -1}  # fmt: skip
        return [
            f"{name}: {count:,}, the report says {self.row.count(name):,}"
            for name, count in ours.items()
            if count != self.row.count(name) and not (name in _LESS and self.row.is_short())
        ]

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        assert self.ending is not None
        return {
            "stream": self.row.stream, "file": self.row.filename, "size": self.size(), **self.counts,
            "conflicting": self.conflicting, "bad_checksums": self.bad_checksums, "packets": self.packets,
            "missing": [hole._asdict() for hole in self.holes()], "end": self._reason().name.lower(),
            "on_disk": self.row.size, "written_on_disk": self.row.count("written"),
            "completeness": [flag.name.lower() for flag in self._flags() if flag.name],
        }  # fmt: skip

    def _reason(self) -> CloseReason:
        assert self.ending is not None
        return CloseReason(int(self.ending.closed.reason))

    def _flags(self) -> list[Completeness]:
        assert self.ending is not None
        flags = int(self.ending.closed.flags) | (Completeness.CONFLICTS if self.conflicting else 0)
        if self.row.is_short():
            flags |= self.row.flags()
        return [flag for flag in Completeness if flags & flag]

    # In sentences

    def sentences(self) -> Iterator[str]:
        """Bytes captured, written, missing, and why; why it ended; what keeps it from being whole."""
        yield f"{printable(self.row.filename)} (connection {self.row.stream >> 1})"
        found = self.holes()
        missing, written = sum(hole.size for hole in found), self.counts["written"]
        files = f", in {1 + len(self.row.parts)} files" if self.row.parts else ""
        if self.row.is_short():
            yield f"  It would be {self.size():,} bytes long: {written:,} were captured, {missing:,} are missing."
            yield f"  {self._on_disk()}"
        else:
            yield f"  It is {self.size():,} bytes long{files}: {written:,} were written, {missing:,} are missing."
        if self.row.base:
            yield f"  It is appended to an earlier connection's stream (-R): it begins at {self.row.base:,}."
        yield f"  {self._captured()}"
        yield from self._missing(found)
        yield f"  It ended with packet {self.last_packet:,}: {ENDS[self._reason()]}."
        flags = self._flags()
        for flag in flags:
            for text in self._flag(flag):
                yield f"  {text}"
        if self.bad_checksums:
            were = "was" if self.bad_checksums == 1 else "were"
            packets = _many(self.bad_checksums, "packet")
            yield f"  {packets} with a wrong checksum {were} left out (--verify-checksums)."
        if self.lacking > 0:
            yield (
                f"  The receiver acknowledged {self.lacking:,} bytes behind the last one captured: "
                "they were sent, and the captures do not have them."
            )
        if not flags and not missing and not self.lacking:
            yield "  It is whole: from SYN to end all that was sent is there."

    def _on_disk(self) -> str:
        """What there is of a stream that is shorter than what was captured, and why."""
        flags, there = self.row.flags(), self.row.count("written")
        if flags & Completeness.LOST:
            return (
                f"On disk are {there:,} of these bytes: the worker that had it died. What came later of the connection "
                "is in a stream of its own, or was lost (lost_with_worker)."
            )
        if flags & Completeness.UNWRITTEN:
            kinds = f" ({self.failures})" if self.failures else ""
            why = f"a write failed{kinds}: run again where there is room"
        else:
            why = "--max-output, --keep-free or --max-files left no room for more"
        if flags & Completeness.ABSENT:
            return f"On disk is nothing of it, and no file: {why}."
        first = min(self.row.size - self.row.base, self.size())  # with -R others may stand behind it
        return f"On disk are the first {first:,} bytes, {there:,} of them captured: {why}."

    def _captured(self) -> str:
        payload = sum(self.counts.values())
        texts = [f"{self.counts['written']:,} were new"]
        named = (
            ("overlap", "came where bytes were already"), ("beyond", "lie beyond the limit of -C"),
            ("outside", "lie outside the window or before the start"),
            ("not_data", "are no data (keep-alive probes, text on a RST)"), ("refused", "were refused by a limit"),
        )  # fmt: skip
        for name, text in named:
            if self.counts[name]:
                differ = f" ({self.conflicting:,} differ)" if name == "overlap" and self.conflicting else ""
                texts.append(f"{self.counts[name]:,} {text}{differ}")
        return f"Of {payload:,} payload bytes in {_many(self.segments, 'segment')} " + ", ".join(texts) + "."

    def _missing(self, found: list[Hole]) -> Iterator[str]:
        for cause in dict.fromkeys(hole.cause for hole in found):
            mine = [hole for hole in found if hole.cause == cause]
            total = sum(hole.size for hole in mine)
            yield f"  Missing, {total:,} bytes in {_many(len(mine), 'place')}: {_CAUSES[cause]}."
            for hole in mine[:SHOWN]:
                yield f"    {hole.size:,} bytes at {hole.offset:,}"
            if len(mine) > SHOWN:
                yield f"    and {len(mine) - SHOWN:,} more"
            acked = self._acked(mine)
            if cause == GapReason.END.name.lower() and acked:
                yield f"  The receiver acknowledged {acked:,} of them: they were sent, and the captures lack them."

    def _acked(self, found: list[Hole]) -> int:
        """How many of these bytes the receiver had."""
        if self.acked is None:
            return 0
        behind = self.acked + self.row.base - self.origin
        return sum(max(0, min(hole.offset + hole.size, behind) - hole.offset) for hole in found)

    def _flag(self, flag: Completeness) -> Iterator[str]:
        """One flag of completeness in words."""
        if flag is Completeness.MIDSTREAM:
            yield f"No SYN was captured: what was sent before packet {self.first_packet:,} is not in the captures."
        elif flag is Completeness.OPEN:
            yield f"No FIN or RST was captured: what may have followed packet {self.last_packet:,} is not known."
        elif flag is Completeness.GAPS and self.fin is not None and self._behind() > 0:
            yield f"Its FIN stands {self._behind():,} bytes behind its last captured byte: the end is missing."
        elif flag is Completeness.SNAPPED:
            yield f"The snap length cut {self.cut_segments:,} of its segments: capture whole packets (tcpdump -s 0)."
        elif flag is Completeness.LIMITED and not self.row.is_short():
            yield "A limit kept it short." if not self.counts["beyond"] else "-C kept it short: run without it for all."
        elif flag is Completeness.CONFLICTS:
            side = self.row.facts.get("conflict_file")
            where = f"; those that lost are in {printable(side)}" if side else ""
            yield f"{self.conflicting:,} bytes came in two versions{where}."

    def _behind(self) -> int:
        return 0 if self.fin is None else self.fin - self.origin - self.size()


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
