"""The operator's side of a live run: rights given up in every process, a status when it is asked for, metrics."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from pipeline.cli import parse
from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.live.sensor import folders
from tests.live.network import PATIENCE, Network, capturing
from tests.live.test_capturing import traffic
from tests.runs import REPORT, counters, report_of

pytestmark = pytest.mark.live

SCRAPE = """
import sys, urllib.request
sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    found = Network()
    yield found
    found.close()


def status_of(pid: int) -> dict[str, list[str]]:
    """The fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: words.split() for name, _, words in (line.partition(":") for line in lines)}


def public(folder: object) -> bool:
    """Whether everybody can reach a folder."""
    path = Path(str(folder)).resolve()
    return all(each.stat().st_mode & 0o5 == 0o5 for each in (path, *path.parents))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
@pytest.mark.skipif(
    not all(map(public, (os.__file__.rpartition("/")[0], np.__path__[0], Path(__file__).parent))),
    reason="Python, its packages or this tree are where nobody may not read them",
)
def test_no_process_keeps_a_right(network: Network) -> None:
    """While packets are captured and written no process is root, has a capability or can get one."""
    nobody = pwd.getpwnam("nobody")
    with TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        output = Path(name) / "out"
        with capturing(network, output, "-i", "a1", "--user", "nobody", env={"TMPDIR": "/tmp"}) as run:
            network.send(traffic(5), folder=Path(name))
            for pid in (run.pid, *run.children):
                found = status_of(pid)
                assert found["Uid"] == [str(nobody.pw_uid)] * 4
                assert found["Gid"] == [str(nobody.pw_gid)] * 4
                assert {int(found[f"Cap{kind}"][0], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
                assert found["NoNewPrivs"] == ["1"]
            status, said = run.stops(signal.SIGINT)
        assert status == 0, said
        assert counters(report_of(output))["packets"] == len(traffic(5))
        assert (output / REPORT).stat().st_uid == nobody.pw_uid


def test_a_status_line_when_it_is_asked_for(network: Network, tmp_path: Path) -> None:
    """SIGUSR1 has a quiet run say how it is doing, and changes nothing; sent to all processes it harms none."""
    with capturing(network, tmp_path / "out", "-i", "a1", "--interval", 3600) as run:
        network.send(traffic(5), folder=tmp_path)
        time.sleep(1.5)  # a note comes each second
        for pid in (*run.children, run.pid):
            os.kill(pid, signal.SIGUSR1)
        run.until("status: ")
        assert f"({len(traffic(5)):,}) packets" in run.said[-1]
        status, said = run.stops(signal.SIGINT)
    assert (status, said.count("status: ")) == (0, 1)


@pytest.mark.parametrize("words", [(), pytest.param(("--workers", 2), marks=pytest.mark.slow)])
def test_metrics_of_a_run(network: Network, tmp_path: Path, words: tuple[object, ...]) -> None:
    """A scrape of a run has its counts, whatever stages say in between."""
    with capturing(network, tmp_path / "out", "-i", "a1", "--metrics", "0", *words) as run:
        url = next(line for line in run.said if "http://" in line).split()[-1]
        network.send(traffic(5), folder=tmp_path)
        end, found = time.monotonic() + PATIENCE, ""
        wanted = f'flowshard_packets_total{{reason="handed_over",stage="kernel"}} {len(traffic(5))}.0'
        while wanted not in found and time.monotonic() < end:
            scrape = network.start([sys.executable, "-c", SCRAPE, url], stdout=-1)
            found = scrape.communicate(timeout=PATIENCE)[0]
        assert wanted in found
        status, said = run.stops(signal.SIGINT)
    assert status == 0, said


def test_one_process_says_how_it_is_doing(network: Network, tmp_path: Path) -> None:
    """In one process a line comes as well."""
    with capturing(network, tmp_path / "out", "-i", "a1", "--workers", 0, "--interval", 1) as run:
        network.send(traffic(5), folder=tmp_path)
        run.until("status: ")
        status, said = run.stops(signal.SIGINT)
    assert status == 0, said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-r", "x.pcap", "--user", "alice"), "--user is for live capture"),
        (("-r", "x.pcap", "--metrics", "9100"), "--metrics is for live capture"),
        (("-r", "x.pcap", "--interval", "5"), "--interval is for live capture"),
        (("-i", "lo", "--interval", "0"), "--interval: 0 is out of range"),
        (("-i", "lo", "--metrics", "host:9100"), "--metrics: 'host' is not an address"),
        (("-i", "lo", "--metrics", "9100", "--workers", "0"), "--metrics and --workers 0 exclude one another"),
    ],
)
def test_what_cannot_be_asked_for(words: tuple[str, ...], message: str) -> None:
    """Options of a sensor are refused where they mean nothing, and so are values that are no good."""
    with pytest.raises(UsageError, match=message):
        parse(words)


def test_what_is_asked_for() -> None:
    """Who to be, where to serve metrics, how often to say how it is going."""
    config = parse(["-i", "lo", "--user", "alice", "--metrics", "9100", "--interval", "60"])
    assert isinstance(config, Config)
    assert config.live is not None
    assert (config.live.user, str(config.live.metrics), config.live.interval) == ("alice", "127.0.0.1:9100", 60)


def test_folders_that_must_be_writable(tmp_path: Path) -> None:
    """The output folder and, unless they lie in it, the folders of everything else that is written."""
    inside, other = tmp_path / "out", tmp_path / "other"
    config = Config(inputs=(Path("lo"),), output=inside, report=inside / REPORT, flows=other / "flows",
                    unprocessed=inside / "deep" / "rest", spool_folder=tmp_path)  # fmt: skip
    assert folders(config) == (inside, [other, tmp_path])
