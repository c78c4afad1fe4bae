"""``flowshard explain``: what it says of each segment, gap and stream, and of mistakes."""

from __future__ import annotations

import errno
import gzip
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.report.placing import output_error
from pipeline.writer.folder import Folder, StoredFile
from tests import rough
from tests.build import Conversation, write_pcap
from tests.explaining import CLIENT, SERVER, made, talk_with, texts, told, verdicts
from tests.runs import COMMAND, REPORT, Finished, environment, run_here

# --------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("happens", "verdict", "words"),
    [
        (("again",), "retransmission", "sent again, the same bytes"),
        (("others",), "conflict", "40 bytes were there already, 40 of them others: those win that were there"),
        (("longer",), "overlap", "20 bytes were there already, the same"),
        (("ahead",), "out_of_order", "new, but 50 bytes before it have not come"),
        (("ahead", "filling"), "fills_hole", "fills a hole with 50 bytes"),
        (("probe",), "keep_alive", "keep-alive: its byte is no data"),
        (("far",), "outside", "outside the window: 1,610,612,636 bytes from the stream's end"),
        (("below",), "outside", "9 bytes before the stream's start"),
        (("stray",), "not_data", "SYN with another number than the connection's: not taken; its 3 bytes are no data"),
        (("held",), "held", "it waits for its answer to be a new connection; its 3 bytes are not kept"),
        (("reset",), "not_data", "7 bytes on a RST are no data; RST: ends the connection"),
    ],
)
def test_a_segment_is_called_what_it_is(
    tmp_path: Path, happens: tuple[str, ...], verdict: str, words: str
) -> None:  # fmt: skip
    """Each outcome of a segment has a verdict for programs and words for people."""
    out = made(tmp_path, talk_with(*happens))
    assert verdicts(out, SERVER)[-1] == verdict
    assert words in texts(out, SERVER)


def test_who_wins_is_the_policys(tmp_path: Path) -> None:
    """With --overlap last the later bytes are said to win."""
    out = made(tmp_path, talk_with("others"), "--overlap", "last")
    assert "40 of them others: these win" in texts(out, SERVER)
    assert [line["overlaps"] for line in told(out, SERVER) if line.get("overlaps")] == [
        [{"offset": 10, "size": 40, "wins": True}]
    ]


def test_the_limit_of_a_stream_is_told(tmp_path: Path) -> None:
    """What lies beyond -C is said to, and the summary says what kept the file short."""
    out = made(tmp_path, talk_with("filling"), "-C", 100)
    assert verdicts(out, SERVER) == ["new", "beyond"]
    assert "-C kept it short" in texts(out, SERVER)


@pytest.mark.parametrize(
    ("refused", "words", "on_disk"),
    [
        (2, "On disk are the first 100 bytes, 100 of them captured: a write failed (ENOSPC): run again", 100),
        (1, "On disk is nothing of it, and no file: a write failed (ENOSPC): run again where there is room.", 0),
    ],
)
def test_what_a_disk_refused_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int, words: str, on_disk: int
) -> None:
    """Of a stream that was cut short, or left out, since a write failed: what is on disk, and why it is not more."""
    talk, written = Conversation(), []

    def full(folder: Folder, file: StoredFile, pieces: list[bytes], size: int, offset: int) -> None:
        written.extend([size] if file.name == SERVER else [])
        if file.name == SERVER and len(written) >= refused:
            raise output_error("write", file.name, OSError(errno.ENOSPC, "full"))
        write(folder, file, pieces, size, offset)

    write = Folder.write
    monkeypatch.setattr(Folder, "write", full)
    monkeypatch.setattr("pipeline.writer.writer.may_be_plain", lambda _: False)  # a kernel writes without it
    packets = [*talk.open(), *talk.say(1, b"a" * 100), *talk.say(0, b"more"), *talk.say(1, b"b" * 50)]
    source = write_pcap(tmp_path / "x.pcap", packets, nanoseconds=True)
    done = run_here("-r", source, "-o", tmp_path / "out", "--workers", 0, "--quiet", "--batch-packets", 5)
    assert done.status == 4, done.err
    shown = texts(tmp_path / "out", SERVER)
    assert "It would be 150 bytes long: 150 were captured, 0 are missing." in shown
    assert words in shown
    [stream] = [line for line in told(tmp_path / "out", SERVER) if line["type"] == "stream"]
    assert (stream["on_disk"], stream["written_on_disk"], stream["disagreements"]) == (on_disk, on_disk, [])
    assert {"limited", "unwritten"} | ({"absent"} if not on_disk else set()) <= set(stream["completeness"])


