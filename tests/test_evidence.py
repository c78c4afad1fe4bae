"""What a user gets of everything at which other tools lose what HTTP carried: a table of connections, one run."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import brotli
import pytest
import zstandard

from tests.build import Conversation, Packet, in_turns, write_pcap
from tests.runs import flows, report_of, run_here
from tests.workers.analyzers.conversations import CHUNKED, chunks, get, head, ok

PAGE = b"<p>evidence number %d</p>\n"
TEXT = b"".join(PAGE % number for number in range(300))
RAW = zlib.compress(TEXT, wbits=-15)
NOISE = bytes(range(7, 256)) * 40  # does not shrink much, so that a hole has something behind it
PACKED = gzip.compress(NOISE + TEXT, mtime=0)
FORM = (
    b'--cut\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + TEXT + b"\r\n--cut--\r\n"
)
MASKED = b"\x81\x85mask"


class Body(NamedTuple):
    """A record of objects.jsonl, and its file. ``content`` None: a prefix of ``prefix_of``, which is not empty."""

    target: str | None
    status: int | None
    content: bytes | None
    completeness: Sequence[str] = ()
    prefix_of: bytes = b""
    name: str = ""  # the end of the file's name
    role: str = "response"


class Case(NamedTuple):
    """What is said on a connection, which data segments of it are lost, and what is found."""

    name: str
    turns: Sequence[tuple[int, bytes]]
    bodies: Sequence[Body]
    lost: Sequence[int] = ()  # data segments, counted from 0
    port: int = 80
    shape: str = "whole"  # or "cut": the end was not captured, "answers": nothing but the answers, from their middle
    files: dict[str, bytes] = {}  # noqa: RUF012 # never changed; by what stands behind the name of the answers' stream
    facts: dict[str, int] = {}  # noqa: RUF012 # of the answers' stream


def coded(coding: str, body: bytes, content: bytes = TEXT) -> tuple[int, bytes]:
    return 1, ok(body, ("Content-Encoding", coding), ("Content-Type", "text/html"))


def hole(body: bytes, start: int, size: int) -> bytes:
    return body[:start] + bytes(size) + body[start + size :]


ONE, TWO, THREE = (Body(f"/{name}", 200, name.encode(), name=name) for name in ("one", "two", "three"))
ASKED, ANSWERS = [get(f"/{name}") for name in ("one", "two", "three")], [ok(b"one"), ok(b"two"), ok(b"three")]
PUT = head("PUT /up HTTP/1.1", ("Host", "x"), ("Content-Length", len(TEXT)), ("Expect", "100-continue"))
POST = head("POST /form HTTP/1.1", ("Host", "x"), ("Content-Length", len(FORM)),
            ("Content-Type", "multipart/form-data; boundary=cut"))  # fmt: skip
SWITCH = ("Upgrade", "websocket"), ("Connection", "Upgrade")
DECODED = Body("/z", 200, TEXT, name="z.html")
LARGE = ok(TEXT)
HEAD_SIZE = len(LARGE) - len(TEXT)
LOST = Body("/lost", 200, hole(TEXT, 1460 - HEAD_SIZE, 1460), ["gaps"])

CASES = [
    Case("kept alive", [turn for pair in zip(((0, ask) for ask in ASKED), ((1, answer) for answer in ANSWERS),
                                             strict=True) for turn in pair], [ONE, TWO, THREE]),
    Case("pipelined", [(0, b"".join(ASKED)), (1, b"".join(ANSWERS))], [ONE, TWO, THREE]),
    Case("chunks, extensions, trailers",
         [(0, get("/c")), (1, head("HTTP/1.1 200 OK", CHUNKED) + b"3;a=b\r\nabc\r\n3\r\ndef\r\n0\r\nT: v\r\n\r\n")],
         [Body("/c", 200, b"abcdef")], files={"HTTPBODY": b"abcdef"}),
    Case("chunks of gzip", [(0, get("/z")), (1, head("HTTP/1.1 200 OK", CHUNKED, ("Content-Encoding", "gzip"),
         ("Content-Type", "text/html")) + chunks(PACKED[:99], PACKED[99:]))], [DECODED._replace(content=NOISE + TEXT)],
         files={"HTTPBODY": PACKED, "HTTPBODY-GZIP": NOISE + TEXT}),
    *(Case(f"{coding}{why}", [(0, get("/z")), coded(coding, body)], [DECODED],
           files={"HTTPBODY": body, f"HTTPBODY-{suffix}": TEXT}) for coding, why, body, suffix in [
        ("gzip", ", two members", gzip.compress(TEXT[:99], mtime=0) + gzip.compress(TEXT[99:], mtime=0), "GZIP"),
        ("deflate", ", zlib", zlib.compress(TEXT), "DEFLATE"),
        ("deflate", ", raw", RAW, "DEFLATE"),
        ("br", "", brotli.compress(TEXT), "BR"),
        ("zstd", "", zstandard.compress(TEXT), "ZSTD"),
        ("gzip, br", "", brotli.compress(gzip.compress(TEXT, mtime=0)), "BR-GZIP"),
    ]),
    Case("an unknown coding", [(0, get("/z")), coded("wax", b"as sent")], [DECODED._replace(content=b"as sent")],
         files={"HTTPBODY": b"as sent"}),
    *(Case(f"the range from {at}", [(0, get("/r")), (1, head("HTTP/1.1 206 Partial", ("Content-Length", 5),
           ("Content-Range", f"bytes {at}-{at + 4}/10")) + b"range")], [Body("/r", 206, b"range")]) for at in (0, 5)),
    Case("an upload", [(0, POST + FORM), (1, ok())],
         [Body("/form", 200, FORM, role="request"), Body("/form", 200, TEXT, name="a.txt", role="request")]),
    Case("an upload that waits", [(0, PUT), (1, head("HTTP/1.1 100 Continue")), (0, TEXT), (1, ok(b"ok"))],
         [Body("/up", 200, TEXT, role="request"), Body("/up", 200, b"ok")]),
    Case("HEAD", [(0, head("HEAD /one HTTP/1.1") + get("/two")),
                  (1, head("HTTP/1.1 200 OK", ("Content-Length", 50)) + ANSWERS[1])], [TWO]),
    Case("304 with a length", [(0, ASKED[0] + ASKED[1]),
                               (1, head("HTTP/1.1 304 -", ("Content-Length", 50)) + ANSWERS[1])], [TWO]),
    Case("until it closes", [(0, get("/u")), (1, head("HTTP/1.0 200 OK") + TEXT)], [Body("/u", 200, TEXT)]),
    Case("the capture ends", [(0, get("/cut")), (1, head("HTTP/1.1 200 OK", ("Content-Length", 9999)) + TEXT[:99])],
         [Body("/cut", 200, TEXT[:99], ["open"])], shape="cut"),
    Case("a segment is lost, and a good answer follows",
         [(0, get("/lost")), (1, LARGE), (0, get("/two")), (1, ANSWERS[1])], [LOST, TWO], lost=[2],
         files={"HTTPBODY": hole(TEXT, 1460 - HEAD_SIZE, 1460), "HTTPBODY-002": b"two"}),
    Case("a segment of gzip is lost", [(0, get("/z")), coded("gzip", gzip.compress(NOISE, 0, mtime=0)),
                                       (0, get("/two")), (1, ANSWERS[1])],
         [Body("/z", 200, None, ["open", "gaps"], NOISE), TWO], lost=[3]),
    Case("answers alone, from the middle", [(0, ASKED[0]), (1, LARGE), (0, ASKED[1]), (1, ANSWERS[1])],
         [Body(None, 200, b"two")], shape="answers"),
    Case("WebSocket", [(0, get("/ws", *SWITCH)), (1, head("HTTP/1.1 101 -", *SWITCH)), (0, MASKED), (1, b"\x81\2hi")],
         [], facts={"left_websocket": 1, "left_bytes": 4}),
    Case("CONNECT", [(0, head("CONNECT h:443 HTTP/1.1")), (1, head("HTTP/1.1 200 OK")), (0, b"\x16\3\1"), (1, b"\x16")],
         [], facts={"left_connect": 1, "left_bytes": 1}),
    Case("any port", [(0, ASKED[0]), (1, ANSWERS[0])], [ONE], port=8123),
    Case("a way out", [(0, get("/../../etc/%2e%2e/passwd")), (1, ok(b"one", ("Content-Disposition",
         'attachment; filename="..\\..\\/etc/cron.d/evil"')))], [Body("/../../etc/%2e%2e/passwd", 200, b"one")]),
]  # fmt: skip


def packets(case: Case, number: int) -> list[Packet]:
    talk = Conversation(client=("10.0.0.1", 4000 + number), server=("10.0.0.2", case.port))
    opening = talk.open()
    said = [(side, packet) for side, text in case.turns for packet in talk.say(side, text)]
    sent = [packet for _, packet in said if len(packet.frame) > 54]
    lost = [sent[place] for place in case.lost]
    kept = [packet for _, packet in said if packet not in lost]
    if case.shape == "answers":
        return [packet for packet in kept if packet.frame[34:36] == b"\0\x50"][2:]
    return [*opening, *kept, *([] if case.shape == "cut" else talk.finish())]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run over all of it."""
    folder = tmp_path_factory.mktemp("evidence")
    capture = write_pcap(folder / "all.pcap", in_turns(*(packets(case, n) for n, case in enumerate(CASES))))
    done = run_here("-r", capture, "-o", folder / "out", "-a", "-e", "http", "-md5", "--quiet", "--workers", 0)
    assert (done.status, done.err) == (0, "")
    return folder / "out"


