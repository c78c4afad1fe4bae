"""Fragments into what stands beside the streams' files: the report, and whatever else was asked for.

Knows: which files these are. Does not know: what they say, when they are due.
Invariant: the report is the last of them to appear, and one of the others that the disk does not take is no reason that
there is none: it is left out, told and counted.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipeline.config import Config
from pipeline.console import warning
from pipeline.destinations import OBJECT_LINES, PACKET_MAP
from pipeline.errors import OutputError
from pipeline.report.merge import merge
from pipeline.report.placing import remove
from pipeline.report.reserve import release
from pipeline.writer.failures import count_failure
from workers.contract import U64


def complete(
    config: Config, fragments: Sequence[Path], counters: dict[str, int], head: bytes, tail: Callable[[], bytes],
    plain: U64,
) -> None:  # fmt: skip
    """Make them of the fragments of all writers; ``plain``: the streams whose files have their plain names. What fails
    beside the report is counted in ``counters``, before ``tail`` is asked for.

    Errors as of ``merge``.
    """
    beside = partial(_beside, counters)
    if (out := config.flows) is not None:
        from pipeline.report.flows import flows_fragment, merge_flows

        lines = [flows_fragment(fragment) for fragment in fragments]
        beside(lines, out, partial(merge_flows, lines, out, plain))
    if config.packet_map:
        from pipeline.report.packet_map import map_fragment, merge_maps

        maps, packet_map = [map_fragment(fragment) for fragment in fragments], config.output / PACKET_MAP
        beside(maps, packet_map, lambda: merge_maps(maps, packet_map))
    if config.extract:
        from pipeline.report.objects import merge_objects, objects_fragment

        found, objects = [objects_fragment(fragment) for fragment in fragments], config.output / OBJECT_LINES
        beside(found, objects, lambda: merge_objects(fragments, objects, plain))
    release(fragments[0].parent)  # what was held there is the report's
    if config.report is not None:
        merge(fragments, config.report, head, tail(), plain)


def _beside(counters: dict[str, int], fragments: Sequence[Path], out: Path, make: Callable[[], object]) -> None:
    """Make one of the files that stand beside the report. If a writer could not write its share there is none."""
    problem = "not all of it could be written"
    if all(fragment.exists() for fragment in fragments):
        try:
            make()
        except OutputError as error:
            count_failure(counters, error)
            problem = error.message
            for fragment in fragments:  # their space, and their names, may be what the report lacks
                for piece in (fragment, *fragment.parent.glob(f"{glob.escape(fragment.name)}.*")):
                    remove(piece)
        else:
            return
    warning(f"there is no {out}: {problem}", "whatever else the run made is complete; run again where there is room")
