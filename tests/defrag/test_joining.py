"""Fragments in whole runs: streams, reports, what -w gets, counts; the same however a run is done."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.capture import Capture
from pipeline.config import Config
from pipeline.errors import OutputError
from pipeline.memory import Memory, places
from pipeline.spool.slabs import Spool
from tests import build as b
from tests.build import EPOCH_NS, Conversation, Packet, write_pcap
from tests.defrag.fragmented import fragments4, fragments6, in_fragments
from tests.forms import crossed
from tests.leftovers import uncollected
from tests.runs import counters, differences, environment, flows, output, report_of, run_apart, run_here
from tests.test_unprocessed import parse
from workers.limits import Limits

SECOND = 1_000_000_000
TEXT = bytes(range(33, 127)) * 40


def segment(payload: bytes = TEXT[:200], seq: int = 1, sport: int = 40000) -> bytes:
    return b.tcp(sport, 80, seq=seq, payload=payload)


def frames(packets: list[bytes], second: float = 0, vlans: tuple[int, ...] = ()) -> list[Packet]:
    """IP packets as Ethernet frames, a millisecond apart."""
    start = EPOCH_NS + int(second * SECOND)
    return [Packet(start + i * 1_000_000, b.ethernet(each, vlans=vlans)) for i, each in enumerate(packets)]


def dealt(
    path: Path, *, mapped: bool = True, batch: int = 1000, **options: Any
) -> tuple[Capture, list[dict[str, Any]]]:
    """The segments of a capture: columns, key and payload, in the order of their packets."""
    config = Config(inputs=(path,), workers=1, batch_packets=batch, mapped=mapped, **options)
    capture = Capture(config, 1, Spool(None, 1 << 26))
    assert capture.spool is not None
    arrays = Memory(config, capture.spool.view, keep=2)
    found = []
    for each in capture.batches():
        part = each.parts[0]
        if len(part.packet):
            source, place = places(part.extents, part.start)
            sources = np.broadcast_to(source, len(place)).tolist()
        for i in range(len(part.packet)):
            row: dict[str, Any] = {
                name: int(getattr(part, name)[i]) for name in ("packet", "time", "size", "missing", "mac", "seq")
            }
            row |= {"length": int(part.length[i]), "clipped": int(part.clipped[i])}
            row["key"] = tuple(part.keys[part.flow[i]].tolist())
            array, at = arrays(sources[i]), int(place[i])
            row["payload"] = array[at : at + row["size"] - row["missing"]].tobytes()
            row["macs"] = array[at - row["mac"] : at - row["mac"] + 12].tobytes() if row["mac"] else b""
            found.append(row)
        each.drop()
    assert capture.spool.in_use == 0
    capture.spool.close()
    count = capture.counters()
    assert count["read"] == sum(value for name, value in count.items() if name.startswith("reason."))
    return capture, found


def reasons(capture: Capture) -> dict[str, int]:
    """The counts that are not 0."""
    return {name[7:]: n for name, n in capture.counters().items() if name.startswith("reason.") and n}


# --------------------------------------------------------------------------- one datagram


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("cut", [fragments4, fragments6])
def test_a_segment_in_fragments(cut: Any, mapped: bool, tmp_path: Path) -> None:
    """It has the place and the time of the last one to come, the bytes of all, the MAC addresses of the first."""
    pieces = cut(segment(), [24, 48, 80])
    packets = frames([*pieces[1:], pieces[0]])
    capture, [found] = dealt(write_pcap(tmp_path / "x", packets), mapped=mapped)
    assert (found["payload"], found["seq"], found["missing"]) == (TEXT[:200], 1, 0)
    assert (found["packet"], found["time"]) == (4, packets[3].time_ns)
    assert found["length"] == sum(len(each.frame) for each in packets)
    assert found["clipped"] == 0
    assert found["macs"] == packets[0].frame[:12]
    assert reasons(capture) == {"tcp": 1, "fragment_merged": 3}
    assert capture.counters()["fragments.datagrams"] == 1


def test_without_macs(tmp_path: Path) -> None:
    """A link without MAC addresses gives none."""
    packets = [Packet(EPOCH_NS, each, link=101) for each in fragments4(segment(), [40])]
    _, [found] = dealt(write_pcap(tmp_path / "x", packets, link=101))
    assert (found["payload"], found["mac"]) == (TEXT[:200], 0)


def test_a_capture_that_is_cut(tmp_path: Path) -> None:
    """A snap length cuts every fragment: the segment's size is right, and it misses what is behind the first cut."""
    packets = [each.cut(54) for each in frames(fragments4(segment(), [80, 80]))]
    _, [found] = dealt(write_pcap(tmp_path / "x", packets))
    assert (found["size"], found["payload"], found["missing"]) == (200, b"", 200)
    packets = [each.cut(90) for each in frames(fragments4(segment(), [80, 80]))]
    _, [found] = dealt(write_pcap(tmp_path / "y", packets))
    assert (found["size"], found["payload"]) == (200, TEXT[:36])
    assert found["clipped"] == sum(each.wire_length - len(each.frame) for each in packets)


