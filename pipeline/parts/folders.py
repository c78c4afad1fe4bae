"""Folders of parts: their names, what marks them as ours, how one is removed.

Knows: a part's name and its marker, which files a complete part has.
Does not know: who cuts, who writes, when there is too little room.
Invariant: only a folder with our marker is ever removed, only plain files in it that its own report names or that we
gave their fixed names, and no link is followed. A part is complete when it has its report, which is the last file to
be placed and the last but the marker to be removed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pipeline.destinations import MANIFEST, OBJECT_LINES, PACKET_MAP, REPORT
from pipeline.traces import ReportedNames
from pipeline.tree import FILE_COSTS, Tree

PART_MARKER: Final = "flowshard.part"
"""Stands in the folder of every part."""

_MOST: Final = 4096  # bytes of a marker that are read
_TEXT: Final = b"flowshard made this folder: it is a part of a run's output, complete when it has a report.xml.\n"
_FLOWS: Final = b"flows: "
_NAME: Final = re.compile(r"part-([0-9]{6,15})-[0-9]{8}T[0-9]{6}Z", re.ASCII)


def part_name(number: int, began: int) -> str:
    """The folder of a part, from 1 on, which began so many ns after 1970."""
    return f"part-{number:06d}-{datetime.fromtimestamp(began // 1_000_000_000, UTC):%Y%m%dT%H%M%SZ}"


def number_of(name: str) -> int:
    """The number of the part that has this folder; 0: it is no such name."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else 0


def mark(folder: int, flows: str | None) -> None:
    """Put the marker into an open folder, unless it is there. ``flows``: what its list of connections will be called.

    OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileExistsError):
        descriptor = os.open(PART_MARKER, flags, 0o600, dir_fd=folder)
        try:
            os.write(descriptor, _TEXT + (_FLOWS + os.fsencode(flows) + b"\n" if flows else b""))
        finally:
            os.close(descriptor)


def parts_in(tree: Tree) -> list[str]:
    """Names of the folders in the root that are parts of ours, complete or not, the oldest first."""
    names = [name for name in os.listdir(tree.root) if number_of(name)]
    return sorted((name for name in names if _is_ours(tree, name)), key=number_of)


def is_complete(tree: Tree, name: str) -> bool:
    """Whether a part has its report."""
    return _is_plain(tree, f"{name}/{REPORT}")


def highest_number(tree: Tree) -> int:
    """Of all names of parts, ours or not; 0: there is none."""
    return max((number_of(name) for name in os.listdir(tree.root)), default=0)


def cost(status: os.stat_result) -> int:
    """Bytes that a file takes, holes left out, as ``room.Usage`` counts them."""
    return min(status.st_size, status.st_blocks * 512) + FILE_COSTS


def _files_of(tree: Tree, folder: Path) -> Iterator[str]:
    """The files of a complete part but for its report: what that names, those of fixed names (the manifest, which knows
    the others, first), the list of flows."""
    yield MANIFEST
    yield from ReportedNames(folder / REPORT)
    yield from (PACKET_MAP, OBJECT_LINES)
    descriptor = os.open(PART_MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tree.root)
    try:
        lines = os.read(descriptor, _MOST).splitlines()
    finally:
        os.close(descriptor)
    yield from [os.fsdecode(line.removeprefix(_FLOWS)) for line in lines if line.startswith(_FLOWS)]


def remove_part(root: Path, name: str) -> int:
    """Remove what a complete part consists of, and its folder if nothing else is in it. OSError.

    Files of streams that are still open stay, and the folder with them, until these are over. Gives the bytes that
    were freed, as ``cost`` counts them.
    """
    freed = 0
    with Tree(root / name) as tree:

        def counted(names: Iterable[str]) -> Iterator[str]:
            nonlocal freed
            for each in names:
                if (status := tree.status(each)) is not None:
                    freed += cost(status)
                    yield each

        tree.remove_all(counted(_files_of(tree, root / name)))
        tree.remove_all(counted([REPORT]))  # last, and alone: what was begun is taken up again
    remove_if_empty(root, name)
    return freed


def remove_if_empty(root: Path, name: str) -> None:
    """Remove the folder of a part in which nothing is left but its marker."""
    with suppress(OSError), Tree(root) as tree:
        folder = tree.enter(name)
        if _is_ours(tree, name) and os.listdir(folder) == [PART_MARKER]:
            os.unlink(PART_MARKER, dir_fd=folder)
            os.rmdir(name, dir_fd=tree.root)


def clear_emptied(tree: Tree, root: Path, before: int) -> None:
    """Remove what is left of parts below this number that were removed while streams in them were open."""
    for name in parts_in(tree):
        if number_of(name) < before and not is_complete(tree, name):
            remove_if_empty(root, name)


def cost_of_all(root: Path) -> int:
    """What all parts in a folder take by now, as ``cost`` counts it. Looks at every file."""
    total = 0
    with Tree(root) as tree:
        for name in parts_in(tree):
            for here, _, names, folder in os.fwalk(name, dir_fd=tree.root):
                del here
                for each in names:
                    with suppress(OSError):
                        total += cost(os.stat(each, dir_fd=folder, follow_symlinks=False))
    return total


def _is_ours(tree: Tree, name: str) -> bool:
    return _is_plain(tree, f"{name}/{PART_MARKER}")


def _is_plain(tree: Tree, name: str) -> bool:
    status = tree.status(name)
    return status is not None and stat.S_ISREG(status.st_mode)
