"""``--flows``: a line for each connection, however it went, from whatever packets, whoever wrote it."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OutputError
from pipeline.report.flows import Flows, flows_fragment, merge_flows, settle_names
from pipeline.report.rows import Part, StreamRecord
from pipeline.writer.names import provisional
from tests.effort import examples
from tests.report.samples import MD5, ODD_TEXT, record
from tests.workers.traffic import SECOND, Seg, conversation, mix, part, rows, run
from tests.workers.traffic import batches as cut
from tests.writer.feed import Bench, Piece, flow, key_of, name_of, table, whole
from workers import wire
from workers.contract import (
    ACK,
    BACK,
    FIN,
    NO_EXTENTS,
    RST,
    SYN,
    Closed,
    Completeness,
    Connections,
    EventBatch,
    Progress,
)
from workers.limits import Limits
from workers.reassembler import Reassembler

NO_STREAMS = np.empty(0, np.uint64)


def stream_record(row: dict[str, Any], coarse: bool) -> StreamRecord:
    """The record of a stream that a worker closed, as a writer would make it."""
    stream = row["stream"]
    suffix = provisional(stream) if coarse else ""
    return record(
        stream, filename=f"stream{'' if coarse else stream}{suffix}", suffix=suffix, written=row["written"],
        gap_bytes=row["end"] - row["origin"] - row["written"], flags=row["flags"],
    )  # fmt: skip


def keep_closed(flows: Flows, closed: Closed | None, coarse: bool) -> None:
    if closed is not None:
        for row in rows([EventBatch(0, NO_EXTENTS, closed=closed)], "closed"):
            flows.keep(stream_record(row, coarse))


def content(
    segments: list[Seg], *, size: int = 1000, limits: Limits | None = None, workers: int = 1, writers: int = 1,
    vector: bool = True, coarse: bool = False, plain: Any = NO_STREAMS,
) -> bytes:  # fmt: skip
    """The file that workers and writers make of segments, over the wire."""
    with tempfile.TemporaryDirectory() as folder:
        fragments = [flows_fragment(Path(folder, f"fragment-{m}")) for m in range(writers)]
        made = [Flows(fragment) for fragment in fragments]
        for worker in range(workers):
            reassembler = Reassembler(limits or Limits(), vector=vector, connections=True)
            mine = [part(batch, worker, workers) if workers > 1 else batch for batch in cut(segments, size)]
            for events in (*map(reassembler.handle, mine), *reassembler.finish()):
                for m, flows in enumerate(made):
                    for frames in wire.encode_events(wire.for_writer(events, m, writers)):
                        message = wire.decode([bytes(frame) for frame in frames])
                        assert isinstance(message, wire.Happened)
                        keep_closed(flows, message.events.closed, coarse)
                        if message.events.connections is not None:
                            flows.add(message.events.connections)
        for flows in made:
            flows.close()
        out = Path(folder, "flows.jsonl")
        count = merge_flows(fragments, out, plain)
        told = out.read_bytes()
        assert count == told.count(b"\n")
        return told


def parsed(told: bytes) -> list[dict[str, Any]]:
    assert not told or told.endswith(b"\n")
    return [json.loads(line) for line in told.splitlines()]


def lines(segments: list[Seg], **how: Any) -> list[dict[str, Any]]:
    return parsed(content(segments, **how))


# What a line says

START = [Seg(1, 0, 100, SYN), Seg(1, 1, 500, SYN | ACK, ack=101)]
DATA = [Seg(1, 0, 101, ACK, 10, 501), Seg(1, 1, 501, ACK, 20, 111)]
END = [Seg(1, 0, 111, FIN | ACK, 0, 521), Seg(1, 1, 521, FIN | ACK, 0, 112)]


@pytest.mark.parametrize(
    ("segments", "state", "reason", "reset", "out", "back"),
    [
        (START[:1], "half-open", "input_end", False, "S open", "midstream open"),
        ([START[0], START[0]], "half-open", "input_end", False, "S open", "midstream open"),
        ([START[0], Seg(1, 1, 9, RST | ACK, 0, 101)], "rejected", "reset", True, "S", "midstream"),
        ([START[0], Seg(1, 0, 101, RST)], "reset", "reset", True, "S", "midstream"),
        ([*START, Seg(1, 0, 101, RST)], "reset", "reset", True, "S", "S"),
        ([*START, *DATA, Seg(1, 1, 521, RST)], "reset", "reset", True, "SD", "SD"),
        (START, "established", "input_end", False, "S open", "S open"),
        ([*START, *DATA], "established", "input_end", False, "SD open", "SD open"),
        ([START[0], DATA[0]], "established", "input_end", False, "SD open", "midstream open"),
        ([START[1]], "half-open", "input_end", False, "S open", "midstream open"),
        ([*START, *DATA, *END], "closed", "finished", False, "SFD", "SFD"),
        ([*START, *END], "closed", "input_end", False, "SF gaps", "SF gaps"),
        ([*START, *DATA, END[0]], "half-closed", "input_end", False, "SFD", "SD open"),
        (DATA, "midstream", "input_end", False, "D midstream open", "D midstream open"),
        (DATA[:1], "midstream", "input_end", False, "D midstream open", "midstream open"),
        ([Seg(1, 1, 5, ACK)], "midstream", "input_end", False, "midstream open", "midstream open"),
        ([*DATA, *END], "closed", "finished", False, "FD midstream", "FD midstream"),
        ([Seg(1, 0, 7, RST)], "reset", "reset", True, "midstream", "midstream"),
        ([Seg(1, 0, 7, ACK, 9)._replace(missing=9)], "midstream", "input_end", False, "midstream open snapped",
         "midstream open"),
    ],
)  # fmt: skip
def test_how_a_connection_went(segments: list[Seg], state: str, reason: str, reset: bool, out: str, back: str) -> None:
    """Each connection has a line, with payload or without, and a word for how far it came."""
    for vector in (True, False):
        [line] = lines(segments, vector=vector)
        assert (line["state"], line["reason"], line["reset"]) == (state, reason, reset)
        for side, expected in ((line["out"], out), (line["back"], back)):
            seen = ("S" if side["syn"] else "") + ("F" if side["fin"] else "") + ("D" if side["file"] else "")
            assert [*([seen] if seen else []), *side["completeness"]] == expected.split()
            assert (side["file"] is None) == (side["written"] == 0)


def test_a_line_whole() -> None:
    """The schema, key by key and in its order."""
    segments = [s._replace(time=10**18 + 7 * i) for i, s in enumerate([*START, *DATA, *END])]
    expected = (
        '{"id":1,"src":"0.0.0.1","sport":0,"dst":"0.0.0.0","dport":0,"ip":4,"vlans":[],"overlays":[],'
        '"start":"2001-09-09T01:46:40.000000000Z","end":"2001-09-09T01:46:40.000000035Z",'
        '"duration":0.000000035,"state":"closed","reason":"finished","reset":false,'
        '"out":{"packets":3,"len":172,"caplen":172,"payload":10,"syn":true,"fin":true,"completeness":[],'
        '"file":"stream2","parts":[],"written":10,"gap_bytes":0,"md5":null,"conflicts":0},'
        '"back":{"packets":3,"len":182,"caplen":182,"payload":20,"syn":true,"fin":true,"completeness":[],'
        '"file":"stream3","parts":[],"written":20,"gap_bytes":0,"md5":null,"conflicts":0}}\n'
    )
    assert content(segments).decode() == expected


def test_every_end_of_a_connection() -> None:
    """A tuple used again, idleness and a limit each end a connection, and its line says so."""
    again = [s._replace(seq=s.seq + 10**6, ack=s.ack and s.ack + 10**6) for s in START]
    assert [line["reason"] for line in lines([*START, *again])] == ["reused", "input_end"]
    late = [START[0], Seg(2, 0, 1, ACK, 5, time=1000 * SECOND)]
    assert [line["reason"] for line in lines(late)] == ["idle", "input_end"]
    crowd = [Seg(256 * i, 0, 1, SYN) for i in range(1, 5)]
    found = lines(crowd, limits=Limits(connections_per_shard=3))
    assert [line["reason"] for line in found] == ["evicted", "input_end", "input_end", "input_end"]
    assert [line["id"] for line in found] == [1, 2, 3, 4]


def test_nothing_at_all() -> None:
    """Without a TCP packet the file is empty, and it is there."""
    assert content([]) == b""


def row(**changes: Any) -> Connections:
    """One row of the table, changed as asked."""
    plain = {
        "stream": 8, "shard": 0, "key": key_of(8), "side": 0, "state": Progress.SEEN | Progress.SYN, "reason": 5,
        "first": 0, "last": 0,
    }  # fmt: skip
    return table(Connections, [tuple((plain | changes).get(name, 0) for name in Connections._fields)])


def told_of(*tables: Connections, records: tuple[StreamRecord, ...] = (), plain: Any = NO_STREAMS) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f")
        flows = Flows(path)
        for each in records:
            flows.keep(each)
        for each in tables:
            flows.add(each)
        flows.close()
        merge_flows([path], Path(folder, "out"), plain)
        return Path(folder, "out").read_bytes()


@pytest.mark.parametrize(
    ("first", "last", "duration"),
    [
        (5, 5, "0.000000000"),
        (-1, 10**9, "1.000000001"),
        (10**18, 10**18 + 123_456_789_012, "123.456789012"),
        (-(2**63) + 1, 2**63 - 1, "18446744073.709551614"),
        (-(2**63), 0, "9223372036.854775808"),
    ],
)
def test_times_are_exact(first: int, last: int, duration: str) -> None:
    """Nanoseconds stay nanoseconds, over whatever span; what is no time is null."""
    line = told_of(row(first=first, last=last)).decode()
    assert f'"duration":{duration},' in line
    times = json.loads(line)
    for name, time in (("start", first), ("end", last)):
        if time == -(2**63):
            assert times[name] is None
        else:
            whole_seconds = datetime.fromisoformat(times[name][:19] + "+00:00").timestamp()
            assert int(whole_seconds) * SECOND + int(times[name][20:29]) == time


def test_addresses() -> None:
    """The first packet's sender is the source, on either side of the key; VLANs, overlays and IPv6 are told."""
    found = json.loads(told_of(row(side=1)))
    assert [found[name] for name in ("src", "sport", "dst", "dport", "ip", "vlans", "overlays")] == [
        "10.0.0.2", 80, "10.0.0.1", 1004, 4, [], []
    ]  # fmt: skip
    net = 6 | 4 << 4 | 10 << 8 | 1 << 20 | 905 << 32 | 4095 << 44 | 0b0010 << 56
    found = json.loads(told_of(row(key=[0x20010DB8 << 32, 1, 1 << 63, 2, 65535 << 16 | 1, net, 0])))
    assert [found[name] for name in ("src", "sport", "dst", "dport", "ip", "vlans", "overlays")] == [
        "2001:db8::1", 65535, "8000::2", 1, 6, [10, 4095], ["vx5001"]
    ]  # fmt: skip


