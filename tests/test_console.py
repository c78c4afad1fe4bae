"""Messages, summary and progress: what a person reads on standard error."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import console

ROOT = Path(__file__).resolve().parent.parent


@given(st.text())
def test_printable_text_is_one_line_that_cannot_move_a_cursor(text: str) -> None:
    """Whatever a name holds, what is shown prints, and nothing that printed before is changed."""
    shown = console.printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é", "plain é"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J", "\\x9b2J"),
        ("x\u202egnp.exe", "x\\u202egnp.exe"),
        ("bad\udcff", "bad\\udcff"),
        ("\x00\x7f", "\\x00\\x7f"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, expected: str) -> None:
    """Controls, direction marks and undecodable bytes become their escapes."""
    assert expected == console.printable(text)


def test_messages_go_to_standard_error_without_colour(capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal a message is plain: one line, and one for the hint."""
    console.error("a\x1b.pcap: no such file", "look again")
    console.warning("odd")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: a\\x1b.pcap: no such file\nhint: look again\nwarning: odd\n"


def test_a_closed_standard_error_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be shown is dropped; the run's work and status stand."""
    monkeypatch.setattr(sys, "stderr", None)
    console.error("x", "y")
    console.summary({}, 1.0)
    with console.Progress(10) as progress:
        progress.moved_to(5)


def test_summary_shows_every_number() -> None:
    """The summary has packets, connections, streams, bytes, gaps, conflicts, reasons, seconds, rate."""
    counters = {
        "packets": 1_234_567,
        "packets.tcp": 1_234_000,
        "connections": 33,
        "streams": 61,
        "bytes.input": 3_000_000_000,
        "bytes.written": 2_999_999_999,
        "gaps": 2,
        "bytes.gaps": 1_460,
        "conflicts": 1,
        "unprocessed.not_ip": 7,
        "unprocessed.bad_tcp_offset": 60,
        "unprocessed.fragment": 500,
        "unprocessed.tunnel": 0,
    }
    assert console.summary_text(counters, 1.5) == (
        "packets      1,234,567, 1,234,000 of them TCP\n"
        "connections  33\n"
        "streams      61, 2,999,999,999 bytes written\n"
        "gaps         2, 1,460 bytes missing\n"
        "conflicts    1\n"
        "unprocessed  567 packets: 500 fragment, 60 bad tcp offset, 7 not ip\n"
        "time         1.50 s, 2.00 GB/s\n"
    )


def test_summary_shows_what_was_found() -> None:
    """If anything was."""
    assert "found" not in console.summary_text({"found.files": 0}, 1.0)
    assert "found        1,200 files, 3,400 bytes\n" in console.summary_text(
        {"found.files": 1200, "found.bytes": 3400}, 1.0
    )


@pytest.mark.parametrize(
    ("size", "seconds", "expected"),
    [
        (0, 0.0, "0.00 s, 0 B/s"),
        (999, 1.0, "1.00 s, 999 B/s"),
        (999_499, 1.0, "1.00 s, 999 kB/s"),
        (999_600, 1.0, "1.00 s, 1 MB/s"),
        (5_000_000_000_000, 10.0, "10.00 s, 500.00 GB/s"),
    ],
)
def test_rates_are_for_people(size: int, seconds: float, expected: str) -> None:
    """A rate has a unit that fits, and a run of no time divides nothing by zero."""
    assert console.summary_text({"bytes.input": size}, seconds).splitlines()[-1] == f"time         {expected}"


def test_an_empty_run_has_a_summary_of_zeros() -> None:
    """What was not counted is 0, not absent."""
    lines = console.summary_text({}, 0.0).splitlines()
    assert [line.split()[0] for line in lines] == [
        "packets", "connections", "streams", "gaps", "conflicts", "unprocessed", "time",
    ]  # fmt: skip
    assert lines[5] == "unprocessed  0"


SHOW = """
import sys, time
from pipeline import console
total = None if "unknown" in sys.argv else 1000
with console.Progress(total, quiet="quiet" in sys.argv) as progress:
    for done in (0, 250, 500):
        progress.moved_to(done)
        time.sleep(0.12)
console.error("no [bold]markup[/bold] \\x1b here", "hint")
sys.stdout.write("rich" if "rich" in sys.modules else "plain")
"""


def _show(*words: str, terminal: bool, **environment: str) -> tuple[str, str]:
    """Runs SHOW; returns what came on standard output and on standard error."""
    command = [sys.executable, "-c", SHOW, *words]
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    env = {**inherited, "TERM": "xterm", **environment}
    if not terminal:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        return done.stdout, done.stderr
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=slave, text=True, check=True)
        return done.stdout, os.read(master, 1 << 16).decode()
    finally:
        os.close(master)
        os.close(slave)


def test_away_from_a_terminal_there_is_no_bar_and_rich_is_not_imported() -> None:
    """A log has the messages only, and a small run does not pay for rich."""
    assert _show(terminal=False) == ("plain", "error: no [bold]markup[/bold] \\x1b here\nhint: hint\n")


def test_a_terminal_gets_a_bar_with_bytes_rate_and_time_left() -> None:
    """On a terminal the bar shows half of the bytes, and colour marks the word before a message."""
    out, err = _show(terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert out == "rich"
    assert re.search(r"0\.5/1\.0 kB [0-9.]+ k?B(ytes)?/s \d:\d\d:\d\d", plain.replace("bytes/s", "B/s"))
    assert "error: no [bold]markup[/bold] \\x1b here" in plain
    assert "\x1b[1;31merror" in err


def test_a_pipe_gets_bytes_and_rate() -> None:
    """How much is still to come is not known: what has come is shown, its rate, and the time so far."""
    out, err = _show("unknown", terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert out == "rich"
    assert re.search(r"reading \S+ 500 bytes [0-9.]+ k?B(ytes)?/s 0:00:0\d", plain.replace("bytes/s", "B/s"))
    assert "0.5/" not in plain


def test_quiet_and_no_color_are_honoured_on_a_terminal() -> None:
    """With --quiet no bar; with NO_COLOR no escape sequence at all."""
    out, err = _show("quiet", terminal=True, NO_COLOR="1")
    assert out == "plain"
    assert err == "error: no [bold]markup[/bold] \\x1b here\r\nhint: hint\r\n"


def test_a_dumb_terminal_gets_plain_text() -> None:
    """A terminal that cannot move its cursor gets no bar."""
    assert _show(terminal=True, TERM="dumb")[0] == "plain"
