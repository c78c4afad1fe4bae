"""What a manifest says: everything that was read and written, and nothing that a second run would not say again."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.parts.folders import remove_part
from tests import example
from tests.build import pcap_bytes, write_pcap
from tests.forms import crossed, run_fed
from tests.manifest.proven import MANIFEST, below, lines, proven, sha256, told, verify
from tests.parts.days import MARKER, rotated, traffic
from tests.runs import REPORT, run_apart, run_here


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_pcap(tmp_path / "a.pcap", example.packets())


WORDS = ("-md5", "-a", "-e", "http", "--packet-map")


def test_every_file_is_in_it_with_its_hash(tmp_path: Path, capture: Path) -> None:
    """Streams, derived files, objects, lists, and losing bytes: what lies there is what it says, no file more or
    less."""
    out = tmp_path / "out"
    made = proven(capture, out, *WORDS, "--flows", out / "flows.jsonl", "-w", out / "rest.pcapng")
    assert {each["name"] for each in made["files"]} == set(below(out)) - {MANIFEST, REPORT}
    for each in made["files"]:
        data = (out / each["name"]).read_bytes()
        assert (each["size"], each["sha256"]) == (len(data), sha256(data))
    assert [each["name"] for each in made["files"]] == sorted(each["name"] for each in made["files"])


def test_losing_bytes_are_in_it(tmp_path: Path, rough_captures: list[Path]) -> None:
    """The side files of overlaps, of names that have to be written in XML in another way, too."""
    out = tmp_path / "out"
    made = proven(rough_captures[0], out, "-F", "%a&'%A-%b<%B", "-a")
    names = {each["name"] for each in made["files"]}
    assert any(name.startswith("conflicts-") for name in names)
    assert names == set(below(out)) - {MANIFEST, REPORT}


def test_what_lies_elsewhere_has_its_path(tmp_path: Path, capture: Path) -> None:
    """The report (-X), -w and --flows outside of the folder are named by absolute path."""
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    made = proven(
        capture, out, "-X", other / "a.xml", "-w", other / "rest.pcapng", "--flows", other / "flows.jsonl"
    )  # fmt: skip
    assert made["report"]["name"] == str(other / "a.xml")
    assert [(each["path"], each["sha256"]) for each in made["elsewhere"]] == [
        (str(path), sha256(path.read_bytes())) for path in (other / "flows.jsonl", other / "rest.pcapng")
    ]
    assert verify(out).status == 0
    (other / "flows.jsonl").write_text("")
    (other / "a.xml").unlink()
    assert [line.split()[:3] for line in lines(out)] == [
        ["changed", "file", str(other / "flows.jsonl")], ["missing", "report", str(other / "a.xml")],
    ]  # fmt: skip


@pytest.mark.parametrize("workers", crossed([(0,)], [0, 1]))
def test_an_input_is_hashed_as_it_lies_there(tmp_path: Path, capture: Path, workers: int) -> None:
    """Mapped, compressed with something behind, and no capture at all: the SHA-256 is that of the file."""
    packed, junk = tmp_path / "b.pcap.gz", tmp_path / "c.pcap"
    packed.write_bytes(gzip.compress(capture.read_bytes()) + b"behind" * 300_000)
    junk.write_bytes(b"no capture")
    done = run_apart(
        "-r", capture, "-r", packed, "-r", junk, "-o", tmp_path / "out", "--manifest", "--workers", workers
    )  # fmt: skip
    assert done.status == 3
    assert told(tmp_path / "out")["inputs"] == [
        {"name": str(path), "path": str(path), "sha256": sha256(path.read_bytes()), "size": path.stat().st_size}
        for path in (capture, packed)
    ] + [{"name": str(junk), "path": str(junk), "sha256": None, "size": 0, "note": "it was not read"}]
    assert [line.split()[0] for line in lines(tmp_path / "out")] == ["unchecked"]


@pytest.mark.parametrize("workers", crossed([(1,)], [0, 1]))
def test_what_is_piped_is_hashed_as_it_passes(tmp_path: Path, workers: int) -> None:
    """Standard input has a hash and no path: a copy can be compared with it."""
    data = pcap_bytes(example.packets(), nanoseconds=True)
    assert run_fed(data, "-r", "-", "-o", tmp_path / "out", "--manifest", "--workers", workers).status == 0
    assert told(tmp_path / "out")["inputs"] == [{"name": "-", "sha256": sha256(data), "size": len(data)}]
    (tmp_path / "copy").write_bytes(data)
    assert lines(tmp_path / "out", "--read", tmp_path / "copy") == []
    assert lines(tmp_path / "out") == ["unchecked input - (it was piped; --read FILE names a copy)"]
    assert verify(tmp_path / "out").status == 0


def test_a_followed_input_is_hashed_as_far_as_it_was_read(tmp_path: Path, capture: Path) -> None:
    """The hash is that of the bytes of the run, whatever was written behind them later."""
    data, out = capture.read_bytes(), tmp_path / "out"
    with subprocess.Popen(
        ["python", "-m", "pipeline", "-r", capture, "-o", out, "--follow", "--manifest", "--quiet"]
    ) as running:  # fmt: skip
        try:
            while not list(out.glob("*.80-*")):
                assert running.poll() is None
            running.terminate()
            assert running.wait(30) == 0
        finally:
            running.kill()
    assert [(each["sha256"], each["size"]) for each in told(out)["inputs"]] == [(sha256(data), len(data))]


def test_a_second_run_says_the_same(tmp_path: Path, capture: Path) -> None:
    """All but one member depends on the command, its inputs and what is installed."""
    first = proven(capture, tmp_path / "out", *WORDS, "--overwrite")
    again = proven(capture, tmp_path / "out", *WORDS, "--overwrite")
    assert first.pop("run") != again.pop("run")
    assert first == again


def test_processes_change_nothing(tmp_path: Path, capture: Path) -> None:
    """... nor do the counts of processes, but for the words of the command."""
    out = tmp_path / "out"
    made = proven(capture, out, *WORDS)
    done = run_apart(
        "-r", capture, "-o", out, "--workers", 2, "--writers", 2, "--manifest", "--overwrite", *WORDS
    )  # fmt: skip
    assert done.status == 0, done.err
    other = told(out)
    for each in (made, other):
        del each["run"], each["command_line"]
    assert made == other


def test_the_reports_content_can_be_hashed_by_anybody(tmp_path: Path, capture: Path) -> None:
    """It is the report without three lines, which describe the run itself."""
    made = proven(capture, tmp_path / "out")
    text = (tmp_path / "out" / REPORT).read_bytes()
    content = re.sub(rb"(?m)^<(execution_environment|rusage|tcpflow:processes)[ >].*\n", b"", text)
    assert text.count(b"\n") - content.count(b"\n") == 3
    assert made["report"] == {"content_sha256": sha256(content), "name": REPORT}
    assert made["run"]["report_sha256"] == sha256(text)


def test_what_was_there_before_is_not_ours(tmp_path: Path, capture: Path) -> None:
    """A foreign file is named without a hash, and is free to change; a folder of others is not looked into."""
    out = tmp_path / "out"
    (out / "theirs").mkdir(parents=True)
    (out / "notes").write_text("mine")
    assert proven(capture, out)["others"] == ["notes", "theirs/"]
    (out / "notes").write_text("changed")
    (out / "theirs" / "more").touch()
    assert lines(out) == []


def test_a_later_run_leaves_no_earlier_manifest(tmp_path: Path, capture: Path) -> None:
    """With --overwrite, also without --manifest: what a manifest speaks of is what lies beside it."""
    out = tmp_path / "out"
    proven(capture, out)
    assert run_here("-r", capture, "-o", out, "--workers", 0, "--overwrite").status == 0
    assert not (out / MANIFEST).exists()


def test_a_foreign_manifest_is_refused(tmp_path: Path, capture: Path) -> None:
    """A file of that name is not replaced without being told to."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text("theirs")
    done = run_here("-r", capture, "-o", tmp_path / "out", "--workers", 0, "--manifest")
    assert (done.status, "--overwrite" in done.err) == (2, True)
    assert (tmp_path / "out" / MANIFEST).read_text() == "theirs"


