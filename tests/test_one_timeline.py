"""One capture, compressed, piped or cut into files given in any order: the same output, but for the sources' names."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import CaptureError
from pipeline.reading import peek
from tests import rough
from tests.build import EPOCH_NS, Conversation, Packet, in_turns, pcapng_blocks, write_pcap, write_pcapng
from tests.effort import one_in_turn, tries
from tests.forms import crossed, fifo, run_fed, run_from, shuffled, without_sources, write_pieces
from tests.runs import Finished, differences, output, reads, report_of, run_apart, run_here
from tests.shared import capture, manifest
from tests.spool.codes import COMPRESS

CAPTURES = [row["file"] for row in manifest()]
LARGE = [row["file"] for row in manifest() if row["kind"].startswith("pcap") and int(row["packets"] or 0) > 1_000]
WORKERS = [0, 2]


def run(*words: object, workers: int) -> Finished:
    """A run, in this process where it can be."""
    runner = run_apart if workers else run_here
    return runner(*words, "-md5", "--quiet", "--workers", workers)


def made(done: Finished, folder: Path, *, places: bool = True) -> dict[str, bytes]:
    """What a run left, which had nothing to complain of; without what the form of its input may change."""
    assert (done.status, done.out, done.err) == (0, "", "")
    return without_sources(output(folder), places=places)


@pytest.fixture(scope="module")
def packets() -> list[Packet]:
    """All that happens to TCP on a network, in one timeline."""
    return rough.Rough(11, 3_000).packets(4)


@pytest.fixture(scope="module")
def whole(packets: list[Packet], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One capture of them."""
    return write_pcapng(tmp_path_factory.mktemp("whole") / "x.pcapng", *pcapng_blocks(packets))


@pytest.fixture(scope="module")
def plain(whole: Path) -> dict[str, bytes]:
    """What it comes to when it is mapped."""
    done = run_apart("-r", whole, "-o", whole.parent / "out", "-md5", "--quiet", "--workers", 1)
    return made(done, whole.parent / "out")


def test_what_is_compared_has_everything_in_it(plain: dict[str, bytes]) -> None:
    """Behind these tests are gaps, conflicts, parts, several connections of a tuple; places, but no sources."""
    names = " ".join(plain)
    assert [mark for mark in ("conflicts-", "@", "c0003", "--10.20", "2001:db8::7") if mark not in names] == []
    report = plain["report.xml"]
    for mark in (b"fill='0'", b"<tcpflow:conflict ", b" img_offset='", b"<tcpflow:part_of ", b"bytes.input"):
        assert mark in report, mark
    assert b"pcapng" not in report


@pytest.mark.parametrize(("workers", "coding"), crossed([*((0, coding) for coding in COMPRESS)], WORKERS, COMPRESS))
def test_compressed(workers: int, coding: str, whole: Path, plain: dict[str, bytes], tmp_path: Path) -> None:
    """A compressed capture, whatever its name, gives the same output with the same places in it."""
    path = tmp_path / "x"
    path.write_bytes(COMPRESS[coding](whole.read_bytes()))
    done = run("-r", path, "-o", tmp_path / "out", workers=workers)
    assert differences(plain, made(done, tmp_path / "out")) == []


@pytest.mark.parametrize(("workers", "way"), crossed(
    [(0, "file"), (2, "fifo")], WORKERS, ["pipe", "file", "fifo", "packed pipe"]
))  # fmt: skip
def test_piped(workers: int, way: str, whole: Path, plain: dict[str, bytes], tmp_path: Path) -> None:
    """Standard input, be it a pipe or a file, and a named pipe give the same output with the same places."""
    out = tmp_path / "out"
    words = ["-o", out, "-md5", "--quiet", "--workers", workers]
    if way == "pipe":
        done = run_fed(whole.read_bytes(), "-r", "-", *words)
    elif way == "packed pipe":
        done = run_fed(COMPRESS["zstd"](whole.read_bytes()), "-r", "-", *words)
    elif way == "file":
        done = run_from(whole, "-r", "-", *words)
    else:
        with fifo(tmp_path / "pipe", whole.read_bytes()) as path:
            done = run_apart("-r", path, *words)
    assert differences(plain, made(done, out)) == []


