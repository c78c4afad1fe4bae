"""Names that several streams would like: who gets them, which files follow, what stands in the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.errors import OutputError
from pipeline.report.derived import add_derived
from pipeline.report.fragments import FragmentWriter, name_key
from pipeline.report.merge import merge
from pipeline.report.rows import format_shared
from pipeline.settle import rename_plain
from pipeline.writer.names import provisional
from tests.forms import crossed
from tests.report.reader import FileObject, read
from tests.report.samples import derived, record
from tests.writer.feed import HEAD, TAIL, Bench, Piece, flow, whole


def content(stream: int) -> bytes:
    return b"stream %d" % stream


def written(folder: Path, shares: Sequence[Sequence[int]], name_format: str) -> list[Bench]:
    """Streams written by several writers, in the order given."""
    benches = [Bench(folder, f"fragment-{m}", name_format=name_format) for m in range(len(shares))]
    for bench, streams in zip(benches, shares, strict=True):
        bench.say(opened=streams, data=[Piece(s, 0, content(s)) for s in streams])
        for stream in streams:
            bench.say(closed=[whole(stream, len(content(stream)))])
        bench.writer.finish()
    return benches


def settled(benches: Sequence[Bench]) -> tuple[list[int], list[FileObject]]:
    """Rename, merge; the streams that got their plain names, and the rows."""
    fragments = [bench.fragment for bench in benches]
    plain = rename_plain(benches[0].config, fragments)
    report = benches[0].out.parent / "report.xml"
    merge(fragments, report, HEAD, TAIL, plain)
    return plain.tolist(), read(report.read_bytes()).files


@pytest.mark.parametrize(
    "shares", [[[2, 3, 8, 9]], [[9, 8, 3, 2]], [[8, 2], [9, 3]], [[2, 9], [8, 3]], [[8], [], [9, 3], [2]]]
)
def test_the_lowest_stream_gets_the_plain_name(tmp_path: Path, shares: list[list[int]]) -> None:
    """Whoever wrote it, whenever it ended; the report and the folder agree on every name."""
    benches = written(tmp_path, shares, "%A")
    plain, rows = settled(benches)
    assert plain == [2, 3]
    expected = {"10.0.0.1": 2, "10.0.0.2": 3, "10.0.0.1~4": 8, "10.0.0.2~4.1": 9}
    assert {path.name: path.read_bytes() for path in benches[0].out.iterdir()} == {
        name: content(stream) for name, stream in expected.items()
    }
    assert {row.tags["filename"]: row.id for row in rows} == expected


@pytest.mark.parametrize(
    "name_format",
    ["a&b", "<name>", "it's", 'say "x"', "&amp;", "back\\slash", "\\x41", "\\u0041", "é名", "a;b=c ", "%%", "~", "@1"],
)
def test_any_name_that_a_format_allows(tmp_path: Path, name_format: str) -> None:
    """What XML escapes, and what looks like an escape, names the files as typed."""
    benches = written(tmp_path, [[2, 8]], name_format)
    plain, rows = settled(benches)
    name = name_format.replace("%%", "%")
    assert plain == [2]
    assert {path.name: path.read_bytes() for path in benches[0].out.iterdir()} == {
        name: content(2), name + "~4": content(8)
    }  # fmt: skip
    assert len(rows) == 2


@pytest.mark.parametrize("name_format", ["x", "it's & more", "conflicts-x"])
def test_all_files_of_a_stream_follow(tmp_path: Path, name_format: str) -> None:
    """Parts and the file of conflicts bear the name that the stream gets; those of the others keep the suffix."""
    bench = Bench(tmp_path, name_format=name_format)
    for stream in (2, 8):
        bench.say(opened=[stream], data=[Piece(stream, 0, b"abc"), Piece(stream, 50, b"p")], parts=[(stream, 50)])
        bench.say(overlaps=[Piece(stream, 1, b"X")], closed=[whole(stream, 51)])
    bench.writer.finish()
    plain, rows = settled([bench])
    assert plain == [2]
    expected = set()
    for suffix in ("", "~4"):
        name = name_format + suffix
        expected |= {name, f"{name}@50", f"conflicts-{name}"}
    assert bench.names() == expected
    told = {row.tags["filename"] for row in rows}
    told |= {flow(row)["conflict_file"] for row in rows if row.foreign[0][0] == "tcpflow"}
    assert told == expected


@pytest.mark.parametrize("taken", ["x", "x@50", "conflicts-x"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_taken_name_keeps_all_files_together(tmp_path: Path, taken: str, kind: str) -> None:
    """When one of the plain names is somebody else's, none of the stream's files is renamed, and the report says
    what they are called."""
    bench = Bench(tmp_path, name_format="x")
    bench.say(opened=[2], data=[Piece(2, 0, b"abc"), Piece(2, 50, b"p")], parts=[(2, 50)])
    bench.say(overlaps=[Piece(2, 1, b"X")], closed=[whole(2, 51)])
    bench.writer.finish()
    if kind == "file":
        (bench.out / taken).write_bytes(b"mine")
    else:
        (bench.out / taken).symlink_to("nowhere")
    plain, rows = settled([bench])
    assert plain == []
    assert bench.names() == {"x~1", "x~1@50", "conflicts-x~1", taken}
    assert [row.tags["filename"] for row in rows] == ["x~1", "x~1@50"]
    assert os.path.islink(bench.out / taken) or bench.content(taken) == b"mine"


@pytest.mark.parametrize("name_format", ["%V", ".%V", "..%V"])
def test_a_plain_name_that_is_none(tmp_path: Path, name_format: str) -> None:
    """A format that can come out empty, or as a folder's name, leaves every stream its suffix."""
    benches = written(tmp_path, [[2, 8]], name_format)
    plain, _ = settled(benches)
    assert plain == []
    stem = name_format.removesuffix("%V")
    assert benches[0].names() == {stem + "~1", stem + "~4"}


