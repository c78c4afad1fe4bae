"""What analyzers are fed is what the finished streams are, in whatever way their bytes came."""

from __future__ import annotations

import gc
import random
import tempfile
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config
from pipeline.errors import InternalError
from pipeline.writer.analysis import side as feeding
from pipeline.writer.analysis.connection import Analysis
from pipeline.writer.analysis.side import Side
from tests.effort import examples
from tests.leftovers import uncollected
from tests.workers.traffic import Seg, batches, mix, rows
from tests.writer.analyzed import LOCKSTEP, PROTOCOLS, SHY, Finished, Lockstep, ReadWriter, Told, accounted, foretold
from tests.writer.feed import Bench, Closing, Opening, Piece, name_of, whole
from tests.writer.test_printing import payload_of
from workers.analyzers.seam import Protocol
from workers.contract import U8, EventBatch
from workers.limits import Limits
from workers.reassembler import Reassembler


class Run:
    """A run over segments: what hosts were told, the finished streams, the events."""

    def __init__(
        self, segments: Sequence[Seg], array: U8, size: int, protocols: Sequence[Protocol] = PROTOCOLS, **options: Any
    ) -> None:
        """``size``: packets of a batch."""
        with tempfile.TemporaryDirectory() as folder:
            config = Config(inputs=(Path("one.pcap"),), output=Path(folder), **options)
            self.writer = ReadWriter(config, Path(folder) / "fragment", lambda _: array, protocols)
            reassembler = Reassembler(config.limits, append=config.append)
            self.events: list[EventBatch] = []
            for batch in batches(segments, size):
                self._apply(reassembler.handle(batch))
            for events in reassembler.finish():
                self._apply(events)
            self.writer.finish()
        hosts = self.writer.hosts
        self.told, self.moments = hosts.told, hosts.moments
        assert self.writer.analyses is not None
        assert not len(self.writer.analyses), "all are over"
        assert accounted(self.writer)
        midstream = {row["stream"] for row in rows(self.events, "opened") if row["midstream"]}
        finished = self.writer.finished.items()
        self.finished = {number: each._replace(midstream=number in midstream) for number, each in finished}

    def _apply(self, events: EventBatch) -> None:
        self.events.append(events)
        self.writer.apply(events)

    def sides(self, connection: int) -> tuple[Finished | None, Finished | None]:
        return self.finished.get(connection << 1), self.finished.get(connection << 1 | 1)


def expected(sides: tuple[Finished | None, Finished | None]) -> Told | None:
    """What comes of two finished streams, by the rules as they are written."""
    verdicts = [_verdict(side) for side in sides]
    if True in verdicts:
        return foretold(LOCKSTEP, *sides)
    if "open" not in verdicts:
        return None
    content = b"".join(item for side in sides if side for item in side.items if isinstance(item, bytes))
    for protocol in (SHY, LOCKSTEP):
        if protocol.make.claim in content:  # type: ignore[attr-defined]
            return foretold(protocol, *sides)
    return None


def _verdict(side: Finished | None) -> bool | str | None:
    if side is None:
        return None
    if side.midstream or not side.items or isinstance(side.items[0], int):
        return "open"
    answer = LOCKSTEP.recognize(side.items[0])
    return "open" if answer is None else answer


OPTIONS: list[dict[str, Any]] = [
    {},
    {"limits": Limits(overlap="last", reorder_packets=3)},
    {"limits": Limits(overlap="linux", reorder_packets=5)},
    {"limits": Limits(stream_bytes=900, reorder_packets=4, hole_bytes=1 << 31)},
    {"limits": Limits(hole_bytes=200, reorder_packets=4, ranges_per_direction=2)},
    {"limits": Limits(reorder_packets=3), "append": True},
]


@pytest.mark.slow
@examples(60)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([1, 2, 7, 50]), options=st.sampled_from(OPTIONS))
def test_what_is_told_is_what_lies_on_disk(seed: int, size: int, options: dict[str, Any]) -> None:
    """Disorder, loss, late bytes, bytes that change, midstream starts, reuse, limits, -R: whatever the batches, hosts
    are told the bytes and holes of the finished streams, and each byte's moment is the same."""
    segments = mix(random.Random(seed), range(1, 6))
    array = payload_of(segments)
    run, at_once = Run(segments, array, size, **options), Run(segments, array, 100_000, **options)
    assert run.told == at_once.told
    assert run.moments == at_once.moments
    check_moments(run)
    wanted = {number >> 1: expected(run.sides(number >> 1)) for number in run.finished}
    assert run.told == {connection: told for connection, told in wanted.items() if told is not None}