@pytest.mark.parametrize("word", ["-c", "--no-report"])
def test_a_manifest_needs_a_report(tmp_path: Path, capture: Path, word: str) -> None:
    """Where there is none, --manifest is refused before anything is written."""
    done = run_here("-r", capture, "-o", tmp_path / "out", "--manifest", word)
    assert (done.status, not (tmp_path / "out").exists()) == (2, True)


def test_a_run_that_fails_at_its_end_leaves_none(tmp_path: Path, capture: Path) -> None:
    """A manifest that cannot be written is an error of the output; streams and report stay complete."""
    code = (
        "import sys; sys.argv[0] = 'flowshard'; import pipeline.manifest.making as making; from pipeline.cli import"
        " command\ndef fail(*_): raise OSError(28, 'No space left on device')\nmaking.hash_files = fail\ncommand()"
    )
    done = run_apart("-r", capture, "-o", tmp_path / "out", "--workers", 0, "--manifest", code=code)
    assert (done.status, "No space left" in done.err) == (4, True)
    assert (tmp_path / "out" / REPORT).exists()
    assert not list((tmp_path / "out").glob("*manifest*"))
    assert not list((tmp_path / "out").glob(".flowshard*"))


@pytest.mark.parametrize("workers", crossed([(2,)], [0, 2]))
def test_each_part_has_its_own(tmp_path: Path, workers: int) -> None:
    """With --rotate every part is proven by itself, and goes as a whole; the input's hash is in the last one's."""
    packets = traffic()
    out, _ = rotated(tmp_path, packets, "--workers", workers, "--manifest", "-F", "%T/%A-%a-%b")
    found = sorted(out.iterdir())
    assert len(found) > 2
    for part in found:
        assert {each["name"] for each in told(part)["files"]} == set(below(part)) - {MANIFEST, REPORT}
        assert MARKER in {each["name"] for each in told(part)["files"]}
    sha = [told(part)["inputs"][0]["sha256"] for part in found]
    assert sha == [None] * (len(found) - 1) + [sha256(pcap_bytes(packets, nanoseconds=True))]
    assert verify(*found).status == 0
    (found[0] / REPORT).unlink()
    assert verify(*found).status == 1
    remove_part(out, found[1].name)
    assert not found[1].exists()


def test_appended_streams_are_named_once(tmp_path: Path) -> None:
    """With -R several rows of the report tell of one file."""
    capture = write_pcap(tmp_path / "a.pcap", traffic(20))
    made = proven(capture, tmp_path / "out", "-R")
    assert {each["name"] for each in made["files"]} == set(below(tmp_path / "out")) - {MANIFEST, REPORT}
    assert len(os.listdir(tmp_path / "out")) == len(made["files"]) + 2