def test_what_a_limit_left_out_is_told(tmp_path: Path) -> None:
    """A stream that has no file for --max-files is not said to be a defect of the captures."""
    shown = texts(made(tmp_path, talk_with(), "--max-files", 1), SERVER)
    assert "On disk is nothing of it, and no file: --max-output, --keep-free or --max-files" in shown


def test_what_a_worker_took_with_it_is_told(tmp_path: Path) -> None:
    """A stream that ends since its worker died is told as it is on disk; nothing is held against the captures."""
    out = made(tmp_path, talk_with())
    report = out / REPORT
    row = re.compile(rb"(<filename>10\.0\.0\.2.*?completeness=')[^']*", re.DOTALL)
    report.write_bytes(row.sub(rb"\1open lost", report.read_bytes()).replace(b"payload='100'", b"payload='0'"))
    assert "On disk are 100 of these bytes: the worker that had it died." in texts(out, SERVER)


def test_a_gap_says_why_and_who_had_the_bytes(tmp_path: Path) -> None:
    """A hole that the receiver acknowledged is the capture's fault, and the summary says so."""
    out = made(tmp_path, talk_with("ahead", "acked"))
    [gap] = [line for line in told(out, SERVER) if line["type"] == "gap"]
    assert (gap["offset"], gap["size"], gap["reason"], gap["packet"]) == (100, 50, "end", None)
    assert "It is 200 bytes long: 150 were written, 50 are missing." in texts(out, SERVER)
    assert "The receiver acknowledged 50 of them: they were sent, and the captures lack them." in texts(out, SERVER)


def test_what_was_acknowledged_behind_the_end_is_told(tmp_path: Path) -> None:
    """A file that stops before what the receiver acknowledged is short for the capture's sake."""
    out = made(tmp_path, talk_with("acked"))
    assert "The receiver acknowledged 100 bytes behind the last one captured" in texts(out, SERVER)
    assert "acknowledges 100 bytes that were not captured so far" in texts(out, CLIENT)


def test_a_declared_gap_names_the_packet(tmp_path: Path) -> None:
    """A gap that an acknowledgement made clear stands behind the packet that made the reorder window pass."""
    talk = Conversation(step_ns=1_000_000_000)
    packets = [*talk.open(), *talk.say(1, b"a" * 100)]
    talk.next_seq[1] += 50
    packets += [each for _ in range(6) for each in talk.say(1, b"b" * 100)]
    lines = told(made(tmp_path, packets), SERVER)
    [gap] = [line for line in lines if line["type"] == "gap"]
    before = lines[lines.index(gap) - 1]
    assert (gap["reason"], gap["offset"], gap["size"]) == ("acked_but_unseen", 100, 50)
    assert 0 <= gap["packet"] - before["packet"] <= 1


def test_cut_bytes_are_told_from_lost_ones(tmp_path: Path) -> None:
    """Holes of the snap length and of lost packets have different causes."""
    talk = Conversation(acknowledge=False)
    packets = [*talk.open(), *(each.cut(154) for each in talk.say(1, b"a" * 300))]
    talk.next_seq[1] += 40
    packets += talk.say(1, b"b" * 10)
    [stream] = [line for line in told(made(tmp_path, packets), SERVER) if line["type"] == "stream"]
    assert stream["missing"] == [
        {"offset": 100, "size": 200, "cause": "cut"}, {"offset": 300, "size": 40, "cause": "end"}
    ]  # fmt: skip


