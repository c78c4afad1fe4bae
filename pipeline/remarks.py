"""What an analyst is told beside the result: damage, inputs left out, a disk that is too small, why nothing came out.

Knows: which outcomes are no fault and yet hardly what was wanted, their usual causes, what to try.
Does not know: how anything was counted, where remarks go.
Invariant: a remark says what was found and what to try, and changes nothing; a run that did what it was asked
to do gets none.

Each is a message and a hint, as ``console.warning`` takes them. numpy and the decoder are imported only to
find out why a filter matched nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pipeline.config import STDIN, Config
from pipeline.inputs import Found

if TYPE_CHECKING:
    from pipeline.source.records import Fault, Records
    from workers.contract import U8

Remark: TypeAlias = tuple[str, str]

FirstBatch: TypeAlias = "Callable[[], tuple[U8, Records] | None]"
"""Gives the first packets of a capture and the bytes that they lie in; None when there are none to be had."""

MANY_FILES: Final = 1_000_000
"""Beyond this many in one folder, listing and opening them is slow with every file system."""

FAULTS_TOLD: Final = 3
"""Of each input. The report has all."""

RENAMED_TOLD: Final = 3
"""Names that foreign files had taken."""

_LINES: Final = 8
"""Of all inputs together, behind the first one; two more say how many others there are."""

FILTERED: Final = "unprocessed.filtered"
OUTSIDE_TIME: Final = "unprocessed.outside_time"
_UNPROCESSED: Final = "unprocessed."

UNKNOWN: Final = "unknown"
"""Format of an input that was not begun."""

_IN_OBJECTS: Final = ("object", "part", "coded")
"""Kinds of files (report/derived.py) that lie in a folder of their own, all of them together."""

_NOT_DECODED: Final = {
    "fragment_held": "IP fragments whose others are not in the capture yield nothing",
    "other_transport_protocol": "of tunnels behind IP, those that are encrypted (ESP) cannot be opened",
    "other_network_protocol": "of what can stand before IP, MPLS, PPPoE and VLAN tags are opened, others are not",
    "too_deep": "packets with more than eight encapsulations are not opened",
    "unknown_link_type": "the capture's link type is not known; if it is wrong, editcap -T sets another",
}
"""Where TCP can be inside. Named whenever met."""

_SNAPPED: Final = "the capture holds cut headers: capture with a larger snap length (tcpdump -s 0)"
_ODD: Final = "the headers make no sense: perhaps the link type is wrong, and editcap -T sets another"

_USUAL: Final = {
    "udp": "only TCP becomes streams; tunnels in UDP (VXLAN, GENEVE, GTP, Teredo) are opened on their usual ports",
    "frame_truncated": _SNAPPED,
    "ip_truncated": _SNAPPED,
    "tcp_truncated": _SNAPPED,
    "ip_bad_header": _ODD,
    "tcp_bad_offset": _ODD,
}
"""Named when it is the most frequent reason."""


def of_inputs(found: Found) -> list[Remark]:
    """What ``-r`` named and is not read, or not twice."""
    remarks = []
    if found.skipped:
        first, more = found.skipped[0], len(found.skipped) - 1
        what = f"{first} is no capture and was left out"
        if more:
            what = f"{more + 1:,} files are no captures and were left out, the first of them {first}"
        remarks.append((what, "a file that -r names itself is tried all the same"))
    if found.doubled:
        first, more = found.doubled[0], len(found.doubled) - 1
        also = f", and so {'are' if more > 1 else 'is'} {_others(more)}" if more else ""
        remarks.append((f"{first} is given more than once{also}", "it is read once"))
    return remarks


def before(config: Config, size: int | None, packed: int = 0) -> list[Remark]:
    """What there is to say before a run.

    ``size``: bytes of the inputs on disk, None when something is piped; ``packed``: how many of them are
    compressed.
    """
    if config.console:
        if config.output == Path():
            return []
        return [(f"-c prints the streams: no stream file is written into {config.output}", "for files, leave -c away")]
    free = _free(config.output)
    shared = _of_others(config.output)
    if size is None or free is None or size <= free:
        return shared
    least = "at least " if packed else ""
    return [*shared, (
        f"{config.output}: {free:,} bytes are free there, and the captures hold {least}{size:,}",
        "make room, choose another folder with -o, or want less: -C, a filter expression, --start and --end",
    )]  # fmt: skip


def _of_others(folder: Path) -> list[Remark]:
    """A folder in which others may remove and replace what we write: neither are followed, but nothing is certain."""
    try:
        mode = folder.stat().st_mode
    except OSError:  # it is not there yet, or whoever uses it will tell
        return []
    if not mode & (stat.S_IWGRP | stat.S_IWOTH) or mode & stat.S_ISVTX:
        return []
    whom = "everybody" if mode & stat.S_IWOTH else "its group"
    return [(f"{folder}: {whom} may replace files there", f"take that right away: chmod go-w {folder}")]


def of_renamed(renamed: Sequence[tuple[str, ...]]) -> list[Remark]:
    """The first files of others that had taken a name of ours, and how many more there were."""
    pairs = list(dict.fromkeys(renamed))
    remarks = [
        (f"{wanted} is taken by a file of somebody else's", f"what belongs there is in {given}")
        for wanted, given in pairs[:RENAMED_TOLD]
    ]
    if len(pairs) > RENAMED_TOLD:
        from pipeline.tree import MOST_RENAMED

        least = "at least " if len(pairs) >= MOST_RENAMED else ""
        hint = "their names have ~ behind, and the report has them: an empty folder is a better place"
        remarks.append((f"… and so are {least}{len(pairs) - RENAMED_TOLD:,} more names", hint))
    return remarks


def of_faults(config: Config, faults: Sequence[Fault]) -> list[tuple[str, str | None]]:
    """The first faults of the first inputs that have some, and how many more; a hint behind the last of each input."""
    of_input: dict[Path, list[Fault]] = {}
    for fault in faults:
        of_input.setdefault(fault.path, []).append(fault)
    remarks: list[tuple[str, str | None]] = []
    for told, (path, found) in enumerate(of_input.items()):
        more = _of_input(config, path, found)
        if told and len(remarks) + told + len(more) + 1 > _LINES:  # one of each input's is its hint
            others = len(of_input) - told
            what = "inputs are" if others > 1 else "input is"
            remarks.append((f"… and {others:,} more {what} damaged", "the report has all of them"))
            break
        remarks += more
    return remarks


def _of_input(config: Config, path: Path, found: Sequence[Fault]) -> list[tuple[str, str | None]]:
    name = "standard input" if path == STDIN else str(path)
    lines = [f"{name}: {fault.problem}{_place(fault)}" for fault in found[:FAULTS_TOLD]]
    if len(found) > FAULTS_TOLD:
        lines.append(f"… and {_more_faults(len(found))} in {name}")
    return [*((line, None) for line in lines[:-1]), (lines[-1], _what_was_read(config, found))]


def _more_faults(count: int) -> str:
    from pipeline.source.records import MOST_FAULTS  # a run has it by now

    more = count - FAULTS_TOLD
    return f"{'at least ' if count >= MOST_FAULTS else ''}{more:,} more fault{'s' if more > 1 else ''}"


def _place(fault: Fault) -> str:
    if not fault.offset and not fault.length:
        return ""
    skipped = f", {fault.length:,} bytes skipped" if fault.length else ""
    return f" (at byte {fault.offset:,}{skipped})"


def _what_was_read(config: Config, found: Sequence[Fault]) -> str:
    from pipeline.source.records import CUT_OFF  # a run has it by now

    if config.strict and found[-1].length:
        return "everything before it was processed; --strict stops there"
    if any(fault.length for fault in found[:-1]) or (found[-1].length and not found[-1].problem.startswith(CUT_OFF)):
        return "the rest was processed"
    if found[-1].offset:
        return "everything before it was processed"
    return "the other inputs were processed" if len(config.inputs) > 1 else "there was nothing to process"


def _free(folder: Path) -> int | None:
    """Bytes that may still be written below ``folder``, which need not be there yet; None: not known."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        found = os.statvfs(there)
    except OSError:  # whoever writes there will tell
        return None
    return found.f_bavail * found.f_frsize


