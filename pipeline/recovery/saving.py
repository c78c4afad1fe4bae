"""``--save-crash``: what a process had in hand when it died, as a capture by itself.

Knows: how packets are found again by their numbers. Does not know: why the process died.
Invariant: the file appears under its name only when it is whole; nothing that was there is replaced. Failing at it is
told, and changes nothing else.

The inputs are read once more, by a process of its own: what killed the capture process may do so again. It decodes
nothing. What was in hand is a batch, and a worker that failed at it may have done so by what it remembered of earlier
ones: then the whole input is what to keep.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.aside import add_packets
from pipeline.capture import Capture, Dealt
from pipeline.config import Config
from pipeline.console import warning
from pipeline.errors import FlowshardError
from pipeline.memory import Memory
from pipeline.spool.slabs import Spool, slab_bytes
from pipeline.stages.inhand import Place
from pipeline.supervise import end_all, start
from pipeline.unprocessed import Unprocessed
from workers.contract import U8

_BEFORE_ALL: Final = -(1 << 63)


def save_again(config: Config, place: Place) -> Path | None:
    """Read the inputs once more, up to these packets. The file; None: there is none. Never raises for want of it."""
    if not place.first or config.save_crash is None:
        return None
    try:
        config.save_crash.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        warning(f"cannot make {config.save_crash}: {error.strerror}", "what was in hand is not saved")
        return None
    path = free_name(config.save_crash, place)
    saver = start("saver", partial(_read_again, config, place, path))
    try:
        select.select([saver.lifeline], [], [])
        while not saver.reap():
            select.select([], [], [], 0.001)
    finally:
        end_all([saver])
    if saver.code:
        warning(f"what was in hand could not be saved: the process for it {saver.fate()}")
        return None
    return path


def save_open(config: Config, place: Place, spool: Callable[[], U8], dealt: Iterable[Dealt]) -> tuple[str, str]:
    """While the run goes on to its end: of the batches that are under way those that were in hand. What to say."""
    assert config.save_crash is not None
    path = free_name(config.save_crash, place)
    try:
        config.save_crash.mkdir(mode=0o700, exist_ok=True)
        file = CrashFile(config, place, path, spool)
        for each in dealt:
            file.add(each)
        file.close()
    except (FlowshardError, OSError) as error:
        return f"what {place.process} had in hand could not be saved", str(error)
    return f"what {place.process} had in hand is in {path}", "please report this, with that file if you can"


def free_name(folder: Path, place: Place) -> Path:
    """A name that says what it is, and that nothing has yet."""
    name = f"crash-{place.process}-packet-{place.first}"
    names = (f"{name}{more}.pcapng" for more in ("", *(f"-{n}" for n in range(2, 1000))))
    return next((folder / each for each in names if not os.path.lexists(folder / each)), folder / f"{name}.pcapng")


def _read_again(config: Config, place: Place, path: Path) -> int:
    """In a process of its own; its exit code."""
    untimely = replace(config, expression="", start_ns=None, end_ns=_BEFORE_ALL)  # counted, never decoded
    spool = Spool(config.spool_folder, config.spool_bytes, slab_bytes(config.spool_bytes))
    try:
        file = CrashFile(config, place, path, spool.view)
        capture = Capture(untimely, 1, spool)
        for dealt in capture.batches():
            file.add(dealt)
            dealt.drop()
            if capture.packets + 1 >= file.beyond:
                break
        file.close()
    except FlowshardError as error:
        warning(error.message, error.hint)
        return error.status
    return 0


class CrashFile:
    """The packets of one place, on their way to their file."""

    def __init__(self, config: Config, place: Place, path: Path, spool: Callable[[], U8]) -> None:
        """OutputError: it cannot be made."""
        self.beyond = place.beyond or place.first + config.batch_packets
        self._first = place.first
        self._memory = Memory(config, spool, keep=4)
        self._file = Unprocessed(path, say=lambda _: f"in the hands of {place.process} when it died")

    def add(self, dealt: Dealt) -> None:
        """Those of a batch that belong there, while their bytes can be read."""
        assert dealt.stretch is not None
        first = dealt.first_packet
        count = len(dealt.stretch.records.start)
        rows = np.arange(max(self._first - first, 0), min(self.beyond - first, count))
        add_packets(self._file, self._memory, dealt.stretch, first, rows, np.zeros(len(rows), np.uint8))

    def close(self) -> None:
        """All of them are there."""
        self._file.close()
