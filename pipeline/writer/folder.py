"""The output folder: files made, written, read back, closed; few of them open at a time.

Knows: descriptors, their limit, which names are taken.
Does not know: streams, offsets of streams, what is written.
Invariant: a file is made new (O_EXCL) inside the folder, or a folder in it, no link is followed at any
component, no foreign file is opened: one that is opened again is the very one that was closed.
Errors of the system leave as OutputError, with the file's name; one of a file that only had to make room for another
goes to ``failures``, and that file is ``broken``.

Names that are taken. A file gets its stream's suffix behind its name; a folder gets STAND_IN (tree.py)
behind its own, and all files that were to lie in it lie there. Both are told in ``renamed``.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from pipeline.errors import OutputError
from pipeline.report.placing import output_error
from pipeline.tree import Tree, split
from pipeline.writer.failures import Failures
from pipeline.writer.names import provisional

if TYPE_CHECKING:
    from pipeline.parts.room import Room

Piece: TypeAlias = "bytes | memoryview"

_MOST_OPEN: Final = 512
"""Descriptors kept open. More saves nothing that was seen, and costs kernel memory."""
_MOST_FOLDERS: Final = 64
"""... of subfolders among them; a quarter of the limit where that is less."""
_SPARE: Final = 40
"""Descriptors left to the rest of the process."""
_MOST_PIECES: Final = 1024  # of one call: IOV_MAX
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AGAIN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class StoredFile:
    """One file of a stream. ``name`` is relative to the folder, or to that of its ``part``; it may change when the file
    is made, and when it is complete."""

    __slots__ = ("broken", "descriptor", "identity", "made", "name", "part", "stream")

    def __init__(self, name: str, stream: int) -> None:
        self.name = name
        self.stream = stream
        self.made = False
        self.part = ""
        self.broken = False  # some of what was written may not be there
        self.descriptor = -1
        self.identity: tuple[int, int] | None = None  # device and inode of a file that was closed


class Folder:
    """The folder that all output of a writer goes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.room: Room | None = None
        """Is told of what is written."""
        self.failures = Failures()
        """Are told of what goes wrong and need not end the run."""
        self.is_behind: Callable[[], bool] = bool
        """Whether there is no room for the rows of what was written."""
        self.made: Callable[[int, int, int], None] | None = None
        """Is told of each file that was made: its stream, device and inode."""
        self.part = ""
        """The folder in it that files are made in, and complete ones moved to (--rotate)."""
        self.take_back: Callable[[], bool] = bool
        """Closes one of the files that others have open in it; False: there is none."""
        self._lent = 0
        self._open: OrderedDict[StoredFile, None] = OrderedDict()  # the one opened first is the first to close
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = max(1, min(_MOST_OPEN, soft - _SPARE))
        """Descriptors kept open."""
        try:
            self._tree = Tree(path, min(_MOST_FOLDERS, self._most // 4))
        except OSError as error:
            raise output_error("open", path, error) from error
        self._root, self._folders = self._tree.root, self._tree.open
        self.renamed = self._tree.renamed
        """Names that were taken, and what the file or the folder is called instead."""

    def descriptor(self, file: StoredFile) -> int:
        """An open descriptor of the file, which is made if it is not there yet."""
        if file.descriptor >= 0:
            return file.descriptor
        while len(self._open) + len(self._folders) + self._lent >= self._most and self._make_way():
            pass
        self._obtain(file)
        self._open[file] = None
        return file.descriptor

    def _make_way(self) -> bool:
        """Close the file that was opened first, or one of those that others have open; whether there was one."""
        if not self._open:
            return self.take_back()
        try:
            self.close(next(iter(self._open)))
        except OutputError as error:
            self.failures.took(error)
        return True

    @property
    def root(self) -> int:
        """A descriptor of the folder, for as long as it is used."""
        return self._root

    @property
    def room_for_lent(self) -> int:
        """How many files others may have open in it."""
        return max(0, self._most - len(self._open) - len(self._folders))

    def lend(self, files: int) -> None:
        """Others have so many more files open in it."""
        self._lent += files

    def keep_open(self, file: StoredFile, descriptor: int) -> None:
        """A file that others had made, and open."""
        file.descriptor, file.made = descriptor, True
        self._open[file] = None

    def _obtain(self, file: StoredFile) -> None:
        """A descriptor for a file that has none."""
        while file.descriptor < 0:
            try:
                plain = "/" not in file.name and not self.part
                parent, last = (self._root, file.name) if plain else self._parent(file)
                if file.made:
                    self._reopen(file, parent, last)
                else:
                    self._make(file, parent, last)
            except OSError as error:
                most = max(1, len(self._open) + self._lent - 1)  # the rest of the process needs more than we thought
                if error.errno != errno.EMFILE or not self._make_way():
                    raise output_error("open" if file.made else "create", self.path / file.name, error) from error
                self._most = most

    def _parent(self, file: StoredFile) -> tuple[int, str]:
        """The open folder that the file lies in, or is to be made in, and its name there."""
        if not file.made:
            file.part = self.part
        folder, last = split(_inside(file.part, file.name))
        if not folder:
            return self._root, last
        if not file.made:
            folder = self._tree.place(folder)
            file.name = f"{folder}/{last}"[len(_inside(file.part, "")) :]
        return self._tree.enter(folder), last

    def _make(self, file: StoredFile, parent: int, last: str) -> None:
        with nullcontext() if self.room is None else self.room.another_file():
            try:
                file.descriptor = os.open(last, _NEW, 0o600, dir_fd=parent)
            except FileExistsError:
                suffix = provisional(file.stream)
                wanted, file.name = file.name, file.name + suffix
                file.descriptor = os.open(last + suffix, _NEW, 0o600, dir_fd=parent)
                self._tree.tell(wanted, file.name)
        file.made = True
        if self.made is not None:
            self.made(file.stream, *_identity(os.fstat(file.descriptor)))

    def adopt(self, file: StoredFile, ours: Collection[tuple[int, int]]) -> bool:
        """Take for ours the file of that name, or the one with its stream's suffix, which another process made. False:
        neither is there with a device and an inode of ``ours``."""
        plain, file.made = file.name, True
        for name in (plain, plain + provisional(file.stream)):
            file.name = name
            with suppress(OutputError):
                if _identity(os.fstat(self.descriptor(file))) in ours:
                    return True
                self._shut(file)
        file.name, file.made = plain, False
        return False

    def _reopen(self, file: StoredFile, parent: int, last: str) -> None:
        descriptor = os.open(last, _AGAIN, dir_fd=parent)
        if file.identity is not None and _identity(os.fstat(descriptor)) != file.identity:
            os.close(descriptor)
            raise OSError(errno.EEXIST, "somebody has replaced it")
        file.descriptor = descriptor

    def close(self, file: StoredFile) -> None:
        """Close the file's descriptor, if it has one. It can be opened again."""
        if file.descriptor >= 0:
            if file.identity is None:
                file.identity = _identity(os.fstat(file.descriptor))
            self._shut(file)

    def _shut(self, file: StoredFile) -> None:
        descriptor, file.descriptor = file.descriptor, -1
        self._open.pop(file, None)
        try:
            os.close(descriptor)
        except OSError as error:  # a file system that writes late may say only now that it is full
            file.broken = True
            raise output_error("write", self.path / file.name, error) from error

    def write(self, file: StoredFile, pieces: Sequence[Piece], size: int, offset: int) -> None:
        """Write the pieces, ``size`` bytes together, at ``offset``. OutputError: fewer of them, see ``written``."""
        if len(pieces) > _MOST_PIECES:
            self._write_lots(file, pieces, offset)
            return
        descriptor = file.descriptor if file.descriptor >= 0 else self.descriptor(file)
        if self.room is not None:
            self.room.count(size)
        done = 0
        try:
            done = os.pwritev(descriptor, pieces, offset)
            if done < size:
                rest = memoryview(b"".join(pieces))
                while done < size:  # a full disk ends this with an error, a signal does not
                    done += os.pwrite(descriptor, rest[done:], offset + done)
        except OSError as error:
            if self.room is not None:
                self.room.count(done - size)
            failure = output_error("write", self.path / file.name, error)
            failure.written = done
            raise failure from error

    def _write_lots(self, file: StoredFile, pieces: Sequence[Piece], offset: int) -> None:
        done = 0
        for low in range(0, len(pieces), _MOST_PIECES):
            lot = pieces[low : low + _MOST_PIECES]
            length = sum(map(len, lot))
            try:
                self.write(file, lot, length, offset + done)
            except OutputError as error:
                error.written += done
                raise
            done += length

    def store(self, name: str, stream: int, data: Piece, time: int) -> str:
        """A whole new file in one go, with its modification time (ns), and the name that it got. Whatever is open
        stays so. OutputError, and there is none."""
        try:
            apart = "/" in name or self.part or self.room is not None
            descriptor = -1 if apart else os.open(name, _NEW, 0o600, dir_fd=self._root)
        except OSError:
            descriptor = -1
        file = None
        if descriptor < 0:  # it lies in a folder, or something is in its way, or it is counted
            file = StoredFile(name, stream)
            self._obtain(file)
            descriptor, name = file.descriptor, file.name
        if self.room is not None:
            self.room.count(len(data))
        try:
            try:
                done = os.write(descriptor, data)
                while done < len(data):
                    done += os.write(descriptor, memoryview(data)[done:])
                _stamp(descriptor, time)
            finally:
                os.close(descriptor)
        except OSError as error:
            file = file or StoredFile(name, stream)
            file.made, file.descriptor = True, -1
            with suppress(OutputError):
                self.discard(file)
            raise output_error("write", self.path / name, error) from error
        return name

    def read(self, file: StoredFile, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer at the end of the file."""
        try:
            return os.pread(self.descriptor(file), size, offset)
        except OSError as error:
            raise output_error("read", self.path / file.name, error) from error

    def cut(self, file: StoredFile, size: int) -> None:
        """Make the file ``size`` bytes long: a hole at its end, or less of it."""
        try:
            os.ftruncate(self.descriptor(file), size)
        except OSError as error:
            raise output_error("write", self.path / file.name, error) from error

    def size(self, file: StoredFile) -> int:
        """The file's length in bytes."""
        try:
            return os.fstat(self.descriptor(file)).st_size
        except OSError as error:
            raise output_error("look at", self.path / file.name, error) from error

    def rename(self, file: StoredFile, name: str) -> None:
        """Another name for the file; it keeps its own when somebody has that one."""
        try:
            if file.made:
                if not self._move(file, file.part, name):
                    return
            else:
                file.name = name
        except OSError as error:
            raise output_error("create", self.path / name, error) from error

    def _move(self, file: StoredFile, part: str, name: str) -> bool:
        """Into a part, under a name; False: it is taken. OSError."""
        folder, last = split(_inside(part, name))
        given = f"{self._tree.place(folder)}/{last}" if folder else last
        if not self._tree.rename(_inside(file.part, file.name), given):
            return False
        file.part, file.name = part, given[len(_inside(part, "")) :]
        return True

    def turn(self, part: str) -> int:
        """From now on files are made in another part, and moved there when they are complete. Gives a descriptor of
        its folder, good until the next call. OutputError."""
        self._tree.forget()  # in a part nobody else has files whose names ours could want
        try:
            self.part = self._tree.place(part)
            return self._tree.enter(part)
        except OSError as error:
            raise output_error("create", self.path / part, error) from error

    def bring(self, *files: StoredFile) -> None:
        """Files are complete: into the part of this moment, behind a name the stream's suffix if it is taken there.

        OutputError.
        """
        for file in files:
            if file.part != self.part and file.made:
                self._bring(file)

    def _bring(self, file: StoredFile) -> None:
        before, names = split(_inside(file.part, file.name))[0], (file.name, file.name + provisional(file.stream))
        try:
            if not any(self._move(file, self.part, name) for name in names):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        except OSError as error:
            raise output_error("move", self.path / file.part / file.name, error) from error
        with suppress(OSError):  # there is something else in it
            while "/" in before:  # what -F made of folders there
                above, last = split(before)
                os.rmdir(last, dir_fd=self._tree.enter(above))
                before = above

    def finish(self, file: StoredFile, time: int) -> None:
        """Close the file and set its modification time (ns); a time that the system refuses is left out."""
        self.bring(file)
        if file.descriptor >= 0:
            _stamp(file.descriptor, time)
            self._shut(file)
            return
        with suppress(OverflowError, OSError):  # as in _stamp
            parent, last = self._parent(file)
            os.utime(last, ns=(time, time), dir_fd=parent, follow_symlinks=False)

    def discard(self, file: StoredFile) -> None:
        """Close an unfinished file and remove it. One that somebody has put in its place stays. OutputError."""
        if not file.made:
            return
        with suppress(OutputError):
            self.close(file)
        try:
            parent, last = self._parent(file)
            found = os.stat(last, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and _identity(found) == (file.identity or _identity(found)):
                os.unlink(last, dir_fd=parent)
                if self.room is not None:
                    self.room.no_more(found.st_size)
        except FileNotFoundError:
            pass  # somebody has removed it
        except OSError as error:
            raise output_error("remove", self.path / file.name, error) from error
        file.made, file.identity = False, None

    def shut(self) -> None:
        """Close all."""
        while self._open:
            self._make_way()
        self._tree.close()


def _stamp(descriptor: int, time: int) -> None:
    """Set a file's modification time, ns, if the system takes it."""
    try:
        os.utime(descriptor, ns=(time, time))
    except (OverflowError, OSError):
        return  # the file is complete, and the report has the time


def _inside(part: str, name: str) -> str:
    """A name, or the beginning of one, relative to the folder of all parts."""
    return f"{part}/{name}" if part else name


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
