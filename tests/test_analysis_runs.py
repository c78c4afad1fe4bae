"""What whole runs find in streams: the same for any processes and batches, in whatever order packets come."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.stats import accounts_of
from tests import example, rough
from tests.build import Conversation, Packet, disturb, in_turns, write_pcap
from tests.forms import crossed
from tests.runs import counters, differences, files, output, reads, report_of, run_apart, run_here

ALONE = ["--workers", 0]
ANALYZE = ["-a", "-e", "http", "-md5", "--quiet"]
SECOND = 1_000_000_000
Turns = Sequence[tuple[int, bytes]]

PAGE = b"<p>something to read</p>\n" * 400
PACKED = gzip.compress(PAGE, mtime=0)
FORM = (
    b'--cut\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    b'--cut\r\nContent-Disposition: form-data; name="file"; filename="../../evil.txt"\r\n\r\n'
    + PAGE
    + b"\r\n--cut--\r\n"
)


def get(path: str, *fields: bytes, method: str = "GET") -> tuple[int, bytes]:
    head = b"\r\n".join([f"{method} {path} HTTP/1.1\r\nHost: example.test".encode(), *fields])
    return 0, head + b"\r\n\r\n"


def post(path: str, body: bytes, media_type: bytes) -> tuple[int, bytes]:
    size = b"Content-Length: %d" % len(body)
    return 0, get(path, size, b"Content-Type: " + media_type, method="POST")[1] + body


def reply(body: bytes = b"", *fields: bytes, status: bytes = b"200 OK") -> tuple[int, bytes]:
    return 1, b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields, b"", body])


def chunked(body: bytes, size: int = 1000) -> tuple[int, bytes]:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    text = b"".join(b"%x;e=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\nContent-Encoding: deflate\r\n\r\n"
    )
    return 1, head + text + b"0\r\nTrailer: yes\r\n\r\n"


TALKS: dict[str, Turns] = {
    "kept alive": [
        get("/a"), reply(PAGE), get("/b"), reply(PACKED, b"Content-Encoding: gzip", b"Content-Type: text/html"),
        get("/c"), chunked(zlib.compress(PAGE)),
    ],
    "pipelined": [
        (0, get("/1")[1] + get("/2", method="HEAD")[1] + get("/3")[1]), reply(b"one"),
        (1, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"), reply(b"three"),
    ],
    "no bodies": [
        get("/n"), reply(status=b"304 Not Modified"), get("/n"), reply(status=b"204 No Content"), get("/l"),
        reply(b"last"),
    ],
    "until it closes": [get("/u"), (1, b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + PAGE)],
    "continued": [
        post("/p", FORM, b"multipart/form-data; boundary=cut"), (1, b"HTTP/1.1 100 Continue\r\n\r\n"),
        reply(b"{}", b"Content-Type: application/json", status=b"201 Created"),
    ],
    "upgraded": [
        get("/ws", b"Upgrade: websocket", b"Connection: Upgrade"),
        (1, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), (1, b"\x81\x05hello"),
        (0, b"\x81\x85mask"),
    ],
    "garbage": [get("/g"), (1, b"\0\1garbage" * 20), reply(b"found again")],
    "damaged": [get("/d"), reply(PACKED[:40] + b"XXXX" + PACKED[44:], b"Content-Encoding: gzip")],
    "no HTTP": [(1, b"220 hello\r\n"), (0, b"\x16\x03\x01 no\r\n"), (1, bytes(range(256)) * 20)],
    "large": [get("/large"), reply(PAGE * 8), get("/after"), reply(b"after")],
}  # fmt: skip
"""What is said on a connection, by what is special about it."""


def packets(seed: int = 1, step: int = 1) -> list[Packet]:
    """All of it, or every ``step``-th, on connections of their own: in order, disturbed, with losses, without a
    beginning, one-sided."""
    rng = random.Random(seed)
    made = []
    for number, turns in enumerate(TALKS.values()):
        for port, kind in enumerate(("plain", "disturbed", "lossy", "midstream", "one-sided")):
            talk = Conversation(
                client=("10.0.0.1", 4000 + 10 * number + port), server=("10.0.0.2", 80 + number),
                start_ns=example.SECOND * 1_620_000_000 + rng.randrange(SECOND), mss=rng.choice([100, 536, 1460]),
                acknowledge=rng.random() < 0.7,
            )  # fmt: skip
            said = talk.packets(turns)
            made.append({
                "plain": said,
                "disturbed": disturb(said, rng, reorder=0.2, duplicate=0.1),
                "lossy": disturb(said, rng, reorder=0.1, lose=0.05),
                "midstream": [*disturb(said[4:12], rng, reorder=0.5), *said[12:]],
                "one-sided": [packet for i, packet in enumerate(said) if i != 1 and sent_by(packet) == number % 2],
            }[kind])  # fmt: skip
    return in_turns(*made[::step], rough.Rough(seed).reused(), rough.Rough(seed).conflicting())


def sent_by(packet: Packet) -> int:
    """0: the client."""
    return int(packet.frame[26:30] != bytes([10, 0, 0, 1]))


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pcap(tmp_path_factory.mktemp("in") / "talks.pcap", packets(), nanoseconds=True)


def everything(folder: Path) -> dict[str, bytes]:
    """A run's folder with its objects; the report without what describes the run itself."""
    found = output(folder) | {f"objects/{name}": text for name, text in output(folder / "objects").items()}
    return {name: text for name, text in found.items() if name not in {"objects.jsonl mtime", "objects/ mtime"}}


