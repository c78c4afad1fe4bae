"""What the options of live capture ask for.

Knows: their meanings, defaults and bounds, how much memory there is. Does not know: libpcap, interfaces.
Invariant: interfaces and files exclude one another.

Nothing is imported that a mistake on the command line would have to wait for.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.config import (
    DEFAULT_BUFFER_BYTES,
    DEFAULT_INTERVAL,
    DEFAULT_KEEP_BYTES,
    DEFAULT_SPOOL_BYTES,
    MOST_SNAP_LENGTH,
    Config,
    Direction,
    Keep,
    Live,
    byte_size,
    whole_number,
)
from pipeline.errors import UsageError
from pipeline.watch.address import address_of

LEAST_SNAP_LENGTH: Final = 64
"""Fewer bytes hold no TCP header, and cost more to keep count of than to keep."""

_LEAST_BUFFER: Final = 1 << 20
_MOST_BUFFER: Final = 1 << 30
_MOST: Final = 1 << 62
_MOST_INTERVAL: Final = 86_400
_LEAST_KEPT: Final = 1 << 20
_MOST_SECONDS: Final = 10 * 366 * 86_400

MOST_LIVE_SPOOL: Final = 2 << 30
"""Twice what comes in 3 s at 3.4 Gbit/s, while the disk takes next to nothing."""

_SHARE: Final = 4
"""One part in so many of the memory that is available."""

_DIRECTIONS: Final[tuple[Direction, ...]] = ("in", "out", "inout")

_ONLY_LIVE: Final = (
    "snap_length", "buffer_size", "no_promiscuous", "direction", "duration", "packets", "bytes", "user", "metrics",
    "interval", "keep_packets", "keep_size", "keep_seconds", "keep_files",
)  # fmt: skip


def is_live(options: argparse.Namespace) -> bool:
    """Whether a capture on interfaces is asked for. UsageError: it is, and so is something else."""
    if options.interface:
        for name, shown in (("read", "-r"), ("follow", "--follow"), ("strict", "--strict")):
            if getattr(options, name):
                raise UsageError(f"-i and {shown} exclude one another", "capture first, or read files: one run each")
        return True
    for name in _ONLY_LIVE:
        if getattr(options, name) not in (None, False):
            shown = "-s" if name == "snap_length" else "--" + name.replace("_", "-")
            raise UsageError(f"{shown} is for live capture", "name an interface with -i")
    if not options.read:
        raise UsageError("nothing to read", "give a capture with -r FILE, or an interface with -i IFACE")
    return False


def with_live(options: argparse.Namespace, config: Config) -> Config:
    """The configuration of a live capture, if one is asked for. UsageError: a value is no good."""
    if not is_live(options):
        return config
    if options.metrics is not None and not config.workers:
        raise UsageError("--metrics and --workers 0 exclude one another", "in one process nobody is there to answer")
    names = tuple(dict.fromkeys(options.interface))
    for name in names:
        if not name.isprintable() or not name or "/" in name or any(map(str.isspace, name)):
            raise UsageError(f"-i: '{name}' is not the name of an interface", "--list-interfaces shows them")
    live = Live(
        interfaces=names,
        snap_length=_number("-s", options.snap_length, LEAST_SNAP_LENGTH, MOST_SNAP_LENGTH) or MOST_SNAP_LENGTH,
        buffer_bytes=_size("--buffer-size", options.buffer_size, _LEAST_BUFFER, _MOST_BUFFER) or DEFAULT_BUFFER_BYTES,
        promiscuous=not options.no_promiscuous,
        direction=_direction(options.direction),
        duration=_number("--duration", options.duration, 1, _MOST_SECONDS),
        packets=_number("--packets", options.packets, 1, _MOST),
        bytes=_size("--bytes", options.bytes, 1, _MOST),
        user=options.user,
        metrics=None if options.metrics is None else address_of(options.metrics),
        interval=_number("--interval", options.interval, 1, _MOST_INTERVAL) or DEFAULT_INTERVAL,
        keep=_keep(options, config),
    )
    return replace(
        config,
        inputs=(Path(",".join(names)),),
        live=live,
        mapped=False,
        hash_key=config.hash_key if options.hash_key is not None else int.from_bytes(os.urandom(8)),
        spool_bytes=config.spool_bytes if options.spool_size is not None else live_spool_bytes(),
    )


def _keep(options: argparse.Namespace, config: Config) -> Keep | None:
    """What is asked for of kept packets. UsageError: a value is no good, or says how nothing is to be kept."""
    size = _size("--keep-size", options.keep_size, _LEAST_KEPT, _MOST)
    seconds = _number("--keep-seconds", options.keep_seconds, 1, _MOST_SECONDS)
    files = _number("--keep-files", options.keep_files, 1, _MOST)
    if options.keep_packets is None:
        if (size, seconds, files) != (None, None, None):
            raise UsageError("there are no packets to keep", "say where to with --keep-packets DIR")
        return None
    if not config.workers:
        raise UsageError("--keep-packets and --workers 0 exclude one another", "a process of its own keeps them")
    run = f"flowshard-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}-"
    return Keep(Path(options.keep_packets).absolute(), run, size or DEFAULT_KEEP_BYTES, seconds, files)


def live_spool_bytes() -> int:
    """A quarter of the memory that is available, within bounds."""
    return max(DEFAULT_SPOOL_BYTES, min(_available() // _SHARE, MOST_LIVE_SPOOL))


def _available() -> int:
    """Bytes of memory that this machine has to spare, or that this process's control group still allows."""
    found = [_field("/proc/meminfo", "MemAvailable:") << 10]
    allowed, used = _field("/sys/fs/cgroup/memory.max", ""), _field("/sys/fs/cgroup/memory.current", "")
    if allowed:
        found.append(max(allowed - used, 0))
    return min(found)


def _field(path: str, name: str) -> int:
    """The number behind ``name`` at the beginning of a line; 0: there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    words = next((line.removeprefix(name).split() for line in lines if line.startswith(name)), [])
    return int(words[0]) if words and words[0].isdecimal() else 0


def _number(shown: str, text: str | None, least: int, most: int) -> int | None:
    return None if text is None else whole_number(shown, text, least, most)


def _size(shown: str, text: str | None, least: int, most: int) -> int | None:
    return None if text is None else byte_size(shown, text, least, most)


def listing() -> str:
    """A line for each interface."""
    from pipeline.live.interface import listing as lines  # libpcap takes its time

    return lines()


def _direction(text: str | None) -> Direction:
    for name in _DIRECTIONS:
        if name == (text or "inout"):
            return name
    raise UsageError(f"--direction: unknown direction '{text}'", "--direction takes in, out or inout")
