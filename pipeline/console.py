"""What a person sees, all of it on standard error: messages, progress, the closing summary.

Knows: how text becomes safe to show, when colour and a moving bar are wanted, the summary's rows.
Does not know: what the numbers mean or where they come from.
Invariant: nothing here ends a run; output that cannot be written is dropped. rich is imported only
when standard error is a terminal.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

REFRESH_SECONDS: Final = 0.1

SELDOM_SECONDS: Final = 10.0
"""Between two warnings of one kind, while a run goes on."""

UNPROCESSED: Final = "unprocessed."
"""Prefix of the counters of packets that were set aside, by reason."""


def printable(text: str) -> str:
    """``text`` on one line, without what could move a cursor or reorder what is read.

    File names and messages may hold anything: whatever does not print (controls, line ends, direction
    marks, undecodable bytes) becomes its Python escape.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def error(message: str, hint: str | None = None) -> None:
    """``error: …`` and, below it, ``hint: …``."""
    _say("error", "bold red", message, hint)


def warning(message: str, hint: str | None = None) -> None:
    """``warning: …`` and, below it, ``hint: …``."""
    _say("warning", "bold yellow", message, hint)


class Seldom:
    """Warnings while a run goes on, which its input or its disk can bring about again and again: of one kind one every
    SELDOM_SECONDS. What is not told is counted, and the next one of the kind says how many.

    Of one kind are those with one hint.
    """

    def __init__(self, tell: Callable[[str, str], None] | None = None) -> None:
        self._tell = warning if tell is None else tell
        self._kinds: dict[str, tuple[float, int]] = {}  # when one is due, and how many were not told

    def __call__(self, message: str, hint: str) -> None:
        """Tell of it, or count it."""
        now = time.monotonic()
        due, untold = self._kinds.get(hint, (0.0, 0))
        if now < due:
            self._kinds[hint] = due, untold + 1
            return
        self._kinds[hint] = now + SELDOM_SECONDS, 0
        self._tell(f"{message} ({untold:,} more like it were not told)" if untold else message, hint)

    def rest(self) -> None:
        """The run is over: say how many were not told."""
        for hint, (_, untold) in self._kinds.items():
            if untold:
                self._tell(f"{untold:,} more like these were not told", hint)
        self._kinds.clear()


def say(text: str) -> None:
    """A line that is neither an error nor a warning."""
    _write(f"{printable(text)}\n")


def summary(counters: Mapping[str, int], seconds: float) -> None:
    """The closing lines of a run, see :func:`summary_text`."""
    _write(summary_text(counters, seconds))


def details(inputs: Sequence[str], counters: Mapping[str, int]) -> None:
    """What was read, and every counter that is not 0."""
    lines = [f"read {printable(line)}\n" for line in inputs]
    lines += [f"{name} {count:,}\n" for name, count in counters.items() if count]
    _write("".join(lines))


def summary_text(counters: Mapping[str, int], seconds: float) -> str:
    """The summary as aligned lines.

    Reads ``packets``, ``packets.tcp``, ``connections``, ``streams``, ``bytes.input``, ``bytes.written``,
    ``gaps``, ``bytes.gaps``, ``conflicts`` and all ``unprocessed.REASON``; one that is not there is 0. ``found.files``
    and ``found.bytes`` have a line if there are any.
    """

    def n(name: str) -> str:
        return f"{counters.get(name, 0):,}"

    rate = counters.get("bytes.input", 0) / seconds if seconds > 0 else 0.0
    rows = [
        ("packets", f"{n('packets')}, {n('packets.tcp')} of them TCP"),
        ("connections", n("connections")),
        ("streams", f"{n('streams')}, {n('bytes.written')} bytes written"),
        *([("found", f"{n('found.files')} files, {n('found.bytes')} bytes")] if counters.get("found.files") else []),
        ("gaps", f"{n('gaps')}, {n('bytes.gaps')} bytes missing"),
        ("conflicts", n("conflicts")),
        ("unprocessed", _unprocessed(counters)),
        ("time", f"{seconds:.2f} s, {_bytes(rate)}/s"),
    ]
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {text}\n" for name, text in rows)


def _unprocessed(counters: Mapping[str, int]) -> str:
    """Packets set aside: their number, then the reasons, the most frequent first."""
    reasons = {
        name.removeprefix(UNPROCESSED): count
        for name, count in counters.items()
        if count and name.startswith(UNPROCESSED)
    }
    total = f"{sum(reasons.values()):,}"
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    parts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in ordered)
    return f"{total} packets: {parts}" if parts else total


def _bytes(number: float) -> str:
    """A size for people, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if number < 999.5:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.2f} GB"


def hold_descriptors() -> None:
    """Where standard output or error is closed: no file of ours gets its number, since a library may write there."""
    for descriptor in (1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)


def is_terminal() -> bool:
    """Whether a bar may move on standard error."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _say(kind: str, style: str, message: str, hint: str | None) -> None:
    lines = [(kind, style, message)]
    if hint is not None:
        lines.append(("hint", "bold cyan", hint))
    if is_terminal() and not os.environ.get("NO_COLOR"):
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True, highlight=False, soft_wrap=True)
        for word, colour, text in lines:
            with contextlib.suppress(OSError):
                console.print(Text.assemble((word, colour), ": ", printable(text)))
    else:
        _write("".join(f"{word}: {printable(text)}\n" for word, _, text in lines))


def _write(text: str) -> None:
    """One write, so that lines of several processes do not mix; a closed stderr is no reason to fail."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


class Progress:
    """Bytes, rate and time left of one run, as a bar on a terminal; else nothing at all.

    ``with Progress(total_bytes, quiet=config.quiet) as progress: … progress.moved_to(bytes_so_far)``.
    A total of None is not known: bytes and rate are shown, and the time so far.
    It starts no thread (processes are forked while it shows) and draws at most ten times a second.
    """

    def __init__(self, total: int | None, *, quiet: bool = False, bar: bool = True) -> None:
        """``bar`` off: lines only."""
        self._total = total
        self._quiet = quiet
        self._shown = bar and not quiet and is_terminal()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._next = 0.0

    def __enter__(self) -> Self:
        if self._shown:
            self._bar = _bar(self._total is not None)
            self._task = self._bar.add_task("reading", total=self._total)
            self._bar.start()
        return self

    def say(self, text: str) -> None:
        """A line for people, unless they want none."""
        if not self._quiet:
            say(text)

    def moved_to(self, done: int) -> None:
        """``done`` bytes of the total are behind us."""
        if self._bar is None or self._task is None:
            return
        now = time.monotonic()
        if now >= self._next:
            self._next = now + REFRESH_SECONDS
            with contextlib.suppress(OSError):
                self._bar.update(self._task, completed=done, refresh=True)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.stop()
            self._bar = None


def _bar(total_known: bool) -> RichProgress:
    from rich import progress
    from rich.console import Console

    if total_known:
        columns = [progress.DownloadColumn(), progress.TransferSpeedColumn(), progress.TimeRemainingColumn()]
    else:
        columns = [progress.FileSizeColumn(), progress.TransferSpeedColumn(), progress.TimeElapsedColumn()]
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        *columns,
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
