"""One connection's findings: when they are handed over, how they are taken back, what they are called."""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import InternalError
from tests.writer.shelved import GZIP, START, TEXT, WHOLE, Bench, Benches, Conversation, tell
from workers.analyzers.seam import Entity, Exchange, Moment

SECOND = 1_000_000_000


def began(second: int) -> Moment:
    return Moment(second, START + second * SECOND, second)


def test_header_blocks_are_one_file(bench: Bench) -> None:
    """Of each direction; its row comes when the connection is over, and stands in front of the bodies'."""
    host = bench.host()
    host.text(1, "HTTP", b"HTTP/1.1 200 OK\r\n\r\n")
    host.text(0, "HTTP", b"GET / HTTP/1.1\r\n\r\n")
    tell(host, b"body")
    host.text(1, "HTTP", b"HTTP/1.1 304\r\n\r\n")
    host.exchange(Exchange({}, began=(began(5), began(7))))
    host.exchange(Exchange({}, began=(None, began(9))))
    host.count(1, "head_bytes", 35)
    host.count(1, "body_bytes", 4)
    assert set(bench.files()) == {"answers-HTTPBODY", "objects/17-2-page"}
    host.close()
    heads = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 304\r\n\r\n"
    assert bench.files()["answers-HTTP"] == heads
    assert bench.files()["asks-HTTP"] == b"GET / HTTP/1.1\r\n\r\n"
    row = bench.row("answers-HTTP")
    assert (row.serial, row.kind, row.offset, row.length) == (1, "HTTP", 0, 39)
    assert (row.first_ns, row.last_ns) == (START + 7 * SECOND, START + 9 * SECOND)
    assert row.md5 == hashlib.md5(heads).hexdigest()
    assert bench.row("asks-HTTP").last_ns == START + 5 * SECOND
    assert bench.row("answers-HTTPBODY").serial == 2
    assert bench.counters == {
        "found.files": 4, "found.bytes": len(heads) + 18 + 8,
        "found.files.HTTP": 2, "found.bytes.HTTP": len(heads) + 18,
        "found.files.HTTPBODY": 1, "found.bytes.HTTPBODY": 4,
        "found.files.object": 1, "found.bytes.object": 4,
    }  # fmt: skip
    assert host.facts(1) == {"head_bytes": 35, "body_bytes": 4}


def test_rows_and_records_come_with_the_exchange(bench: Bench) -> None:
    """A connection that lasts does not pile them up; what no exchange was told of comes at its end."""
    host = bench.host()
    content = host.begin(Entity(0, "HTTPBODY", 0))
    content.data(b"a")
    content.end(1, WHOLE, {})
    assert not bench.lines.records
    for n in range(1, 41):
        tell(host, b"b")
        assert list(bench.lines.records) == [(17, 2 * i) for i in range(1, n + 1)]
        assert 2 + 2 * n - 32 < len(bench.rows) <= 2 + 2 * n
    host.close()
    assert len(bench.rows) == 82
    assert min(bench.lines.records) == (17, 1)


def test_an_open_content_at_the_end_is_a_defect_of_ours(bench: Bench) -> None:
    """Nothing may be lost without a word."""
    host = bench.host()
    host.begin(Entity(0, "HTTPBODY", 0))
    with pytest.raises(InternalError, match="left a content of connection 17 open"):
        host.close()


def test_one_that_was_told_nothing_has_made_nothing(bench: Bench) -> None:
    """Several hosts may be made for a connection before it is known whose it is."""
    bench.host().close()
    bench.host().discard()
    assert bench.told() == ({}, {}, [], {}, {})


