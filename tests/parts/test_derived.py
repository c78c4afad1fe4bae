"""What is found in streams (-a, -e) over parts: each file is in one part, with its row and its record."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.build import EPOCH_NS, Conversation, Packet, in_turns, pcap_bytes
from tests.forms import crossed, run_fed
from tests.parts.days import PART_BYTES, SECOND, parts, rotated
from tests.runs import counters, report_of

LIST = "objects.jsonl"
BODY = bytes(range(256)) * 400


def exchanges(connection: int, count: int) -> list[Packet]:
    """A connection with so many requests, all of them far apart in time."""
    talk = Conversation(client=("10.0.0.1", 40_000 + connection), start_ns=EPOCH_NS + connection * SECOND)
    made = talk.open()
    for n in range(count):
        made += talk.say(0, b"GET /%d-%d HTTP/1.1\r\nHost: example.test\r\n\r\n" % (connection, n))
        body = b"%d-%d " % (connection, n) + BODY
        made += talk.say(1, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        talk.now_ns += 50 * SECOND
    return [*made, *talk.finish()]


@pytest.mark.parametrize("workers", crossed([(2,)], [0, 2]))
def test_derived_files_are_where_they_were_complete(tmp_path: Path, workers: int) -> None:
    """Bodies and objects of a connection that goes on over parts lie in these; together they are those of one run."""
    packets = in_turns(*(exchanges(n, 12) for n in range(4)))
    words = ("-a", "-e", "http", "--workers", workers)
    whole = tmp_path / "whole"
    assert run_fed(pcap_bytes(packets, nanoseconds=True), "-r", "-", "-o", whole, "-md5", *words).status == 0
    found = parts(rotated(tmp_path, packets, *words)[0], LIST)
    assert sum(bool(part.files) for part in found) > 3
    named = [{file.tags["filename"] for file in part.report.files} for part in found]
    assert [name for part in named for name in part if "objects/" in name] != []
    for part, names in zip(found, named, strict=True):
        assert names == part.files.keys()
    bodies = [data for part in found for name, data in part.files.items() if name.startswith("objects/")]
    assert Counter(bodies) == Counter(path.read_bytes() for path in (whole / "objects").iterdir())
    told = [line for part in found for line in map(json.loads, (part.path / LIST).read_text().splitlines())]
    expected = list(map(json.loads, (whole / LIST).read_text().splitlines()))
    key = lambda record: (record["id"], record["n"])  # noqa: E731
    assert sorted(told, key=key) == expected
    for part in found:
        for record in map(json.loads, (part.path / LIST).read_text().splitlines()):
            assert (part.path / record["file"]).is_file()
    total: Counter[str] = Counter(itertools.chain())
    for part in found:
        total.update(counters(part.report))
    assert total == Counter(counters(report_of(whole)))
    assert sum(map(len, bodies)) > PART_BYTES
