"""What a user is told, and what is on disk then, when inputs, options or folders are not as they should be."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.build import Conversation, Packet, arp_frame, pcap_bytes, pcapng_blocks, udp4, write_pcap
from tests.report.reader import Report
from tests.runs import MARKER, REPORT, counters, files, report_of, run_apart, run_here
from tests.shared import shared_or_skip

TURNS = [(0, b"question"), (1, b"answer " * 300), (0, b"more"), (1, b"end")]
PACKETS = Conversation().packets(TURNS)
STREAMS = {
    "10.0.0.1.40000-10.0.0.2.80": b"questionmore",
    "10.0.0.2.80-10.0.0.1.40000": b"answer " * 300 + b"end",
}
ASKED, ANSWERED = STREAMS
SAFE = "precious"
TRACE = "flowshard.run"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with x.pcap in it."""
    monkeypatch.chdir(tmp_path)
    write_pcap(tmp_path / "x.pcap", PACKETS)
    return tmp_path


def told(err: str) -> list[str]:
    """The kinds of lines on standard error."""
    return [line.partition(":")[0] for line in err.splitlines()]


def streams_in(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the trace that a run without a report there leaves."""
    return {name: content for name, content in files(folder).items() if name != TRACE}


def inputs_of(report: Report) -> list[tuple[dict[str, str], list[dict[str, str]]]]:
    """Each input of a report, and its faults."""
    found: list[tuple[dict[str, str], list[dict[str, str]]]] = []
    for tag, attributes in report.foreign:
        if tag == "input":
            found.append((attributes, []))
        elif tag == "fault":
            found[-1][1].append(attributes)
    return found


REMARK = r"warning: .*( is a capture without packets|, and none carries payload)\nhint: .*\n"


def without_remarks(err: str) -> str:
    """What is said besides of a capture that was cut before its first payload."""
    return re.sub(REMARK, "", err)


# --------------------------------------------------------------------------- refused: nothing is written


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("-r nowhere.pcap", 2, "error: nowhere.pcap: no such file"),
        ("-r x.pcap/under", 2, "error: x.pcap/under: no such file"),
        ("-r bare", 2, "error: bare: a folder without captures: it holds no files"),
        ("-r texts", 2, "error: texts: a folder without captures: other files: 1"),
        ("-r x.pcap -r nowhere", 2, "error: nowhere: no such file"),
        ("-r - -r -", 2, "error: -r -: standard input can be read only once"),
        ("-r text", 3, "error: text is not a pcap, pcapng or snoop capture"),
        ("-r nothing", 3, "error: nothing is not a capture: the file is empty"),
        ("-r text -r nothing", 3, "error: text is not a pcap, pcapng or snoop capture"),
        ("-r x.pcap -F %Q", 2, "error: -F: unknown code '%Q' in '%Q'"),
        ("-r x.pcap -F ../%A", 2, "error: -F: '.' or '..' in '../%A' is a folder's name"),
        ("-r x.pcap --workers -1", 2, "error: --workers: -1 is out of range"),
        ("-r x.pcap --workers two", 2, "error: --workers: 'two' is not a whole number"),
        ("-r x.pcap --writers 0", 2, "error: --writers: 0 is out of range"),
        ("-r x.pcap -C -5", 2, "error: -C: -5 is out of range"),
        ("-r x.pcap tcpp port", 2,
         "error: the filter expression 'tcpp port' cannot be used: can't parse filter expression: syntax error"),
        ("-r text -r x.pcap tcpp port", 2,
         "error: the filter expression 'tcpp port' cannot be used: can't parse filter expression: syntax error"),
        ("-r header.pcap -r x.pcap tcpp port", 2,
         "error: the filter expression 'tcpp port' cannot be used: can't parse filter expression: syntax error"),
        ("-r x.pcap -X x.pcap", 2, "error: -X: x.pcap is an input of this run"),
        ("-r x.pcap -w x.pcap", 2, "error: -w: x.pcap is an input of this run"),
        ("-r x.pcap -w r --flows r", 2, "error: -w: r is where the list of flows goes"),
        ("-r x.pcap --start 2 --end 1", 2, "error: --end 1 is not behind --start 2"),
        ("-r x.pcap -X " + "x" * 300, 4, f"error: -X: cannot look at {'x' * 300}: File name too long"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(here: Path, words: str, status: int, message: str) -> None:
    """One line says what is wrong, a hint what to do, and no stream has been written."""
    (here / "text").write_text("This is a text, and no capture of packets at all.")
    (here / "nothing").touch()
    (here / "bare").mkdir()
    (here / "texts").mkdir()
    (here / "texts" / "text").write_text("text")
    write_pcap(here / "header.pcap", [])
    done = run_here(*words.split(), "-o", "out")
    assert (done.status, done.out, done.err.splitlines()[0]) == (status, "", message)
    assert told(done.err) in (["error", "hint"], ["error"])
    assert not (here / "out").exists() or files(here / "out") == {}


@pytest.mark.parametrize("workers", [0, 2])
def test_no_capture_at_all_creates_nothing(here: Path, workers: int) -> None:
    """When no input is a capture, not even the output folder is made."""
    (here / "text").write_text("no capture")
    done = run_apart("-r", "text", "-o", "out", "--workers", workers, folder=here)
    assert (done.status, told(done.err)) == (3, ["error", "hint"])
    assert sorted(files(here)) == ["text", "x.pcap"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(here: Path) -> None:
    """A file that may not be read: permission denied."""
    (here / "x.pcap").chmod(0)
    done = run_here("-r", "x.pcap", "-o", "out")
    assert (done.status, done.err.splitlines()[0]) == (2, "error: x.pcap: permission denied")


@pytest.mark.parametrize(("out", "status"), [("file", 2), ("file/below", 4)])
def test_an_output_folder_that_cannot_be(here: Path, out: str, status: int) -> None:
    """A file where the output folder, or its parent, should be: refused, and the file stays as it is."""
    (here / "file").write_text(SAFE)
    done = run_here("-r", "x.pcap", "-o", out)
    assert (done.status, told(done.err)) == (status, ["error", "hint"])
    assert files(here).keys() == {"file", "x.pcap"}
    assert (here / "file").read_text() == SAFE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_may_not_be_written(here: Path) -> None:
    """No right to write: status 4, and the hint says what to do."""
    (here / "shut").mkdir(mode=0o500)
    done = run_here("-r", "x.pcap", "-o", "shut/out")
    assert done.status == 4
    assert "Permission denied\nhint: choose a folder that you may write to" in done.err


# --------------------------------------------------------------------------- damaged input


def test_one_of_several_is_no_capture(here: Path) -> None:
    """The others are processed; status 3, a warning each, and the report has the fault."""
    (here / "text").write_text("This is a text, and no capture of packets at all.")
    (here / "nothing").touch()
    done = run_here("-r", "text", "-r", "x.pcap", "-r", "nothing", "-o", "out", "--quiet")
    assert (done.status, told(done.err)) == (3, ["warning", "hint"] * 2)
    assert files(here / "out").items() >= STREAMS.items()
    assert [(each["name"], each["packets"], len(faults)) for each, faults in inputs_of(report_of(here / "out"))] == [
        ("text", "0", 1), ("x.pcap", str(len(PACKETS)), 0), ("nothing", "0", 1)
    ]  # fmt: skip


def boundaries(pieces: Sequence[int]) -> list[int]:
    """Where the pieces of a file end."""
    return [sum(pieces[: n + 1]) for n in range(len(pieces))]


PCAP = pcap_bytes(PACKETS)
PCAPNG = b"".join(pcapng_blocks(PACKETS))
ENDS = {
    "pcap": boundaries([24, *(16 + len(packet.frame) for packet in PACKETS)]),
    "pcapng": boundaries([len(block) for block in pcapng_blocks(PACKETS)]),
}


@pytest.mark.parametrize(("kind", "data", "heads"), [("pcap", PCAP, 0), ("pcapng", PCAPNG, 1)])
def test_a_capture_that_breaks_off(here: Path, kind: str, data: bytes, heads: int) -> None:
    """Wherever it is cut: all before the cut is there, status 3, and message and report give the place."""
    ends = ENDS[kind]
    cuts = {cut for end in ends for cut in (end, end + 1, end + 17)}
    for cut in sorted(cut for cut in cuts if ends[heads] <= cut <= len(data)):
        (here / "cut").write_bytes(data[:cut])
        out = here / f"out-{cut}"
        done = run_here("-r", "cut", "-o", out, "--quiet")
        whole = sum(end <= cut for end in ends) - 1 - heads
        at = max(end for end in ends if end <= cut)
        report = report_of(out)
        assert counters(report)["packets"] == whole, cut
        for name, stream in STREAMS.items():
            found = (out / name).read_bytes() if (out / name).exists() else b""
            assert stream.startswith(found), (cut, name)
        [(_, faults)] = inputs_of(report)
        if cut == at:
            assert (done.status, without_remarks(done.err), faults) == (0, "", []), cut
        else:
            said = without_remarks(done.err)
            assert (done.status, told(said)) == (3, ["warning", "hint"]), cut
            place = rf"\(at byte {at:,}(, [0-9,]+ bytes skipped)?\)"
            assert re.match(rf"warning: cut: the file ends .* {place}\n", said), (cut, said)
            assert [fault["offset"] for fault in faults] == [str(at)]
    assert files(here / f"out-{len(data)}").items() >= STREAMS.items()


@pytest.mark.parametrize("size", [1, 3, 4, 12, 23])
def test_a_capture_that_breaks_off_in_its_header(here: Path, size: int) -> None:
    """Not even a whole header: status 3, and nothing is made."""
    (here / "cut").write_bytes(PCAP[:size])
    done = run_here("-r", "cut", "-o", "out")
    assert (done.status, told(done.err)) == (3, ["error", "hint"])
    assert not (here / "out").exists()


SCAN = [packet for port in range(5) for packet in Conversation(client=("10.0.0.7", port + 1)).open()]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("packets", "words", "reason", "remark"),
    [
        ([], "", None, "y.pcap is a capture without packets"),
        ([Packet(0, arp_frame()), Packet(1, udp4())], "", ("arp", 1), "no TCP among 2 packets: 1 arp, 1 udp"),
        (PACKETS, "port 9", ("filtered", len(PACKETS)), f"none of {len(PACKETS)} packets matches the filter 'port 9'"),
        (PACKETS, "--end 2021-05-03", ("outside_time", len(PACKETS)),
         f"no packet is before 2021-05-03T00:00:00Z: the {len(PACKETS)} there are go from 2021-05-03T00:00:00Z to "),
        (SCAN, "", ("filtered", 0), f"{len(SCAN)} TCP packets in 5 connections, and none carries payload"),
    ],
    ids=["header only", "no TCP", "nothing matches", "not in time", "no payload"],
)  # fmt: skip
def test_nothing_to_rebuild(
    here: Path, packets: list[Packet], words: str, reason: tuple[str, int] | None, remark: str, workers: int
) -> None:
    """No packet, no TCP, none that the filter takes, none in time, no payload: status 0, and each is told."""
    write_pcap(here / "y.pcap", packets)
    runner = run_apart if workers else run_here
    done = runner("-r", "y.pcap", "-o", "out", "--quiet", "--workers", workers, *words.split(), folder=here)
    assert (done.status, done.out, sorted(files(here / "out"))) == (0, "", [REPORT])
    found = counters(report_of(here / "out"))
    assert (found["packets"], found["streams"]) == (len(packets), 0)
    assert reason is None or found[f"unprocessed.{reason[0]}"] == reason[1]
    assert told(done.err) == ["warning", "hint"]
    assert done.err.startswith(f"warning: {remark}")


def test_a_filter_that_forgets_the_vlan_tags(here: Path) -> None:
    """The usual cause of a filter that takes nothing is found, and the filter that is right is told."""
    write_pcap(here / "y.pcap", Conversation(vlans=(7,)).packets(TURNS))
    done = run_here("-r", "y.pcap", "-o", "out", "--quiet", "port", "80")
    assert done.err.splitlines()[1].startswith("hint: the packets have VLAN tags: 'vlan and (port 80)' matches")
    expression = re.findall(r"'(vlan .*)'", done.err)[0]
    assert run_here("-r", "y.pcap", "-o", "right", "--quiet", expression).err == ""
    assert len(files(here / "right")) == 3


def test_a_folder_of_captures(here: Path) -> None:
    """Every capture in it is read; the rest is told, and does not make the run a failure."""
    (here / "caps").mkdir()
    half = len(PACKETS) // 2
    write_pcap(here / "caps" / "day.pcap2", PACKETS[:half])
    write_pcap(here / "caps" / "day.pcap10", PACKETS[half:])
    (here / "caps" / "notes.txt").write_text("no capture")
    done = run_here("-r", "caps", "-o", "out", "--quiet")
    assert (done.status, told(done.err)) == (0, ["warning", "hint"])
    assert done.err.startswith("warning: caps/notes.txt is no capture and was left out\n")
    assert files(here / "out").items() >= STREAMS.items()


# --------------------------------------------------------------------------- what is in the folder already


def test_an_earlier_report(here: Path) -> None:
    """Refused without --overwrite; with it, that run's files go, and what it did not make stays."""
    other = Conversation(client=("10.0.0.66", 6)).packets(TURNS)
    write_pcap(here / "y.pcap", other)
    assert run_here("-r", "x.pcap", "-o", "out").status == 0
    (here / "out" / "notes.txt").write_text(SAFE)
    (here / "out" / "10.9.9.9.1-10.0.0.2.80").write_text(SAFE)
    before = files(here / "out")
    refused = run_here("-r", "y.pcap", "-o", "out")
    assert (refused.status, refused.err.splitlines()) == (2, [
        "error: out holds the output of an earlier run: report.xml",
        "hint: choose another folder with -o, or replace that run's files with --overwrite",
    ])  # fmt: skip
    assert files(here / "out") == before
    assert run_here("-r", "y.pcap", "-o", "out", "--overwrite").status == 0
    left = files(here / "out")
    assert sorted(left) == sorted([
        "notes.txt", "10.9.9.9.1-10.0.0.2.80", REPORT, "10.0.0.66.6-10.0.0.2.80", "10.0.0.2.80-10.0.0.66.6",
    ])  # fmt: skip
    assert left["notes.txt"] == left["10.9.9.9.1-10.0.0.2.80"] == SAFE.encode()


@pytest.mark.parametrize("program", ["tcpflow", None])
def test_a_report_of_another_program(here: Path, program: str | None) -> None:
    """--overwrite takes away what a report of ours names; what another's names is foreign and stays."""
    (here / "out").mkdir()
    (here / "out" / "picture.jpg").write_text(SAFE)
    maker = f"<creator><program>{program}</program></creator>" if program else ""
    (here / "out" / REPORT).write_text(
        f"<dfxml>{maker}<fileobject><filename>picture.jpg</filename></fileobject></dfxml>"
    )
    assert run_here("-r", "x.pcap", "-o", "out").status == 2
    assert run_here("-r", "x.pcap", "-o", "out", "--overwrite").status == 0
    assert (here / "out" / "picture.jpg").read_text() == SAFE


def test_an_earlier_report_that_names_other_places(here: Path) -> None:
    """A report that lies about its files gets nothing outside of the folder removed, through a link neither."""
    (here / SAFE).write_text(SAFE)
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / SAFE).write_text(SAFE)
    (here / "out").mkdir()
    (here / "out" / "link").symlink_to(here / "elsewhere")
    names = ["../" + SAFE, str(here / SAFE), "..", ".", "", "link/" + SAFE, "link/../../" + SAFE, "sub/../../" + SAFE]
    objects = "".join(f"<fileobject><filename>{name}</filename></fileobject>" for name in names)
    (here / "out" / REPORT).write_text(f"<dfxml><creator><program>flowshard</program></creator>{objects}</dfxml>")
    assert run_here("-r", "x.pcap", "-o", "out", "--overwrite").status == 0
    assert (here / SAFE).read_text() == (here / "elsewhere" / SAFE).read_text() == SAFE


