"""What the options of a run in parts, and of limits on disk use and on files, ask for.

Knows: their meanings and bounds, what goes together. Does not know: parts, disks.
Invariant: a run in parts has an input without an end, and nothing that is made once a run.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from typing import Final

from pipeline.config import STDIN, Config, Rotation, Space, WhenFull, byte_size, whole_number
from pipeline.errors import UsageError

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOST_SECONDS: Final = 366 * 86_400
_LEAST: Final = 1 << 20  # bytes of a part; less than a batch is no use
_MOST: Final = 1 << 60
_POLICIES: Final[tuple[WhenFull, ...]] = ("stop", "delete")

_ONCE_A_RUN: Final = (
    ("console", "-c", "there is nothing to rotate on a console"),
    ("append", "-R", "each part has files of its own"),
    ("report", "-X", "each part has its report.xml"),
    ("no_report", "--no-report", "a part is complete when it has its report"),
    ("write_unprocessed", "-w", "that is one file for the whole run, which would grow for ever"),
    ("overwrite", "--overwrite", "parts of earlier runs stay; --when-full delete removes the oldest"),
)


def with_parts(options: argparse.Namespace, config: Config) -> Config:
    """The configuration with what is asked for. UsageError: a value is no good, or something does not go with it."""
    rotation = _rotation(options.rotate)
    if rotation is not None:
        _check(options, config)
    space = _space(options, rotation)
    if space is not None:
        for name, shown in (("console", "-c"), ("append", "-R")):
            if getattr(options, name):
                raise UsageError(f"{shown} and limits on disk use exclude one another", f"leave {shown} away")
    return replace(config, rotation=rotation, space=space)


def _rotation(asked: list[str] | None) -> Rotation | None:
    """``30s``, ``6h``: a time; anything else a size. The smallest of each counts."""
    if not asked:
        return None
    seconds: list[int] = []
    sizes: list[int] = []
    for text in asked:
        time = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
        if time is None:
            if not re.fullmatch(r"[0-9]{1,19}[KMGkg]?", text):
                raise UsageError(
                    f"--rotate: '{text}' is neither a time nor a size",
                    "give a time (30s, 10m, 6h, 1d) or a size of captured bytes (500M, 10G)",
                )
            sizes.append(byte_size("--rotate", text, _LEAST, _MOST))
            continue
        seconds.append(int(time[1]) * _UNITS[time[2]])
        if not 1 <= seconds[-1] <= _MOST_SECONDS:
            raise UsageError(f"--rotate: {text} is out of range", "give a time from 1s to 366d")
    return Rotation(min(seconds, default=None), min(sizes, default=None))


def _check(options: argparse.Namespace, config: Config) -> None:
    for name, shown, why in _ONCE_A_RUN:
        if getattr(options, name):
            raise UsageError(f"--rotate and {shown} exclude one another", why)
    if config.flows is not None and config.flows.name != str(options.flows):
        raise UsageError(
            f"--flows: with --rotate '{options.flows}' has to be a name without a folder", "each part gets such a file"
        )
    endless = config.follow or config.live is not None
    if not endless and all(path != STDIN and path.is_file() for path in config.inputs):
        raise UsageError(
            "--rotate is for inputs that go on: live, piped or followed",
            "leave it away: what is read from files has one report",
        )


def _space(options: argparse.Namespace, rotation: Rotation | None) -> Space | None:
    most = None if options.max_output is None else byte_size("--max-output", options.max_output, _LEAST, _MOST)
    free = None if options.keep_free is None else byte_size("--keep-free", options.keep_free, 1, _MOST)
    files = None if options.max_files is None else whole_number("--max-files", options.max_files, 0, _MOST)
    if most is None and free is None:
        if files is not None and options.when_full is None:
            return Space(None, None, files=files)
        if options.when_full is not None:
            raise UsageError("--when-full: there is no limit to reach", "give --max-output or --keep-free")
        return None
    for policy in _POLICIES:
        if policy == (options.when_full or "stop"):
            if policy == "delete" and rotation is None:
                raise UsageError("--when-full delete removes parts, and there are none", "add --rotate")
            return Space(most, free, policy, files)
    raise UsageError(f"--when-full: unknown policy '{options.when_full}'", "--when-full takes stop or delete")
