"""Decompression bombs stop within their limits, and ordinary bodies do not."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import brotli
import pytest
import zstandard

from workers.analyzers.coding import Undoing
from workers.analyzers.coding.decoder import BLOCK
from workers.contract import Completeness
from workers.limits import GIB, MIB, Limits

LIMITS = Limits()


def gzip_zeros(size: int) -> bytes:
    """zlib writes them at some GB/s if they come in pieces."""
    coder = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(coder.compress(bytes(MIB)) for _ in range(size // MIB)) + coder.flush()


def zstd_zeros(size: int) -> bytes:
    """A frame of runs: four bytes for each 128 KiB."""
    run = 128 << 10
    blocks = [((run << 3) | 2 | (at + run >= size)).to_bytes(3, "little") + b"\0" for at in range(0, size, run)]
    return b"(\xb5/\xfd\0\x58" + b"".join(blocks)


def brotli_zeros(size: int) -> bytes:
    return brotli.compress(bytes(size), quality=9, lgwin=24)


def thrifty(size: int) -> bytes:
    """What stays just below the ratio, so that only the output's limit stops it."""
    rng = random.Random(5)
    return b"".join(rng.randbytes(40) + bytes(60_000) for _ in range(size // 60_000))


BOMBS = {
    "gzip": lambda: gzip_zeros(GIB),
    "x-gzip": lambda: gzip.compress(thrifty(200 * MIB), 9),
    "br": lambda: brotli_zeros(256 * MIB),
    "zstd": lambda: zstd_zeros(256 * MIB),
    "gzip, gzip, gzip": lambda: gzip.compress(gzip.compress(gzip_zeros(GIB))),
    "br, br, br": lambda: brotli.compress(brotli.compress(brotli_zeros(256 * MIB))),
    "zstd, zstd, zstd": lambda: zstandard.compress(zstandard.compress(zstd_zeros(256 * MIB))),
}


def measured(codings: str, body: bytes) -> dict[str, int]:
    """Bytes decoded, flags, milliseconds of CPU and bytes of memory that it took."""
    for name in codings.split(", "):  # the libraries are there
        Undoing([name], LIMITS)
    Path("/proc/self/clear_refs").write_text("5")  # the highest is what is now
    before, began = resident("VmRSS"), time.process_time()
    undoing, size = Undoing(codings.split(", "), LIMITS), 0
    for at in range(0, len(body), MIB):
        size += sum(map(len, undoing.feed(body[at : at + MIB])))
    size += sum(map(len, undoing.end()))
    spent = time.process_time() - began
    return {"size": size, "flags": undoing.flags, "ms": round(spent * 1000), "memory": resident("VmHWM") - before}


def resident(name: str) -> int:
    """Bytes of this process's memory, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) << 10


@pytest.mark.slow
@pytest.mark.parametrize("codings", BOMBS)
def test_bombs_stop(codings: str, tmp_path: Path) -> None:
    """By output or ratio, in a process of its own, with at most 250 ms of CPU, and half as much again for a machine
    that has other things to do, and 32 MiB more than before it."""
    bomb = tmp_path / "bomb"
    bomb.write_bytes(BOMBS[codings]())
    command = [sys.executable, "-m", "tests.workers.analyzers.test_coding_bombs", codings, str(bomb)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    allowed = max(LIMITS.ratio_from, LIMITS.decoded_ratio * (bomb.stat().st_size + BLOCK))
    assert found["flags"] == Completeness.LIMITED
    assert 0 < found["size"] <= min(LIMITS.decoded_bytes, allowed)
    assert found["ms"] <= 375
    assert found["memory"] <= 32 * MIB


@pytest.mark.parametrize(
    ("codings", "body", "size"),
    [
        ("gzip", gzip_zeros(32 * MIB), BLOCK * 1000),
        ("br", brotli_zeros(2 * MIB), MIB),
        ("zstd", zstd_zeros(16 * MIB), MIB),
        ("zstd, gzip", gzip.compress(zstd_zeros(16 * MIB), mtime=0), MIB),
    ],
)
def test_stopped_at_the_byte(codings: str, body: bytes, size: int) -> None:
    """By the ratio, in whole blocks of the body; the same for any cut."""
    for piece in (len(body), 777):
        undoing = Undoing(codings.split(", "), LIMITS)
        out = [len(found) for at in range(0, len(body), piece) for found in undoing.feed(body[at : at + piece])]
        out += map(len, undoing.end())
        assert (sum(out), undoing.flags) == (size, Completeness.LIMITED)


def test_each_layer_is_judged() -> None:
    """A layer that swells stops it, though what comes out in the end is small."""
    inner = gzip.compress(b"small") + bytes(8 * MIB)
    undoing = Undoing(["gzip", "gzip"], LIMITS)
    assert b"".join([*undoing.feed(gzip.compress(inner)), *undoing.end()]) == b"small"
    assert undoing.flags == Completeness.LIMITED


def ordinary() -> Iterator[bytes]:
    """500 bodies as servers send them, of up to 3 MB; the last kinds compress several hundred times."""
    rng = random.Random(13)
    for number in range(500):
        size = rng.choice([100, 5_000, 80_000, 600_000]) if number % 25 else 3_000_000
        match number % 7:
            case 0:
                line = b'<tr class="row"><td>%d</td><td>name</td><td class="n">0.00</td></tr>\n'
                yield b"".join(line % at for at in range(size // 70))
            case 1:
                yield json.dumps([{"id": at, "ok": True, "tags": ["a", "b"]} for at in range(size // 50)]).encode()
            case 2:
                yield bytes(rng.choices(b"etaoin shrdlu\n", k=size))
            case 3:
                line = b"2024-01-01T00:00:00Z;sensor-%d;0.000;0.000;OK\r\n"
                yield b"".join(line % (at // 9) for at in range(size // 46))
            case 4:
                yield b"".join(b"10.0.0.%d - - GET /index.html 200\n" % rng.randrange(255) for _ in range(size // 35))
            case 5:
                dots = bytearray(size)
                for at in range(0, size, 2_000):
                    dots[at + rng.randrange(min(2_000, size - at))] = rng.randrange(256)
                yield bytes(dots)
            case _:
                yield rng.randbytes(size)


@pytest.mark.slow
def test_no_false_stop() -> None:
    """500 ordinary bodies are decoded wholly."""
    coders = {
        "gzip": lambda data: gzip.compress(data, 6),
        "deflate": zlib.compress,
        "br": lambda data: brotli.compress(data, quality=4),
        "zstd": zstandard.compress,
    }
    for number, data in enumerate(ordinary()):
        name = [*coders][number % len(coders)]
        undoing = Undoing([name], LIMITS)
        body = coders[name](data)
        assert b"".join([*undoing.feed(body), *undoing.end()]) == data
        assert (undoing.flags, undoing.facts()) == (Completeness(0), {})


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]).read_bytes())))
