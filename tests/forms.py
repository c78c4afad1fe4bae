"""One capture in many forms, how each is given to flowshard, and outputs without the names of their sources.

Knows: how a capture is cut into files, which parts of a report say where bytes came from.
Does not know: what a run should find.
Invariant: every form holds the same packets; what is started here is over when its context is left.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import pytest

from tests.build import LINK_ETHERNET, Packet, pcapng_blocks, write_pcap, write_pcapng
from tests.runs import COMMAND, REPORT, Finished, environment

_SOURCES = (
    rb"<source>.*?</source>\n?",
    rb"<tcpflow:sources>.*?</tcpflow:sources>\n?",
    rb"<tcpflow:image [^>]*/>",
    rb" image='[^']*'",
)
_INPUT_BYTES = rb"<tcpflow:counter name='bytes.input' [^>]*/>\n"
"""File headers count: pieces have more of them."""
_RUNS = rb"<byte_run file_offset='(\d+)' len='\d+'/>(?:<byte_run file_offset='\d+' len='\d+'/>)+"
"""Of which none is a hole: those stand in the report as runs with ``fill``, so nothing is missing between these."""
_EMPTIED = rb"></tcpflow:(?:tcpflow|part_of)>"


def without_sources(output: Mapping[str, bytes], *, places: bool = True) -> dict[str, bytes]:
    """An output without the names of inputs and, unless ``places``, where in them bytes lie."""
    report = output[REPORT]
    for pattern in _SOURCES if places else (*_SOURCES, rb" img_offset='\d+'", _INPUT_BYTES):
        report = re.sub(pattern, b"", report, flags=re.DOTALL)
    if not places:
        report = re.sub(_RUNS, _joined, report)
    return {**output, REPORT: re.sub(_EMPTIED, b"/>", report)}


def _joined(runs: re.Match[bytes]) -> bytes:
    """Neighbouring runs of bytes as one: a run ends where a stream goes on in another file."""
    lengths = re.findall(rb" len='(\d+)'", runs[0])
    return b"<byte_run file_offset='%b' len='%d'/>" % (runs[1], sum(map(int, lengths)))


def write_pieces(folder: Path, packets: Sequence[Packet], each: int) -> list[Path]:
    """The packets in files of ``each``, pcapng and (where the link type allows) pcap in turns; in their order."""
    folder.mkdir()
    made = []
    for number, begin in enumerate(range(0, len(packets), each)):
        some = packets[begin : begin + each]
        if number % 2 and {packet.link for packet in some} == {LINK_ETHERNET}:
            made.append(write_pcap(folder / f"x{number}.pcap", some, nanoseconds=True))
        else:
            made.append(write_pcapng(folder / f"x{number}.pcapng", *pcapng_blocks(some)))
    return made


def shuffled(paths: Sequence[Path], seed: int) -> list[Path]:
    """The paths in another order."""
    return random.Random(seed).sample(paths, len(paths))


@contextlib.contextmanager
def started(
    *argv: object, stdin: int | IO[bytes] = subprocess.PIPE, code: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A run that goes on meanwhile. Nothing of it is left afterwards. ``code``: as in tests.runs."""
    command = COMMAND if code is None else [COMMAND[0], "-c", code]
    process = subprocess.Popen(
        [*command, *(str(word) for word in argv)], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(), start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def ended(process: subprocess.Popen[bytes], timeout: float = 20) -> Finished:
    """How it ended; its standard input, if it is a pipe, is left as it is."""
    stdin, process.stdin = process.stdin, None
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.stdin = stdin
    return Finished(process.returncode, out.decode(), err.decode())


def run_fed(data: bytes, *argv: object) -> Finished:
    """A run with ``data`` piped into its standard input."""
    with started(*argv) as process:
        out, err = process.communicate(data, timeout=30)
    return Finished(process.returncode, out.decode(), err.decode())


def run_from(path: Path, *argv: object) -> Finished:
    """A run whose standard input is a file."""
    with path.open("rb") as file, started(*argv, stdin=file) as process:
        return ended(process)


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Does ``work`` in a thread meanwhile; what it raises is raised when the context is left."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


@contextlib.contextmanager
def fifo(path: Path, data: bytes) -> Iterator[Path]:
    """A named pipe that somebody writes ``data`` into."""
    os.mkfifo(path)
    with beside(lambda: path.write_bytes(data)):
        yield path


def crossed(some: Iterable[tuple[object, ...]], *ways: Iterable[object]) -> list[object]:
    """All combinations of ``ways``; those that are not among ``some`` are slow tests."""
    fast = set(some)
    every = list(itertools.product(*ways))
    assert fast <= set(every)
    return [pytest.param(*one, marks=() if one in fast else pytest.mark.slow) for one in every]
