"""Which captures ``-r`` names: files, folders of files, pipes.

Knows: paths, kinds of files, the first bytes that tell a capture or a compressed file.
Does not know: any format beyond those bytes, options, what is read first.
Invariant: every path is there, may be opened, is listed once, and has a kind that can be read; a path is
STDIN if and only if standard input is meant.

Nothing is imported that a mistake on the command line would have to wait for.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.config import STDIN
from pipeline.errors import UsageError

MOST_INPUTS: Final = 65_535
"""An address has 16 bits for the number of its input."""

_PCAP: Final = ("a1b2c3d4", "a1b23c4d", "a1b2cd34")
"""libpcap's magic numbers: plain, nanoseconds, and a patched libpcap's."""

CAPTURES: Final = (
    *(bytes.fromhex(magic) for magic in _PCAP),
    *(bytes.fromhex(magic)[::-1] for magic in _PCAP),
    bytes.fromhex("0a0d0d0a"),  # pcapng: a Section Header Block reads the same in both byte orders
    b"snoop\0\0\0",  # RFC 1761
)
"""First bytes of captures."""

_BLOCK_OR_END: Final = (b"1AY&SY", b"\x17rE8P\x90")
_BZIP2: Final = tuple(b"BZh%d" % level + magic for level in range(1, 10) for magic in _BLOCK_OR_END)

COMPRESSED: Final = (
    b"\x1f\x8b\x08",  # gzip, RFC 1952
    *_BZIP2,
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",  # zstd, RFC 8878
    *(bytes((number, 0x2A, 0x4D, 0x18)) for number in range(0x50, 0x60)),  # a skippable frame of zstd or lz4
    b"\x04\x22\x4d\x18",  # lz4
)
"""First bytes of what a capture can be packed in."""

_HEAD: Final = 16

_GIVE: Final = "-r takes the path of a capture, a folder of captures, or - for standard input"
_PIPE_IN: Final = "pipe a capture into it: ssh host tcpdump -w - | flowshard -r - -o out"


class Found(NamedTuple):
    """The inputs of a run, and what a person should know of how they were found."""

    paths: tuple[Path, ...]  # in the order given, a folder's by name; STDIN is standard input
    size: int | None  # bytes as they lie on disk; None: something is piped
    packed: int  # ... of them in compressed files
    skipped: tuple[Path, ...]  # in folders, and no captures
    doubled: tuple[Path, ...]  # given once more, under this name


class _Input(NamedTuple):
    path: Path
    identity: tuple[int, int]  # device and number of the file
    size: int | None
    packed: bool


def input_name(path: Path) -> str:
    """An input's name in a message."""
    return "standard input" if path == STDIN else str(path)


def find_inputs(names: Sequence[str]) -> Found:
    """The captures that ``names`` (the values of ``-r``) stand for.

    A folder stands for the regular files right in it, hidden ones left out, in natural order of their names.
    Raises UsageError for what is missing, may not be read, cannot hold a capture, or holds none.
    """
    if names.count("-") > 1:
        raise UsageError("-r -: standard input can be read only once", "give -r - once")
    taken: dict[tuple[int, int], _Input] = {}
    skipped: list[Path] = []
    doubled: list[Path] = []
    for each in _each(names, skipped):
        if each.identity in taken:
            doubled.append(each.path)
        else:
            taken[each.identity] = each
    if len(taken) > MOST_INPUTS:
        raise UsageError(
            f"{len(taken):,} captures are more than the {MOST_INPUTS:,} that one run reads",
            "join some of them first: mergecap -w joined.pcapng FILE ...",
        )
    found = list(taken.values())
    sizes = [each.size for each in found if each.size is not None]
    return Found(
        paths=tuple(each.path for each in found),
        size=sum(sizes) if len(sizes) == len(found) else None,
        packed=sum(each.size for each in found if each.packed and each.size is not None),
        skipped=tuple(skipped),
        doubled=tuple(doubled),
    )


def _each(names: Iterable[str], skipped: list[Path]) -> Iterator[_Input]:
    for name in names:
        if name == "-":
            yield _standard_input()
            continue
        found = _look(name)
        if stat.S_ISDIR(found.st_mode):
            yield from _in_folder(name, skipped)
        else:
            yield _named(name, found)


