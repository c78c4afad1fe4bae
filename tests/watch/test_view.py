"""What a person sees of a live run: a panel that fits, or a line now and then."""

from __future__ import annotations

import os
import pty
import re
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline.watch import view as module
from pipeline.watch.status import Status
from pipeline.watch.view import View, connection, line, panel, size
from tests.watch.stages import BEGUN, SIX, busy, capture

LINE = (
    "0:00:10, 1,000/s (10,000) packets, 500 kB/s (5 MB), dropped 31/s (31): kernel 1 spool 30, "
    "31 streams open, 110 finished, written 100 kB/s (1 MB), spool 25 %, queues 2 5, 1 WRITES FAILED"
)
PANEL = """\
eth0  0:00:10
packets         1,000/s          10,000
bytes          500 kB/s            5 MB
dropped            31/s              31  kernel 1 spool 30
streams              31 open             110 finished
written        100 kB/s            1 MB  1 WRITES FAILED
spool              25 % of 1.07 GB  [#####...............]
workers       packets/s   share   queue
      0             300    75 %       2
      1             100    25 %       5
most bytes in the last second
      2.5 MB/s  [2001:db8::1]:443 [2001:db8::2]:50000 --7
      1.5 kB/s  10.0.0.1:40000 10.0.0.2:80"""


def test_the_line() -> None:
    """One line says all that counts."""
    assert line(busy()) == LINE


def test_the_panel() -> None:
    """A panel has the same, with every worker's share and the connections with the most bytes."""
    assert "\n".join(each.rstrip() for each in panel("eth0", busy(), 200, 50)) == PANEL


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 8), (20, 6), (10, 3), (1, 1), (200, 0)])
def test_a_panel_fits_the_terminal(width: int, height: int) -> None:
    """Nothing wraps and nothing scrolls, however small the terminal is."""
    lines = panel("eth0", busy(), width, height)
    assert len(lines) <= max(height, 1)
    assert all(len(each) <= width for each in lines)


def test_a_run_that_has_just_begun() -> None:
    """Nothing is divided by nothing."""
    assert "0/s (0) packets" in line(Status(BEGUN))
    assert panel("eth0", Status(BEGUN), 80, 24)[0] == "eth0  0:00:00"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1536, "1.54 kB"), (999_499, "999 kB"), (999_500, "1 MB"),
     (4e12, "4.00 TB")],
)  # fmt: skip
def test_sizes(number: float, text: str) -> None:
    """Sizes have three figures."""
    assert size(number) == text


def test_connections() -> None:
    """Both ends and the networks that it is on."""
    assert connection(tuple(SIX)) == "[2001:db8::1]:443 [2001:db8::2]:50000 --7"


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = BEGUN
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def ticks(view: View, clock: Clock, seconds: int) -> None:
    """Ten looks a second."""
    for _ in range(10 * seconds):
        clock.now += 0.1
        view.tick()


def test_a_line_each_interval(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no terminal is, one line comes in every interval."""
    view = View("eth0", 10.0, quiet=False)
    view.hear("capture", capture(BEGUN + 1, packets=5))
    ticks(view, clock, 35)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert all(each.startswith("status: 0:00:01, 0/s (5) packets, ") for each in said)


def test_a_line_when_it_is_asked_for(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked, a run says at once how it is doing, quiet or not."""
    view = View("eth0", 10.0, quiet=True)
    ticks(view, clock, 20)
    assert capsys.readouterr().err == ""
    view.ask()
    ticks(view, clock, 20)
    assert capsys.readouterr().err.count("status: ") == 1


def shown(text: str) -> Iterator[str]:
    """What a terminal was sent, without colours and movements."""
    yield from re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()


def everything(terminal: int) -> bytes:
    """What was written to the other end of a pseudo-terminal, which is closed by now."""
    parts = []
    with suppress(OSError):  # EIO: that was all
        while part := os.read(terminal, 4096):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts)


@pytest.mark.parametrize("colour", [True, False])
def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch, clock: Clock, colour: bool) -> None:
    """The panel moves on a terminal, goes away for other words and comes back; NO_COLOR is honoured, and what an
    interface is called does nothing to the terminal."""
    reading, writing = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    with open(writing, "w", encoding="utf-8", buffering=1) as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        view = View("eth0\x1b[31m", 10.0, quiet=False)
        view.status = busy()
        ticks(view, clock, 2)
        view.clear()
        view.ask()
        ticks(view, clock, 2)
        view.clear()
    text = everything(reading).decode()
    lines = [each.strip() for each in shown(text)]
    assert lines.count("eth0\\x1b[31m  0:00:10") >= 2
    assert f"status: {LINE}" in "".join(shown(text))
    assert "\x1b[31m" not in text.replace("\x1b[1;31m", "")
    assert ("\x1b[1;31m" in text) is colour
    assert time.monotonic() == clock.now
