"""What every analyzer promises, of SMTP: cuts and turns do not matter, nothing raises, time is linear."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.effort import examples
from tests.workers.analyzers.host import Body, FakeHost, Side, run
from tests.workers.analyzers.test_smtp_conversation import CASES, Case, sides
from workers.analyzers.protocols.smtp import PROTOCOL
from workers.analyzers.protocols.smtp.steps import Input
from workers.limits import Limits

CUTS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 30)), max_size=60)
SMALL = Limits(head_bytes=40, head_fields=2)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_byte_by_byte(case: Case) -> None:
    """Each dialogue, whichever side is offered first."""
    client, server = sides(*case.turns, midstream=case.midstream)
    whole = run(PROTOCOL, client, server).told()
    for first in (0, 1):
        assert run(PROTOCOL, client, server, cuts=[(first, 1), (1 - first, 1)] * 400).told() == whole


@given(st.sampled_from(CASES), CUTS, st.booleans())
def test_any_cuts_and_turns(case: Case, cuts: list[tuple[int, int]], swapped: bool) -> None:
    """They give what the whole gives; with limits that are reached, too."""
    both = sides(*case.turns, midstream=case.midstream)[:: -1 if swapped else 1]
    for limits in (Limits(), SMALL):
        assert run(PROTOCOL, *both, cuts=cuts, limits=limits).told() == run(PROTOCOL, *both, limits=limits).told()


WORDS = st.sampled_from(
    [
        b"\r\n", b"\n", b".", b".\r\n", b"\r\n.\r\n", b"x", b"\0", b"\x16\x03", b" ", b"9",
        b"BDAT 7\r\n", b"BDAT 0 LAST\r\n", b"EHLO x\r\n", b"MAIL FROM:<a>\r\n", b"RCPT TO:<b>\r\n", b"DATA\r\n",
        b"RSET\r\n", b"QUIT\r\n", b"STARTTLS\r\n", b"AUTH x\r\n", b"220 SMTP\r\n", b"250 ok\r\n", b"250-ok\r\n",
        b"354 go\r\n", b"334 \r\n", b"503 no\r\n", b"421",
    ]
)  # fmt: skip
ITEMS = st.lists(st.one_of(WORDS, WORDS, WORDS, st.binary(min_size=1, max_size=9), st.integers(1, 300)), max_size=25)
MADE = st.builds(Side, ITEMS, midstream=st.booleans(), whole=st.booleans())
OPENED = st.tuples(
    st.builds(lambda side: Side([b"EHLO x\r\n", *side.items]), MADE),
    st.builds(lambda side: Side([b"220 SMTP\r\n", *side.items]), MADE),
)


@examples(150)
@given(st.one_of(OPENED, OPENED, st.tuples(MADE, MADE)), CUTS)
def test_nothing_raises(both: tuple[Side, Side], cuts: list[tuple[int, int]]) -> None:
    """Whatever is said and lost; the accounts sum up (tests/workers/analyzers/host.py), and cuts do not matter."""
    assert run(PROTOCOL, *both, cuts=cuts).told() == run(PROTOCOL, *both).told()


@given(st.sampled_from(CASES), st.data())
def test_mutations(case: Case, data: st.DataObject) -> None:
    """Of dialogues: bytes changed and pieces lost raise nothing."""
    both = sides(*case.turns, midstream=case.midstream)
    for side in both:
        items = list(side.items)
        for _ in range(data.draw(st.integers(0, 3)) if items else 0):
            at = data.draw(st.integers(0, len(items) - 1))
            item = items[at]
            if isinstance(item, bytes) and data.draw(st.booleans()):
                place = data.draw(st.integers(0, len(item) - 1))
                items[at] = item[:place] + data.draw(st.binary(min_size=1, max_size=1)) + item[place + 1 :]
            else:
                items[at] = item if isinstance(item, int) else len(item)
        side.items = items
    run(PROTOCOL, *both)


LINES = {
    "text": (b"EHLO x\r\nDATA\r\n", b"220 SMTP\r\n250 x\r\n354 go\r\n", b"a line of a mail, as long as they are\r\n"),
    "dots": (b"EHLO x\r\nDATA\r\n", b"220 SMTP\r\n250 x\r\n354 go\r\n", b"..\r\n"),
    "chunks": (b"EHLO x\r\n", b"220 SMTP\r\n250 x\r\n", b"BDAT 1\r\nx"),
    "commands": (b"EHLO x\r\n", b"220 SMTP\r\n250 x\r\n", b"NOOP\r\n"),
    "recipients": (b"EHLO x\r\n", b"220 SMTP\r\n250 x\r\n", b"RCPT TO:<x>\r\n"),
    "no line end": (b"EHLO x\r\n", b"220 SMTP\r\n250 x\r\n", b"x"),
    "binary": (b"EHLO x\r\n", b"220 SMTP\r\n250 x\r\n", bytes(range(256))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_time_is_linear(name: str) -> None:
    """Twice the bytes take at most three times the time."""
    asked, answered, line = LINES[name]

    def seconds(size: int) -> float:
        piece = asked + line * (size // len(line))
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            run(PROTOCOL, piece, answered, cuts=[(0, 1 << 16), (1, 1 << 16)] * (size >> 14))
            best = min(best, time.process_time() - begun)
        return best

    assert seconds(1 << 19) <= 3 * seconds(1 << 18) + 0.02


def test_taking_turns_copies_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each line of a long piece waits for its reply, not all that is left is copied for each."""
    copied: list[int] = []
    offer = Input.offer
    monkeypatch.setattr(Input, "offer", lambda self, piece: copied.append(len(piece)) or offer(self, piece))
    asked, answered = b"EHLO x\r\n" + b"NOOP\r\n" * 20_000, b"220 SMTP\r\n" + b"250 ok\r\n" * 50
    run(PROTOCOL, asked, [answered, 1000, b"250 ok\r\n"])
    assert len(copied) > 50
    assert max(copied) <= 16 << 10


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (b"EHLO x\r\nDATA\r\n", b"a line, longer than a dot\r\n"),
        (b"EHLO x\r\nDATA\r\n", b"x"),
        (b"EHLO x\r\nBDAT 99999999\r\n", b"\0"),
        (b"EHLO ", b"x"),
    ],
)
def test_memory_is_bounded(asked: bytes, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail of any length, a command without an end: no more than some pieces of it are held."""
    for owner, name in ((Body, "data"), (FakeHost, "text")):
        monkeypatch.setattr(owner, name, lambda *_: None)
    piece = (line * (1 << 18))[: 1 << 18]
    client = Side([asked, *[piece] * 16])
    tracemalloc.start()
    try:
        run(PROTOCOL, client, b"220 SMTP\r\n250 x\r\n354 go\r\n")
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
