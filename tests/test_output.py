"""The output folder: marked while a run is at work, cleared of an earlier run and of nothing else."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.destinations import OBJECT_LINES, PACKET_MAP
from pipeline.errors import OutputError, UsageError
from pipeline.output import MARKER, TRACE, ConsoleOutput, OutputFolder, open_output
from pipeline.run import run
from tests.build import Conversation, in_turns, write_pcap

REPORT = "report.xml"


def config(folder: Path, **options: object) -> Config:
    options.setdefault("report", folder / "out" / REPORT)
    options = {"inputs": (folder / "in.pcap",), "output": folder / "out", "workers": 0, **options}
    return Config(**options)  # type: ignore[arg-type]


def capture(folder: Path, *, connections: int = 2, conflict: bool = False) -> None:
    """Two streams a connection, the second connection on a VLAN; at will with an overlap conflict."""
    told = []
    for i in range(connections):
        talk = Conversation(client=("10.0.0.1", 40000 + i), vlans=(10,) if i else ())
        packets = [*talk.open(), *talk.say(0, b"question"), *talk.say(1, b"answer")]
        if conflict:
            packets.append(talk.segment(0, b"QUESTion", seq=talk.next_seq[0] - 8))
        told.append([*packets, *talk.finish()])
    write_pcap(folder / "in.pcap", in_turns(*told))


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").iterdir()}


def tree(folder: Path) -> set[str]:
    """All that is in the output folder, at any depth; folders end in a slash."""
    out = folder / "out"
    return {str(path.relative_to(out)) + "/" * (path.is_dir() and not path.is_symlink()) for path in out.rglob("*")}


STREAMS = {
    "10.0.0.1.40000-10.0.0.2.80", "10.0.0.2.80-10.0.0.1.40000",
    "10.0.0.1.40001-10.0.0.2.80--10", "10.0.0.2.80-10.0.0.1.40001--10",
}  # fmt: skip


# --------------------------------------------------------------------------- the marker


def test_the_marker_comes_and_goes(tmp_path: Path) -> None:
    """From the start to the good end, and no longer; the scratch folder with it. Nobody else may look in."""
    folder = OutputFolder(config(tmp_path))
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert names(tmp_path) == {MARKER, folder.scratch.name}
    assert b"not finished" in (tmp_path / "out" / MARKER).read_bytes()
    (folder.scratch / "fragment-0").touch()
    folder.finished()
    assert names(tmp_path) == set()


def test_the_marker_outlives_a_failure(tmp_path: Path) -> None:
    """A run that failed leaves no scratch, but says that what is there is not whole."""
    folder = OutputFolder(config(tmp_path))
    folder.abandon()
    assert names(tmp_path) == {MARKER}


@pytest.mark.parametrize("trace", [MARKER, REPORT, TRACE])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_used_folder_is_refused(tmp_path: Path, trace: str, kind: str) -> None:
    """A report or a marker, were it a link to nowhere, stops the run before anything is touched."""
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / trace
    if kind == "file":
        path.write_bytes(b"<dfxml/>")
    else:
        path.symlink_to("nowhere")
    for made in (config(tmp_path), config(tmp_path, report=tmp_path / "elsewhere.xml"), config(tmp_path, report=None)):
        with pytest.raises(UsageError, match="earlier run") as caught:
            OutputFolder(made)
        assert "--overwrite" in str(caught.value.hint)
    assert names(tmp_path) == {trace}


def test_a_report_elsewhere_is_not_replaced_unasked(tmp_path: Path) -> None:
    """What -X names is as safe as what is in the folder."""
    (tmp_path / "x.xml").write_bytes(b"mine")
    with pytest.raises(UsageError, match="earlier run"):
        OutputFolder(config(tmp_path, report=tmp_path / "x.xml"))
    assert (tmp_path / "x.xml").read_bytes() == b"mine"


def test_a_folder_with_foreign_files_is_fine(tmp_path: Path) -> None:
    """Only traces of a run are in the way."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    OutputFolder(config(tmp_path)).finished()
    assert names(tmp_path) == {"notes.txt"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_cannot_be_the_output(tmp_path: Path, overwrite: bool) -> None:
    """A file as the folder, a link or a folder as the report, a report in no folder: refused, nothing marked."""
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="is a file"):
        OutputFolder(config(tmp_path, overwrite=overwrite))
    (tmp_path / "out").unlink()
    (tmp_path / "folder").mkdir()
    with pytest.raises((OutputError, UsageError)):
        OutputFolder(config(tmp_path, overwrite=overwrite, report=tmp_path / "folder"))
    with pytest.raises(OutputError, match="no such folder"):
        OutputFolder(config(tmp_path, overwrite=overwrite, report=tmp_path / "missing" / "r.xml"))
    assert not (tmp_path / "out").exists()