@pytest.mark.parametrize("workers", [0, 2])
def test_a_foreign_file_with_a_streams_name(here: Path, workers: int) -> None:
    """It is not touched: the stream gets ~ID behind its name, in the report too, and a warning says so."""
    (here / "out").mkdir()
    (here / "out" / ASKED).write_text(SAFE)
    words = ["-r", "x.pcap", "-o", "out", "--quiet", "--workers", workers]
    done = run_apart(*words, folder=here)
    assert (done.status, done.err) == (0, (
        f"warning: {ASKED} is taken by a file of somebody else's\nhint: what belongs there is in {ASKED}~1\n"
    ))  # fmt: skip
    found = files(here / "out")
    assert (found[ASKED], found[ASKED + "~1"]) == (SAFE.encode(), STREAMS[ASKED])
    assert [file.tags["filename"] for file in report_of(here / "out").files] == [ASKED + "~1", ANSWERED]


@pytest.mark.parametrize("name_format", ["x", "%A"])
def test_a_foreign_file_with_a_coarse_name(here: Path, name_format: str) -> None:
    """Nor is it touched when -F gives its name to streams."""
    taken = name_format.replace("%A", "10.0.0.1")
    (here / "out").mkdir()
    (here / "out" / taken).write_text(SAFE)
    assert run_here("-r", "x.pcap", "-o", "out", "-F", name_format).status == 0
    found = files(here / "out")
    assert found[taken] == SAFE.encode()
    assert sorted(found.values()) == sorted([SAFE.encode(), found[REPORT], *STREAMS.values()])


