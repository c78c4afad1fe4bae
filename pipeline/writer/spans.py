"""Which input each stretch of a stream was captured in, where there are several.

Knows: stretches of one stream, in the order in which they were written. Does not know: files, names.
Invariant: the runs that come out cover the same bytes as those that went in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, TypeAlias

from pipeline.report.rows import Run
from workers.contract import INPUT_SHIFT, OFFSET_MASK

Span: TypeAlias = tuple[int, int, int]
"""Offset of the first byte, offset behind the last one, address of the first byte."""

MOST_SPANS: Final = 65_536
"""Of one stream. Beyond it a run is said to lie where its first byte does, as a run in one input is."""


def note_span(spans: list[Span], offset: int, size: int, start: int) -> None:
    """``size`` bytes at ``offset`` were captured from the address ``start`` on; neighbours in one input are joined."""
    if spans:
        low, high, first = spans[-1]
        if high == offset and first >> INPUT_SHIFT == start >> INPUT_SHIFT:
            spans[-1] = low, offset + size, first
            return
    if len(spans) < MOST_SPANS:
        spans.append((offset, offset + size, start))


def by_input(runs: Sequence[Run], spans: Sequence[Span]) -> Sequence[Run]:
    """The runs, cut where the input changes; each piece is where its first byte was captured."""
    if len({start >> INPUT_SHIFT for _, _, start in spans}) < 2 or len(spans) >= MOST_SPANS:
        return runs
    ordered = sorted(spans)
    lows = [span[0] for span in ordered]
    cut: list[Run] = []
    for offset, size, image, place in sorted(runs):
        marks = [(offset, image, place)]
        at = max(bisect_right(lows, offset) - 1, 0)
        while at < len(ordered) and lows[at] < offset + size:
            low, high, start = ordered[at]
            if start >> INPUT_SHIFT != marks[-1][1] and high > offset:
                begin = max(low, offset)
                marks.append((begin, start >> INPUT_SHIFT, (start & OFFSET_MASK) + begin - low))
            at += 1
        stops = [*(mark[0] for mark in marks[1:]), offset + size]
        cut += [(mark[0], stop - mark[0], *mark[1:]) for mark, stop in zip(marks, stops, strict=True)]
    return cut
