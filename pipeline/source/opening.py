"""A capture file opened: checked, mapped read-only; and what to say of a file that is no capture.

Knows: what can be wrong with a path, and which other formats to name when refusing a file.
Does not know: records, blocks, packets, compression.
Invariant: no descriptor stays open; the map lives until its owner drops it.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from pipeline.errors import CaptureError, OutputError, UsageError

_CONVERT: Final = "convert it first: editcap -F pcapng IN OUT"

_WHAT: Final = "flowshard reads pcap, pcapng and snoop files; the command 'file' tells what this one is"

FOREIGN: Final = (
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"GMBU", "a Microsoft Network Monitor 2 capture", _CONVERT),
    (b"RTSS", "a Microsoft Network Monitor 1 capture", _CONVERT),
    (b"TRSNIFF data    \x1a", "a Sniffer capture", _CONVERT),
)
"""First bytes, what such a file is, what to do about it."""

_OPEN_PROBLEMS: Final = {
    errno.ENOENT: ("no such file", "check the path given to -r"),
    errno.ENOTDIR: ("no such file", "check the path given to -r"),
    errno.EACCES: ("permission denied", "read access to the file and its folders is needed"),
    errno.EPERM: ("permission denied", "read access to the file and its folders is needed"),
    errno.ENXIO: ("it is a socket or a device that is not there", "-r takes capture files and pipes"),
    errno.EBADF: ("it is closed", "pipe a capture into it"),
    errno.EISDIR: ("it is a folder", "give each capture file its own -r"),
}


def map_file(path: Path) -> mmap.mmap:
    """The whole file, mapped for reading from front to back.

    UsageError when it cannot be opened or is no regular file; CaptureError when it is empty.
    """
    try:
        # Non-blocking, or else opening a FIFO waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as problem:
        raise cannot_open(str(path), problem) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"cannot read {path}: it is a folder", "give each capture file its own -r")
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"cannot read {path}: not a regular file", "-r takes capture files")
        if not status.st_size:
            raise refuse(path, b"")
        data = mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
    except OSError as problem:
        raise cannot_open(str(path), problem) from None
    finally:
        os.close(descriptor)
    with suppress(OSError):  # advice only
        data.madvise(mmap.MADV_SEQUENTIAL)
    return data


def too_many_open(path: Path) -> OutputError:
    """The error that no input is to blame for: more captures overlap in time than files may be open."""
    hint = "allow more open files (ulimit -n), or join captures that overlap in time: mergecap -w OUT FILE ..."
    return OutputError(f"cannot read {path}: too many files are open", hint)


def cannot_open(name: str, problem: OSError | ValueError) -> UsageError | OutputError:
    """What is wrong with an input that cannot be opened, and what to do."""
    if isinstance(problem, ValueError):  # a NUL in the path
        return UsageError(f"cannot read {name!r}: no such file", "check the path given to -r")
    if problem.errno in {errno.EMFILE, errno.ENFILE}:
        return too_many_open(Path(name))
    text, hint = _OPEN_PROBLEMS.get(problem.errno or 0, (os.strerror(problem.errno or 0).lower(), None))
    return UsageError(f"cannot read {name}: {text}", hint)


def refuse(path: Path, head: bytes) -> CaptureError:
    """The error for what starts with ``head``, which no reader recognised."""
    if not head:
        return CaptureError(f"{path} is not a capture: the file is empty", _WHAT)
    for magic, what, hint in FOREIGN:
        if head.startswith(magic):
            return CaptureError(f"{path} is {what}, not a pcap, pcapng or snoop capture", hint)
    return CaptureError(f"{path} is not a pcap, pcapng or snoop capture", _WHAT)
