"""multipart/form-data: parts, however they are cut, bent or cut off."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.analyzers.formdata import MOST_BOUNDARY, FormData, PartBegin, PartEnd, PartEvent, PartHole
from workers.contract import Completeness
from workers.limits import Limits

LIMITS = Limits()
END = PartEnd(Completeness(0))
CUT_OFF = PartEnd(Completeness.OPEN)
UNNAMED = PartBegin("", "", "")


def parts(pieces: Iterable[bytes | int], boundary: bytes = b"B", limits: Limits = LIMITS) -> list[PartEvent]:
    """What is told of a body in pieces; a number is a hole. Contiguous content is joined."""
    form = FormData(boundary, limits)
    told = [event for piece in pieces for event in (form.hole if isinstance(piece, int) else form.feed)(piece)]
    joined: list[PartEvent] = []
    for event in [*told, *form.end()]:
        if isinstance(event, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += event
        else:
            joined.append(event)
    return joined


def part(disposition: str, content: bytes, media_type: str = "") -> bytes:
    kind = f"Content-Type: {media_type}\r\n" if media_type else ""
    return b"--B\r\n" + f"Content-Disposition: {disposition}\r\n{kind}\r\n".encode() + content + b"\r\n"


PLAIN = b"--B\r\n\r\n"
"""A boundary and a head with nothing in it."""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (part('form-data; name="a"', b"1") + b"--B--\r\n", [PartBegin("a", "", ""), b"1", END]),
        (b"before\r\n" + PLAIN + b"x\r\n--B--\r\nbehind\r\n" + PLAIN, [UNNAMED, b"x", END]),
        (b"--B\n\nx\ny\n--B--", [UNNAMED, b"x\ny", END]),
        (PLAIN + b"x\r\n--B \t \r\n\r\ny\r\n--B--", [UNNAMED, b"x", END, UNNAMED, b"y", END]),
        (PLAIN + b"\r\n--B--", [UNNAMED, END]),
        (PLAIN + b"--B--", [UNNAMED, END]),
        (b"--B\r\nContent-Type: a/b\r\n--B\r\n\r\ny\r\n--B--\r\n", [PartBegin("", "", "a/b"), END, UNNAMED, b"y", END]),
        # boundaries that are none
        (PLAIN + b"x\r\n--Bx\r\n-B--\r\n --B--\r\n--B-\r\ny\r\n--B--",
         [UNNAMED, b"x\r\n--Bx\r\n-B--\r\n --B--\r\n--B-\r\ny", END]),
        (PLAIN + b"\r\n--B" + b" " * 300 + b"\r\n\r\n--B--", [UNNAMED, b"\r\n--B" + b" " * 300 + b"\r\n", END]),
        (PLAIN + b"--Bx\r\n\r\n--Bx--\r\n\r\n--B--", [UNNAMED, b"--Bx\r\n\r\n--Bx--\r\n", END]),
        # cut off
        (PLAIN + b"x\r\n-", [UNNAMED, b"x\r\n-", CUT_OFF]),
        (PLAIN + b"x\r\n--B-", [UNNAMED, b"x\r\n--B-", CUT_OFF]),
        (PLAIN + b"x\r\n--B\r\n", [UNNAMED, b"x", END, UNNAMED, CUT_OFF]),
        (PLAIN + b"x\r\n--B\r\nContent-Type: a/b", [UNNAMED, b"x", END, PartBegin("", "", "a/b"), CUT_OFF]),
        (PLAIN, [UNNAMED, CUT_OFF]),
        (b"--", []),
        (b"", []),
    ],
)  # fmt: skip
def test_parts(body: bytes, expected: list[PartEvent]) -> None:
    """Each body whole, and byte by byte."""
    assert parts([body]) == expected
    assert parts(body[at : at + 1] for at in range(len(body))) == expected


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('form-data; name="a"; filename="x.txt"', "a", "x.txt"),
        ("form-data;name=a;filename=x.txt", "a", "x.txt"),
        ('FORM-DATA ; NAME = "a" ; FileName="x"', "a", "x"),
        (r'form-data; name="a\"b"; filename="C:\dir\x.txt"', 'a"b', r"C:\dir\x.txt"),
        ('form-data; name="a;b"; filename="; name=c"', "a;b", "; name=c"),
        ("form-data; filename=\"x\"; filename*=UTF-8''%e2%82%AC.txt", "", "\xe2\x82\xac.txt"),
        ('form-data; name="first"; name="second"', "first", ""),
        ('form-data; filename="open; name="a"', "", "open; name="),
        ('form-data; filename="never closed; name=a', "", "never closed; name=a"),
        ('form-data; name="\N{EURO SIGN}"', "\xe2\x82\xac", ""),
        ('form-data;\r\n name="a";\r\n\tfilename="x"', "a", "x"),
        ("form-data; ; =; name", "", ""),
        ("", "", ""),
    ],
)
def test_heads(disposition: str, name: str, filename: str) -> None:
    """Names as browsers, and others, write them; bytes as latin-1."""
    assert parts([part(disposition, b"x", "text/plain; a=b") + b"--B--"]) == [
        PartBegin(name, filename, "text/plain; a=b"), b"x", END
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([PLAIN + b"x", 7, b"y\r\n--B--"], [UNNAMED, b"x", PartHole(7), b"y", END]),
        ([PLAIN + b"x\r\n--", 7, b"B--"], [UNNAMED, b"x\r\n--", PartHole(7), b"B--", CUT_OFF]),
        ([PLAIN + b"x", 7, b"--B--\r\ny\n--B--"], [UNNAMED, b"x", PartHole(7), b"--B--\r\ny", END]),
        ([b"--B\r\nContent-Type: a/b\r\nCont", 7, b"x\r\n--B--"],
         [PartBegin("", "", "a/b"), b"Cont", PartHole(7), b"x", PartEnd(Completeness.DAMAGED)]),
        ([7, b"\r\n" + PLAIN + b"x\r\n--B--\r\n", 7], [UNNAMED, b"x", END]),
    ],
)  # fmt: skip
def test_holes(pieces: list[bytes | int], expected: list[PartEvent]) -> None:
    """A hole is told within a part, and no boundary is made of what is before and behind it."""
    assert parts(pieces) == expected


def test_bounds() -> None:
    """Heads, fields, parts and the boundary itself."""
    line = b"X: " + b"y" * 95 + b"\r\n"
    limits = Limits(head_bytes=1_000, head_fields=3, form_parts=2)
    long_head = b"--B\r\n" + line * 20 + b"\r\nz\r\n--B--"
    assert parts([long_head], limits=limits) == [
        UNNAMED, line * 11 + b"\r\nz", PartEnd(Completeness.LIMITED)
    ]  # fmt: skip
    assert parts((long_head[at : at + 1] for at in range(len(long_head))), limits=limits) == parts(
        [long_head], limits=limits
    )
    late = b"--B\r\nA: 1\r\nB: 2\r\nC: 3\r\nContent-Type: a/b\r\n\r\n\r\n--B--"
    assert parts([late], limits=limits) == [UNNAMED, END]
    form = FormData(b"B", limits)
    assert [*form.feed(PLAIN + b"\r\n" + (PLAIN + b"\r\n") * 4 + b"--B--")] == [UNNAMED, END] * 2
    assert form.parts == 5
    for boundary in (b"", b"B" * (MOST_BOUNDARY + 1)):
        assert parts([b"--" + boundary + b"\r\n\r\nx\r\n--" + boundary + b"--"], boundary) == []


TOKENS = st.sampled_from([b"--B", b"--B--", b"\n", b"\r\n", b"\r", b" ", b"-", b"B", b"x", PLAIN, b"\r\n--B\r\n\r\n"])


CONTENT = st.lists(TOKENS, max_size=10).map(b"".join).filter(lambda content: b"\n--B" not in b"\n" + content)


@given(st.lists(st.tuples(st.sampled_from(["", "a", "a b"]), CONTENT), min_size=1, max_size=5))
def test_what_was_put_together_is_taken_apart(made: list[tuple[str, bytes]]) -> None:
    """Parts with any content in which no line begins with the boundary."""
    body = b"".join(part(f'form-data; name="{name}"', content) for name, content in made) + b"--B--\r\n"
    expected = [event for name, content in made for event in (PartBegin(name, "", ""), content, END) if event != b""]
    assert parts([body]) == expected


@given(st.lists(TOKENS, max_size=30).map(b"".join), st.lists(st.integers(0, 60), max_size=5))
@example(b"--B\r\n\r\nx\r\n--B--", [4, 5, 9])
def test_cuts_do_not_matter(body: bytes, cuts: list[int]) -> None:
    """However a body is cut; and no byte of content comes from nowhere."""
    ends = sorted(min(cut, len(body)) for cut in cuts)
    pieces = [body[a:b] for a, b in zip([0, *ends], [*ends, len(body)], strict=True)]
    told = parts([body])
    assert parts(pieces) == told
    assert all(event in body for event in told if isinstance(event, bytes))
