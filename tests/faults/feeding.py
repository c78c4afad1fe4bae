"""Runs on standard input that get more and more packets, for as long as a test wants.

Knows: how they are started, what they were fed. Does not know: what is done to them.
Invariant: whatever becomes of a run that was started here, nothing of it is left behind.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tests.build import Conversation, Packet, pcap_bytes
from tests.faults.killing import alive, children, in_session
from tests.faults.test_dies_while_it_cannot_be_repeated import check_claims, started, streams
from tests.live.network import Network, capturing
from tests.runs import MARKER, counters, report_of

PATIENCE = 20.0  # seconds
SIZE = 100
"""Payload of a packet, in bytes."""
PORTS = 40_000
"""The lowest of the clients' ports."""
HEIRS = re.compile(r"hint: (\w+-\d+) takes its place")


class Talks:
    """Connections that go on and on, all sides in turn."""

    def __init__(self, connections: int = 16) -> None:
        self._rng = random.Random(1)
        self._all = [Conversation(client=("10.0.0.1", PORTS + n), acknowledge=False) for n in range(connections)]
        self.sent = [bytearray() for _ in self._all]
        """By each client."""
        self._begun = False

    def more(self, rounds: int = 40) -> list[Packet]:
        """Some of each."""
        made = [] if self._begun else [packet for talk in self._all for packet in talk.open()]
        self._begun = True
        for _ in range(rounds):
            for talk, sent in zip(self._all, self.sent, strict=True):
                sent += (data := self._rng.randbytes(SIZE))
                made += talk.say(0, data)
        return made


class Fed:
    """A run on standard input that gets more and more packets; what it got is in a file."""

    def __init__(self, process: subprocess.Popen[str], pipe: BinaryIO, kept: Path) -> None:
        self.process = process
        self.kept = kept
        self.packets = 0
        self._pipe = pipe
        self.talks = Talks()
        self._put(pcap_bytes([]))

    def feed(self) -> None:
        """Some more. BrokenPipeError: nobody takes them."""
        packets = self.talks.more()
        self.packets += len(packets)
        self._put(pcap_bytes(packets)[24:])

    def feed_until(self, reached: Callable[[], bool]) -> None:
        """Some more, again and again."""
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert time.monotonic() < deadline
            self.feed()
            time.sleep(0.01)

    def _put(self, data: bytes) -> None:
        with self.kept.open("ab") as file:
            file.write(data)
        self._pipe.write(data)
        self._pipe.flush()

    def end(self) -> str:
        """The input is over; what was said."""
        self._pipe.close()
        _, err = self.process.communicate(timeout=PATIENCE)
        assert in_session(self.process.pid) == []
        return err


@contextmanager
def fed(tmp_path: Path, temp: Path, fault: str, *more: str) -> Iterator[Fed]:
    reading, writing = os.pipe()
    with started(tmp_path / "out", temp, reading, fault, *more) as process, os.fdopen(writing, "wb") as pipe:
        os.close(reading)
        try:
            yield Fed(process, pipe, tmp_path / "fed.pcap")
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def later(out: Path) -> Callable[[], bool]:
    """Whether a connection goes on under another name there."""
    return lambda: out.is_dir() and any(name.endswith("c0001") for name in os.listdir(out))


def live_without(network: Network, out: Path, name: str, child: int) -> dict[str, int]:
    """A live run whose process of that name is killed, and that goes on with another one until it is interrupted.
    The counters of its report, which names every file."""
    talks = Talks()
    with capturing(network, out, "-i", "a1", "-md5", "--workers", "2", "--writers", "2") as run:
        network.send(talks.more(), "a0", folder=out.parent)
        wait_for(lambda: sum(bool(each.stat().st_size) for each in out.glob("10.*")) == 16)  # what has bytes is noted
        os.kill(run.children[child], signal.SIGKILL)
        run.until("takes its place")
        network.send(talks.more(), "a0", folder=out.parent)
        wait_for(later(out))
        status, err = run.stops(signal.SIGINT)
    assert status == 70, err
    assert f"error: {name} died\n" in err, err
    named, _ = check_claims(out)
    assert named == streams(out)
    told = counters(report_of(out))
    assert told["received"] == told["packets"] + sum(n for name, n in told.items() if name.startswith("dropped."))
    return told


def check_all(run: Fed, out: Path) -> dict[str, int]:
    """Every file is in the report, and is a stretch of what its client sent; every payload byte is in one, or counted.
    The counters."""
    named, _ = check_claims(out, run.kept)
    assert named == streams(out)
    assert MARKER not in os.listdir(out)
    for name in named:
        assert (out / name).read_bytes() in run.talks.sent[int(name.split("-")[0].split(".")[4]) - PORTS]
    told = counters(report_of(out))
    assert told["packets"] == run.packets == told["packets.tcp"] + told["lost_with_worker.packets"]
    assert told["streams"] == len(named)
    assert told["bytes.written"] == sum((out / name).stat().st_size for name in named)
    return told


def kill_at_random(seed: int, stages: tuple[str, ...], tmp_path: Path, temp: Path) -> None:
    """Up to four processes of a run, at random moments of it, whoever they are by then."""
    rng, out = random.Random(seed), tmp_path / "out"
    killed = set()
    with fed(tmp_path, temp, "") as run:
        run.feed_until(lambda: len(children(run.process.pid)) == 6)
        for _ in range(rng.randrange(1, 5)):
            for _ in range(rng.randrange(20)):
                run.feed()
            time.sleep(rng.uniform(0, 0.05))
            pid = rng.choice(of_stages(run.process.pid, stages))
            killed.add(called(pid).partition("-")[0])
            os.kill(pid, signal.SIGKILL)
        run.feed()
        err = run.end()
        assert run.process.returncode == 70, err
    told = check_all(run, out)
    if killed == {"writer"}:
        assert told["bytes.payload"] == told["bytes.written"] + told["lost_with_writer.bytes"]
    assert list(temp.iterdir()) == []


def of_stages(coordinator: int, stages: tuple[str, ...]) -> list[int]:
    """The processes of a run whose names begin so, one or more: those that are about to come are waited for."""
    found: list[int] = []

    def there() -> bool:
        found[:] = [pid for pid in children(coordinator) if alive(pid) and called(pid).startswith(stages)]
        return bool(found)

    wait_for(there)
    return found


def called(pid: int) -> str:
    """What a process calls itself; "": it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
