"""``flowshard verify``: every kind of change is told, in a line of its own, and in the exit status."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline.manifest import hashing
from tests import example
from tests.build import write_pcap
from tests.manifest.proven import MANIFEST, lines, proven, told, verify
from tests.runs import REPORT

NAME = "198.51.100.7.50001-192.0.2.80.80"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder with a manifest; its capture lies beside it."""
    proven(write_pcap(tmp_path / "a.pcap", example.packets()), tmp_path / "out", "-e", "http")
    return tmp_path / "out"


def test_all_is_as_it_was(out: Path) -> None:
    """No line, and status 0; also when the folder was moved, and with a signature of the manifest in it."""
    done = verify(out)
    assert (done.status, done.out) == (0, "")
    assert " files, 1 input: all as they were" in done.err
    (out / (MANIFEST + ".asc")).write_text("signature")
    moved = out.rename(out.parent / "moved")
    assert (verify(moved).status, lines(moved)) == (0, [])


def test_each_change_has_its_line(out: Path) -> None:
    """A byte, a length, a file that is gone, one that came, one that is a link now, an input: all at once."""
    files = sorted(path for path in out.iterdir() if "80" in path.name)
    files[0].write_bytes(files[0].read_bytes()[:-1] + b"?")
    with files[1].open("ab") as file:
        file.write(b"?")
    files[2].unlink()
    files[3].unlink()
    files[3].symlink_to("/dev/zero")
    files[4].unlink()
    os.mkfifo(files[4])
    (out / "objects" / "new").touch()
    (out / "folder").mkdir()
    (out.parent / "a.pcap").write_bytes(b"other")
    done = verify(out)
    assert done.status == 1
    assert [re.sub(r" \(.*", "", line) for line in done.out.splitlines()] == [
        f"changed file {files[0].name}", f"changed file {files[1].name}", f"missing file {files[2].name}",
        f"changed file {files[3].name}", f"changed file {files[4].name}", "added file folder/",
        "added file objects/new", f"changed input {out.parent / 'a.pcap'}",
    ]  # fmt: skip


def test_every_single_bit_counts(out: Path) -> None:
    """A change of one bit anywhere in any file is found."""
    for each in told(out)["files"]:
        path = out / each["name"]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert len(lines(out)) == len(told(out)["files"])


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"<filesize>38<", b"<filesize>39<", "what it says of the streams"),
        (b"<rusage><utime>", b"<rusage><utime>9", "only what it says of the run itself"),
    ],
)
def test_a_report_that_was_changed_is_told(out: Path, old: bytes, new: bytes, why: str) -> None:
    """... and whether it is its content, or the account of the run itself."""
    text = (out / REPORT).read_bytes()
    assert old in text
    (out / REPORT).write_bytes(text.replace(old, new))
    assert lines(out) == [f"changed report {REPORT} ({why})"]
    assert verify(out).status == 1


def test_an_input_that_is_gone_is_unchecked(out: Path) -> None:
    """The status is not changed by it; --read says where it is, and is checked."""
    capture = (out.parent / "a.pcap").rename(out.parent / "b.pcap")
    assert [line.split()[0] for line in lines(out)] == ["unchecked"]
    assert verify(out).status == 0
    assert lines(out, "--read", capture) == []
    assert [line.split()[0] for line in lines(out, "--read", out.parent / "a.pcap")] == ["missing"]
    assert verify(out, "--read", capture, "--read", capture).status == 2


def test_what_cannot_be_read_has_a_status_of_its_own(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad sector: status 3, unless something is known to have changed."""

    def fail(descriptor: int, size: int) -> NoReturn:
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(hashing, "_hashed", fail)
    done = verify(out)
    assert done.status == 3
    assert f"unreadable file {NAME} (Input/output error)" in done.out.splitlines()
    (out / NAME).unlink()
    assert verify(out).status == 1


@pytest.mark.skipif(not os.getuid(), reason="root may read everything")
def test_a_file_that_may_not_be_read_is_no_change(out: Path) -> None:
    """It is told as unreadable, with status 3."""
    (out / NAME).chmod(0)
    done = verify(out)
    assert (done.status, done.out) == (3, f"unreadable file {NAME} (Permission denied)\n")


def test_names_move_no_cursor(out: Path) -> None:
    """A file that somebody adds under the name of an escape sequence is shown as text."""
    (out / "\x1b[2J\n").touch()
    assert lines(out) == [r"added file \x1b[2J\n"]


@pytest.mark.parametrize("words", [(), ("--unknown",), ("no-such-folder",), (".", "--read")])
def test_mistakes_are_usage(tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, no manifest in it, an option that there is not: status 2, one line and a hint."""
    monkeypatch.chdir(tmp_path)
    done = verify(*words)
    assert (done.status, done.out) == (2, "")
    assert "hint:" in done.err


def test_help_is_on_standard_output() -> None:
    """With the exit statuses, and how a manifest is signed."""
    done = verify("-h")
    assert done.status == 0
    assert "gpg --armor --detach-sign" in done.out
