"""Opening inputs: what is refused, with which words, and what real captures hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import CaptureError, FlowshardError, UsageError
from pipeline.source import open_source
from pipeline.source.slab import FOREIGN
from tests.build import Conversation, pcapng_blocks, write_pcap, write_pcapng
from tests.shared import SHARED, capture, manifest, shared_or_skip


def refused(path: Path) -> FlowshardError:
    """The one-line error of a path that cannot be opened."""
    with pytest.raises(FlowshardError) as caught:
        open_source(path)
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


def test_recognised_by_content(tmp_path: Path) -> None:
    """The name says nothing: each format is known by its first bytes."""
    packets = Conversation().packets()
    for source, name in (
        (open_source(write_pcap(tmp_path / "a.pcapng", packets)), "pcap, little endian, microseconds"),
        (open_source(write_pcapng(tmp_path / "a.pcap", *pcapng_blocks(packets))), "pcapng, little endian"),
    ):
        assert source.format == name
        assert sum(len(batch.start) for batch in source.batches(4)) == 6
        source.close()


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """Opening and closing, or being refused, leaves no file open."""
    path = write_pcap(tmp_path / "a", Conversation().packets())
    (tmp_path / "b").write_bytes(b"nothing")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        source = open_source(path)
        next(source.batches(2))
        source.close()
        refused(tmp_path / "b")
    assert len(os.listdir("/proc/self/fd")) == before
    assert str(path) not in Path("/proc/self/maps").read_text()


DAMAGED = {"037-suricata-verify-http-mime-truncated.pcap": (2715459, "the file ends inside a record header")}
REFUSED = {"071-PcapPlusPlus-solaris.snoop"}


def test_shared_captures_are_there() -> None:
    """Says aloud when the next test has nothing to read."""
    shared_or_skip()
    assert SHARED is not None
    assert len(manifest()) > 80


@pytest.mark.parametrize("row", [row for row in manifest() if row["file"] not in REFUSED], ids=lambda row: row["file"])
def test_shared_captures(row: dict[str, str]) -> None:
    """Every real capture holds as many packets as its manifest says; one is cut short, and where."""
    source = open_source(capture(row["file"]))
    assert sum(len(batch.start) for batch in source.batches(1000)) == int(row["packets"])
    fault = (source.fault.offset, source.fault.problem) if source.fault else None
    assert fault == DAMAGED.get(row["file"])
    source.close()
