"""The output folder: marked while a run is at work, cleared of an earlier run and of nothing else."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.errors import OutputError, UsageError
from pipeline.output import MARKER, OutputFolder
from pipeline.run import run
from tests.build import Conversation, in_turns, write_pcap

REPORT = "report.xml"


def config(folder: Path, **options: object) -> Config:
    options.setdefault("report", folder / "out" / REPORT)
    return Config(inputs=(folder / "in.pcap",), output=folder / "out", workers=0, **options)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("trace", [MARKER, REPORT])
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
    assert names(tmp_path) == set()


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
@pytest.mark.parametrize("name_format", [None, "flow", "it's <%A>"])
def test_the_files_that_the_report_names_go(tmp_path: Path, conflict: bool, name_format: str | None) -> None:
    """All of the earlier run and nothing else: the second run's output is all that there is beside foreign files."""
    capture(tmp_path, connections=3, conflict=conflict)
    run(config(tmp_path, name_format=name_format))
    assert any(name.startswith("conflicts-") for name in names(tmp_path)) == conflict
    foreign = put_foreign(tmp_path)
    capture(tmp_path)
    run(config(tmp_path, overwrite=True))
    assert names(tmp_path) == STREAMS | foreign | {REPORT}
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


def report(*listed: str, program: str = "flowshard") -> bytes:
    files = "".join(f"<fileobject><filename>{name}</filename></fileobject>" for name in listed)
    text = f"<dfxml><creator><program>{program}</program></creator>{files}</dfxml>"
    return text.encode()


@pytest.mark.parametrize(
    "listed",
    [
        "../outside", "/etc/hostname", "sub/file", ".", "..", "", "a\\x00b", "\\ud800", "x" * 5000,
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
    (out / REPORT).write_bytes(report(listed))
    OutputFolder(config(tmp_path, overwrite=True)).finished()
    assert names(tmp_path) == {"sub", "keep"}
    assert (out / "sub" / "file").exists()
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
    """A disk that fills up in the middle leaves a marker and pieces; --overwrite starts from nothing."""
    capture(tmp_path)
    real, left = os.pwritev, [2]

    def failing(*arguments: object) -> int:
        left[0] -= 1
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwritev", failing)
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


# --------------------------------------------------------------------------- what the system refuses


@pytest.mark.parametrize(
    "break_it",
    [
        lambda patch: patch.setattr(Path, "mkdir", refuse),
        lambda patch: patch.setattr(Path, "unlink", refuse),
        lambda patch: patch.setattr(os, "listdir", refuse),
        lambda patch: patch.setattr("tempfile.mkdtemp", refuse),
        lambda patch: patch.setattr(Path, "write_bytes", refuse),
    ],
    ids=["mkdir", "unlink", "listdir", "mkdtemp", "write"],
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
