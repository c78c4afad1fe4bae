"""Content codings: whole bodies, damaged ones, and the same for any cut."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.effort import examples
from tests.forms import crossed
from workers.analyzers.coding import Undoing, at_once
from workers.analyzers.coding.brotlied import REPLAYED
from workers.analyzers.coding.decoder import BLOCK, MOST_OUT
from workers.analyzers.seam import Fact
from workers.contract import Completeness
from workers.limits import MIB, Limits

LIMITS = Limits()
WHOLE, OPEN, LIMITED, DAMAGED = Completeness(0), Completeness.OPEN, Completeness.LIMITED, Completeness.DAMAGED


class Undone(NamedTuple):
    """All that an Undoing says of a body."""

    data: bytes
    flags: Completeness
    facts: dict[str, Fact]


def undo(codings: str, pieces: Iterable[bytes], limits: Limits = LIMITS) -> Undone:
    """``codings``: "gzip, br", as in a header. What is undone at once, if it is, has to be the same."""
    pieces, names = list(pieces), codings.split(", ")
    undoing = Undoing(names, limits)
    out = [found for piece in pieces for found in undoing.feed(piece)]
    out += undoing.end()
    assert all(0 < len(found) <= MOST_OUT for found in out)
    found = Undone(b"".join(out), undoing.flags, undoing.facts())
    quick = at_once(names, b"".join(pieces), limits)
    assert quick is None or (*quick, found.flags, found.facts) == (undoing.suffix, found.data, WHOLE, {})
    return found


def early(taken: int) -> dict[str, Fact]:
    """What is said of coded data that stop there, before their end."""
    return {"broke_at": taken, "problem": "it ends too early"}


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def raw(data: bytes) -> bytes:
    coder = zlib.compressobj(6, zlib.DEFLATED, -15)
    return coder.compress(data) + coder.flush()


def br(data: bytes) -> bytes:
    return brotli.compress(data, quality=5)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gz,
    "x-gzip": gz,
    "deflate": zlib.compress,
    "br": br,
    "zstd": zstd,
    "identity": bytes,
}


def prose(size: int) -> bytes:
    """Text that compresses as text does."""
    rng = random.Random(size)
    words = [bytes(rng.choices(b"etaoinshrdlu", k=rng.randint(1, 9))) for _ in range(1_000)]
    return b" ".join(rng.choices(words, k=size // 4))[:size]


SMALL, LARGE = prose(5_000), prose(900_000)


def stored(payload: bytes, first: int = 0) -> bytes:
    """A stored block of raw deflate whose first byte has bits that mean nothing (RFC 1951 3.2.4)."""
    size = len(payload).to_bytes(2, "little")
    return bytes([first]) + size + bytes(byte ^ 0xFF for byte in size) + payload


@pytest.mark.parametrize("data", [SMALL, LARGE, b"x", b""], ids=["small", "large", "byte", "nothing"])
@pytest.mark.parametrize(
    ("codings", "suffix"),
    [
        ("gzip", "-GZIP"),
        ("x-gzip", "-GZIP"),
        ("deflate", "-DEFLATE"),
        ("br", "-BR"),
        ("zstd", "-ZSTD"),
        ("gzip, br", "-BR-GZIP"),
        ("identity, gzip, identity", "-GZIP"),
        ("zstd, deflate, gzip", "-GZIP-DEFLATE-ZSTD"),
    ],
)
def test_undone(codings: str, suffix: str, data: bytes) -> None:
    """Each coding, and one over the other, gives what was coded."""
    body = data
    for name in codings.split(", "):
        body = CODERS[name](body)
    assert undo(codings, [body]) == Undone(data, WHOLE, {})
    assert Undoing(codings.split(", "), Limits()).suffix == suffix


@pytest.mark.parametrize(
    ("codings", "flags", "facts"),
    [
        ("identity", WHOLE, {}),
        ("", WHOLE, {}),
        ("compress", WHOLE, {"unknown_coding": "compress"}),
        ("gzip, pack200", WHOLE, {"unknown_coding": "pack200"}),
        ("gzip, gzip, gzip, gzip", LIMITED, {"problem": "4 codings"}),
    ],
)
def test_nothing_to_undo(codings: str, flags: Completeness, facts: dict[str, Fact]) -> None:
    """No coding, an unknown one, too many of them: no suffix, and nothing comes out."""
    assert undo(codings, [gz(SMALL)]) == Undone(b"", flags, facts)
    assert Undoing(codings.split(", "), Limits()).suffix == ""


SKIPPED = b"\x53\x2a\x4d\x18" + b"\4\0\0\0" + b"skip"


@pytest.mark.parametrize(
    ("codings", "body", "expected"),
    [
        # ends and what is behind them
        ("gzip", gz(b"one") + gz(b"two"), Undone(b"onetwo", WHOLE, {"members": 2})),
        ("gzip", gz(b"one") + bytes(9), Undone(b"one", WHOLE, {"trailing": 9})),
        ("gzip", gz(b"one") + b"\x1f\x8b", Undone(b"one", WHOLE, {"trailing": 2})),
        ("gzip", gz(b"one") + b"\x1f\x8b\x08", Undone(b"one", OPEN, {"members": 2, **early(len(gz(b"one")) + 3)})),
        ("deflate", zlib.compress(b"one") + b"tail", Undone(b"one", WHOLE, {"trailing": 4})),
        ("deflate", raw(b"one") + b"tail", Undone(b"one", WHOLE, {"trailing": 4})),
        ("br", br(b"one") + b"tail", Undone(b"one", WHOLE, {"trailing": 4})),
        ("zstd", zstd(b"one") + b"(\xb5/", Undone(b"one", WHOLE, {"trailing": 3})),
        ("zstd", zstd(b"one") + b"tail" * BLOCK, Undone(b"one", WHOLE, {"trailing": 4 * BLOCK})),
        ("zstd", SKIPPED + zstd(b"one") + SKIPPED + zstd(b"two"), Undone(b"onetwo", WHOLE, {"members": 2})),
        ("zstd", zstd(b"one") + SKIPPED[:-1], Undone(b"one", OPEN, early(len(zstd(b"one") + SKIPPED) - 1))),
        ("gzip, br", br(gz(b"one") + b"tail"), Undone(b"one", WHOLE, {"trailing": 4})),
        # formats of deflate
        ("deflate", raw(SMALL), Undone(SMALL, WHOLE, {})),
        ("deflate", b"\x78\x9d" + raw(b"z"), Undone(b"", DAMAGED, {"broke_at": 4})),
        # not what it is said to be
        ("gzip", b"<html>", Undone(b"", DAMAGED, {"broke_at": 0, "problem": "not gzip"})),
        ("gzip", b"h", Undone(b"", DAMAGED, {"broke_at": 0, "problem": "not gzip"})),
        ("deflate", b'{"a": 1}', Undone(b"", DAMAGED, {"broke_at": 0, "problem": "not deflate"})),
        ("deflate", SMALL, Undone(b"", DAMAGED, {"broke_at": 0, "problem": "not deflate"})),
        ("br", b"OK", Undone(b"", DAMAGED, {"broke_at": 0, "problem": "not brotli"})),
        ("br", SMALL, Undone(b"", DAMAGED, {"broke_at": 0, "problem": "not brotli"})),
        ("zstd", b"OK", Undone(b"", DAMAGED, {"broke_at": 0, "problem": "not zstd"})),
        ("gzip, br", br(b"<html>"), Undone(b"", DAMAGED, {"broke_at": 0, "problem": "not gzip", "broke_in": "gzip"})),
        # headers that promise what is not allowed
        ("gzip", b"\x1f\x8b\x08\xe0", Undone(b"", DAMAGED, {"broke_at": 3, "problem": "unknown header flags set"})),
        ("zstd", b"(\xb5/\xfd\x08\0", Undone(b"", DAMAGED, {"broke_at": 0, "problem": "reserved bit in frame header"})),
        ("zstd", b"(\xb5/\xfd\0\x70", Undone(b"", DAMAGED, {"broke_at": 0, "problem": f"window of {16 * MIB} bytes"})),
        ("zstd", b"(\xb5/\xfd\1\0\7", Undone(b"", DAMAGED, {"broke_at": 0, "problem": "needs a dictionary"})),
        ("zstd", b"(\xb5/\xfd\0\0\7\0\0", Undone(b"", DAMAGED, {"broke_at": 6, "problem": "reserved type of block"})),
        ("zstd", b"(\xb5/\xfd\0\0\2\0\xff", Undone(b"", DAMAGED, {"broke_at": 6, "problem": "block too long"})),
        # checks at the end: all is given
        ("gzip", gz(SMALL)[:-8] + bytes(8), Undone(SMALL, DAMAGED, {"problem": "incorrect data check"})),
        ("gzip", gz(SMALL)[:-4] + bytes(4), Undone(SMALL, DAMAGED, {"problem": "incorrect length check"})),
        ("deflate", zlib.compress(SMALL)[:-4] + bytes(4), Undone(SMALL, DAMAGED, {"problem": "incorrect data check"})),
        ("zstd", zstd(SMALL)[:-4] + bytes(4), Undone(SMALL, DAMAGED, {})),
        ("zstd", b"(\xb5/\xfd\x20\5" + b"\x19\0\0one",
         Undone(b"one", DAMAGED, {"broke_at": 6, "problem": "content shorter than declared"})),
        # ends too early
        *((name, b"", Undone(b"", OPEN, early(0))) for name in ("gzip", "deflate", "br", "zstd")),
        ("gzip, br", b"", Undone(b"", OPEN, early(0) | {"broke_in": "br"})),
    ],
)  # fmt: skip
def test_outcomes(codings: str, body: bytes, expected: Undone) -> None:
    """What comes out, what is the matter, and where; of facts those that are named."""
    found = undo(codings, [body])
    facts = {name: found.facts.get(name) for name in expected.facts} if found.flags & DAMAGED else found.facts
    assert found._replace(facts=facts) == expected


@pytest.mark.parametrize("codings", ["gzip", "x-gzip", "deflate", "br"])
def test_ordinary_bodies_are_undone_at_once(codings: str) -> None:
    """Unless so much comes out that a limit is near; never more is decoded than that."""
    body = CODERS[codings](SMALL)
    assert at_once([codings], memoryview(body), LIMITS) == (Undoing([codings], LIMITS).suffix, SMALL)
    assert at_once([codings], body, Limits(ratio_from=4_999)) is None
    assert at_once([codings], body, Limits(decoded_bytes=1)) is None
    assert at_once([codings], body, Limits(decoded_bytes=0)) is None
    assert at_once([codings], body, Limits(coding_layers=0)) is None
    assert at_once([codings], CODERS[codings](bytes(64 * MIB)), LIMITS) is None
    assert at_once([codings, codings], body, LIMITS) is None


def test_a_body_that_is_both_formats_of_deflate() -> None:
    """It is raw if zlib's breaks: the first two bytes are zlib's header, and of a stored block of 0x019c bytes."""
    content = b"o" * 0x019C
    body = stored(content, 0x78)
    assert body[:2] == zlib.compress(b"")[:2]
    assert undo("deflate", [body + raw(b"k")]) == Undone(content + b"k", WHOLE, {})


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)])
def test_cut_off(name: str, size: int) -> None:
    """Without its second half a body gives what its first half holds, up to a block of the coding, and is OPEN; it is
    said where it ends."""
    data = prose(size)
    body = CODERS[name](data)
    found = undo(name, [body[: len(body) // 2]])
    assert (found.flags, found.facts) == (OPEN, early(len(body) // 2))
    assert data.startswith(found.data)
    assert len(found.data) >= (size // 2 - (128 << 10) if name == "zstd" else size * 2 // 5)


def test_a_hole() -> None:
    """What is behind a hole is not decoded; what is before it is, as if the body ended there."""
    body = gz(LARGE)
    undoing = Undoing(["gzip"], Limits())
    out = [*undoing.feed(body[:50_000])]
    undoing.hole()
    out += [*undoing.feed(body[50_100:]), *undoing.end()]
    assert (b"".join(out), undoing.flags) == undo("gzip", [body[:50_000]])[:2]
    assert undoing.facts() == {"broke_at": 50_000, "problem": "a part is missing"}
    assert LARGE.startswith(b"".join(out))
    assert len(b"".join(out)) > 100_000


def plain(data: bytes) -> bytes:
    """zlib alone, in one call, as far as it goes."""
    decoder, out = zlib.decompressobj(31), b""
    for byte in data:
        try:
            out += decoder.decompress(bytes([byte]))
        except zlib.error:
            return out
    return out


@given(st.data())
def test_gzip_breaks_where_zlib_breaks(data: st.DataObject) -> None:
    """A damaged body gives what zlib gives that is fed byte by byte, and at most a byte's worth more."""
    body = bytearray(gz(SMALL))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    found = undo("gzip", [bytes(body)])
    if found.facts.get("broke_at") == 0:
        assert at < 3
        return
    expected = plain(bytes(body))
    assert found.data.startswith(expected)
    if found.flags & DAMAGED:
        broke_at = found.facts["broke_at"]
        assert isinstance(broke_at, int)
        assert at <= broke_at
        assert plain(bytes(body[:broke_at])) == expected
        assert len(found.data) <= len(expected) + 8 * 258


