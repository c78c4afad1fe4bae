"""What a run writes, and where: options to configuration, no two things into one file, and nothing over an input.

Knows: names and files as they are before the run. Does not know: who makes the folder (output.py), what is written.
Invariant: what is refused here has changed nothing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.config import STDIN, Config, check_name_format
from pipeline.errors import UsageError

REPORT: Final = "report.xml"
PACKET_MAP: Final = "packet-map.tsv"
OBJECT_LINES: Final = "objects.jsonl"
MANIFEST: Final = "manifest.json"

FIXED: Final = ("--packet-map", "-e", "--manifest")
LISTS: Final = (PACKET_MAP, OBJECT_LINES, MANIFEST)
"""Options whose file lies in the output folder under a name that nobody chooses, and these names."""

_WHAT: Final = {
    "-X": "the report", "--flows": "the list of flows", "-w": "what is not processed", "--packet-map": "the packet map",
    "-e": "the index of objects", "--manifest": "the manifest",
}  # fmt: skip


def with_output(options: argparse.Namespace, config: Config) -> Config:
    """What is written, and where: no two things into one file, and nothing over an input."""
    if options.format is not None:
        check_name_format(options.format, analyze=options.analyze and not options.console)
    output = Path(options.output)
    if os.path.exists(output) and not output.is_dir():
        raise UsageError(f"{output}: not a folder", "give -o a folder; it is made if missing")
    if options.console and options.packet_map:
        raise UsageError("-c and --packet-map exclude one another", "-c writes nothing into the output folder")
    if options.console and options.extract:
        raise UsageError("-c and -e exclude one another", "-c -a prints what was found; for objects, leave -c away")
    if options.manifest:
        for option, given in (("-c", options.console), ("--no-report", options.no_report)):
            if given:
                raise UsageError(
                    f"{option} and --manifest exclude one another", "a manifest is of the files that a report names"
                )
    config = replace(
        config,
        output=output,
        name_format=options.format,
        report=_report(options, output),
        flows=_target("--flows", options.flows),
        unprocessed=_target("-w", options.write_unprocessed),
        packet_map=options.packet_map,
        manifest=options.manifest,
    )
    check_apart(config, targets(config))
    return config


def _report(options: argparse.Namespace, output: Path) -> Path | None:
    if options.report is None:
        return None if options.no_report or options.console else output / REPORT
    if options.no_report:
        raise UsageError("-X and --no-report exclude one another", "give one of them")
    return _target("-X", options.report)


def _target(option: str, text: str | None) -> Path | None:
    """A file that is to be written."""
    if text is None:
        return None
    if text in {"", "-"} or os.path.isdir(text):
        raise UsageError(f"{option}: '{text}' is not the name of a file", f"give {option} FILE")
    return Path(text)


class Target(NamedTuple):
    """A single file that a run writes, besides those of the streams."""

    option: str
    path: Path


def targets(config: Config) -> list[Target]:
    """The single files of a run."""
    named = [("-X", config.report), ("--flows", config.flows), ("-w", config.unprocessed)]
    made = [config.packet_map, bool(config.extract), config.manifest]
    if not config.console:
        named += compress(zip(FIXED, (config.output / name for name in LISTS), strict=True), made)
    return [Target(option, path) for option, path in named if path is not None]


def check_apart(config: Config, wanted: Sequence[Target]) -> None:
    """What is written besides the streams: each its own file, and none of them an input. UsageError."""
    seen: dict[str, str] = {}
    for option, path in wanted:
        other = seen.setdefault(os.path.realpath(path), option)
        if other != option:
            raise UsageError(f"{option}: {path} is where {_WHAT[other]} goes", "give each a file of its own")
        if any(_same(path, source) for source in config.inputs):
            raise UsageError(f"{option}: {path} is an input of this run", f"give {_WHAT[option]} a name of its own")


def _same(target: Path, source: Path) -> bool:
    if os.path.abspath(target) == os.path.abspath(source):
        return source != STDIN
    try:
        return target.exists() and os.path.samefile(target, 0 if source == STDIN else source)
    except OSError:  # one of them went away meanwhile: who opens it will tell
        return False
