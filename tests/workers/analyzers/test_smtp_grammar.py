"""By what SMTP is known, and what its lines say."""

from __future__ import annotations

import pytest

from workers.analyzers.protocols.smtp import PROTOCOL, grammar
from workers.analyzers.protocols.smtp.grammar import Chunk, ReplyLine

RECOGNIZED = [
    (b"EHLO [10.0.0.1]\r\n", True),
    (b"ehlo\n", True),
    (b"HELO \xe9t\xe9.example\r\n", True),
    (b"MAIL FROM:<a@b>\r\n", True),
    (b"EHLO x\r\nanything", True),
    (b"220 mx.example.com ESMTP Postfix\r\n", True),
    (b"220-mx.example.com\r\n220 SMTP ready\r\n", True),
    (b"220 mx.example.com\r\n250 at your service\r\n", True),
    (b"554 no SMTP here\r\n", True),
    (b"220 mx.example.com\r\n", None),
    (b"220 ftp.example.com FTP server ready\r\n331 password\r\n", False),
    (b"220 smtp.example.com FTP\r\n331 password\r\n", False),
    (b"220-\n" * (grammar.GREETING_LINES - 1), None),
    (b"220-\n" * (grammar.GREETING_LINES - 1) + b"220 SMTP\n", True),
    (b"220-\n" * grammar.GREETING_LINES, False),
    (b"220 ESM", None),
    (b"22", None),
    (b"221 bye\r\n", False),
    (b"HTTP/1.1 220 SMTP\r\n", False),
    (b"USER x\r\n", False),
    (b"EHLOX\r\n", False),
    (b"LHLO x\r\n", False),
    (b"EHLO \0\r\n", False),
    (b"EHLO x\r\r\n", False),
    (b"\r\nEHLO x\r\n", False),
    (b"", None),
]


@pytest.mark.parametrize(("begins", "expected"), RECOGNIZED)
def test_recognized_by_its_first_bytes(begins: bytes, expected: bool | None) -> None:
    """EHLO tells, a 220 alone does not. Of fewer bytes the answer is the same, or that it is too early to say."""
    found = [PROTOCOL.recognize(memoryview(begins[:size])) for size in range(len(begins) + 1)]
    assert found[-1] is expected
    assert found == sorted(found, key=lambda one: one is not None), "an answer was taken back"
    assert {one for one in found if one is not None} <= {expected}


@pytest.mark.parametrize(
    "begins", [b"EHLO " + b"x" * 9000, b"220 " + b"x" * 9000, (b"220-" + b"x" * 200 + b"\r\n") * 40]
)
def test_an_answer_by_8_kib(begins: bytes) -> None:
    """A line without an end does not keep the question open."""
    assert PROTOCOL.recognize(begins[: grammar.RECOGNIZED - 1]) is None
    assert PROTOCOL.recognize(begins) is False


@pytest.mark.parametrize(
    ("line", "path", "size"),
    [
        (b"MAIL FROM:<a@b>\r\n", "a@b", None),
        (b"mail from: <a@b> BODY=8BITMIME size=77\r\n", "a@b", 77),
        (b"MAIL FROM:<>\r\n", "", None),
        (b"MAIL FROM:a@b SIZE=1\n", "a@b", 1),
        (b"RCPT TO:<@x,@y:c@d>\r\n", "@x,@y:c@d", None),
        (b"RCPT TO:<\xff>\r\n", "\xff", None),
        (b"RCPT TO:\r\n", "", None),
        (b"MAIL FROM:<a@b> SIZE=9999999999999999999\r\n", "a@b", None),
        (b"MAIL FROM:<" + b"a" * 9000 + b">\r\n", "a" * grammar.LONGEST_FACT, None),
    ],
)
def test_paths(line: bytes, path: str, size: int | None) -> None:
    """What is in the brackets, or the word if there are none; the size that MAIL declares."""
    assert (grammar.path(line), grammar.declared_size(line)) == (path, size)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"BDAT 10\r\n", Chunk(10, last=False)),
        (b"bdat 0 last\r\n", Chunk(0, last=True)),
        (b"BDAT 010 LAST \n", Chunk(10, last=True)),
        (b"BDAT\r\n", None),
        (b"BDAT -1\r\n", None),
        (b"BDAT 1 FIRST\r\n", None),
        (b"BDAT " + b"9" * 19 + b"\r\n", None),
    ],
)
def test_chunks(line: bytes, expected: Chunk | None) -> None:
    """Sizes that are numbers, of at most 18 digits."""
    assert grammar.chunk(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"250 ok\r\n", ReplyLine(250, last=True)),
        (b"250-more\n", ReplyLine(250, last=False)),
        (b"354\r\n", ReplyLine(354, last=True)),
        (b"250-cut", ReplyLine(250, last=False)),
        (b"250", None),
        (b"150 ok\r\n", None),
        (b"2500 ok\r\n", None),
        (b"ok\r\n", None),
    ],
)
def test_reply_lines(line: bytes, expected: ReplyLine | None) -> None:
    """Three digits and a blank, a dash or the end."""
    assert grammar.reply_line(line) == expected


@pytest.mark.parametrize(
    ("head", "subject", "message_id"),
    [
        (b"Subject: one\r\nMessage-ID: <1>\r\n\r\nSubject: two\r\n", "one", "<1>"),
        (b"SUBJECT :folded\r\n\tand\r\n folded\r\n\r\n", "folded\tand folded", None),
        (b"subject: first\nsubject: second\n\n", "first", None),
        (b"subject: =?utf-8?q?=C3=A9?=\r\n", "=?utf-8?q?=C3=A9?=", None),
        (b"X-Subject: no\r\n\r\nSubject: body", None, None),
        (b"\r\nSubject: body\r\n", None, None),
        (b"", None, None),
    ],
)
def test_header_facts(head: bytes, subject: str | None, message_id: str | None) -> None:
    """The first of each, unfolded, and only of the header."""
    assert grammar.header_facts(head) == {"subject": subject, "message_id": message_id}