FRAMES = zstd(LARGE) + zstd(SMALL)
BODIES = {"gzip": gz(LARGE), "deflate": raw(LARGE), "br": br(LARGE), "zstd": FRAMES, "zstd, gzip, br": br(gz(FRAMES))}


@examples(50)
@given(st.data())
@pytest.mark.parametrize("codings", BODIES)
def test_cuts_do_not_matter(codings: str, data: st.DataObject) -> None:
    """However a body is cut into pieces, and wherever it is damaged: what comes out and what is said stays the same."""
    body = bytearray(BODIES[codings])
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=2)):
        body[at] ^= data.draw(st.integers(1, 255))
    ends = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pieces = [bytes(body[a:b]) for a, b in zip([0, *ends], [*ends, len(body)], strict=True)]
    limits = Limits(decoded_bytes=data.draw(st.sampled_from([1, 100_000, 64 * MIB])))
    assert undo(codings, pieces, limits) == undo(codings, [bytes(body)], limits)


@pytest.mark.parametrize("codings", crossed([("gzip",), ("br",)], BODIES))
def test_byte_by_byte(codings: str) -> None:
    """The finest cut."""
    body = BODIES[codings]
    assert undo(codings, [body[at : at + 1] for at in range(len(body))]) == undo(codings, [body])


def test_brotli_beyond_what_is_kept() -> None:
    """There a break is known to 256 bytes."""
    data = random.Random(1).randbytes(REPLAYED) + SMALL * 20
    body = bytearray(brotli.compress(data, quality=1, lgwin=18))
    assert undo("br", [bytes(body)]) == Undone(data, WHOLE, {})
    trailed = undo("br", [bytes(body) + bytes(600)])
    assert (trailed.flags, trailed.facts["broke_at"]) == (DAMAGED, (len(body) - 1) // 256 * 256)
    assert data.startswith(trailed.data)
    assert len(trailed.data) > REPLAYED


@given(st.binary(max_size=400), st.lists(st.sampled_from(sorted(CODERS)), max_size=3), st.integers(0, 10))
def test_nothing_raises(body: bytes, names: list[str], kept: int) -> None:
    """Any bytes behind the first ones of a coded body."""
    head = CODERS[names[-1]](SMALL)[:kept] if names else b""
    found = undo(", ".join(names), [head + body])
    assert found.flags in {WHOLE, OPEN, DAMAGED}