def check_moments(run: Run) -> None:
    """Each byte's moment is that of the packet that brought it; all below it had come by ``known``."""
    brought: dict[int, dict[int, tuple[int, int]]] = {}
    for row in rows(run.events, "data"):
        when = row["packet"], row["time"]
        brought.setdefault(row["stream"], {}).update((row["offset"] + i, when) for i in range(row["size"]))
    origins = {row["stream"]: row["origin"] for row in rows(run.events, "closed")}
    for connection, moments in run.moments.items():
        known = [0, 0]
        for (side, offset), moment in sorted(moments.items()):
            stream = connection << 1 | side
            assert brought[stream][offset + origins[stream]] == moment[:2]
            assert moment.known >= max(known[side], moment.packet)
            known[side] = moment.known


@examples(25)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([1, 2, 7, 50]), options=st.sampled_from(OPTIONS))
def test_what_is_printed_does_not_depend_on_batches(seed: int, size: int, options: dict[str, Any]) -> None:
    """Where nothing can be taken back, a gap stays a gap and bytes that may change wait: the same for any batches."""
    segments = mix(random.Random(seed), range(1, 6))
    array = payload_of(segments)
    one = Run(segments, array, size, console=True, **options)
    other = Run(segments, array, 100_000, console=True, **options)
    assert one.told == other.told
    assert one.moments == other.moments


# --------------------------------------------------------------------------- examples with a name


class ReadBench(Bench):
    """A bench whose streams are read."""

    def __init__(self, folder: Path, protocols: Sequence[Protocol] = (LOCKSTEP,), **options: Any) -> None:
        super().__init__(folder, **options)
        self.fragment.with_name(self.fragment.name + ".part").unlink()
        self.fragment.with_name(self.fragment.name + ".part.index").unlink()
        self.read = self.writer = ReadWriter(self.config, self.fragment, self._arrays.__getitem__, protocols)

    def text(self, stream: int, kind: str = "BYTES") -> bytes:
        """What was told of a stream."""
        return self.read.hosts.told[stream >> 1].texts.get((stream & 1, kind), b"")


def test_connections_that_are_nobodys_cost_nothing(tmp_path: Path) -> None:
    """200 connections that no protocol recognizes: nobody is made for them, nothing is remembered."""
    bench = ReadBench(tmp_path)
    streams = range(2, 402)
    bench.say(opened=streams, data=[Piece(n, 0, b"\xff\xff\xff\xff") for n in streams])
    assert bench.read.analyses is not None
    assert len(bench.read.analyses) == 0
    bench.say(data=[Piece(n, 4, b"more") for n in streams], closed=[whole(n, 8) for n in streams])
    assert bench.read.hosts.made == 0
    assert len(bench.rows()) == 400


def test_what_waits_is_read_back_from_all_parts(tmp_path: Path) -> None:
    """A direction that waits for the other one is fed from the stream's files, later; a hole stays a hole."""
    bench = ReadBench(tmp_path)
    bench.say(opened=[3], data=[Piece(3, 0, b"AAAA"), Piece(3, 100, b"CC")], parts=[(3, 100)], gaps=[(3, 4, 96, 7)])
    bench.say(opened=[2], data=[Piece(2, 0, b"a" * 50)])
    assert bench.read.hosts.made == 1
    bench.say(data=[Piece(2, 50, b"a" * 60), Piece(3, 102, b"D")])
    bench.say(closed=[whole(2, 110), Closing(3, 103, [(0, 4), (100, 3)])])
    assert bench.text(3) == b"AAAA" + bytes(96) + b"CCD"
    assert (bench.text(3, "GAPS"), bench.text(3, "END")) == (b"4+96 ", b"whole")
    assert bench.text(2) == b"a" * 110


def test_a_gap_that_fills_after_all(tmp_path: Path) -> None:
    """What was told with the gap is taken back; the connection is told anew, with the bytes."""
    bench = ReadBench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, 0, b"AAAA"), Piece(2, 8, b"CC")], gaps=[(2, 4, 4, 7)])
    bench.say(data=[Piece(2, 4, b"BBBB"), Piece(2, 10, b"D")])
    assert bench.read.hosts.discarded == 0
    bench.say(closed=[whole(2, 11)])
    assert bench.read.hosts.discarded == 1
    assert bench.text(2) == b"AAAABBBBCCD"
    assert accounted(bench.read)


def test_bytes_that_change(tmp_path: Path) -> None:
    """With --overlap last what is told in the end is what lies in the file."""
    bench = ReadBench(tmp_path, limits=Limits(overlap="last"))
    bench.say(opened=[2], data=[Piece(2, 0, b"AAAA")])
    bench.say(overlaps=[Piece(2, 1, b"BB")], closed=[whole(2, 4)])
    assert bench.text(2) == bench.content(name_of(2)) == b"ABBA"


