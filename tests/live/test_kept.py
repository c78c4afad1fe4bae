"""Packets that are kept: each file a capture of its own, found by the places in the report, within its limits."""

from __future__ import annotations

import errno
import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Keep, Live
from pipeline.errors import OutputError
from pipeline.live import kept as module
from pipeline.live.kept import KeptFiles
from tests.source.reading import read
from workers.contract import U8, Stored

RUN = "flowshard-20260501T101500Z-3fa9c1-"
EARLIER = "flowshard-20260401T101500Z-000000-000000000000000.pcapng"
SECOND = 1_000_000_000
LIVE = Live(("tap0",), snap_length=65_535)
FRAMING = 48  # bytes of a block besides the frame


class Packet(NamedTuple):
    """As it was captured, and as it stands in a file."""

    address: int
    frame: bytes
    length: int
    time: int
    link: int


class Source:
    """Packets in a spool, with addresses that go on from batch to batch."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = random.Random(seed)
        self.packets: list[Packet] = []

    def batch(self, sizes: Sequence[int], links: Sequence[int] = (1,)) -> tuple[U8, Stored]:
        """A spool that begins with something else, and packets in it one behind the other, a second apart."""
        base = sum(len(packet.frame) for packet in self.packets)
        place = self._rng.randrange(100)
        spool = self._rng.randbytes(place + sum(sizes))
        at = place
        fresh = []
        for size in sizes:
            time = (1_700_000_000 + len(self.packets) + len(fresh)) * SECOND + 123_456_000
            link = self._rng.choice(links)
            fresh.append(Packet(base + at - place, spool[at : at + size], size + 5, time, link))
            at += size
        self.packets += fresh
        captured = np.array(sizes, np.uint32)
        start = np.cumsum(captured, dtype=np.uint64) - captured
        length, time, link = (np.array([packet[n] for packet in fresh]) for n in (2, 3, 4))
        return np.frombuffer(spool, np.uint8), Stored(
            0, base, place, start, captured, length.astype(np.uint32), time, link.astype(np.uint16)
        )


def keeper(folder: Path, **limits: int) -> KeptFiles:
    """With limits that no option would allow, for short tests."""
    return KeptFiles(Keep(folder, RUN, **{"size": 1 << 20, **limits}), LIVE, "tcp")  # type: ignore[arg-type]


def never() -> bool:
    return False


def packets(path: Path) -> list[Packet]:
    """What a file holds, by our own reader, and the option behind each frame."""
    data, found = path.read_bytes(), []
    result = read(data)
    assert result.faults == []
    for start, captured, length, time, link in result.rows:
        code, size, address = struct.unpack_from("<HHQ", data, start + captured + -captured % 4)
        assert (code, size) == (5, 8)
        found.append(Packet(address, data[start : start + captured], length, time, link))
    return found


def all_kept(folder: Path) -> list[Packet]:
    return [packet for path in sorted(folder.iterdir()) for packet in packets(path)]


@given(
    st.lists(st.lists(st.integers(1, 900), min_size=1, max_size=30), max_size=6),
    st.integers(400, 6000), st.one_of(st.none(), st.integers(1, 20)), st.integers(8, 1 << 16),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_all_is_kept_in_order_and_within_limits(
    batches: list[list[int]], size: int, seconds: int | None, buffer: int
) -> None:
    """However it comes: each file but one of a single packet is small enough, spans no more time, and says in its
    name where it begins."""
    source = Source(size)
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BUFFER", buffer)
        folder = Path(made) / "kept"
        files = KeptFiles(Keep(folder, RUN, size, seconds), LIVE)
        for sizes in batches:
            assert files.add(*source.batch(sizes, (1, 113)), never) == len(sizes)
        files.close()
        assert all_kept(folder) == source.packets
        for path in folder.iterdir():
            held = packets(path)
            assert path.name == f"{RUN}{held[0].address:015}.pcapng"
            assert path.stat().st_size <= size or len(held) == 1
            assert seconds is None or held[-1].time - held[0].time < seconds * SECOND
        assert files.counters == {
            "kept": len(source.packets), "kept.bytes": sum(len(packet.frame) for packet in source.packets),
            "kept.files": len(list(folder.iterdir())), "kept.removed": 0,
        }  # fmt: skip


def test_the_oldest_goes(tmp_path: Path) -> None:
    """Of this run and of earlier ones; whatever else lies there stays."""
    foreign = [tmp_path / name for name in ("mine.pcapng", EARLIER + ".gz", EARLIER.replace("-0000", "-X000"))]
    for path in [tmp_path / EARLIER, *foreign]:
        path.write_bytes(b"?")
    folder = tmp_path / EARLIER.replace("-000000-", "-000001-")
    folder.mkdir()
    source, files = Source(), keeper(tmp_path, size=2000, files=3)
    files.add(*source.batch([1200] * 5), never)
    files.close()
    ours = sorted(tmp_path.glob(RUN + "*"))
    assert [packets(path) for path in ours] == [[packet] for packet in source.packets[2:]]
    assert set(tmp_path.iterdir()) == {*ours, *foreign, folder}
    assert files.counters["kept.removed"] == 3


def test_a_full_disk_costs_what_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file ends behind a whole block, what follows is not kept, and later it is tried again."""
    monkeypatch.setattr(module, "_BUFFER", (1000 + FRAMING) // 4)
    clock, write_all, left = [100.0], module.write_all, [4]  # header, interface and two packets

    def write(file: int, pieces: list[bytes]) -> None:
        left[0] -= 1
        if left[0] < 0:
            write_all(file, [bytes(pieces[0][:7])])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(file, pieces)

    monkeypatch.setattr(module, "write_all", write)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    source, files = Source(), keeper(tmp_path)
    assert files.add(*source.batch([1000] * 3), never) == 2
    assert files.problem is not None
    assert files.problem.message.endswith("No space left on device")
    left[0] = 100
    assert files.add(*source.batch([1000]), never) == 0
    clock[0] += 2
    assert files.add(*source.batch([1000]), never) == 1
    files.close()
    assert all_kept(tmp_path) == [*source.packets[:2], source.packets[4]]
    assert (files.counters["kept"], files.counters["kept.files"]) == (3, 2)


def test_one_that_is_to_hurry_leaves_it_at_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two parts of a batch."""
    monkeypatch.setattr(module, "_BUFFER", 1)
    asked = iter([False, False, True])
    source, files = Source(), keeper(tmp_path)
    assert files.add(*source.batch([10] * 5), lambda: next(asked)) == 2
    files.close()
    assert all_kept(tmp_path) == source.packets[:2]


def test_others_read_it(tmp_path: Path) -> None:
    """Wireshark's tools: the address, the length on the wire, the time, the interface, and what the file says."""
    if shutil.which("tshark") is None:
        pytest.skip("needs tshark")
    source, files = Source(), keeper(tmp_path)
    files.add(*source.batch([100, 61, 70]), never)
    files.close()
    [path] = tmp_path.iterdir()
    fields = ["packet_id", "len", "cap_len", "time_epoch", "interface_name"]
    command = ["tshark", "-r", str(path), "-T", "fields", *(f"-eframe.{name}" for name in fields)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split("\t") for line in lines] == [
        [str(packet.address), str(packet.length), str(len(packet.frame)), f"{packet.time // 1000 / 1e6:.6f}000", "tap0"]
        for packet in source.packets
    ]
    said = subprocess.run(["capinfos", path], capture_output=True, text=True, check=True).stdout
    assert "A packet of 65,535 bytes was cut by the snap length" in said
    assert "Filter string = tcp" in said


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """Before anything is captured."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot keep packets in"):
        keeper(tmp_path / "file")