@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize(
    ("name", "words", "status"),
    [
        (ASKED, [], 0),
        (REPORT, [], 2),
        (REPORT, ["--overwrite"], 4),
        (MARKER, [], 2),
        (MARKER, ["--overwrite"], 4),
    ],
)
def test_planted_links(here: Path, name: str, words: list[str], status: int, dangling: bool) -> None:
    """A link at a stream's, the report's or the marker's name is neither followed nor replaced."""
    victim = here / SAFE
    if not dangling:
        victim.write_text(SAFE)
    (here / "out").mkdir()
    (here / "out" / name).symlink_to(victim)
    done = run_here("-r", "x.pcap", "-o", "out", *words)
    assert done.status == status, done.err
    assert (here / "out" / name).readlink() == victim
    assert not victim.exists() if dangling else victim.read_text() == SAFE
    if not status:
        assert (here / "out" / (ASKED + "~1")).read_bytes() == STREAMS[ASKED]


def test_a_link_instead_of_an_earlier_report(here: Path) -> None:
    """With -X and --overwrite, a link called report.xml does not get the files removed that its target names."""
    assert run_here("-r", "x.pcap", "-o", "first").status == 0
    (here / "out").mkdir()
    (here / "out" / REPORT).symlink_to(here / "first" / REPORT)
    (here / "out" / ASKED).write_text(SAFE)
    assert run_here("-r", "x.pcap", "-o", "out", "-X", "r.xml", "--overwrite").status == 0
    assert (here / "out" / ASKED).read_text() == SAFE


