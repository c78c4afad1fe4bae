"""The bytes that addresses stand for: inputs mapped when they are first asked for, and the spool.

Knows: how an address and a batch's extents become a place in an array. Does not know: who asks, formats.
Invariant: an array that was handed out stays valid as long as it is held, and is of the file that its path led
to at first: a capture that is rotated away meanwhile is not mistaken for the next one.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from pipeline.config import STDIN, Config
from pipeline.errors import CaptureError, InputChanged, InternalError, UsageError
from pipeline.source.opening import map_file
from workers.contract import I64, INPUT_SHIFT, OFFSET_MASK, U8, U64, Extents

SPOOL: Final = -1
"""In place of an input's number: the spool."""

_MANY_INPUTS: Final = 32

Arrays: TypeAlias = Callable[[int], U8]
"""The bytes of an input by its number, or those of the spool."""


def places(extents: Extents, addresses: U64) -> tuple[int | I64, I64]:
    """Which array holds each address (n,) (one number when it is the same for all), and where in it."""
    if not len(extents.start):
        first = int(addresses.min()) >> INPUT_SHIFT if len(addresses) else 0
        if not len(addresses) or int(addresses.max()) >> INPUT_SHIFT == first:
            return first, (addresses - np.uint64(first << INPUT_SHIFT)).view(np.int64)
        return (addresses >> INPUT_SHIFT).view(np.int64), (addresses & OFFSET_MASK).view(np.int64)
    at = np.searchsorted(extents.start, addresses, "right") - 1
    known = np.maximum(at, 0)
    spooled = (at >= 0) & (extents.start[known] >> INPUT_SHIFT == addresses >> INPUT_SHIFT)
    place = (extents.place[known] + (addresses - extents.start[known])).view(np.int64)
    if spooled.all():
        return SPOOL, place
    source = np.where(spooled, SPOOL, (addresses >> INPUT_SHIFT).view(np.int64))
    return source, np.where(spooled, place, (addresses & OFFSET_MASK).view(np.int64))


def allow_files(inputs: int) -> None:
    """Raises this process's limit of open files, as far as it may: captures that overlap in time are open at once.

    Each needs a descriptor, one for its map or its slab, and with -w another one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if inputs >= _MANY_INPUTS and soft >= 0:
        wanted = soft + 3 * inputs
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


def nothing_spooled() -> U8:
    """The spool of a run that needs none: no batch of it can have extents."""
    raise InternalError("a batch refers to a spool that this run does not have")


class Memory:
    """The arrays, each mapped when it is first asked for; the latest few inputs stay mapped."""

    def __init__(self, config: Config, spool: Callable[[], U8], keep: int) -> None:
        """``spool`` maps it."""
        self._inputs = config.inputs
        self._files = [_identity(path) for path in config.inputs] if config.mapped and not config.follow else []
        self._spool = spool
        self._keep = keep
        self._mapped: dict[int, U8] = {}

    def __call__(self, source: int) -> U8:
        """The bytes of one. InputChanged: they cannot be had any more."""
        if source == SPOOL:
            return self._spool()
        found = self._mapped.pop(source, None)
        if found is None:
            while len(self._mapped) >= self._keep:
                del self._mapped[next(iter(self._mapped))]  # unmapped when nothing refers to it any more
            found = self._map(source)
        self._mapped[source] = found
        return found

    def _map(self, source: int) -> U8:
        path = self._inputs[source]
        try:
            data = map_file(path)
        except (CaptureError, UsageError) as error:
            raise InputChanged(error.message, error.hint) from error
        if _identity(path) != self._files[source]:
            raise InputChanged(f"{path} was replaced by another file", "captures must not change while they are read")
        return np.frombuffer(data, np.uint8)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of the file; None: there is none."""
    try:
        found = None if path == STDIN else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)
