"""A live run as its operator has it: rights that are given up, interfaces, what can be seen while it lasts.

Knows: when root is needed and when no more, which folders the run writes to, who is told what.
Does not know: stages, packets.
Invariant: from its making to ``interfaces`` the run acts as whom it is to become; afterwards it is nobody else.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pipeline.config import Config
from pipeline.console import warning
from pipeline.live.interface import Interface
from pipeline.privileges import become, lower, nearest, plan, raised
from pipeline.transport import Waiter
from pipeline.watch.serving import Server, check
from pipeline.watch.view import View


class Sensor:
    """Of one run. SIGUSR1 asks it for a line."""

    def __init__(self, config: Config) -> None:
        """Acts as an ordinary user from now on, if it can. UsageError, OutputError: what is asked for cannot be."""
        assert config.live is not None
        self._config, self._live = config, config.live
        if self._live.metrics is not None:
            check(self._live.metrics)
            if not self._live.metrics.local:
                warning(
                    f"everybody who reaches {self._live.metrics} can read the metrics",
                    "a port alone, as in --metrics 9100, serves this machine only",
                )
        self._identity, remark = plan(self._live.user, *folders(config), os.environ)
        if remark is not None:
            warning(*remark)
        lower(self._identity)
        self.view = View(str(config.inputs[0]), self._live.interval, quiet=config.quiet or config.console)
        self._server: Server | None = None
        self._before = signal.signal(signal.SIGUSR1, lambda *_: self.view.ask())

    def interfaces(self) -> list[Interface]:
        """Open, with their filters. No right is left then, here and in what is forked. UsageError, InternalError."""
        with raised(self._identity):
            found = [Interface(name, self._live, self._config.expression) for name in self._live.interfaces]
        become(self._identity)
        return found

    def serve(self, waiter: Waiter) -> str | None:
        """Answer scrapes, if that was asked for, whenever ``waiter`` is waited for. Where that is."""
        if self._live.metrics is None:
            return None
        self._server = Server(self._live.metrics, lambda: self.view.status, waiter)
        return f"metrics at http://{self._server.address}/metrics"

    def hear(self, stage: str, facts: Mapping[str, Any]) -> None:
        """A stage has said how it is doing."""
        self.view.hear(stage, facts)

    def warn(self, message: str, hint: str) -> None:
        """Says so without a panel in its way."""
        self.view.clear()
        warning(message, hint)

    def tick(self) -> None:
        """Do what is due; call it several times a second."""
        self.view.tick()
        if self._server is not None:
            self._server.tick()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """No packet will come any more."""
        self.view.clear()
        if self._server is not None:
            self._server.close()
            self._server = None
        signal.signal(signal.SIGUSR1, self._before)


def folders(config: Config) -> tuple[Path, list[Path]]:
    """The output folder, which is made if missing, and others that the run writes to."""
    output = Path(tempfile.gettempdir()) if config.console else config.output
    named = [path.parent for path in (config.report, config.flows, config.unprocessed) if path is not None]
    if config.spool_folder is not None:
        named.append(config.spool_folder)
    if config.live is not None and config.live.keep is not None:  # it is made, too, if missing
        named.append(nearest(config.live.keep.folder))
    if config.save_crash is not None:
        named.append(nearest(config.save_crash))
    inside = os.path.realpath(output)
    return output, [each for each in named if os.path.commonpath([inside, os.path.realpath(each)]) != inside]