# --------------------------------------------------------------------------- the report elsewhere, or none


def test_the_report_elsewhere(here: Path) -> None:
    """-X: the report is there and not in the folder; an earlier one there is refused like any other."""
    words = ["-r", "x.pcap", "-o", "out", "-X", "elsewhere.xml", "--quiet"]
    assert run_here(*words).status == 0
    assert streams_in(here / "out") == STREAMS
    names = [file.tags["filename"] for file in report_of(here, "elsewhere.xml").files]
    assert names == list(STREAMS)
    assert run_here(*words).status == 2
    done = run_here(*words, "--overwrite")
    assert (done.status, done.err, streams_in(here / "out")) == (0, "", STREAMS)


def test_the_report_in_no_folder(here: Path) -> None:
    """-X into a folder that is not there: status 4, before any stream is written."""
    done = run_here("-r", "x.pcap", "-o", "out", "-X", "no/r.xml")
    assert (done.status, told(done.err), (here / "out").exists()) == (4, ["error", "hint"], False)


def test_no_report(here: Path) -> None:
    """--no-report: streams only."""
    done = run_here("-r", "x.pcap", "-o", "out", "--no-report", "--quiet")
    assert (done.status, done.err, streams_in(here / "out")) == (0, "", STREAMS)


# --------------------------------------------------------------------------- what is said


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_standard_output_stays_empty(here: Path, workers: int) -> None:
    """Standard output is for data: a summary goes to standard error, and with --quiet nothing is said."""
    said = run_apart("-r", "x.pcap", "-o", "a", "--workers", workers, folder=here)
    quiet = run_apart("-r", "x.pcap", "-o", "b", "--workers", workers, "--quiet", folder=here)
    assert (said.status, said.out, said.err.splitlines()[0]) == (
        0, "", f"packets      {len(PACKETS)}, {len(PACKETS)} of them TCP"
    )  # fmt: skip
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


