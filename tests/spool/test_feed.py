"""Raw feeds: files, pipes, files that grow and shrink, storage that fails."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import STDIN
from pipeline.errors import UsageError
from pipeline.spool.feed import PAGE, PipeFeed, StoredFeed, Unreadable, open_feed
from tests.spool.codes import read_all, text

CONTENT = text(20_000)


def later(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def within(seconds: float, act: Callable[[], object]) -> object:
    """The answer, which must come in time."""
    begin = time.monotonic()
    answer = act()
    assert time.monotonic() - begin < seconds
    return answer


@pytest.mark.parametrize("size", [1, 999, 100_000])
def test_a_file(tmp_path: Path, size: int) -> None:
    """A file gives its bytes, knows how many are left, and leaves no descriptor."""
    (tmp_path / "a").write_bytes(CONTENT)
    before = os.listdir("/proc/self/fd")
    feed = open_feed(tmp_path / "a")
    assert (feed.left, feed.ready(0)) == (20_000, True)
    assert read_all(feed, size) == CONTENT
    assert (feed.left, feed.position, feed.faults, feed.unreadable) == (0, 20_000, [], [])
    feed.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_file_of_unknown_size() -> None:
    """Files of /proc say that they have no bytes, and have some."""
    feed = open_feed(Path("/proc/self/status"))
    assert feed.left is None
    assert b"Pid:" in read_all(feed)
    feed.close()


def test_an_empty_file_and_a_device(tmp_path: Path) -> None:
    """No bytes are an end, and no fault."""
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", Path("/dev/null")):
        feed = open_feed(path)
        assert (read_all(feed), feed.faults) == (b"", [])
        feed.close()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """A path that cannot be opened is a usage error with a hint."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path, words in (
            (tmp_path / "none", "no such file"),
            (tmp_path, "it is a folder"),
            (tmp_path / "socket", "it is a socket"),
            (Path("a\0b"), "no such file"),
        ):
            with pytest.raises(UsageError, match=words) as caught:
                open_feed(path)
            assert caught.value.hint


def test_a_file_that_grows_is_read_to_its_present_end(tmp_path: Path) -> None:
    """What is appended after the beginning is not read."""
    (tmp_path / "a").write_bytes(CONTENT)
    feed = open_feed(tmp_path / "a")
    with (tmp_path / "a").open("ab") as file:
        file.write(b"more")
    assert (read_all(feed), feed.faults) == (CONTENT, [])


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    """A file that becomes shorter ends there, with a fault."""
    (tmp_path / "a").write_bytes(CONTENT)
    feed = open_feed(tmp_path / "a")
    feed.readinto(memoryview(bytearray(5000)))
    os.truncate(tmp_path / "a", 7000)
    assert read_all(feed) == CONTENT[5000:7000]
    (fault,) = feed.faults
    assert (fault.offset, fault.problem) == (7000, "the file became shorter while it was read")


@pytest.mark.parametrize("bad", [{1}, {0}, {2, 3}, {4}, {1, 3}, {0, 1, 2, 3, 4}])
@pytest.mark.parametrize("start", [0, 1000])
def test_bad_sectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: set[int], start: int) -> None:
    """Pages that the storage does not give are zeros, and recorded; all others are read."""
    (tmp_path / "a").write_bytes(CONTENT)
    really = os.preadv

    def fail(descriptor: int, parts: list[memoryview], place: int) -> int:
        if any(place < PAGE * page + PAGE and place + len(parts[0]) > PAGE * page for page in bad):
            raise OSError(errno.EIO, "bad sector")  # a read as a whole, as some storage does
        return really(descriptor, parts, place)

    monkeypatch.setattr(os, "preadv", fail)
    feed = StoredFeed(tmp_path / "a", os.open(tmp_path / "a", os.O_RDONLY), start, 20_000 - start)
    expected = bytearray(CONTENT)
    for page in bad:
        expected[PAGE * page : PAGE * page + PAGE] = bytes(len(expected[PAGE * page : PAGE * page + PAGE]))
    assert read_all(feed) == expected[start:]
    lost = {at for stretch in feed.unreadable for at in range(stretch.offset, stretch.offset + stretch.length)}
    assert lost == {at - start for at in range(start, len(CONTENT)) if at // PAGE in bad}
    assert {stretch.problem for stretch in feed.unreadable} == {"input/output error"}
    if bad == {2, 3}:
        assert feed.unreadable == [Unreadable(2 * PAGE - start, 2 * PAGE, "input/output error")], "joined"


def test_a_pipe() -> None:
    """A pipe gives what is there without waiting for more, and ends with its writer."""
    out, into = os.pipe()
    feed = PipeFeed(Path("pipe"), out)
    room = memoryview(bytearray(100))
    assert within(0.3, lambda: feed.ready(0.15)) is False
    os.write(into, b"abc")
    assert within(0.1, lambda: feed.ready(5)) is True
    assert within(0.1, lambda: feed.readinto(room)) == 3
    later(0.1, lambda: os.write(into, b"de"))
    assert within(0.5, lambda: feed.readinto(room)) == 2
    later(0.05, lambda: os.close(into))
    assert within(0.5, lambda: feed.readinto(room)) == 0
    assert (feed.position, feed.faults) == (5, [])
    feed.close()


def test_a_fifo_waits_for_its_writer(tmp_path: Path) -> None:
    """Opening a FIFO does not wait; reading does, for the writer that has not come yet."""
    os.mkfifo(tmp_path / "fifo")
    feed = within(0.1, lambda: open_feed(tmp_path / "fifo"))
    assert isinstance(feed, PipeFeed)
    assert not feed.ready(0.05)
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(CONTENT,))
    later(0.15, writer.start)
    assert read_all(feed) == CONTENT
    writer.join()
    feed.close()


