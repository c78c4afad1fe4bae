"""``-w``: read back by a small parser, by our own reader and by tshark; its commit and its failures."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import unprocessed
from pipeline.decode.reasons import Reason
from pipeline.errors import OutputError
from pipeline.report import placing
from pipeline.source import reader_for
from pipeline.source.records import Records, Window
from pipeline.unprocessed import Unprocessed, comment
from tests.build import EPOCH_NS, LINK_ETHERNET, LINK_SLL2, Packet, udp4
from workers.contract import I64, U8, Untaken

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
CODES = [*(int(reason) for reason in Reason if reason is not Reason.TCP), *map(int, Untaken)]


class Left(NamedTuple):
    """A packet that no stream took."""

    number: int
    packet: Packet
    code: int = Reason.UDP


class Found(NamedTuple):
    """A packet block as it stands in the file."""

    number: int
    link: int
    ticks: int
    length: int
    frame: bytes
    comment: str


def options(area: bytes) -> list[tuple[int, bytes]]:
    """Options up to their end, which is there, with zeros as padding."""
    found = []
    while True:
        code, size = struct.unpack_from("<HH", area)
        if code == 0:
            assert (size, len(area)) == (0, 4)
            return found
        found.append((code, area[4 : 4 + size]))
        end = 4 + size + -size % 4
        assert area[4 + size : end] == bytes(-size % 4)
        area = area[end:]


def parse(text: bytes) -> list[Found]:
    """The packets of one section, by the letter of the format; anything else in it fails."""
    links: list[int] = []
    found = []
    at = 0
    while at < len(text):
        kind, total = struct.unpack_from("<II", text, at)
        assert total % 4 == 0
        assert struct.unpack_from("<I", text, at + total - 4) == (total,)
        body = text[at + 8 : at + total - 4]
        if kind == 0x0A0D0D0A:
            assert at == 0
            assert struct.unpack_from("<IHHq", body) == (0x1A2B3C4D, 1, 0, -1)
            assert [code for code, _ in options(body[16:])] == [4]
        elif kind == 1:
            link, reserved, snaplen = struct.unpack_from("<HHI", body)
            assert (reserved, snaplen, options(body[8:])) == (0, 0, [(9, b"\x09")])
            links.append(link)
        else:
            assert kind == 6
            interface, high, low, captured, length = struct.unpack_from("<5I", body)
            end = 20 + captured
            assert body[end : end + -captured % 4] == bytes(-captured % 4)
            (one, said), (five, number) = options(body[end + -captured % 4 :])
            assert (one, five, len(number)) == (1, 5, 8)
            frame = body[20:end]
            found.append(
                Found(
                    int.from_bytes(number, "little"), links[interface], high << 32 | low, length, frame, said.decode()
                )
            )
        at += total
    assert len(links) == len(set(links)) >= 1
    return found


def batch(packets: Sequence[Left]) -> tuple[U8, Records, int, I64, U8]:
    """What ``add`` takes for them: frames between other bytes, records of other packets between theirs."""
    first = packets[0].number if packets else 1
    count = packets[-1].number - first + 2 if packets else 3
    start, captured = np.zeros(count, np.uint64), np.full(count, 7, np.uint32)
    length, time, link = np.full(count, 9, np.uint32), np.full(count, 11, np.int64), np.full(count, 13, np.uint16)
    data = bytearray(b"\xee" * 9)
    rows = [left.number - first for left in packets]
    for row, left in zip(rows, packets, strict=True):
        start[row] = len(data)
        data += left.packet.frame + b"\xee" * 9
        captured[row], length[row] = len(left.packet.frame), left.packet.wire_length
        time[row], link[row] = left.packet.time_ns, left.packet.link
    codes = np.array([left.code for left in packets], np.uint8)
    records = Records(start, captured, length, time, link)
    return np.frombuffer(bytes(data), np.uint8), records, first, np.array(rows, np.int64), codes


def write(path: Path, *batches: Sequence[Left]) -> bytes:
    made = Unprocessed(path)
    for packets in batches:
        made.add(*batch(packets))
    made.close()
    return path.read_bytes()


def expected(left: Left) -> Found:
    packet = left.packet
    said = comment(left.code)
    if packet.time_ns < 0:
        said += "; its time is before 1970 and was set to 0"
    elif packet.time_ns == HIGHEST:
        said += "; its time is 2262 or later"
    return Found(left.number, packet.link, max(packet.time_ns, 0), packet.wire_length, packet.frame, said)


SEVERAL = [
    Left(3, Packet(EPOCH_NS + 1, udp4(payload=b"a"))),
    Left(4, Packet(EPOCH_NS + 2, udp4(payload=b"bc")).cut(40), Reason.FILTERED),
    Left(9, Packet(EPOCH_NS + 3, b"", 60, LINK_SLL2), Reason.FRAME_TRUNCATED),
    Left(12, Packet(EPOCH_NS + 4, udp4(payload=b"defg")), Untaken.OUTSIDE_WINDOW),
]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (Reason.UDP, "UDP"),
        (Reason.FILTERED, "the filter does not match"),
        (Reason.FRAME_TRUNCATED, "frame truncated"),
        (Reason.OTHER_NETWORK_PROTOCOL, "other network protocol"),
        (Untaken.OUTSIDE_WINDOW, "outside the window"),
    ],
)
def test_comments(code: int, text: str) -> None:
    """A packet's comment is its reason in words."""
    assert comment(code) == f"not processed: {text}"


