"""Classic captures: every variety, damage of every kind, and the index kernel against the slow reader."""

from __future__ import annotations

import mmap
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CaptureError
from pipeline.source import open_source
from pipeline.source.pcap import FILE_HEADER, PcapSource
from pipeline.source.records import Fault, Records
from tests.build import EPOCH_NS, Conversation, Packet, pcap_bytes, write_pcap
from tests.source import oracle


def rows(batches: Iterator[Records]) -> list[oracle.Row]:
    """The batches as rows; their dtypes are the contract's."""
    made: list[oracle.Row] = []
    for batch in batches:
        assert [column.dtype for column in batch] == [np.uint64, np.uint32, np.uint32, np.int64, np.uint16]
        made.extend(zip(*(column.tolist() for column in batch), strict=True))
    return made


def read(path: Path, data: bytes, packets: int = 1000) -> tuple[list[oracle.Row], Fault | None]:
    """Everything in a file that holds these bytes."""
    path.write_bytes(data)
    source = open_source(path)
    try:
        return rows(source.batches(packets)), source.fault
    finally:
        source.close()


def conversation() -> list[Packet]:
    packets = Conversation(start_ns=EPOCH_NS + 123).packets([(0, b"question"), (1, b"answer" * 700)])
    return [*packets[:5], packets[5].cut(60), *packets[6:]]


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("variety", ["micro", "nano", "kuznetzov"])
def test_varieties(tmp_path: Path, variety: str, big_endian: bool) -> None:
    """Both byte orders, both time units and the long record headers give back the packets."""
    packets = conversation()
    data = pcap_bytes(packets, big_endian=big_endian, nanoseconds=variety == "nano", kuznetzov=variety == "kuznetzov")
    found, fault = read(tmp_path / "a.pcap", data)
    assert fault is None
    unit = 1 if variety == "nano" else 1000
    assert [data[start : start + captured] for start, captured, _, _, _ in found] == [p.frame for p in packets]
    assert [row[2:] for row in found] == [(p.wire_length, p.time_ns // unit * unit, 1) for p in packets]


@pytest.mark.parametrize(
    ("big_endian", "nanoseconds", "name"),
    [
        (False, False, "pcap, little endian, microseconds"),
        (True, True, "pcap, big endian, nanoseconds"),
    ],
)
def test_format(tmp_path: Path, big_endian: bool, nanoseconds: bool, name: str) -> None:
    """``format`` tells people what the file is; the slab is the whole file, read-only."""
    path = write_pcap(tmp_path / "a", conversation(), big_endian=big_endian, nanoseconds=nanoseconds)
    source = open_source(path)
    assert (source.format, source.path) == (name, path)
    assert source.slab.tobytes() == path.read_bytes()
    assert not source.slab.flags.writeable
    source.close()


@pytest.mark.parametrize(
    ("network", "link"),
    [(1, 1), (12, 101), (14, 101), (101, 101), (276, 276), (0xF400_0001, 1), (0x0001_0000 | 113, 113)],
)
def test_link_types(tmp_path: Path, network: int, link: int) -> None:
    """FCS bits above the link type are masked off; raw IP by its DLT numbers is LINKTYPE_RAW."""
    found, _ = read(tmp_path / "a", pcap_bytes(conversation(), link=network))
    assert {row[4] for row in found} == {link}


@pytest.mark.parametrize("snaplen", [0, 1, 65535, 2**31, 2**32 - 1])
def test_a_senseless_snap_length_loses_nothing(tmp_path: Path, snaplen: int) -> None:
    """The header's snap length never makes records of up to 256 KiB damage."""
    packets = [Packet(EPOCH_NS, bytes(size)) for size in (0, 60, 262_144)]
    found, fault = read(tmp_path / "a", pcap_bytes(packets, snaplen=snaplen))
    assert fault is None
    assert [row[1] for row in found] == [0, 60, 262_144]


def test_a_larger_snap_length_is_believed(tmp_path: Path) -> None:
    """262145 bytes are damage by default, and a packet where the header allows it."""
    packets = [Packet(EPOCH_NS, b"ok"), Packet(EPOCH_NS, bytes(262_145))]
    found, fault = read(tmp_path / "a", pcap_bytes(packets, snaplen=300_000))
    assert (len(found), fault) == (2, None)
    found, fault = read(tmp_path / "b", pcap_bytes(packets))
    assert len(found) == 1
    assert fault == Fault(tmp_path / "b", 24 + 18, "a packet record claims 262145 bytes, more than any snap length")


def test_odd_fields_are_no_damage(tmp_path: Path) -> None:
    """A fraction over a second is added as it is; a length below the captured one is raised to it."""
    data = pcap_bytes([]) + struct.pack("<IIII", 2**32 - 1, 2**32 - 1, 4, 2) + b"abcd"
    found, fault = read(tmp_path / "a", data)
    assert fault is None
    assert found == [(40, 4, 4, (2**32 - 1) * 1_000_001_000, 1)]


@pytest.mark.parametrize("kuznetzov", [False, True])
def test_cut_at_every_byte(tmp_path: Path, kuznetzov: bool) -> None:
    """Whatever is cut off the end, the records before the cut are there and the fault says where."""
    packets = [Packet(EPOCH_NS + n, bytes(n * 7 % 23)) for n in range(6)]
    whole = pcap_bytes(packets, kuznetzov=kuznetzov)
    complete, _ = oracle.pcap(whole)
    head = 24 if kuznetzov else 16
    for size in range(len(whole)):
        if size < FILE_HEADER:
            if size:
                with pytest.raises(CaptureError):
                    read(tmp_path / "a", whole[:size])
            continue
        found, fault = read(tmp_path / "a", whole[:size])
        before = [row for row in complete if row[0] + row[1] <= size]
        assert found == before
        end = before[-1][0] + before[-1][1] if before else FILE_HEADER
        if size == end:
            assert fault is None
        else:
            part = "header" if size < end + head else ""
            assert fault == Fault(
                tmp_path / "a",
                end,
                "the file ends inside a " + (f"record {part}" if part else "packet record"),
            )


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batch_sizes_agree(tmp_path: Path, size: int) -> None:
    """Batches hold exactly as many packets as asked, but the last; and the same ones; each time anew."""
    rng = random.Random(5)
    packets = [Packet(EPOCH_NS + n, rng.randbytes(rng.randrange(80))) for n in range(2500)]
    path = write_pcap(tmp_path / "a", packets)
    expected, _ = oracle.pcap(path.read_bytes())
    source = open_source(path)
    for _ in range(2):
        batches = list(source.batches(size))
        assert rows(iter(batches)) == expected
        sizes = [len(batch.start) for batch in batches]
        assert sizes == [size] * (2500 // size) + [2500 % size] * (2500 % size > 0)
    source.close()


def test_close_in_the_middle(tmp_path: Path) -> None:
    """Closing unmaps although a reader stopped half-way, and records read before stay valid."""
    source = open_source(write_pcap(tmp_path / "a", conversation()))
    assert isinstance(source, PcapSource)
    first = next(source.batches(3))
    source.close()
    assert source.data.closed
    assert isinstance(source.data, mmap.mmap)
    assert len(source.slab) == 0
    assert len(first.start) == 3


@given(st.integers(0, 2**32), st.integers(0, 3), st.booleans(), st.sampled_from(["micro", "nano", "kuznetzov"]))
def test_agrees_with_the_slow_reader(
    tmp_path_factory: pytest.TempPathFactory, seed: int, lies: int, big_endian: bool, variety: str
) -> None:
    """Any capture, lying header fields and cuts included: the same rows, the same place of damage."""
    rng = random.Random(seed)
    packets = [
        Packet(rng.randrange(2**32 * 10**9), rng.randbytes(rng.randrange(50)), rng.randrange(2**32))
        for _ in range(rng.choice((3, 40, 700)))
    ]
    data = bytearray(
        pcap_bytes(
            packets,
            big_endian=big_endian,
            nanoseconds=variety == "nano",
            kuznetzov=variety == "kuznetzov",
            snaplen=rng.choice((0, 96, 2**20, 2**32 - 1)),
            link=rng.randrange(2**32),
        )
    )
    for _ in range(lies):
        at = rng.randrange(24, len(data) - 4)
        data[at : at + 4] = struct.pack("<I", rng.choice((0, 3, 2**24, rng.randrange(2**32))))
    data = data[: rng.choice((len(data), rng.randrange(24, len(data))))]
    expected, damage = oracle.pcap(bytes(data))
    found, fault = read(tmp_path_factory.getbasetemp() / "twin.pcap", bytes(data))
    assert found == expected
    assert (fault.offset if fault else None) == damage
