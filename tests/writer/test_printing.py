"""Streams in packet order: which bytes are printed when, and that nothing else decides it."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Config
from pipeline.errors import InternalError
from pipeline.writer import printing
from pipeline.writer.printing import Printer
from pipeline.writer.printing_writer import PrintingWriter
from pipeline.writer.terminal import StandardOutput
from pipeline.writer.writer import Writer
from tests.effort import examples
from tests.workers.traffic import Seg, batches, mix, part
from tests.writer.printed import Shown, chunks, streams
from workers.contract import ACK, SYN, U8
from workers.limits import Limits
from workers.overlap import PolicyName
from workers.reassembler import Reassembler

NAMES = {0: "a-b", 1: "b-a", 2: "c-d"}
LETTERS = b"abcdefghijklmnopqrstuvwxyz"


class Told:
    """A printer, told of letters: those of stream 0 begin with a at offset 0, its neighbours' with A."""

    def __init__(self, **options: Any) -> None:
        self.text = b""
        self.printer = Printer(self._put, self._read, **options)
        for number, name in NAMES.items():
            self.printer.open(number, name)

    def _put(self, text: bytes) -> None:
        self.text += text

    @staticmethod
    def _read(stream: int, offset: int, size: int) -> bytes:
        letters = bytes(LETTERS[(offset + i) % 26] for i in range(size))
        return letters.upper() if stream else letters

    def do(self, step: tuple[Any, ...]) -> None:
        """``(stream, offset, size)`` is data a second later than the last, ``("gap", …)``, ``("close", …)``."""
        if step[0] == "gap":
            self.printer.gap(*step[1:])
        elif step[0] == "close":
            self.printer.close(*step[1:])
        else:
            stream, offset, size, second = step
            self.printer.data(stream, offset, second * 1_000_000_000, memoryview(self._read(stream, offset, size)))

    def brief(self) -> str:
        """Everything, the run's end included, in short: ``>12 abc`` is what came in second 12 of stream 0."""
        for _ in self.printer.rest():
            pass
        said = []
        for chunk in chunks(self.text):
            stream = next(number for number, name in NAMES.items() if name == chunk.name)
            assert chunk.back == (stream & 1)
            mark = "<" if chunk.back else "=" if stream else ">"
            late = "" if chunk.late is None else f"@{chunk.late}"
            missing = chunk.time == "-"
            what = f"-{chunk.size}" if missing else f"{int(chunk.time[17:19])}{late} {chunk.payload.decode()}"
            said.append(mark + what)
        return ", ".join(said)


@pytest.mark.parametrize(
    ("steps", "printed"),
    [
        pytest.param([(0, 0, 3, 1), (0, 3, 2, 2)], ">1 abc, >2 de", id="in order"),
        pytest.param([(0, 0, 3, 1), (1, 0, 2, 2), (0, 3, 1, 3), (1, 2, 1, 4)],
                     ">1 abc, <2 AB, >3 d, <4 C", id="two directions"),
        pytest.param([(0, 0, 1, 1), (2, 0, 2, 2), (0, 1, 1, 3)], ">1 a, =2 AB, >3 b", id="two connections"),
        pytest.param([(0, 2, 2, 1), (0, 5, 1, 2), (2, 0, 1, 3), (0, 0, 2, 4), (0, 4, 1, 5)],
                     "=3 A, >4 ab, >1 cd, >5 e, >2 f", id="reordered: in the turn of what they waited for"),
        pytest.param([(0, 0, 1, 1), (0, 3, 1, 2), ("gap", 0, 3), (0, 4, 1, 3)],
                     ">1 a, >-2, >2 d, >3 e", id="gap"),
        pytest.param([(0, 2, 1, 1), (0, 4, 1, 2), ("gap", 0, 2), ("gap", 0, 4)],
                     ">-2, >1 c, >-1, >2 e", id="two gaps"),
        pytest.param([(0, 3, 1, 1), ("gap", 0, 3), (0, 1, 1, 2), (0, 4, 1, 3), (0, 0, 1, 4)],
                     ">-3, >1 d, >2@1 b, >3 e, >4@0 a", id="a hole filled late"),
        pytest.param([(0, 0, 2, 1), (0, -4, 2, 2), (0, 2, 1, 3), (0, -2, 2, 4)],
                     ">1 ab, >2@-4 wx, >3 c, >4@-2 yz", id="starts lower"),
        pytest.param([(0, 1, 1, 1), (0, -2, 3, 2)], ">2@-2 yz, >2 a, >1 b", id="late and in turn in one packet"),
        pytest.param([(0, 0, 1, 1), (0, 2, 1, 2), (2, 4, 1, 3), ("close", 2, 5), ("close", 0, 4), (1, 0, 1, 4)],
                     ">1 a, <4 A, >-1, >2 c, >-1, =-4, =3 E", id="closed with a rest: at the end, by number"),
        pytest.param([(0, 0, 2, 1), (0, 4, 2, 2), (0, 8, 2, 3), ("close", 0, 5)],
                     ">1 ab, >-2, >2 e", id="beyond the limit of -C"),
        pytest.param([(0, 0, 2, 1), ("close", 0, 2)], ">1 ab", id="closed whole"),
        pytest.param([(0, 0, 2, 1), ("gap", 0, 1), ("gap", 0, 2)], ">1 ab", id="a gap below the frontier"),
    ],
)  # fmt: skip
def test_what_is_printed_when(steps: Sequence[tuple[Any, ...]], printed: str) -> None:
    """In a stream's order, in the turn of the packet that makes it possible; nothing lost, nothing twice."""
    told = Told()
    for step in steps:
        told.do(step)
    assert told.brief() == printed


