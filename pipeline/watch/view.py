"""How a live run is doing, for a person: a panel on a terminal, else a line now and then.

Knows: rows and columns of a terminal, numbers as people read them, when it is time to say something.
Does not know: what the numbers come from (status.py), processes, signals.
Invariant: no thread; what is shown fits the terminal, has no character that does anything there, and is dropped
when it cannot be written.

On a terminal the panel is drawn anew each second, in place. Elsewhere (a file, a journal) one line comes every
``interval`` seconds. ``ask`` asks for that line at once, on a terminal too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from pipeline import console
from pipeline.watch.status import EVERY, Amount, Status
from pipeline.writer.names import endpoints

if TYPE_CHECKING:
    from rich.live import Live as RichLive

_BAR: Final = 20
_FEW: Final = 6
"""Fewer lines than this are no panel: the line is shown instead."""


class View:
    """What a person sees of ``status`` while it lasts. ``title`` says what is captured."""

    def __init__(self, title: str, interval: float, *, quiet: bool, begun: float | None = None) -> None:
        """``quiet``: only what was asked for."""
        self.status = Status(time.monotonic() if begun is None else begun)
        self._title = console.printable(title)
        self._interval = interval
        self._quiet = quiet
        self._moving = not quiet and console.is_terminal()
        self._next = self.status.begun + (EVERY if self._moving else interval)
        self._asked = False
        self._live: RichLive | None = None

    def hear(self, stage: str, facts: Mapping[str, Any]) -> None:
        """A stage has said how it is doing."""
        self.status = self.status.after(stage, facts)

    def ask(self) -> None:
        """The line is wanted as soon as possible. May be called by a signal's handler."""
        self._asked = True

    def tick(self) -> None:
        """Show what is due."""
        now = time.monotonic()
        if self._asked:
            self._asked = False
            self.clear()
            console.say(f"status: {line(self.status)}")
        if now < self._next or self._quiet:
            return
        self._next = now + (EVERY if self._moving else self._interval)
        if self._moving:
            self._draw()
        else:
            console.say(f"status: {line(self.status)}")

    def clear(self) -> None:
        """Take the panel away, so that something else can be said; it comes back when it is due."""
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()
            self._live = None

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.text import Text

        with suppress(OSError):
            if self._live is None:
                terminal = Console(stderr=True, highlight=False)
                self._live = RichLive(console=terminal, auto_refresh=False, transient=True, redirect_stdout=False,
                                      redirect_stderr=False, vertical_overflow="crop")  # fmt: skip
                self._live.start()
            width, height = self._live.console.size
            lines = panel(self._title, self.status, width, height - 1)
            text = Text("\n".join(lines), no_wrap=True, overflow="crop")
            if self.status.lost.rate:
                text.highlight_regex(r"(?m)^dropped.*$", "bold red")
            self._live.update(text, refresh=True)


def line(status: Status) -> str:
    """Everything that counts, on one line."""
    lost, (used, limit) = status.lost, status.spool
    parts = [
        duration(status.seconds),
        f"{_each(status.packets)} packets",
        _each(status.bytes, size),
        f"dropped {_each(lost)}" + (f": {_where(status)}" if lost.total else ""),
        f"{status.streams_open:,} streams open, {status.streams_finished.total:,} finished",
        f"written {_each(status.written, size)}",
        f"spool {_share(used, limit)}",
        "queues " + " ".join(map(str, status.queued)),
    ]
    if status.write_errors.total:
        parts.append(f"{status.write_errors.total:,} WRITES FAILED")
    if status.lost_with_worker.total:
        parts.append(f"{status.lost_with_worker.total:,} packets LOST WITH A WORKER")
    return ", ".join(parts)


def panel(title: str, status: Status, width: int, height: int) -> list[str]:
    """The same as lines, none of them longer than ``width``, the most important first, ``height`` at most."""
    lines = [line(status)] if height < _FEW else list(_panel_lines(title, status))
    return [each[:width] for each in lines[: max(height, 1)]]


def _panel_lines(title: str, status: Status) -> Iterator[str]:
    used, limit = status.spool
    yield f"{title}  {duration(status.seconds)}"
    yield _row("packets", status.packets, count)
    yield _row("bytes", status.bytes, size)
    yield _row("dropped", status.lost, count) + _where(status)
    yield f"{'streams':<9}{status.streams_open:>14,} open  {status.streams_finished.total:>14,} finished"
    errors = status.write_errors.total
    yield _row("written", status.written, size) + (f"{errors:,} WRITES FAILED" if errors else "")
    yield f"{'spool':<9}{_share(used, limit):>14} of {size(limit)}  {_bar(used, limit)}"
    if lost := status.lost_with_worker.total:
        yield f"{'lost':<9}{lost:>14,} PACKETS WITH A WORKER THAT DIED"
    workers = status.workers
    total = sum(worker.rate for worker in workers) or 1.0
    if workers:
        yield f"{'workers':<9}{'packets/s':>14}{'share':>8}{'queue':>8}"
    for number, (worker, queued) in enumerate(zip(workers, [*status.queued, *[0] * len(workers)], strict=False)):
        yield f"{number:>7}  {count(worker.rate):>14}{_share(worker.rate, total):>8}{queued:>8}"
    top = status.top
    if top:
        yield "most bytes in the last second"
    for talker in top:
        yield f"{size(talker.bytes):>12}/s  {connection(talker.key)}"


def connection(key: tuple[int, ...]) -> str:
    """Both ends of a connection, and the networks that it is on."""
    ends = endpoints(list(key), 0)
    a, b = (f"[{host}]" if ":" in host else host for host in (ends.src, ends.dst))
    where = "".join(f" --{network}" for network in ends.networks)
    return console.printable(f"{a}:{ends.sport} {b}:{ends.dport}{where}")


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def count(number: float) -> str:
    """A count for people."""
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}" if number < 100 else f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:,.2f} TB"


def _each(amount: Amount, spell: Callable[[float], str] = count) -> str:
    return f"{spell(amount.rate)}/s ({spell(amount.total)})"


def _row(name: str, amount: Amount, spell: Callable[[float], str]) -> str:
    return f"{name:<9}{spell(amount.rate):>12}/s  {spell(amount.total):>14}  "


def _where(status: Status) -> str:
    return " ".join(f"{where} {amount.total:,}" for where, amount in status.dropped.items() if amount.total)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _bar(part: float, whole: float) -> str:
    """Plain characters: not every terminal has others."""
    full = round(_BAR * min(part / whole, 1.0)) if whole else 0
    return f"[{'#' * full}{'.' * (_BAR - full)}]"