def test_networks_are_told_apart(tmp_path: Path) -> None:
    """Fragments on two VLANs make no datagram, unless VLANs are ignored; and the segment is on its fragments' VLANs."""
    first, last = fragments4(segment(), [80])
    mixed = [*frames([first], 0, (5, 6)), *frames([last], 1, (5, 7))]
    _, found = dealt(write_pcap(tmp_path / "x", mixed))
    assert found == []
    _, found = dealt(write_pcap(tmp_path / "x", mixed), ignore_vlan=True)
    assert [row["payload"] for row in found] == [TEXT[:200]]
    both = [*mixed, *frames([last], 2, (5, 6))]
    _, [tagged] = dealt(write_pcap(tmp_path / "y", both))
    whole = [Packet(EPOCH_NS, b.ethernet(b.ipv4(segment()), vlans=(5, 6)))]
    _, [expected] = dealt(write_pcap(tmp_path / "z", whole))
    assert tagged["key"] == expected["key"]


def test_a_datagram_that_is_no_segment(tmp_path: Path) -> None:
    """UDP in fragments is put together and is UDP: the last fragment counts as it, the others as merged."""
    packets = frames(fragments4(b.udp(1, 2, TEXT[:90]), [48, 24], protocol=17))
    capture, found = dealt(write_pcap(tmp_path / "x", packets))
    assert found == []
    assert reasons(capture) == {"udp": 1, "fragment_merged": 2}


def test_tiny_fragments(tmp_path: Path) -> None:
    """A TCP header in pieces of 8 bytes (RFC 1858) is a TCP header."""
    _, [found] = dealt(write_pcap(tmp_path / "x", frames(fragments4(segment(), [8] * 40))))
    assert found["payload"] == TEXT[:200]


def test_an_atomic_fragment(tmp_path: Path) -> None:
    """A fragment header without fragmentation changes nothing (RFC 6946)."""
    capture, [found] = dealt(write_pcap(tmp_path / "x", frames(fragments6(segment(), []))))
    assert found["payload"] == TEXT[:200]
    assert reasons(capture) == {"tcp": 1}


def test_behind_extension_headers(tmp_path: Path) -> None:
    """Fragment headers are found behind others; the payload is what the fragment's header says."""
    packets = [b.ipv6(b.ipv6_extension(each[40:], 44), next_header=0) for each in fragments6(segment(), [80])]
    _, [found] = dealt(write_pcap(tmp_path / "x", frames(packets)))
    assert found["payload"] == TEXT[:200]


# --------------------------------------------------------------------------- tunnels


def gre(packet: bytes, src: str = "172.16.0.1", **options: Any) -> bytes:
    return b.ipv4(b"\0\0\x08\0" + packet, src, "172.16.0.2", protocol=47, **options)


def gre_body(packet: bytes) -> bytes:
    return b"\0\0\x08\0" + packet


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_tunnels_and_fragments(batch: int, tmp_path: Path) -> None:
    """A tunnel's packet in fragments; fragments in a tunnel; and both, as a path with a small MTU makes them."""
    outside = fragments4(gre_body(b.ipv4(segment(TEXT[:100], 1))), [64], 1, src="172.16.0.1", protocol=47)
    inside = [gre(each) for each in fragments4(segment(TEXT[100:250], 101), [80], 2)]
    first, second = fragments4(segment(TEXT[250:600], 251), [256], 3)
    both = [*fragments4(gre_body(first), [160], 4, src="172.16.0.1", protocol=47), gre(second)]
    path = write_pcap(tmp_path / "x", frames([*outside, *inside, *both]))
    capture, found = dealt(path, batch=batch)
    assert [(row["seq"], row["packet"]) for row in found] == [(1, 2), (101, 4), (251, 7)]
    assert b"".join(row["payload"] for row in found) == TEXT[:600]
    assert len({row["key"] for row in found}) == 1
    assert found[2]["length"] == sum(14 + len(each) for each in both)
    assert reasons(capture) == {"tcp": 3, "fragment_merged": 4}


