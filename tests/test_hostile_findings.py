"""What is found goes into the output folder and nowhere else, or the run says that it could not."""

from __future__ import annotations

import gzip
import hashlib
import json
import resource
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import LONGEST_WITH_KIND
from tests.build import Conversation, in_turns, write_pcap
from tests.runs import REPORT, Finished, report_of, run_apart, run_here
from tests.workers.analyzers.conversations import get, ok

FIND = ["-a", "-e", "http", "-md5", "--workers", 0]
PAGE = b"a page " * 99
PACKED = ("Content-Encoding", "gzip"), ("Content-Type", "text/html")
EVIL = [
    "/../../../etc/passwd", "/%2e%2e%2f%2e%2e%2fetc", "/" + "a" * 5000, "/con", "/.htaccess", "/-rf", "//evil/x", "*",
    "/a:b", "/objects.jsonl", "/x\\..\\..\\y", "/\xae\x80", "/" + "%" * 99, "/ ",
]  # fmt: skip
CALLED = ["../../x.sh", '""', '"/"', ".", "x" * 3000 + ".txt", "a%00b", '"a\\"b"']


def capture(folder: Path) -> Path:
    """Names that would lead out of the folder, as URLs and as names of files; one body is coded and damaged."""
    pages = [(path, ok(PAGE)) for path in EVIL]
    pages += [("/", ok(PAGE, ("Content-Disposition", f"attachment; filename={name}"))) for name in CALLED]
    pages += [("/coded", ok(gzip.compress(PAGE, mtime=0)[:-9], *PACKED))]
    talks = (
        Conversation(client=("10.0.0.1", 4000 + number)).packets([(0, get(path)), (1, answer)])
        for number, (path, answer) in enumerate(pages)
    )
    return write_pcap(folder / "in.pcap", in_turns(*talks))


def names(folder: Path) -> list[str]:
    """All that a run has made but for the report and the index."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name not in {REPORT, "objects.jsonl"})


def link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def hard_link(place: Path, victim: Path) -> None:
    place.hardlink_to(victim)


def dangling(place: Path, victim: Path) -> None:
    place.symlink_to(victim.with_name("nowhere"))


@pytest.mark.parametrize("plant", [link, hard_link, dangling])
def test_no_link_is_followed(plant: Callable[[Path, Path], None], tmp_path: Path) -> None:
    """Whoever knows what all files will be called cannot have anything else written: they get other names."""
    said, plain, out, victim = capture(tmp_path), tmp_path / "plain", tmp_path / "out", tmp_path / "victim"
    assert run_here("-r", said, "-o", plain, "--quiet", *FIND).status == 0
    victim.write_text("unharmed")
    (out / "objects").mkdir(parents=True)
    for name in names(plain):
        plant(out / name, victim)
    assert run_here("-r", said, "-o", out, "--quiet", *FIND).status == 0
    assert victim.read_text() == "unharmed"
    assert {path.name for path in tmp_path.iterdir()} == {"in.pcap", "plain", "out", "victim"}
    found = {file.tags["filename"]: file.hashes["md5"] for file in report_of(out).files}
    assert len(found) == len(names(plain))
    assert found.keys().isdisjoint(names(plain))
    assert {name: hashlib.md5((out / name).read_bytes()).hexdigest() for name in found} == found
    lines = [json.loads(line) for line in (out / "objects.jsonl").read_text().splitlines()]
    assert {line["file"] for line in lines} < found.keys()


def test_the_longest_names_have_room_for_all_that_comes_behind(tmp_path: Path) -> None:
    """At the limit of -F, with the time in front, codings one over the other, and other files in the way."""
    thrice = zlib.compress(zlib.compress(zlib.compress(PAGE)))
    turns = [(0, get("/a")), (1, ok(thrice, ("Content-Encoding", "deflate, deflate, deflate")))]
    said = write_pcap(tmp_path / "in.pcap", Conversation().packets(turns))
    words = ["-r", said, "-o", tmp_path / "out", "-T", "-F", "x" * LONGEST_WITH_KIND, "--quiet", *FIND]
    assert run_here(*words).status == 0
    longest = max(names(tmp_path / "out"), key=len)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / longest).write_text("in the way")
    words[3] = tmp_path / "more"
    assert run_here(*words).status == 0
    assert (tmp_path / "more" / longest).read_text() == "in the way"
    assert any(path.read_bytes() == PAGE for path in (tmp_path / "more").iterdir() if path.is_file())
    words[6] = "x" * (LONGEST_WITH_KIND + 1)
    done = run_here(*words)
    assert (done.status, done.err.count("and -a puts more behind them")) == (2, 1)


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_no_room_for_what_a_body_decodes_to(workers: int, tmp_path: Path) -> None:
    """Status 4, which file, what to do; the report claims only what is there, and says that there is more."""
    packed = gzip.compress(bytes(17 << 20))
    turns = [(0, get("/a")), (1, ok(packed, *PACKED))]
    said = write_pcap(tmp_path / "in.pcap", Conversation().packets(turns))
    done: Finished = run_apart(
        "-r", said, "-o", tmp_path / "out", "-a", "--max-ratio", 10**6, "--workers", workers,
        preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, 16 << 20)),
    )  # fmt: skip
    assert done.status == 4
    assert "-HTTPBODY-GZIP: File too large\nhint: " in done.err
    files = {file.tags["filename"]: file for file in report_of(tmp_path / "out").files}
    assert files.keys() == {path.name for path in (tmp_path / "out").iterdir()} - {REPORT}
    assert all(int(file.tags["filesize"]) == (tmp_path / "out" / name).stat().st_size for name, file in files.items())
