"""Counters of all stages, and the accounting identity over them.

Knows: which counts must add up. Does not know: how anything was counted.
Invariant: a run whose counts do not add up ends with exit status 70, whatever its output looks like.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pipeline.decode.reasons import Reason, group
from pipeline.errors import InternalError
from pipeline.source.records import Fault

_LIVE: Final = ("received", "unaccounted", "kept", "kept.bytes", "kept.files", "kept.removed")
_SEEN: Final = re.compile(r"analysis\.([^.]+)\.seen")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    status: int
    seconds: float
    faults: Sequence[Fault] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    inputs: Sequence[str] = ()  # a line each, for people


def added(parts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """The counters of several processes as one."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def checked(
    capture: Mapping[str, int], worker: Mapping[str, int], writer: Mapping[str, int], *, whole: bool = True,
    lost: Sequence[str] = (),
) -> None:  # fmt: skip
    """Raises InternalError unless the identity holds. Not ``whole``: between two cuts, with streams open at both.

    ``lost``: processes that died, and whose counters are not among these.
    """
    problems = broken(capture, worker, writer, whole=whole, lost=lost)
    if problems:
        raise InternalError(
            "the accounting does not add up: " + "; ".join(problems),
            "this is a defect of flowshard: please report it, with the capture if you can",
        )