def test_folders_are_made_on_the_way(tmp_path: Path) -> None:
    """-o a/b/c makes all three; what cannot be made is an OutputError."""
    made = Config(inputs=(), output=tmp_path / "a" / "b" / "c")
    OutputFolder(made).finished()
    assert made.output.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot create"):
        OutputFolder(Config(inputs=(), output=tmp_path / "file" / "c"))


# --------------------------------------------------------------------------- --overwrite, by the report


def put_foreign(folder: Path) -> set[str]:
    """Files of somebody else's whose names could be ours, a link and a folder under names that the report gives."""
    out = folder / "out"
    (out / "10.0.0.9.1-10.0.0.9.2").write_bytes(b"mine")
    (out / "notes.txt").write_bytes(b"mine")
    (folder / "target").write_bytes(b"kept")
    return {"10.0.0.9.1-10.0.0.9.2", "notes.txt"}


@pytest.mark.parametrize("conflict", [False, True])
@pytest.mark.parametrize("name_format", [None, "flow", "it's <%A>", "%V/%A/it's", "one/two/x"])
def test_the_files_that_the_report_names_go(tmp_path: Path, conflict: bool, name_format: str | None) -> None:
    """All of the earlier run and nothing else: the second run's output is all that there is beside foreign files."""
    capture(tmp_path, connections=3, conflict=conflict)
    run(config(tmp_path, name_format=name_format))
    assert any("conflicts-" in name for name in tree(tmp_path)) == conflict
    foreign = put_foreign(tmp_path)
    capture(tmp_path)
    run(config(tmp_path, overwrite=True))
    assert tree(tmp_path) == STREAMS | foreign | {REPORT}
    assert (tmp_path / "out" / "notes.txt").read_bytes() == b"mine"


def test_twice_is_once(tmp_path: Path) -> None:
    """The same run with --overwrite gives the same names: nothing is in its own way."""
    capture(tmp_path)
    run(config(tmp_path))
    before = names(tmp_path)
    run(config(tmp_path, overwrite=True))
    assert names(tmp_path) == before == STREAMS | {REPORT}


def test_links_and_folders_stay(tmp_path: Path) -> None:
    """What has the name of an earlier stream and is no plain file is not ours to remove."""
    capture(tmp_path)
    run(config(tmp_path))
    foreign = put_foreign(tmp_path)
    out = tmp_path / "out"
    linked, folder, *rest = sorted(STREAMS)
    for name in (linked, folder):
        (out / name).unlink()
    (out / linked).symlink_to(tmp_path / "target")
    (out / folder).mkdir()
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert names(tmp_path) == {linked, folder} | foreign
    assert (tmp_path / "target").read_bytes() == b"kept"
    assert rest


def report(*listed: str, program: str = "flowshard", options: str = "") -> bytes:
    files = "".join(f"<fileobject><filename>{name}</filename></fileobject>" for name in listed)
    files += f"<tcpflow:configuration {options}/>" if options else ""
    text = f"<dfxml><creator><program>{program}</program></creator>{files}</dfxml>"
    return text.encode()


