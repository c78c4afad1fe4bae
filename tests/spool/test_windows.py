"""Windows of a feed: every byte once, in time, with what is known about it."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.spool.feed import PipeFeed, Unreadable, open_feed
from pipeline.spool.slabs import Slab, Spool
from pipeline.spool.windows import LEAST_SLAB, PATIENCE, Windows
from tests.spool.codes import COMPRESS, Bytes, text

PAGE = mmap.PAGESIZE
CONTENT = text(60_000)
HERE = Path("here")


def windows_of(feed: Bytes | PipeFeed, slots: int = 1) -> tuple[Windows, Spool]:
    spool = Spool(None, 64 << 20, slots * PAGE)
    return Windows(feed, spool, HERE, slots * PAGE), spool


def each(windows: Windows, spool: Spool, steps: Iterator[tuple[float, int, int]]) -> Iterator[tuple[int, bytes, bool]]:
    """Base, bytes and finality of each window; a step is (share consumed, bytes left out beyond it, wants)."""
    held: list[Slab] = []
    consumed = wants = 0
    while filled := windows.next(consumed, wants):
        window, slab = filled
        held.append(slab)
        while len(held) > 2:  # written, and used again at once
            spool.give_back(held.pop(0))
        assert window.end <= slab.size
        assert window.end >= wants or window.final or not wants
        yield window.base, window.data[: window.end], window.final
        share, beyond, wants = next(steps)
        consumed = window.end + beyond if share == 1 else int(window.end * share)
        if share < 0.5:
            wants = max(wants, window.end + 1)  # a reader that wants nothing new must not be stuck


@given(
    size=st.integers(0, len(CONTENT)),
    slots=st.integers(1, 4),
    most=st.sampled_from([1 << 20, 5000, 700]),
    coding=st.sampled_from(["", "", "gzip", "lz4"]),
    slack=st.sampled_from([None, 0, 10_000]),
    waits=st.lists(st.integers(1, 60_000), max_size=8).map(sorted),
    steps=st.lists(
        st.tuples(st.sampled_from([0.0, 0.4, 0.7, 0.999, 1.0]), st.integers(0, 9000), st.integers(0, 3 * PAGE)),
        min_size=1,
        max_size=9,
    ),
)
def test_every_byte_once(
    size: int,
    slots: int,
    most: int,
    coding: str,
    slack: int | None,
    waits: list[int],
    steps: list[tuple[float, int, int]],
) -> None:
    """Windows give the feed's bytes at their offsets, whatever was consumed, wanted, or left out of them."""
    content = CONTENT[:size]
    feed = Bytes(COMPRESS[coding](content) if coding else content, most, tuple(waits))
    windows, spool = windows_of(feed, slots)
    if slack is not None and not coding:
        feed.slack = slack
    endless = (steps[i % len(steps)] if i < 60 else (1.0, 0, 0) for i in range(1 << 30))
    last, seen = False, 0
    for base, data, final in each(windows, spool, endless):
        assert not last
        assert data == content[base : base + len(data)]
        assert base <= size
        last, seen = final, base + len(data)
    assert last
    assert seen == size
    assert windows.next() is None
    assert not windows.faults
    assert windows.coding == ((coding,) if coding else ())


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("coding", ["", "zstd"])
def test_final(extra: int, coding: str) -> None:
    """A window says that it is the last one even where the input ends exactly at its end."""
    content = CONTENT[: 4 * PAGE + extra]
    windows, _ = windows_of(Bytes(COMPRESS[coding](content) if coding else content), 4)
    first = windows.next()
    assert first
    assert first.window.final == (extra <= 0)
    second = windows.next(first.window.end)
    assert (second is not None and second.window.final) == (extra > 0)


def test_no_bytes() -> None:
    """An empty input is one empty window, the final one."""
    windows, _ = windows_of(Bytes(b""))
    assert windows.head(4) == b""
    only = windows.next()
    assert only
    assert (only.window.end, only.window.final) == (0, True)
    assert windows.next() is None


def test_head_consumes_nothing() -> None:
    """The first bytes can be looked at, more and more of them, and are in the first window all the same."""
    windows, _ = windows_of(Bytes(COMPRESS["xz"](CONTENT), most=100))
    assert windows.head(4) == CONTENT[:4]
    assert windows.head(6000) == CONTENT[:6000]
    assert windows.coding == ("xz",)
    filled = windows.next()
    assert filled
    assert filled.window.data[: filled.window.end] == CONTENT[: filled.window.end]
    assert windows.head(100_000)[:0] == b""


def test_a_window_that_must_be_large() -> None:
    """A reader that wants more than a slab gets a window of so many bytes, and then usual ones again."""
    windows, _ = windows_of(Bytes(CONTENT, most=1000))
    first = windows.next()
    assert first
    assert first.slab.size == PAGE
    second = windows.next(10, 40_000)
    assert second
    assert (second.window.base, second.window.end >= 40_000) == (10, True)
    assert second.window.data[: second.window.end] == CONTENT[10 : 10 + second.window.end]
    third = windows.next(second.window.end)
    assert third
    assert third.slab.size == PAGE