def test_discard_leaves_nothing(bench: Bench) -> None:
    """Neither of what is complete nor of what is not: files, also those under another name, rows, records, counts."""
    (bench.path / "answers-HTTPBODY").write_bytes(b"theirs")
    host = bench.host()
    host.text(0, "HTTP", bytes(100_000))
    tell(host, b"plain")
    tell(host, GZIP + b"behind", "gzip")
    tell(host, b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\nA\r\n--x--', boundary=b"x", side=0)
    large = host.begin(Entity(1, "HTTPBODY", 900, None, ("gzip",), boundary=b"x"))
    large.data(bytes(200_000))
    form = host.begin(Entity(0, "HTTPBODY", 900, boundary=b"x"))
    form.data(b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\n' + bytes(200_000))
    host.count(0, "head_bytes", 9)
    for _ in range(20):
        tell(host, b"enough for rows to be handed over")
    assert len(bench.files()) > 50
    assert len(bench.rows) > 32
    host.discard()
    assert bench.files() == {"answers-HTTPBODY": b"theirs"}
    assert (bench.rows, bench.lines.records, dict(host.facts(0)), bench.shelf._store.held) == ([], {}, {}, 0)
    other = bench.host()
    tell(other, b"again")
    other.close()
    assert bench.row("answers-HTTPBODY~17.1").serial == 1
    assert bench.counters["found.files"] == 2


def test_a_taken_name_is_left_alone(bench: Bench) -> None:
    """Whatever has it, a file or a link; rows and records have the name that the file got."""
    victim = bench.path.parent / "victim"
    victim.write_bytes(b"kept")
    (bench.path / "objects").mkdir()
    (bench.path / "answers-HTTP").symlink_to(victim)
    (bench.path / "answers-HTTPBODY").hardlink_to(victim)
    (bench.path / "answers-HTTPBODY-GZIP").symlink_to("/dev/full")
    (bench.path / "objects" / "17-2-page").symlink_to(victim)
    (bench.path / "objects" / "17-2-page.coded").symlink_to(bench.path / "nowhere")
    host = bench.host()
    host.text(1, "HTTP", b"head")
    tell(host, GZIP + b"behind", "gzip")
    host.close()
    assert victim.read_bytes() == b"kept"
    for row in bench.rows:
        assert row.filename.endswith("~17.1")
        assert len((bench.path / row.filename).read_bytes()) == row.size
    assert bench.record(2)["file"] == "objects/17-2-page~17.1"
    assert bench.record(2)["coded_file"] == "objects/17-2-page.coded~17.1"
    assert len(bench.folder.renamed) == 5


def test_a_taken_folder_is_left_alone(bench: Bench) -> None:
    """Objects go where folders go whose names are taken."""
    (bench.path / "objects").symlink_to("/")
    host = bench.tell(b"body")
    assert bench.record(2)["file"] == "objects~/17-2-page"
    host.discard()
    assert set(bench.files()) == set()


@pytest.mark.parametrize(
    "name", ["..", "/etc/passwd", "a/../../b", "\0", "-rf", ".htaccess", "con", "x" * 500, "\u202e"]
)
def test_no_name_leads_elsewhere(bench: Bench, name: str) -> None:
    """What a peer calls it makes one component of a name, within the folder."""
    bench.tell(b"body", name=name)
    (file,) = [file for file in bench.files() if file.startswith("objects/")]
    assert file.startswith("objects/17-2-")
    assert file.count("/") == 1
    assert len(file) < 120
    assert [path.name for path in bench.path.parent.iterdir()] == ["out"]


def test_a_provisional_suffix_stands_within_the_names(bench: Bench) -> None:
    """With a coarse -F; objects have the connection's number, and so none. A name may have folders."""
    conversation = Conversation(coarse=True)
    conversation.streams[1].own_name = conversation.streams[1].name = "10.0.0.2/web"
    host = bench.host(conversation)
    tell(host, GZIP, "gzip")
    host.close()
    names = {(row.filename, row.suffix) for row in bench.rows}
    assert names == {
        ("10.0.0.2/web~17.1-HTTPBODY", "~17.1"),
        ("10.0.0.2/web~17.1-HTTPBODY-GZIP", "~17.1"),
        ("objects/17-2-page", ""),
    }
    assert bench.lines.suffixes == [{"stream": "~17.1"}]


def test_connections_that_share_a_file_have_files_of_their_own(benches: Benches) -> None:
    """With -R: called as theirs would be without it. Offsets are those of the shared file."""
    bench, conversation = benches(append=True), Conversation()
    stream = conversation.streams[1]
    stream.own_name, stream.base = "answersc0001", 5000
    stream.file.name = "answers~17.1"  # as long as the one before is not closed
    host = bench.host(conversation)
    host.text(1, "HTTP", b"head")
    tell(host, b"body")
    host.close()
    assert set(bench.files()) == {"answersc0001-HTTP", "answersc0001-HTTPBODY", "objects/17-2-page"}
    assert bench.row("answersc0001-HTTPBODY").offset == 5300
    assert bench.row("answersc0001-HTTP").offset == 5000
    assert (bench.record(2)["stream"], bench.record(2)["offset"]) == ("answers", 5300)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 50, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_descriptors_are_few(tmp_path: Path) -> None:
    """However many bodies are under way: with 50 descriptors 120 of them take turns."""
    before = len(os.listdir("/proc/self/fd"))
    with Bench(tmp_path / "out") as bench:
        hosts = []
        for number in range(1, 121):
            conversation = Conversation(number)
            conversation.streams[1].own_name = f"answers{number}"
            host = bench.host(conversation)
            hosts.append((host, host.begin(Entity(1, "HTTPBODY", 0, name="a"))))
        for _ in range(3):
            for _, content in hosts:
                content.data(TEXT)
        for host, content in hosts:
            content.end(3 * len(TEXT), WHOLE, {})
            host.close()
        assert all(data == TEXT * 3 for data in bench.files().values())
        assert len(bench.rows) == 240
    assert len(os.listdir("/proc/self/fd")) <= before