@pytest.mark.parametrize(
    "listed",
    [
        "../outside", "/etc/hostname", "sub/../keep", "link/outside", "sub/", "sub",
        ".", "..", "", "a\\x00b", "\\ud800", "x" * 5000,
        "./keep", "&amp;", "\\x2e\\x2e",
    ],
)  # fmt: skip
def test_a_report_cannot_lead_out_of_the_folder(tmp_path: Path, listed: str) -> None:
    """A report that was tampered with removes nothing outside, and no name in it is an error."""
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "file").touch()
    (out / "keep").touch()
    (tmp_path / "outside").touch()
    (out / "link").symlink_to(tmp_path)
    (out / REPORT).write_bytes(report(listed))
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert tree(tmp_path) == {"sub/", "sub/file", "keep", "link"}
    assert (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    "content", [b"", b"no XML", report("holiday.jpg", program="another"), b"<dfxml><filename>holiday.jpg</filename>"]
)
def test_a_report_of_another_program_removes_nothing(tmp_path: Path, content: bytes) -> None:
    """DFXML is written by many tools, and the files that they name are not ours."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "holiday.jpg").write_bytes(b"mine")
    (out / REPORT).write_bytes(content)
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert "holiday.jpg" in names(tmp_path)


def test_a_report_cut_short_still_names_its_files(tmp_path: Path) -> None:
    """What can be read of a damaged report of ours counts."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a", "b"):
        (out / name).touch()
    (out / REPORT).write_bytes(report("a", "b").partition(b"b</filename>")[0])
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert names(tmp_path) == {"b"}


def test_a_report_names_files_in_folders(tmp_path: Path) -> None:
    """They go, and the folders that have become empty."""
    out = tmp_path / "out"
    (out / "a" / "b").mkdir(parents=True)
    (out / "c").mkdir()
    for name in ("a/b/x", "a/b/y", "c/x", "c/notes.txt"):
        (out / name).touch()
    (out / REPORT).write_bytes(report("a/b/x", "a/b/y", "c/x"))
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert tree(tmp_path) == {"c/", "c/notes.txt"}


def test_an_input_is_never_removed(tmp_path: Path) -> None:
    """Were it in the output folder, under a name that an earlier run's report gives or its marker tells."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a", "10.0.0.1.1-10.0.0.2.80"):
        (out / name).touch()
        (out / REPORT).write_bytes(report(name))
        (out / MARKER).touch()
        OutputFolder(config(tmp_path, overwrite=True, inputs=(out / name,))).finished()
        assert (out / name).exists()


# --------------------------------------------------------------------------- --overwrite, by the marker


OURS = (
    "10.0.0.1.40000-10.0.0.2.80", "10.0.0.1.40000-10.0.0.2.80--10.20c0012", "1620000000T10.0.0.1.1-10.0.0.2.80",
    "-5T10.0.0.1.1-10.0.0.2.80", "2001:db8::1.1-::1.80", "10.0.0.1.1-10.0.0.2.80~12", "10.0.0.1.1-10.0.0.2.80~12.1",
    "10.0.0.1.1-10.0.0.2.80@16777216", "conflicts-10.0.0.1.1-10.0.0.2.80", "10.0.0.1.1-10.0.0.2.80@16777216~12.1",
    "conflicts-10.0.0.1.1-10.0.0.2.80~3",
)  # fmt: skip
FOREIGN = (
    "notes.txt", "10.0.0.1", "10.0.0.1.40000-10.0.0.2.80.bak", "x10.0.0.1.1-10.0.0.2.80", "10.0.0.1.1-10.0.0.2.80-HTTP",
    "10.0.0.1.1-10.0.0.2.80c12", "10.0.0.1.1-10.0.0.2.80\n", "conflicts-", "report.xml.old", ".flowshard-run-file",
)  # fmt: skip


def test_without_a_report_default_names_tell(tmp_path: Path) -> None:
    """A run that was killed left a marker: what bears a default name goes, scratch folders go, the rest stays."""
    out = tmp_path / "out"
    out.mkdir()
    for name in (*OURS, *FOREIGN, MARKER):
        (out / name).touch()
    scratch = out / ".flowshard-run-abc"
    scratch.mkdir()
    (scratch / "fragment-0.part").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "kept").touch()
    (out / ".flowshard-run-link").symlink_to(tmp_path / "target")
    (out / "10.0.0.7.1-10.0.0.2.80").symlink_to("nowhere")
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert names(tmp_path) == {*FOREIGN, ".flowshard-run-link", "10.0.0.7.1-10.0.0.2.80"}
    assert (tmp_path / "target" / "kept").exists()


def test_a_failed_run_is_cleared_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no report leaves a marker and pieces; --overwrite starts from nothing."""
    capture(tmp_path)
    real, left = os.writev, [2]  # the first call makes the marker

    def failing(*arguments: object) -> int:
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "writev", failing)
    with pytest.raises(OutputError, match="No space left"):
        run(config(tmp_path))
    monkeypatch.undo()
    assert MARKER in names(tmp_path)
    assert REPORT not in names(tmp_path)
    assert names(tmp_path) & STREAMS
    with pytest.raises(UsageError, match="earlier run"):
        run(config(tmp_path))
    run(config(tmp_path, overwrite=True))
    assert names(tmp_path) == STREAMS | {REPORT}


