"""The merge: rows in the order of stream ids, whatever writer had them, in bounded memory."""

from __future__ import annotations

import os
import re
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InternalError, OutputError
from pipeline.report import fragments
from pipeline.report import merge as merging
from pipeline.report.derived import add_derived
from pipeline.report.fragments import FragmentWriter, index_path, name_key
from pipeline.report.merge import first_of_each, merge, plain_streams, read_index
from pipeline.report.rows import format_rows
from tests.report.samples import derived, record

U64 = np.uint64


def fragment(path: Path, streams: list[int], rows: list[bytes], names: list[int] | None = None) -> Path:
    with FragmentWriter(path) as writer:
        writer.add(streams, rows, names)
    return path


@settings(deadline=None)  # each example writes files
@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 60), st.integers(0, 3), st.binary(max_size=9)),
        unique_by=lambda row: row[0],
    ),
    st.sampled_from([1, 2, 1024]),
)
def test_rows_come_in_the_order_of_streams(rows: list[tuple[int, int, bytes]], pieces: int) -> None:
    """The report is the same however streams were spread over writers, and in whatever order they ended."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_PIECES", pieces)
        paths = []
        for number in range(4):
            mine = [row for row in rows if row[1] == number]
            paths.append(fragment(Path(folder, str(number)), [row[0] for row in mine], [row[2] for row in mine]))
        out = Path(folder, "report.xml")
        assert merge(paths, out, b"HEAD", b"TAIL") == len(rows)
        assert out.read_bytes() == b"HEAD" + b"".join(row[2] for row in sorted(rows)) + b"TAIL"


SAID = st.tuples(st.integers(0, 5), st.none() | st.integers(0, 3), st.binary(max_size=9))
"""Of a stream: a row with its serial, or None: all of its derived rows are void."""


@settings(deadline=None)
@given(st.lists(SAID, max_size=40), st.sampled_from([0, 1, 40, 1 << 20]))
def test_derived_rows_follow_their_stream(said: list[tuple[int, int | None, bytes]], buffer: int) -> None:
    """By serial, behind the stream's own row whenever that was added, and without those that became void; other
    streams, in this fragment and in others, are not touched."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fragments, "_BUFFER", buffer)
        writers = [FragmentWriter(Path(folder, str(number))) for number in range(2)]
        living: dict[tuple[int, int], bytes] = {}
        for stream, serial, row in said:
            writer = writers[stream % 2]
            if serial is None:
                writer.void(stream)
                living = {key: kept for key, kept in living.items() if key[0] != stream or key[1] == 0}
            elif (stream, serial) not in living:
                writer.add([stream], [row], serials=[serial])
                living[stream, serial] = row
        for writer in writers:
            writer.close()
        out = Path(folder, "report.xml")
        assert merge([Path(folder, "0"), Path(folder, "1")], out, b"", b"") == len(living)
        assert out.read_bytes() == b"".join(row for _, row in sorted(living.items()))


def test_derived_rows_follow_the_name_of_their_stream(tmp_path: Path) -> None:
    """They have no say in who gets a name, and are called as their stream is."""
    path = tmp_path / "0"
    with FragmentWriter(path) as writer:
        for stream in (8, 4):
            body = derived(1, stream, filename=f"n~{stream}-HTTP", suffix=f"~{stream}")
            add_derived(writer, [body, body._replace(serial=2, filename="objects/4-1-x~4-y", suffix="")])
            own = record(stream, filename=f"n~{stream}", suffix=f"~{stream}")
            writer.add([stream], format_rows([own]), [name_key("n")])
    assert plain_streams(read_index([path])).tolist() == [4]
    merge([path], tmp_path / "report.xml", b"", b"")
    names = re.findall(rb"<filename>(.*?)</filename>", (tmp_path / "report.xml").read_bytes())
    assert names == [b"n", b"n-HTTP", b"objects/4-1-x~4-y", b"n~8", b"n~8-HTTP", b"objects/4-1-x~4-y"]


@given(st.lists(st.tuples(st.integers(0, 1 << 60), st.integers(0, 3)), unique_by=lambda row: row[0]))
def test_first_of_each_agrees_with_its_twin(rows: list[tuple[int, int]]) -> None:
    """The lowest stream of each name gets it, and nothing changes where names are final."""
    lowest: dict[int, int] = {}
    for stream, name in sorted(rows):
        lowest.setdefault(name, stream)
    expected = [name != 0 and lowest[name] == stream for stream, name in rows]
    found = first_of_each(np.array([name for _, name in rows], U64), np.array([stream for stream, _ in rows], U64))
    assert found.tolist() == expected


