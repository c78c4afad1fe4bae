"""Whole conversations of SMTP: their mails, whose reply is whose, what is left when bytes are missing.

A dialogue is written down as it was captured, a packet a line: ``C`` and ``S`` say who sent it, ``c`` and ``s`` that it
was lost. CRLF is added, unless the line ends in a backslash.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.workers.analyzers.host import FakeHost, Side, run
from workers.analyzers.protocols.smtp import PROTOCOL
from workers.analyzers.seam import Analyzer, Host
from workers.contract import Completeness
from workers.limits import Limits

WHOLE, OPEN = Completeness(0), Completeness.OPEN


def sides(*turns: str, midstream: bool = False) -> tuple[Side, Side]:
    """Client and server of a dialogue. What is lost is a gap."""
    items: dict[str, list[bytes | int]] = {"c": [], "s": []}
    packets: dict[str, list[tuple[int, int]]] = {"c": [], "s": []}
    offset = {"c": 0, "s": 0}
    for number, turn in enumerate(turns, 1):
        who, said = turn[0].lower(), turn[2:]
        sent = (said[:-1] if said.endswith("\\") else said + "\r\n").encode("latin-1")
        items[who].append(sent if turn[0].isupper() else len(sent))
        packets[who].append((offset[who], number))
        offset[who] += len(sent)
    client, server = (Side(items[who], midstream=midstream, packets=packets[who]) for who in "cs")
    return client, server


def hear(*turns: str, midstream: bool = False) -> FakeHost:
    """What the analyzer tells of a dialogue."""
    return run(PROTOCOL, *sides(*turns, midstream=midstream))


def told(host: FakeHost) -> list[tuple[object, ...]]:
    """Of each exchange: from, to, status, then of its mail the content and what it lacks."""
    return [
        (e.facts["from"], e.facts["to"], e.facts["status"], *(part for c in e.contents for part in (c.pieces, c.flags)))  # type: ignore[attr-defined]
        for e in host.exchanges
    ]


HELLO = ("S 220 x ESMTP", "C EHLO me", "S 250-x\r\n250 PIPELINING")
ASK = ("C MAIL FROM:<a@b>", "S 250 ok", "C RCPT TO:<c@d>", "S 250 ok")
GO = (*ASK, "C DATA", "S 354 go")
MAIL = (*GO, "C one\r\n.", "S 250 queued")
BYE = ("C QUIT", "S 221 bye")
ASKED = tuple(turn for turn in (*HELLO, *MAIL, *BYE) if turn[0] == "C")
ANSWERED = tuple(turn for turn in (*HELLO, *MAIL, *BYE) if turn[0] == "S")
ONE = ("a@b", ["c@d"], 250, [b"one\r\n"], WHOLE)
UNANSWERED = (*ONE[:2], None, *ONE[3:])


class Case(NamedTuple):
    """A dialogue, and the exchanges that come of it."""

    name: str
    turns: tuple[str, ...]
    exchanges: list[tuple[object, ...]]
    midstream: bool = False


CASES = [
    Case("a mail", (*HELLO, *MAIL, *BYE), [ONE]),
    Case("no mail", (*HELLO, *BYE), []),
    Case("two mails", (*HELLO, *MAIL, *MAIL, *BYE), [ONE, ONE]),
    Case("no QUIT", (*HELLO, *MAIL), [ONE]),
    Case(
        "pipelined",
        (
            *HELLO, "C MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<no>\r\nDATA",
            "S 250 ok\r\n250 ok\r\n550 no\r\n354 go", "C one\r\n.\r\nQUIT", "S 250 queued\r\n221 bye",
        ),
        [("a@b", ["c@d", "no"], 250, [b"one\r\n"], WHOLE)],
    ),
    Case("refused after its text", (*HELLO, *MAIL[:-1], "S 554 spam"), [("a@b", ["c@d"], 554, [b"one\r\n"], WHOLE)]),
    Case("DATA refused", (*HELLO, *ASK, "C DATA", "S 503 no", *MAIL), [("a@b", ["c@d"], 503), ONE]),
    Case("RCPT refused", (*HELLO, *ASK[:3], "S 550-no\r\n550 never", *BYE), [("a@b", ["c@d"], 550)]),
    Case("given up", (*HELLO, *ASK, "C RSET", "S 250 ok", *MAIL), [("a@b", ["c@d"], None), ONE]),
    Case("an empty mail", (*HELLO, *GO, "C .", "S 250 ok"), [("a@b", ["c@d"], 250)]),
    Case("its end never came", (*HELLO, *GO, "C one"), [("a@b", ["c@d"], None, [b"one\r\n"], OPEN)]),
    Case("timed out", (*HELLO, *GO, "C one", "S 421 bye"), [("a@b", ["c@d"], 421, [b"one\r\n"], OPEN)]),
    Case("stuffed", (*HELLO, *GO, "C ..\r\n..a\r\n.", "S 250 ok"), [("a@b", ["c@d"], 250, [b".\r\n.a\r\n"], WHOLE)]),
    Case(
        "smuggled",
        (*HELLO, *GO, "C one\n.\r\nMAIL FROM:<e@f>\r\n.", "S 250 ok"),
        [("a@b", ["c@d"], 250, [b"one\n.\r\nMAIL FROM:<e@f>\r\n"], WHOLE)],
    ),
    Case(
        "bare line feeds",
        (*HELLO, "C MAIL FROM:<a@b>\n\\", "S 250 ok", "C DATA\n\\", "S 354 go", "C one\n.\nQUIT\n\\", "S 250 ok"),
        [("a@b", [], 250, [b"one\n"], WHOLE)],
    ),
    Case(
        "chunks",
        (*HELLO, *ASK, "C BDAT 4\r\none\n\\", "S 250 ok", "C BDAT 3 LAST\r\n.\r\n\\", "S 250 ok", *MAIL),
        [("a@b", ["c@d"], 250, [b"one\n.\r\n"], WHOLE), ONE],
    ),
    Case(
        "chunks without their last",
        (*HELLO, *ASK, "C BDAT 4\r\none\n\\", "S 452 full", *MAIL),
        [("a@b", ["c@d"], 452, [b"one\n"], OPEN), ONE],
    ),
    Case("an empty last chunk", (*HELLO, *ASK, "C BDAT 0 LAST", "S 250 ok"), [("a@b", ["c@d"], 250)]),
    Case("a chunk that is cut", (*HELLO, *ASK, "C BDAT 9 LAST\r\none"), [("a@b", ["c@d"], None, [b"one\r\n"], OPEN)]),
    Case("a wrong chunk", (*HELLO, *ASK, "C BDAT x", "S 501 what", *MAIL), [("a@b", ["c@d"], None), ONE]),
    Case("AUTH", (*HELLO, "C AUTH LOGIN", "S 334 a", "C DATA", "S 334 b", "C QUIT", "S 235 ok", *MAIL), [ONE]),
    Case("AUTH given up", (*HELLO, "C AUTH LOGIN", "S 334 a", "C *", "S 501 no", *MAIL), [ONE]),
    Case("STARTTLS", (*HELLO, *MAIL, "C STARTTLS", "S 220 go", "C \x16\x03\\", "S \x16\x03\\", *MAIL), [ONE]),
    Case("STARTTLS refused", (*HELLO, "C STARTTLS", "S 454 no", *MAIL), [ONE]),
    Case("an unknown command", (*HELLO, "C \x00\xff", "S 500 what", *MAIL), [ONE]),
    Case("garbage among replies", (*HELLO, "C NOOP", "S what\r\n250 ok", *MAIL), [ONE]),
    Case("replies of many lines", (*HELLO[:2], "S 250-a\r\n250-b\r\n250\r\n\\", *MAIL), [ONE]),
    Case("a client that does not wait to be greeted", ("C EHLO me", "S 220 x", "S 250 ok", *MAIL), [ONE]),
    # One side alone.
    Case("the client alone", ASKED, [UNANSWERED]),
    Case("the client alone, refused", ("C EHLO me", "C MAIL FROM:<a@b>", "C DATA", "C QUIT"), [("a@b", [], None)]),
    Case("the client alone, encrypted", ("C EHLO me", "C STARTTLS", "C \x16\x03\x01\nMAIL FROM:<a@b>"), []),
    Case("the server alone", ANSWERED, []),
    # Gaps in a mail.
    Case(
        "a hole in a mail",
        (*HELLO, *GO, "C one", "c two", "C three\r\n.", "S 250 ok", *MAIL),
        [("a@b", ["c@d"], 250, [b"one\r\n", 5, b"three\r\n"], WHOLE), ONE],
    ),
    Case(
        "a hole up to its end",
        (*HELLO, *GO, "C one", "c two", "C .", "S 250 ok", *MAIL),
        [("a@b", ["c@d"], 250, [b"one\r\n", 5], WHOLE), ONE],
    ),
    Case(
        "its end in the gap",
        (*HELLO, *GO, "C one", "c two\r\n.", "S 250 ok", *MAIL),
        [("a@b", ["c@d"], 250, [b"one\r\n"], OPEN), ONE],
    ),
    Case(
        "its end and more in the gap",
        (*HELLO, *GO, "C one", "c two\r\n.", "S 250 ok", "c MAIL FROM:<e@f>", "S 250 ok", *MAIL[2:]),
        [("a@b", ["c@d"], 250, [b"one\r\n"], OPEN), (None, ["c@d"], 250, [b"one\r\n"], WHOLE)],
    ),
    Case("the whole mail lost", (*HELLO, *GO, "c one\r\n.", "S 250 ok", *MAIL), [("a@b", ["c@d"], 250), ONE]),
    Case("nothing behind the hole", (*HELLO, *GO, "C one", "c two"), [("a@b", ["c@d"], None, [b"one\r\n", 5], OPEN)]),
    Case(
        "a hole in a chunk, and beyond it",
        (*HELLO, *ASK, "C BDAT 9 LAST\r\none\r\n\\", "c four\r\nQUIT", "S 250 ok", *MAIL),
        [("a@b", ["c@d"], 250, [b"one\r\n", 4], WHOLE), ONE],
    ),
    # Gaps elsewhere.
    Case("a command lost", (*HELLO, "c NOOP", "S 250 ok", *MAIL), [ONE]),
    Case(
        "RCPT lost",
        (*HELLO, *ASK[:2], "c RCPT TO:<c@d>", "S 250 ok", *MAIL[4:]),
        [("a@b", [], None), (None, [], 250, *ONE[3:])],
    ),
    Case("half a command lost", (*HELLO, "C NO\\", "c OP", "S 250 ok", *MAIL), [ONE]),
    Case("DATA lost", (*HELLO, *ASK, "c DATA", *MAIL[-3:], *MAIL), [("a@b", ["c@d"], None), ONE]),
    Case("a reply lost", (*HELLO[:2], "s 250 x", *MAIL), [ONE]),
    Case("the greeting lost", ("s 220 x", *HELLO[1:], *MAIL), [ONE]),
    Case("half a reply lost", (*HELLO[:2], "S 250-x\r\n25\\", "s 0 PIPELINING", *MAIL), [ONE]),
    Case("354 lost", (*HELLO, *GO[:-1], "s 354 go", *MAIL[-2:], *MAIL), [ONE, ONE]),
    Case("the last reply lost", (*HELLO, *MAIL[:-1], "s 250 ok", *MAIL), [UNANSWERED, ONE]),
    # Beginnings that nobody saw.
    Case("midstream", (*MAIL, *BYE), [ONE], midstream=True),
    Case("midstream in a mail", ("C text\r\ntext\r\n250 text\r\n.", "S 250 queued", *MAIL), [ONE], midstream=True),
    Case("midstream in a reply", ("S ning\r\n250 ok", *MAIL), [ONE], midstream=True),
    Case("midstream, a gap first", ("c lost", *MAIL), [ONE], midstream=True),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_dialogues(case: Case) -> None:
    """Each mail that was sent is told with its reply, and whatever is lost, the next one is found."""
    host = hear(*case.turns, midstream=case.midstream)
    assert told(host) == case.exchanges
    swapped = run(PROTOCOL, *sides(*case.turns, midstream=case.midstream)[::-1])
    assert told(swapped) == case.exchanges, "it matters which side is the client"


def test_what_is_told_of_a_mail() -> None:
    """Its facts; its place in the stream; the times of MAIL and of the reply that settled it."""
    host = hear(
        *HELLO, "C MAIL FROM:<a@b> SIZE=99", "S 250 ok", "C RCPT TO:<c@d>", "S 250 ok", "C RCPT TO:<e@f>", "S 250 ok",
        "C DATA", "S 354 go", "C Subject: a\r\n b\r\nMessage-ID: <1@x>\r\n\r\n..\r\n.",
        "S 250-2.0.0 queued\r\n250 2.0.0 as 1",
    )  # fmt: skip
    (exchange,), (body,) = host.exchanges, host.bodies
    assert exchange.facts == {
        "from": "a@b", "to": ["c@d", "e@f"], "helo": "me", "subject": "a b", "message_id": "<1@x>", "status": 250,
        "size": 40, "declared_size": 99,
    }  # fmt: skip
    assert (exchange.asked, exchange.answered) == ("MAIL FROM:<a@b> SIZE=99", "250-2.0.0 queued")
    assert [moment and moment.packet for moment in exchange.began] == [4, 13]
    assert (exchange.side, exchange.known) == (0, 13)
    assert (body.entity.kind, body.entity.media_type, body.entity.name) == ("SMTPMAIL", "message/rfc822", "mail.eml")
    sent = b"".join(item for item in host.sides[0].items if isinstance(item, bytes))
    assert sent[body.entity.offset : body.offset] == b"Subject: a\r\n b\r\nMessage-ID: <1@x>\r\n\r\n..\r\n"


def test_the_dialogue_is_a_file() -> None:
    """Commands and replies as they were sent, each on its side, the mail left out; every byte is in its account."""
    host = hear(*HELLO, *GO, "C ..one\r\n.\r\nQUIT", "S 250 queued\r\n221 bye")
    assert bytes(host.texts[0, "SMTP"]) == b"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nQUIT\r\n"
    assert bytes(host.texts[1, "SMTP"]) == b"".join(item for item in host.sides[1].items if isinstance(item, bytes))
    assert host.counts[0] == {"command_bytes": 53, "body_bytes": 6, "framing_bytes": 4, "commands": 5, "mails": 1}
    assert host.counts[1] == {"reply_bytes": 81, "replies": 7}


@pytest.mark.parametrize(
    ("turns", "side", "expected"),
    [
        ((*HELLO, "C STARTTLS", "S 220 go", "C \x16\x03\x01\\", "S \x16\\"), 0, {"left_bytes": 3, "starttls": 1}),
        ((*HELLO, "C STARTTLS", "S 220 go", "C \x16\x03\x01\\", "S \x16\\"), 1, {"left_bytes": 1}),
        (("S 220 x ESMTP", "S 220 go", "S \x16\x03\x01\\"), 1, {"left_bytes": 3}),
        ((*HELLO, *GO, "C a\n.\nb\r\n.", "S 250 ok"), 0, {"anomaly.end_of_data": 1}),
        ((*HELLO, "C NOOP\n\\", "S 250 ok"), 0, {"anomaly.bare_lf": 1}),
        ((*HELLO, "c NOOP", "S 250 ok", *MAIL), 0, {"missing_bytes": 6}),
        ((*HELLO, "c NOOP", "S 250 ok", *MAIL), 1, {"replies_unpaired": 1}),
        ((*HELLO, "C " + "x" * 70_000, "S 500 what", *MAIL), 0, {"limit.head": 1, "mails": 1}),
        ((*HELLO, *ASK[:2], *(["C RCPT TO:<x>", "S 250 ok"] * 300), *MAIL[4:]), 0, {"limit.head": 44, "mails": 1}),
        (("C text", *MAIL), 0, {"skipped_bytes": 6}),
        (("S 220 x", "C USER x", "S 331 password"), 0, {"skipped_bytes": 8}),
    ],
)
def test_what_is_counted(turns: tuple[str, ...], side: int, expected: dict[str, int]) -> None:
    """Beside the accounts: what is odd, left, beyond a limit."""
    counts = hear(*turns, midstream=turns[0] == "C text").counts[side]
    assert {name: counts[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("turns", "midstream", "expected"),
    [
        (HELLO, False, True),
        (("S 220 x", *HELLO[1:]), False, True),
        (("S 220 x ESMTP",), False, True),
        (("S 220 x", "C USER me", "S 331 password"), False, False),
        (("C QUIT", "S 221 bye"), True, False),
        (("C EHLO me",), True, True),
        (("C text", "C MAIL FROM:<a@b>"), True, True),
        (("C text", "C RCPT TO:<a@b> NOTIFY=NEVER"), True, True),
        (("C text", "C xMAIL FROM:<a@b>", "C MAIL FROM:a"), True, False),
        (("C " + "x" * (300 << 10), "C MAIL FROM:<a@b>"), True, False),
        ((), False, False),
    ],
)
def test_claims(turns: tuple[str, ...], midstream: bool, expected: bool) -> None:
    """SMTP's is what it recognises, and a midstream connection with MAIL or RCPT in its first 256 KiB."""
    made: list[Analyzer] = []

    def make(host: Host, limits: Limits) -> Analyzer:
        made.append(PROTOCOL.make(host, limits))
        return made[0]

    run(PROTOCOL._replace(make=make), *sides(*turns, midstream=midstream))
    assert made[0].claims() is expected
