"""Compressed inputs: whole, in parts, cut, corrupt, hostile."""

from __future__ import annotations

import bz2
import lzma
import struct
import time
import tracemalloc
import zlib

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.source.records import Fault
from pipeline.spool.codecs import MOST_WINDOW, PIECE
from pipeline.spool.compressed import HEAD, coding, plain
from pipeline.spool.feed import Unreadable
from tests.spool.codes import COMPRESS, Bytes, read_all, rich_gzip, text

NAMES = sorted(COMPRESS)
TEXT = text(140_000)
SHORT = text(3_000)
SKIPPABLE = b"\x5a\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"


def undone(data: bytes, most: int = 1 << 30, size: int = 1 << 16) -> tuple[bytes, list[tuple[int, str]]]:
    """What comes out, and the faults."""
    feed, head, _ = plain(Bytes(data, most))
    out = head + read_all(feed, size)
    return out, [(fault.offset, fault.problem) for fault in feed.faults]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [TEXT, SHORT, b"x", bytes(500_000)], ids=["text", "short", "one", "zeros"])
def test_whole(name: str, content: bytes) -> None:
    """Each format is recognised by its first bytes and undone."""
    data = COMPRESS[name](content)
    assert coding(data[:HEAD]) == name
    assert undone(data) == (content, [])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_inside(name: str) -> None:
    """A compressed empty file is an empty file, and no damage."""
    assert undone(COMPRESS[name](b"")) == (b"", [])


@pytest.mark.parametrize("data", [b"", b"\x1f", b"\xd4\xc3\xb2\xa1" + bytes(20), b"\x0a\x0d\x0d\x0a", b"BZh9 no bzip2"])
def test_not_compressed(data: bytes) -> None:
    """What is not compressed comes through as it is."""
    feed, head, codings = plain(Bytes(data))
    assert (head + read_all(feed), codings, feed.faults) == (data, (), [])


@given(
    name=st.sampled_from(NAMES),
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=5),
    padding=st.sampled_from([0, 4, 3000]),
    most=st.integers(1, 5000),
    size=st.integers(1, 5000),
)
def test_several_members(name: str, sizes: list[int], padding: int, most: int, size: int) -> None:
    """Streams and frames that follow one another give their contents in order, however they are read."""
    parts = [SHORT[:count] for count in sizes]
    data = bytes(padding).join(COMPRESS[name](part) for part in parts) + bytes(padding)
    assert undone(data, most, size) == (b"".join(parts), [])


@given(parts=st.lists(st.sampled_from(["zstd", "lz4", "skip"]), min_size=1, max_size=6), most=st.integers(1, 100))
def test_frames_that_are_skipped(parts: list[str], most: int) -> None:
    """Skippable frames of zstd and lz4 may stand anywhere."""
    data = b"".join(SKIPPABLE if part == "skip" else COMPRESS[part](SHORT) for part in parts)
    assert undone(data, most) == (SHORT * sum(part != "skip" for part in parts), [])


@pytest.mark.parametrize("most", [1, 7, 100_000])
def test_a_header_with_everything(most: int) -> None:
    """Optional fields of a gzip header are passed over, however they arrive."""
    assert undone(rich_gzip(SHORT) * 2, most) == (SHORT * 2, [])


@pytest.mark.parametrize("name", NAMES)
def test_cut_at_every_byte(name: str) -> None:
    """A compressed file that ends too early gives all that decodes before its end, and says so."""
    data = COMPRESS[name](SHORT)
    last = b""
    for cut in range(HEAD, len(data)):
        out, faults = undone(data[:cut])
        assert faults == [(len(out), f"the {name} data ends too early")], cut
        assert SHORT.startswith(out)
        assert len(out) >= len(last)
        last = out
    assert last == SHORT, "only the trailer was missing"