def test_a_start_that_moves_moves_the_offsets(tmp_path: Path) -> None:
    """Offsets are those of the file, though the first segments came before its start was known."""
    talk = Conversation(acknowledge=False)
    packets = talk.packets([(1, b"x" * 1460 + b"y" * 1460 + b"z" * 1460)])[3:]
    order = (1, 2, 0, *range(3, len(packets)))
    swapped = [replace(packets[i], time_ns=packets[k].time_ns) for k, i in enumerate(order)]
    lines = [line for line in told(made(tmp_path, swapped), SERVER) if line.get("size")]
    assert [line["offset"] for line in lines if line["type"] == "segment"] == [1460, 2920, 0]


def test_syn_and_fin_are_told(tmp_path: Path) -> None:
    """Packets without payload say what they do, and a stream that is whole is said to be."""
    talk = Conversation()
    shown = texts(made(tmp_path, talk.packets([(1, b"answer")])), SERVER)
    assert "SYN: opens the stream" in shown
    assert "FIN: the stream ends at 6" in shown
    assert "It is whole" in shown


def test_a_number_shows_both_directions(tmp_path: Path) -> None:
    """A connection's number names its two streams, told in capture order."""
    talk = Conversation()
    lines = told(made(tmp_path, talk.packets([(0, b"hello"), (1, b"answer")])), 1)
    packets = [line["packet"] for line in lines if line["type"] == "segment"]
    assert packets == list(range(1, 11))
    assert {line["file"] for line in lines if line["type"] == "stream"} == {CLIENT, SERVER}


# --------------------------------------------------------------------------- names and mistakes


def refused(*words: object) -> Finished:
    """A command that is refused, in two lines."""
    finished = run_here("explain", *words)
    assert finished.status in {2, 3}
    assert [line.split(":")[0] for line in finished.err.splitlines()] == ["error", "hint"]
    return finished


def test_streams_have_several_names(tmp_path: Path) -> None:
    """A stream is found by its name, by a path to it, by a part of it and by the file of what it lost."""
    far = rough.Rough(1).far_jump()
    out = made(tmp_path, far + talk_with("others"), "-F", "%A/%B")
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.suffix != ".xml")
    assert any("@" in name for name in names)
    assert any("conflicts-" in name for name in names)
    for name in names:
        for spelled in (name, out / name):
            [stream] = [line for line in told(out, spelled) if line["type"] == "stream"]
            assert name.replace("conflicts-", "").startswith(stream["file"])


def test_an_appended_file_is_all_of_its_connections(tmp_path: Path) -> None:
    """With -R one name stands for several connections, and offsets are those of the common file."""
    out = made(tmp_path, rough.Rough(1).reused(), "-R")
    lines = told(out, "10.0.0.9.50000-10.0.0.2.80")
    streams = [line["stream"] for line in lines if line["type"] == "stream"]
    assert len(streams) == 4
    offsets = [line["offset"] for line in lines if line["type"] == "segment" and line["size"]]
    assert offsets == [0, 200, 400, 600]
    ends = re.findall(r"FIN: the stream ends at (\d+)", texts(out, "10.0.0.9.50000-10.0.0.2.80"))
    assert ends == ["200", "800"]  # the first one's and the last one's; those between end otherwise


def test_mistakes_are_answered(tmp_path: Path) -> None:
    """No report, no such stream, a capture that is gone or was piped: each has a message and a hint."""
    out = made(tmp_path, talk_with())
    assert "no such report" in refused(tmp_path / "nothing", CLIENT).err
    assert CLIENT in refused(out, CLIENT[:-1]).err
    assert "connection 77" in refused(out, 77).err
    assert "is given 2 times" in refused(out, CLIENT, "--read", "a", "--read", "b").err
    assert "unrecognized" in refused(out, CLIENT, "--nonsense").err
    source = tmp_path / "x.pcap"
    source.rename(tmp_path / "y.pcap")
    assert "no such capture" in refused(out, CLIENT).err
    assert told(out, CLIENT, "--read", tmp_path / "y.pcap")[-1]["written"] == 8
    write_pcap(source, Conversation(client=("10.0.0.77", 1)).packets(), nanoseconds=True)
    finished = run_here("explain", out, CLIENT)
    assert finished.status == 3
    assert "bytes now" in finished.err
    assert "not in these captures" in finished.err


