"""What a person is told of a live capture: why nothing comes, what was dropped, and what helps.

Knows: the usual causes. Does not know: how anything is counted, where words go.
Invariant: nothing is said more often than every ten seconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, TypeAlias

from pipeline.config import Config, Live
from pipeline.live.drops import NAMES
from pipeline.live.interface import is_up, passed

Remark: TypeAlias = tuple[str, str]

_SILENCE: Final = 5.0
"""Seconds without a packet, at the beginning, that are worth a word."""

_EVERY: Final = 10.0

_WHERE: Final = {
    "kernel": "in the kernel's ring",
    "interface": "by the interface",
    "spool": "for want of room in the spool",
    "unfinished": "when the time to finish was over",
    "keep": "by --keep-packets alone",
}

_HELPS: Final = {
    "kernel": "a larger --buffer-size",
    "interface": "larger rings of the card (ethtool -G)",
    "spool": "a larger --spool-size, more --workers, a faster disk",
    "unfinished": "a faster disk, more --workers",
    "keep": "a faster disk for them",
}


class Lookout:
    """Watches a capture for what is worth a word while it runs."""

    def __init__(self, config: Config) -> None:
        assert config.live is not None
        self._live: Live = config.live
        self._filtered = bool(config.expression)
        self._begun = time.monotonic()
        self._passed = {name: passed(name) for name in self._live.interfaces}
        self._silent = True
        self._told: dict[str, int] = dict.fromkeys(NAMES, 0)
        self._next = 0.0

    def look(self, handed: int, dropped: Mapping[str, int]) -> Remark | None:
        """What there is to say now. ``handed``: packets so far; ``dropped``: by where."""
        now = time.monotonic()
        if self._silent:
            self._silent = not handed and now - self._begun < _SILENCE
            if not handed and not self._silent:
                return self._nothing_comes()
        new = {name: dropped[name] - self._told[name] for name in NAMES}
        if not any(new.values()) or now < self._next:
            return None
        self._next = now + _EVERY
        self._told = dict(dropped)
        return of_drops(new)

    def _nothing_comes(self) -> Remark:
        found = f"no packet on {', '.join(self._live.interfaces)} for {_SILENCE:.0f} s"
        down = [name for name in self._live.interfaces if not is_up(name)]
        if down:
            return found, f"{', '.join(down)} is down: ip link set {down[0]} up"
        seen = sum(passed(name) - before for name, before in self._passed.items())
        if seen > 0 and (self._filtered or self._live.direction != "inout"):
            return found, f"{seen:,} passed there meanwhile: check the filter expression and --direction"
        return found, "is it the right interface? --list-interfaces shows where packets pass"


def of_drops(dropped: Mapping[str, int]) -> Remark:
    """How much was dropped where, and what helps."""
    where = [name for name in NAMES if dropped[name]]
    parts = [f"{dropped[name]:,} {_WHERE[name]}" for name in where]
    helps = "; ".join([*(_HELPS[name] for name in where), "a filter expression, if not all is wanted"])
    return f"packets were dropped: {', '.join(parts)}", f"what helps: {helps}"


def after(config: Config, counters: Mapping[str, int]) -> list[Remark]:
    """What there is to say when it is over. ``counters`` as ``stats.summary`` has them."""
    assert config.live is not None
    told = []
    dropped = {name: counters.get(f"dropped.{name}", 0) for name in NAMES}
    if any(dropped.values()):
        told.append(of_drops(dropped))
    if not counters.get("packets") and not any(dropped.values()):
        told.append((f"no packet was captured on {config.inputs[0]}", "--list-interfaces shows where packets pass"))
    if counters.get("unaccounted"):
        told.append((
            f"{counters['unaccounted']:,} packets that the kernel counted were neither handed over nor dropped",
            "please report this, with the kernel's version",
        ))  # fmt: skip
    return told