def made_by(capture: Path, folder: Path, *words: object, apart: bool = False) -> dict[str, bytes]:
    done = (run_apart if apart else run_here)("-r", capture, "-o", folder, *ANALYZE, *words)
    assert (done.status, done.out, done.err) == (0, "", ""), done.err
    return everything(folder)


@pytest.fixture(scope="module")
def alone(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of it, batches as large as they come."""
    return made_by(capture, tmp_path_factory.mktemp("alone") / "out", *ALONE)


def test_what_is_compared_has_everything_in_it(alone: dict[str, bytes]) -> None:
    """Heads, bodies, decoded ones, objects, parts of forms, holes, damage, ends that did not come."""
    names = " ".join(alone)
    for mark in ("-HTTP ", "-HTTPBODY ", "-HTTPBODY-002 ", "-GZIP ", "-DEFLATE ", "objects/", "evil.txt"):
        assert mark in names, mark
    told = {word for line in alone["objects.jsonl"].splitlines() for word in json.loads(line)["completeness"]}
    assert {"gaps", "damaged", "open"} <= told
    assert PAGE in alone.values()
    assert "evil.txt" not in alone


@pytest.mark.parametrize("workers", crossed([(2,)], [1, 2, 4]))
def test_processes(workers: int, capture: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    """Files, objects, times, report and index do not depend on how many workers and writers there are."""
    assert differences(alone, made_by(capture, tmp_path / "out", "--workers", workers, apart=True)) == []


@pytest.mark.parametrize("size", crossed([(7,)], [1, 7, 100]))
def test_batches(size: int, capture: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    """... nor on where batches are cut."""
    assert differences(alone, made_by(capture, tmp_path / "out", *ALONE, "--batch-packets", size)) == []


@pytest.mark.parametrize("words", crossed([("-R",)], ["-R", "-F %B", "-C 700", "--overlap last"]))
def test_options(words: str, capture: Path, tmp_path: Path) -> None:
    """... whatever the options."""
    first = made_by(capture, tmp_path / "a", *ALONE, *words.split())
    second = made_by(capture, tmp_path / "b", "--workers", 2, "--batch-packets", 50, *words.split(), apart=True)
    assert differences(first, second) == []


def test_disorder_changes_nothing_that_is_found(tmp_path: Path) -> None:
    """Packets that come late, or twice, make the same files as in order; nothing was lost."""
    found = []
    for name, network in (("order", {}), ("disorder", {"reorder": 0.2, "duplicate": 0.2})):
        said = []
        for number, turns in enumerate(TALKS.values()):
            talk = Conversation(client=("10.0.0.1", 4000 + number), start_ns=SECOND * (1_620_000_000 + number))
            opening = talk.open()
            rest = [packet for side, data in turns for packet in talk.say(side, data)]
            said += [*opening, *disturb(rest, random.Random(number), **network), *talk.finish()]
        made = made_by(write_pcap(tmp_path / f"{name}.pcap", said), tmp_path / name, *ALONE)
        found.append({
            name.partition("-")[2] if name.startswith("objects/") else name: text
            for name, text in made.items() if not name.endswith((" mtime", ".xml", ".jsonl"))
        })  # fmt: skip
    assert differences(*found) == []


def test_the_accounts_add_up(capture: Path, tmp_path: Path) -> None:
    """What the analyzers made of bytes is all of the bytes of the streams that they took."""
    made_by(capture, tmp_path / "out", *ALONE)
    report = report_of(tmp_path / "out")
    told = counters(report)
    accounted = sum(told.get(f"http.{name}", 0) for name in accounts_of("http"))
    sizes = [
        int(file.tags["filesize"]) for file in report.files
        if (tmp_path / "out" / f"{file.tags['filename']}-HTTP").exists()
    ]  # fmt: skip
    assert told["http.requests"] >= 40
    assert accounted >= sum(sizes) > 0


def test_neither_a_nor_e_finds_nothing(capture: Path, tmp_path: Path) -> None:
    """Stream files are the same with and without; -e makes objects only, -a files only."""
    plain, extracted, analyzed = (
        run_here("-r", capture, "-o", tmp_path / name, "--quiet", *ALONE, *words) and files(tmp_path / name)
        for name, words in (("plain", []), ("extracted", ["-e", "http"]), ("analyzed", ["-a"]))
    )
    streams = plain.keys() - {"report.xml"}
    assert extracted.keys() - plain.keys() == {"objects/", "objects.jsonl"}
    assert all("-HTTP" in name for name in analyzed.keys() - plain.keys())
    for other in (extracted, analyzed):
        assert differences({name: plain[name] for name in streams}, {name: other[name] for name in streams}) == []


@pytest.fixture(scope="module")
def shown(capture: Path) -> str:
    done = run_apart("-r", capture, "-c", "-a", *ALONE)
    assert done.status == 0
    return done.out


def test_exchanges_are_printed(shown: str) -> None:
    """Each request with its answer, and readable text decoded."""
    assert "GET http://example.test/b HTTP/1.1\n" in shown
    assert f"200 OK text/html gzip {len(PACKED):,} bytes (decoded {len(PAGE):,})\n" in shown
    assert "bytes missing" in shown
    assert shown.count("<p>something to read</p>\n") > 1000


@pytest.mark.parametrize(("workers", "size"), crossed([(2, 16384)], [0, 1, 2, 4], [7, 100, 16384]))
def test_what_is_printed_depends_on_no_process(
    workers: int, size: int, shown: str, capture: Path, tmp_path: Path
) -> None:
    """... and on no batch; no file is left."""
    words = ["--workers", workers, "--batch-packets", size]
    done = run_apart("-r", capture, "-c", "-a", *words, folder=tmp_path, env={"TMPDIR": str(tmp_path)})
    assert (done.status, files(tmp_path)) == (0, {})
    one, other = ({"text": text.encode()} for text in (shown, done.out))
    assert differences(one, other) == []


def test_what_is_printed_packet_by_packet(tmp_path: Path) -> None:
    """... nor on batches of a single packet."""
    some = write_pcap(tmp_path / "some.pcap", packets(step=7), nanoseconds=True)
    one, other = (
        {"text": run_apart("-r", some, "-c", "-a", *ALONE, *words).out.encode()}
        for words in ([], ["--batch-packets", 1])
    )
    assert b"200 OK" in one["text"]
    assert differences(one, other) == []


def test_the_rough_captures(rough_captures: list[Path], tmp_path: Path) -> None:
    """Streams of any trouble that hold nothing that is known: nobody reads them, or in vain, and the account holds."""
    done = run_here(*reads(rough_captures), "-o", tmp_path / "out", *ANALYZE, *ALONE)
    assert done.status == 0, done.err
    assert files(tmp_path / "out")["objects.jsonl"] == b""