@pytest.mark.parametrize("name", ["gzip", "xz", "bzip2", "zstd", "lz4"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_what_a_cut_leaves(name: str, share: float) -> None:
    """As much comes out of a cut file as an independent decoder finds in it."""
    data = COMPRESS[name](TEXT)
    data = data[: int(len(data) * share)]
    assert undone(data)[0] == slow_twin(name, data)


def slow_twin(name: str, data: bytes) -> bytes:
    """Byte by byte, and few bytes out at a time, so that no failing call takes much along."""
    makers = {
        "gzip": lambda: zlib.decompressobj(31),
        "bzip2": bz2.BZ2Decompressor,
        "xz": lzma.LZMADecompressor,
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
        "lz4": lz4.frame.LZ4FrameDecompressor,
    }
    decoder = makers[name]()
    limit = (1000,) if name in {"bzip2", "xz"} else ()
    out = bytearray()
    try:
        for at in range(len(data)):
            out += decoder.decompress(data[at : at + 1], *limit)
            while limit and not (decoder.needs_input or decoder.eof):
                out += decoder.decompress(b"", *limit)
    except (zlib.error, OSError, lzma.LZMAError, zstandard.ZstdError, RuntimeError):
        pass
    return bytes(out)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_corrupt_byte(name: str, share: float) -> None:
    """A corrupt byte is one fault; what decodes before it came out, less than PIECE of it excepted."""
    data = bytearray(COMPRESS[name](TEXT))
    data[int(len(data) * share)] ^= 0xFF
    out, faults = undone(bytes(data))
    twin = slow_twin(name, bytes(data))
    assert twin.startswith(out) or out.startswith(twin), "the twin too may lose a few bytes"
    assert len(twin) - len(out) < (1 if name in {"zstd", "lz4"} else PIECE)
    (fault,) = faults
    assert fault[0] == len(out)
    assert fault[1].startswith(f"the {name} data is damaged: ")
    assert "\n" not in fault[1]


@pytest.mark.parametrize("name", ["gzip", "zstd", "lz4"])
def test_a_wrong_checksum(name: str) -> None:
    """A wrong checksum at the end takes nothing away that was decoded."""
    data = bytearray(COMPRESS[name](TEXT))
    data[-6 if name == "gzip" else -2] ^= 1
    out, faults = undone(bytes(data))
    assert out == TEXT
    assert [offset for offset, _ in faults] == [len(TEXT)]


@given(name=st.sampled_from(NAMES), data=st.data())
def test_noise_is_never_an_exception(name: str, data: st.DataObject) -> None:
    """Whatever bytes follow a format's beginning: a feed, perhaps with a fault, and an end."""
    good = COMPRESS[name](SHORT)
    keep = data.draw(st.integers(HEAD, len(good)))
    out, faults = undone(good[:keep] + data.draw(st.binary(min_size=1, max_size=200)))
    assert len(faults) <= 1
    assert faults or out.startswith(SHORT[: len(out)])


@pytest.mark.parametrize("name", NAMES)
def test_something_else_behind(name: str) -> None:
    """What follows the compressed data and is not compressed is a fault behind all of it."""
    out, faults = undone(COMPRESS[name](SHORT) + bytes(100) + b"something else")
    assert (out, faults) == (SHORT, [(len(SHORT), f"what follows the {name} data is not {name}")])


@pytest.mark.parametrize("inner", NAMES)
def test_two_layers_and_no_more(inner: str) -> None:
    """Compressed twice over is undone; a third layer is a fault."""
    twice = COMPRESS["zstd"](COMPRESS[inner](SHORT))
    feed, head, codings = plain(Bytes(twice))
    assert (head + read_all(feed), codings, feed.faults) == (SHORT, ("zstd", inner), [])
    out, faults = undone(COMPRESS["gzip"](twice))
    assert (out, faults) == (b"", [(0, "it is compressed more than twice over")])


def test_damage_of_the_outer_layer() -> None:
    """A cut outer layer lets everything out that both layers decode, and the fault is the outer one's."""
    twice = COMPRESS["gzip"](COMPRESS["lz4"](TEXT))
    out, faults = undone(twice[: len(twice) // 2])
    assert TEXT.startswith(out)
    assert len(out) >= 65536, "a block at least"
    assert faults == [(len(out), "the gzip data ends too early")]


@pytest.mark.parametrize("name", NAMES)
def test_bombs_take_little_memory(name: str) -> None:
    """However much comes out of few bytes, memory is bounded by what is read at once."""
    bomb = COMPRESS[name](bytes(15_000_000))
    feed, _, _ = plain(Bytes(bomb))
    room = memoryview(bytearray(1 << 16))
    feed.readinto(room)
    tracemalloc.start()
    while feed.readinto(room):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000


def test_a_window_that_is_too_large() -> None:
    """zstd data that needs more memory than is allowed is refused before the memory is taken."""
    parameters = zstandard.ZstdCompressionParameters(window_log=28, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(SHORT) + compressor.flush()
    problem = f"the zstd data needs 256 MiB to decode, more than {MOST_WINDOW >> 20} MiB"
    assert undone(data) == (b"", [(0, problem)])


@pytest.mark.parametrize("name", NAMES)
def test_many_small_members_take_linear_time(name: str) -> None:
    """200,000 bytes of tiny members are as much work as their number, not its square."""
    one = COMPRESS[name](b"x")
    count = 200_000 // len(one)
    begin = time.process_time()
    assert undone(one * count)[0] == b"x" * count
    assert time.process_time() - begin < 2


def test_ready_knows_what_the_decoder_holds() -> None:
    """``ready`` is true while more would come out, and false only while input must be waited for."""
    data = COMPRESS["zstd"](bytes(500_000)) + COMPRESS["zstd"](SHORT)
    first = len(COMPRESS["zstd"](bytes(500_000)))
    raw = Bytes(data, most=first, waits=(first,))
    feed, head, _ = plain(raw)
    room = memoryview(bytearray(1000))
    count = len(head)
    while count < 500_000:
        assert feed.ready(0)
        count += feed.readinto(room[: min(1000, 500_000 - count)])
    assert not feed.ready(0)
    assert feed.ready(0)
    assert feed.readinto(room) == 1000
    assert room == SHORT[:1000]


@pytest.mark.parametrize("name", NAMES)
def test_stopped(name: str) -> None:
    """``stop`` ends it at once and is no damage."""
    raw = Bytes(COMPRESS[name](TEXT))
    feed, _, _ = plain(raw)
    feed.stop()
    assert not feed.readinto(memoryview(bytearray(10)))
    assert not feed.faults
    raw = Bytes(COMPRESS[name](TEXT), most=50)
    feed, _, _ = plain(raw)
    raw.stop()  # as a signal would, while the input is read
    read_all(feed)
    assert not feed.faults


def test_storage_that_fails_under_a_decoder() -> None:
    """Where the storage gives no bytes the decoder is not given zeros: the data ends there, and says why."""
    data = COMPRESS["lz4"](TEXT)
    raw = Bytes(data[:80_000] + bytes(4096) + data[84_096:])
    raw.unreadable.append(Unreadable(80_000, 4096, "input/output error"))
    feed, head, _ = plain(raw)
    out = head + read_all(feed)
    assert out == slow_twin("lz4", data[:80_000])
    problem = "the compressed data cannot be read on: input/output error"
    assert feed.faults == [Fault(raw.path, len(out), problem)]