def after(
    config: Config,
    counters: Mapping[str, int],
    facts: Sequence[Mapping[str, Any]],
    first_batch: FirstBatch | None = None,
) -> list[Remark]:
    """What there is to say of a run that ended well and may have found nothing.

    ``counters`` as ``stats.summary`` has them, and ``time.first`` and ``time.last`` (ns) if known; ``facts``
    as ``capture.describe`` makes them, one an input. ``first_batch`` is asked only when the filter took nothing.
    """
    remarks: list[Remark] = []
    if counters.get("write_errors"):
        from pipeline.writer.failures import after as of_failures

        remarks.append(of_failures(config, counters))
    if config.live is not None:
        from pipeline.live.told import after as of_capturing

        remarks += of_capturing(config, counters)
    else:
        remarks += _empty_captures(config, facts)
    packets, outside = counters.get("packets", 0), counters.get(OUTSIDE_TIME, 0)
    if packets and packets == counters.get(FILTERED, 0) + outside:
        if _time_took_all(config, counters):
            remarks.append(_nothing_in_time(config, counters))
        else:
            remarks.append(_nothing_matched(config, counters, first_batch))
    elif packets and not counters.get("packets.tcp"):
        remarks.append(_no_tcp(config, counters))
    elif packets and not counters.get("bytes.payload"):
        remarks.append(_no_payload(config, counters))
    if config.protocols and counters.get("streams"):
        remarks += _not_found(config, counters)
    beside = counters.get("found.files", 0) - sum(counters.get(f"found.files.{kind}", 0) for kind in _IN_OBJECTS)
    files = counters.get("files", 0) + beside
    if files > MANY_FILES and not config.console and "/" not in (config.name_format or ""):
        remarks.append((
            f"{files:,} files lie in one folder, {config.output}",
            "a / in -F spreads them over folders: -F %A/%a-%B.%b",
        ))  # fmt: skip
    return remarks