def test_the_form_of_a_chunk() -> None:
    """A line with direction, time, name and length, then the bytes, then a newline if they end with none."""
    told = Told()
    told.printer.open(4, "é-x\\y")
    told.printer.data(0, 0, 1_620_000_000_123_456_000, b"GET /\r\n\r\n")
    told.printer.data(1, 0, 1_620_000_000_123_456_780, b">>> forged")
    told.printer.data(1, 14, 1_620_000_000_000_000_000, b"x")
    told.printer.gap(1, 14)
    told.printer.data(1, 10, -1, b"late\n")
    told.printer.data(4, 0, 0, b"\x1b\n")
    assert told.text.decode() == (
        ">>> 2021-05-03T00:00:00.123456Z a-b 9 bytes\nGET /\n\n"
        "<<< 2021-05-03T00:00:00.123456780Z b-a 10 bytes\n\\x3e>> forged\n"
        "<<< - b-a 4 bytes missing\n"
        "<<< 2021-05-03T00:00:00.000000Z b-a 1 bytes\nO\n"
        "<<< 1969-12-31T23:59:59.999999999Z b-a 5 bytes late, at offset 10\nlate\n"
        ">>> 1970-01-01T00:00:00.000000Z \\xc3\\xa9-x\\\\y 2 bytes\n\\x1b\n"
    )


def test_colours_by_direction() -> None:
    """Each chunk has its direction's colour from its line to its end, and the terminal's own behind it."""
    told = Told(colours=True)
    told.printer.data(0, 0, 0, b"hi\n")
    told.printer.gap(1, 2)
    assert told.text == (
        b"\x1b[36m>>> 1970-01-01T00:00:00.000000Z a-b 3 bytes\nhi\n\x1b[0m\x1b[33m<<< - b-a 2 bytes missing\x1b[0m\n"
    )


segments = st.lists(st.tuples(st.integers(0, 2), st.integers(-10, 40), st.integers(1, 8)), max_size=30)


