"""Folders below a folder: found by the shape of their names, emptied, removed, and never left by a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.tree import MOST_FOLDERS, Tree, fits


class Letters:
    """Names of one letter, ``depth`` folders deep."""

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def is_folder(self, level: int, name: str) -> bool:
        return len(name) == 1

    def is_file(self, name: str) -> bool:
        return len(name) == 1


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "root").mkdir()
    with Tree(tmp_path / "root") as made:
        yield made


def fill(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}


@pytest.mark.parametrize(("depth", "expected"), [(0, {"f"}), (1, {"a/f", "b/f"}), (2, {"a/b/f"}), (3, set())])
def test_found_at_their_level(tree: Tree, tmp_path: Path, depth: int, expected: set[str]) -> None:
    """Plain files of the right names in folders of the right names, at one depth, behind no link."""
    root = tmp_path / "root"
    fill(root, "f", "ff", "a/f", "a/ff", "b/f", "aa/f", "a/b/f", "a/bb/f")
    (root / "l").symlink_to("f")
    (root / "k").symlink_to("a")
    (root / "a" / "k").symlink_to("b")
    os.mkfifo(root / "p")
    assert set(tree.found(Letters(depth))) == expected


@pytest.mark.parametrize(
    ("depth", "name", "expected"),
    [
        (0, "f", True), (0, "ff", False), (0, "a/f", False), (1, "a/f", True), (1, "a", True), (1, "aa/f", False),
        (1, "aa", False), (1, "a/ff", False), (1, "a/b/f", False), (2, "a/b", True), (2, "a/bb", False), (0, "", False),
    ],
)  # fmt: skip
def test_what_fits_a_shape(depth: int, name: str, expected: bool) -> None:
    """A file's whole name does, and that of a folder on the way to it."""
    assert fits(Letters(depth), name) == expected


def test_a_folder_that_cannot_be_read_is_not_ours(tree: Tree, tmp_path: Path) -> None:
    """It is passed over; root reads everything."""
    root = tmp_path / "root"
    fill(root, "a/f", "b/f")
    (root / "a").chmod(0)
    try:
        expected = {"a/f", "b/f"} if os.geteuid() == 0 else {"b/f"}
        assert set(tree.found(Letters(1))) == expected
    finally:
        (root / "a").chmod(0o700)


def test_folders_that_become_empty_go(tree: Tree, tmp_path: Path) -> None:
    """With those above, but not one in which something is left, nor the root, nor an empty one of somebody else's."""
    root = tmp_path / "root"
    fill(root, "a/b/c/f", "a/b/g", "d/f", "d/kept", "f")
    (root / "empty").mkdir()
    tree.remove_all(["a/b/c/f", "a/b/g", "d/f", "f", "missing/f", "d/missing"])
    assert sorted(os.listdir(root)) == ["d", "empty"]
    assert files(root) == {"d/kept"}


@pytest.mark.parametrize(
    "name",
    [
        "../victim", "a/../../victim", "/etc/hostname", "", ".", "..", "a/", "a//f", "./f", "l/victim", "a/l/victim",
        "f/f", "a\0b", "\ud800", "\ud800/f", "x" * 300, "x" * 300 + "/f", "link", "a", "a/" * 5000 + "f",
        "missing", "missing/f",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_remove_nothing(tree: Tree, tmp_path: Path, name: str) -> None:
    """Whatever a report says: out of the root, through a link, to no plain file, or to no name at all."""
    root = tmp_path / "root"
    fill(root, "f", "a/f")
    fill(tmp_path, "victim")
    (root / "l").symlink_to(tmp_path)
    (root / "a" / "l").symlink_to(tmp_path)
    (root / "link").symlink_to(tmp_path / "victim")
    before = files(tmp_path)
    assert not tree.remove(name)
    tree.remove_all([name])
    assert files(tmp_path) == before
    assert (root / "l").is_symlink()


def test_as_deep_as_a_name_can_be(tree: Tree, tmp_path: Path) -> None:
    """MOST_FOLDERS folders are reached, and one more is none of ours."""
    root = tmp_path / "root"
    deep, deeper = "a/" * MOST_FOLDERS + "f", "a/" * (MOST_FOLDERS + 1) + "f"
    fill(root, deep, deeper)
    assert tree.remove(deep)
    assert not tree.remove(deeper)


def test_few_folders_are_open(tmp_path: Path) -> None:
    """Two at least, however deep the path; every one is closed at the end."""
    before = len(os.listdir("/proc/self/fd"))
    with Tree(tmp_path, 2) as tree:
        for folder in ("a/b/c/d", "e/f/g/h", "a/b/c/d", "a/b"):
            assert tree.place(folder) == folder
            assert os.path.samestat(os.fstat(tree.enter(folder)), (tmp_path / folder).stat())
            assert len(tree.open) <= 2
    assert len(os.listdir("/proc/self/fd")) == before


def test_renaming_replaces_nothing(tree: Tree, tmp_path: Path) -> None:
    """A free name, in any folder that is there, and no other."""
    root = tmp_path / "root"
    fill(root, "a/f", "b/g")
    (root / "b" / "l").symlink_to("nowhere")
    (root / "k").symlink_to("b")
    assert not tree.rename("a/f", "b/g")
    assert not tree.rename("a/f", "b/l")
    assert not tree.rename("a/f", "b/")
    assert not tree.rename("a/f", "b/..")
    with pytest.raises(NotADirectoryError):
        tree.rename("a/f", "k/h")
    with pytest.raises(FileNotFoundError):
        tree.rename("a/x", "b/h")
    assert tree.rename("a/f", "b/h")
    assert files(root) == {"b/g", "b/h"}
