"""What can end a run early, by who must act: one root, few leaves.

Knows: exit statuses (2 usage, 3 input, 4 output, 70 a defect of ours) and how a message reads.
Does not know: where messages go.
Invariant: whatever ends a run is one of these; what is none is told as a defect of ours.
"""

from __future__ import annotations


class FlowshardError(Exception):
    """What happened, in one line without a trailing period, and what to do next (``hint``)."""

    status = 70

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FlowshardError):
    """The command line asks for something that cannot be done. Nothing was written."""

    status = 2


class CaptureError(FlowshardError):
    """An input is damaged or unreadable. What could be read of it was processed."""

    status = 3


class InputChanged(CaptureError):
    """A capture is not the file any more that it was when the run began: places in it mean nothing."""


class OutputError(FlowshardError):
    """Output failed: permission, disk full, a folder that is in use."""

    status = 4
    number = 0
    """What the system calls it (errno); 0: it was not the system."""
    written = 0
    """Bytes that were written before it failed."""


class NoMoreFiles(OutputError):
    """As many files were made as --max-files allows."""


class InternalError(FlowshardError):
    """A defect of flowshard: a process died, or the accounting identity does not hold."""

    status = 70


class PipeClosed(FlowshardError):
    """Whoever reads standard output has seen enough: the run ends without a word, as SIGPIPE would end it."""

    status = 141

    def __init__(self, message: str = "standard output was closed", hint: str | None = None) -> None:
        super().__init__(message, hint)