def test_every_reason_has_a_comment() -> None:
    """No two reasons read alike, and none like the name of a constant. TCP is none, nor is any other number."""
    texts = [comment(code) for code in CODES]
    assert len(set(texts)) == len(texts)
    assert [text for text in texts if "_" in text or not text.isascii() or len(text) < 18] == []
    names = {member.name for member in (*Reason, *Untaken)}
    assert set(unprocessed._TEXTS) <= names, "texts of reasons that are no more"
    for code in {*range(256)} - {*CODES}:
        with pytest.raises(ValueError, match=r"not a valid|no reason"):
            comment(code)


def test_read_back(tmp_path: Path) -> None:
    """Frames, original lengths, link types, times, numbers and reasons are in the file, in packet order."""
    text = write(tmp_path / "w", SEVERAL[:2], [], SEVERAL[2:3], SEVERAL[3:])
    assert parse(text) == [expected(left) for left in SEVERAL]
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


ANY_LEFT = st.builds(
    Left,
    st.integers(1, 30),
    st.builds(
        lambda time, frame, more, link: Packet(time, frame, len(frame) + more, link),
        st.integers(LOWEST, HIGHEST) | st.sampled_from([LOWEST, -1, 0, 1, HIGHEST - 1, HIGHEST]),
        st.binary(max_size=9),
        st.sampled_from([0, 1, (1 << 32) - 1 - 9]),
        st.sampled_from([0, 1, 101, 276, 65_535]),
    ),
    st.sampled_from(CODES),
)


@given(st.lists(ANY_LEFT, unique_by=lambda left: left.number), st.sets(st.integers(0, 30)), st.integers(1, 99))
def test_any_packets_in_any_batches(lefts: list[Left], cuts: set[int], words: int) -> None:
    """What is read back is what was added, and the file does not depend on batches or buffers."""
    lefts.sort(key=lambda left: left.number)
    edges = [0, *sorted(cuts), 31]
    parts = [lefts[begin:end] for begin, end in pairwise(edges)]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        whole = write(Path(folder) / "whole", lefts)
        patch.setattr(unprocessed, "_BUFFER", words)
        assert write(Path(folder) / "parts", *parts) == whole
    assert parse(whole) == [expected(left) for left in lefts]


def test_frames_in_several_places(tmp_path: Path) -> None:
    """A batch of merged inputs has its frames in several arrays; buffers do not lose track of them."""
    lefts = [Left(n + 1, Packet(n, bytes([n % 251]) * 1000)) for n in range(4000)]
    data, records, first, rows, codes = batch(lefts)
    source = rows % 3 - 1
    arrays = {int(n): data.copy() for n in (-1, 0, 1)}
    for number, start, size in zip(source, records.start[rows], records.captured[rows], strict=True):
        for other in {-1, 0, 1} - {int(number)}:
            arrays[other][int(start) : int(start + size)] = 0xAA
    made = Unprocessed(tmp_path / "w")
    made.add(arrays, records, first, rows, codes, source)
    made.close()
    assert parse((tmp_path / "w").read_bytes()) == [expected(left) for left in lefts]


