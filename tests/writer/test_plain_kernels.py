"""The kernel in C does what its twin does: the same rows for any numbers, the same files for any pieces."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.writer.names import Names
from pipeline.writer.payload import Payload
from pipeline.writer.plain.compiled import ROW, compiled
from pipeline.writer.plain.layout import BEGUN, BROKEN, CLOSING, LEFT, OPEN, PLAIN, SHUT, Facts, Kernel, Pieces, Rows
from pipeline.writer.plain.library import CHOICE, LIBRARY
from pipeline.writer.plain.twin import Twin
from tests.effort import examples
from tests.test_files import ROOT
from tests.writer.feed import table
from tests.writer.kernels import KERNELS
from workers.contract import INPUT_SHIFT, NO_EXTENTS, Data, EventBatch

NETS = [0, 1 << 4 | 0x7B << 8, 3 << 4 | 1 << 56 | 0x123456 << 8 | 0xFFF << 32]
"""Tags as in the sixth word of a key: none, a VLAN, a VLAN in a VXLAN."""

BIG = st.integers(0, 2**63 - 1) | st.integers(0, 9) | st.integers(0, 10**6)
TIMES = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2 * 10**18) | st.just(-(2**63))
GROUPS = st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF, 0xDB8, 0x10]), min_size=8, max_size=8)


def address(groups: list[int]) -> tuple[int, int]:
    whole = int.from_bytes(b"".join(group.to_bytes(2) for group in groups))
    return whole >> 64, whole & 2**64 - 1


@st.composite
def keys(draw: st.DrawFn) -> list[int]:
    net, ports = draw(st.sampled_from(NETS)), draw(st.integers(0, 2**32 - 1))
    if draw(st.booleans()):
        return [0, draw(st.integers(0, 2**32 - 1)), 0, draw(st.integers(0, 2**32 - 1)), ports, net | 4, 0]
    return [*address(draw(GROUPS)), *address(draw(GROUPS)), ports, net | 6, 0]


@st.composite
def streams(draw: st.DrawFn) -> tuple[Any, ...]:
    """A plain stream and the end of one."""
    numbers = [draw(BIG) for _ in range(11)]
    stream = (
        draw(st.integers(0, 2**46)), draw(keys()), draw(TIMES), numbers[0], 0, 0, 0, 0,
        draw(st.sampled_from([0, 0, 1, 9999, 10_000, 2**32 - 1])), 0, 1, -1, draw(st.integers(0, 1)), SHUT,
        draw(st.integers(0, 1)), list(draw(st.binary(min_size=12, max_size=12))),
    )  # fmt: skip
    end = (
        0, numbers[0] or 1, *numbers[1:7], draw(st.integers(0, 9)), draw(TIMES), draw(TIMES), *numbers[7:10],
        draw(st.integers(0, 99)), draw(st.integers(-1, 2**47)), draw(st.sampled_from([0, 1, 2, 3, 8, 11, 256])),
        draw(st.integers(0, 6)), draw(st.sampled_from([b"", b"0123456789abcdef" * 2])),
    )  # fmt: skip
    return stream, end


def known(names: Names, folder: int, keys_of: NDArray[Any]) -> Facts:
    facts = Facts(folder, names, ["one.pcap"])
    for net, more in keys_of[:, 5:7].tolist():
        facts.net(net, more)
    return facts


def made(given: list[tuple[Any, ...]], facts: Facts | None = None) -> NDArray[np.void]:
    found = np.zeros(len(given), PLAIN)
    for i, values in enumerate(given):
        for name, value in zip(PLAIN.names or (), values, strict=True):
            found[name][i] = value
        if facts is not None:
            found["net"][i] = facts.net(*values[1][5:7])
    return found


def in_c(facts: Facts) -> Kernel:
    make = compiled()
    if make is None:
        pytest.skip("flowshard was installed without a C compiler: there is no compiled kernel")
    return make(facts)


@examples(300)
@given(drawn=st.lists(streams(), min_size=1, max_size=5), timestamp=st.booleans())
def test_rows_are_the_same(drawn: list[tuple[Any, ...]], *, timestamp: bool) -> None:
    """Every byte of a row: addresses, times before and after 1970, no time at all, tags, counters, MAC addresses."""
    plain, closing = [each for each, _ in drawn], [(i, *end[1:]) for i, (_, end) in enumerate(drawn)]
    facts = known(Names(None, timestamp=timestamp), -1, np.array([each[1] for each in plain], np.uint64))
    rows, ends = made(plain, facts), np.array(closing, CLOSING)
    text, lengths = Twin(facts).rows(rows, ends)
    again, sizes = in_c(facts).rows(rows, ends)
    assert (again, sizes.tolist()) == (text, lengths.tolist())


def test_the_longest_row_has_room() -> None:
    """What a row takes at most without its texts, all numbers as long as they get, is less than is set aside for it."""
    stream, end = np.zeros(1, PLAIN), np.zeros(1, CLOSING)
    stream["key"], stream["number"], stream["counter"] = [2**64 - 1] * 5 + [6, 0], 2**64 - 1, 2**32 - 1
    stream["opened"], stream["mac"], stream["mac_known"] = -(2**63), 255, 1
    for name in CLOSING.names or ():
        if name not in {"slot", "flags", "reason", "md5"}:
            end[name] = -(2**63) + 1
    end["md5"], end["place"], end["clipped"] = b"f" * 32, 2**63 - 1, 0
    text, _ = Twin(Facts(-1, Names(None, timestamp=True), ["one.pcap"])).rows(stream, end)
    assert 1_200 < len(text) <= ROW


@pytest.mark.parametrize("seed", range(12))
def test_files_are_the_same(tmp_path: Path, seed: int) -> None:
    """Names, bytes, times, and what is said of each: made, kept open or not, shut, opened again, compared, finished;
    names that are taken."""
    told = []
    for kind in (Twin, in_c):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        told.append(use(folder, kind, np.random.default_rng(seed)))
    assert told[0] == told[1]


def use(folder: Path, kind: Any, rng: np.random.Generator) -> list[Any]:
    """What comes of forty streams that chance makes."""
    root, count, told = os.open(folder, os.O_RDONLY), 40, []
    keys_of = [[0, 10 << 24 | i, 0, 7, 80, 4, 0] for i in range(count)]
    rows = made([(i, keys_of[i], 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, i & 1, BEGUN, 0, [0] * 12) for i in range(count)])
    facts = known(Names(None, timestamp=False), root, np.array(keys_of, np.uint64))
    kernel, twin = kind(facts), Twin(facts)
    for slot in rng.choice(count, 4, replace=False).tolist():
        (folder / twin.name(rows, slot)).symlink_to(folder / "elsewhere")
    told.append([kernel.make(rows, slot) for slot in rng.choice(count, 9, replace=False).tolist()])
    for keep in (True, False, True, False):
        told.append(write_some(kernel, rows, rng, keep=keep))
        told.append(compare_some(kernel, rows, rng, folder, twin))
        still_open = np.flatnonzero(rows["state"] == OPEN)
        told.append(kernel.shut(rows, rng.permutation(still_open)[:5]).tolist())
    ready = np.flatnonzero((rows["state"] == OPEN) | (rows["state"] == SHUT))
    times = rng.integers(-(10**18), 2 * 10**18, len(ready))
    told.append(kernel.finish(rows, ready, times).tolist())
    files = {path.name: path for path in folder.iterdir() if not path.is_symlink()}
    found = [os.stat(files[twin.name(rows, slot)]) for slot in np.flatnonzero(rows["inode"]).tolist()]
    shut = rows[rows["inode"] > 0]
    assert list(zip(shut["device"].tolist(), shut["inode"].tolist(), strict=True)) == [
        (f.st_dev, f.st_ino) for f in found
    ]
    assert ((rows["descriptor"] >= 0) == (rows["state"] == OPEN)).all()
    told.append((rows["state"].tolist(), rows["size"].tolist()))
    told.append({name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in files.items()})
    os.close(root)
    return told


def compare_some(
    kernel: Kernel, rows: NDArray[np.void], rng: np.random.Generator, folder: Path, twin: Twin
) -> list[bool]:
    """Bytes that files have, and one in three that they do not, or not so many."""
    taken, source, told = [], bytearray(), []
    for slot in np.flatnonzero((rows["state"] == OPEN) | (rows["state"] == SHUT)).tolist():
        has = (folder / twin.name(rows, slot)).read_bytes()
        if not has:  # it was only made
            continue
        offset = int(rng.integers(0, len(has)))
        says = bytearray(has[offset : offset + int(rng.integers(1, 40_000))])
        kind = int(rng.integers(0, 9))
        if kind == 0:
            says[int(rng.integers(0, len(says)))] ^= 1
        elif kind == 1:
            says = bytearray(has[offset:]) + b"!"
        told.append(kind > 1)
        taken.append((slot, offset, len(source), len(says)))
        source += says
    data = table(Data, [(0, 0, 0, 0, 1, 0, 0)])
    array = np.frombuffer(bytes(source), np.uint8)
    payload = Payload({0: array}.__getitem__, EventBatch(0, NO_EXTENTS, data=data))
    columns = zip(*taken, strict=True)
    asked = Rows(*(np.array(c, t) for c, t in zip(columns, ("i8", "i8", "u8", "u4"), strict=True)))
    same = kernel.compare(rows, asked, payload).tolist()
    assert same == told
    return same


def write_some(kernel: Kernel, rows: NDArray[np.void], rng: np.random.Generator, *, keep: bool) -> list[int]:
    """Pieces of many rows each, some of more than one call takes, to places in streams that rise."""
    source = np.frombuffer(rng.bytes(40_000), np.uint8)
    slots = np.sort(rng.integers(0, len(rows), 30))
    many = rng.choice([1, 2, 5, 1500], 30, p=[0.4, 0.3, 0.2, 0.1])
    low = np.cumsum(many) - many
    sizes = rng.integers(1, 9, int(many.sum()))
    starts = rng.integers(0, len(source) - 9, len(sizes))
    data = table(Data, [(0, 0, 0, start, size, 0, 0) for start, size in zip(starts, sizes, strict=True)])
    payload = Payload({0: source}.__getitem__, EventBatch(0, NO_EXTENTS, data=data))
    pieces = Pieces(slots, rng.integers(0, 99, 30), low, low + many, np.add.reduceat(sizes, low))
    return kernel.write(rows, pieces, payload, keep=keep).tolist()


@pytest.mark.parametrize("closing", [False, True])
def test_a_file_that_cannot_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, closing: bool) -> None:
    """A disk that does not give back what lies there, or fails when the file is closed again: one answer, and no file
    that stays open."""
    facts = Facts(os.open(tmp_path, os.O_RDONLY), Names(None, timestamp=False), ["one.pcap"])
    kernel, rows = (
        Twin(facts),
        made([(0, [0, 1, 0, 2, 80, 4, 0], 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, BEGUN, 0, [0] * 12)]),
    )
    write_some(kernel, rows, np.random.default_rng(1), keep=False)
    (path,) = tmp_path.iterdir()
    has, close = path.read_bytes()[:1], os.close

    def refuse(*given: int) -> bytes:
        if closing:
            close(given[0])
        raise OSError(errno.EIO, "Input/output error")

    payload = Payload({0: np.frombuffer(has, np.uint8)}.__getitem__, EventBatch(0, NO_EXTENTS))
    one = np.zeros(1, np.int64)
    with monkeypatch.context() as patch:
        patch.setattr(os, "close" if closing else "pread", refuse)
        asked = Rows(one, one, one.astype(np.uint64), np.ones(1, np.uint32))
        assert kernel.compare(rows, asked, payload).tolist() == [closing]
    assert (rows["descriptor"][0], rows["state"][0]) == (-1, BROKEN if closing else SHUT)
    os.close(facts.folder)


@pytest.mark.parametrize("kind", KERNELS)
def test_what_does_not_lie_in_memory_is_not_read(tmp_path: Path, kind: str) -> None:
    """An address beyond the input is no address: in C nothing is tried, in Python there is less to write."""
    facts = Facts(os.open(tmp_path, os.O_RDONLY), Names(None, timestamp=False), ["one.pcap"])
    rows = made([(0, [0, 1, 0, 2, 80, 4, 0], 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, BEGUN, 0, [0] * 12)])
    for start, size in ((90, 11), (1 << 40, 1), ((1 << INPUT_SHIFT) - 1, 5)):
        data = table(Data, [(0, 0, 0, start, size, 0, 0)])
        payload = Payload({0: np.zeros(100, np.uint8)}.__getitem__, EventBatch(0, NO_EXTENTS, data=data))
        one = np.zeros(1, np.int64)
        pieces = Pieces(one, one, one, one + 1, one + size)
        if kind == "compiled":
            result = in_c(facts).write(rows, pieces, payload, keep=False)
            assert (result.tolist(), os.listdir(tmp_path)) == ([LEFT], [])
        else:
            assert payload.addresses is None
    os.close(facts.folder)


def test_the_compiled_kernel_is_of_these_sources() -> None:
    """A library that was made of other sources says so: flowshard is to be installed again."""
    if compiled() is None:
        pytest.skip("flowshard was installed without a C compiler: there is no compiled kernel")
    folder = ROOT / "pipeline" / "writer" / "plain"
    sources = b"".join((folder / name).read_bytes() for name in ("files.c", "spelling.c", "plain.h"))
    assert hashlib.sha256(sources).hexdigest().encode() in LIBRARY.read_bytes()


def test_the_twin_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLOWSHARD_KERNEL=twin: the kernel in Python is used, whether there is another or not."""
    monkeypatch.setenv(CHOICE, "twin")
    assert compiled() is None