def test_a_wish_beyond_the_end_takes_no_storage() -> None:
    """What a lying record wants of a file that has not so many bytes is not reserved."""
    feed = Bytes(CONTENT)
    feed.slack = 0
    spool = Spool(None, 64 << 20)
    filled = Windows(feed, spool, HERE).next(0, 60 << 20)
    assert filled
    assert filled.window.final
    assert spool.reserved < len(CONTENT) + PAGE


def test_unreadable_stretches(tmp_path: Path) -> None:
    """What the storage did not give is told in the places of each window that has a part of it."""
    feed = Bytes(CONTENT)
    feed.unreadable += [Unreadable(100, 50, "e"), Unreadable(PAGE - 10, 20, "e"), Unreadable(3 * PAGE, PAGE, "e")]
    windows, _ = windows_of(feed)
    first = windows.next()
    assert first
    assert first.window.unreadable == ((100, 150), (PAGE - 10, PAGE))
    second = windows.next(PAGE - 5)
    assert second
    assert (second.window.base, second.window.unreadable) == (PAGE - 5, ((0, 15),))
    assert not windows.faults, "the reader tells of them"


@pytest.mark.parametrize("coding", ["", "zstd"])
def test_faults_come_out(tmp_path: Path, coding: str) -> None:
    """A file that shrinks is a fault at the place in the capture where its bytes end."""
    path = tmp_path / "a"
    path.write_bytes(COMPRESS["zstd"](CONTENT) if coding else CONTENT)
    feed = open_feed(path)
    os.truncate(path, 5000)
    spool = Spool(None, 64 << 20)
    windows = Windows(feed, spool, path)
    filled = windows.next()
    assert filled
    assert filled.window.final
    (fault,) = windows.faults
    assert (fault.offset, fault.path) == (filled.window.end, path)
    assert fault.problem == "the file became shorter while it was read"
    windows.close()


def test_a_slow_pipe_is_delivered_in_time() -> None:
    """A packet in a slow pipe is delivered within 0.3 s, though more trickles in, and takes little storage."""
    out, into = os.pipe()
    spool = Spool(None, 64 << 20)
    windows = Windows(PipeFeed(HERE, out), spool, HERE)
    sent: list[float] = []

    def trickle() -> None:
        for _ in range(40):
            sent.append(time.monotonic())
            os.write(into, b"x" * 20)
            time.sleep(0.025)
        os.close(into)

    writer = threading.Thread(target=trickle)
    writer.start()
    got = consumed = 0
    slabs: list[Slab] = []
    while filled := windows.next(consumed):
        consumed = filled.window.end
        if consumed:
            assert time.monotonic() - sent[got // 20] < PATIENCE + 0.1
        got += consumed
        slabs.append(filled.slab)
    writer.join()
    assert got == 40 * 20
    assert len(slabs) <= 10
    assert [slab.size for slab in slabs[1:]] == [LEAST_SLAB] * (len(slabs) - 1)
    windows.close()


def test_stop_makes_the_next_window_the_last() -> None:
    """Stopping ends the capture with what was taken so far, also while a head is waited for."""
    out, into = os.pipe()
    os.write(into, b"y" * 50)
    spool = Spool(None, 64 << 20)
    windows = Windows(PipeFeed(HERE, out), spool, HERE)
    first = windows.next()
    assert first
    assert (first.window.end, first.window.final) == (50, False)
    threading.Timer(0.1, windows.stop).start()
    begin = time.monotonic()
    second = windows.next(20)
    assert time.monotonic() - begin < 0.4
    assert second
    assert (second.window.base, second.window.end, second.window.final) == (20, 30, True)
    assert windows.next(30) is None
    windows.close()
    os.close(into)


def test_stop_inside_compressed_data_is_no_damage() -> None:
    """A stopped compressed input is not one that ends too early."""
    out, into = os.pipe()
    os.write(into, COMPRESS["gzip"](CONTENT)[:3000])
    windows = Windows(PipeFeed(HERE, out), Spool(None, 64 << 20), HERE)
    first = windows.next()
    assert first
    assert first.window.end > 1000
    threading.Timer(0.1, windows.stop).start()
    second = windows.next(first.window.end)
    assert second
    assert second.window.final
    assert not windows.faults
    windows.close()
    os.close(into)


def test_constant_memory() -> None:
    """However long the input, slabs that come back are all that is needed."""
    spool = Spool(None, 64 << 20, 1 << 16)
    windows = Windows(Bytes(COMPRESS["zstd"](bytes(20_000_000))), spool, HERE, 1 << 16)
    held: list[Slab] = []
    total = consumed = 0
    while filled := windows.next(consumed):
        consumed = filled.window.end
        total += consumed
        held.append(filled.slab)
        if len(held) > 3:
            spool.give_back(held.pop(0))
    assert total == 20_000_000
    assert (spool.peak, spool.reserved) == (4, 4 << 16)
