"""Opening captures: what is refused, with which words, and what real captures hold."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from pipeline.errors import CaptureError, FlowshardError, UsageError
from pipeline.source import is_capture, reader_for
from pipeline.source.opening import FOREIGN, map_file
from pipeline.source.records import Window
from tests.build import Conversation, write_pcap
from tests.shared import SHARED, capture, manifest, shared_or_skip
from tests.source.reading import FORMATS, in_windows, read


def refused(path: Path) -> FlowshardError:
    """The one-line error of a path that cannot be opened or is no capture."""
    with pytest.raises(FlowshardError) as caught:
        reader_for(path, map_file(path)[:64], final=True, strict=False)
    assert "\n" not in caught.value.message
    assert not caught.value.message.endswith(".")
    return caught.value


def test_missing(tmp_path: Path) -> None:
    """A missing file is the user's to mend: usage, not damage."""
    error = refused(tmp_path / "none.pcap")
    assert isinstance(error, UsageError)
    assert error.message == f"cannot read {tmp_path}/none.pcap: no such file"
    assert error.hint


def test_folder_and_fifo(tmp_path: Path) -> None:
    """A folder is refused; a FIFO too, without waiting for a writer."""
    os.mkfifo(tmp_path / "fifo")
    for path, words in ((tmp_path, "it is a folder"), (tmp_path / "fifo", "not a regular file")):
        error = refused(path)
        assert isinstance(error, UsageError)
        assert words in error.message
        assert error.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission(tmp_path: Path) -> None:
    """A file that may not be read says so."""
    path = write_pcap(tmp_path / "a", [])
    path.chmod(0)
    error = refused(path)
    assert isinstance(error, UsageError)
    assert "permission denied" in error.message
    assert error.hint


def test_a_path_with_a_nul() -> None:
    """A path that no file can have is a usage error too."""
    assert isinstance(refused(Path("a\0b")), UsageError)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello, world", b"\0" * 100, b"\n\r\r\n" + bytes(30)])
def test_no_capture(tmp_path: Path, content: bytes) -> None:
    """Empty and foreign files are no captures."""
    path = tmp_path / "a"
    path.write_bytes(content)
    error = refused(path)
    assert isinstance(error, CaptureError)
    assert "is not a" in error.message


@pytest.mark.parametrize(("magic", "what", "hint"), FOREIGN)
def test_known_foreign_formats(tmp_path: Path, magic: bytes, what: str, hint: str) -> None:
    """Compressed files and other capture formats are named, and the hint says what to do."""
    path = tmp_path / "a.pcap"
    path.write_bytes(magic + bytes(40))
    error = refused(path)
    assert isinstance(error, CaptureError)
    assert what in error.message
    assert error.hint == hint


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pcap", "pcap, little endian, microseconds"),
        ("pcap-big", "pcap, big endian, microseconds"),
        ("pcap-nano", "pcap, little endian, nanoseconds"),
        ("pcap-kuznetzov", "pcap, little endian, microseconds, Kuznetsov's record headers"),
        ("snoop", "snoop"),
        ("pcapng", "pcapng, little endian"),
        ("pcapng-big", "pcapng, big endian"),
    ],
)
def test_recognised_by_content(name: str, expected: str) -> None:
    """Each format is known by its first bytes, and named for people."""
    data = FORMATS[name](Conversation().packets())
    assert is_capture(data[:32])
    assert reader_for(Path("a.zip"), data[:32], final=False, strict=False).format == expected


@pytest.mark.parametrize("head", [b"", b"\n\r", b"PK\x03\x04" + bytes(60), b"\n\r\r\n" + bytes(60), b"text" * 16])
def test_not_recognised(head: bytes) -> None:
    """What is no capture is not taken for one."""
    assert not is_capture(head)


def test_the_map_is_the_file_and_leaves_no_descriptor(tmp_path: Path) -> None:
    """A mapped file is the whole file, read-only; opening it, or being refused, leaves nothing open."""
    path = write_pcap(tmp_path / "a", Conversation().packets())
    (tmp_path / "b").write_bytes(b"nothing")
    before = len(os.listdir("/proc/self/fd"))
    data = map_file(path)
    assert data[:] == path.read_bytes()
    with pytest.raises(TypeError):
        data[0] = 1
    pieces = reader_for(path, data[:64], final=True, strict=False).pieces(Window(data, len(data), 0, final=True))
    assert sum(len(records.start) for records in pieces) == 6
    data.close()  # nobody holds a view on it
    refused(tmp_path / "b")
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert str(path) not in Path("/proc/self/maps").read_text()


DAMAGED = {"037-suricata-verify-http-mime-truncated.pcap": (2715459, "the file ends inside a record header")}


def test_shared_captures_are_there() -> None:
    """Says aloud when the next test has nothing to read."""
    shared_or_skip()
    assert SHARED is not None
    assert len(manifest()) > 80


@pytest.mark.parametrize("row", manifest(), ids=lambda row: row["file"])
def test_shared_captures(row: dict[str, str]) -> None:
    """Every real capture holds as many packets as its manifest says, mapped or in windows; one is cut short."""
    data = capture(row["file"]).read_bytes()
    found = read(data)
    assert len(found.rows) == int(row["packets"])
    expected = DAMAGED.get(row["file"])
    assert [(offset, problem) for offset, _, problem in found.spans] == ([expected] if expected else [])
    if len(data) < 2_000_000:
        windowed = in_windows(data, 100_000)
        assert (windowed.rows, windowed.faults) == (found.rows, found.faults)