def stream(number: int) -> str:
    """The name of the answers."""
    return f"10.0.0.2.{CASES[number].port}-10.0.0.1.{4000 + number}"


def records(out: Path, number: int) -> list[dict[str, Any]]:
    """The objects of a connection in the order of their exchanges."""
    lines = map(json.loads, (out / "objects.jsonl").read_text().splitlines())
    return [line for line in lines if 4000 + number in (line["sport"], line["dport"])]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_every_body_is_there(number: int, out: Path) -> None:
    """Each object with its request, its bytes, and what keeps it from being whole; the files beside the streams."""
    case, found = CASES[number], records(out, number)
    assert len(found) == len(case.bodies)
    for told, body in zip(found, case.bodies, strict=True):
        content = (out / told["file"]).read_bytes()
        assert (told["facts"].get("target"), told["status"], told["role"]) == (body.target, body.status, body.role)
        assert told["completeness"] == list(body.completeness)
        assert told["file"].endswith(body.name)
        if body.content is None:
            assert content
            assert body.prefix_of.startswith(content)
        else:
            assert content == body.content
    for kind, content in case.files.items():
        assert (out / f"{stream(number)}-{kind}").read_bytes() == content


def test_what_is_left_alone_is_said(out: Path) -> None:
    """Bytes of tunnels and upgraded connections are counted in the flow, and lie in the stream's file only."""
    named = {file.tags["filename"]: file for file, _ in flows(report_of(out))}
    for number, case in enumerate(CASES):
        told = {name: value for tag, values in named[stream(number)].foreign if tag == "http" for name, value in
                values.items()}  # fmt: skip
        assert {name: int(told[name]) for name in case.facts} == case.facts


def test_ranges_can_be_joined(out: Path) -> None:
    """The records of two ranges of a resource say which part of it they are."""
    numbers = [number for number, case in enumerate(CASES) if case.name.startswith("the range")]
    found = [record for number in numbers for record in records(out, number)]
    assert [(record["url"], record["content_range"]) for record in found] == [
        ("http://x/r", "bytes 0-4/10"), ("http://x/r", "bytes 5-9/10"),
    ]  # fmt: skip


def test_no_name_leads_out(out: Path) -> None:
    """Whatever a URL or a Content-Disposition says, nothing lies beside the folder."""
    assert {path.name for path in out.parent.iterdir()} == {"all.pcap", "out"}
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"objects"}