# Names

BOTH = Progress.SEEN | Progress.DATA | (Progress.SEEN | Progress.DATA) << 4


@given(ODD_TEXT, ODD_TEXT, st.sampled_from(["", "~4"]), st.integers(0, 3), st.integers(0, 3))
@examples(200)
def test_any_name_survives(one: str, other: str, suffix: str, plain: int, parts: int) -> None:
    """Whatever a name holds, the line is ASCII, parses, and gives it back: with its suffix, or plain, each
    direction by itself."""
    names = [one + suffix, other + (suffix and suffix + ".1")]
    suffixes = [suffix, suffix and suffix + ".1"]
    records = tuple(
        record(8 + i, filename=name, suffix=end, parts=[Part(f"{name}@{at}", at, 1) for at in range(1, parts + 1)])
        for i, (name, end) in enumerate(zip(names, suffixes, strict=True))
    )
    settled = np.array([8 + i for i in (0, 1) if plain >> i & 1], np.uint64)
    told = told_of(row(state=BOTH), records=records, plain=settled)
    assert told.isascii()
    assert told.decode()[:-1].isprintable()
    line = json.loads(told)
    for i, (side, bare) in enumerate((("out", one), ("back", other))):
        expected = bare if suffix and plain >> i & 1 else names[i]
        assert line[side]["file"] == expected
        assert line[side]["parts"] == [f"{expected}@{at}" for at in range(1, parts + 1)]