def test_a_library_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is not there, or is damaged, is not used; nothing fails."""
    monkeypatch.setattr("pipeline.writer.plain.library.LIBRARY", tmp_path / "kernel.so")
    assert compiled() is None
    (tmp_path / "kernel.so").write_bytes(b"no library")
    assert compiled() is None


@pytest.mark.parametrize("kind", KERNELS)
def test_a_file_that_was_replaced_is_not_opened(tmp_path: Path, kind: str) -> None:
    """What somebody put in the place of a file that was shut is neither written nor compared with."""
    facts = Facts(os.open(tmp_path, os.O_RDONLY), Names(None, timestamp=False), ["one.pcap"])
    kernel: Kernel = Twin(facts) if kind == "twin" else in_c(facts)
    rows = made([(0, [0, 1, 0, 2, 80, 4, 0], 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, BEGUN, 0, [0] * 12)])
    assert set(write_some(kernel, rows, np.random.default_rng(1), keep=False)) == {0}
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "away")
    path.write_bytes(b"mine")
    assert write_some(kernel, rows, np.random.default_rng(1), keep=False) == [-errno.EEXIST] + [LEFT] * 29
    one = np.zeros(1, np.int64)
    array = np.frombuffer(b"mine", np.uint8)
    payload = Payload({0: array}.__getitem__, EventBatch(0, NO_EXTENTS, data=table(Data, [(0, 0, 0, 0, 1, 0, 0)])))
    asked = Rows(one, one, one.astype(np.uint64), one.astype(np.uint32) + np.uint32(4))
    assert not kernel.compare(rows, asked, payload).any()
    assert path.read_bytes() == b"mine"
    os.close(facts.folder)


def test_a_stream_that_is_broken_is_left(tmp_path: Path) -> None:
    """Of a stream with which something went wrong no more is tried."""
    facts = Facts(os.open(tmp_path, os.O_RDONLY), Names(None, timestamp=False), ["one.pcap"])
    for kind in (Twin, in_c):
        rows = made([(0, [0, 1, 0, 2, 80, 4, 0], 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, BROKEN, 0, [0] * 12)])
        assert write_some(kind(facts), rows, np.random.default_rng(1), keep=True) == [LEFT] * 30
    os.close(facts.folder)
