"""Captures that are cut off, overwritten, shrinking: what lies outside the damage is right, and the damage is told."""

from __future__ import annotations

import errno
import gzip
import os
import random
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from pipeline.spool.windows import Windows
from tests.effort import thinned
from tests.forms import crossed, fifo
from tests.runs import MARKER, REPORT, Finished, files, reads, report_of, run_apart, run_here
from tests.told import Brought, Told, conversations, pcap, pcapng, streams

FORMATS: dict[str, Callable[[Sequence[Brought]], Told]] = {"pcap": pcap, "pcapng": pcapng}


def run(path: Path, out: Path, *words: object) -> tuple[Finished, dict[str, bytes]]:
    """A run in this process, and its stream files, over those of an earlier one."""
    done = run_here("-r", path, "-o", out, "--quiet", "--workers", 0, "--overwrite", *words)
    found = files(out) if out.exists() else {}
    found.pop(REPORT, None)
    return done, found


def faults(out: Path) -> list[tuple[int, int, str]]:
    """Offset, length and problem of each fault in the report."""
    told = [seen for tag, seen in report_of(out).foreign if tag == "fault"]
    return [(int(seen["offset"]), int(seen["length"]), seen["problem"]) for seen in told]


# --------------------------------------------------------------------------- cut off


def whole_records(told: Told, cut: int) -> Sequence[Brought]:
    """Those that lie before the cut."""
    return [each for each, end in zip(told.brought, told.ends, strict=True) if end <= cut]


def borders(told: Told) -> set[int]:
    """Where a cut goes unseen: between two records or blocks."""
    return {told.header, *told.ends, *([28] if told.header > 28 else [])}  # 28: behind the section header block


def check_cut(told: Told, cut: int, folder: Path) -> None:
    """A capture of its first ``cut`` bytes."""
    path = folder / "x"
    path.write_bytes(told.data[:cut])
    done, found = run(path, folder / "out")
    assert done.status == (0 if cut in borders(told) else 3), (cut, done.err)
    if cut < min(borders(told)):  # nothing but a part of its first header
        assert done.err.startswith("error: "), (cut, done.err)
        return
    assert found == streams(whole_records(told, cut)), cut
    if cut not in borders(told):
        begin = max(place for place in (0, *borders(told)) if place < cut)
        assert [(offset, length) for offset, length, _ in faults(folder / "out")] == [(begin, cut - begin)], cut


def check_cut_gzip(told: Told, packed: bytes, cut: int, folder: Path) -> None:
    """The first ``cut`` bytes of the compressed capture."""
    path = folder / "x"
    path.write_bytes(packed[:cut])
    done, found = run(path, folder / "out")
    assert done.status == (0 if cut == len(packed) else 3), (cut, done.err)
    held = zlib.decompressobj(31).decompress(packed[:cut])
    assert told.data.startswith(held)
    if len(held) >= told.header:
        assert found == streams(whole_records(told, len(held))), cut


@pytest.mark.parametrize("form", FORMATS)
def test_cut_off(form: str, tmp_path: Path) -> None:
    """Truncation loses nothing before the cut, and is told with status 3, but where it goes unseen."""
    told = FORMATS[form](conversations(3, 3_500, 300))
    around = [end + by for end in told.ends[40:44] for by in (-1, 0, 1, 8, 16, 17)]
    for cut in (*range(0, told.header + 20, 7), *around, *range(8_000, len(told.data), 3_777), len(told.data)):
        check_cut(told, cut, tmp_path)