def test_stop_ends_a_wait(tmp_path: Path) -> None:
    """Whatever is waited for, ``stop`` ends it within 0.2 s, and nothing is read any more."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "a").write_bytes(CONTENT)
    out, into = os.pipe()
    for feed in (open_feed(tmp_path / "fifo"), PipeFeed(Path("pipe"), out), open_feed(tmp_path / "a", follow=True)):
        if feed.left is None and not isinstance(feed, PipeFeed):
            feed.readinto(memoryview(bytearray(20_000)))
        stopped = later(0.15, feed.stop)
        begin = time.monotonic()
        assert feed.readinto(memoryview(bytearray(10))) == 0
        assert time.monotonic() - begin < 0.15 + 0.2
        stopped.join()
        assert feed.ready(0)
        assert not feed.faults
        feed.close()
    stored = open_feed(tmp_path / "a")
    stored.stop()
    assert read_all(stored) == b""
    os.close(into)


def test_a_connection_that_breaks() -> None:
    """An input that breaks off is an end with a fault."""
    one, other = socket.socketpair()
    one.send(b"never read, which makes the close a reset")
    other.sendall(b"abc")
    feed = PipeFeed(Path("-"), one.detach())
    other.close()
    assert read_all(feed) == b"abc"
    (fault,) = feed.faults
    assert (fault.offset, fault.problem) == (3, "the input broke off: connection reset by peer")
    feed.close()


def test_standard_input(tmp_path: Path) -> None:
    """Standard input is read from where it stands, whatever it is, and is not closed."""
    kept = os.dup(0)
    try:
        (tmp_path / "a").write_bytes(CONTENT)
        descriptor = os.open(tmp_path / "a", os.O_RDONLY)
        os.dup2(descriptor, 0)
        os.close(descriptor)
        os.lseek(0, 500, os.SEEK_SET)
        feed = open_feed(STDIN)
        assert feed.left == 19_500
        assert read_all(feed) == CONTENT[500:]
        feed.close()
        out, into = os.pipe()
        os.dup2(out, 0)
        os.close(out)
        os.write(into, b"abc")
        os.close(into)
        feed = open_feed(STDIN)
        assert read_all(feed) == b"abc"
        feed.close()
        os.fstat(0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_follow(tmp_path: Path) -> None:
    """A growing file gives what is appended, and ends when it is deleted, after its last bytes."""
    path = tmp_path / "a"
    path.write_bytes(b"one")
    feed = open_feed(path, follow=True)
    room = memoryview(bytearray(10))
    assert feed.readinto(room) == 3
    assert not feed.ready(0.01)
    with path.open("ab") as file:
        later(0.1, lambda: os.write(file.fileno(), b"two")).join()
        assert within(0.3, lambda: feed.readinto(room)) == 3
        assert room[:3].tobytes() == b"two"
        os.write(file.fileno(), b"last")
        path.unlink()
        path.write_bytes(b"another file, and longer than the one before")
        assert read_all(feed) == b"last"
    assert not feed.faults
    feed.close()


def test_follow_notices_truncation(tmp_path: Path) -> None:
    """A followed file that is cut ends with a fault: what is written now is something else."""
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    feed = open_feed(path, follow=True)
    assert feed.readinto(memoryview(bytearray(20_000))) == 20_000
    path.write_bytes(b"new")
    assert within(0.3, lambda: read_all(feed)) == b""
    (fault,) = feed.faults
    assert (fault.offset, fault.problem) == (20_000, "the file was cut shorter while it was followed")
    feed.close()
