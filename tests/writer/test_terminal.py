"""Standard output: written whole, and errors that end a run in the right way."""

from __future__ import annotations

import os
import pty
import socket
import sys
import threading
from pathlib import Path

import pytest

from pipeline.errors import OutputError, PipeClosed
from pipeline.writer.terminal import StandardOutput, coloured


def test_what_was_put_is_written_in_order(tmp_path: Path) -> None:
    """Small and large pieces, in order and whole."""
    pieces = [b"%d," % i for i in range(1000)] + [b"x" * 3_000_000, b"y"]
    with (tmp_path / "out").open("wb") as file:
        output = StandardOutput(file.fileno())
        for piece in pieces:
            output.put(piece)
        output.flush()
    assert (tmp_path / "out").read_bytes() == b"".join(pieces)


def test_a_pipe_that_does_not_wait_is_waited_for() -> None:
    """A descriptor that somebody has made non-blocking loses nothing."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    found: list[bytes] = []

    def read() -> None:
        while block := os.read(reader, 65536):
            found.append(block)

    thread = threading.Thread(target=read)
    output = StandardOutput(writer)
    output.put(b"z" * 900_000)
    thread.start()
    output.flush()
    os.close(writer)
    thread.join(10)
    os.close(reader)
    assert sum(map(len, found)) == 900_000


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_that_has_gone(kind: str) -> None:
    """A closed pipe or connection is not an error of output: the run is just over."""
    if kind == "pipe":
        reader, writer = os.pipe()
    else:
        reader, writer = (end.detach() for end in socket.socketpair())
    os.close(reader)
    output = StandardOutput(writer)
    output.put(b"text")
    with pytest.raises(PipeClosed):
        output.flush()
    os.close(writer)


def test_an_output_that_fails() -> None:
    """A full disk behind standard output is told, with what the system says."""
    with Path("/dev/full").open("wb", buffering=0) as file:
        output = StandardOutput(file.fileno())
        output.put(b"text")
        with pytest.raises(OutputError, match="cannot write to standard output: No space left"):
            output.flush()


def test_an_output_that_somebody_hears_of() -> None:
    """What was to be printed from there on is counted, once it failed nothing more is tried, and it is told once."""
    told: list[OutputError] = []
    with Path("/dev/full").open("wb", buffering=0) as file:
        output = StandardOutput(file.fileno(), told.append)
        for text in (b"text", b"and more"):
            output.put(text)
            output.flush()
    assert (output.unprinted, len(told)) == (12, 1)


def test_a_closed_standard_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptor 1 may be a file of ours then: nothing must be printed into it."""
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="standard output: it is closed"):
        StandardOutput()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm"}, True),
        ({}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
    ],
)
def test_colours(environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours on a terminal only, not on a dumb one, and not with NO_COLOR."""
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    leader, follower = pty.openpty()
    reader, writer = os.pipe()
    assert coloured(follower) is expected
    assert not coloured(writer)
    for descriptor in (leader, follower, reader, writer):
        os.close(descriptor)
