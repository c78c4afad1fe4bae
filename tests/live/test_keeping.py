"""--keep-packets as a whole: the packets behind every stream, and a capture that does not wait for them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build import Conversation
from tests.live.network import Capturing, Network, capturing, settle
from tests.live.test_capturing import streams, traffic
from tests.live.test_kept import all_kept, packets
from tests.runs import counters, report_of, run_here

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(("a",))
    yield made
    made.close()


def test_every_byte_of_a_stream_leads_to_its_packet(network: Network, tmp_path: Path) -> None:
    """By the numbers in the files' names and the packets' ids; and the files are a capture that gives the same."""
    sent = traffic(200)
    words = ("-i", "a1", "-md5", "--keep-packets", tmp_path / "kept", "--keep-size", "1M")
    with capturing(network, tmp_path / "live", *words) as run:
        network.send(sent, folder=tmp_path)
        status, said = run.stops(signal.SIGINT)
    assert status == 0, said
    report = report_of(tmp_path / "live")
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) > 1
    held = {path: packets(path) for path in kept}
    assert [packet.frame for path in kept for packet in held[path]] == [packet.frame for packet in sent]
    assert counters(report)["kept"] == counters(report)["packets"]
    for file in report.files:
        for run_ in file.runs:
            place = int(run_["img_offset"])
            path = [each for each in kept if int(each.stem.rpartition("-")[2]) <= place][-1]
            packet = [each for each in held[path] if each.address <= place][-1]
            stream = (tmp_path / "live" / file.tags["filename"]).read_bytes()[int(run_["file_offset"]) :]
            payload = packet.frame[place - packet.address :]
            assert payload[: int(run_["len"])] == stream[: min(len(payload), int(run_["len"]))]
    again = [word for path in kept for word in ("-r", path)]
    assert run_here(*again, "-o", tmp_path / "again", "-md5").status == 0
    assert streams(tmp_path / "again") == streams(tmp_path / "live")


def test_explain_reads_what_was_kept(network: Network, tmp_path: Path) -> None:
    """The files of a run, one behind the other, are the capture that it saw."""
    words = ("-i", "a1", "--keep-packets", tmp_path / "kept", "--keep-size", "1M")
    with capturing(network, tmp_path / "live", *words) as run:
        network.send(traffic(200), folder=tmp_path)
        assert run.stops(signal.SIGINT)[0] == 0
    whole = tmp_path / "whole.pcapng"
    whole.write_bytes(b"".join(path.read_bytes() for path in sorted((tmp_path / "kept").iterdir())))
    name = max(streams(tmp_path / "live"))
    told = run_here("explain", tmp_path / "live", name, "--read", whole)
    assert told.status == 0, told.err
    assert "need not be what the run did" not in told.err


def test_a_cut_packet_is_as_long_as_its_header_says(network: Network, tmp_path: Path) -> None:
    """The snap length stands in the file, and what the lengths are worth."""
    sent = traffic(3)
    with capturing(network, tmp_path / "live", "-i", "a1", "-s", 100, "--keep-packets", tmp_path / "kept") as run:
        network.send(sent, folder=tmp_path)
        assert run.stops(signal.SIGINT)[0] == 0
    found = [(packet.frame, packet.length) for packet in all_kept(tmp_path / "kept")]
    assert found == [(packet.frame[:100], len(packet.frame)) for packet in sent]


@pytest.mark.slow
def test_a_keeper_that_stands_still_costs_kept_packets_only(network: Network, tmp_path: Path) -> None:
    """All streams are whole; what could not be kept is counted to the packet, and said."""
    conversation, size, count = Conversation(), 8000, 3000  # 24 MB: three times the keeper's share
    sent = conversation.open()
    begin = conversation.next_seq[0]
    sent += [conversation.segment(0, bytes(size), seq=begin + n * size) for n in range(count)]
    words = ("-i", "a1", "--spool-size", "32M", "--keep-packets", tmp_path / "kept")
    with capturing(network, tmp_path / "live", *words) as run:
        os.kill(run.children[-1], signal.SIGSTOP)
        network.send(sent, rate=4000, folder=tmp_path)
        settle()
        os.kill(run.children[-1], signal.SIGCONT)
        status, said = run.stops(signal.SIGINT)
    assert status == 0, said
    assert re.search(r"warning: packets were dropped: [0-9,]+ by --keep-packets alone", said)
    found = counters(report_of(tmp_path / "live"))
    assert (found["bytes.written"], found["gaps"]) == (count * size, 0)
    assert found["dropped.keep"] > 0
    assert found["kept"] + found["dropped.keep"] == found["packets"] == len(sent)
    assert len(all_kept(tmp_path / "kept")) == found["kept"]


def test_a_full_folder_costs_kept_packets_only(network: Network, tmp_path: Path) -> None:
    """The files that there are stay readable; a user is told."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = tmp_path / "kept"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=True)
    try:
        with capturing(network, tmp_path / "live", "-i", "a1", "--keep-packets", folder) as run:
            network.send(traffic(300), folder=tmp_path)
            status, said = run.stops(signal.SIGINT)
        assert status == 4, said
        assert "No space left on device" in said
        found = counters(report_of(tmp_path / "live"))
        assert found["write_errors"] == found["write_errors.ENOSPC"] > 0
        assert f"{folder} lacks {found['dropped.keep']:,} packets" in said
        assert found["kept"] == len(all_kept(folder)) < found["packets"]
        assert found["kept"] + found["dropped.keep"] == found["packets"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--keep-packets", "file"), "cannot keep packets in"),
        (("--keep-size", "2M"), "there are no packets to keep"),
        (("--keep-packets", "kept", "--workers", "0"), "--keep-packets and --workers 0 exclude one another"),
    ],
)
def test_what_cannot_be_kept_is_refused(network: Network, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    """Before anything is written."""
    (tmp_path / "file").touch()
    words = tuple(str(tmp_path / word) if word in {"file", "kept"} else word for word in words)
    status, said = Capturing(network, tmp_path / "live", "-i", "a1", *words).ends()
    assert status in {2, 4}
    assert message in said
