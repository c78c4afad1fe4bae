"""The benchmark's captures are what they are said to be, judged by a decoder that is not ours."""

from __future__ import annotations

import gzip
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from socket import inet_ntoa
from typing import NamedTuple

import dpkt  # type: ignore[import-untyped]  # it ships none
import pytest
import zstandard

from tests.bench.generate import KINDS, OPEN_AT_ONCE, cached, generate
from tests.bench.generate import packed as compressed_beside
from tests.forms import crossed

SIZES = {"bulk": 0.004, "web": 0.005, "tiny": 0.005, "disorder": 0.01, "start": 1.0, "chat": 0.01} | {
    f"open-{count}": 0.002 for count in OPEN_AT_ONCE
}


class Seen(NamedTuple):
    """A packet as dpkt decodes it."""

    time: float
    name: str
    back: str
    ip: dpkt.ip.IP
    tcp: dpkt.tcp.TCP


def packets(path: Path) -> Iterator[Seen]:
    with path.open("rb") as file:
        for time, frame in dpkt.pcap.Reader(file):
            ip = dpkt.ethernet.Ethernet(frame).data
            here, there = f"{inet_ntoa(ip.src)}.{ip.data.sport}", f"{inet_ntoa(ip.dst)}.{ip.data.dport}"
            yield Seen(time, f"{here}-{there}", f"{there}-{here}", ip, ip.data)


def streams(path: Path) -> dict[str, bytes]:
    """Every stream of a capture without loss: payloads at their place after the SYN."""
    first: dict[str, int] = {}
    pieces: dict[str, dict[int, bytes]] = defaultdict(dict)
    for packet in packets(path):
        if packet.tcp.flags & dpkt.tcp.TH_SYN:
            first[packet.name] = packet.tcp.seq + 1
        elif packet.tcp.data:
            pieces[packet.name][(packet.tcp.seq - first[packet.name]) % (1 << 32)] = packet.tcp.data
    whole = {name: b"".join(data for _, data in sorted(parts.items())) for name, parts in pieces.items()}
    for name, parts in pieces.items():
        assert len(whole[name]) == max(at + len(data) for at, data in parts.items())
    return whole


@pytest.mark.parametrize("kind", KINDS)
def test_expected_streams_are_those_of_the_capture(kind: str, tmp_path: Path) -> None:
    """Names, sizes and MD5 of every stream, and the counts, agree with a reassembly by dpkt."""
    expected = generate(kind, SIZES[kind], 3, tmp_path / "x")
    found = streams(tmp_path / "x")
    assert {name: (stream.size, stream.md5) for name, stream in expected.streams.items()} == {
        name: (len(data), hashlib.md5(data).hexdigest()) for name, data in found.items()
    }
    assert expected.packets == sum(1 for _ in packets(tmp_path / "x"))
    assert expected.capture_bytes == (tmp_path / "x").stat().st_size


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """A capture depends on kind, size and seed only."""
    made = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate("disorder", 0.002, seed, tmp_path / name)
        made[name] = (tmp_path / name).read_bytes()
    assert made["a"] == made["b"] != made["c"]


@pytest.mark.parametrize("kind", crossed([("web",), ("start",)], KINDS))
def test_frames_are_valid(kind: str, tmp_path: Path) -> None:
    """66 bytes of headers, at most 1,448 of payload, both checksums right, times strictly rising."""
    generate(kind, SIZES[kind], 1, tmp_path / "x")
    before = 0.0
    for index, (time, _, _, ip, tcp) in enumerate(packets(tmp_path / "x")):
        assert time > before
        assert len(ip) == 52 + len(tcp.data)
        assert len(tcp.data) <= 1_448
        before = time
        if index < 300:
            again = dpkt.ip.IP(bytes(ip))
            again.sum = again.data.sum = 0  # dpkt then computes both
            assert bytes(again) == bytes(ip)


@pytest.mark.parametrize("kind", crossed([("bulk",), ("web",)], ["bulk", "web", "tiny", "disorder"]))
def test_connections_are_whole_and_side_by_side(kind: str, tmp_path: Path) -> None:
    """A connection begins with SYN and SYN-ACK and closes on both sides; many are open at a time."""
    expected = generate(kind, SIZES[kind], 1, tmp_path / "x")
    spoken: dict[frozenset[str], list[int]] = defaultdict(list)
    fins: dict[frozenset[str], int] = defaultdict(int)
    most = 0
    for packet in packets(tmp_path / "x"):
        pair = frozenset((packet.name, packet.back))
        spoken[pair].append(packet.tcp.flags)
        fins[pair] += packet.tcp.flags & 1
        most = max(most, sum(count < 2 for count in fins.values()))
    assert len(spoken) == expected.connections
    for flags in spoken.values():
        assert flags[:3] == [0x02, 0x12, 0x10]
        assert flags[-3:] == [0x11, 0x11, 0x10]
    assert most > expected.connections / 2