def test_names_are_settled_by_direction() -> None:
    """A suffix goes with the stream that it names, and no mark is left."""
    line = b'{"a":"x\x01~1\x02","b":"y\x01~1.1\x02@5","c":"\x01~1.1\x02"}'
    assert settle_names(line, []) == b'{"a":"x~1","b":"y~1.1@5","c":"~1.1"}'
    assert settle_names(line, [0, 2, 11]) == b'{"a":"x","b":"y~1.1@5","c":"~1.1"}'
    assert settle_names(line, [3]) == b'{"a":"x~1","b":"y@5","c":""}'
    assert settle_names(line, [1, 2, 3, 4]) == b'{"a":"x","b":"y@5","c":""}'
    for stream in (0, 1, 2, 3, 2**60 + 1):
        assert settle_names(f"\x01{provisional(stream)}\x02".encode(), [stream]) == b""


def test_shared_files() -> None:
    """With -R a connection may name the file of an earlier one, were it of the other direction: its suffix goes
    when that one's does."""
    later = record(8, filename="n~1.1", suffix="~1.1")
    for plain, name in (([3], "n"), ([2, 8], "n~1.1")):
        told = told_of(row(state=Progress.SEEN | Progress.DATA), records=(later,), plain=np.array(plain, np.uint64))
        assert json.loads(told)["out"]["file"] == name