@pytest.mark.parametrize(("workers", "each"), crossed([(2, 40), (0, 300)], WORKERS, [5, 40, 300]))
def test_pieces(workers: int, each: int, packets: list[Packet], plain: dict[str, bytes], tmp_path: Path) -> None:
    """Pieces of a capture in any order, pcap and pcapng mixed, and a folder of them, are the capture."""
    pieces = write_pieces(tmp_path / "in", packets, each)
    expected = without_sources(plain, places=False)
    done = run(*reads(shuffled(pieces, each)), "-o", tmp_path / "out", workers=workers)
    assert differences(expected, made(done, tmp_path / "out", places=False)) == []
    done = run("-r", tmp_path / "in", "-o", tmp_path / "of folder", workers=workers)
    assert differences(expected, made(done, tmp_path / "of folder", places=False)) == []


def test_pieces_in_many_forms(packets: list[Packet], plain: dict[str, bytes], tmp_path: Path) -> None:
    """Compressed, piped and plain pieces make one timeline, too."""
    pieces = write_pieces(tmp_path / "in", packets, 100)
    codings = list(COMPRESS.values())
    for number, path in enumerate(pieces[:-1]):
        if number % 2:
            path.write_bytes(codings[number // 2 % len(codings)](path.read_bytes()))
    with fifo(tmp_path / "pipe", pieces[-1].read_bytes()) as last:
        words = reads(shuffled([*pieces[:-1], last], 1))
        done = run_apart(*words, "-o", tmp_path / "out", "-md5", "--quiet", "--workers", 2)
    expected = without_sources(plain, places=False)
    assert differences(expected, made(done, tmp_path / "out", places=False)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", tries(20, 7))
def test_other_pieces(seed: int, tmp_path: Path) -> None:
    """Nor does it matter for other traffic where it was cut, be it behind every packet or two."""
    rng = random.Random(seed)
    packets = rough.Rough(seed, 1_000).packets(2)
    one = write_pcapng(tmp_path / "x.pcapng", *pcapng_blocks(packets))
    expected = made(run("-r", one, "-o", tmp_path / "one", workers=0), tmp_path / "one", places=False)
    for each in (1, rng.randint(2, 9), rng.randint(10, 200)):
        pieces = write_pieces(tmp_path / f"in {each}", packets, each)
        done = run(*reads(shuffled(pieces, seed)), "-o", tmp_path / f"{each}", workers=0)
        assert differences(expected, made(done, tmp_path / f"{each}", places=False)) == [], each


def test_pieces_that_begin_at_the_same_moment(tmp_path: Path) -> None:
    """A burst of packets with one time, cut into files: their names tell the order, not the command line."""
    talk = Conversation(step_ns=0, mss=10)
    packets = talk.packets([(1, bytes(range(200)))])
    pieces = write_pieces(tmp_path / "in", packets, 7)
    for number, path in enumerate(pieces):
        pieces[number] = path.rename(path.with_name(f"{number:03}{path.suffix}"))
    one = write_pcapng(tmp_path / "x.pcapng", *pcapng_blocks(packets))
    expected = made(run("-r", one, "-o", tmp_path / "one", workers=0), tmp_path / "one", places=False)
    for seed in range(3):
        out = tmp_path / str(seed)
        done = run(*reads(shuffled(pieces, seed)), "-o", out, workers=0)
        assert differences(expected, made(done, out, places=False)) == []


# --------------------------------------------------------------------------- streams over several files


@pytest.mark.parametrize("workers", crossed([(0,)], WORKERS))
def test_a_stream_that_runs_through_rotated_files(workers: int, tmp_path: Path) -> None:
    """Each of its runs begins where the report says: in the file that the report names, at img_offset."""
    talk = Conversation(mss=500)
    said = random.Random(3).randbytes(20_000)
    packets = talk.packets([(0, b"get"), (1, said)])
    third = len(packets) // 3
    pieces = write_pieces(tmp_path / "in", packets, third + 1)
    assert len(pieces) == 3
    pieces[1].write_bytes(COMPRESS["gzip"](held := pieces[1].read_bytes()))
    bytes_of = {str(path): path.read_bytes() for path in pieces} | {str(pieces[1]): held}
    done = run(*reads(pieces[::-1]), "-o", tmp_path / "out", workers=workers)
    assert (done.status, done.err) == (0, "")
    [found] = [file for file in report_of(tmp_path / "out").files if file.tags["filename"].startswith("10.0.0.2.80-")]
    assert (tmp_path / "out" / found.tags["filename"]).read_bytes() == said
    images = [(int(seen["file_offset"]), seen["name"]) for tag, seen in found.foreign if tag == "image"]
    assert [name for _, name in images] == [str(path) for path in pieces]
    at = 0
    for each in found.runs:
        offset, place, length = (int(each[name]) for name in ("file_offset", "img_offset", "len"))
        assert offset == at
        name = [image for begin, image in images if begin <= offset][-1]
        segment = min(length, talk.mss)
        assert bytes_of[name][place : place + segment] == said[offset : offset + segment]
        at += length
    assert (at, len(found.runs)) == (len(said), 3)


@pytest.mark.parametrize("workers", crossed([(2,)], WORKERS))
def test_two_taps(workers: int, tmp_path: Path) -> None:
    """Each direction in a file of its own: merged they give what one capture of both gives."""
    rng = random.Random(4)
    talks = [Conversation(client=("10.0.0.1", 40_000 + i), start_ns=EPOCH_NS + i * 77_777) for i in range(9)]
    packets = in_turns(*(
        talk.packets([(0, rng.randbytes(600)), (1, rng.randbytes(9_000)), (0, rng.randbytes(50))]) for talk in talks
    ))  # fmt: skip
    packets = [replace(packet, time_ns=EPOCH_NS + i * 1_000) for i, packet in enumerate(packets)]
    one = write_pcap(tmp_path / "both.pcap", packets)
    from_client = [packet.frame[26:30] == bytes([10, 0, 0, 1]) for packet in packets]  # the IPv4 source address
    taps = [
        write_pcap(
            tmp_path / f"{side}.pcap", [p for p, client in zip(packets, from_client, strict=True) if client == side]
        )
        for side in (False, True)
    ]
    expected = made(run("-r", one, "-o", tmp_path / "one", workers=0), tmp_path / "one", places=False)
    done = run(*reads(taps), "-o", tmp_path / "out", workers=workers)
    assert differences(expected, made(done, tmp_path / "out", places=False)) == []


# --------------------------------------------------------------------------- captures that were not made by us


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("editcap") is None, reason="needs editcap")
@pytest.mark.parametrize("each", [1_000, 100])
@pytest.mark.parametrize("name", LARGE)
def test_real_captures_cut_by_editcap(name: str, each: int, tmp_path: Path) -> None:
    """The pieces that editcap -c cuts of a real capture, in any order, give the capture's output."""
    path = capture(name)
    (tmp_path / "in").mkdir()
    subprocess.run(["editcap", "-c", str(each), path, tmp_path / "in" / "x.pcapng"], check=True, timeout=60)
    pieces = sorted((tmp_path / "in").iterdir())
    assert len(pieces) > 1
    made_of = {}
    for what, words in {"one": ["-r", path], "pieces": reads(shuffled(pieces, 1))}.items():
        done = run(*words, "-o", tmp_path / what, workers=0)
        assert done.status in {0, 3}, done.err  # one of them is cut off; its pieces are not
        made_of[what] = without_sources(output(tmp_path / what), places=False)
    assert differences(made_of["one"], made_of["pieces"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CAPTURES)
def test_real_captures_compressed_and_piped(name: str, tmp_path: Path) -> None:
    """Real captures give the same output, with the same places, in each coding and from a pipe.

    Each in one of these in turn, nightly in all.
    """
    path = capture(name)
    try:
        peek(path)
    except CaptureError as error:
        pytest.skip(str(error))
    done = run("-r", path, "-o", tmp_path / "plain", workers=0)
    expected = without_sources(output(tmp_path / "plain"))
    for way in one_in_turn([*COMPRESS, "piped"], CAPTURES.index(name)):
        words = ["-o", tmp_path / way, "-md5", "--quiet", "--workers"]
        if way == "piped":
            same = run_fed(path.read_bytes(), "-r", "-", *words, 1)
        else:
            (tmp_path / "packed").write_bytes(COMPRESS[way](path.read_bytes()))
            same = run_here("-r", tmp_path / "packed", *words, 0)
        assert same.status == done.status
        assert differences(expected, without_sources(output(tmp_path / way))) == []