def left_by(folder: Path, *made: str, **options: object) -> None:
    """A run that was killed when it had made these files."""
    killed = OutputFolder(config(folder, **options))
    for name in made:
        (folder / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "out" / name).touch()
    (killed.scratch / "fragment-0.part").touch()


@pytest.mark.parametrize(
    ("options", "ours", "foreign"),
    [
        ({"name_format": "%A/%a"},
         ["10.0.0.1/80~1", "10.0.0.1/80~1@5", "10.0.0.2/conflicts-1c0001~2.1", "1.2.3.4~/7~3"],
         ["10.0.0.1/notes", "80~1", "x/80~1", "10.0.0.1.1-10.0.0.2.80", "10.0.0.1/81~1/5"]),
        ({"name_format": "%V/x"}, ["_/x~1", "10.20/x~2", "_/x"], ["x", "5/y"]),
        ({"name_format": "data"}, ["data~1", "data"], ["data.txt", "10.0.0.1.1-10.0.0.2.80"]),
        ({"name_format": "data", "name_timestamp": True}, ["1620000000Tdata~1"], ["data~1"]),
        ({}, ["10.0.0.1.1-10.0.0.2.80"], ["data~1", "sub/10.0.0.1.1-10.0.0.2.80"]),
        ({"analyze": True},
         ["10.0.0.1.1-10.0.0.2.80-HTTP", "10.0.0.1.1-10.0.0.2.80c0001-HTTPBODY-002-GZIP~5"],
         ["10.0.0.1.1-10.0.0.2.80-http", "objects/1-1-x"]),
        ({"analyze": True, "name_format": "%A/%a"},
         ["10.0.0.1/80~1", "10.0.0.1/80~1-HTTP", "10.0.0.2/1c0001~2.1-HTTPBODY-BR-GZIP", "10.0.0.2/5-MAIL"],
         ["10.0.0.1-HTTP/80", "10.0.0.1/x-HTTP"]),
        ({"extract": ("http",)},
         ["objects/1-1-x", "objects/12-100-index.html.coded", "objects~/7-1-a.b~7", "objects.jsonl"],
         ["objects/notes", "1-1-x", "object/1-1-x", "objects/5-1-x/5", "10.0.0.1.1-10.0.0.2.80-HTTP", "objects.json"]),
    ],
)  # fmt: skip
def test_the_marker_knows_the_format(
    tmp_path: Path, options: dict[str, object], ours: list[str], foreign: list[str]
) -> None:
    """A killed run's files go by the names that its -F and -T give, not by those of the run that clears them."""
    left_by(tmp_path, *ours, *foreign, ".flowshard-0123456789abcdef", **options)
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert {name for name in tree(tmp_path) if not name.endswith("/")} == set(foreign)


