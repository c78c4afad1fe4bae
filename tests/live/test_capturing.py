"""Live capture as a whole, in a network of its own: equal to offline, accounted for, ended in every way."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build import Conversation, Packet, in_turns, write_pcap
from tests.forms import crossed
from tests.live.network import Capturing, Network, capturing, settle
from tests.report.reader import Report
from tests.runs import MARKER, REPORT, ROOT, counters, differences, files, flows, report_of, run_here

pytestmark = pytest.mark.live

NOBODY = 65534
ALONE = ("--workers", 0)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Two links, ``a`` and ``b``."""
    made = Network(("a", "b"))
    yield made
    made.close()


def traffic(connections: int = 30, *, size: int = 3000, seed: int = 1) -> list[Packet]:
    """Connections in turns, some of them without an end."""
    rng = random.Random(seed)
    made = []
    for n in range(connections):
        conversation = Conversation(client=("10.0.0.1", 40_000 + n))
        turns = [(rng.randrange(2), rng.randbytes(rng.randrange(1, size))) for _ in range(4)]
        made.append(conversation.packets(turns)[: None if n % 3 else -3])
    return in_turns(*made)


def offline(folder: Path, packets: list[Packet], *words: object) -> Path:
    """The output of a run on a capture of these packets."""
    capture = write_pcap(folder / "offline.pcap", packets)
    assert run_here("-r", capture, "-o", folder / "offline", "-md5", *words).status == 0
    return folder / "offline"


def facts(report: Report) -> list[tuple[object, ...]]:
    """What a report says of each stream, times and places in the source left out."""
    timeless = []
    for file, flow in flows(report):
        told = {name: value for name, value in flow.items() if "time" not in name and name != "duration"}
        runs = [(run["file_offset"], run["len"]) for run in file.runs]
        timeless.append((file.tags["filename"], file.tags["filesize"], file.hashes, runs, told))
    return timeless


def streams(folder: Path) -> dict[str, bytes]:
    """The files of a finished run but for its report."""
    found = files(folder)
    assert MARKER not in found
    del found[REPORT]
    return found


def assert_same(live: Path, recorded: Path) -> None:
    """Streams, what the report says of them, and the counters are those of the offline run."""
    assert differences(streams(live), streams(recorded)) == []
    one, other = report_of(live), report_of(recorded)
    assert facts(one) == facts(other)
    expected = counters(other)
    expected["bytes.input"] = counters(one)["bytes.input"]  # a file has headers
    assert counters(one).items() >= expected.items()


@pytest.mark.parametrize("words", crossed([((),), (ALONE,)], [(), ("--workers", 2), ALONE, ("--batch-packets", 7)]))
def test_live_is_as_offline(network: Network, tmp_path: Path, words: tuple[object, ...]) -> None:
    """What passes an interface becomes what a capture of it would, and every packet is accounted for."""
    packets = traffic()
    with capturing(network, tmp_path / "live", "-i", "a1", "-md5", *words) as run:
        network.send(packets, folder=tmp_path)
        status, said = run.stops(signal.SIGINT)
    assert status == 0, said
    assert "warning" not in said
    assert_same(tmp_path / "live", offline(tmp_path, packets))
    found = counters(report_of(tmp_path / "live"))
    assert found["received"] == found["packets"] == len(packets)
    assert not any(count for name, count in found.items() if name.startswith("dropped") or name == "unaccounted")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_silence_is_worth_a_word(network: Network, tmp_path: Path, workers: int) -> None:
    """While it lasts, in however many processes."""
    with capturing(network, tmp_path / "live", "-i", "a1", "--workers", workers) as run:
        run.until("warning: no packet on a1 for 5 s")
        assert run.stops(signal.SIGINT)[0] == 0


def test_the_filter_works_in_the_kernel(network: Network, tmp_path: Path) -> None:
    """Only what matches is read at all."""
    packets = traffic()
    with capturing(network, tmp_path / "live", "-i", "a1", "-md5", "port", "40007") as run:
        network.send(packets, folder=tmp_path)
        assert run.stops(signal.SIGTERM)[0] == 0
    assert streams(tmp_path / "live") == streams(offline(tmp_path, packets, "port", "40007"))
    found = counters(report_of(tmp_path / "live"))
    assert found["packets"] == found["packets.tcp"] == found["received"] < len(packets)


def test_a_snap_length_leaves_gaps_of_known_size(network: Network, tmp_path: Path) -> None:
    """The length on the wire is known from IP."""
    packets = traffic()
    with capturing(network, tmp_path / "live", "-i", "a1", "-md5", "-s", 100) as run:
        network.send(packets, folder=tmp_path)
        assert run.stops(signal.SIGINT)[0] == 0
    assert_same(tmp_path / "live", offline(tmp_path, [packet.cut(100) for packet in packets]))