def vxlan(frame: bytes) -> bytes:
    return b.udp(50_000, 4789, b"\x08\0\0\0\x12\x34\x56\0" + frame)


def inner_frame(packet: bytes) -> bytes:
    return b.ethernet(packet, vlans=(6, 7), src=b"\x02inner", dst=b"\x02other")


@pytest.mark.parametrize("ignore_vlan", [False, True])
def test_overlays_and_fragments(ignore_vlan: bool, tmp_path: Path) -> None:
    """A segment has the networks, outside and inside of an overlay, and the MAC addresses that it has unfragmented,
    wherever the fragments are."""
    whole = b.ipv4(segment())
    inside = [b.ipv4(vxlan(inner_frame(each)), protocol=17) for each in fragments4(segment(), [80])]
    outside = fragments4(vxlan(inner_frame(whole)), [160], 9, protocol=17)
    found = []
    for name, packets in {
        "whole": [b.ipv4(vxlan(inner_frame(whole)), protocol=17)],
        "inside": inside,
        "outside": outside,
    }.items():
        _, [row] = dealt(write_pcap(tmp_path / name, frames(packets, 0, (5,))), ignore_vlan=ignore_vlan)
        found.append((row["key"], row["macs"], row["payload"]))
    assert found[0] == found[1] == found[2]
    assert found[0][1] == b"\x02other\x02inner"
    if not ignore_vlan:
        assert found[0][0][5] >> 4 & 15 == 5  # two VLANs within, one outside, and the overlay's two slots


def test_fragments_of_fragments_of_fragments(tmp_path: Path) -> None:
    """Two levels are put together, a third is refused; nothing is lost on the way."""
    packets = fragments4(segment(TEXT[:800]), [400], 1)
    packets = [piece for i, each in enumerate(packets) for piece in
               fragments4(gre_body(each), [200], 10 + i, src="172.16.0.1", protocol=47)]  # fmt: skip
    packets = [piece for i, each in enumerate(packets) for piece in
               fragments4(gre_body(each), [104], 20 + i, src="172.16.0.3", protocol=47)]  # fmt: skip
    capture, found = dealt(write_pcap(tmp_path / "x", frames(packets)))
    assert found == []
    assert set(reasons(capture)) == {"fragment_merged", "fragment_refused"}


# --------------------------------------------------------------------------- whole runs