def test_coarse_names() -> None:
    """With a coarse -F each direction's name is settled by its own stream, in lines side by side."""
    segments = [s._replace(flow=n) for n in (1, 2, 3) for s in (*START, *DATA)]
    plain = np.array([1 << 1, 5 << 1 | 1], np.uint64)
    found = [(line["out"]["file"], line["back"]["file"]) for line in lines(segments, coarse=True, plain=plain)]
    assert found == [("stream", "stream~1.1"), ("stream~5", "stream"), ("stream~9", "stream~9.1")]


# Whoever wrote it


@given(st.integers(0, 2**32))
@examples(12)
def test_the_same_for_any_number_of_processes(seed: int) -> None:
    """Bit for bit the same from any workers, writers, batches, messages and either path of the reassembly."""
    rng = random.Random(seed)
    segments = mix(rng, [256 * i + shard for i in range(2) for shard in range(1, 6)])
    expected = content(segments)
    with pytest.MonkeyPatch.context() as patch:
        for workers, writers, size, sent in ((1, 1, 7, 1), (3, 2, 50, 5), (4, 4, 10**6, 2)):
            patch.setattr(wire, "ROWS", sent)
            how = {"workers": workers, "writers": writers, "size": size, "vector": rng.random() < 0.5}
            assert content(segments, **how) == expected


@given(st.integers(0, 2**32))
@examples(60)
def test_every_packet_is_in_a_line(seed: int) -> None:
    """Packets and bytes of all lines are those of the capture, by tuple and direction; times enclose them."""
    segments = mix(random.Random(seed), range(1, 6))
    expected: Counter[tuple[int, int, str]] = Counter()
    for s in segments:
        expected[s.flow, s.side, "packets"] += 1
        expected[s.flow, s.side, "len"] += s.size + 54
        expected[s.flow, s.side, "caplen"] += s.size + 54 - s.missing
        expected[s.flow, s.side, "payload"] += s.size - s.missing
    found: Counter[tuple[int, int, str]] = Counter()
    told = lines(segments)
    for line in told:
        first = segments[line["id"] - 1]  # the packet that the connection is named for
        assert (line["src"], line["dst"])[first.side] == f"0.0.0.{first.flow}"
        for side, who in (("out", first.side), ("back", 1 - first.side)):
            for name in ("packets", "len", "caplen", "payload"):
                found[first.flow, who, name] += line[side][name]
    assert found == expected
    assert [line["id"] for line in told] == sorted({line["id"] for line in told})
    assert all(line.keys() == told[0].keys() and line["out"].keys() == line["back"].keys() for line in told)


