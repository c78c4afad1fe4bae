"""A network of its own for a test: namespaces, veth pairs, frames sent into them.

Knows: unshare, nsenter, ip. Does not know: flowshard's options.
Invariant: the namespaces are gone with the process that holds them, and that ends with the network or the test.

As root it is a network namespace; else a user namespace around it, where the system allows that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.build import Packet, write_pcap
from tests.runs import COMMAND, environment

PATIENCE = 20.0  # seconds
MTU = 9000


class Network:
    """Processes started in it see its interfaces only: ``lo``, and pairs such as ``a0`` to ``a1``."""

    def __init__(self, pairs: Iterable[str] = ("a",)) -> None:
        """Skips the test where namespaces cannot be made."""
        needed = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
        if needed:
            pytest.skip(f"needs {', '.join(needed)}")
        root = os.geteuid() == 0
        self._holder = subprocess.Popen(
            ["unshare", *([] if root else ["-Ur"]), "-n", "sh", "-c", "echo; exec cat"],  # until its input is closed
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._holder.stdout is not None
        if not self._holder.stdout.readline():
            self.close()
            pytest.skip("network namespaces cannot be made here")
        inside = ["-n"] if root else ["-U", "--preserve-credentials", "-n"]
        self._enter = ["nsenter", "-t", str(self._holder.pid), *inside, "--"]
        self.do("ip link set lo up")
        for pair in pairs:
            made = self.start(["ip", *f"link add {pair}0 type veth peer name {pair}1".split()])
            if made.wait(PATIENCE):
                self.close()
                pytest.skip("this kernel has no veth interfaces")
            for end in (f"{pair}0", f"{pair}1"):  # nothing of the kernel's own is to pass there
                self.write(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6", "1")
                self.do(f"ip link set {end} mtu {MTU} arp off up")

    def start(self, command: Sequence[str], **options: object) -> subprocess.Popen[str]:
        """Start a command in it."""
        settings = {"env": environment(), "text": True, "stdin": subprocess.DEVNULL} | options
        return subprocess.Popen([*self._enter, *command], **settings)  # type: ignore[call-overload]

    def do(self, words: str) -> None:
        """Run a command in it, which must succeed."""
        process = self.start(words.split())
        assert process.wait(PATIENCE) == 0, words

    def write(self, path: str, text: str) -> None:
        """Write into a file of /proc that differs between namespaces."""
        process = self.start(["sh", "-c", f"test ! -e {path} || echo {text} > {path}"])
        assert process.wait(PATIENCE) == 0, path

    def send(self, packets: Sequence[Packet], interface: str = "a0", *, rate: int = 20_000, folder: Path) -> None:
        """Send frames out of an interface, so many a second; returns when the last one was sent."""
        capture = write_pcap(folder / f"sent-{interface}.pcap", packets)
        assert self.sender(capture, rate, interface).wait(PATIENCE) == 0

    def sender(self, capture: Path, rate: int, interface: str = "a0") -> subprocess.Popen[str]:
        """The same from a file, while the test goes on."""
        return self.start([sys.executable, "-m", "tests.live.send", interface, str(capture), str(rate)])

    def command(self, *words: str) -> list[str]:
        """A flowshard with these words."""
        return [*COMMAND, *words]

    def close(self) -> None:
        """End the process that holds it."""
        self._holder.kill()
        self._holder.communicate()


class Capturing:
    """A flowshard that captures in a network."""

    def __init__(self, network: Network, output: Path, *words: object, env: Mapping[str, str] | None = None) -> None:
        user = [] if "--user" in words else ["--user", "root"]  # which it is there, in a private folder of root's
        self.process = network.start(
            network.command(*map(str, words), *user, "-o", str(output)), env=environment(**(env or {})),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.said: list[str] = []
        self.children: list[int] = []
        """Its processes, once it captures: capture, workers, writers."""

    @property
    def pid(self) -> int:
        """Of the coordinator: nsenter has become it."""
        return self.process.pid

    def until(self, words: str) -> None:
        """Until it says so on standard error."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
                named = [(int(pid), Path(f"/proc/{pid}/comm").read_text().strip()) for pid in children]
                self.children = sorted(pid for pid, name in named if name != "zygote")
                return
        pytest.fail(f"it never said '{words}': {''.join(self.said)}")

    def ends(self) -> tuple[int, str]:
        """Wait for the end: exit status, and what it said."""
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, "".join(self.said) + err

    def stops(self, number: int) -> tuple[int, str]:
        """End it with a signal."""
        self.process.send_signal(number)
        return self.ends()


@contextmanager
def capturing(
    network: Network, output: Path, *words: object, env: Mapping[str, str] | None = None
) -> Iterator[Capturing]:
    """A flowshard that has begun to capture."""
    run = Capturing(network, output, *words, env=env)
    try:
        run.until("capturing on")
        yield run
    finally:
        if run.process.poll() is None:
            os.killpg(run.pid, 9)
        run.process.communicate()


def settle(seconds: float = 0.3) -> None:
    """What was sent is in the ring of whoever captures."""
    time.sleep(seconds)