def test_two_interfaces_are_one_input(network: Network, tmp_path: Path) -> None:
    """Each direction of a connection may pass another one."""
    packets = traffic()
    ways: tuple[list[Packet], list[Packet]] = ([], [])
    for packet in packets:
        ways[packet.frame[34:36] == struct.pack(">H", 80)].append(packet)
    with capturing(network, tmp_path / "live", "-i", "a1", "-i", "b1", "-md5") as run:
        network.send(ways[0], "a0", folder=tmp_path)
        network.send(ways[1], "b0", folder=tmp_path)
        assert run.stops(signal.SIGINT)[0] == 0
    assert streams(tmp_path / "live") == streams(offline(tmp_path, packets))


def test_any_sees_every_interface(network: Network, tmp_path: Path) -> None:
    """What leaves at one end and arrives at the other is met twice: the second time it is a duplicate."""
    packets = traffic()
    with capturing(network, tmp_path / "live", "-i", "any", "-md5") as run:
        network.send(packets, folder=tmp_path)
        assert run.stops(signal.SIGINT)[0] == 0
    assert streams(tmp_path / "live") == streams(offline(tmp_path, packets))
    found = counters(report_of(tmp_path / "live"))
    assert (found["packets"], found["bytes.duplicate"]) == (2 * len(packets), found["bytes.written"])


@pytest.mark.parametrize(("direction", "share"), [("in", 0), pytest.param("out", 1, marks=pytest.mark.slow)])
def test_a_direction_is_taken_alone(network: Network, tmp_path: Path, direction: str, share: int) -> None:
    """At the end that sends, all goes out."""
    packets = traffic(5)
    with capturing(network, tmp_path / "live", "-i", "a0", "--direction", direction) as run:
        network.send(packets, folder=tmp_path)
        assert run.stops(signal.SIGINT)[0] == 0
    assert counters(report_of(tmp_path / "live"))["packets"] == share * len(packets)


@pytest.mark.parametrize(
    ("words", "packets"),
    [
        (("--packets", 100), 100),
        pytest.param(("--bytes", 10_000), None, marks=pytest.mark.slow),
        (("--duration", 1), 0),
    ],
)
def test_it_ends_by_itself(network: Network, tmp_path: Path, words: tuple[object, ...], packets: int | None) -> None:
    """At a number of packets, at one of bytes, after a time."""
    sent = traffic()
    with capturing(network, tmp_path / "live", "-i", "a1", *words) as run:
        if packets != 0:
            network.send(sent, folder=tmp_path)
        status, said = run.ends()
    assert status == 0, said
    sizes = [len(packet.frame) for packet in sent]
    if packets is None:
        packets = next(n for n in range(len(sizes)) if sum(sizes[:n]) >= 10_000)
    found = counters(report_of(tmp_path / "live"))
    assert (found["packets"], found["bytes.input"]) == (packets, sum(sizes[:packets]))
    assert streams(tmp_path / "live") == (streams(offline(tmp_path, sent[:packets])) if packets else {})


def assert_nothing_left(run: Capturing, folder: Path) -> None:
    """No process, no socket."""
    assert not any(Path(f"/proc/{pid}").exists() for pid in [run.pid, *run.children])
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("seed", crossed([(1,)], range(8)))
def test_a_signal_ends_it_at_any_moment(network: Network, tmp_path: Path, seed: int) -> None:
    """Within five seconds, with a report that is whole, while packets go on coming."""
    rng = random.Random(seed)
    sockets = tmp_path / "tmp"
    sockets.mkdir()
    with capturing(network, tmp_path / "live", "-i", "a1", env={"TMPDIR": str(sockets)}) as run:
        capture = write_pcap(tmp_path / "sent.pcap", traffic(300))
        sender = network.sender(capture, 10_000)
        time.sleep(rng.random())
        begun = time.monotonic()
        status, said = run.stops(rng.choice([signal.SIGINT, signal.SIGTERM]))
        assert time.monotonic() - begun < 5
        sender.kill()
        sender.wait()
    assert status == 0, said
    found = counters(report_of(tmp_path / "live"))
    assert found["received"] == found["packets"]
    assert found["unaccounted"] == 0
    assert_nothing_left(run, sockets)


