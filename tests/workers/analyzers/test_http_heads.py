"""The short way for usual heads against the long way, which forgives; and nothing that is left behind."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.leftovers import uncollected
from tests.workers.analyzers.conversations import conversation, get, mutated, ok
from tests.workers.analyzers.host import Side
from tests.workers.analyzers.test_http_linear import Deaf
from workers.analyzers.protocols.http import PROTOCOL
from workers.analyzers.protocols.http.heads import at_once, elements, fields_of, lower, odd
from workers.analyzers.protocols.http.lines import understand
from workers.limits import Limits

LIMITS = Limits(head_bytes=120, head_fields=4)
USUAL = ["GET /a HTTP/1.1", "HTTP/1.1 200 OK", "HTTP/1.0 404 No ", "Q http://x/ HTTP/1.0"]
FIRSTS = [*USUAL, "GET /a b HTTP/1.0", "HTTP/1.1 200", "get * http/1.1", "GET /a HTTP/1.1 "]
PLAIN = ["Host: x", "content-LENGTH:3\t", "Content-Length:", "X-Y: a:b", "Content-Encoding: x", "Server: \xe9"]
LINES = [*PLAIN, "X: " + "y" * 60, " fold", "no field", "Host : y", "Referer: a\rb", "Server: a\nb", "Upgrade: \0", ""]


@given(st.sampled_from(FIRSTS), st.lists(st.sampled_from(LINES), max_size=6), st.sampled_from(["", "\r\n", "body"]))
def test_the_short_way_is_the_long_way(first: str, lines: list[str], behind: str) -> None:
    """What is understood at once is what is understood of the same bytes step by step; usual heads are."""
    data = "".join(f"{line}\r\n" for line in [first, *lines, ""]).encode("latin-1") + behind.encode()
    end = re.search(rb"\n\r?\n", data)
    assert end is not None
    head = data[: end.end()]
    found = at_once(memoryview(b"--" + data), 2, LIMITS)
    if found is None:
        assert first not in USUAL or not set(lines) <= set(PLAIN) or len(lines) > 4 or len(head) > 120
    else:
        assert found == (head, understand(head), fields_of(head))
        assert not odd(head)


@pytest.mark.parametrize("size", range(1, len(get()) + 1))
def test_a_head_that_is_not_all_there(size: int) -> None:
    """Without its end, a head is not understood at once."""
    assert (at_once(get()[:size], 0, Limits()) is None) == (size < len(get()))


def test_repeated_fields() -> None:
    """The first value counts, and of lists all of them."""
    fields = fields_of(b"-\nContent-Encoding: A,,b\r\ncontent-encoding:\tc\r\n d\r\nX: y\r\n\r\n")
    assert fields["content-encoding"] == "A,,b"
    assert elements(fields, "content-encoding") == ["A", "b", "c d"]
    assert lower("GZIP\xc9") == "gzip\xc9"


@pytest.mark.parametrize("seed", range(30))
def test_nothing_is_left_for_the_collector(seed: int) -> None:
    """A connection that is over leaves no cycles, be it valid, damaged, or given up: nobody looks for them."""
    rng = random.Random(seed)
    ask, answer = conversation(rng)
    sides = [mutated(rng, ask), mutated(rng, answer)] if seed % 2 else [ask, answer]
    with uncollected() as left:
        host = Deaf((Side([]), Side([])))
        analyzer = PROTOCOL.make(host, Limits())
        for number, side in enumerate(sides):
            analyzer.begin(number, midstream=seed % 5 == 0)
            analyzer.feed(number, side[: rng.randrange(1, 40)] or ok())
            analyzer.feed(number, side)
        if seed % 3:
            analyzer.close(0, whole=True)
        del analyzer, host
        assert not left()