def test_long_and_many(tmp_path: Path) -> None:
    """Buffers follow one another without a seam, and a packet that is longer than one is written whole."""
    sizes = [(number * 7919) % 1500 for number in range(3000)] + [3 << 20, 0, (2 << 20) + 1]
    lefts = [Left(n + 1, Packet(n, bytes([n % 251]) * size), CODES[n % 3]) for n, size in enumerate(sizes)]
    assert parse(write(tmp_path / "w", lefts)) == [expected(left) for left in lefts]


def test_nothing_to_write(tmp_path: Path) -> None:
    """Without packets the file is a capture all the same: a section with an Ethernet interface."""
    text = write(tmp_path / "w", [])
    assert parse(text) == []
    assert struct.unpack_from("<IIH", text, len(text) - 32) == (1, 32, LINK_ETHERNET)


def test_our_own_reader_reads_it(tmp_path: Path) -> None:
    """What ``-w`` wrote is an input: frames, lengths, times and link types are those of the packets."""
    text = write(tmp_path / "w", SEVERAL)
    reader = reader_for(tmp_path / "w", text[:32], final=False, strict=True)
    found = [
        (text[start : start + captured], length, time, link)
        for records in reader.pieces(Window(text, len(text), 0, True))
        for start, captured, length, time, link in zip(*(column.tolist() for column in records), strict=True)
    ]
    assert reader.faults == []
    assert found == [(left.frame, left.length, left.ticks, left.link) for left in map(expected, SEVERAL)]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")
def test_tshark_reads_it(tmp_path: Path) -> None:
    """Another reader of the format finds the same packets, times, lengths and comments."""
    lefts = [*SEVERAL, Left((1 << 40) + 10, Packet(-5, udp4()))]
    write(tmp_path / "w", SEVERAL, lefts[-1:])
    fields = ["frame.time_epoch", "frame.cap_len", "frame.len", "frame.packet_id", "frame.comment"]
    command = ["tshark", "-n", "-r", str(tmp_path / "w"), "-T", "fields", *(f"-e{field}" for field in fields)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    found = [line.split("\t") for line in done.stdout.splitlines()]
    assert found == [
        [
            f"{left.ticks // 10**9}.{left.ticks % 10**9:09}",
            str(len(left.frame)),
            str(left.length),
            str(left.number),
            left.comment,
        ]
        for left in map(expected, lefts)
    ]


@pytest.mark.skipif(shutil.which("capinfos") is None, reason="needs capinfos")
def test_capinfos_reads_an_empty_one(tmp_path: Path) -> None:
    """A file without packets is accepted by others."""
    write(tmp_path / "w", [])
    done = subprocess.run(
        ["capinfos", "-Tc", str(tmp_path / "w")], capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout.splitlines()[-1].split("\t")[-1] == "0"


def test_unfinished_files_have_no_name(tmp_path: Path) -> None:
    """The name is given at the end; until then what had it stays, and giving up leaves nothing behind."""
    (tmp_path / "w").write_text("earlier")
    made = Unprocessed(tmp_path / "w")
    made.add(*batch(SEVERAL))
    assert (tmp_path / "w").read_text() == "earlier"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.name != "w"} == {0o600}
    made.abandon()
    made.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
    assert len(parse(write(tmp_path / "w", SEVERAL))) == len(SEVERAL)


def test_the_target_is_a_plain_file(tmp_path: Path) -> None:
    """A device or a link is not replaced, and a folder that is not there is said."""
    (tmp_path / "link").symlink_to("/dev/null")
    with pytest.raises(OutputError, match="not a plain file"):
        Unprocessed(tmp_path / "link")
    with pytest.raises(OutputError, match="No such file") as missing:
        Unprocessed(tmp_path / "no" / "w")
    assert missing.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space is an OutputError with a hint wherever it is met, and nothing of ours stays."""
    true_create = placing.create

    def full(path: Path, _: Path) -> int:
        os.close(true_create(path))
        return os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)

    made = Unprocessed(tmp_path / "w")
    monkeypatch.setattr(unprocessed, "create", full)
    with pytest.raises(OutputError, match="No space left") as error:
        Unprocessed(tmp_path / "v")
    assert error.value.hint
    monkeypatch.setattr(placing.os, "writev", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match=r"cannot write .*w: No space left"):
        made.add(*batch(SEVERAL))
    with pytest.raises(OutputError, match="cannot write"):
        made.close()
    assert list(tmp_path.iterdir()) == []
