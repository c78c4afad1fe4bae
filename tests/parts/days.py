"""Traffic of a long time in few packets, and what a run in parts has left of it.

Knows: how streams end while the traffic goes on, what a folder of parts looks like.
Does not know: where a part should end.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.build import EPOCH_NS, Conversation, Packet, in_turns, pcap_bytes
from tests.forms import run_fed
from tests.report.reader import Report
from tests.runs import REPORT, Finished, files, flows, report_of

SECOND = 1_000_000_000
MARKER = "flowshard.part"
PART_BYTES = 1 << 20


@cache
def traffic(connections: int = 60, *, size: int = 60_000, tuples: int = 7, seed: int = 1) -> list[Packet]:
    """Connections of few tuples, one begun each 100 s of packet time; some take long, some never end."""
    rng = random.Random(seed)
    made = []
    for n in range(connections):
        talk = Conversation(
            client=("10.0.0.1", 40_000 + n % tuples), isn=(rng.randrange(1 << 32), rng.randrange(1 << 32)),
            start_ns=EPOCH_NS + 100 * n * SECOND, step_ns=(SECOND, 50_000_000)[n % 5 > 0], mss=5_000,
        )  # fmt: skip
        turns = [(rng.randrange(2), rng.randbytes(rng.randrange(1, size))) for _ in range(3)]
        made.append(talk.packets(turns)[: None if n % 4 else -3])
    return in_turns(*made)


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it lies on disk."""

    path: Path
    report: Report
    files: dict[str, bytes]
    """Of streams and what was derived of them; names with their folders."""


def parts(output: Path, *besides: str) -> list[Part]:
    """All parts, which are complete, in their order; nothing else is in the folder. ``besides``: names of lists."""
    found = []
    for path in sorted(output.iterdir()):
        assert path.name.startswith("part-"), path
        held = dict(everything(path))
        for name in (REPORT, MARKER, *besides):
            del held[name]
        found.append(Part(path, report_of(path), held))
    return found


def everything(folder: Path, above: str = "") -> Iterator[tuple[str, bytes]]:
    """All files in a folder, and in those below."""
    for name, data in files(folder).items():
        if name.endswith("/"):
            yield from everything(folder / name, above + name)
        else:
            yield above + name, data


def rotated(folder: Path, packets: list[Packet], *words: object, name: str = "parts") -> tuple[Path, Finished]:
    """A run in parts of PART_BYTES on a pipe, which ends well."""
    done = run_fed(
        pcap_bytes(packets, nanoseconds=True), "-r", "-", "-o", folder / name, "-md5", "--rotate", PART_BYTES, *words
    )
    assert done.status == 0, done.err
    return folder / name, done


def rows(report: Report) -> dict[str, tuple[object, ...]]:
    """What a report says of each stream, by its id, but for the names of its files."""
    told = {}
    for file, flow in flows(report):
        runs = [tuple(sorted(run.items())) for run in file.runs]
        told[file.tags["id"]] = (file.tags["filesize"], file.hashes, runs, tuple(sorted(flow.items())))
    return told
