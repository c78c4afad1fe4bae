"""Files that are only ever ours: made under a name that nothing has yet, then renamed into place.

Knows: open, write and rename, and what to tell a user when they fail. Does not know: what is in a file.
Invariant: no link is followed, no foreign file opened or changed, and no file can be read by others (0600).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import OutputError

_SPACE = "free some space there, or choose another folder"
_RIGHTS = "choose a folder that you may write to"
_HINTS = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "the file system, or ulimit -f, allows no larger file",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.EEXIST: "another run may be using this folder; give each run its own",
    errno.ELOOP: "a link stands in the way; remove it",
    errno.ENOENT: "the folder must exist",
    errno.ENOTDIR: "a part of the path is no folder",
    errno.EMFILE: "raise the number of open files with ulimit -n",
    errno.EIO: "the disk reports an error; choose another one",
}


def output_error(action: str, path: Path | str, error: OSError) -> OutputError:
    """ "cannot write X: No space left on device", with the hint that fits."""
    failure = OutputError(f"cannot {action} {path}: {error.strerror or error}", _HINTS.get(error.errno or 0))
    failure.number = error.errno or 0
    return failure


def check_target(path: Path) -> None:
    """Raises OutputError unless a report may take this name: free, or a plain file's.

    Renaming over a device or a link would replace the very thing (``/dev/null``, ``/dev/stdout``).
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise output_error("look at", path, error) from error
    if not stat.S_ISREG(mode):
        raise OutputError(f"{path} is not a plain file", "give the name of a plain file, or of none yet")


def create(path: Path, final: Path | None = None) -> int:
    """A descriptor of a new, empty file. OutputError when the name is taken, were it by a dangling link.

    ``final``: the name that it will have, and that a user knows.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise output_error("create", final or path, error) from error


def beside(path: Path) -> Path:
    """A name that nobody can have prepared, in the same folder, so that a rename stays on one file system."""
    return path.with_name(f".flowshard-{secrets.token_hex(8)}")


def place(made: Path, final: Path) -> None:
    """Gives the file its final name at once; what had that name is replaced, were it a link."""
    try:
        made.replace(final)
    except OSError as error:
        raise output_error("create", final, error) from error


@contextmanager
def written(out: Path) -> Iterator[int]:
    """A descriptor of what becomes the file ``out`` when all went well; else nothing of it stays.

    Raises OutputError, also for an OSError from inside.
    """
    check_target(out)
    made = beside(out)
    descriptor = create(made, out)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        place(made, out)
    except BaseException as error:
        remove(made)
        if isinstance(error, OSError):
            raise output_error("write", out, error) from error
        raise


def write_all(descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
    """Writes all, however little the system takes at a time. At most 1,024 pieces (IOV_MAX).

    Raises OSError, with a part of it written.
    """
    left = [piece for piece in pieces if len(piece)]
    while left:
        taken = os.writev(descriptor, left)
        whole = 0
        while whole < len(left) and taken >= len(left[whole]):
            taken -= len(left[whole])
            whole += 1
        left = left[whole:]
        if taken:
            left[0] = memoryview(left[0])[taken:]


def remove(path: Path) -> None:
    """Removes a file of ours, when it is still there; never raises."""
    try:
        path.unlink()
    except OSError:
        return