@pytest.mark.parametrize("form", FORMATS)
def test_cut_off_and_compressed(form: str, tmp_path: Path) -> None:
    """Of a compressed capture that is cut off all is there that can be decompressed."""
    told = FORMATS[form](conversations(3, 3_500, 300))
    packed = gzip.compress(told.data, mtime=0)
    for cut in (*range(1, 40, 3), *range(100, len(packed), 311), len(packed) - 1, len(packed)):
        check_cut_gzip(told, packed, cut, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("form", FORMATS)
def test_cut_off_at_every_byte(form: str, part: int, tmp_path: Path) -> None:
    """At whatever byte a capture of 20 kB ends; CI takes eight in a row of each 328, ``nightly`` all."""
    told = FORMATS[form](conversations(3, 3_500, 300))
    assert len(told.data) > 20_000
    for cut in thinned(range(part, len(told.data) + 1, 8), 41):
        check_cut(told, cut, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", FORMATS)
def test_cut_off_and_compressed_at_every_byte(form: str, tmp_path: Path) -> None:
    """At whatever byte the compressed capture ends; CI takes every 31st of them, ``nightly`` all."""
    told = FORMATS[form](conversations(3, 3_500, 300))
    packed = gzip.compress(told.data, mtime=0)
    for cut in thinned(range(1, len(packed) + 1), 31):
        check_cut_gzip(told, packed, cut, tmp_path)


# --------------------------------------------------------------------------- overwritten

NOISE = 1_024
KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "random": lambda rng: rng.randbytes(NOISE),
    "zeros": lambda _: bytes(NOISE),
    "ones": lambda _: b"\xff" * NOISE,
}


def check_streams(outside: Sequence[Brought], found: Mapping[str, bytes], message: object) -> None:
    """Every byte of these packets is in the file of its stream, at its place."""
    for each in outside:
        begin, end = each.offset, each.offset + len(each.payload)
        assert not each.stream or found.get(each.stream, b"")[begin:end] == each.payload, message


def check_noise(told: Told, kind: str, at: int, seed: int, folder: Path, *words: object) -> None:
    """The capture with noise from ``at`` on."""
    noise = KINDS[kind](random.Random(seed))
    path, end = folder / "x", at + NOISE
    path.write_bytes(told.data[:at] + noise + told.data[end:])
    where = (kind, at, seed)
    done, found = run(path, folder / "out", *words)
    assert done.status == 3, where
    told_faults = faults(folder / "out")
    spans = list(zip(told.brought, told.begins(), told.ends, strict=True))
    hit = [(begin, stop) for _, begin, stop in spans if begin < end and stop > at]
    before = [each for each, _, stop in spans if stop <= at]
    behind = [each for each, begin, _ in spans if begin >= end]
    assert told_faults, where
    for offset, length, problem in told_faults:  # inside of what was hit
        assert problem
        assert hit[0][0] <= offset <= offset + length <= hit[-1][1], (where, told_faults, hit[0][0], hit[-1][1])
    assert str(path) in done.err
    if "--strict" in words:
        assert len(told_faults) == 1, where
        check_streams(before, found, where)
        hit_ones = [each for each, begin, stop in spans if begin < end and stop > at]
        most = streams([*before, *hit_ones])
        assert all(len(data) <= len(most[name]) for name, data in found.items() if name in most), where
    else:
        check_streams([*before, *behind], found, where)


def noisy(told: Told, seed: int) -> tuple[str, int]:
    """A kind of noise, and where in the middle: behind the SYNs, with records left behind it."""
    rng = random.Random(seed)
    return rng.choice(list(KINDS)), rng.randrange(told.ends[8], told.ends[-6] - NOISE)


@pytest.mark.parametrize("seed", crossed([(seed,) for seed in range(8)], range(20)))
@pytest.mark.parametrize("form", FORMATS)
def test_noise_in_the_middle(form: str, seed: int, tmp_path: Path) -> None:
    """A kilobyte of noise costs no record but those it lies in, and the report says where it was."""
    told = FORMATS[form](conversations(3, 7_000, 300))
    check_noise(told, *noisy(told, seed), seed, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("form", FORMATS)
def test_noise_anywhere(form: str, part: int, tmp_path: Path) -> None:
    """Nor does other noise at other places, with longer packets or shorter ones."""
    for seed in thinned(range(part * 1_000, part * 1_000 + 1_000), 20):
        rng = random.Random(seed)
        told = FORMATS[form](conversations(rng.randint(2, 5), 9_000, rng.choice([100, 300, 536]), seed))
        check_noise(told, *noisy(told, seed), seed, tmp_path)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("form", FORMATS)
def test_strict_stops_at_the_damage(form: str, seed: int, tmp_path: Path) -> None:
    """--strict: all before the damage is there, nothing that lies behind it."""
    told = FORMATS[form](conversations(3, 7_000, 300))
    check_noise(told, *noisy(told, seed), seed, tmp_path, "--strict")


# --------------------------------------------------------------------------- shrinking, unreadable

SHRINKING = """
import os, sys
from pipeline.capture import Capture
from pipeline.cli import command
source, size = sys.argv.pop(1), int(sys.argv.pop(1))
batches = Capture.batches
def shrinking(self):
    for number, dealt in enumerate(batches(self)):
        yield dealt
        if number == 4: os.truncate(source, size)
Capture.batches = shrinking
command()
"""
"""A run whose input becomes shorter behind its fifth batch."""

BATCHES = ["--batch-packets", 50]


def shrinking(folder: Path) -> tuple[Told, Path, int]:
    """A capture of 600 kB, and a place in its second half, in the middle of a record."""
    told = pcap(conversations(4, 90_000, 1_000))
    assert len(told.data) > 400_000
    path = folder / "x.pcap"
    path.write_bytes(told.data)
    return told, path, told.ends[len(told.ends) * 2 // 3] + 500


@pytest.mark.parametrize("writers", crossed([(2,)], [1, 2]))
def test_a_mapped_file_that_shrinks(writers: int, tmp_path: Path) -> None:
    """SIGBUS in a process is no crash: the capture is read again, by copying, and what is left of it is right."""
    told, path, size = shrinking(tmp_path)
    shape = ["--workers", 2, "--writers", writers]
    words = ["-r", path, "-o", tmp_path / "out", "--quiet", *BATCHES, *shape]
    done = run_apart(path, size, *words, code=SHRINKING)
    assert done.status == 3, done.err
    assert done.err.startswith(
        "warning: an input became shorter while it was read, or its storage has a bad block\nhint: reading it again\n"
    ), done.err
    found = files(tmp_path / "out")
    del found[REPORT]
    assert found == streams(whole_records(told, size))
    [(offset, length, _)] = faults(tmp_path / "out")
    assert offset + length == size


def test_a_mapped_file_that_shrinks_beside_a_pipe(tmp_path: Path) -> None:
    """What came out of a pipe cannot be read again: status 3, and what to do."""
    _, path, size = shrinking(tmp_path)
    other = pcap(conversations(1, 100, 100))
    with fifo(tmp_path / "pipe", other.data) as pipe:
        words = [*reads([path, pipe]), "-o", tmp_path / "out", "--quiet", *BATCHES, "--workers", 2]
        done = run_apart(path, size, *words, code=SHRINKING)
    assert done.status == 3, done.err
    assert re.fullmatch(
        r"error: an input became shorter while it was read, or its storage has a bad block\nhint: .*--workers 0\n",
        done.err,
    ), done.err
    assert (tmp_path / "out" / MARKER).exists()


def test_a_copied_file_that_shrinks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One process reads with pread: it gets the end as a value, and the rest of the file is a fault."""
    told, path, size = shrinking(tmp_path)
    head = Windows.head

    def shrinks(windows: Windows, count: int) -> bytes:
        found = head(windows, count)
        os.truncate(path, size)
        return found

    monkeypatch.setattr(Windows, "head", shrinks)
    done, found = run(path, tmp_path / "out")
    assert done.status == 3, done.err
    assert "the file became shorter while it was read" in done.err
    assert found == streams(whole_records(told, size))


@pytest.mark.parametrize("form", FORMATS)
def test_a_bad_sector(form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pages that the storage does not give are a counted fault; every record outside of them is in its stream."""
    told = FORMATS[form](conversations(4, 30_000, 500))
    path = tmp_path / "x"
    path.write_bytes(told.data)
    bad = range(5 * 4096, 7 * 4096)
    preadv = os.preadv

    def failing(descriptor: int, views: list[memoryview], place: int) -> int:
        if place < bad.stop and place + len(views[0]) > bad.start:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(descriptor, views, place)

    monkeypatch.setattr(os, "preadv", failing)
    done, found = run(path, tmp_path / "out")
    assert done.status == 3, done.err
    assert "input/output error" in done.err
    outside = [
        each
        for each, begin, end in zip(told.brought, told.begins(), told.ends, strict=True)
        if end <= bad.start or begin >= bad.stop
    ]
    assert 0 < len(told.brought) - len(outside) < 40
    check_streams(outside, found, done.err)
    told_faults = faults(tmp_path / "out")
    assert any(offset <= bad.stop and offset + length >= bad.start for offset, length, _ in told_faults)