@pytest.mark.parametrize("told", [{"report": None}, {}])
def test_objects_go_with_their_folder(tmp_path: Path, told: dict[str, object]) -> None:
    """Of a run that ended well, too: by its report or, without one, by the trace. What is not ours stays in the folder,
    whatever it is called if it was there before."""
    out = tmp_path / "out"
    (out / "objects").mkdir(parents=True)
    before = {"objects/", "objects/1-1-mine", "objects/notes"}
    for name in before - {"objects/"}:
        (out / name).touch()
    ended = OutputFolder(config(tmp_path, extract=("http",), **told))
    made = ["objects/1-2-x", "objects~/1-3-x", "objects.jsonl"]
    (out / "objects~").mkdir()
    for name in made:
        (out / name).touch()
    ended.finished()
    if not told:
        (out / REPORT).write_bytes(
            report(*made[:2]).replace(b"</dfxml>", b"<tcpflow:configuration extract='http'/></dfxml>")
        )
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert tree(tmp_path) == before


def test_a_report_of_a_run_without_objects_leaves_the_index(tmp_path: Path) -> None:
    """``objects.jsonl`` is somebody else's then."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "objects.jsonl").touch()
    (out / REPORT).write_bytes(report("a"))
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert names(tmp_path) == {"objects.jsonl"}


def test_what_was_there_before_a_killed_run_stays(tmp_path: Path) -> None:
    """Files of somebody else's whose names could be ours are remembered in the marker, at any depth."""
    foreign = {"10.0.0.1/80", "10.0.0.1/conflicts-80", "10.0.0.2/81"}
    for name in foreign:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).touch()
    left_by(tmp_path, "10.0.0.1/80~1", "10.0.0.3/80~3", name_format="%A/%a")
    left_by(tmp_path, "10.0.0.1/80~2", name_format="%A/%a", overwrite=True)
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert tree(tmp_path) == foreign | {"10.0.0.1/", "10.0.0.2/"}


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b"{}", b'{"flowshard": 2, "name_format": "notes"}', b"\xff\xfe", b"[" * 100_000,
        b'{"flowshard": 1, "name_format": "../%A"}', b'{"flowshard": 1, "name_format": "/x"}',
        b'{"flowshard": 1, "name_format": 7, "kept": 8, "timestamp": "yes", "packet_map": []}',
        b'{"flowshard": 1, "name_format": null, "kept": [1]}',
    ],
)  # fmt: skip
def test_a_marker_that_says_nothing_of_use(tmp_path: Path, line: bytes) -> None:
    """Torn, from another version, or tampered with: the default names tell, as if it were empty."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("notes", OURS[0], MARKER):
        (out / name).touch()
    (tmp_path / "10.0.0.1").touch()
    (out / MARKER).write_bytes(b"A run\n" + line + b"\n")
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert names(tmp_path) == {"notes"}
    assert (tmp_path / "10.0.0.1").exists()


# --------------------------------------------------------------------------- the trace of a run without a report


@pytest.mark.parametrize("name_format", [None, "%A/%a"])
def test_a_run_without_a_report_leaves_a_trace(tmp_path: Path, name_format: str | None) -> None:
    """By it the next one knows the folder for used, and with --overwrite which files are not somebody else's."""
    out = tmp_path / "out"
    (out / "10.0.0.1").mkdir(parents=True)
    before = {"10.0.0.1/", "10.0.0.1/1", "10.0.0.1.1-10.0.0.2.80"}
    (out / "10.0.0.1" / "1").touch()
    (out / "10.0.0.1.1-10.0.0.2.80").touch()
    capture(tmp_path)
    run(config(tmp_path, report=None, name_format=name_format))
    assert TRACE in names(tmp_path)
    assert MARKER not in names(tmp_path)
    assert len(tree(tmp_path) - before - {"10.0.0.2/"}) == 5
    with pytest.raises(UsageError, match=f"earlier run: {TRACE}"):
        run(config(tmp_path))
    run(config(tmp_path, overwrite=True))
    assert tree(tmp_path) == before | STREAMS | {REPORT}


