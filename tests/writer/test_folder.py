"""The folder: files made new and only there, few open at a time, errors with names and hints."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.writer import folder as folder_module
from pipeline.writer.folder import Folder, StoredFile


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    yield made
    made.shut()


def write(folder: Folder, file: StoredFile, data: bytes, offset: int = 0) -> None:
    folder.write(file, [data], len(data), offset)


def test_written_at_its_place(folder: Folder, tmp_path: Path) -> None:
    """Bytes lie where they were put; a hole is zeros and takes no space."""
    file = StoredFile("a", 2)
    write(folder, file, b"end", 1 << 20)
    write(folder, file, b"begin")
    assert folder.read(file, 8, 0) == b"begin\0\0\0"
    assert folder.read(file, 100, 1 << 20) == b"end"
    assert folder.read(file, 100, 2 << 20) == b""
    assert folder.size(file) == (1 << 20) + 3
    assert (tmp_path / "a").stat().st_blocks * 512 < 1 << 17


def test_more_buffers_than_one_call_takes(folder: Folder, tmp_path: Path) -> None:
    """The system writes 1,024 buffers at a time (IOV_MAX); a piece of more comes out whole."""
    file = StoredFile("a", 2)
    folder.write(file, [b"%04d" % i for i in range(3000)], 12_000, 2)
    assert (tmp_path / "a").read_bytes() == b"\0\0" + b"".join(b"%04d" % i for i in range(3000))


def test_cut_both_ways(folder: Folder, tmp_path: Path) -> None:
    """A file can be made longer by a hole, and shorter."""
    file = StoredFile("a", 2)
    folder.cut(file, 5)
    assert (tmp_path / "a").read_bytes() == bytes(5)
    write(folder, file, b"abcdefgh")
    folder.cut(file, 3)
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_few_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for three descriptors ten files take turns, and none has more than its own bytes."""
    monkeypatch.setattr(folder_module, "_MOST_OPEN", 3)
    folder = Folder(tmp_path)
    files = [StoredFile(str(i), i) for i in range(10)]
    for turn in range(3):
        for i, file in enumerate(files):
            write(folder, file, b"%d" % i, turn)
            assert sum(each.descriptor >= 0 for each in files) <= 3
    assert [folder.read(file, 9, 0) for file in files] == [b"%d" % i * 3 for i in range(10)]
    folder.shut()
    assert all(file.descriptor == -1 for file in files)


def test_a_taken_name_gets_a_suffix(folder: Folder, tmp_path: Path) -> None:
    """Whatever has the name stays as it is: a file, a link to one, a folder."""
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "folder").mkdir()
    for name in ("file", "link", "folder"):
        file = StoredFile(name, 7)
        write(folder, file, b"ours")
        assert file.name == name + "~3.1"
        assert (tmp_path / file.name).read_bytes() == b"ours"
    assert (tmp_path / "file").read_bytes() == (tmp_path / "target").read_bytes() == b"kept"
    assert folder.renamed == [(name, name + "~3.1") for name in ("file", "link", "folder")]


def test_two_taken_names_are_an_error(folder: Folder, tmp_path: Path) -> None:
    """When the name with the suffix is taken too, somebody else is at work here: that ends the run."""
    (tmp_path / "a").touch()
    (tmp_path / "a~1").touch()
    with pytest.raises(OutputError, match=r"cannot create .*a~1") as caught:
        write(folder, StoredFile("a", 2), b"x")
    assert "another run" in str(caught.value.hint)


def test_a_file_replaced_by_a_link_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    """Between closing and opening again somebody puts a link in the file's place: an error, not a write."""
    (tmp_path / "target").write_bytes(b"kept")
    file = StoredFile("a", 2)
    write(folder, file, b"ours")
    folder.close(file)
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to("target")
    with pytest.raises(OutputError, match="cannot open"):
        write(folder, file, b"more")
    assert (tmp_path / "target").read_bytes() == b"kept"


def test_the_folder_stays_the_one_it_was(folder: Folder, tmp_path: Path) -> None:
    """Files go into the folder that was opened, though its name leads elsewhere by now."""
    moved, elsewhere = tmp_path.with_name("moved"), tmp_path.with_name("elsewhere")
    elsewhere.mkdir()
    tmp_path.rename(moved)
    tmp_path.symlink_to(elsewhere)
    write(folder, StoredFile("a", 2), b"x")
    assert (moved / "a").read_bytes() == b"x"
    assert list(elsewhere.iterdir()) == []


def test_renaming(folder: Folder, tmp_path: Path) -> None:
    """A file moves to a free name, keeps its own when that is taken, and need not be there yet."""
    made, later = StoredFile("a", 2), StoredFile("b", 4)
    write(folder, made, b"x")
    (tmp_path / "taken").symlink_to("nowhere")
    folder.rename(made, "taken")
    assert made.name == "a"
    folder.rename(made, "free")
    folder.rename(later, "c")
    write(folder, made, b"y", 1)
    write(folder, later, b"z")
    assert (tmp_path / "free").read_bytes() == b"xy"
    assert (tmp_path / "c").read_bytes() == b"z"
    assert sorted(os.listdir(tmp_path)) == ["c", "free", "taken"]


@pytest.mark.parametrize("time", [0, 1_600_000_000_123_456_789, -5_000_000_000])
@pytest.mark.parametrize("closed", [False, True])
def test_finished_files_have_their_time(folder: Folder, tmp_path: Path, time: int, closed: bool) -> None:
    """A file's modification time is what it is finished with, whether it is open or not."""
    file = StoredFile("a", 2)
    write(folder, file, b"x")
    if closed:
        folder.close(file)
    folder.finish(file, time)
    assert (tmp_path / "a").stat().st_mtime_ns == time
    assert file.descriptor == -1


@pytest.mark.parametrize("time", [2**63, 10**40])
def test_a_time_that_cannot_be_is_left_out(folder: Folder, tmp_path: Path, time: int) -> None:
    """A capture's times are anything; the file is finished all the same."""
    file = StoredFile("a", 2)
    write(folder, file, b"x")
    folder.finish(file, time)
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """Nothing there, or a file: an OutputError that names it."""
    (tmp_path / "file").touch()
    for name in ("missing", "file"):
        with pytest.raises(OutputError, match=name):
            Folder(tmp_path / name)