def test_names_are_settled(tmp_path: Path) -> None:
    """A coarse -F gives ~ID to all but the first stream of a name; what was not renamed keeps it."""
    items = [record(s, filename=f"n~{s}", suffix=f"~{s}") for s in (8, 4, 6)] + [record(2, filename="other")]
    rows = format_rows(items, {0: "a.pcap"})
    paths = [
        fragment(tmp_path / "0", [8, 4], rows[:2], [7, 7]),
        fragment(tmp_path / "1", [6, 2], rows[2:], [7, 0]),
    ]
    out = tmp_path / "report.xml"
    assert plain_streams(read_index(paths)).tolist() == [4]

    def names() -> list[bytes]:
        content = out.read_bytes()
        assert b"\x01" not in content
        return [line.split(b"<")[0] for line in content.split(b"<filename>")[1:]]

    merge(paths, out, b"", b"")
    assert names() == [b"other", b"n", b"n~6", b"n~8"]
    merge(paths, out, b"", b"", plain=np.empty(0, U64))
    assert names() == [b"other", b"n~4", b"n~6", b"n~8"]


@pytest.mark.parametrize("name", [0, 7])
def test_memory_is_bounded(tmp_path: Path, name: int) -> None:
    """A report is never in memory: 64 MB of rows are merged with less than 2 MB, names settled or not."""
    row = b"x" * 65536
    paths = [tmp_path / "0", tmp_path / "1"]
    for number, path in enumerate(paths):
        with FragmentWriter(path) as writer:
            for stream in range(number, 1000, 2):
                writer.add([stream], [row], [name])
    tracemalloc.start()
    try:
        merge(paths, tmp_path / "report.xml", b"", b"")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "report.xml").stat().st_size == 1000 * len(row)
    assert peak < 2 << 20


def _cut_rows(path: Path) -> None:
    os.truncate(path, 3)


def _cut_index(path: Path) -> None:
    os.truncate(index_path(path), 40)


def _no_index(path: Path) -> None:
    index_path(path).unlink()


@pytest.mark.parametrize("damage", [_cut_rows, _cut_index, _no_index, Path.unlink])
def test_an_unsound_fragment_is_refused(tmp_path: Path, damage: object) -> None:
    """A fragment that is not whole is a defect, and no report appears."""
    path = fragment(tmp_path / "0", [1, 2], [b"one", b"two"])
    damage(path)
    with pytest.raises(InternalError):
        merge([path], tmp_path / "report.xml", b"", b"")
    assert {left.name for left in tmp_path.iterdir()} <= {"0", "0.index"}


@pytest.mark.parametrize("serial", [0, 3])
def test_two_rows_of_a_stream_are_refused(tmp_path: Path, serial: int) -> None:
    """A stream has one row of its own, and one of each derived file, whoever wrote it."""
    for n in range(2):
        with FragmentWriter(tmp_path / str(n)) as writer:
            writer.add([4], [b"row"], serials=[serial])
    with pytest.raises(InternalError, match=f"stream 4 has two rows {serial}"):
        merge([tmp_path / "0", tmp_path / "1"], tmp_path / "report.xml", b"", b"")


def test_the_index_is_small(tmp_path: Path) -> None:
    """Under 100 bytes a row, also where every stream has derived rows and some were void."""
    count = 50_000
    path = tmp_path / "0"
    with FragmentWriter(path) as writer:
        for serial in (1, 0):
            writer.add(range(count), [b"x"] * count, serials=[serial] * count)
        for stream in range(0, count, 100):
            writer.void(stream)
    tracemalloc.start()
    try:
        merge([path], tmp_path / "report.xml", b"", b"")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * count * 100


def test_an_old_report_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the old report and no rest of the new one, for which the fragments made room in vain."""
    path = fragment(tmp_path / "0", [1], [b"new"])
    out = tmp_path / "report.xml"
    out.write_bytes(b"old")

    def full(descriptor: int, pieces: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        with pytest.raises(OutputError) as caught:
            merge([path], out, b"", b"")
    assert caught.value.hint
    assert out.read_bytes() == b"old"
    assert {left.name for left in tmp_path.iterdir()} == {"report.xml"}
    merge([fragment(tmp_path / "0", [1], [b"new"])], out, b"<", b">")
    assert out.read_bytes() == b"<new>"
    assert out.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_a_plain_file_is_replaced(tmp_path: Path, kind: str) -> None:
    """A report does not take the place of a device, a folder or a link, nor follow one."""
    out = tmp_path / "report.xml"
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    {"link": lambda: out.symlink_to(victim), "folder": out.mkdir, "pipe": lambda: os.mkfifo(out)}[kind]()
    with pytest.raises(OutputError, match="not a plain file"):
        merge([], out, b"", b"")
    assert victim.read_bytes() == b"kept"
    assert {left.name for left in tmp_path.iterdir()} == {"report.xml", "victim"}
