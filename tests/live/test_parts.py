"""Live capture in parts: SIGHUP and time cut while packets come, and no byte is lost at a cut."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build import write_pcap
from tests.live.network import Network, capturing
from tests.live.test_capturing import offline, traffic
from tests.parts.days import parts
from tests.runs import REPORT, counters

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(("a",))
    yield made
    made.close()


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_cuts_lose_nothing(network: Network, tmp_path: Path, workers: int) -> None:
    """Streams over parts are those of an offline run, each in the part in which it ended; counters add up."""
    packets = traffic(60)
    words = ("-i", "a1", "-md5", "--workers", workers, "--rotate", "1s")
    with capturing(network, tmp_path / "live", *words) as run:
        sender = network.sender(write_pcap(tmp_path / "sent.pcap", packets), len(packets) // 2)
        while sender.poll() is None:
            run.process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
        status, said = run.stops(signal.SIGINT)
    assert status == 0, said
    found = parts(tmp_path / "live")
    assert len(found) > 5
    recorded = offline(tmp_path, packets)
    streams = Counter(path.read_bytes() for path in recorded.iterdir() if path.name != REPORT)
    assert Counter(data for part in found for data in part.files.values()) == streams
    total: Counter[str] = Counter()
    for part in found:
        total.update(counters(part.report))
    assert total["packets"] == total["received"] == len(packets)
    assert not total["unaccounted"]