def broken(
    capture: Mapping[str, int], worker: Mapping[str, int], writer: Mapping[str, int], *, whole: bool = True,
    lost: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """The lines of the identity that do not hold, in words; none when all is well."""
    if any(name.startswith("worker") for name in lost):
        lines = [*_of_packets(capture, worker), *_live_lines(capture), *_without_a_worker(writer)]
    else:
        lines = _at_any_cut(capture, worker, writer)
        if whole:
            lines += [*_live_lines(capture), *_at_the_end(worker, writer)]
    return [f"{what}: {one} is not {other}" for what, one, other in lines if one != other]


_Line: TypeAlias = tuple[str, int, int]
"""What is said, one side of it, the other side."""


def _at_any_cut(capture: Mapping[str, int], worker: Mapping[str, int], writer: Mapping[str, int]) -> list[_Line]:
    """What holds whenever all stages have done the same batches, whatever is open."""
    lines = [
        *_of_packets(capture, worker),
        (
            "streams opened = rows of the report + lost with a writer",
            worker["streams"], writer["rows"] + worker.get("lost.streams", 0),
        ),
        *_of_analyzers(writer),
    ]  # fmt: skip
    if "lost.bytes" not in worker or not worker["moved_beyond"]:  # which of these a dead writer had nobody knows
        lines.append((
            "bytes accepted = bytes in the report's runs + given up for want of room + lost with a writer",
            worker["written"],
            writer["run_bytes"] + writer["unwritten"] + worker.get("lost.bytes", 0),
        ))  # fmt: skip
    return lines


def _of_packets(capture: Mapping[str, int], worker: Mapping[str, int]) -> list[_Line]:
    """What was read, as far as the workers."""
    groups: Counter[str] = Counter()
    for reason in Reason:
        groups[group(reason)] += capture[f"reason.{reason.label}"]
    return [
        ("packets read = packets by reason", capture["read"], sum(groups.values())),
        (
            "sharded = delivered + done by a worker that died + lost with it",
            groups["sharded"],
            worker["delivered"] + capture.get("lost.done", 0) + capture.get("lost.packets", 0),
        ),
        (
            "delivered = without payload + with payload",
            worker["delivered"],
            worker["no_payload"] + worker["payload_segments"],
        ),
    ]


def _of_analyzers(writer: Mapping[str, int]) -> list[_Line]:
    """What was read of streams."""
    return [
        (
            f"{name}: bytes and gaps told to its analyzers = what these made of them",
            writer[f"analysis.{name}.seen"],
            sum(writer[f"{name}.{account}"] for account in accounts_of(name)),
        )
        for name in analyzed(writer)
    ]


def _without_a_worker(writer: Mapping[str, int]) -> list[_Line]:
    """What is left to check of bytes when a worker died: its account died with it, but what the writers wrote for it
    must be in the report all the same."""
    return [
        (
            "bytes written = bytes in the report's runs + cut off for want of room",
            writer["data_bytes"] + writer["skipped"], writer["run_bytes"] + writer["unwritten"],
        ),
        *_of_analyzers(writer),
    ]  # fmt: skip


def _at_the_end(worker: Mapping[str, int], writer: Mapping[str, int]) -> list[_Line]:
    """What holds when no stream is open: streams are counted when they are closed, their bytes when they come."""
    compared = writer["duplicate"] + writer["conflicting"] + writer["uncompared"] + worker.get("lost.overlap", 0)
    lines = [
        ("delivered = packets of all connections", worker["delivered"], worker["packets"]),
        (
            "payload seen = written + duplicate + conflicting + not compared + beyond + outside + no data + refused",
            worker["seen"],
            worker["written"] + compared + worker["beyond"]
            + worker["outside"] + worker["not_data"] + worker["refused"],
        ),
        ("overlaps offered = overlaps compared, or not for want of room", worker["overlap"], compared),
    ]  # fmt: skip
    if not worker["moved_beyond"]:
        lines.append((
            "bytes accepted = bytes written, or not for want of room, or lost with a writer",
            worker["written"], writer["data_bytes"] + writer["skipped"] + worker.get("lost.bytes", 0),
        ))  # fmt: skip
    return lines


def analyzed(writer: Mapping[str, int]) -> list[str]:
    """The protocols that streams were read by, by name."""
    return sorted(found[1] for name in writer if (found := _SEEN.fullmatch(name)))


def accounts_of(name: str) -> Sequence[str]:
    """The names under which a protocol's analyzers count every byte once."""
    from workers.analyzers.protocols import protocol  # only a run that analyzed comes here

    return protocol(name).accounts


def _live_lines(capture: Mapping[str, int]) -> list[_Line]:
    """What must add up besides when packets were captured live."""
    if "handed" not in capture:
        return []
    dropped = capture["dropped.spool"] + capture["dropped.unfinished"]
    lines = [("packets handed over by the kernel = read + dropped", capture["handed"], capture["read"] + dropped)]
    if "kept" in capture:
        lines.append(("packets read = kept + not kept", capture["read"], capture["kept"] + capture["dropped.keep"]))
    return lines


_TOLD: Final = ("link.", "dropped.", "write_errors.", "packets.unwritten")
"""Counters of what captures, told as they are."""

_LIMITS: Final = ("limit.hole_bytes", "limit.ranges", "limit.connections", "limit.half_open")


def summary(
    capture: Mapping[str, int], worker: Mapping[str, int], writer: Mapping[str, int], input_bytes: int
) -> dict[str, int]:
    """The counters that the terminal and the report show."""
    told = {
        "packets": capture["read"],
        "packets.tcp": worker["delivered"] + capture.get("lost.done", 0),
        "packets.payload": worker["payload_segments"],
        "packets.merged": capture[f"reason.{Reason.FRAGMENT_MERGED.label}"],
        "connections": worker["connections"],
        "connections.payload": worker["connections_with_payload"],
        "streams": writer["rows"],
        "files": writer["files"],
        "bytes.input": input_bytes,
        "bytes.payload": worker["seen"],
        "bytes.written": writer["run_bytes"],
        **_lost(capture, worker),
        **({"bytes.unwritten": unwritten} if (unwritten := writer["unwritten"] + writer["uncompared"]) else {}),
        "bytes.duplicate": writer["duplicate"],
        "bytes.conflicting": writer["conflicting"],
        "bytes.beyond": worker["beyond"],
        "bytes.outside": worker["outside"],
        "bytes.not_data": worker["not_data"],
        "bytes.refused": worker["refused"],
        "gaps": writer["gaps"],
        "bytes.gaps": writer["gap_bytes"],
        "conflicts": writer["conflicts"],
        **_failed(capture, writer),
        "fragments.datagrams": capture["fragments.datagrams"],
        "fragments.conflicts": capture["fragments.conflicts"],
        **{name: worker[name] for name in _LIMITS},
        **{
            f"unprocessed.{reason.label}": capture[f"reason.{reason.label}"]
            for reason in Reason
            if reason not in (Reason.TCP, Reason.FRAGMENT_MERGED)
        },
        **{name: count for name, count in capture.items() if name.startswith(_TOLD)},
        **{name: capture[name] for name in _LIVE if name in capture},
    }
    return told | {name: told.get(name, 0) + count for name, count in _found(writer)}


def _failed(capture: Mapping[str, int], writer: Mapping[str, int]) -> dict[str, int]:
    """Output that failed; nothing when none did."""
    count = capture.get("write_errors", 0) + writer["write_errors"]
    return {"write_errors": count} if count else {}


def _lost(capture: Mapping[str, int], worker: Mapping[str, int]) -> dict[str, int]:
    """What was counted when processes died; nothing when none did."""
    if "lost.packets" not in capture and "lost.streams" not in worker:
        return {}
    return {
        "lost_with_worker.packets": capture.get("lost.packets", 0),
        "lost_with_writer.bytes": worker.get("lost.bytes", 0),
        "lost_with_writer.streams": worker.get("lost.streams", 0),
    }


def _found(writer: Mapping[str, int]) -> list[tuple[str, int]]:
    """What was counted of what was found; the rest of a writer's counters has no dot in its name."""
    told = [name for name, count in writer.items() if "." in name and count and not _SEEN.fullmatch(name)]
    return [(name, writer[name]) for name in sorted(told)]
