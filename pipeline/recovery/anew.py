"""A run that begins anew when one of its processes dies, within bounds.

Knows: what can be read again, how many deaths are too many. Does not know: processes, folders.
Invariant: what a run leaves behind is the work of processes that all lived to its end.

The whole run begins anew, not just what the dead process served. It is simple, and certain: no output is patched from
two lives, so it is that of an undisturbed run bit for bit, whoever died and whenever. It costs at most what was done
until then, once for each death; and deaths are rare (a machine short of memory, somebody's kill, a defect of ours).

What comes from a pipe, an interface or a file that is followed is gone when it was read, and what ``-c`` has printed
cannot be taken back: there a death ends the run, unless it is a worker's that can be replaced (succession.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.config import Config
from pipeline.console import warning
from pipeline.coordinator import MappingLost, ProcessLost
from pipeline.errors import CaptureError, InternalError
from pipeline.inputs import input_name
from pipeline.reading import is_endless
from pipeline.recovery.succession import MOST_A_MINUTE
from pipeline.results import Results
from pipeline.stages.inhand import Place

MOST_IN_A_ROW: Final = 3
"""... after deaths in the same place: by then it is not chance, and each costs all that was done."""


def run_until_done(config: Config, once: Callable[[Config, int], Results], clear: Callable[[], None]) -> Results:
    """``once``, again and again: it gets the configuration and how often the run was begun before.

    ``clear`` removes what a run left that was cut short. Raises what ``once`` does, except for what a new beginning
    may mend; InternalError for one death too many, CaptureError when an input that cannot be read again broke off.
    """
    deaths = Deaths()
    while True:
        try:
            return once(config, deaths.count)
        except MappingLost as lost:
            if is_endless(config) or not config.mapped:
                raise CaptureError(
                    str(lost), "what was written so far is not complete: run again, with --workers 0"
                ) from None
            warning(str(lost), "reading it again")
            config = replace(config, mapped=False)
        except ProcessLost as lost:
            saved = _save(config, lost.place) if deaths.is_first(lost.place) else deaths.saved(lost.place)
            too_many = deaths.add(lost.name, lost.place, saved, time.monotonic())
            told = lost.message + _where(config, lost.place)
            if config.console or is_endless(config):
                raise InternalError(told, f"the output is incomplete; {lost.hint}") from None
            if too_many is not None:
                raise InternalError(
                    f"{told}: {too_many}", f"the output is incomplete; {lost.hint}{_kept(saved)}"
                ) from None
            warning(told, "the run begins anew, and its output will be the same")
        clear()


class Deaths:
    """Those of one run."""

    def __init__(self) -> None:
        self.count = 0
        self._lately: deque[float] = deque()
        self._last: tuple[str, int | None] | None = None
        self._in_a_row = 0
        self._saved: dict[tuple[int, int], Path | None] = {}

    def add(self, name: str, place: Place | None, saved: Path | None, now: float) -> str | None:
        """One more, ``now`` by any steady clock in seconds. Gives why the run must not begin anew, if so."""
        self.count += 1
        if place is not None:
            self._saved[place.first, place.batch] = saved
        self._lately.append(now)
        while self._lately[0] <= now - 60:
            self._lately.popleft()
        where = (name, None if place is None else place.first)
        self._in_a_row = self._in_a_row + 1 if where == self._last and place is not None else 1
        self._last = where
        if self._in_a_row > MOST_IN_A_ROW:
            return f"{self._in_a_row} times in a row there"
        if len(self._lately) > MOST_A_MINUTE:
            return f"{len(self._lately)} deaths within a minute"
        return None

    def is_first(self, place: Place | None) -> bool:
        """Whether no process died there before."""
        return place is not None and (place.first, place.batch) not in self._saved

    def saved(self, place: Place | None) -> Path | None:
        """The file of what was in hand there."""
        return None if place is None else self._saved.get((place.first, place.batch))


def _where(config: Config, place: Place | None) -> str:
    """At which packets, of what."""
    if place is None:
        return ", with nothing in hand"
    inputs = input_name(config.inputs[0])
    if len(config.inputs) > 1:
        inputs += f" and {len(config.inputs) - 1} more"
    return f" {place.told()} of {inputs}"


def _kept(saved: Path | None) -> str:
    return "; --save-crash DIR keeps these packets" if saved is None else f"; the packets are in {saved}"


def _save(config: Config, place: Place | None) -> Path | None:
    """The packets that were in hand, as a file; None: not asked for, none, or not to be had."""
    if config.save_crash is None or place is None or is_endless(config):
        return None
    from pipeline.recovery.saving import save_again

    return save_again(config, place)