def _look(name: str) -> os.stat_result:
    try:
        return os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{name}: no such file", _GIVE) from None
    except OSError as error:
        raise _refused(name, error) from None


def _refused(name: str, error: OSError) -> UsageError:
    hint = "make it readable, or run as its owner" if isinstance(error, PermissionError) else _GIVE
    return UsageError(f"{name}: {(error.strerror or 'unreadable').lower()}", hint)


def _standard_input() -> _Input:
    try:
        found = os.fstat(0)
    except OSError:
        raise UsageError("-r -: standard input is closed", _PIPE_IN) from None
    if os.isatty(0):
        raise UsageError("-r -: standard input is a terminal", _PIPE_IN)
    if stat.S_ISDIR(found.st_mode):
        raise UsageError("-r -: standard input is a folder", _PIPE_IN)
    size = found.st_size if stat.S_ISREG(found.st_mode) else None
    packed = size is not None and (_head(0) or b"").startswith(COMPRESSED)
    return _Input(STDIN, (found.st_dev, found.st_ino), size, packed)


def _named(name: str, found: os.stat_result) -> _Input:
    """What is neither a folder nor ``-``."""
    mode, identity = found.st_mode, (found.st_dev, found.st_ino)
    if stat.S_ISREG(mode):
        return _Input(_path(name), identity, found.st_size, (_first_bytes(name) or b"").startswith(COMPRESSED))
    if stat.S_ISBLK(mode):
        raise UsageError(
            f"{name}: a block device, not a capture", "one written straight to it comes in by -r - < DEVICE"
        )
    if stat.S_ISCHR(mode) or stat.S_ISSOCK(mode):
        standard = _standard_input() if _is_standard_input(identity) else None  # refuses a terminal
        if stat.S_ISSOCK(mode):
            if standard is not None:  # /dev/stdin, which has no other way in
                return standard
            raise UsageError(f"{name}: a socket cannot be opened as a file", "pipe what it sends into -r -")
    if not os.access(name, os.R_OK):  # opening a pipe would tell its writer
        raise UsageError(f"{name}: permission denied", "make it readable, or run as its owner")
    return _Input(_path(name), identity, None, False)


def _is_standard_input(identity: tuple[int, int]) -> bool:
    try:
        found = os.fstat(0)
    except OSError:
        return False
    return identity == (found.st_dev, found.st_ino)


def _path(name: str) -> Path:
    path = Path(name)
    return path.absolute() if path == STDIN else path


def _in_folder(name: str, skipped: list[Path]) -> Iterator[_Input]:
    """A folder's captures; its other files become ``skipped``."""
    try:
        entries = sorted((entry for entry in os.listdir(name) if not entry.startswith(".")), key=natural)
    except OSError as error:
        raise _refused(name, error) from None
    captures = others = 0
    for entry in entries:
        full = os.path.join(name, entry)
        try:
            found = os.stat(full)
        except OSError:  # a link to nowhere, or a file that went away meanwhile
            skipped.append(Path(full))
            others += 1
            continue
        if not stat.S_ISREG(found.st_mode):
            continue
        head = _first_bytes(full)
        if head is not None and not head.startswith((*CAPTURES, *COMPRESSED)):
            skipped.append(Path(full))
            others += 1
            continue
        captures += 1
        packed = head is not None and head.startswith(COMPRESSED)
        yield _Input(_path(full), (found.st_dev, found.st_ino), found.st_size, packed)
    if not captures:
        what = f"other files: {others:,}" if others else "it holds no files"
        raise UsageError(
            f"{name}: a folder without captures: {what}", "folders in it and hidden files are not looked at"
        )


def natural(name: str) -> tuple[list[str | int], str]:
    """Numbers in names count as numbers: day.pcap9 comes before day.pcap10."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _first_bytes(name: str) -> bytes | None:
    """The first bytes of a regular file; None when the storage does not give them, which the reader will tell.

    Raises UsageError when it may not be opened.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(name, error) from None
    try:
        return _head(descriptor)
    finally:
        os.close(descriptor)


def _head(descriptor: int) -> bytes | None:
    try:
        return os.pread(descriptor, _HEAD, 0)
    except OSError:
        return None
