"""Gaps, streams without their start, and which answer belongs to which request then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.analyzers.conversations import CHUNKED, chunked, chunks, get, head, ok
from tests.workers.analyzers.host import FakeHost, Side, run
from tests.workers.analyzers.test_http_outcomes import DAMAGED, OPEN, Case, length, status, tell
from workers.analyzers.protocols.http import PROTOCOL
from workers.limits import Limits


def packets(*items: tuple[int, bytes | int], midstream: bool = False) -> Side:
    """A side of which each item is (packet number, bytes or the size of a gap)."""
    begins, offset = [], 0
    for number, item in items:
        begins.append((offset, number))
        offset += item if isinstance(item, int) else len(item)
    return Side([item for _, item in items], midstream, packets=begins)


A, B, C = get("/a"), get("/b"), get("/c")
CHUNKY = status("200 OK", CHUNKED)
TURNS = packets((1, A), (3, B), (5, C))  # each request behind the answer to the one before

GAPS = [
    Case("H16 in a body", TURNS, packets((2, length(9) + b"abc"), (2, 3), (2, b"def"), (4, ok(b"b")), (6, ok(b"c"))),
         [("/a", 200, [b"abc", 3, b"def"]), ("/b", 200, b"b"), ("/c", 200, b"c")]),
    Case("H16 up to the end of a body", TURNS, packets((2, length(6) + b"abc"), (2, 3), (4, ok(b"b")), (6, ok(b"c"))),
         [("/a", 200, [b"abc", 3]), ("/b", 200, b"b"), ("/c", 200, b"c")]),
    Case("H16 all of a body", TURNS, packets((2, length(3)), (2, 3), (4, ok(b"b"))),
         [("/a", 200, 3), ("/b", 200, b"b"), ("/c", None)]),
    Case("H16 in a body until close", A, [status("200 OK") + b"abc", 3, b"def"], [("/a", 200, [b"abc", 3, b"def"])]),
    Case("in the data of a chunk", TURNS,
         packets((2, CHUNKY + b"9\r\nabc"), (2, 3), (2, b"def\r\n0\r\n\r\n"), (4, ok(b"b"))),
         [("/a", 200, [b"abc", 3, b"def"]), ("/b", 200, b"b"), ("/c", None)]),
    Case("from a chunk into the next", TURNS,
         packets((2, CHUNKY + b"5\r\nabc"), (2, 9), (2, b"ef\r\n0\r\n\r\n"), (4, ok(b"b"))),
         [("/a", 200, ([b"abc", 2], DAMAGED)), ("/b", 200, b"b"), ("/c", None)], {"skipped_bytes": 9}),
    Case("in the size of a chunk", TURNS,
         packets((2, CHUNKY + b"3\r\nabc\r\n1"), (2, 3), (2, b"def\r\n0\r\n\r\n"), (4, ok(b"b"))),
         [("/a", 200, (b"abc", DAMAGED)), ("/b", 200, b"b"), ("/c", None)]),
    Case("in trailers", TURNS, packets((2, CHUNKY + b"3\r\nabc\r\n0\r\nT:"), (2, 3), (2, b"v\r\n\r\n"), (4, ok(b"b"))),
         [("/a", 200, b"abc"), ("/b", 200, b"b"), ("/c", None)]),
    Case("H8 over an answer and beyond", TURNS, packets((2, length(9) + b"abc"), (4, 30), (4, b"lost"), (6, ok(b"c"))),
         [("/a", 200, [b"abc", 6]), ("/b", None), ("/c", 200, b"c")], {"skipped_bytes": 4}),
    Case("H8 over whole answers", TURNS, packets((2, 60), (4, b"lost"), (6, ok(b"c"))),
         [("/a", None), ("/b", None), ("/c", 200, b"c")]),
    Case("a message may begin anywhere behind a gap", TURNS, packets((2, 60), (6, b"lost" + ok(b"c"))),
         [("/a", None), ("/b", None), ("/c", 200, b"c")]),
    Case("in a head, behind its first line", TURNS,
         packets((2, b"HTTP/1.1 200 OK\r\nX: y"), (2, 9), (2, b"z\r\n\r\nabc"), (4, ok(b"b"))),
         [("/a", 200), ("/b", 200, b"b"), ("/c", None)], {"anomaly.head_cut": 1}),
    Case("in a first line", TURNS, packets((2, b"HTTP/1.1 2"), (2, 9), (2, b"z\r\n\r\nabc"), (4, ok(b"b"))),
         [("/a", None), ("/b", 200, b"b"), ("/c", None)]),
    Case("in the head of a request", packets((1, A[:20]), (1, len(A) - 20), (3, B)),
         packets((2, ok(b"a")), (4, ok(b"b"))),
         [("/a", 200, b"a"), ("/b", 200, b"b")]),
    Case("over a request", packets((1, A), (3, len(B)), (5, C)), packets((2, ok(b"a")), (4, ok(b"b")), (6, ok(b"c"))),
         [("/a", 200, b"a"), (None, 200, b"b"), ("/c", 200, b"c")]),
    Case("a request that is not understood", packets((1, A), (3, b"GET /\x01b HTTP/1.1\r\n\r\n"), (5, C)),
         packets((2, ok(b"a")), (4, ok(b"b")), (6, ok(b"c"))),
         [("/a", 200, b"a"), (None, 200, b"b"), ("/c", 200, b"c")]),
    Case("an answer that is not understood", TURNS,
         packets((2, ok(b"a")), (4, b"\x01\x02 no status line\r\n\r\n"), (6, ok(b"c"))),
         [("/a", 200, b"a"), ("/b", None), ("/c", 200, b"c")]),
    Case("in the body of a request", [head("PUT /a HTTP/1.1", ("Content-Length", 6)) + b"ab", 4, B], ok() + ok(b"b"),
         [("/a", 200, [b"ab", 4]), ("/b", 200, b"b")]),
    Case("in a tunnel", [head("CONNECT h:1 HTTP/1.1") + b"..", 4, b".."], [status("200 OK"), 5, b".."], [("h:1", 200)],
         {"left_bytes": 6, "missing_bytes": 9}),
    Case("midstream, both", packets((2, b"en: x\r\n\r\n"), (5, C), midstream=True),
         packets((1, b"tail"), (3, ok(b"b")), (6, ok(b"c")), midstream=True),
         [(None, 200, b"b"), ("/c", 200, b"c")], {"skipped_bytes": 13}),
    Case("midstream, no message at all", Side([b"abc" * 99], midstream=True), Side([b"def"], midstream=True), [],
         {"skipped_bytes": 300}),
    Case("the end of the capture in a head", [A[:20]], [b"HTTP/1.1 200 OK\r\nX"], [("/a", 200)],
         {"anomaly.head_cut": 2}),
    Case("pipelined, one answer lost at its beginning", packets((1, A + B + C)),
         packets((2, ok(b"a")), (3, 9), (4, b"t" + ok(b"c"))),
         [("/a", 200, b"a"), ("/b", None), ("/c", 200, b"c")]),
    Case("pipelined, the end of an answer lost", packets((1, A + B + C)),
         packets((2, CHUNKY + b"3\r\nabc\r\n"), (3, 9), (4, ok(b"b") + ok(b"c"))),
         [("/a", 200, (b"abc", DAMAGED)), ("/b", 200, b"b"), ("/c", 200, b"c")]),
    Case("pipelining was seen before the gap", packets((1, A), (2, B), (5, C), (6, get("/d"))),
         packets((3, ok(b"a")), (4, 9), (7, ok(b"c") + ok(b"d"))),
         [("/a", 200, b"a"), ("/b", None), ("/c", 200, b"c"), ("/d", 200, b"d")]),
]  # fmt: skip


@pytest.mark.parametrize("case", GAPS, ids=lambda case: case.name)
@pytest.mark.parametrize("turned", [False, True], ids=["client first", "server first"])
def test_gap(case: Case, turned: bool) -> None:
    """A gap costs what lies in it and what cannot be framed without it; the next message is found and paired."""
    host = run(PROTOCOL, *([case.answer, case.ask] if turned else [case.ask, case.answer]))
    assert tell(host) == case.told
    both = host.counts[0] + host.counts[1]
    assert {name: both[name] for name in case.counts} == case.counts


@given(st.data())
def test_holes_lie_where_bytes_are_missing(data: st.DataObject) -> None:
    """Any gaps within bodies of known length are holes there, and change nothing else."""
    bodies = data.draw(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4))
    items: list[bytes | int] = []
    expected: list[Any] = []
    for body in bodies:
        low = data.draw(st.integers(0, len(body) - 1))
        high = data.draw(st.integers(low + 1, len(body)))
        items += [length(len(body)) + body[:low], high - low, body[high:]]
        parts = [part for part in (body[:low], high - low, body[high:]) if part]
        expected.append(("/a", 200, parts if len(parts) > 1 else parts[0]))
    host = run(PROTOCOL, get("/a") * len(bodies), [item for item in items if item])
    assert tell(host) == expected


def requests_without_answers(number: int, most: int) -> FakeHost:
    """One answer, to the last of so many requests, behind a gap; at most ``most`` requests are open at a time."""
    asks = [(2 * i + 1, get(f"/{i}")) for i in range(number)]
    return run(PROTOCOL, packets(*asks), packets((2, 50), (2 * number, ok(b"x"))), limits=Limits(open_exchanges=most))


@pytest.mark.parametrize("most", [1, 2, 3, 512])
def test_open_requests_are_bounded(most: int) -> None:
    """However few may be open, each request is told once, and but for a bound of one the answer finds its own."""
    told = tell(requests_without_answers(9, most))
    assert [item[0] for item in told if item[0]] == [f"/{i}" for i in range(9)]  # type: ignore[index]
    assert most == 1 or told[-1] == ("/8", 200, b"x")


def test_what_is_open_at_the_end_is_told() -> None:
    """A body that the end of the capture cuts is marked, in each framing."""
    for answer in (length(9) + b"abc", CHUNKY + b"9\r\nabc", CHUNKY + b"3\r\nabc\r\n"):
        assert tell(run(PROTOCOL, A, answer)) == [("/a", 200, (b"abc", OPEN))]
    assert tell(run(PROTOCOL, A, chunked(b"abc"))) == tell(run(PROTOCOL, A, CHUNKY + chunks(b"ab", b"c")))