def traffic(seed: int) -> tuple[list[Packet], list[Packet]]:
    """Conversations in turns: as they are, and with most of their packets in fragments, some of them lost or repeated
    where that does no harm."""
    rng = random.Random(seed)
    talks = []
    for i, (src, dst) in enumerate([("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] * 3):
        talk = Conversation(
            client=(src, 1000 + i), server=(dst, 80), vlans=(7,) if i > 3 else (), start_ns=EPOCH_NS + i
        )
        talks.append(talk.packets((side, rng.randbytes(rng.randrange(3000))) for side in (0, 1, 0)))
    whole = b.in_turns(*talks)
    broken: list[Packet] = []
    for number, packet in enumerate(whole):
        if len(packet.frame) < 100 or rng.random() < 0.2:
            broken.append(packet)
            continue
        pieces = in_fragments(packet, [8 * rng.randint(1, 60) for _ in range(rng.randint(1, 8))], number)
        again = rng.sample(pieces[:-1], min(len(pieces) - 1, rng.choice([0, 0, 1])))
        last = pieces.pop()
        pieces += again
        rng.shuffle(pieces)
        broken += [*pieces, last]
        if rng.random() < 0.2:
            broken.append(in_fragments(packet, [48], number + 50_000)[rng.randrange(2)])
    return whole, broken


def streams(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "report.xml"}


@pytest.mark.parametrize("seed", range(3))
def test_fragments_change_no_stream(seed: int, tmp_path: Path) -> None:
    """Traffic in fragments comes to the streams that it comes to without them."""
    for name, packets in zip(("whole", "broken"), traffic(seed), strict=True):
        write_pcap(tmp_path / f"{name}.pcap", packets)
        done = run_here("-r", tmp_path / f"{name}.pcap", "-o", tmp_path / name, "--workers", 0, "--quiet", "-md5")
        assert (done.status, done.err) == (0, "")
    assert differences(streams(tmp_path / "whole"), streams(tmp_path / "broken")) == []
    told = counters(report_of(tmp_path / "broken"))
    assert told["fragments.datagrams"] > 10
    assert told["packets.merged"] > 30
    apart = sum(count for name, count in told.items() if name.startswith("unprocessed."))
    assert told["packets"] == told["packets.tcp"] + told["packets.merged"] + apart


FORMS: dict[str, list[object]] = {
    "batches of 3": ["--workers", 0, "--batch-packets", 3],
    "two workers": ["--workers", 2, "--writers", 2],
    "two workers, batches of 7": ["--workers", 2, "--writers", 2, "--batch-packets", 7],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_output_is_always_the_same(form: str, tmp_path: Path) -> None:
    """Files, report, packet map and -w do not depend on processes, batches, and how the input is read."""
    write_pcap(tmp_path / "x.pcap", traffic(1)[1])
    made = []
    for name, words in (("one", ["--workers", 0]), ("other", FORMS[form])):
        runner = run_here if words[:2] == ["--workers", 0] else run_apart
        left = tmp_path / f"{name}.pcapng"
        done = runner(
            "-r", "x.pcap", "-o", name, "-md5", "--quiet", "-w", left, "--packet-map", *words, folder=tmp_path
        )
        assert (done.status, done.err) == (0, "")
        text = output(tmp_path / name)
        del text["packet-map.tsv mtime"]
        text["report.xml"] = text["report.xml"].replace(b"other", b"one")
        made.append({**text, "-w": left.read_bytes()})
    assert differences(*made) == []


def test_the_report_of_a_rebuilt_segment(tmp_path: Path) -> None:
    """Bytes that were captured in pieces have no place in the image; the other figures are those of all pieces."""
    talk = Conversation()
    packets = talk.open()
    pieces = in_fragments(talk.segment(0, TEXT[:300], flags=b.ACK | b.PSH), [80, 80])
    write_pcap(tmp_path / "x.pcap", [*packets, *pieces])
    done = run_here("-r", tmp_path / "x.pcap", "-o", tmp_path / "out", "--workers", 0, "--quiet")
    assert done.status == 0
    [(file, flow)] = flows(report_of(tmp_path / "out"))
    assert file.runs == [{"file_offset": "0", "len": "300"}]
    sent = [packets[0], packets[2], *pieces]
    assert int(flow["len"]) == int(flow["caplen"]) == sum(len(each.frame) for each in sent)
    assert (flow["mac_saddr"], flow["packets"]) == (":".join(f"{byte:02x}" for byte in b.MAC_A), "3")


def left(folder: Path, packets: list[Packet], *words: object) -> list[tuple[int, str, bytes]]:
    """What -w gets: packet number, comment, frame."""
    folder.mkdir()
    write_pcap(folder / "x.pcap", packets)
    words = ("-r", folder / "x.pcap", "-o", folder / "out", "-w", folder / "w", "--quiet", *words)
    done = run_here(*words) if "0" in map(str, words) else run_apart(*words)
    assert done.status == 0, done.err
    return [
        (each.number, each.comment.removeprefix("not processed: "), each.frame)
        for each in parse((folder / "w").read_bytes())
    ]


@pytest.mark.parametrize("words", [("--workers", 0), ("--workers", 0, "--batch-packets", 1), ("--workers", 2)])
def test_fragments_that_are_left(words: tuple[object, ...], tmp_path: Path) -> None:
    """-w has what no stream took, as it was captured, where that became known: expired, refused, repeated, held, of a
    datagram that is no segment; and not what is in a stream."""
    lone, _ = fragments4(segment(), [80], 1)
    twice = fragments4(segment(TEXT[:50], 1, 41000), [32], 2)
    datagram = fragments4(b.udp(1, 2, TEXT[:90]), [48], 3, protocol=17)
    late, _ = fragments4(segment(), [80], 4)
    packets = [
        *frames([lone, twice[0], twice[0]]), *frames([b.ipv4(b"", protocol=1)], 1), *frames([twice[1], datagram[0]], 2),
        *frames([b.ipv4(b"", protocol=1)], 35), *frames(datagram[:0:-1], 31), *frames([late], 40),
        *frames([b.ipv4(b"", protocol=1)], 41),
    ]  # fmt: skip
    expected = [
        (3, "IP fragment that came before"), (4, "ICMP"), (7, "ICMP"), (1, "IP fragment, others did not come in time"),
        (6, "IP fragment, others did not come in time"), (10, "ICMP"), (8, "IP fragment, others are missing"),
        (9, "IP fragment, others are missing"),
    ]  # fmt: skip
    found = left(tmp_path / "x", packets, *words)
    assert [(number, comment) for number, comment, _ in found] == expected
    assert all(frame == packets[number - 1].frame for number, _, frame in found)


def test_a_datagram_that_is_no_segment_is_left_as_it_came(tmp_path: Path) -> None:
    """All its fragments are in -w, the last one with what the datagram is."""
    packets = frames(fragments4(b.udp(1, 2, TEXT[:90]), [48, 24], protocol=17))
    merged = "IP fragment of a datagram that is no TCP segment"
    found = left(tmp_path / "x", packets, "--workers", 0)
    assert [(number, comment) for number, comment, _ in found] == [(1, merged), (2, merged), (3, "UDP")]
    assert [frame for *_, frame in found] == [each.frame for each in packets]


def test_a_rebuilt_segment_that_no_stream_takes(tmp_path: Path) -> None:
    """It is in -w as an IP packet: the fragments' bytes, put together."""
    talk = Conversation()
    packets = [*talk.open(), *talk.say(0, b"hello"), *talk.say(0, b"x" * 10)]
    whole = talk.segment(0, TEXT[:300], seq=talk.next_seq[0] + (1 << 31) - 5)
    pieces = in_fragments(whole, [80])
    [(number, _, frame)] = left(tmp_path / "x", [*packets, *pieces], "--workers", 0)
    assert number == len(packets) + 2
    assert frame[20:] == whole.frame[34:]


def test_several_inputs(tmp_path: Path) -> None:
    """The fragments of a datagram may be in different captures, as of rotated files and of two taps."""
    first, last = frames(fragments4(segment(), [80]))
    for name, packet in (("a", first), ("b", last)):
        write_pcap(tmp_path / name, [packet])
    for words in (["--workers", 0], ["--workers", 2]):
        out = tmp_path / f"out{words[1]}"
        done = (run_apart if words[1] else run_here)(
            "-r", tmp_path / "a", "-r", tmp_path / "b", "-o", out, "--quiet", *words
        )
        assert done.status == 0, done.err
        assert list(streams(out).values()) == [TEXT[:200]]


def test_no_spool_when_it_is_needed(tmp_path: Path) -> None:
    """A run that has no room to put fragments together says so, and does nothing else."""
    config = Config(inputs=(write_pcap(tmp_path / "x", frames(fragments4(segment(), [80]))),), workers=1)
    with pytest.raises(OutputError, match="spool"):
        list(Capture(config, 1, None).batches())


def test_a_run_without_fragments_needs_no_spool(tmp_path: Path) -> None:
    """Where the spool cannot be made (a limit on the size of files) a plain capture is processed all the same."""
    write_pcap(tmp_path / "x", Conversation().packets([(0, b"hello")]))

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = run_apart("-r", tmp_path / "x", "-o", tmp_path / "out", "--quiet", "--workers", 1, preexec=limited)
    assert (done.status, done.err) == (0, "")


# --------------------------------------------------------------------------- hostile


def test_a_limit_does_not_depend_on_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which fragments are given up for want of memory, and where -w has them, is the same for any batches."""
    monkeypatch.setattr("pipeline.cli.Limits", lambda: Limits(fragment_bytes=8000))
    packets = traffic(2)[1]
    tunnelled = [Packet(each.time_ns, b.ethernet(gre(each.frame[14:]))) for each in packets if each.frame[12] == 8]
    packets = b.in_turns(packets, tunnelled)
    expected = left(tmp_path / "x", packets, "--workers", 0)
    assert {"too many were waiting"} < {comment.partition(", ")[2] for _, comment, _ in expected}
    for batch in (1, 5, 50):
        assert left(tmp_path / str(batch), packets, "--workers", 0, "--batch-packets", batch) == expected


@pytest.mark.parametrize("seed", crossed([(seed,) for seed in range(15)], range(40)))
def test_damaged_fragments(seed: int, tmp_path: Path) -> None:
    """Whatever is in the headers, every packet has one reason, and no byte comes from beyond a frame."""
    rng = random.Random(seed)
    packets = []
    for each in traffic(seed)[1]:
        frame = bytearray(each.frame)
        for _ in range(rng.choice([0, 0, 1, 3])):
            frame[rng.randrange(12, min(len(frame), 80))] = rng.randrange(256)
        made = Packet(each.time_ns, bytes(frame))
        packets.append(made.cut(rng.randrange(len(frame) + 1)) if rng.random() < 0.1 else made)
    capture, found = dealt(write_pcap(tmp_path / "x", packets), batch=rng.choice([7, 1000]))
    assert sum(row["length"] - row["clipped"] for row in found) <= sum(len(each.frame) for each in packets)
    assert capture.packets == len(packets)


_FLOOD = """
import resource, sys
from pipeline.cli import main
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
status = main(sys.argv[1:])
print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def flood(path: Path, count: int) -> None:
    """Lone first fragments, each of a datagram of its own."""
    rows = np.zeros((count, 16 + 14 + 20 + 24), np.uint8)
    frame = b.ethernet(b.ipv4(segment()[:24], more_fragments=True))
    rows[:, 16:] = np.frombuffer(frame, np.uint8)
    number = np.arange(count)
    times = np.zeros((count, 4), "<u4")
    times[:, 0], times[:, 1] = 1_600_000_000 + number // 1_000_000, number % 1_000_000
    times[:, 2] = times[:, 3] = len(frame)
    rows[:, :16] = times.view(np.uint8).reshape(count, 16)
    for at, value in ((16 + 14 + 4, number >> 8), (16 + 14 + 5, number), (16 + 14 + 14, number >> 16)):
        rows[:, at] = value & 0xFF
    path.write_bytes(b.pcap_bytes([])[:24] + rows.tobytes())


def test_lone_fragments_leave_nothing_behind(tmp_path: Path) -> None:
    """IP fragments: ten times as many batches of lone ones leave no more that only a collector would find."""
    found = []
    for batches in (1, 2, 20):  # the first run leaves what is made once
        flood(tmp_path / "x", batches * 100)
        words = ("--workers", 0, "--batch-packets", 100, "--quiet")
        with uncollected() as left:
            run_here("-r", tmp_path / "x", "-o", tmp_path / f"out-{batches}", *words)
            found.append(left())
    assert found[2] - found[1] < 18


@pytest.mark.slow
@pytest.mark.parametrize(("count", "left"), [(1_000_000, False), (250_000, True)], ids=["", "-w"])
def test_a_million_lone_fragments(count: int, left: bool, tmp_path: Path) -> None:
    """They take 32 MiB at most, beside what a capture of that many other packets takes, and every one is counted; with
    -w a quarter of them, which are more than can be held."""
    flood(tmp_path / "x", count)
    grown = {}
    for name, change in (("few", True), ("all", False)):
        if change:
            data = bytearray((tmp_path / "x").read_bytes())
            view = np.frombuffer(data, np.uint8)[24:].reshape(-1, 74)
            view[:, 16 + 14 + 6] = 0  # no fragments any more
            (tmp_path / "few").write_bytes(data)
        source = tmp_path / ("few" if change else "x")
        words = ["-w", f"{name}.pcapng"] if left else []
        arguments = ["-r", str(source), "-o", str(tmp_path / f"out-{name}"), "--workers", "0", "--quiet", *words]
        done = subprocess.run([sys.executable, "-c", _FLOOD, *arguments], cwd=tmp_path, env=environment(),
                              capture_output=True, text=True, timeout=55, check=True)  # fmt: skip
        status, grew = done.stdout.split()
        assert status == "0"
        grown[name] = int(grew)
    told = counters(report_of(tmp_path / "out-all"))
    assert told["unprocessed.fragment_evicted"] + told["unprocessed.fragment_held"] == count
    assert grown["all"] - grown["few"] < 40 << 10