def _not_found(config: Config, counters: Mapping[str, int]) -> list[Remark]:
    """Streams in which nothing was found: if that is all of them, or if they are not printed for it."""
    what, streams = " or ".join(config.protocols), counters["streams"]
    if config.console:
        missing = streams - counters.get("shown.streams", 0)
        told = f"{missing:,} of {streams:,} streams hold no {what} and were not printed"
        return [(told, "-c without -a prints all streams")] if missing else []
    if any(count for name, count in counters.items() if name.partition(".")[0] in config.protocols):
        if not config.extract or counters.get("found.files.object"):
            return []
        heads = "" if config.analyze else "; -a writes their heads"
        what = " or ".join(config.extract)
        return [(f"no object of {what} in {streams:,} streams", f"messages without a body have none{heads}")]
    hint = "what is encrypted (TLS) cannot be read; a protocol is told by its first bytes, whatever the port"
    return [(f"no {what} in {streams:,} streams", hint)]


def _empty_captures(config: Config, facts: Sequence[Mapping[str, Any]]) -> list[Remark]:
    """Captures without a packet. One that is damaged, or no capture at all, is told as a fault."""
    empty = [
        path
        for path, each in zip(config.inputs, facts, strict=True)
        if not each["packets"] and not each["faults"] and each["format"] != UNKNOWN
    ]
    if not empty:
        return []
    hint = "a capture just begun, or one whose filter took nothing, looks like this"
    if len(empty) == 1:
        return [(f"{empty[0]} is a capture without packets", hint)]
    return [(f"{len(empty):,} captures hold no packets, the first of them {empty[0]}", hint)]


def _time_took_all(config: Config, counters: Mapping[str, int]) -> bool:
    """Whether it is for --start and --end that no packet was left."""
    if config.start_ns is None and config.end_ns is None:
        return False
    first, last = counters.get("time.first"), counters.get("time.last")
    apart = False
    if first is not None and last is not None:
        apart = (config.start_ns or first) > last or (config.end_ns is not None and config.end_ns <= first)
    return apart or not config.expression or counters.get(OUTSIDE_TIME, 0) == counters["packets"]


def _range(config: Config) -> str:
    parts = []
    if config.start_ns is not None:
        parts.append(f"from {time_text(config.start_ns)} on")
    if config.end_ns is not None:
        parts.append(f"before {time_text(config.end_ns)}")
    return " and ".join(parts)


