"""What one entity becomes: files as sent and decoded, an object, and what is said of them."""

from __future__ import annotations

import hashlib
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.effort import examples
from tests.writer.shelved import GZIP, START, TEXT, ZLIB, Bench, Benches, tell
from workers.contract import Completeness
from workers.limits import Limits

OBJECT = "objects/17-2-page"
BODY = "answers-HTTPBODY"
BR = brotli.compress(TEXT, quality=5)
ZSTD = zstandard.compress(TEXT)
BROKEN = GZIP[:4000] + b"\xff" * 40 + GZIP[4000:]


def test_a_plain_body_is_a_file_and_an_object(bench: Bench) -> None:
    """Both hold its bytes; their rows say where in the stream these were, and their times those of the packets."""
    bench.tell(TEXT[:500])
    assert bench.files() == {BODY: TEXT[:500], OBJECT: TEXT[:500]}
    row = bench.row(BODY)
    assert row[:9] == (35, 1, BODY, "", 500, [(0, 500)], START + 8_000_000_000, START + 16_000_000_000, row.md5)
    assert (row.md5, row.sha256) == (hashlib.md5(TEXT[:500]).hexdigest(), None)
    assert row[10:] == ("HTTPBODY", 300, 500, "", 0, {})
    row = bench.row(OBJECT)
    assert (row.serial, row.kind, row.sha256) == (2, "object", hashlib.sha256(TEXT[:500]).hexdigest())
    path = bench.path / BODY
    assert (path.stat().st_mtime_ns, path.stat().st_mode & 0o777) == (row.last_ns, 0o600)


