"""What stands before and behind the rows: who made the report, from what, with which result.

Knows: the order of elements that the DFXML schema 2.0.0-beta.0 wants outside of fileobjects.
Does not know: how any of it was found out; it looks at no clock and asks no system.
Invariant: ``head(...) + rows + tail(...)`` is valid by the schema, whatever the texts are.

Only ``creator/execution_environment``, ``rusage`` and ``tcpflow:processes`` describe the run itself; the
rest depends on the input and the options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Final, TypeAlias

from pipeline.errors import InternalError
from pipeline.report.text import attributes, escape, timestamps

NAMESPACE: Final = "http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML"
FOREIGN: Final = NAMESPACE + "#tcpflow"
DUBLIN_CORE: Final = "http://purl.org/dc/elements/1.1/"
VERSION: Final = "2.0.0-beta.0"
"""Of the schema."""

Value: TypeAlias = str | int | bool | None

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Execution:
    """The run. Where and by whom the program was started."""

    os_sysname: str
    os_release: str
    os_version: str
    host: str
    arch: str
    command_line: str
    uid: int
    username: str
    start_ns: int  # since 1970-01-01


@dataclass(frozen=True, slots=True)
class Creator:
    """The program. Libraries are pairs of name and version."""

    program: str
    version: str
    compiler: str  # "CPython 3.11.7"
    built_with: Sequence[tuple[str, str]]  # what comes with the program, such as a libpcap in a wheel
    libraries: Sequence[tuple[str, str]]  # what it runs on
    execution: Execution


@dataclass(frozen=True, slots=True)
class Input:
    """One capture file, or a pipe, and what of it could not be read."""

    name: str
    size: int | None  # bytes on disk; None for what has no size
    length: int  # bytes of the capture that were read, after decompression
    format: str  # as Reader.format says
    packets: int
    faults: Sequence[tuple[int, int, str]] = ()  # offset in the capture, bytes that are no packets, problem
    more_faults: int = 0  # that are not listed


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all processes of the run. Seconds, KiB and counts, as getrusage has them."""

    utime: float
    stime: float
    maxrss: int
    minflt: int
    majflt: int
    nswap: int
    inblock: int
    oublock: int
    clocktime: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. Keys of ``options``, ``processes`` and ``totals`` become names of attributes."""

    usage: Usage
    options: Mapping[str, Value]
    inputs: Sequence[Input]
    totals: Mapping[str, Value]
    counters: Mapping[str, int] = field(default_factory=dict)  # the accounting, by reason
    processes: Mapping[str, Value] = field(default_factory=dict)  # how many: the output does not depend on it


def head(creator: Creator, images: Sequence[str]) -> bytes:
    """The document up to the first row. ``images`` are the names of the inputs, in their order."""
    build = _element("compiler", creator.compiler) + _libraries(creator.built_with)
    lines = [
        "<?xml version='1.0' encoding='UTF-8'?>",
        f"<dfxml xmlns='{NAMESPACE}' xmlns:dc='{DUBLIN_CORE}' xmlns:tcpflow='{FOREIGN}' version='{VERSION}'>",
        "<metadata><dc:type>Network Flow Reassembly</dc:type></metadata>",
        "<creator>",
        _element("program", creator.program) + _element("version", creator.version),
        f"<build_environment>{build}</build_environment>",
        _execution(creator.execution),
        *([_libraries(creator.libraries)] if creator.libraries else []),
        "</creator>",
    ]
    if images:
        lines.append(f"<source>{''.join(_element('image_filename', name) for name in images)}</source>")
    return _encoded(lines)


def tail(outcome: Outcome) -> bytes:
    """The document from behind the last row. InternalError for a key that cannot name an attribute."""
    usage = "".join(
        _element(name, _seconds(value) if isinstance(value, float) else value)
        for name, value in asdict(outcome.usage).items()
    )
    counters = "".join(
        f"<tcpflow:counter{attributes({'name': name, 'value': value})}/>\n" for name, value in outcome.counters.items()
    )
    inputs = "".join(map(_input, outcome.inputs))
    lines = [
        f"<rusage>{usage}</rusage>",
        f"<tcpflow:configuration{_checked(outcome.options)}/>",
        *([f"<tcpflow:processes{_checked(outcome.processes)}/>"] if outcome.processes else []),
        f"<tcpflow:sources>\n{inputs}</tcpflow:sources>",
        f"<tcpflow:summary{_checked(outcome.totals)}>\n{counters}</tcpflow:summary>",
        "</dfxml>",
    ]
    return _encoded(lines)


def _input(source: Input) -> str:
    facts = asdict(source)
    faults = "".join(
        f"<tcpflow:fault{attributes({'offset': offset, 'length': length, 'problem': problem})}/>\n"
        for offset, length, problem in facts.pop("faults")
    )
    if not facts["more_faults"]:
        del facts["more_faults"]
    end = f">\n{faults}</tcpflow:input>\n" if faults else "/>\n"
    return f"<tcpflow:input{attributes(facts)}{end}"


def _execution(execution: Execution) -> str:
    values = asdict(execution)
    started = timestamps([values.pop("start_ns")])[0]
    shown = "".join(_element(name, value) for name, value in values.items())
    if started:
        shown += _element("start_time", started)
    return f"<execution_environment>{shown}</execution_environment>"


def _libraries(libraries: Sequence[tuple[str, str]]) -> str:
    pairs = (attributes({"name": name, "version": version}) for name, version in libraries)
    return "".join(f"<library{pair}/>" for pair in pairs)


def _element(name: str, value: object) -> str:
    return f"<{name}>{escape(str(value))}</{name}>"


def _seconds(value: float) -> str:
    return f"{value:.6f}" if isfinite(value) else "NaN"


def _checked(values: Mapping[str, Value]) -> str:
    """Attributes whose names are ours to choose, and so can be wrong by a defect only."""
    for name in values:
        if not _NAME.fullmatch(name):
            raise InternalError(f"the report cannot have an attribute named {name!r}")
    return attributes(values)


def _encoded(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