@pytest.mark.parametrize("shares", [[[2, 3, 8, 9]], [[9, 2], [8, 3]]])
def test_names_in_folders(tmp_path: Path, shares: list[list[int]]) -> None:
    """Files are renamed where they lie, and the report says where."""
    benches = written(tmp_path, shares, "%V/%A/x")
    plain, rows = settled(benches)
    assert plain == [2, 3]
    expected = {"_/10.0.0.1/x": 2, "_/10.0.0.2/x": 3, "_/10.0.0.1/x~4": 8, "_/10.0.0.2/x~4.1": 9}
    assert {name: (benches[0].out / name).read_bytes() for name in expected} == {
        name: content(stream) for name, stream in expected.items()
    }
    assert {row.tags["filename"]: row.id for row in rows} == expected
    assert len([path for path in benches[0].out.rglob("*") if path.is_file()]) == 4


@pytest.mark.parametrize("taken", [None, "a/x", "a/x@50", "a/conflicts-x"])
def test_all_files_in_a_folder_follow(tmp_path: Path, taken: str | None) -> None:
    """Parts and the file of conflicts lie beside the stream's first file, and get plain names with it or not at all."""
    bench = Bench(tmp_path, name_format="a/x")
    bench.say(opened=[2], data=[Piece(2, 0, b"abc"), Piece(2, 50, b"p")], parts=[(2, 50)])
    bench.say(overlaps=[Piece(2, 1, b"X")], closed=[whole(2, 51)])
    bench.writer.finish()
    if taken:
        (bench.out / taken).symlink_to("nowhere")
    plain, rows = settled([bench])
    suffix = "~1" if taken else ""
    expected = {f"a/x{suffix}", f"a/x{suffix}@50", f"a/conflicts-x{suffix}"}
    assert plain == ([] if taken else [2])
    found = {str(path.relative_to(bench.out)) for path in bench.out.rglob("*") if path.is_file()}
    assert found == expected
    told = {row.tags["filename"] for row in rows}
    told |= {flow(row)["conflict_file"] for row in rows if row.foreign[0][0] == "tcpflow"}
    assert told == expected


def derived_from(folder: Path, *chains: Sequence[int], kinds: int = 2) -> Path:
    """A fragment, and the files in it: the streams of each chain share a file (-R), all chains would like one name,
    and each stream has derived files, also one whose name is final."""
    out, path = folder / "out", folder / "fragment"
    out.mkdir()
    with FragmentWriter(path) as fragment:
        for chain in chains:
            suffix = provisional(chain[0])
            told = [
                record(s, filename="x" + suffix, suffix=suffix, conflict_file=f"conflicts-x{suffix}") for s in chain
            ]
            names = ["x" + suffix, f"conflicts-x{suffix}"]
            for place, stream in enumerate(chain):
                stem = f"x{f'c{place:04d}' if place else ''}"
                rows = [derived(k, stream, filename=f"{stem}{suffix}-B-{k}", suffix=suffix) for k in range(1, kinds)]
                rows.append(derived(kinds, stream, filename=f"{stream}.final", suffix=""))
                add_derived(fragment, rows)
                names += [row.filename for row in rows]
            fragment.add(chain[:1], format_shared(told[:1], [[(0, each) for each in told]]), [name_key("x")])
            for name in names:
                (out / name).write_bytes(name.encode())
    return path