@pytest.mark.parametrize(
    ("codings", "body", "suffix", "undone"),
    [
        (("gzip",), GZIP, "-GZIP", ["gzip"]),
        (("x-gzip",), GZIP, "-GZIP", ["gzip"]),
        (("identity", "gzip", ""), GZIP, "-GZIP", ["gzip"]),
        (("deflate",), ZLIB, "-DEFLATE", ["deflate"]),
        (("deflate",), ZLIB[2:-4], "-DEFLATE", ["deflate"]),
        (("br",), BR, "-BR", ["br"]),
        (("zstd",), ZSTD, "-ZSTD", ["zstd"]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, tuple) else "",
)
def test_a_coded_body_is_decoded_beside_the_file_and_in_the_object(
    bench: Bench, codings: tuple[str, ...], body: bytes, suffix: str, undone: list[str]
) -> None:
    """Whatever the codings; of a body that decodes cleanly nothing coded is kept among the objects."""
    bench.tell(body, *codings)
    assert bench.files() == {BODY: body, BODY + suffix: TEXT, OBJECT: TEXT}
    assert [row.filename for row in bench.rows] == [BODY, BODY + suffix, OBJECT]
    assert [row.coding for row in bench.rows] == ["", ",".join(undone), ",".join(undone)]
    record = bench.record(2)
    assert (record["size"], record["coded_size"], record["codings"]) == (len(TEXT), len(body), undone)
    assert (record["completeness"], record["coded_file"], record["problem"]) == ([], None, None)
    assert record["sha256"] == hashlib.sha256(TEXT).hexdigest()


def test_codings_one_over_the_other_leave_what_is_in_between(bench: Bench) -> None:
    """With ``-a`` each coding that is undone gives a file; the object is what the last one gives."""
    body = brotli.compress(GZIP)
    bench.tell(body, "gzip", "br")
    assert bench.files() == {BODY: body, BODY + "-BR": GZIP, BODY + "-BR-GZIP": TEXT, OBJECT: TEXT}
    assert [(row.filename, row.coding) for row in bench.rows] == [
        (BODY, ""), (BODY + "-BR", "br"), (BODY + "-BR-GZIP", "br,gzip"), (OBJECT, "br,gzip")
    ]  # fmt: skip
    assert bench.record(2)["codings"] == ["br", "gzip"]


@pytest.mark.parametrize(
    ("parts", "completeness", "broke"),
    [
        ([BROKEN], ["damaged"], range(4000, 4041)),
        ([GZIP[:-500]], ["open"], range(len(GZIP) - 500, len(GZIP) - 499)),
        ([GZIP[:4000], 50, GZIP[4050:]], ["open", "gaps"], range(4000, 4001)),
    ],
    ids=["broken", "cut short", "a hole"],
)
def test_what_decodes_of_a_damaged_body_is_the_object_and_the_coded_body_is_kept(
    bench: Bench, parts: list[bytes | int], completeness: list[str], broke: range
) -> None:
    """The object is the prefix that decodes; the record says why it ends there, and where the body as sent is."""
    bench.tell(parts, "gzip")
    files, record, sent = bench.files(), bench.record(2), b"".join(map(bytes, parts))
    assert set(files) == {BODY, BODY + "-GZIP", OBJECT, OBJECT + ".coded"}
    assert files[BODY] == files[OBJECT + ".coded"] == sent
    assert files[BODY + "-GZIP"] == files[OBJECT]
    assert files[OBJECT].startswith(TEXT[:20_000])
    assert len(files[OBJECT]) < len(TEXT)
    assert record["coded_file"] == OBJECT + ".coded"
    assert record["completeness"] == completeness
    assert record["broke_at"] in broke
    assert record["problem"]
    assert record["trailing"] is None
    assert bench.row(OBJECT + ".coded").kind == "coded"
    assert bench.row(BODY).flags == (Completeness.GAPS if 50 in parts else 0)


def test_bytes_behind_the_coded_data_are_kept_apart(bench: Bench) -> None:
    """The object is what the coded data are; the body as sent, which has the rest, lies beside it."""
    bench.tell(GZIP + b"and more", "gzip")
    assert bench.files()[OBJECT] == TEXT
    assert bench.files()[OBJECT + ".coded"] == GZIP + b"and more"
    assert (bench.record(2)["trailing"], bench.record(2)["completeness"]) == (8, [])


@pytest.mark.parametrize("size", [100, 200_000], ids=["held in memory", "written as it comes"])
@pytest.mark.parametrize("codings", [("gzip",), ("lzma",), ("gzip",) * 4], ids=["false", "unknown", "too many"])
def test_a_body_of_which_nothing_decodes_is_an_object_as_sent(
    bench: Bench, codings: tuple[str, ...], size: int
) -> None:
    """Under the object's own name, with its digests, and with the reason."""
    body = TEXT * 3
    host = bench.tell([body[at : min(at + 999, size)] for at in range(0, size, 999)], *codings)
    assert bench.files() == {BODY: body[:size], OBJECT: body[:size]}
    record = bench.record(2)
    assert (record["codings"], record["coded_file"]) == ([], None)
    assert record["sha256"] == hashlib.sha256(body[:size]).hexdigest()
    assert record["md5"] == bench.row(OBJECT).md5 == bench.row(BODY).md5
    facts = record["facts"]
    assert isinstance(facts, dict)
    assert facts.get("unknown_coding") == ("lzma" if codings == ("lzma",) else None)
    assert record["problem"] or codings == ("lzma",)
    assert host.facts(1).get("limit.codings", 0) == (len(codings) == 4)


def test_nothing_can_be_coded_too(bench: Bench) -> None:
    """What is empty when it is decoded has no file; its record says that it is whole."""
    bench.tell(zlib.compress(b""), "deflate")
    assert bench.files() == {BODY: zlib.compress(b"")}
    record = bench.record(2)
    assert (record["file"], record["size"], record["codings"], record["completeness"]) == (None, 0, ["deflate"], [])


def test_a_bomb_stops_at_the_limit(benches: Benches) -> None:
    """What was decoded by then is the object, marked and counted; the bomb is kept."""
    bench = benches(limits=Limits(decoded_bytes=100_000))
    bomb = zlib.compress(bytes(10_000_000))
    host = bench.tell(bomb, "deflate")
    files = bench.files()
    assert files[OBJECT] == files[BODY + "-DEFLATE"] == bytes(100_000)
    assert files[OBJECT + ".coded"] == bomb
    assert bench.record(2)["completeness"] == ["limited"]
    assert host.facts(1) == {"limit.decoded": 1}


@pytest.mark.parametrize(
    ("parts", "runs"),
    [
        ([10, b"abc"], [(10, 3)]),
        ([b"abc", 10, b"def"], [(0, 3), (13, 3)]),
        ([b"abc", 10], [(0, 3)]),
        ([b"a" * 70_000, 5, b"b" * 70_000, 200_000, b"c"], [(0, 70_000), (70_005, 70_000), (340_005, 1)]),
    ],
    ids=["in front", "in the middle", "at the end", "large"],
)
def test_a_hole_stays_one(bench: Bench, parts: list[bytes | int], runs: list[tuple[int, int]]) -> None:
    """Wherever it is: zeros in the file, none of its runs, hashed as they lie there."""
    bench.tell(parts)
    data = b"".join(map(bytes, parts))
    assert bench.files() == {BODY: data, OBJECT: data}
    row = bench.row(OBJECT)
    assert (row.size, row.runs, row.flags) == (len(data), runs, Completeness.GAPS)
    assert (row.md5, row.sha256) == (hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())
    assert bench.record(2)["completeness"] == ["gaps"]


def test_of_a_body_that_is_all_missing_there_is_a_record_and_no_file(bench: Bench) -> None:
    """It was sent, and has its number; the next one is number two."""
    host = bench.host()
    tell(host, [500])
    tell(host, b"next", offset=900)
    assert bench.files() == {BODY + "-002": b"next", "objects/17-4-page": b"next"}
    record = bench.record(2)
    assert (record["file"], record["size"], record["md5"], record["completeness"]) == (None, 500, None, ["gaps"])


def test_holes_have_a_limit(benches: Benches) -> None:
    """A body ends in front of the hole with which its holes are too large together, and is marked."""
    bench = benches(limits=Limits(hole_bytes=100))
    host = bench.tell([b"a", 60, b"b", 60, b"c"])
    assert bench.files()[OBJECT] == b"a" + bytes(60) + b"b"
    assert bench.record(2)["completeness"] == ["gaps", "limited"]
    assert host.facts(1) == {"limit.hole_bytes": 1}


@pytest.mark.parametrize(
    ("analyze", "extract", "names"),
    [
        (True, (), {BODY, BODY + "-GZIP"}),
        (False, ("http",), {OBJECT}),
        (False, ("smtp",), set()),
        (True, ("smtp",), {BODY, BODY + "-GZIP"}),
    ],
)
def test_only_what_was_asked_for_is_made(
    benches: Benches, analyze: bool, extract: tuple[str, ...], names: set[str]
) -> None:
    """Files with -a, objects with -e and the protocol's name."""
    bench = benches(analyze=analyze, extract=extract, md5=False)
    bench.tell(GZIP, "gzip")
    assert set(bench.files()) == names
    assert len(bench.lines.records) == (OBJECT in names)
    assert all((row.md5 is None) == (row.kind == "HTTPBODY") for row in bench.rows)


def test_types_are_declared_and_detected(bench: Bench) -> None:
    """By the content as it is decoded, and by what stands in front of the first hole."""
    host = bench.host()
    tell(host, zlib.compress(b"<!DOCTYPE html><p>"), "deflate", media_type="text/plain; charset=x")
    tell(host, [b"%PDF-1.7 ", 100, b"\0\1\2"])
    tell(host, [100, b"%PDF-1.7 "])
    types = [(bench.record(n)["declared_type"], bench.record(n)["detected_type"]) for n in (2, 4, 6)]
    assert types == [("text/plain; charset=x", "text/html"), (None, "application/pdf"), (None, None)]


CASES = {
    "plain": ([TEXT], ()),
    "gzip": ([GZIP], ("gzip",)),
    "broken": ([BROKEN], ("gzip",)),
    "false": ([TEXT], ("br",)),
    "hole": ([GZIP[:4000], 3000, GZIP[7000:]], ("gzip",)),
    "holes": ([7, TEXT[:5000], 100, TEXT[5000:], 9], ()),
}


@examples(60)
@given(st.sampled_from(sorted(CASES)), st.lists(st.integers(1, 100_000), max_size=30), st.booleans())
def test_cuts_do_not_show(tmp_path_factory: pytest.TempPathFactory, case: str, cuts: list[int], tight: bool) -> None:
    """However the bytes were cut, and whether there was room to hold them: the same files, rows and records."""
    parts, codings = CASES[case]
    cut: list[bytes | int] = []
    sizes = iter(cuts)
    for part in parts:
        while isinstance(part, bytes) and (size := next(sizes, 0)):
            cut.append(part[:size])
            part = part[size:]
        cut.append(part)
    path = tmp_path_factory.mktemp("cut")
    with Bench(path / "whole") as whole, Bench(path / "cut") as pieces:
        if tight:
            pieces.shelf._store.held = 1 << 30  # nobody may hold anything
        whole.tell(parts, *codings)
        pieces.tell([part for part in cut if part], *codings)
        assert pieces.told() == whole.told()
