"""The manifest as a value, and as the JSON that it is on disk.

Knows: which members there are, what each may hold. Does not know: files, hashes, how any of it is found out.
Invariant: ``decode(encode(manifest))`` is the manifest, the same manifest is the same bytes, and whatever bytes are
decoded, the outcome is a manifest or one CaptureError: names lead into the folder, numbers are sizes of files,
digests are digests.

It is one object. Members stand in the order of their names, elements of lists a line each; ``run`` is what differs
between two runs of one command. It is ASCII: bytes of a name that are no UTF-8 are lone surrogates (os.fsdecode).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

from pipeline.destinations import MANIFEST
from pipeline.errors import CaptureError
from pipeline.tree import is_path

SIGNATURES: Final = tuple(MANIFEST + end for end in (".asc", ".sig", ".minisig", ".sig.asc"))
"""Names that signatures of a manifest have as a rule: no files of the run, and no surprise either."""

MOST_BYTES: Final = 1 << 30
"""Of a manifest that is read: some five million files."""

_VERSION: Final = 1
_MOST_SIZE: Final = (1 << 63) - 1
_LONGEST: Final = 4096  # signs of a name; PATH_MAX
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

Value: TypeAlias = "str | int | float | bool | None"
Facts: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class File:
    """A file that the run made. ``name``: in the output folder, or an absolute path where that is allowed."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """An input. ``sha256``: of its first ``size`` bytes as they lay there; None: ``note`` says why there is none."""

    name: str  # as it was given
    path: str  # absolute; "": it has none
    size: int
    sha256: str | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Where the report is (as ``File.name``), and the hash of its content."""

    name: str
    content_sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of it. ``made`` and ``run`` are for people and programs; nothing is checked against them but one hash."""

    files: Sequence[File]  # in the order of their names
    elsewhere: Sequence[File]  # outside of the output folder, by absolute path
    inputs: Sequence[Source]
    report: Report
    others: Sequence[str]  # what else lay in the folders of ``files``: not ours; a folder has a slash behind
    made: Facts = field(default_factory=dict)  # program, command line, options, limits, versions
    run: Facts = field(default_factory=dict)  # host, user, times; ``report_sha256``: of the report as a whole


def encode(manifest: Manifest) -> bytes:
    """As JSON."""
    members: dict[str, str] = {name: _flat(value) for name, value in manifest.made.items()}
    members |= {
        "elsewhere": _files("path", manifest.elsewhere),
        "files": _files("name", manifest.files),
        "inputs": _lines([_source(each) for each in manifest.inputs]),
        "manifest": str(_VERSION),
        "others": _lines(manifest.others),
        "report": _flat({"content_sha256": manifest.report.content_sha256, "name": manifest.report.name}),
    }  # fmt: skip
    members = dict(sorted(members.items())) | {"run": _flat(dict(manifest.run))}
    text = ",\n".join(f'"{name}": {value}' for name, value in members.items())
    return b"{\n" + text.encode("ascii") + b"\n}\n"


def _flat(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _lines(elements: Sequence[object]) -> str:
    return _listed([_flat(each) for each in elements])


def _listed(lines: Sequence[str]) -> str:
    return "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"


def _files(key: str, files: Sequence[File]) -> str:
    """As ``_lines`` would have it, in a third of the time: there can be millions."""
    encode = json.JSONEncoder().encode
    return _listed(
        [f'{{"{key}": {encode(each.name)}, "sha256": "{each.sha256}", "size": {each.size}}}' for each in files]
    )


def _source(source: Source) -> dict[str, Value]:
    facts: dict[str, Value] = {"name": source.name, "sha256": source.sha256, "size": source.size}
    if source.path:
        facts["path"] = source.path
    return facts | {"note": source.note} if source.note else facts


def decode(data: bytes) -> Manifest:
    """What the bytes of a manifest say. Raises CaptureError when no manifest of ours is like that."""
    try:
        told = json.loads(data, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        _refuse("it is no JSON of ours")
    if not isinstance(told, dict) or _size(told.get("manifest")) != _VERSION:
        _refuse(f"its version is not {_VERSION}")
    report, run = told.pop("report", None), told.pop("run", None)
    if not isinstance(report, dict) or not isinstance(run, dict):
        _refuse("a member is missing")
    files = _each(told.pop("files", None), lambda each: _file(each, "name", inside=True))
    if len({each.name for each in files}) != len(files):
        _refuse("it names a file twice")
    name = _name(report.get("name"))
    return Manifest(
        files,
        _each(told.pop("elsewhere", None), lambda each: _file(each, "path", inside=False)),
        _each(told.pop("inputs", None), _read_source),
        Report(name if name.startswith("/") else _inside(name), _digest(report.get("content_sha256"))),
        _each(told.pop("others", None), _other),
        {key: value for key, value in told.items() if key != "manifest"},
        run,
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no member stands twice: two readers could see two manifests."""
    told = dict(pairs)
    if len(told) != len(pairs):
        _refuse("a member stands in it twice")
    return told


def _refuse(why: str) -> NoReturn:
    raise CaptureError(f"{MANIFEST} is damaged, or not made by flowshard: {why}", "nothing was compared with it")


def _each(elements: object, read: Callable[[Any], Any]) -> list[Any]:
    if not isinstance(elements, list):
        _refuse("a list is missing")
    return [read(each) for each in elements]


def _file(told: object, key: str, *, inside: bool) -> File:
    if not isinstance(told, dict):
        _refuse("a file is no object")
    name = _name(told.get(key))
    if not inside and not name.startswith("/"):
        _refuse("a path is not absolute")
    return File(_inside(name) if inside else name, _size(told.get("size")), _digest(told.get("sha256")))


def _read_source(told: object) -> Source:
    if not isinstance(told, dict):
        _refuse("an input is no object")
    path, note = told.get("path", ""), told.get("note", "")
    if not isinstance(note, str) or (path and not _name(path).startswith("/")):
        _refuse("an input has no such path")
    sha256 = told.get("sha256")
    return Source(
        _name(told.get("name")), path, _size(told.get("size")), None if sha256 is None else _digest(sha256), note
    )


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or "\0" in value:
        _refuse("a name is none")
    return value


def _other(value: object) -> str:
    name = _name(value)
    _inside(name.removesuffix("/"))
    return name


def _inside(name: str) -> str:
    if not is_path(name):
        _refuse("a name leads out of the folder")
    return name


def _size(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_SIZE:
        _refuse("a size is none")
    return value


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        _refuse("a SHA-256 is none")
    return value
