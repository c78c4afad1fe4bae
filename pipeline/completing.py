"""Fragments into what stands beside the streams' files: the report, and whatever else was asked for.

Knows: which files these are. Does not know: what they say, when they are due.
Invariant: the report is the last of them to appear.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.output import OBJECT_LINES, PACKET_MAP
from pipeline.report.merge import merge
from workers.contract import U64


def complete(config: Config, fragments: Sequence[Path], head: bytes, tail: bytes, plain: U64) -> None:
    """Make them of the fragments of all writers; ``plain``: the streams whose files have their plain names.

    Errors as of ``merge``.
    """
    if config.flows is not None:
        from pipeline.report.flows import flows_fragment, merge_flows

        merge_flows([flows_fragment(fragment) for fragment in fragments], config.flows, plain)
    if config.packet_map:
        from pipeline.report.packet_map import map_fragment, merge_maps

        merge_maps([map_fragment(fragment) for fragment in fragments], config.output / PACKET_MAP)
    if config.extract:
        from pipeline.report.objects import merge_objects

        merge_objects(fragments, config.output / OBJECT_LINES, plain)
    if config.report is not None:
        merge(fragments, config.report, head, tail, plain)
