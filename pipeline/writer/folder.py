"""The output folder: files made, written, read back, closed; few of them open at a time.

Knows: descriptors, their limit, which names are taken.
Does not know: streams, offsets of streams, what is written.
Invariant: a file is made new (O_EXCL) inside the folder, no link is followed, no foreign file is opened.
Errors of the system leave as OutputError, with the file's name.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from pipeline.report.placing import output_error
from pipeline.writer.names import provisional

Piece: TypeAlias = "bytes | memoryview"

_MOST_OPEN: Final = 512
"""Descriptors kept open. More saves nothing that was seen, and costs kernel memory."""
_SPARE: Final = 40
"""Descriptors left to the rest of the process."""
_MOST_PIECES: Final = 1024  # IOV_MAX
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AGAIN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class StoredFile:
    """One file of a stream. ``name`` gets a suffix when it is made and the name is taken."""

    __slots__ = ("descriptor", "made", "name", "stream")

    def __init__(self, name: str, stream: int) -> None:
        self.name = name
        self.stream = stream
        self.made = False
        self.descriptor = -1


class Folder:
    """The folder that all output of a writer goes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.renamed: list[tuple[str, str]] = []
        """Names that were taken, and what the file is called instead."""
        self._open: OrderedDict[StoredFile, None] = OrderedDict()  # the one opened first is the first to close
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = max(1, min(_MOST_OPEN, soft - _SPARE))
        try:
            self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise output_error("open", path, error) from error

    def descriptor(self, file: StoredFile) -> int:
        """An open descriptor of the file, which is made if it is not there yet."""
        if file.descriptor >= 0:
            return file.descriptor
        while len(self._open) >= self._most:
            self.close(next(iter(self._open)))
        try:
            if file.made:
                file.descriptor = os.open(file.name, _AGAIN, dir_fd=self._folder)
            else:
                self._make(file)
        except OSError as error:
            raise output_error("open" if file.made else "create", self.path / file.name, error) from error
        self._open[file] = None
        return file.descriptor

    def _make(self, file: StoredFile) -> None:
        try:
            file.descriptor = os.open(file.name, _NEW, 0o600, dir_fd=self._folder)
        except FileExistsError:
            wanted, file.name = file.name, file.name + provisional(file.stream)
            file.descriptor = os.open(file.name, _NEW, 0o600, dir_fd=self._folder)
            self.renamed.append((wanted, file.name))
        file.made = True

    def close(self, file: StoredFile) -> None:
        """Close the file's descriptor, if it has one. It can be opened again."""
        if file.descriptor >= 0:
            descriptor, file.descriptor = file.descriptor, -1
            del self._open[file]
            try:
                os.close(descriptor)
            except OSError as error:  # a file system that writes late may say only now that it is full
                raise output_error("write", self.path / file.name, error) from error

    def write(self, file: StoredFile, pieces: Sequence[Piece], size: int, offset: int) -> None:
        """Write the pieces, ``size`` bytes together, at ``offset``."""
        descriptor = file.descriptor if file.descriptor >= 0 else self.descriptor(file)
        try:
            if len(pieces) > _MOST_PIECES:
                pieces = [b"".join(pieces)]
            done = os.pwritev(descriptor, pieces, offset)
            if done < size:
                rest = memoryview(b"".join(pieces))
                while done < size:  # a full disk ends this with an error, a signal does not
                    done += os.pwrite(descriptor, rest[done:], offset + done)
        except OSError as error:
            raise output_error("write", self.path / file.name, error) from error

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
                with suppress(FileNotFoundError):
                    os.stat(name, dir_fd=self._folder, follow_symlinks=False)
                    return
                os.rename(file.name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            raise output_error("create", self.path / name, error) from error
        file.name = name

    def finish(self, file: StoredFile, time: int) -> None:
        """Close the file and set its modification time (ns); a time that the system refuses is left out."""
        stamp = (time, time)
        try:
            if file.descriptor >= 0:
                os.utime(file.descriptor, ns=stamp)
            else:
                os.utime(file.name, ns=stamp, dir_fd=self._folder, follow_symlinks=False)
        except (OverflowError, OSError):
            pass  # the file is complete, and the report has the time
        self.close(file)

    def shut(self) -> None:
        """Close all."""
        for file in list(self._open):
            self.close(file)
        os.close(self._folder)