def test_a_run_with_a_report_leaves_no_trace(tmp_path: Path) -> None:
    """The report says all, wherever it is."""
    for report_path in (tmp_path / "out" / REPORT, tmp_path / "r.xml"):
        OutputFolder(config(tmp_path, report=report_path)).finished()
        assert names(tmp_path) == set()


# --------------------------------------------------------------------------- the files that options name

TARGETS = [
    ("-X", {"report": "t"}), ("-w", {"unprocessed": "t"}), ("--flows", {"flows": "t"}),
    ("--packet-map", {"packet_map": True}), ("-e", {"extract": ("http",)}),
]  # fmt: skip
IN_FOLDER = {"packet_map": PACKET_MAP, "extract": OBJECT_LINES}


def aimed(folder: Path, options: dict[str, object], **more: object) -> tuple[Config, Path]:
    """A configuration whose options name the file."""
    path = next((folder / "out" / IN_FOLDER[name] for name in options if name in IN_FOLDER), folder / "t")
    path.parent.mkdir(exist_ok=True)
    told = {"report": None, **options}
    return config(folder, **{name: path if value == "t" else value for name, value in told.items()}, **more), path


@pytest.mark.parametrize("console", [False, True])
@pytest.mark.parametrize(("option", "options"), TARGETS)
def test_a_file_that_exists_is_named(tmp_path: Path, option: str, options: dict[str, object], console: bool) -> None:
    """It is replaced with --overwrite only, and goes at the start, so that none of an earlier run is left behind."""
    if console and option in {"--packet-map", "-e"}:
        return  # no files, no map or index of them
    made, path = aimed(tmp_path, options, console=console)
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match=path.name) as caught:
        open_output(made)
    assert "--overwrite" in str(caught.value.hint)
    assert path.read_bytes() == b"mine"
    output = open_output(aimed(tmp_path, options, overwrite=True, console=console)[0])
    assert not path.exists()
    output.abandon()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
@pytest.mark.parametrize(("option", "options"), TARGETS)
def test_what_is_no_plain_file_is_never_replaced(
    tmp_path: Path, option: str, options: dict[str, object], kind: str, overwrite: bool
) -> None:
    """A link, a folder, a device: refused, and still there."""
    made, path = aimed(tmp_path, options, overwrite=overwrite)
    (tmp_path / "victim").write_bytes(b"kept")
    if kind == "link":
        path.symlink_to(tmp_path / "victim")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    before = path.lstat()
    with pytest.raises((UsageError, OutputError), match=path.name):
        open_output(made)
    assert path.lstat().st_ino == before.st_ino
    assert (tmp_path / "victim").read_bytes() == b"kept"


@pytest.mark.parametrize("option", ["report", "unprocessed", "flows"])
def test_a_file_in_no_folder(tmp_path: Path, option: str) -> None:
    """The folder must be there; that of all output is made first."""
    with pytest.raises(OutputError, match="no such folder"):
        OutputFolder(config(tmp_path, **{option: tmp_path / "missing" / "f"}))
    assert not (tmp_path / "out").exists()
    OutputFolder(config(tmp_path, **{option: tmp_path / "out" / "f"})).finished()


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("option", ["report", "unprocessed", "flows"])
def test_an_input_is_not_replaced(tmp_path: Path, option: str, link: bool) -> None:
    """Not even with --overwrite, by whatever path it is named."""
    capture(tmp_path)
    (tmp_path / "way").symlink_to(tmp_path)
    path = tmp_path / "way" / "in.pcap" if link else tmp_path / "in.pcap"
    with pytest.raises(UsageError, match="an input of this run"):
        OutputFolder(config(tmp_path, overwrite=True, **{option: path}))
    assert (tmp_path / "in.pcap").stat().st_size


