"""The output folder of a run in parts, before and after it.

Knows: what other runs may have left there. Does not know: what is written into parts.
Invariant: nothing of another run is changed, but the scratch folder of one that was killed is removed; a run that
wrote a single report there, or has not finished, keeps the folder for itself.

No marker stands in the folder: each part tells itself whether it is complete. Parts are numbered on from those that
are there, so a sensor that is started anew goes on where it was.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from pipeline.config import Config
from pipeline.destinations import REPORT, targets
from pipeline.errors import InternalError, UsageError
from pipeline.output import MARKER, SCRATCH, TRACE, check_names, make_folder
from pipeline.parts.folders import PART_MARKER, highest_number, mark, part_name, remove_if_empty
from pipeline.report.placing import output_error
from pipeline.tree import Tree

LOCK: Final = "lock"
"""In the scratch folder: locked as long as any process of the run is there."""


class PartedOutput:
    """The output folder, the folder of the first part in it, and a scratch folder."""

    def __init__(self, config: Config) -> None:
        """Make them. UsageError: the folder is that of another run. OutputError."""
        self.path = config.output
        self._flows = None if config.flows is None else config.flows.name
        self._made = make_folder(self.path)
        try:
            self._prepare(config)
        except BaseException:
            self._unmake()
            raise

    def _prepare(self, config: Config) -> None:
        for name in (REPORT, MARKER, TRACE):
            if os.path.lexists(self.path / name):
                raise UsageError(
                    f"{self.path} holds the output of an earlier run: {name}", "choose another folder with -o"
                )
        flows = None if self._flows is None else self.path / self._flows
        as_part = replace(config, report=self.path / REPORT, flows=flows)
        check_names(as_part, targets(as_part), [PART_MARKER])
        try:
            self._clear()
            self.scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=self.path))
            self._lock = os.open(self.scratch / LOCK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            with Tree(self.path) as tree:
                self.part = part_name(highest_number(tree) + 1, time.time_ns())
                mark(tree.enter(tree.place(self.part)), self._flows)
            (self.scratch / self.part).mkdir(mode=0o700)
        except OSError as error:
            raise output_error("write to", self.path, error) from error

    def _clear(self) -> None:
        """Remove the scratch folders of runs that are no more."""
        for scratch in self.path.glob(SCRATCH + "*"):
            if scratch.is_symlink():
                continue
            with suppress(OSError):
                descriptor = os.open(scratch / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                finally:
                    os.close(descriptor)
                shutil.rmtree(scratch, ignore_errors=True)

    def finished(self) -> None:
        """The run ended well."""
        self.abandon()

    def abandon(self) -> None:
        """Whatever became of the run: the scratch folder goes. A part that is not complete has no report."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)

    def restart(self) -> NoReturn:
        """An input without an end is not read twice."""
        raise InternalError("a run in parts does not begin again")

    def withdraw(self) -> None:
        """Nothing came of the run, and it wrote nothing: no folder that it made stays, if nothing is in it."""
        self.abandon()
        remove_if_empty(self.path, self.part)
        self._unmake()

    def _unmake(self) -> None:
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()