@pytest.mark.parametrize("name", ["a\x1b[2J\n.pcap", "\u202epacp.x", "\udcff\udcfe.pcap", "<a b='c'>&amp;.pcap"])
def test_names_that_hold_anything(here: Path, name: str) -> None:
    """Controls, direction marks, undecodable bytes or mark-up in an input's name harm neither terminal nor report."""
    try:
        (here / name).write_bytes(PCAP[:-3])
    except OSError:
        pytest.skip("the file system refuses the name")
    words = ["-r", name, "-r", "x.pcap", "-o", "out", "--quiet"]
    done = run_apart(*words, folder=here, env={"PYTHONIOENCODING": "utf-8:backslashreplace"})
    assert done.status == 3
    assert [line for line in done.err.splitlines() if not line.isprintable()] == []
    assert told(done.err) == ["warning", "hint"]
    report = report_of(here / "out")
    assert len(report.images) == 2
    assert len(report.files) == 2


def test_a_report_with_any_names_is_valid(here: Path) -> None:
    """The report validates whatever the inputs are called."""
    from lxml import etree

    schema = etree.XMLSchema(etree.parse(str(shared_or_skip() / "dfxml" / "dfxml.xsd")))
    (here / "\udcff\x1b<&'.pcap").write_bytes(PCAP)
    assert run_here("-r", "\udcff\x1b<&'.pcap", "-r", "x.pcap", "-o", "out").status == 0
    schema.assertValid(etree.parse(str(here / "out" / REPORT)))


def test_a_closed_standard_error(here: Path) -> None:
    """Nobody listens: the run does its work all the same."""
    code = "import sys, os; os.close(2); sys.stderr = None; from pipeline.cli import main; sys.exit(main())"
    done = run_apart("-r", "x.pcap", "-o", "out", code=code, folder=here)
    assert (done.status, done.out) == (0, "")
    assert files(here / "out").items() >= STREAMS.items()


def test_the_installed_command(here: Path) -> None:
    """``flowshard`` and ``python -m pipeline`` are the same program."""
    import subprocess

    command = Path(sys.executable).with_name("flowshard")
    if not command.exists():
        pytest.skip("flowshard is not installed here")
    done = subprocess.run(
        [command, "-r", "x.pcap", "-o", "out", "--quiet"], cwd=here, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert files(here / "out").items() >= STREAMS.items()
