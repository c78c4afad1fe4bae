"""Fragments into what stands beside the streams' files: the report, and whatever else was asked for.

Knows: which files these are. Does not know: what they say, when they are due.
Invariant: the report is the last of them to appear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.console import warning
from pipeline.destinations import OBJECT_LINES, PACKET_MAP
from pipeline.report.merge import merge
from pipeline.report.reserve import release
from workers.contract import U64


def complete(config: Config, fragments: Sequence[Path], head: bytes, tail: bytes, plain: U64) -> None:
    """Make them of the fragments of all writers; ``plain``: the streams whose files have their plain names.

    Errors as of ``merge``.
    """
    release(fragments[0].parent)
    if config.flows is not None:
        from pipeline.report.flows import flows_fragment, merge_flows

        lines = [flows_fragment(fragment) for fragment in fragments]
        _beside(lines, config.flows, lambda: merge_flows(lines, config.flows or Path(), plain))
    if config.packet_map:
        from pipeline.report.packet_map import map_fragment, merge_maps

        maps, packet_map = [map_fragment(fragment) for fragment in fragments], config.output / PACKET_MAP
        _beside(maps, packet_map, lambda: merge_maps(maps, packet_map))
    if config.extract:
        from pipeline.report.objects import merge_objects, objects_fragment

        found, objects = [objects_fragment(fragment) for fragment in fragments], config.output / OBJECT_LINES
        _beside(found, objects, lambda: merge_objects(fragments, objects, plain))
    if config.report is not None:
        merge(fragments, config.report, head, tail, plain)


def _beside(fragments: Sequence[Path], out: Path, make: Callable[[], object]) -> None:
    """Make one of the files that stand beside the report. If a writer could not write its share there is none."""
    if all(fragment.exists() for fragment in fragments):
        make()
    else:
        warning(f"there is no {out}: not all of it could be written", "the report is complete")