def test_a_second_signal_ends_it_at_once(network: Network, tmp_path: Path) -> None:
    """Though a writer does nothing any more: nobody waits for it."""
    sockets = tmp_path / "tmp"
    sockets.mkdir()
    with capturing(network, tmp_path / "live", "-i", "a1", env={"TMPDIR": str(sockets)}) as run:
        os.kill(run.children[-1], signal.SIGSTOP)
        network.send(traffic(), folder=tmp_path)
        settle()
        run.process.send_signal(signal.SIGINT)
        settle()
        begun = time.monotonic()
        status, said = run.stops(signal.SIGINT)
        assert time.monotonic() - begun < 1
    assert status == 130, said
    assert MARKER in files(tmp_path / "live")
    assert_nothing_left(run, sockets)


def test_what_finds_no_room_is_counted_to_the_packet(network: Network, tmp_path: Path) -> None:
    """A writer stands still until the spool is full; then it goes on, and so does all the rest.

    What was dropped are packets of one stream, so the report's gap is as long as what they carried.
    """
    conversation, size, count = Conversation(), 8000, 5_500  # 44 MB; the hole is less than 16 MiB
    packets = conversation.open()
    begin = conversation.next_seq[0]
    packets += [conversation.segment(0, bytes(size), seq=begin + n * size) for n in range(count)]
    last = conversation.segment(0, bytes(size), seq=begin + count * size)
    words = ("-i", "a1", "--spool-size", "32M", "--no-promiscuous", "--workers", 1, "--writers", 1)
    with capturing(network, tmp_path / "live", *words) as run:
        os.kill(run.children[-1], signal.SIGSTOP)
        network.send(packets, rate=30_000, folder=tmp_path)
        settle()
        os.kill(run.children[-1], signal.SIGCONT)
        time.sleep(2)
        network.send([last], folder=tmp_path)
        status, said = run.stops(signal.SIGINT)
    assert status == 0, said
    assert "warning: packets were dropped" in said
    assert "--spool-size" in said
    report = report_of(tmp_path / "live")
    found = counters(report)
    sent = len(packets) + 1
    assert found["dropped.spool"] > 0
    assert found["dropped.spool"] + found["dropped.kernel"] + found["packets"] == found["received"] == sent
    assert found["dropped.seconds"] >= 1
    dropped = found["dropped.spool"] + found["dropped.kernel"]
    assert found["bytes.gaps"] == dropped * size
    assert found["bytes.written"] == (count + 1 - dropped) * size


def test_an_interface_that_goes_down_is_a_fault(network: Network, tmp_path: Path) -> None:
    """What was captured is finished, and the report says where it broke off."""
    packets = traffic()
    try:
        with capturing(network, tmp_path / "live", "-i", "b1", "-md5") as run:
            network.send(packets, "b0", folder=tmp_path)
            network.do("ip link set b1 down")
            status, said = run.ends()
    finally:
        network.do("ip link set b1 up")
    assert status == 3
    assert "b1: the interface went down" in said
    assert streams(tmp_path / "live") == streams(offline(tmp_path, packets))
    faults = [told for tag, told in report_of(tmp_path / "live").foreign if tag == "fault"]
    assert faults == [{"offset": str(sum(len(p.frame) for p in packets)), "length": "0",
                       "problem": "the interface went down"}]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-i", "nosuch"), "error: nosuch: no such interface\nhint: there are: a0, a1, any,"),
        (("-i", "a1", "tcp", "prot", "80"), "error: the filter expression 'tcp prot 80' cannot be used on a1: "),
    ],
)
def test_what_cannot_be_captured_is_refused(
    network: Network, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    """With status 2, and before anything is written."""
    status, said = Capturing(network, tmp_path / "live", *words).ends()
    assert status == 2
    assert said.startswith(message)
    assert not (tmp_path / "live").exists()


def test_without_permission_it_says_which_is_missing(network: Network, tmp_path: Path) -> None:
    """The capability is named, and how to get it."""
    if os.geteuid() != 0:
        pytest.skip("in a user namespace everybody may capture")
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if subprocess.run([*as_nobody, sys.executable, "-c", "import pipeline"], cwd=ROOT, check=False).returncode:
        pytest.skip(f"nobody may not read {sys.executable} or {ROOT}")
    run = network.start([*as_nobody, *network.command("-i", "a1")], stderr=-1, cwd="/")
    said = run.communicate(timeout=20)[1]
    assert run.returncode == 2
    assert said.startswith("error: cannot capture on a1: permission denied\nhint: capturing needs the capability CAP_")


def test_interfaces_are_listed(network: Network) -> None:
    """Each with its state."""
    run = network.start(network.command("--list-interfaces"), stdout=-1)
    lines = run.communicate(timeout=20)[0].splitlines()
    assert {"a0", "a1", "b0", "b1", "lo", "any"} <= {line.split()[0] for line in lines}
