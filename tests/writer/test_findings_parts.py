"""The parts of a form as objects."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.effort import examples
from tests.writer.shelved import Bench, Benches
from workers.limits import Limits

FILE = bytes(range(256)) * 300
FORM = b"".join(
    (
        b'--xyz\r\nContent-Disposition: form-data; name="comment"\r\n\r\nonly text\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name="upload"; filename="../../etc/passwd"\r\n\r\nroot:x\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name="empty"; filename="nothing"\r\n\r\n\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name="meta"\r\nContent-Type: application/json\r\n\r\n{"a": 1}\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name="big"; filename="C:\\big.bin"\r\n\r\n'
        + FILE
        + b"\r\n--xyz--\r\n",
    )
)
WHERE = [(3, 2, "upload", "../../etc/passwd"), (7, 4, "meta", ""), (9, 5, "big", "C:\\big.bin")]


def upload(bench: Bench, parts: Sequence[bytes | int] = (FORM,), *codings: str) -> None:
    bench.tell(parts, *codings, side=0, name="send", media_type="multipart/form-data", boundary=b"xyz")


def test_files_and_typed_parts_become_objects_beside_the_form(benches: Benches) -> None:
    """Under names that are safe; the records say what the parts were called, and of which form they are."""
    bench = benches(analyze=False)
    upload(bench)
    files = bench.files()
    assert files.pop("objects/17-1-send.form") == FORM
    assert files.pop("objects/17-3-passwd") == b"root:x"
    assert files.pop("objects/17-7-meta.json") == b'{"a": 1}'
    assert files.pop("objects/17-9-big.bin") == FILE
    assert not files
    records = [bench.record(n) for n, *_ in WHERE]
    assert [(r["n"], r["part"], r["part_name"], r["disposition"]) for r in records] == WHERE
    assert {(r["url"], r["src"], r["offset"], r["length"]) for r in records} == {
        ("http://x/page", "10.0.0.1", 300, len(FORM))
    }
    assert bench.record(7)["declared_type"] == bench.record(7)["detected_type"] == "application/json"
    assert [(row.kind, row.serial) for row in bench.rows] == [("object", 1), ("part", 2), ("part", 3), ("part", 4)]
    assert {(bench.path / row.filename).stat().st_mtime_ns for row in bench.rows} == {bench.rows[0].last_ns}


def test_a_coded_form_is_split_as_it_is_decoded(bench: Bench) -> None:
    """Some clients compress what they send."""
    upload(bench, [zlib.compress(FORM)], "deflate")
    assert bench.files()["objects/17-9-big.bin"] == FILE


def test_a_hole_is_that_of_the_part_that_it_is_in(bench: Bench) -> None:
    """The part's file has it, the others are whole."""
    at = FORM.index(FILE) + 100
    upload(bench, [FORM[:at], 50, FORM[at + 50 :]])
    assert bench.files()["objects/17-9-big.bin"] == FILE[:100] + bytes(50) + FILE[150:]
    assert [bench.record(n)["completeness"] for n in (1, 3, 7, 9)] == [["gaps"], [], [], ["gaps"]]


def test_parts_have_a_limit(benches: Benches) -> None:
    """Those beyond it are counted, and in the form as ever."""
    bench = benches(limits=Limits(form_parts=2))
    host = bench.tell(FORM, side=0, boundary=b"xyz")
    assert {name for name in bench.files() if name.startswith("objects")} == {
        "objects/17-1-page", "objects/17-3-passwd",
    }  # fmt: skip
    assert host.facts(0) == {"limit.parts": 3}


def test_without_e_a_form_is_a_body(benches: Benches) -> None:
    """Parts are objects, and nobody asked for these."""
    bench = benches(extract=())
    upload(bench)
    assert set(bench.files()) == {"asks-HTTPBODY"}


@examples(40)
@given(st.lists(st.integers(1, 2000), max_size=40))
def test_cuts_do_not_show(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """Neither in the parts nor in what is said of them."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(FORM[at : at + size])
        at += size
    path = tmp_path_factory.mktemp("cut")
    with Bench(path / "whole") as whole, Bench(path / "cut") as cut:
        upload(whole)
        upload(cut, [piece for piece in (*pieces, FORM[at:]) if piece])
        assert cut.told() == whole.told()
