"""An output folder compared with its manifest, and what differs.

Knows: which differences there are, what is no difference. Does not know: words, exit statuses.
Invariant: nothing is written, no link in the folder is followed, and of a file whose size has changed nothing is read.
What a manifest says leads nowhere but to plain files, each read up to its size and no further.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from pipeline.destinations import MANIFEST
from pipeline.errors import CaptureError, UsageError
from pipeline.manifest.document import MOST_BYTES, SIGNATURES, File, Manifest, Source, decode
from pipeline.manifest.hashing import NO_FILE, Hashed, Job, hash_files
from pipeline.manifest.making import others
from pipeline.manifest.reported import digests
from pipeline.tree import Tree, split

Kind: TypeAlias = Literal["changed", "missing", "added", "unreadable", "unchecked"]

_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Difference(NamedTuple):
    """One thing that is not as it was, or of which that cannot be said (``unreadable``, ``unchecked``)."""

    kind: Kind
    what: str  # "file", "input", "report"
    name: str
    why: str = ""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an output folder. UsageError: there is none. CaptureError: it cannot be read or understood."""
    path = folder / MANIFEST
    try:
        descriptor = os.open(path, _OPEN | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder}: there is no {MANIFEST}",
            "give the output folder, or a part's, of a run with --manifest that came to its end",
        ) from None
    except OSError as error:
        raise CaptureError(f"cannot read {path}: {error.strerror}", "it has to be a plain file") from None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            raise CaptureError(f"{path} is no plain file, or too large for a manifest", "nothing was compared with it")
        try:
            return decode(file.read(MOST_BYTES))
        except OSError as error:
            raise CaptureError(f"cannot read {path}: {error.strerror}") from None


def differences(folder: Path, manifest: Manifest, given: Sequence[Path], processes: int) -> Iterator[Difference]:
    """All differences. ``given``: where the inputs are now, one for each; none: where they were. OSError: the folder
    cannot be read."""
    files = [*manifest.files, *manifest.elsewhere]
    yield from _compared("file", files, _hash(folder, files, processes))
    yield from _report(folder, manifest)
    known = {each.name for each in manifest.files} | {manifest.report.name, MANIFEST, *SIGNATURES}
    for name in sorted(set(others(folder, known)) - set(manifest.others)):
        yield Difference("added", "file", name)
    sources, unchecked = _reachable(manifest.inputs, given)
    yield from _compared("input", sources, _hash(folder, sources, processes))
    yield from unchecked


def _hash(folder: Path, files: Sequence[File], processes: int) -> list[Hashed]:
    return hash_files(folder, [Job(each.name, each.size, exact=True) for each in files], processes)


def _compared(what: str, files: Sequence[File], found: Sequence[Hashed]) -> Iterator[Difference]:
    for file, now in zip(files, found, strict=True):
        if now.problem == NO_FILE:
            yield Difference("changed", what, file.name, "it is no plain file any more")
        elif now.problem in _GONE:
            yield Difference("missing", what, file.name)
        elif now.problem:
            yield Difference("unreadable", what, file.name, os.strerror(now.problem))
        elif now.size != file.size:
            yield Difference("changed", what, file.name, f"{now.size:,} bytes, it had {file.size:,}")
        elif now.hex != file.sha256:
            yield Difference("changed", what, file.name, "other bytes, as many as before")


def _report(folder: Path, manifest: Manifest) -> Iterator[Difference]:
    """The report's content, and what it says of the run itself."""
    name = manifest.report.name
    try:
        descriptor = _opened_report(folder, name)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                yield Difference("changed", "report", name, "it is no plain file any more")
                return
            found = digests(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        number = error.errno or errno.EIO if isinstance(error, OSError) else errno.ENOENT
        if number in _GONE:
            yield Difference("missing", "report", name)
        elif number == errno.ELOOP:
            yield Difference("changed", "report", name, "it is no plain file any more")
        else:
            yield Difference("unreadable", "report", name, os.strerror(number))
        return
    if found.content != manifest.report.content_sha256:
        yield Difference("changed", "report", name, "what it says of the streams")
    elif found.whole != manifest.run.get("report_sha256"):
        yield Difference("changed", "report", name, "only what it says of the run itself")


def _opened_report(folder: Path, name: str) -> int:
    """A descriptor of the report. OSError, ValueError."""
    if name.startswith("/"):
        return os.open(name, _OPEN | os.O_NOFOLLOW)
    with Tree(folder) as tree:
        above, last = split(name)
        return os.open(last, _OPEN | os.O_NOFOLLOW, dir_fd=tree.enter(above))


def _reachable(sources: Sequence[Source], given: Sequence[Path]) -> tuple[list[File], list[Difference]]:
    """The inputs that can be compared, by absolute path, and why others cannot be. UsageError: too few, or too many,
    are ``given``."""
    if given and len(given) != len(sources):
        raise UsageError(
            f"--read is given {len(given)} times, the run read {len(sources)}", "give an input for each, in their order"
        )
    found, unchecked = [], []
    for at, source in enumerate(sources):
        path = os.path.abspath(given[at]) if given else source.path
        if source.sha256 is None:
            unchecked.append(Difference("unchecked", "input", source.name, source.note or "it has no hash"))
        elif not path:
            unchecked.append(Difference("unchecked", "input", source.name, "it was piped; --read FILE names a copy"))
        elif not given and not os.path.lexists(path):
            unchecked.append(Difference("unchecked", "input", path, "it is not there; --read FILE says where it is"))
        else:
            found.append(File(path, source.size, source.sha256))
    return found, unchecked
