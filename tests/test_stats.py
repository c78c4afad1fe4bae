"""The accounting identity: every line holds for sound counters and breaks when one of them is off by one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

import pytest

from pipeline.decode.reasons import Reason
from pipeline.stats import added, broken, summary

Counters = tuple[Counter[str], Counter[str], Counter[str]]

LINES = {
    "packets read": ["0.read", "0.reason.*"],
    "packets handed over by the kernel = read + dropped": [
        "0.handed", "0.read", "0.dropped.spool", "0.dropped.unfinished",
    ],
    "sharded = delivered": ["0.reason.tcp", "1.delivered"],
    "delivered = without payload + with payload": ["1.delivered", "1.no_payload", "1.payload_segments"],
    "delivered = packets of all connections": ["1.delivered", "1.packets"],
    "payload seen": [
        "1.seen", "1.written", "2.duplicate", "2.conflicting", "1.beyond", "1.outside", "1.not_data", "1.refused",
    ],
    "overlaps offered": ["1.overlap", "2.duplicate", "2.conflicting"],
    "bytes accepted = bytes in the report's runs": ["1.written", "2.run_bytes"],
    "streams opened": ["1.streams", "2.rows"],
    "bytes accepted = bytes written": ["1.written", "2.data_bytes"],
    "one: bytes": ["2.analysis.one.seen", "2.one.head", "2.one.rest"],
    "two: bytes": ["2.analysis.two.seen", "2.two.head", "2.two.rest"],
}  # fmt: skip
"""The beginning of each line, and the counters on it: which stage's, and its name."""