def test_two_options_name_one_file(tmp_path: Path) -> None:
    """One of them would be lost."""
    for path in (tmp_path / "out" / REPORT, tmp_path / "out" / ".." / "out" / REPORT):
        with pytest.raises(UsageError, match=r"--flows: .* is where the report goes"):
            OutputFolder(config(tmp_path, flows=path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name_format": "report.xml"}, "-X: "),
        ({"name_format": "report.xml/%A"}, "-X: "),
        ({"name_format": "rep%Vort.xml"}, "-X: "),
        ({"name_format": MARKER}, "-F: "),
        ({"name_format": f"{TRACE}/x"}, "-F: "),
        ({"name_format": "packet-map.tsv", "packet_map": True}, "--packet-map: "),
        ({"name_format": "%A", "flows": "10.0.0.1"}, "--flows: "),
        ({"unprocessed": "10.0.0.1.1-10.0.0.2.80"}, "-w: "),
        ({"unprocessed": "10.0.0.1.1-10.0.0.2.80-HTTP", "analyze": True}, "-w: "),
        ({"name_format": "%A", "flows": "10.0.0.1-HTTPBODY-002", "analyze": True}, "--flows: "),
        ({"name_format": "objects.jsonl", "extract": ("http",)}, "-e: "),
        ({"name_format": "objects", "extract": ("http",)}, "-F: "),
        ({"name_format": "objects/%A", "extract": ("http",)}, "-F: "),
        ({"flows": "objects", "extract": ("http",)}, "--flows: "),
        ({"flows": "objects~", "extract": ("http",)}, "--flows: "),
    ],
)
def test_no_stream_gets_the_name_of_another_file(tmp_path: Path, options: dict[str, object], message: str) -> None:
    """A stream's file would be replaced at the end, or stand in the way: refused at the start."""
    out = tmp_path / "out"
    told = {name: out / str(value) if name in {"flows", "unprocessed"} else value for name, value in options.items()}
    with pytest.raises(UsageError, match=f"^{message}"):
        OutputFolder(config(tmp_path, **told))
    assert not out.exists()


def test_no_file_of_an_option_gets_the_name_of_an_object(tmp_path: Path) -> None:
    """The folder of objects can be there already, and a report in it; under the name of no object."""
    objects = tmp_path / "out" / "objects"
    objects.mkdir(parents=True)
    OutputFolder(config(tmp_path, extract=("http",), report=objects / "r")).finished()
    with pytest.raises(UsageError, match=r"^-X: .* is where objects go"):
        OutputFolder(config(tmp_path, extract=("http",), report=objects / "1-1-r"))


# --------------------------------------------------------------------------- once more from the start, or not at all


@pytest.mark.parametrize("name_format", [None, "%A/%a"])
def test_a_run_can_begin_again(tmp_path: Path, name_format: str | None) -> None:
    """What its stages made goes: streams, files that options name, what is in the scratch folder. The rest stays,
    under whatever name; and the marker."""
    out = tmp_path / "out"
    old = "10.0.0.1/1" if name_format else OURS[0]
    new = ["10.0.0.1/2~1", "10.0.0.9/5~2-HTTP"] if name_format else [*OURS[1:], ".flowshard-0123456789abcdef"]
    (out / old).parent.mkdir(parents=True)
    (out / old).write_bytes(b"mine")
    (out / "notes.txt").touch()
    before = tree(tmp_path)
    options = {"packet_map": True, "analyze": True, "extract": ("http",), "flows": tmp_path / "flows"}
    folder = OutputFolder(config(tmp_path, name_format=name_format, **options))
    for name in [*new, PACKET_MAP, OBJECT_LINES, "objects/1-1-x", "../flows"]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
    (folder.scratch / "fragment-0").touch()
    (folder.scratch / "sub").mkdir()
    folder.restart()
    assert tree(tmp_path) == before | {MARKER, folder.scratch.name + "/"}
    assert not (tmp_path / "flows").exists()
    folder.finished()
    assert tree(tmp_path) == before
    assert (out / old).read_bytes() == b"mine"


