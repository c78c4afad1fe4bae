"""What an analyst is told beside the result: found in tables, and in real packets for the filter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import remarks
from pipeline.config import Config
from pipeline.inputs import Found
from pipeline.source.records import Records
from tests.build import LINK_ETHERNET, arp_frame, ethernet, ipv4, tcp4, udp4
from workers.contract import U8

SECOND = 10**9


def config(**facts: Any) -> Config:
    return Config(**({"inputs": (Path("x.pcap"),), "output": Path("out")} | facts))


def facts(packets: int = 1, **more: Any) -> dict[str, Any]:
    """As ``capture.describe`` makes them."""
    return {"packets": packets, "format": "pcap", "faults": []} | more


def told(counters: Mapping[str, int], /, **options: Any) -> list[remarks.Remark]:
    return remarks.after(config(**options), {"connections": 3, **counters}, [facts()])


# --------------------------------------------------------------------------- before


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A disk with 1,000 free bytes (250 blocks of 4); the places that were looked at."""
    asked: list[str] = []

    def statvfs(path: object) -> object:
        asked.append(str(path))
        return SimpleNamespace(f_bavail=250, f_frsize=4, f_bfree=9_999, f_bsize=9_999)

    monkeypatch.setattr(os, "statvfs", statvfs)
    return asked


@pytest.mark.parametrize(
    ("size", "packed", "expected"),
    [
        (1000, 0, None),
        (1001, 0, "out: 1,000 bytes are free there, and the captures hold 1,001"),
        (1001, 1, "out: 1,000 bytes are free there, and the captures hold at least 1,001"),
        (None, 0, None),
    ],
)
def test_a_disk_that_is_too_small(free: list[str], size: int | None, packed: int, expected: str | None) -> None:
    """A warning with both numbers when the captures are larger than what is free to this user."""
    found = remarks.before(config(), size, packed)
    assert [message for message, _ in found] == ([expected] if expected else [])


def test_the_disk_is_the_one_that_the_folder_will_be_on(free: list[str], tmp_path: Path) -> None:
    """A folder that is not there yet will lie on the disk of its nearest parent."""
    remarks.before(config(output=tmp_path / "not" / "yet"), 1)
    remarks.before(config(output=tmp_path), 1)
    assert free == [str(tmp_path), str(tmp_path)]