@pytest.fixture(autouse=True)
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two protocols, whatever protocols there are."""
    monkeypatch.setattr("pipeline.stats.accounts_of", lambda _: ("head", "rest"))


def sound() -> Counters:
    """Counters of a run in which everything happened, each with a number of its own."""
    capture = Counter({f"reason.{reason.label}": 3 * i + 1 for i, reason in enumerate(Reason)})
    capture["reason.tcp"] = 5000
    capture["read"] = capture.total()
    capture |= {"dropped.spool": 13, "dropped.unfinished": 17, "handed": capture["read"] + 30}  # of a live capture
    worker = Counter({
        "delivered": 5000, "no_payload": 1800, "payload_segments": 3200, "packets": 5000, "streams": 77,
        "written": 900_000, "overlap": 41, "beyond": 700, "outside": 60, "not_data": 5, "refused": 4,
        "connections": 50, "connections_with_payload": 40, "limit.hole_bytes": 1, "limit.ranges": 2,
        "limit.connections": 3,
    })  # fmt: skip
    writer = Counter({
        "data_bytes": 900_000, "run_bytes": 900_000, "duplicate": 30, "conflicting": 11, "conflicts": 6,
        "gaps": 8, "gap_bytes": 9, "files": 78, "rows": 77, "analysis.one.seen": 50, "one.head": 30, "one.rest": 20,
        "analysis.two.seen": 7, "two.rest": 7, "two.questions": 3, "found.files": 2, "two.nothing": 0,
        "limit.ranges": 40,
    })  # fmt: skip
    worker["seen"] = 900_000 + 41 + 700 + 60 + 5 + 4
    return capture, worker, writer


def counters_of_line(line: str) -> list[tuple[int, str]]:
    found = []
    for told in LINES[line]:
        stage, name = int(told[0]), told[2:]
        names = [f"reason.{reason.label}" for reason in Reason] if name == "reason.*" else [name]
        found += [(stage, each) for each in names]
    return found


CASES = [(line, stage, name) for line in LINES for stage, name in counters_of_line(line)]


def test_sound_counters_break_no_line() -> None:
    """All is well: no words. So it is for a run that read nothing at all."""
    assert broken(*sound()) == []
    assert broken(Counter(), Counter(), Counter()) == []


@pytest.mark.parametrize("by", [1, -1])
@pytest.mark.parametrize(("line", "stage", "name"), CASES)
def test_a_counter_that_is_off_breaks_its_lines(line: str, stage: int, name: str, by: int) -> None:
    """One byte or packet more or less anywhere is noticed, on the lines where that counter stands and no others."""
    counters = sound()
    counters[stage][name] += by
    said = broken(*counters)
    expected = {other for other, s, n in CASES if (s, n) == (stage, name)}
    assert {other for other in LINES if any(text.startswith(other) for text in said)} == expected
    assert len(said) == len(expected)
    assert line in expected


def test_both_sides_are_told() -> None:
    """A line that does not hold says its two numbers."""
    counters = sound()
    counters[2]["rows"] = 76
    assert broken(*counters) == ["streams opened = rows of the report + lost with a writer: 77 is not 76"]


def test_bytes_moved_beyond_the_limit_were_written_all_the_same() -> None:
    """Where a start that moved down pushed bytes beyond -C, more was written than counts; all else still holds."""
    capture, worker, writer = sound()
    worker["moved_beyond"] = 10
    writer["data_bytes"] += 10
    assert broken(capture, worker, writer) == []
    writer["run_bytes"] += 1
    assert len(broken(capture, worker, writer)) == 1


def test_what_was_found_is_told() -> None:
    """By name, whatever order it was counted in; what is 0 is not told, nor what only the identity needs."""
    told = summary(*sound(), 0)
    found = {name: count for name, count in told.items() if name.startswith(("one.", "two.", "found.", "analysis."))}
    expected = {"found.files": 2, "one.head": 30, "one.rest": 20, "two.questions": 3, "two.rest": 7}
    assert list(found.items()) == list(expected.items())


def test_counters_of_several_processes_add_up() -> None:
    """What one process did not count is nothing."""
    assert added([{"a": 1, "b": 2}, {"a": 3}, {}]) == {"a": 4, "b": 2}
    assert added([]) == {}
    parts: list[Mapping[str, int]] = [{"rows": -1}, {"rows": 1}]
    assert added(parts)["rows"] == 0


def test_the_summary_names_every_reason_and_mixes_nothing_up() -> None:
    """Counters with numbers of their own come out under their names; a segment is not 'unprocessed'.

    A limit that both workers and writers keep to is one counter.
    """
    capture, worker, writer = sound()
    told = summary(capture, worker, writer, 123_456)
    assert told["packets"] == capture["read"]
    assert told["bytes.input"] == 123_456
    for reason in Reason:
        name = f"unprocessed.{reason.label}"
        taken = reason in (Reason.TCP, Reason.FRAGMENT_MERGED)
        assert told.get(name) == (None if taken else capture[f"reason.{reason.label}"])
    assert told["packets.merged"] == capture["reason.fragment_merged"]
    assert {
        "bytes.written": worker["written"], "bytes.payload": worker["seen"], "bytes.duplicate": 30,
        "bytes.conflicting": 11, "bytes.beyond": 700, "bytes.outside": 60, "bytes.not_data": 5, "bytes.refused": 4,
        "bytes.gaps": 9, "gaps": 8, "conflicts": 6, "files": 78, "streams": 77, "connections": 50,
        "connections.payload": 40, "packets.tcp": 5000, "packets.payload": 3200, "limit.hole_bytes": 1,
        "limit.ranges": 42, "limit.connections": 3,
    }.items() <= told.items()  # fmt: skip
    payload = ("written", "duplicate", "conflicting", "beyond", "outside", "not_data", "refused")
    assert told["bytes.payload"] == sum(told[f"bytes.{part}"] for part in payload)


def test_every_line_is_tried() -> None:
    """The table above has a line for each that the code checks."""
    counters = sound()
    for i, (stage, name) in enumerate(itertools.chain.from_iterable(map(counters_of_line, LINES))):
        counters[stage][name] += 3**i  # no two sums of these are the same
    counters[0]["read"] += 1 << 40
    worker = counters[1]
    for i, name in enumerate(worker):
        worker[name] += 1 << (41 + i)
    assert len(broken(*counters)) == len(LINES)