def test_beginning_again_changes_nothing(tmp_path: Path) -> None:
    """The same streams under the same names as without."""
    capture(tmp_path)
    folder = OutputFolder(config(tmp_path))
    for name in STREAMS:
        (tmp_path / "out" / name).write_bytes(b"half")
    folder.restart()
    folder.withdraw()
    run(config(tmp_path))
    assert names(tmp_path) == STREAMS | {REPORT}


@pytest.mark.parametrize("there", [0, 1, 2])
def test_nothing_stays_of_a_run_that_came_to_nothing(tmp_path: Path, there: int) -> None:
    """No marker, no scratch folder, and no folder but those that were there."""
    path = tmp_path / "a" / "b"
    for folder in (path, path.parent)[2 - there :]:
        folder.mkdir(parents=True, exist_ok=True)
    before = set(tmp_path.rglob("*"))
    OutputFolder(Config(inputs=(), output=path)).withdraw()
    assert set(tmp_path.rglob("*")) == before


def test_a_folder_in_use_meanwhile_stays(tmp_path: Path) -> None:
    """Somebody has put a file into the folder that the run made."""
    folder = OutputFolder(config(tmp_path))
    (tmp_path / "out" / "notes.txt").touch()
    folder.withdraw()
    assert names(tmp_path) == {"notes.txt"}


# --------------------------------------------------------------------------- the console


def test_streams_for_the_console_lie_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a private folder where TMPDIR says, which goes however the run ends; the output folder is left alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for end in ("finished", "abandon", "withdraw"):
        output = open_output(config(tmp_path, console=True, report=None))
        assert isinstance(output, ConsoleOutput)
        assert (output.path, output.scratch.parent) == (output.scratch / "streams", tmp_path)
        assert [path.stat().st_mode & 0o777 for path in (output.path, output.scratch)] == [0o700, 0o700]
        (output.path / "a").mkdir()
        (output.path / "a" / "x").touch()
        (output.scratch / "fragment-0").touch()
        output.restart()
        assert [path.name for path in output.scratch.iterdir()] == ["streams"]
        assert list(output.path.iterdir()) == []
        getattr(output, end)()
        assert list(tmp_path.iterdir()) == []


def test_no_place_for_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which variable names a place."""
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(OutputError, match="Permission denied") as caught:
        open_output(config(tmp_path, console=True, report=None))
    assert "TMPDIR" in str(caught.value.hint)


def test_files_are_the_default(tmp_path: Path) -> None:
    """Without -c output goes to the output folder; the marker's line is JSON."""
    output = open_output(config(tmp_path, name_format="%A/%a", name_timestamp=True))
    assert isinstance(output, OutputFolder)
    line = (tmp_path / "out" / MARKER).read_bytes().splitlines()[-1]
    assert json.loads(line) == {
        "flowshard": 1, "name_format": "%A/%a", "timestamp": True, "packet_map": False, "analyzed": False,
        "extracted": False, "kept": [], "manifest": False,
    }  # fmt: skip
    output.abandon()


# --------------------------------------------------------------------------- what the system refuses


@pytest.mark.parametrize(
    "break_it",
    [
        lambda patch: patch.setattr(Path, "mkdir", refuse),
        lambda patch: patch.setattr(os, "unlink", refuse),
        lambda patch: patch.setattr(os, "scandir", refuse),
        lambda patch: patch.setattr(os, "listdir", refuse),
        lambda patch: patch.setattr("tempfile.mkdtemp", refuse),
        lambda patch: patch.setattr(os, "writev", refuse),
    ],
    ids=["mkdir", "unlink", "scandir", "listdir", "mkdtemp", "write"],
)
def test_a_refusal_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, break_it: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Whatever the system does not allow, the message names the folder and what to do."""
    out = tmp_path / "out"
    out.mkdir()
    for name in (OURS[0], MARKER):
        (out / name).touch()
    break_it(monkeypatch)
    with pytest.raises(OutputError, match="Permission denied") as caught:
        OutputFolder(config(tmp_path, overwrite=True))
    monkeypatch.undo()
    assert str(out) in caught.value.message
    assert caught.value.hint


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
