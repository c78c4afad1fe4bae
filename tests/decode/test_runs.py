"""Encapsulated traffic through a whole run: which streams there are, and what they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests import build as b
from tests.decode import layers as t
from tests.runs import counters, files, flows, report_of, run_apart, run_here


def talk(text: bytes, wrap) -> list[b.Packet]:
    """A connection, the same endpoints every time, each of its frames wrapped."""
    return [replace(packet, frame=wrap(packet.frame)) for packet in b.Conversation().packets([(0, text)])]


def in_udp(port: int, head, vlans: tuple[int, ...] = ()):
    return lambda frame: b.ethernet(b.ipv4(b.udp(7, port, head(frame)), "192.168.0.1", protocol=17), vlans=vlans)


NETWORKS = {
    "": lambda frame: frame,
    "--10": lambda frame: b.ethernet(frame[14:], vlans=(10,)),
    "--1.2.3.4.5.6.7.8": lambda frame: b.ethernet(frame[14:], vlans=range(1, 9)),
    "--1.2.3.4.5.6.7.9": lambda frame: b.ethernet(frame[14:], vlans=(1, 2, 3, 4, 5, 6, 7, 9)),
    "--vx10": in_udp(4789, lambda frame: t.vxlan(frame, 10)),
    "--ge10": in_udp(6081, lambda frame: t.geneve(frame, 10)),
    "--10.vx5001": in_udp(4789, lambda frame: t.vxlan(frame, 5001), (10,)),
    "--vx5001.10": in_udp(4789, lambda frame: t.vxlan(t.inner_ethernet(frame[14:], vlans=(10,)), 5001)),
}


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """The same endpoints on several networks, packet by packet in turn."""
    talks = [talk(name.encode() or b"none", wrap) for name, wrap in NETWORKS.items()]
    return b.write_pcap(tmp_path / "in.pcap", [packet for turn in zip(*talks, strict=True) for packet in turn])


@pytest.mark.parametrize("workers", [0, 3])
def test_equal_endpoints_on_different_networks_are_different_streams(
    capture: Path, tmp_path: Path, workers: int
) -> None:
    """A network's ids are part of a flow's key and of its name, which is its own, for any number of workers."""
    if workers:
        assert run_apart("-r", capture, "-o", tmp_path / "out", "--workers", workers).status == 0
    else:
        assert run_here("-r", capture, "-o", tmp_path / "out", "--workers", 0).status == 0
    made = {name: data for name, data in files(tmp_path / "out").items() if not name.startswith("report")}
    assert made == {f"10.0.0.1.40000-10.0.0.2.80{name}": name.encode() or b"none" for name in NETWORKS}


def test_the_report_names_networks(capture: Path, tmp_path: Path) -> None:
    """A row tells VLANs and overlays apart, and the MAC addresses are those next to the segment."""
    run_here("-r", capture, "-o", tmp_path / "out", "--workers", 0)
    told = {
        file.tags["filename"].partition("--")[2]: (flow.get("vlan"), flow.get("overlay"), flow["mac_saddr"])
        for file, flow in flows(report_of(tmp_path / "out"))
    }
    outer, inner = "02:00:00:00:00:01", "0a:00:00:00:00:01"
    assert told == {
        "": (None, None, outer),
        "10": ("10", None, outer),
        "1.2.3.4.5.6.7.8": ("1.2.3.4.5.6.7.8", None, outer),
        "1.2.3.4.5.6.7.9": ("1.2.3.4.5.6.7.9", None, outer),
        "vx10": (None, "vx10", outer),
        "ge10": (None, "ge10", outer),
        "10.vx5001": ("10", "vx5001", outer),
        "vx5001.10": ("10", "vx5001", inner),
    }


def test_without_vlans(capture: Path, tmp_path: Path) -> None:
    """--ignore-vlan leaves overlays in the key: what differs in VLANs only is one tuple."""
    run_here("-r", capture, "-o", tmp_path / "out", "--workers", 0, "--ignore-vlan")
    names = {name.partition("80")[2][:8] for name in files(tmp_path / "out") if not name.startswith(("report", "conf"))}
    assert names == {"", "--vx10", "--ge10", "--vx5001"}


def test_deeper_than_the_limit_is_counted(tmp_path: Path) -> None:
    """A ninth encapsulation is not peeled; the packets are counted, and no stream comes of them."""
    packets = talk(b"deep", lambda frame: b.ethernet(frame[14:], vlans=range(9)))
    run_here("-r", b.write_pcap(tmp_path / "in.pcap", packets), "-o", tmp_path / "out", "--workers", 0)
    report = report_of(tmp_path / "out")
    assert counters(report)["unprocessed.too_deep"] == len(packets)
    assert not list(flows(report))
