"""What the report says of the run itself: program, host, options, inputs, totals.

Knows: where these facts are to be had. Does not know: XML (report/document.py).
Invariant: only the execution environment, the use of resources and the counts of processes differ
between two runs of one command on one input.
"""

from __future__ import annotations

import getpass
import os
import platform
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import __version__
from pipeline.config import Config
from pipeline.report.document import Creator, Execution, Input, Outcome, Usage, head, tail
from pipeline.versions import versions


def report_head(config: Config, started: int) -> bytes:
    """The document up to its first row. ``started``: ns since 1970-01-01."""
    system = platform.uname()
    execution = Execution(
        os_sysname=system.system, os_release=system.release, os_version=system.version, host=system.node,
        arch=system.machine, command_line=config.command_line, uid=os.getuid(), username=_user(), start_ns=started,
    )  # fmt: skip
    libraries = [(name, version) for name, version in versions() if name not in {"flowshard", "Python"}]
    compiler = f"{platform.python_implementation()} {platform.python_version()}"
    creator = Creator("flowshard", __version__, compiler, (), libraries, execution)
    return head(creator, [str(path) for path in config.inputs])


def run_of(config: Config, started: int) -> dict[str, str | int | float]:
    """What differs between two runs of one command, for the manifest. ``started``: ns since 1970-01-01."""
    system = platform.uname()
    return {
        "host": system.node, "system": f"{system.system} {system.release} {system.machine}", "uid": os.getuid(),
        "user": _user(), "folder": os.getcwd(), "started_ns": started, "ended_ns": time.time_ns(),
        "workers": config.workers, "writers": config.writers,
    }  # fmt: skip


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid need not have a name
        return str(os.getuid())


def report_tail(
    config: Config, inputs: Sequence[Mapping[str, Any]], counters: Mapping[str, int], seconds: float
) -> bytes:
    """The document behind its last row."""
    totals = {name: counters[name] for name in ("packets", "connections", "streams")}
    return tail(Outcome(
        usage=_usage(seconds), options=options_of(config),
        inputs=[_input(str(path), facts) for path, facts in zip(config.inputs, inputs, strict=True)],
        totals=totals, counters=counters,
        processes={"workers": config.workers, "writers": config.writers, "output": str(config.output.resolve())},
    ))  # fmt: skip


def _input(name: str, facts: Mapping[str, Any]) -> Input:
    faults = [(offset, length, problem) for offset, problem, length in facts["faults"]]
    return Input(
        name, facts["size"], facts["bytes"], facts["format"], facts["packets"], faults, facts["more_faults"]
    )  # fmt: skip


def options_of(config: Config) -> dict[str, str | int | bool | None]:
    """What the run was asked to do; what is None is not said, as are all words on analysis where there was none."""
    limits, analysis = config.limits, config.analyze or bool(config.extract)
    return {
        "expression": config.expression or None,
        "name_format": config.name_format,
        "name_timestamp": config.name_timestamp,
        "md5": config.md5,
        "overlap": config.overlap,
        "append": config.append,
        "verify_checksums": config.verify_checksums,
        "packet_map": config.packet_map,
        "manifest": config.manifest or None,
        "ignore_vlan": config.ignore_vlan,
        "start_ns": config.start_ns,
        "end_ns": config.end_ns,
        "strict": config.strict,
        "stream_bytes": limits.stream_bytes,
        "analyze": config.analyze or None,
        "extract": " ".join(config.extract) or None,
        "decoded_bytes": limits.decoded_bytes if analysis else None,
        "decoded_ratio": limits.decoded_ratio if analysis else None,
        "hash_key": f"{config.hash_key:#x}",
        **_live_options(config),
    }


def _live_options(config: Config) -> dict[str, str | int | bool | None]:
    """What was asked for of a live capture; the interfaces are the input."""
    live = config.live
    if live is None:
        return {}
    return {
        "snap_length": live.snap_length, "buffer_bytes": live.buffer_bytes, "promiscuous": live.promiscuous,
        "direction": live.direction, "duration": live.duration, "most_packets": live.packets,
        "most_bytes": live.bytes,
        **({} if live.keep is None else {"keep_packets": str(live.keep.folder), "keep_run": live.keep.run}),
    }  # fmt: skip


def _usage(seconds: float) -> Usage:
    """This process and those of its children that have ended."""
    one, rest = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return Usage(
        utime=one.ru_utime + rest.ru_utime, stime=one.ru_stime + rest.ru_stime,
        maxrss=max(one.ru_maxrss, rest.ru_maxrss), minflt=one.ru_minflt + rest.ru_minflt,
        majflt=one.ru_majflt + rest.ru_majflt, nswap=0, inblock=one.ru_inblock + rest.ru_inblock,
        oublock=one.ru_oublock + rest.ru_oublock, clocktime=seconds,
    )  # fmt: skip
