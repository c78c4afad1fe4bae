"""What objects.jsonl says of an object."""

from __future__ import annotations

import re

from pipeline.writer.findings import records
from tests.writer.shelved import START, Bench, Conversation
from workers.analyzers.seam import Entity, Exchange, Moment
from workers.contract import Completeness


def test_every_key_is_in_every_record_and_in_the_docstring(bench: Bench) -> None:
    """Of an object of which all is known, and of one of which nothing is."""
    bench.tell(b"{}", facts={"disposition": "attachment", "declared_type": "x/y"})
    host = bench.host(Conversation(18))
    content = host.begin(Entity(0, "HTTPBODY", 0))
    content.hole(5)
    content.end(5, Completeness.OPEN, {})
    host.close()
    known, unknown = bench.record(2), bench.record(1, 18)
    described = re.findall(r"^    (\w+(?: \w+)*)  ", records.__doc__ or "", re.MULTILINE)
    assert list(known) == list(unknown)
    assert sorted(known) == sorted(" ".join(described).split())
    assert (unknown["completeness"], unknown["facts"]) == (["open", "gaps"], {})
    assert [key for key, value in unknown.items() if value is not None] == [
        "id", "n", "protocol", "src", "sport", "dst", "dport", "size", "codings", "stream", "offset", "length",
        "packet", "completeness", "facts",
    ]  # fmt: skip


def test_facts_stand_at_their_keys_or_among_the_others(bench: Bench) -> None:
    """Those of the exchange, and those of the content; unknown ones are left out of the others."""
    host = bench.host()
    content = host.begin(Entity(1, "HTTPBODY", 250, 4, (), "text/css", "a.css"))
    content.data(b"* {}")
    content.end(254, Completeness(0), {"role": "response", "disposition": "inline", "declared_length": 4})
    began = Moment(1, START + 1, 1), Moment(3, START + 1_500_000_000, 3)
    facts = {
        "method": "GET",
        "url": "http://h/",
        "status": 206,
        "content_range": "bytes 0-3/9",
        "server": "s",
        "a": None,
    }
    host.exchange(Exchange(facts, contents=(content,), began=began, side=0))
    record = bench.record(2)
    assert (record["role"], record["method"], record["status"], record["content_range"]) == (
        "response", "GET", 206, "bytes 0-3/9",
    )  # fmt: skip
    assert record["facts"] == {"server": "s", "declared_length": 4}
    assert (record["request_time"], record["response_time"]) == (
        "2020-09-13T12:26:40.000000001Z", "2020-09-13T12:26:41.500000000Z",
    )  # fmt: skip
    assert (record["src"], record["sport"], record["stream"], record["packet"]) == ("10.0.0.2", 80, "answers", 6)


def test_a_time_that_is_none() -> None:
    """A packet can say anything."""
    assert records._time(Moment(1, 1 << 70, 1)) is None
    assert records._time(Moment(1, -1, 1)) == "1969-12-31T23:59:59.999999999Z"