@pytest.mark.parametrize(
    "text",
    [b"", b"nothing", b"<!DOCTYPE a [<!ENTITY b 'b'>]><a>&b;</a>", b"<dfxml/>", b"<dfxml><tcpflow:input/></dfxml>"],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: bytes) -> None:
    """A file that is no report of ours is refused; entities of a document type are never expanded."""
    (tmp_path / "report.xml").write_bytes(text)
    assert "report" in refused(tmp_path, 1).err


@pytest.mark.parametrize(("old", "new"), [("connection='1'", "connection='x'"), ("10.0.0.1'", "nowhere'")])
def test_a_damaged_row_is_refused(tmp_path: Path, old: str, new: str) -> None:
    """A number or an address of the report that is none is a message, not a traceback."""
    out = made(tmp_path, talk_with())
    report = out / "report.xml"
    report.write_text(report.read_text().replace(old, new))
    assert "report" in refused(out, CLIENT).err


def test_what_changed_is_told(tmp_path: Path) -> None:
    """Where the captures give other counts than the report has, each difference is a warning."""
    out = made(tmp_path, talk_with())
    report = out / "report.xml"
    report.write_text(report.read_text().replace("written='8'", "written='9'"))
    finished = run_here("explain", out, CLIENT)
    assert finished.status == 0
    assert "written: 8, the report says 9" in finished.err


def test_a_piped_capture_is_needed_again(tmp_path: Path) -> None:
    """Standard input cannot be read again, and a copy of it can."""
    source = write_pcap(tmp_path / "x.pcap", talk_with(), nanoseconds=True)
    words = [*COMMAND, "-r", "-", "-o", str(tmp_path / "out"), "--quiet", "--workers", "0"]
    with subprocess.Popen(["cat", str(source)], stdout=subprocess.PIPE) as cat:
        subprocess.run(words, stdin=cat.stdout, check=True, timeout=30, env=environment())
    assert "standard input was piped" in refused(tmp_path / "out", CLIENT).err
    assert told(tmp_path / "out", CLIENT, "--read", source)[-1]["written"] == 8


def test_a_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    """A reader that has seen enough ends it with status 141 and no word."""
    out = made(tmp_path, Conversation(mss=10).packets([(1, b"x" * 20_000)]))
    read, write = os.pipe()
    os.close(read)
    words = [*COMMAND, "explain", str(out), SERVER]
    finished = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, timeout=30, env=environment(), check=False)
    os.close(write)
    assert (finished.returncode, finished.stderr) == (141, b"")


def test_help_is_given() -> None:
    """-h alone is enough."""
    assert "explain OUT STREAM" in run_here("explain", "-h").out


def test_any_kind_of_run_can_be_explained(tmp_path: Path) -> None:
    """One that printed streams, of a compressed capture, named relative to another folder."""
    source = write_pcap(tmp_path / "x.pcap", talk_with("others"), nanoseconds=True)
    (tmp_path / "x.pcap.gz").write_bytes(gzip.compress(source.read_bytes()))
    source.unlink()
    (tmp_path / "out").mkdir()
    words = ("-r", "x.pcap.gz", "-c", "-X", "out/report.xml", "--workers", 0, "--quiet")
    assert run_here(*words, folder=tmp_path).status == 0
    assert verdicts(tmp_path / "out", SERVER) == ["new", "conflict"]
    (tmp_path / "out/report.xml").rename(tmp_path / "other.xml")
    assert told(tmp_path / "out", SERVER, "--report", tmp_path / "other.xml")[-1]["conflicting"] == 40


def test_nothing_from_outside_moves_the_cursor(tmp_path: Path) -> None:
    """Names and expressions of the report are escaped before they are shown."""
    out = made(tmp_path, talk_with())
    report = out / "report.xml"
    report.write_text(report.read_text().replace(f">{CLIENT}<", ">\\x1b[31m<"))
    finished = run_here("explain", out, 1)
    assert "\\x1b[31m" in finished.out
    assert "\x1b" not in finished.out