def settle_derived(folder: Path, *chains: Sequence[int], taken: str = "", kinds: int = 2) -> tuple[list[int], set[str]]:
    """The streams that got plain names, and the names in the report, which are those in the folder."""
    fragment = derived_from(folder, *chains, kinds=kinds)
    if taken:
        (folder / "out" / taken).symlink_to("nowhere")
    config = Config(inputs=(), output=folder / "out", name_format="x", append=max(map(len, chains)) > 1)
    plain = rename_plain(config, [fragment])
    merge([fragment], folder / "report.xml", HEAD, TAIL, plain)
    rows = read((folder / "report.xml").read_bytes()).files
    told = {row.tags["filename"] for row in rows}
    told |= {told["conflict_file"] for row in rows for _, told in row.foreign if "conflict_file" in told}
    assert told == {path.name for path in (folder / "out").iterdir() if not path.is_symlink()}
    return plain.tolist(), told


def test_derived_files_follow(tmp_path: Path) -> None:
    """Those of the stream that gets the plain name lose the suffix with it; the others keep theirs."""
    plain, names = settle_derived(tmp_path, [8], [2], kinds=3)
    assert plain == [2]
    first = {"x", "conflicts-x", "x-B-1", "x-B-2", "2.final"}
    assert names == first | {"x~4", "conflicts-x~4", "x~4-B-1", "x~4-B-2", "8.final"}


def test_derived_files_of_appended_streams_follow(tmp_path: Path) -> None:
    """With -R those of all streams in the file do."""
    plain, names = settle_derived(tmp_path, [2, 6, 10], [4, 8])
    assert plain == [2, 6, 10]
    assert {name for name in names if "~" in name} == {"x~2", "conflicts-x~2", "x~2-B-1", "xc0001~2-B-1"}
    assert names > {"x", "x-B-1", "xc0001-B-1", "xc0002-B-1"}


@pytest.mark.parametrize("taken", crossed([("x-B-999",)], ["x", "x-B-1", "x-B-999", "xc0001-B-500"]))
def test_a_taken_name_keeps_derived_files_together(tmp_path: Path, taken: str) -> None:
    """However many there are: all that were renamed already are given their names back."""
    plain, names = settle_derived(tmp_path, [2, 6], taken=taken, kinds=1000)
    assert plain == []
    assert all("~1" in name for name in names if not name.endswith(".final"))


def test_a_folder_that_is_taken(tmp_path: Path) -> None:
    """Streams that found a file in the place of their folder lie, and are renamed, in the one with another name."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"mine")
    benches = written(tmp_path, [[2], [8]], "a/x")
    plain, rows = settled(benches)
    assert plain == [2]
    assert [row.tags["filename"] for row in rows] == ["a~/x", "a~/x~4"]
    assert [(benches[0].out / name).read_bytes() for name in ("a", "a~/x", "a~/x~4")] == [
        b"mine", content(2), content(8)
    ]  # fmt: skip


def test_no_link_is_followed(tmp_path: Path) -> None:
    """A link in the place of a folder ends the run rather than that files elsewhere are renamed."""
    benches = written(tmp_path, [[2]], "a/x")
    (benches[0].out / "a").rename(tmp_path / "elsewhere")
    (benches[0].out / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="cannot rename"):
        settled(benches)
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["x~1"]


def test_the_console_has_no_files(tmp_path: Path) -> None:
    """Nothing is renamed then, and a report says which names the files would have."""
    benches = written(tmp_path, [[2, 8]], "x")
    shutil.rmtree(benches[0].out)
    config = replace(benches[0].config, console=True)
    assert rename_plain(config, [benches[0].fragment]).tolist() == [2]


def test_default_names_are_final(tmp_path: Path) -> None:
    """Without -F nothing is looked at and nothing renamed."""
    bench = Bench(tmp_path)
    assert rename_plain(bench.config, [tmp_path / "no such fragment"]).tolist() == []