def _nothing_in_time(config: Config, counters: Mapping[str, int]) -> Remark:
    found = f"no packet is {_range(config)}"
    first, last = counters.get("time.first"), counters.get("time.last")
    zone = "a time without a zone is UTC; +02:00 behind it says otherwise"
    if first is None or last is None:
        return found, f"try another --start and --end: {zone}"
    return f"{found}: the {counters['packets']:,} there are go from {time_text(first)} to {time_text(last)}", zone


def time_text(ns: int) -> str:
    """A time as ``--start`` takes it, exactly."""
    from datetime import UTC, datetime, timedelta

    seconds, fraction = divmod(ns, 1_000_000_000)
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{fraction:09}".rstrip("0") if fraction else "") + "Z"


def _nothing_matched(config: Config, counters: Mapping[str, int], first_batch: FirstBatch | None) -> Remark:
    within = _range(config)
    which = f"no packet {within}" if within else f"none of {counters['packets']:,} packets"
    found = f"{which} matches the filter '{config.expression}'"
    batch = first_batch() if first_batch is not None else None
    if batch is None:
        return found, "run without the filter to see what is there; for packets with VLAN tags say 'vlan and (...)'"
    return found, why_unmatched(config.expression, *batch)


def why_unmatched(expression: str, slab: U8, records: Records) -> str:
    """Why the filter took none of these packets, as a hint: VLAN tags, tunnels, or other addresses.

    Behind a VLAN tag all offsets of a filter are wrong unless it says ``vlan`` (pcap-filter(7)).
    """
    from pipeline.decode.filter import Filter
    from pipeline.decode.kernels import decode
    from pipeline.decode.reasons import Reason

    total = len(records.start)
    if not re.search(r"\bvlan\b", expression):
        for tags in ("vlan", "vlan and vlan"):
            tagged = f"{tags} and ({expression})"
            matched = int(Filter(tagged).keep(slab, records).sum())
            if matched:
                return f"the packets have VLAN tags: '{tagged}' matches {matched:,} of the first {total:,}"
    reasons = decode(slab, records).reason.tolist()
    told = [f"{reasons.count(Reason.TCP):,} of the first {total:,} packets are TCP"]
    told += [
        f"{reasons.count(reason):,} are {_spaced(reason.label)}, which a filter does not look into"
        for reason in (Reason.FRAGMENT, Reason.OTHER_TRANSPORT_PROTOCOL, Reason.OTHER_NETWORK_PROTOCOL)
        if reasons.count(reason) > total // 4
    ]
    return ", ".join(told) + ": check the addresses and ports, or run without the filter"


def _spaced(label: str) -> str:
    return label.replace("_", " ")


def _others(count: int) -> str:
    return f"{count:,} other{'s' if count > 1 else ''}"


def _no_tcp(config: Config, counters: Mapping[str, int]) -> Remark:
    """Packets, none of them TCP: what they are, the most frequent first, and what TCP could hide in."""
    reasons = {
        name.removeprefix(_UNPROCESSED): count
        for name, count in counters.items()
        if count and name.startswith(_UNPROCESSED) and name not in (FILTERED, OUTSIDE_TIME)
    }
    ordered = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
    listed = [f"{reasons[reason]:,} {_spaced(reason)}" for reason in ordered[:4]]
    listed += [_others(sum(reasons[reason] for reason in ordered[4:]))] if ordered[4:] else []
    hints = [_USUAL[reason] for reason in ordered[:1] if reason in _USUAL]
    hints += [_NOT_DECODED[reason] for reason in ordered if reason in _NOT_DECODED]
    if not hints:
        hints = ["only TCP becomes streams"]
    if config.unprocessed is None:
        hints.append("-w FILE keeps these packets")
    return f"no TCP among {sum(reasons.values()):,} packets: {', '.join(listed)}", "; ".join(hints)


def _no_payload(config: Config, counters: Mapping[str, int]) -> Remark:
    """TCP without a byte of payload: the connections carried none, or the capture has none of it."""
    tcp = f"{counters['packets.tcp']:,} TCP packets in {counters.get('connections', 0):,} connections"
    if counters.get("packets.payload"):
        return f"{tcp}, and the snap length has cut all payload off", "capture with a larger one (tcpdump -s 0)"
    lists = "--flows FILE lists the connections" if config.flows is None else f"{config.flows} lists the connections"
    return f"{tcp}, and none carries payload", f"scans and refused connections look like this; {lists}"