def test_whole_conversations() -> None:
    """Of undisturbed conversations each has one line, whose counts, times and bits a slow count gives."""
    rng = random.Random(5)
    segments = [s for flow in range(1, 200) for s in conversation(flow, rng, rng.randint(0, 5))]
    segments = [s._replace(time=10**18 + i) for i, s in enumerate(segments)]
    for line in lines(segments, size=300):
        mine = [s for s in segments if f"0.0.0.{s.flow}" == line["src"]]
        assert line["state"] == "closed"
        assert (line["start"][20:29], line["end"][20:29]) == (
            f"{mine[0].time % SECOND:09}",
            f"{mine[-1].time % SECOND:09}",
        )
        for side, name in enumerate(("out", "back")):
            sent = sum(s.size for s in mine if s.side == side)
            assert line[name]["packets"] == sum(s.side == side for s in mine)
            assert (line[name]["payload"], line[name]["written"], line[name]["gap_bytes"]) == (sent, sent, 0)
            assert (line[name]["syn"], line[name]["fin"], line[name]["completeness"]) == (True, True, [])
            assert (line[name]["file"] is None) == (sent == 0)


# In a writer


def test_a_line_agrees_with_the_report(tmp_path: Path) -> None:
    """Name, bytes, MD5, gaps and conflicts of a line are those of the streams' rows in the report."""
    bench = Bench(tmp_path, flows=tmp_path / "flows.jsonl")
    bench.say(opened=[8, 9], data=[Piece(8, 0, b"abc"), Piece(8, 7, b"def"), Piece(9, 0, b"xyz")])
    bench.say(overlaps=[Piece(8, 1, b"X")], closed=[whole(8, 10)._replace(runs=[(0, 3), (7, 3)])])
    bench.say(closed=[whole(9, 3)])
    quiet = row(stream=4)
    bench.writer.apply(EventBatch(5, NO_EXTENTS, connections=row(state=BOTH)))
    bench.writer.apply(EventBatch(6, NO_EXTENTS, connections=quiet))
    report = bench.rows()
    assert merge_flows([flows_fragment(bench.fragment)], tmp_path / "flows.jsonl", NO_STREAMS) == 2
    none, line = parsed((tmp_path / "flows.jsonl").read_bytes())
    assert (none["id"], none["out"]["file"], none["back"]["file"]) == (2, None, None)
    assert line["id"] == 4
    for said, file in zip((line["out"], line["back"]), report, strict=True):
        attributes = flow(file)
        assert said["file"] == file.tags["filename"] == name_of(file.id)
        assert said["md5"] == file.hashes["md5"]
        assert said["written"] == int(attributes["written"])
        assert said["gap_bytes"] == int(attributes.get("gap_bytes", 0))
        assert said["conflicts"] == int(attributes.get("violations", 0))
    assert line["out"]["gap_bytes"] == 4
    assert line["out"]["completeness"] == ["conflicts"]
    assert line["back"]["completeness"] == []


def test_flags_are_of_both_records() -> None:
    """What the writer alone knows of a stream, its conflicts, is in the line; so is an MD5."""
    for side, quiet, shift in (("out", "back", 0), ("back", "out", BACK)):
        made = record(8 + (shift > 0), md5=MD5, flags=Completeness.GAPS | Completeness.CONFLICTS, suffix="~8")
        line = json.loads(told_of(row(state=(Progress.SEEN | Progress.DATA) << shift), records=(made,)))
        assert (line[side]["completeness"], line[quiet]["completeness"]) == (["gaps", "conflicts"], [])
        assert (line[side]["md5"], line[quiet]["md5"]) == (MD5, None)


def test_without_the_option_there_is_nothing(tmp_path: Path) -> None:
    """No table, no fragment: whoever did not ask pays nothing."""
    bench = Bench(tmp_path)
    bench.rows()
    assert not flows_fragment(bench.fragment).exists()
    assert rows(run([START[0]]), "connections") == []


def test_abandoned_and_refused(tmp_path: Path) -> None:
    """What was left half done is gone; a link in the file's place is not followed."""
    flows = Flows(tmp_path / "f")
    flows.add(row())
    flows.abandon()
    assert list(tmp_path.iterdir()) == []
    flows = Flows(tmp_path / "f")
    flows.close()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError):
        merge_flows([tmp_path / "f"], tmp_path / "out", NO_STREAMS)