@settings(deadline=None)
@given(arrived=segments, notes=st.integers(0, 3), chunk=st.integers(1, 5))
def test_every_byte_is_printed_once(arrived: list[tuple[int, int, int]], notes: int, chunk: int) -> None:
    """Any order of arrival, many or few notes: the chunks of a stream make up its bytes, holes are said to be missing;
    and at any time all that lies at the frontier is printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(printing, "MOST_NOTES", notes)
        patch.setattr(printing, "MOST_CHUNK", chunk)
        told = Told()
        there: dict[int, set[int]] = {number: set() for number in NAMES}
        for second, (stream, low, size) in enumerate(arrived):
            new = [at for at in range(low, low + size) if at not in there[stream]]
            there[stream].update(new)
            for at in new:  # byte by byte is as good as any
                told.do((stream, at, 1, second % 60))
            frontier = next(at for at in range(100) if at not in there[stream])
            printed = streams(told.text).get(NAMES[stream], Shown({}, [])).printed
            assert set(printed) == {at for at in there[stream] if at < frontier}
        for number, offsets in there.items():
            told.do(("close", number, max(offsets, default=0) + 1))
        told.brief()
    found = streams(told.text)
    for number, name in NAMES.items():
        shown = found.get(name, Shown({}, []))
        assert shown.printed == {at: told._read(number, at, 1)[0] for at in there[number]}
        missing = {at for begin, end in shown.missing for at in range(begin, end)}
        assert missing == set(range(max(there[number], default=0) + 1)) - there[number]


def test_notes_stay_few() -> None:
    """However much waits behind a hole: notes are as many as the ranges, and a few."""
    told = Told()
    for at in range(0, 8_000, 4):
        for shift in (1, 3, 2):
            told.do((0, at + shift, 1, 0))
        told.do((0, at + 4, 1, 0))
    stream = told.printer._streams[0]
    assert len(stream.beyond) <= printing.MOST_NOTES + 1
    told.do((0, 0, 1, 1))
    assert sum(chunk.size for chunk in chunks(told.text)) == 8_001


# --------------------------------------------------------------------------- with events


class Screen:
    """A printing writer, and what it printed."""

    def __init__(self, folder: Path, array: U8, **options: Any) -> None:
        self.out = folder / "out"
        self.out.mkdir()
        config = Config(inputs=(Path("one.pcap"),), output=self.out, console=True, **options)
        self._text = (folder / "text").open("w+b")
        output = StandardOutput(self._text.fileno())
        self.writer = PrintingWriter(config, folder / "fragment", lambda _: array, output)

    def finish(self) -> bytes:
        """The run is over: everything that was printed."""
        self.writer.finish()
        return self.close()

    def close(self) -> bytes:
        """Print no more; what was printed so far."""
        self._text.close()
        return Path(self._text.name).read_bytes()


def payload_of(segments: Sequence[Seg]) -> U8:
    """Bytes at all the places that traffic.batches gives, no carriage return among them."""
    rng = np.random.default_rng(1)
    array: U8 = rng.integers(0, 256, 10_000 * (len(segments) + 2), dtype=np.uint8)
    array[array == 13] = 14
    return array


def show(segments: Sequence[Seg], array: U8, size: int, workers: int, **options: Any) -> tuple[bytes, dict[str, int]]:
    """What a run prints, and what it counts, when it is cut so and dealt out to so many workers."""
    with tempfile.TemporaryDirectory() as folder:
        screen = Screen(Path(folder), array, **options)
        limits = options.get("limits", Limits())
        reassemblers = [Reassembler(limits, append=options.get("append", False)) for _ in range(workers)]
        for batch in batches(segments, size):
            told = [each.handle(part(batch, n, workers)) for n, each in enumerate(reassemblers)]
            screen.writer.apply_together(told)
        for each in reassemblers:
            for events in each.finish():
                screen.writer.apply(events)
        text = screen.finish()
        assert options.get("append") or not list(screen.out.iterdir()), "no stream file stays"
        return text, screen.writer.counters


OPTIONS: list[dict[str, Any]] = [
    {},
    {"limits": Limits(overlap="last")},
    {"limits": Limits(overlap="solaris")},
    {"limits": Limits(stream_bytes=900)},
    {"limits": Limits(hole_bytes=200, reorder_packets=4, ranges_per_direction=2)},
    {"limits": Limits(reorder_packets=3, overlap="last"), "md5": True},
]


@examples(15)
@given(
    seed=st.integers(0, 2**32), size=st.sampled_from([1, 2, 7, 50]), workers=st.integers(1, 4),
    options=st.sampled_from(OPTIONS),
)  # fmt: skip
def test_any_cut_and_any_number_of_workers(seed: int, size: int, workers: int, options: dict[str, Any]) -> None:
    """Disorder, loss, retransmissions that differ, midstream starts, reuse, limits: the output is the same."""
    segments = mix(random.Random(seed), range(1, 6))
    array = payload_of(segments)
    expected, _ = show(segments, array, 100_000, 1, **options)
    assert show(segments, array, size, workers, **options)[0] == expected


@examples(15)
@given(
    seed=st.integers(0, 2**32), size=st.sampled_from([1, 7, 1000]),
    options=st.sampled_from([OPTIONS[0], OPTIONS[2], OPTIONS[4]]),
)  # fmt: skip
def test_what_is_printed_is_what_files_would_hold(seed: int, size: int, options: dict[str, Any]) -> None:
    """Chunk by chunk the bytes of each stream's file, the same counts; what no chunk has is a hole there."""
    segments = mix(random.Random(seed), range(1, 4))
    array = payload_of(segments)
    text, counters = show(segments, array, size, 2, **options)
    found = streams(text)
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Config(inputs=(), output=Path(folder), **options), Path(folder) / "fragment", lambda _: array)
        reassembler = Reassembler(options.get("limits", Limits()))
        for batch in batches(segments, size):
            writer.apply(reassembler.handle(batch))
        for events in reassembler.finish():
            writer.apply(events)
        writer.finish()
        assert writer.counters == counters
        for name, shown in found.items():
            printed, low = shown.printed, shown.begin()
            content = {low + at: byte for at, byte in enumerate((Path(folder) / name).read_bytes())}
            for extra in Path(folder).glob(name + "@*"):
                start = low + int(extra.name.rpartition("@")[2])
                content |= {start + at: byte for at, byte in enumerate(extra.read_bytes())}
            assert printed == {at: content[at] for at in printed}
            assert not any(byte for at, byte in content.items() if at not in printed)
    assert sum(len(shown.printed) for shown in found.values()) == counters["data_bytes"]


