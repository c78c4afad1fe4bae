"""A manifest that somebody else made: refused as data, and leads to no file but plain ones.

The threat: evidence comes with its manifest, and whoever made both wants the one who checks to hang, to crash, to read
a device, or to see two manifests in one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CaptureError
from pipeline.manifest.document import File, Manifest, Report, Source, decode, encode
from tests import example
from tests.build import write_pcap
from tests.manifest.proven import MANIFEST, lines, proven, rewrite, told, verify

DIGEST = "0" * 64


@pytest.fixture
def out(tmp_path: Path) -> Path:
    proven(write_pcap(tmp_path / "a.pcap", example.packets()), tmp_path / "out")
    return tmp_path / "out"


def file(**changed: object) -> dict[str, object]:
    """A file of a manifest."""
    return {"name": "a", "size": 1, "sha256": DIGEST} | changed


@pytest.mark.parametrize(
    "name", ["../a", "/etc/passwd", "a/../../b", "", ".", "a//b", "a/", "a\0b", "x" * 5000, "a/" * 17 + "b", 7, None]
)
def test_a_name_stays_in_the_folder(out: Path, name: object) -> None:
    """What leads elsewhere, or is none, is refused as a whole, with status 3."""
    rewrite(out, files=[file(name=name)])
    done = verify(out)
    assert (done.status, done.out, "manifest.json is damaged" in done.err) == (3, "", True)


@pytest.mark.parametrize(
    "changed",
    [
        {"size": -1}, {"size": 1 << 63}, {"size": 1.5}, {"size": True}, {"size": "1"}, {"size": None},
        {"sha256": DIGEST[:-1]}, {"sha256": DIGEST.replace("0", "G")}, {"sha256": None}, {"sha256": "٠" * 64},
    ],
)  # fmt: skip
def test_numbers_and_digests_are_such(out: Path, changed: dict[str, object]) -> None:
    """A size is one that a file can have, a SHA-256 has 64 digits of one spelling."""
    rewrite(out, files=[file(**changed)])
    assert verify(out).status == 3


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a": ' * 100_000,
        b'{"manifest": ' + b"9" * 100_000 + b"}",
        b'{"manifest": NaN}', b'{"manifest": 1e999}', b'{"manifest": 2}', b'{"manifest": true}', b'{"manifest": 1}',
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(out: Path, text: bytes) -> None:
    """Other text, another version, depth and digits without end."""
    (out / MANIFEST).write_bytes(text)
    done = verify(out)
    assert (done.status, done.out) == (3, "")


@pytest.mark.parametrize("member", ["files", "elsewhere", "inputs", "others", "report", "run", "manifest"])
@pytest.mark.parametrize("value", [None, 7, "text", {}, [7], [[]], [{}]])
def test_each_member_is_what_it_should_be(out: Path, member: str, value: object) -> None:
    """Any other kind of value is refused; an empty object is a run of which nothing is told."""
    rewrite(out, **{member: value})
    assert verify(out).status == (1 if (member, value) == ("run", {}) else 3)


def test_a_member_stands_once(out: Path) -> None:
    """Two readers could see two manifests in one file, and a signature would be that of both."""
    text = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text(text.replace('"files": [', '"files": [],\n"files": [', 1))
    assert verify(out).status == 3
    rewrite(out, files=[file(), file()])
    assert verify(out).status == 3


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/tty", "FIFO", "/proc/self/fd/0", "/"])
def test_a_path_elsewhere_is_a_plain_file(out: Path, name: str) -> None:
    """Devices, pipes and folders are not opened: the check ends, and tells them as changed."""
    path = str(out.parent / "fifo") if name == "FIFO" else name
    if name == "FIFO":
        os.mkfifo(path)
    size = (1 << 63) - 1
    rewrite(out, elsewhere=[{"path": path, "size": size, "sha256": DIGEST}],
            inputs=[{"name": "a", "path": path, "size": size, "sha256": DIGEST}])  # fmt: skip
    assert {line.split()[0] for line in lines(out)} <= {"changed", "missing"}
    assert verify(out).status == 1


def test_a_relative_path_elsewhere_is_refused(out: Path) -> None:
    """It would mean something else in each folder."""
    rewrite(out, elsewhere=[{"path": "a", "size": 1, "sha256": DIGEST}])
    assert verify(out).status == 3


def test_no_link_leads_out_of_the_folder(out: Path) -> None:
    """A folder of the manifest that is a link now: its files are told as changed or missing, and not read."""
    (out / "f").symlink_to("/etc")
    rewrite(out, files=[file(name="f/passwd", size=Path("/etc/passwd").stat().st_size)])
    assert all(line.split()[0] in {"changed", "missing", "added"} for line in lines(out))


def test_the_manifest_itself_is_a_plain_file(out: Path) -> None:
    """A link or a pipe in its place is not read."""
    (out / MANIFEST).rename(out / "real")
    (out / MANIFEST).symlink_to("real")
    assert verify(out).status == 3
    (out / MANIFEST).unlink()
    os.mkfifo(out / MANIFEST)
    assert verify(out).status == 3


def test_a_report_without_lines_takes_no_memory(out: Path) -> None:
    """A report of one line without end is read in pieces."""
    with (out / "report.xml").open("wb") as report:
        report.truncate(64 << 20)
    assert lines(out) == ["changed report report.xml (what it says of the streams)"]


WORDS = st.text(min_size=1, max_size=20).filter(lambda text: not set(text) & set("/\0") and text not in {".", ".."})
NAMES = st.lists(WORDS, min_size=1, max_size=3).map("/".join)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
SIZES = st.integers(0, (1 << 63) - 1)
FILES = st.lists(st.builds(File, NAMES, SIZES, DIGESTS), max_size=3, unique_by=lambda each: each.name)
PATHS = NAMES.map("/".__add__)
MANIFESTS = st.builds(
    Manifest, FILES, st.lists(st.builds(File, PATHS, SIZES, DIGESTS), max_size=2),
    st.lists(st.builds(Source, NAMES, PATHS | st.just(""), SIZES, DIGESTS | st.none(), st.text()), max_size=2),
    st.builds(Report, NAMES | PATHS, DIGESTS), st.lists(NAMES, max_size=2),
    st.just({"command_line": "a"}), st.just({"host": "b"}),
)  # fmt: skip


@given(MANIFESTS)
def test_what_is_written_is_read_back(manifest: Manifest) -> None:
    """Any names, bytes that are no UTF-8 among them, sizes and notes; the JSON is ASCII."""
    text = encode(manifest)
    assert text.isascii()
    assert decode(text) == manifest
    assert encode(decode(text)) == text


@given(MANIFESTS, st.integers(0), st.binary(max_size=6), st.integers(0, 6))
def test_any_bytes_are_a_manifest_or_one_error(manifest: Manifest, at: int, new: bytes, old: int) -> None:
    """A manifest with some bytes replaced, anywhere, raises nothing but CaptureError."""
    text = encode(manifest)
    at %= len(text)
    try:
        decode(text[:at] + new + text[at + old :])
    except CaptureError:
        return


MEMBERS = ["files", "elsewhere", "inputs", "report", "run", "others", "manifest", "name", "path", "size"]
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(DIGEST),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=6),
)  # fmt: skip


@given(JSON)
def test_any_json_is_a_manifest_or_one_error(value: object) -> None:
    """... and so does any other JSON."""
    try:
        decode(json.dumps(value).encode())
    except CaptureError:
        return


def test_the_samples_are_refused_for_what_they_are(out: Path) -> None:
    """The manifest that the tests above change is accepted as it is."""
    rewrite(out)
    assert verify(out).status == 0
    assert told(out)["manifest"] == 1