def test_no_more_at_once_than_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection starts only where another has ended."""
    kind = KINDS["tiny"]
    monkeypatch.setitem(KINDS, "tiny", type(kind)(40, 4, kind.sizes))
    generate("tiny", 1.0, 1, tmp_path / "x")
    fins: dict[frozenset[str], int] = defaultdict(int)
    for packet in packets(tmp_path / "x"):
        fins[frozenset((packet.name, packet.back))] += packet.tcp.flags & 1
        assert sum(count < 2 for count in fins.values()) <= 4


def test_acknowledgements_cover_what_was_seen(tmp_path: Path) -> None:
    """An acknowledgement says exactly how far the other side has come without a hole, in disorder too."""
    generate("disorder", 0.003, 1, tmp_path / "x")
    seen: dict[str, dict[int, int]] = defaultdict(dict)
    for packet in packets(tmp_path / "x"):
        flags, theirs = packet.tcp.flags, seen[packet.back]
        if flags & dpkt.tcp.TH_ACK:
            reached = next(seq for seq, size in theirs.items() if size == 1)  # the SYN is each side's first
            while (after := (reached + theirs.get(reached, 0)) % (1 << 32)) != reached:
                reached = after
            assert packet.tcp.ack == reached
        taken = len(packet.tcp.data) + bool(flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_FIN))
        if taken:
            seen[packet.name][packet.tcp.seq] = taken


@pytest.mark.parametrize(("kind", "share"), [("web", 0.0), ("disorder", 0.02)])
def test_disorder_is_as_said(kind: str, share: float, tmp_path: Path) -> None:
    """About 2 % of the data segments come late and about 2 % come twice; in web none do."""
    generate(kind, 0.02, 1, tmp_path / "x")
    data = late = twice = 0
    highest: dict[str, int] = {}
    seen = set()
    for packet in packets(tmp_path / "x"):
        if packet.tcp.data:
            data += 1
            place = (packet.name, packet.tcp.seq)
            twice += place in seen
            base = highest.setdefault(packet.name, packet.tcp.seq)
            behind = (base - packet.tcp.seq) % (1 << 32) < 1 << 31 and base != packet.tcp.seq
            late += behind and place not in seen
            highest[packet.name] = base if behind else packet.tcp.seq
            seen.add(place)
    assert share * 0.7 <= late / data <= share * 1.3
    assert share * 0.7 <= twice / data <= share * 1.3


@pytest.mark.parametrize("kind", ["web", "tiny"])
def test_http_is_valid(kind: str, tmp_path: Path) -> None:
    """Requests and responses pair up, Content-Length is right, about a quarter is gzip and decodes."""
    generate(kind, 0.02 if kind == "web" else 0.004, 1, tmp_path / "x")
    plain = packed = asked = 0
    for name, data in streams(tmp_path / "x").items():
        rest = data
        while rest:
            if name.endswith(".80"):
                request = dpkt.http.Request(rest)
                asked, rest = asked + 1, request.data
                continue
            response = dpkt.http.Response(rest)
            rest = response.data
            assert len(response.body) == int(response.headers["content-length"])
            coded = response.headers.get("content-encoding") == "gzip"
            body = gzip.decompress(response.body) if coded else response.body
            assert body.isascii()
            plain, packed = plain + (not coded), packed + coded
    assert asked == plain + packed
    assert 0.15 < packed / asked < 0.35


def test_captures_are_kept(tmp_path: Path) -> None:
    """A capture is made once; one that is cut, or of another seed, is made again."""
    path, first = cached("tiny", 0.001, 1, tmp_path)
    made = path.stat().st_mtime_ns
    assert cached("tiny", 0.001, 1, tmp_path) == (path, first)
    assert path.stat().st_mtime_ns == made
    path.write_bytes(path.read_bytes()[:-1])
    assert cached("tiny", 0.001, 1, tmp_path) == (path, first)
    assert path.stat().st_size == first.capture_bytes
    assert cached("tiny", 0.001, 2, tmp_path)[1].streams != first.streams


def test_packed_captures_are_kept(tmp_path: Path) -> None:
    """The compressed form is made once, and again when its capture was; a cut one never gets the name."""
    path, _ = cached("tiny", 0.001, 1, tmp_path)
    compressed = compressed_beside(path)
    assert compressed.name == path.name + ".zst"
    assert zstandard.decompress(compressed.read_bytes()) == path.read_bytes()
    made = compressed.stat().st_ino
    assert compressed_beside(path).stat().st_ino == made
    path.write_bytes(path.read_bytes()[:-1])
    cached("tiny", 0.001, 1, tmp_path)
    assert zstandard.decompress(compressed_beside(path).read_bytes()) == path.read_bytes()
    assert compressed_beside(path).stat().st_ino != made
    assert sorted(entry.suffix for entry in tmp_path.iterdir()) == [".json", ".pcap", ".zst"]