def sent(*pieces: tuple[int, int], ack: int | None = None, syn: bool = True) -> list[Seg]:
    """A stream's pieces (offset, size) in order of arrival; then the peer acknowledges up to ``ack``."""
    made = [Seg(1, 0, 999, SYN), Seg(1, 1, 0, SYN | ACK, 0, 1000)] if syn else [Seg(1, 1, 1, ACK, 0, 1000)]
    made += [Seg(1, 0, 1000 + offset, ACK, size, 1) for offset, size in pieces]
    return made if ack is None else made + [Seg(1, 1, 1, ACK, 0, 1000 + ack)] * 4


def shown(segments: Sequence[Seg], **options: Any) -> list[tuple[int | None, int, int | None]]:
    """What is printed, cut into batches in any way: packet (None: missing), size, and offset where late.

    Bytes say of which packet they are.
    """
    array = np.repeat(np.arange(len(segments) + 2, dtype=np.uint8), 10_000)
    text, *others = (show(segments, array, size, 1, **options)[0] for size in (1, 2, 3, 1000))
    assert all(other == text for other in others)
    said: list[tuple[int | None, int, int | None]] = []
    for chunk in chunks(text):
        if chunk.time == "-":
            said.append((None, chunk.size, None))
        else:
            packets = dict.fromkeys(chunk.payload)
            said += [(packet, chunk.payload.count(packet), chunk.late) for packet in packets]
    return said


@pytest.mark.parametrize(("overlap", "second"), [("first", [(3, 10, None)]), ("last", [(3, 5, None), (4, 5, None)])])
def test_overlaps_count_at_their_packet(overlap: PolicyName, second: list[object]) -> None:
    """Bytes that wait are printed as the policy has left them by then; what comes later does not change them."""
    segments = sent((10, 10), (15, 5), (0, 10), (10, 10), (20, 1))
    assert shown(segments, limits=Limits(overlap=overlap)) == [(5, 10, None), *second, (7, 1, None)]


def test_missing_bytes_beyond_the_limit_are_none() -> None:
    """With -C bytes are missing only where they would have been kept."""
    limits = Limits(stream_bytes=15, reorder_packets=2)
    assert shown(sent((0, 10), (20, 10), (50, 1), ack=60), limits=limits) == [(3, 10, None), (None, 5, None)]


def test_the_limit_counts_from_where_the_stream_starts() -> None:
    """With -C a start that moved down takes the limit with it."""
    limits = Limits(stream_bytes=25, reorder_packets=4)
    segments = sent((0, 10), (-5, 5), (30, 10), ack=40, syn=False)
    assert shown(segments, limits=limits) == [(2, 10, None), (3, 5, -5), (None, 10, None)]


def test_what_waits_in_several_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes that were joined are read back from all parts of the stream that hold them."""
    monkeypatch.setattr(printing, "MOST_NOTES", 0)
    segments = sent((100, 10), (90, 10), (0, 90))
    assert shown(segments, limits=Limits(hole_bytes=5)) == [(5, 90, None), (4, 10, None), (3, 10, None)]


def test_a_file_that_somebody_cut(tmp_path: Path) -> None:
    """Bytes that are gone from the scratch folder are an error, not silence."""
    screen = Screen(tmp_path, np.ones(100_000, np.uint8))
    reassembler = Reassembler(Limits())
    first, second = batches(sent((10, 10), (0, 10)), 3)
    screen.writer.apply(reassembler.handle(first))
    [path] = screen.out.iterdir()
    os.truncate(path, 0)
    broken = reassembler.handle(second)
    with pytest.raises(InternalError, match="shorter than what was written"):
        screen.writer.apply(broken)
    assert screen.close() == b""