def test_a_disk_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known is not warned of."""

    def statvfs(_: object) -> object:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert remarks.before(config(), 1 << 60) == []


def test_the_console_needs_no_disk(free: list[str]) -> None:
    """With -c nothing is written, and an -o that was given in vain is told."""
    assert remarks.before(config(console=True, output=Path()), 1 << 60) == []
    [(message, _)] = remarks.before(config(console=True), 1 << 60)
    assert message == "-c prints the streams: no stream file is written into out"
    assert free == []


@pytest.mark.parametrize(
    ("skipped", "doubled", "expected"),
    [
        ([], [], []),
        (["a"], [], ["a is no capture and was left out"]),
        (["a", "b", "c"], [], ["3 files are no captures and were left out, the first of them a"]),
        ([], ["a"], ["a is given more than once"]),
        (["x"], ["a", "b"], ["x is no capture and was left out", "a is given more than once, and so is 1 other"]),
    ],
)
def test_inputs_that_are_not_read(skipped: list[str], doubled: list[str], expected: list[str]) -> None:
    """One warning each: how many, and the first."""
    found = Found((), 0, 0, tuple(map(Path, skipped)), tuple(map(Path, doubled)))
    assert [message for message, _ in remarks.of_inputs(found)] == expected


# --------------------------------------------------------------------------- after


WELL = {"packets": 9, "packets.tcp": 5, "packets.payload": 3, "bytes.payload": 70, "unprocessed.udp": 4, "streams": 2}


@pytest.mark.parametrize(
    ("counters", "options", "expected"),
    [
        ({}, {"analyze": True}, "no mail or web in 2 streams"),
        ({"web.requests": 0, "found.files": 0}, {"extract": ("web",)}, "no web in 2 streams"),
        ({"web.requests": 1}, {"analyze": True}, None),
        ({"web.requests": 1}, {"extract": ("web",)}, "no object of web in 2 streams"),
        ({"web.requests": 1, "found.files.object": 1}, {"extract": ("web",)}, None),
        ({"streams": 0}, {"analyze": True}, None),
        ({"shown.streams": 2}, {"analyze": True, "console": True}, None),
        ({"shown.streams": 1, "web.requests": 1}, {"analyze": True, "console": True},
         "1 of 2 streams hold no mail or web and were not printed"),
        ({}, {"analyze": True, "console": True}, "2 of 2 streams hold no mail or web and were not printed"),
        ({}, {}, None),
        ({}, {"console": True}, None),
    ],
)  # fmt: skip
def test_streams_that_hold_nothing_that_is_known(
    monkeypatch: pytest.MonkeyPatch, counters: dict[str, int], options: dict[str, Any], expected: str | None
) -> None:
    """Told if all of them do, and on the console of each that is not printed."""
    monkeypatch.setattr("pipeline.config.known_protocols", lambda: ("mail", "web"))
    assert [message for message, _ in told(WELL | counters, **options)] == ([expected] if expected else [])


def test_a_run_that_found_something_gets_no_remark() -> None:
    """Nor does one without a single packet get more than one."""
    assert told(WELL) == []
    assert told({**WELL, "unprocessed.filtered": 1}, expression="tcp", start_ns=1) == []
    assert len(remarks.after(config(), {"packets": 0}, [facts(0)])) == 1


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        ([facts(0)], ["0.pcap is a capture without packets"]),
        ([facts(0), facts(1)], ["0.pcap is a capture without packets"]),
        ([facts(1), facts(0), facts(0)], ["2 captures hold no packets, the first of them 1.pcap"]),
        ([facts(0, faults=[[0, "is no capture", 0]]), facts(1)], []),
        ([facts(0, format=remarks.UNKNOWN)], []),
    ],
)
def test_a_capture_without_packets(each: list[dict[str, Any]], expected: list[str]) -> None:
    """Told of captures only: of one that is damaged, or was not begun, something else is told."""
    inputs = tuple(Path(f"{number}.pcap") for number in range(len(each)))
    packets = sum(one["packets"] for one in each)
    counters = WELL | {"packets": packets} if packets else {}
    found = remarks.after(config(inputs=inputs), counters, each)
    assert [message for message, _ in found] == expected
    assert all(hint for _, hint in found)


NOON = 1_714_564_800 * SECOND  # 2024-05-01T12:00:00Z
TIMES = {"time.first": NOON + 1, "time.last": NOON + 60 * SECOND}


@pytest.mark.parametrize(
    ("counters", "options", "message", "hint"),
    [
        (
            {"unprocessed.outside_time": 5, **TIMES}, {"end_ns": NOON},
            "no packet is before 2024-05-01T12:00:00Z: the 5 there are go from 2024-05-01T12:00:00.000000001Z to 2024",
            "a time without a zone is UTC",
        ),
        (
            {"unprocessed.outside_time": 5}, {"start_ns": NOON, "end_ns": NOON + SECOND // 2},
            "no packet is from 2024-05-01T12:00:00Z on and before 2024-05-01T12:00:00.5Z", "try another --start",
        ),
        (
            {"unprocessed.outside_time": 3, "unprocessed.filtered": 2, **TIMES},
            {"start_ns": NOON + 3600 * SECOND, "expression": "port 9"},
            "no packet is from 2024-05-01T13:00:00Z on: the 5", "a time without a zone is UTC",
        ),
        (
            {"unprocessed.outside_time": 3, "unprocessed.filtered": 2, **TIMES},
            {"start_ns": NOON + SECOND, "expression": "port 9"},
            "no packet from 2024-05-01T12:00:01Z on matches the filter 'port 9'", "run without the filter",
        ),
        (
            {"unprocessed.filtered": 5}, {"expression": "port 9"},
            "none of 5 packets matches the filter 'port 9'", "for packets with VLAN tags say 'vlan and (...)'",
        ),
    ],
)  # fmt: skip
def test_nothing_was_asked_for(
    counters: dict[str, int], options: dict[str, Any], message: str, hint: str
) -> None:  # fmt: skip
    """No packet in time, or none that the filter takes: which of the two, and what there is instead."""
    [(found, tip)] = told({"packets": 5, **counters}, **options)
    assert found.startswith(message)
    assert hint in tip


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (NOON + 120_000_000, "2024-05-01T12:00:00.12Z"),
        ((1 << 63) - 1, "2262-04-11T23:47:16.854775807Z"),
        (-(1 << 63), "1677-09-21T00:12:43.145224192Z"),
    ],
)
def test_times_are_told_as_they_are_given(ns: int, expected: str) -> None:
    """Exactly, whatever a capture claims."""
    assert remarks.time_text(ns) == expected


@pytest.mark.parametrize(
    ("reasons", "options", "message", "hint"),
    [
        ({"arp": 2}, {}, "2 arp", "only TCP becomes streams"),
        ({"arp": 2}, {"unprocessed": Path("r")}, "2 arp", "only TCP becomes streams"),
        (
            {"udp": 7, "arp": 5, "fragment_held": 1, "icmp": 3, "ip_truncated": 2, "filtered": 9},
            {"expression": "ip"},
            "7 udp, 5 arp, 3 icmp, 2 ip truncated, 1 other",
            f"{remarks._USUAL['udp']}; {remarks._NOT_DECODED['fragment_held']}",
        ),
        (
            {"arp": 9, "udp": 8, "icmp": 7, "ieee_802_3": 6, "ip_bad_header": 5, "tcp_bad_offset": 4},
            {},
            "9 arp, 8 udp, 7 icmp, 6 ieee 802 3, 9 others",
            "only TCP becomes streams",
        ),
        (
            {"other_transport_protocol": 3, "outside_time": 4},
            {"start_ns": 5},
            "3 other transport protocol",
            remarks._NOT_DECODED["other_transport_protocol"],
        ),
        ({"tcp_truncated": 4, "udp": 1}, {}, "4 tcp truncated, 1 udp", remarks._SNAPPED),
        ({"unknown_link_type": 4}, {}, "4 unknown link type", remarks._NOT_DECODED["unknown_link_type"]),
    ],
)
def test_a_capture_without_tcp(reasons: dict[str, int], options: dict[str, Any], message: str, hint: str) -> None:
    """What there is instead, the most frequent first; and where TCP may be inside, however little there is of it."""
    counters = {f"unprocessed.{reason}": count for reason, count in reasons.items()}
    [(found, tip)] = told({"packets": sum(reasons.values()), **counters}, **options)
    looked_at = sum(count for reason, count in reasons.items() if reason not in ("filtered", "outside_time"))
    assert found == f"no TCP among {looked_at} packets: {message}"
    assert tip == hint + ("" if "unprocessed" in options else "; -w FILE keeps these packets")


def test_every_reason_that_is_named_exists() -> None:
    """The labels are those of the decoder."""
    from pipeline.decode.reasons import Reason

    labels = {reason.label for reason in Reason}
    assert {*remarks._USUAL, *remarks._NOT_DECODED} <= labels
    assert {remarks.FILTERED, remarks.OUTSIDE_TIME} <= {f"unprocessed.{label}" for label in labels}


@pytest.mark.parametrize(
    ("payload", "flows", "message", "hint"),
    [
        (0, None, "5 TCP packets in 3 connections, and none carries payload", "--flows FILE lists the connections"),
        (0, Path("f"), "5 TCP packets in 3 connections, and none carries payload", "f lists the connections"),
        (4, None, "5 TCP packets in 3 connections, and the snap length has cut all payload off", "(tcpdump -s 0)"),
    ],
)
def test_connections_without_payload(payload: int, flows: Path | None, message: str, hint: str) -> None:
    """Scans have no payload; a short snap length has cut it off: two causes, told apart."""
    counters = {"packets": 5, "packets.tcp": 5, "packets.payload": payload, "bytes.payload": 0}
    [(found, tip)] = told(counters, flows=flows)
    assert found == message
    assert tip.endswith(hint)


@pytest.mark.parametrize(
    ("files", "options", "count"),
    [
        (remarks.MANY_FILES, {}, 0),
        (remarks.MANY_FILES + 1, {}, 1),
        (remarks.MANY_FILES + 1, {"name_format": "%A-%B"}, 1),
        (remarks.MANY_FILES + 1, {"name_format": "%A/%B"}, 0),
        (remarks.MANY_FILES + 1, {"console": True}, 0),
    ],
)
def test_many_files_in_one_folder(files: int, options: dict[str, Any], count: int) -> None:
    """Beyond a million the way to spread them is told to whoever did not take it; objects have their own folder."""
    for beside in (0, 9):
        more = {"found.files": beside + 5, "found.files.object": 3, "found.files.part": 1, "found.files.coded": 1}
        found = told({**WELL, **more, "files": files - beside}, **options)
        assert [message for message, _ in found] == ["1,000,001 files lie in one folder, out"] * count


# --------------------------------------------------------------------------- why a filter took nothing


def batch(*frames: bytes) -> tuple[U8, Records]:
    """Frames behind one another, as a reader yields them."""
    sizes = np.array([len(frame) for frame in frames], np.uint32)
    start = (np.cumsum(sizes) - sizes).astype(np.uint64)
    slab = np.frombuffer(b"".join(frames), np.uint8)
    return slab, Records(start, sizes, sizes, np.arange(len(frames)), np.full(len(frames), LINK_ETHERNET, np.uint16))


GRE = ethernet(ipv4(bytes(40), protocol=47))


@pytest.mark.parametrize(
    ("frames", "expression", "hint"),
    [
        ([tcp4(vlans=(7,))] * 3 + [arp_frame()], "tcp port 80",
         "the packets have VLAN tags: 'vlan and (tcp port 80)' matches 3 of the first 4"),
        ([tcp4(vlans=(7, 8))] * 3 + [arp_frame()], "tcp port 80 or port 81",
         "the packets have VLAN tags: 'vlan and vlan and (tcp port 80 or port 81)' matches 3 of the first 4"),
        ([tcp4(vlans=(7,))] * 3, "vlan 9 and tcp",
         "3 of the first 3 packets are TCP: check the addresses and ports, or run without the filter"),
        ([tcp4(), udp4()], "port 9", "1 of the first 2 packets are TCP: check the addresses and ports"),
        ([tcp4(), GRE, GRE], "port 9",
         "1 of the first 3 packets are TCP, 2 are other transport protocol, which a filter does not look into:"),
    ],
)  # fmt: skip
def test_why_a_filter_took_nothing(frames: list[bytes], expression: str, hint: str) -> None:
    """VLAN tags are found by asking libpcap with ``vlan`` in front; other causes by decoding without the filter."""
    [(message, tip)] = remarks.after(
        config(expression=expression), {"packets": 99, "unprocessed.filtered": 99}, [facts()],
        lambda: batch(*frames),
    )  # fmt: skip
    assert message == f"none of 99 packets matches the filter '{expression}'"
    assert tip.startswith(hint)


def test_packets_are_looked_at_only_when_the_filter_took_none() -> None:
    """Reading the input again is for a run that found nothing."""

    def read() -> None:
        raise AssertionError("read again")

    found = config(expression="tcp")
    assert remarks.after(found, WELL, [facts()], read) == []
    assert len(remarks.after(found, {"packets": 2, "unprocessed.udp": 2}, [facts()], read)) == 1
