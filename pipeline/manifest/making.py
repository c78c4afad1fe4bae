"""The manifest of a run, or of one part of it, made when all else is in its place.

Knows: where everything is that a run made, what is told of the run beside it.
Does not know: how files are hashed, what a manifest looks like on disk.
Invariant: it is placed under its name at once, and last; when it cannot be made there is none, and all that the run
made stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pipeline.config import Config
from pipeline.destinations import MANIFEST, targets
from pipeline.errors import OutputError
from pipeline.manifest.document import SIGNATURES, File, Manifest, Report, Source, encode
from pipeline.manifest.hashing import Hashed, Job, hash_files
from pipeline.manifest.reported import ReportedNames, digests
from pipeline.output import inside
from pipeline.provenance import options_of, run_of
from pipeline.report.placing import output_error, write_all, written
from pipeline.tree import Tree, split
from pipeline.versions import versions

_PIECE: Final = 1 << 20  # bytes of a manifest written at a time
_LIVE: Final = "a live capture has no bytes to hash but the streams'"
_GOES_ON: Final = "it goes on behind this part: the manifest of the last one has the hash"
_NEVER_READ: Final = "it was not read"


def make_manifest(
    config: Config, inputs: Sequence[Mapping[str, Any]], began: int, processes: int, fixed: Sequence[str] = ()
) -> None:
    """Write the manifest of what lies in ``config.output``, where everything else is in its place.

    ``inputs`` as ``capture.describe`` makes them; ``began``: ns since 1970; ``processes``: how many may hash;
    ``fixed``: names of files of the run that neither its report nor its options name. OutputError.
    """
    assert config.report is not None
    folder = config.output
    try:
        names, found = _report(config.report)
        place = inside(folder, config.report)
        beside = [path for option, path in targets(config) if option not in {"-X", "--manifest"}]
        near = {inside(folder, path) for path in beside} - {None}
        far = sorted(os.path.realpath(path) for path in beside if inside(folder, path) is None)
        ours = sorted({*names, *fixed, *(name for name in near if name is not None)})
        files = _hashed(folder, ours, processes)
        known = {each.name for each in files} | {MANIFEST, *SIGNATURES} | ({place} if place else set())
        manifest = Manifest(
            files, _hashed(folder, far, processes), _sources(config, inputs),
            Report(place or os.path.realpath(config.report), found.content), others(folder, known), _made(config),
            {**run_of(config, began), "report_sha256": found.whole},
        )  # fmt: skip
    except OSError as error:
        raise output_error("hash what lies in", folder, error) from error
    _write(folder / MANIFEST, encode(manifest))


def _report(path: Path) -> tuple[list[str], Any]:
    """The names in a report, and its hashes. OSError."""
    names = ReportedNames()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = digests(descriptor, names.see)
    finally:
        os.close(descriptor)
    return names.sorted(), found


def _hashed(folder: Path, names: Sequence[str], processes: int) -> list[File]:
    """Those that are there. OSError: one that is there cannot be read."""
    jobs = []
    with Tree(folder) as tree:
        for name in names:
            with suppress(FileNotFoundError):  # a limit on disk use: nothing of that stream was written
                jobs.append(Job(name, _size(tree, name), exact=False))
    found = hash_files(folder, jobs, processes)
    for job, each in zip(jobs, found, strict=True):
        if each.problem:
            raise _problem(folder, job, each)
    return [File(job.name, each.size, each.hex) for job, each in zip(jobs, found, strict=True)]


def _size(tree: Tree, name: str) -> int:
    if name.startswith("/"):
        return os.stat(name).st_size
    above, last = split(name)
    return os.stat(last, dir_fd=tree.enter(above), follow_symlinks=False).st_size


def _problem(folder: Path, job: Job, found: Hashed) -> OutputError:
    what = os.strerror(found.problem) if found.problem > 0 else "something else has taken its name"
    return OutputError(
        f"cannot hash {folder / job.name}: {what}", "streams and report are complete, only the manifest is missing"
    )


def others(folder: Path, known: set[str]) -> list[str]:
    """What lies beside the files of ``known`` and is none of them: names, a folder's with a slash behind. OSError.

    Only folders that hold such files are looked into.
    """
    folders = {""}
    for name in known:
        while "/" in name and split(name)[0] not in folders:
            name = split(name)[0]
            folders.add(name)
    found: list[str] = []
    with Tree(folder) as tree:
        for above in sorted(folders):
            try:
                entered = tree.enter(above)
            except OSError:
                continue  # all that was in it is missing, which is told of each
            with os.scandir(entered) as entries:
                found += _strangers(entries, above + "/" if above else "", known | folders)
    return sorted(found)


def _strangers(entries: Iterable[os.DirEntry[str]], above: str, known: set[str]) -> list[str]:
    return [
        above + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
        for entry in entries
        if above + entry.name not in known
    ]


def _sources(config: Config, inputs: Sequence[Mapping[str, Any]]) -> list[Source]:
    """The inputs, in their order."""
    made = []
    for path, facts in zip(config.inputs, inputs, strict=True):
        sha256, size, note = facts.get("digest") or ("", 0, _unhashed(config))
        piped = facts["size"] is None
        made.append(Source(str(path), "" if piped else os.path.abspath(path), size, sha256 or None, note))
    return made


def _unhashed(config: Config) -> str:
    if config.live is not None:
        return _LIVE
    return _NEVER_READ if config.rotation is None else _GOES_ON


def _made(config: Config) -> dict[str, Any]:
    """By what, and how."""
    told: dict[str, Any] = {"program": dict(versions()), "command_line": config.command_line}
    told["options"] = {name: value for name, value in options_of(config).items() if value is not None}
    told["limits"] = asdict(config.limits)
    if config.rotation is not None:
        told["options"]["rotate"] = asdict(config.rotation)
    if config.space is not None:
        told["options"]["space"] = asdict(config.space)
    return told


def _write(path: Path, data: bytes) -> None:
    """Place the manifest. OutputError."""
    with written(path) as descriptor:
        for at in range(0, len(data), _PIECE):
            write_all(descriptor, [data[at : at + _PIECE]])


def make_of_run(config: Config, inputs: Sequence[Mapping[str, Any]], began: int) -> None:
    """... of a whole run, by as many processes as there are cores; live by one, for no more can be made."""
    cores = 1 if config.live is not None else len(os.sched_getaffinity(0))
    make_manifest(config, inputs, began, cores)
