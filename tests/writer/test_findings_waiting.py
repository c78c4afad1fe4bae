"""Contents that are there whole: the same comes of them as of those that come piece by piece."""

from __future__ import annotations

import gzip

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InternalError
from tests.effort import examples
from tests.writer.shelved import GZIP, TEXT, ZLIB, Bench, Benches, tell
from workers.analyzers.seam import Entity
from workers.contract import Completeness
from workers.limits import Limits

FORM = b'--x\r\nContent-Disposition: form-data; name="n"; filename="f.txt"\r\n\r\ncontent\r\n--x--'

CASES: dict[str, tuple[bytes, tuple[str, ...], bytes]] = {
    "plain": (TEXT[:9000], (), b""),
    "too large to wait": (TEXT, (), b""),
    "nothing": (b"", (), b""),
    "gzip": (GZIP, ("gzip",), b""),
    "deflate": (ZLIB, ("deflate",), b""),
    "br": (brotli.compress(TEXT, quality=5), ("br",), b""),
    "zstd": (zstandard.compress(TEXT), ("zstd",), b""),
    "gzip of nothing": (gzip.compress(b"", mtime=0), ("gzip",), b""),
    "nothing as gzip": (b"", ("gzip",), b""),
    "broken": (GZIP[:4000] + b"\xff" * 40 + GZIP[4000:], ("gzip",), b""),
    "cut short": (GZIP[:-9], ("gzip",), b""),
    "members": (GZIP + GZIP, ("gzip",), b""),
    "trailed": (GZIP + b"more", ("gzip",), b""),
    "a bomb": (gzip.compress(bytes(3 << 20), mtime=0), ("gzip",), b""),
    "stacked": (gzip.compress(GZIP, mtime=0), ("gzip", "gzip"), b""),
    "identity": (TEXT[:100], ("identity",), b""),
    "unknown": (TEXT[:100], ("lzma",), b""),
    "a form": (FORM, (), b"x"),
    "a form, coded": (gzip.compress(FORM, mtime=0), ("gzip",), b"x"),
}
WANTED: list[dict[str, object]] = [
    {}, {"extract": ()}, {"extract": (), "md5": False}, {"analyze": False}, {"analyze": False, "md5": False},
]  # fmt: skip


@examples(6)
@pytest.mark.parametrize("case", CASES)
@given(st.sampled_from(WANTED), st.integers(1, 70_000), st.sampled_from([Completeness(0), Completeness.OPEN]))
def test_how_it_is_told_does_not_show(
    tmp_path_factory: pytest.TempPathFactory, case: str, wanted: dict[str, object], cut: int, flags: Completeness
) -> None:
    """At once, in pieces, or with no room to wait: the same files, times, rows, records and counters."""
    body, codings, boundary = CASES[case]
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    path, limits = tmp_path_factory.mktemp("told"), Limits(decoded_bytes=2 << 20)
    told = []
    for way, parts in (("whole", [body]), ("cut", pieces), ("tight", pieces)):
        with Bench(path / way, limits=limits, **wanted) as bench:  # type: ignore[arg-type]
            host = bench.host()
            held = bench.shelf._store.held = (1 << 30) * (way == "tight")
            for _ in range(2):
                tell(
                    host, parts, *codings, media_type="text/x", boundary=boundary, flags=flags, facts={"more": 1},
                    at_once=way == "whole",
                )  # fmt: skip
            host.close()
            told.append((bench.told(), bench.lines.suffixes, host.facts(1)))
            assert bench.shelf._store.held == held
    assert told[0] == told[1] == told[2]


def test_what_waits_is_forgotten(bench: Bench) -> None:
    """When the connection is taken back while it waits."""
    host = bench.host()
    host.text(1, "HTTP", b"head")
    tell(host, TEXT[:500], at_once=True)
    host.begin(Entity(1, "HTTPBODY", 900)).data(b"some")
    assert bench.shelf._store.held == 8
    host.discard()
    assert (bench.files(), bench.rows, bench.shelf._store.held) == ({}, [], 0)


def test_a_taken_name_of_what_is_told_at_once(benches: Benches) -> None:
    """The row has the name that the file got; and the decoded file its own."""
    bench = benches(extract=())
    (bench.path / "answers-HTTPBODY").mkdir()
    host = bench.host()
    tell(host, GZIP, "gzip", at_once=True)
    host.close()
    assert [row.filename for row in bench.rows] == ["answers-HTTPBODY~17.1", "answers-HTTPBODY-GZIP"]
    assert bench.files() == {"answers-HTTPBODY~17.1": GZIP, "answers-HTTPBODY-GZIP": TEXT}
    host.discard()
    assert bench.files() == {}


@pytest.mark.parametrize("extract", [(), ("http",)])
def test_what_was_told_whole_is_over(benches: Benches, extract: tuple[str, ...]) -> None:
    """An analyzer that goes on telling of it is wrong."""
    content = benches(extract=extract).host().whole(Entity(1, "HTTPBODY", 300), b"body", 304, Completeness(0), {})
    for more in (lambda: content.data(b"x"), lambda: content.hole(1), lambda: content.end(305, Completeness(0), {})):
        with pytest.raises(InternalError, match="is over"):
            more()
