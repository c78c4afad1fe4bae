"""The folder: files made new and only there, few open at a time, errors with names and hints."""

from __future__ import annotations

import errno
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


@pytest.mark.parametrize(
    ("count", "short", "calls"),
    [
        (1024, False, [1024]),
        (1025, False, [1024, 1]),
        (3000, False, [1024, 1024, 952]),
        (3000, True, [1024, 1024, 952]),
    ],
)
def test_more_buffers_than_one_call_takes(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, short: bool, calls: list[int]
) -> None:
    """The system writes 1,024 buffers at a time (IOV_MAX): so many are given to it as they are, and what it leaves of
    them is written before the next."""
    given: list[int] = []
    pwritev = os.pwritev

    def watched(descriptor: int, pieces: list[bytes], offset: int) -> int:
        given.append(len(pieces))
        return pwritev(descriptor, pieces[: len(pieces) // 2] if short else pieces, offset)

    monkeypatch.setattr(os, "pwritev", watched)
    pieces = [b"%04d" % i for i in range(count)]
    folder.write(StoredFile("a", 2), pieces, 4 * count, 2)
    assert given == calls
    assert (tmp_path / "a").read_bytes() == b"\0\0" + b"".join(pieces)


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


# --------------------------------------------------------------------------- folders in names


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_folders_are_made_for_nobody_else(folder: Folder, tmp_path: Path) -> None:
    """Each folder of a name is made when its first file is, 0700; the next file finds it."""
    for name in ("a/b/x", "a/b/y", "a/z", "b/b/x"):
        write(folder, StoredFile(name, 2), name.encode())
        assert (tmp_path / name).read_bytes() == name.encode()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_dir()} == {0o700}
    assert folder.renamed == []


def test_all_is_done_in_folders_that_were_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred files in a hundred folders take turns with room for few descriptors: written, read, cut, measured,
    renamed, finished as in the folder itself."""
    monkeypatch.setattr(folder_module, "_MOST_OPEN", 8)
    folder = Folder(tmp_path)
    before = open_descriptors()
    files = [StoredFile(f"{i}/deep/{i % 7}/x", i) for i in range(100)]
    for turn in range(3):
        for i, file in enumerate(files):
            write(folder, file, b"%02d" % i, 2 * turn)
            assert open_descriptors() - before <= 8
    assert [folder.read(file, 9, 0) for file in files] == [b"%02d" % i * 3 for i in range(100)]
    for i, file in enumerate(files):
        folder.cut(file, 4)
        assert folder.size(file) == 4
        folder.rename(file, f"{i}/deep/{i % 7}/y")
        write(folder, file, b"!", 4)
    for i, file in enumerate(files):
        folder.finish(file, i)
        found = tmp_path / f"{i}/deep/{i % 7}/y"
        assert (found.read_bytes(), found.stat().st_mtime_ns) == (b"%02d" % i * 2 + b"!", i)
    folder.shut()
    assert open_descriptors() == before - 1
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 100


@pytest.mark.parametrize("kind", ["file", "link", "folder link", "fifo"])
@pytest.mark.parametrize("taken", ["a", "a/b"])
def test_a_folder_whose_name_is_taken(folder: Folder, tmp_path: Path, kind: str, taken: str) -> None:
    """What is no folder is not touched and, were it a link to a folder, not followed: all streams that would lie there
    lie in a folder of another name, which is told once."""
    outside = tmp_path.with_name(tmp_path.name + "-outside")
    outside.mkdir()
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    plant(tmp_path / taken, kind, outside)
    given = "a/b/x".replace(taken, taken + "~", 1)
    first, second = StoredFile("a/b/x", 2), StoredFile("a/b/y", 4)
    write(folder, first, b"x")
    write(folder, second, b"y")
    folder.close(first)
    write(folder, first, b"x", 1)
    folder.finish(first, 7)
    assert (first.name, second.name) == (given, given[:-1] + "y")
    assert (tmp_path / given).read_bytes() == b"xx"
    assert folder.renamed == [(taken, taken + "~")]
    assert list(outside.iterdir()) == []
    assert os.path.islink(tmp_path / taken) == ("link" in kind)


def plant(path: Path, kind: str, outside: Path) -> None:
    """Something that is no folder, under a folder's name."""
    if kind == "file":
        path.write_bytes(b"mine")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere" if kind == "link" else outside)


def test_both_names_of_a_folder_are_taken(folder: Folder, tmp_path: Path) -> None:
    """Then somebody else is at work here, and the run ends."""
    (tmp_path / "a").touch()
    (tmp_path / "a~").symlink_to(tmp_path)
    with pytest.raises(OutputError, match=r"cannot create .*a/x"):
        write(folder, StoredFile("a/x", 2), b"x")


def test_a_folder_replaced_by_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was closed and then replaced: an error, not a write elsewhere."""
    monkeypatch.setattr(folder_module, "_MOST_OPEN", 2)
    folder = Folder(tmp_path)
    outside = tmp_path.with_name(tmp_path.name + "-outside")
    outside.mkdir()
    (outside / "x").write_bytes(b"kept")
    file = StoredFile("a/x", 2)
    write(folder, file, b"ours")
    for name in ("b/y", "c/z", "d/z"):
        write(folder, StoredFile(name, 4), b"other")
    (tmp_path / "a").rename(tmp_path / "moved")
    (tmp_path / "a").symlink_to(outside)
    with pytest.raises(OutputError, match="cannot open"):
        write(folder, file, b"more")
    assert (outside / "x").read_bytes() == b"kept"


@pytest.mark.parametrize("name", ["../x", "a/../x", "./x", "a//x", "a/./x"])
def test_no_name_leads_out(folder: Folder, tmp_path: Path, name: str) -> None:
    """Names are checked long before; were one wrong all the same, nothing outside would be made."""
    with pytest.raises(ValueError, match="leads elsewhere"):
        write(folder, StoredFile(name, 2), b"x")
    assert not tmp_path.with_name("x").exists()


def test_renaming_never_leaves_a_name_behind(folder: Folder, tmp_path: Path) -> None:
    """In folders as in the folder itself: the stand-in of a taken folder holds for the new name, too."""
    (tmp_path / "taken").touch()
    file, later = StoredFile("taken/x", 2), StoredFile("taken/x@5", 2)
    write(folder, file, b"x")
    folder.rename(file, "taken/y")
    assert file.name == "taken~/y"
    folder.rename(later, f"{file.name}@9")
    write(folder, later, b"later")
    assert {path.name for path in (tmp_path / "taken~").iterdir()} == {"y", "y@9"}


# --------------------------------------------------------------------------- files that are not kept


@pytest.mark.parametrize("name", ["x", "a/b/x"])
@pytest.mark.parametrize("closed", [False, True])
def test_discarded_files_are_gone(folder: Folder, tmp_path: Path, name: str, closed: bool) -> None:
    """Open or not; one that was never made is nothing; a discarded one can be made anew."""
    file = StoredFile(name, 2)
    folder.discard(file)
    write(folder, file, b"before")
    if closed:
        folder.close(file)
    folder.discard(file)
    assert not (tmp_path / name).exists()
    assert file.descriptor == -1
    folder.discard(file)
    write(folder, file, b"new")
    assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["file", "link", "folder", "nothing"])
@pytest.mark.parametrize("closed", [False, True])
def test_only_what_we_made_is_discarded(folder: Folder, tmp_path: Path, kind: str, closed: bool) -> None:
    """What somebody has put in the file's place stays."""
    file = StoredFile("a", 2)
    write(folder, file, b"ours")
    if closed:
        folder.close(file)
    (tmp_path / "a").rename(tmp_path / "ours")
    if kind == "file":
        (tmp_path / "a").write_bytes(b"mine")
    elif kind == "link":
        (tmp_path / "a").symlink_to("ours")
    elif kind == "folder":
        (tmp_path / "a").mkdir()
    folder.discard(file)
    assert os.path.lexists(tmp_path / "a") == (kind != "nothing")
    assert (tmp_path / "ours").read_bytes() == b"ours"
    assert file.descriptor == -1


def test_a_file_replaced_by_another_is_not_written(folder: Folder, tmp_path: Path) -> None:
    """A plain file in the place of ours (a hard link to some other one): an error, not a write."""
    (tmp_path / "target").write_bytes(b"kept")
    file = StoredFile("a", 2)
    write(folder, file, b"ours")
    folder.close(file)
    (tmp_path / "a").rename(tmp_path / "moved")
    os.link(tmp_path / "target", tmp_path / "a")
    with pytest.raises(OutputError, match="somebody has replaced it"):
        write(folder, file, b"more")
    assert (tmp_path / "target").read_bytes() == b"kept"


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """Nothing there, or a file: an OutputError that names it."""
    (tmp_path / "file").touch()
    for name in ("missing", "file"):
        with pytest.raises(OutputError, match=name):
            Folder(tmp_path / name)


def test_a_whole_file_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its time, under another name where its own is taken; no file has to be closed for it."""
    monkeypatch.setattr(folder_module, "_MOST_OPEN", 1)
    (tmp_path / "taken").write_bytes(b"kept")
    folder = Folder(tmp_path)
    stays = StoredFile("stays", 2)
    write(folder, stays, b"open")
    time = 1_600_000_000_123_456_789
    names = [folder.store(name, 7, memoryview(b"all of it"), time) for name in ("new", "taken", "in/a/folder")]
    assert names == ["new", "taken~3.1", "in/a/folder"]
    assert stays.descriptor >= 0
    for path in (tmp_path / name for name in names):
        assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode & 0o777) == (b"all of it", time, 0o600)
    folder.shut()


def test_a_whole_file_in_several_writes(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes a few bytes at a time gets them all; one that takes no more leaves no descriptor open."""
    real, before = os.write, len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    folder.store("f", 7, memoryview(b"all of it"), 0)
    assert (tmp_path / "f").read_bytes() == b"all of it"

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError, match=r"cannot write .*g: No space left"):
        folder.store("g", 7, b"all of it", 0)
    assert len(os.listdir("/proc/self/fd")) == before
