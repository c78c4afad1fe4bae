"""Folders below the output folder: reached component by component, few of them open at a time.

Knows: relative names with ``/``, descriptors of folders. Does not know: who names files, what they hold.
Invariant: every step is taken from the descriptor of the folder above with O_NOFOLLOW, so no link is
followed and nothing outside the root is reached, whatever a name says or somebody puts in the way.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

MOST_FOLDERS: Final = 16
"""One in another, in a name that ``-F`` makes."""

FILE_COSTS: Final = 4096
"""Bytes that a file takes besides its own: its last block, its entries in tables."""

STAND_IN: Final = "~"
"""Behind the name of a folder whose own name is taken by something that is no folder."""

MOST_RENAMED: Final = 1_000
"""Names that were taken and are told of; the files say the rest."""

NO_NAMES: Final = frozenset({"", ".", ".."})
"""Components that name no entry of their folder."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_FEW: Final = 32  # folders open at a time


class Shape(Protocol):
    """What tells names of ours, level by level."""

    depth: int
    """Folders that each name lies in."""

    def is_folder(self, level: int, name: str) -> bool:
        """A folder at this level (0: in the root) can have this name."""

    def is_file(self, name: str) -> bool:
        """A file at the last level can have this name."""


class Tree:
    """The folders below ``path``. Names are relative to it, components divided by ``/``."""

    def __init__(self, path: Path, most: int = _FEW) -> None:
        """At most ``most`` (2 or more) folders are open beside the root. OSError when ``path`` is no folder."""
        self.renamed: list[tuple[str, str]] = []
        """Folders whose names were taken, and what they are called instead; see ``tell``."""
        self.open: OrderedDict[str, int] = OrderedDict()
        """Descriptors by folder, for whoever counts them. The one used longest ago is the first to close."""
        self._most = max(2, most)
        self._instead: dict[str, str] = {}
        self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def enter(self, folder: str) -> int:
        """A descriptor of the folder, good until the next call. OSError when it is not there, or a link."""
        if not folder:
            return self.root
        descriptor = self.open.get(folder)
        if descriptor is not None:
            self.open.move_to_end(folder)
            return descriptor
        above, last = split(folder)
        if last in NO_NAMES:
            raise ValueError(f"{folder!r} leads elsewhere")
        descriptor = os.open(last, _FOLDER, dir_fd=self.enter(above))
        self._keep(folder, descriptor)
        return descriptor

    def place(self, folder: str) -> str:
        """Make the folder and those above, unless they are there; return what it is called.

        That is ``folder``, but for components whose names are taken by a file or a link: they get STAND_IN
        behind, and are told in ``renamed``. OSError when that one is taken, too.
        """
        if not folder or folder in self.open:
            return folder
        given = self._instead.get(folder)
        if given is not None:
            return given
        above, last = split(folder)
        if last in NO_NAMES:
            raise ValueError(f"{folder!r} leads elsewhere")
        above = self.place(above)
        given = f"{above}/{last}" if above else last
        if given in self.open:
            return given
        parent = self.enter(above)
        try:
            descriptor = _made(last, parent)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            given += STAND_IN
            descriptor = _made(last + STAND_IN, parent)
            self._instead[folder] = given
            self.tell(folder, given)
        self._keep(given, descriptor)
        return given

    def tell(self, wanted: str, given: str) -> None:
        """A name was taken. Of the first MOST_RENAMED: a folder full of foreign files must fill neither memory nor
        a process's last words."""
        if len(self.renamed) < MOST_RENAMED:
            self.renamed.append((wanted, given))

    def _keep(self, folder: str, descriptor: int) -> None:
        old = self.open.pop(folder, None)
        if old is not None:
            os.close(old)
        while len(self.open) >= self._most:  # never the folder above, which was used last
            os.close(self.open.popitem(last=False)[1])
        self.open[folder] = descriptor

    def forget(self) -> None:
        """Nothing is made any more in the folders so far: their names need not be remembered, nor they stay open."""
        self._instead.clear()
        self.renamed.clear()
        while self.open:
            os.close(self.open.popitem()[1])

    # Entries

    def rename(self, old: str, new: str) -> bool:
        """Give a file another name, unless something has it or it is none; True when that was done. OSError."""
        (here, old_last), (there, new_last) = split(old), split(new)
        if new_last in NO_NAMES:
            return False
        target = os.dup(self.enter(there))  # entering the other one may close this one's
        try:
            with suppress(FileNotFoundError):
                os.stat(new_last, dir_fd=target, follow_symlinks=False)
                return False
            os.rename(old_last, new_last, src_dir_fd=self.enter(here), dst_dir_fd=target)
        finally:
            os.close(target)
        return True

    def status(self, name: str) -> os.stat_result | None:
        """What is known of an entry, a link itself; None: there is none, or it is no name. OSError when refused."""
        folder, last = split(name)
        if not is_path(name):
            return None
        try:
            return os.stat(last, dir_fd=self.enter(folder), follow_symlinks=False)
        except ValueError:  # a name that no file can have
            return None
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def remove(self, name: str) -> bool:
        """Remove a plain file; False for what is none, or not there, or no name. OSError when it is refused."""
        folder, last = split(name)
        if not is_path(name):
            return False
        try:
            parent = self.enter(folder)
            if not stat.S_ISREG(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode):
                return False
        except ValueError:  # a name that no file can have
            return False
        except OSError as error:
            if error.errno in _NOT_THERE:
                return False
            raise
        os.unlink(last, dir_fd=parent)
        return True

    def remove_all(self, names: Iterable[str]) -> None:
        """Remove these plain files, and then the folders that have become empty."""
        emptied = {split(name)[0] for name in names if self.remove(name)}
        emptied |= {folder[:at] for folder in emptied for at, sign in enumerate(folder) if sign == "/"}
        for folder in sorted(emptied - {""}, key=lambda folder: folder.count("/"), reverse=True):
            descriptor = self.open.pop(folder, None)
            if descriptor is not None:
                os.close(descriptor)
            above, last = split(folder)
            with suppress(OSError):  # there is something else in it
                os.rmdir(last, dir_fd=self.enter(above))

    def found(self, shape: Shape) -> Iterator[str]:
        """The plain files whose names have this shape, folder by folder."""
        return self._found(shape, "", 0)

    def _found(self, shape: Shape, folder: str, level: int) -> Iterator[str]:
        above = folder + "/" if folder else ""
        at_end = level == shape.depth
        try:
            with os.scandir(self.enter(folder)) as entries:
                names = [
                    above + entry.name
                    for entry in entries
                    if (
                        shape.is_file(entry.name) and entry.is_file(follow_symlinks=False)
                        if at_end
                        else shape.is_folder(level, entry.name) and entry.is_dir(follow_symlinks=False)
                    )
                ]
        except PermissionError:
            if level:  # ours can be read
                return
            raise
        if at_end:
            yield from names
        else:
            for name in names:
                yield from self._found(shape, name, level + 1)

    def close(self) -> None:
        """Close all folders."""
        while self.open:
            os.close(self.open.popitem()[1])
        os.close(self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def fits(shape: Shape, name: str) -> bool:
    """A whole name, relative to the root, can be that of such a file, or of a folder that such files lie in."""
    *folders, last = name.split("/")
    level = len(folders)
    if level > shape.depth or not all(shape.is_folder(at, folder) for at, folder in enumerate(folders)):
        return False
    return shape.is_folder(level, last) if level < shape.depth else shape.is_file(last)


def split(name: str) -> tuple[str, str]:
    """The folder ("" for the root) and the last component of a name."""
    folder, _, last = name.rpartition("/")
    return folder, last


def is_path(name: str) -> bool:
    """A relative name that one of our files can have: it leads into the root, and not too deep."""
    return name.count("/") <= MOST_FOLDERS and NO_NAMES.isdisjoint(name.split("/"))


def _made(name: str, parent: int) -> int:
    """A descriptor of the folder, which is made if it is not there."""
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another writer was quicker
            os.mkdir(name, 0o700, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)