def test_a_long_piece_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3 MiB of one batch, in segments of all sizes, are fed from memory, 1 MiB at most at a time."""
    bench = ReadBench(tmp_path)
    payload = bytes(range(64)) * (3 << 14)
    sizes = [1, 1000, (1 << 20) + 7, 5, 1 << 20, len(payload)]
    cuts = [0, *accumulate(sizes)]
    monkeypatch.setattr(feeding, "read_back", None)
    bench.say(opened=[2], data=[Piece(2, low, payload[low:high]) for low, high in pairwise(cuts) if payload[low:high]])
    bench.say(closed=[whole(2, len(payload))])
    assert bench.text(2) == payload


def test_a_connection_is_reported_when_both_directions_are_over(tmp_path: Path) -> None:
    """The rows of both streams wait for what was found in them, were they closed in two messages."""
    bench = ReadBench(tmp_path)
    bench.say(opened=[2, 3], data=[Piece(2, 0, b"AAAA"), Piece(3, 0, b"BB")], closed=[whole(2, 4)])
    assert not bench.read.finished
    bench.say(closed=[whole(3, 2)])
    assert [record.found for record in bench.read.records.values()] == [
        (("lockstep", {"fed": 4}),), (("lockstep", {"fed": 2}),)
    ]  # fmt: skip
    assert [attributes for row in bench.rows() for tag, attributes in row.foreign if tag == "lockstep"] == [
        {"fed": "4"}, {"fed": "2"}
    ]  # fmt: skip


def test_a_peer_that_speaks_late(tmp_path: Path) -> None:
    """A direction that nobody recognizes goes with the other one, which may open much later."""
    bench = ReadBench(tmp_path)
    bench.say(opened=[2], data=[Piece(2, 0, b"\xff\xff\xff\xff")])
    bench.say(data=[Piece(2, 4, b"\xfe")])
    bench.say(opened=[3], data=[Piece(3, 0, b"AB")])
    bench.say(closed=[whole(2, 5), whole(3, 2)])
    assert (bench.text(2), bench.text(3)) == (b"\xff\xff\xff\xff\xfe", b"AB")


def test_two_protocols_for_one_connection(tmp_path: Path) -> None:
    """Each direction is recognized as another: the first direction's has it, were it the later one to speak."""
    other = LOCKSTEP._replace(name="other", recognize=lambda head: bytes(head[:1]) == b"\xff")
    bench = ReadBench(tmp_path, [LOCKSTEP, other])
    bench.say(opened=[3], data=[Piece(3, 0, b"\xffAB")])
    bench.say(opened=[2], data=[Piece(2, 0, b"ABC")])
    bench.say(closed=[whole(2, 3), whole(3, 3)])
    assert bench.read.hosts.told[1].protocol == "lockstep"
    assert (bench.text(2), bench.text(3)) == (b"ABC", b"\xffAB")


def test_own_names_with_append(tmp_path: Path) -> None:
    """With -R a stream knows what it would be called without, and all that is found in it by that name."""
    bench = ReadBench(tmp_path, append=True)
    names: list[str] = []
    for number, base in ((2, 0), (8, 4), (15, 0), (20, 8)):
        bench.say(opened=[Opening(number, 2 | number & 1, base)], data=[Piece(number, 0, b"AAAA")])
        names.append(bench.read._streams[number].own_name)
        bench.say(closed=[whole(number, 4)])
    assert names == [name_of(2), name_of(2) + "c0001", name_of(3) + "c0002", name_of(2) + "c0003"]


def test_what_is_over_is_gone(tmp_path: Path) -> None:
    """Of a connection that is over nothing stays in memory, and no collector is needed for that."""
    with uncollected():
        bench = ReadBench(tmp_path)
        bench.say(opened=[2, 3, 4], data=[Piece(2, 0, b"AAAA"), Piece(3, 0, b"BB"), Piece(4, 0, b"\xff\xff\xff\xff")])
        bench.say(closed=[whole(2, 4), whole(3, 2), whole(4, 4)])
        bench.read.hosts.told.clear()
        assert not [each for each in gc.get_objects() if isinstance(each, (Analysis, Side, Lockstep))]


def test_an_analyzer_that_leaves_some(tmp_path: Path) -> None:
    """One that would not take all of a connection that is over breaks its promise, and the run says so."""

    class Refusing(Lockstep):
        def wants(self, side: int) -> bool:
            return False

    bench = ReadBench(tmp_path, [LOCKSTEP._replace(make=Refusing)])
    bench.say(opened=[2], data=[Piece(2, 0, b"AAAA")])
    with pytest.raises(InternalError, match="connection 1"):
        bench.say(closed=[whole(2, 4)])
