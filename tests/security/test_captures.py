"""Hostile captures: lengths that lie take no memory and no time, and every end is told with its place.

The threat: a capture of some bytes makes whoever reads it fill the memory, or stop in the middle without a word.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.build import block, enhanced, interface, section, tcp4, write_pcap
from tests.example import packets
from tests.runs import run_apart, run_here

MOST_GROWTH = 64 << 10  # KiB
PEAK = (
    "import resource, sys, atexit, os\n"
    "import pipeline.cli as cli\n"
    "sys.argv[0] = 'flowshard'\n"
    "status = cli.main()\n"
    "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "print('PEAK', peak)\n"
    "sys.stdout.flush()\n"
    "os._exit(status)\n"
)


def header(snap: int = 65_535, magic: int = 0xA1B2C3D4, link: int = 1) -> bytes:
    return struct.pack("<IHHiIII", magic, 2, 4, 0, 0, snap, link)


def packet(captured: int, length: int, data: bytes) -> bytes:
    return struct.pack("<IIII", 1, 1, captured, length) + data


FRAME = tcp4(payload=b"x" * 100)
GOOD = packet(len(FRAME), len(FRAME), FRAME)

HOSTILE = {
    "snap length 0": (header(0) + GOOD * 3, 0),
    "snap length 2^31": (header(1 << 31) + GOOD * 3, 0),
    "snap length 2^32 - 1": (header((1 << 32) - 1) + GOOD * 3, 0),
    "a packet of 2^31 bytes": (header() + GOOD + packet(1 << 31, 1 << 31, b"x" * 50), 3),
    "a packet of 2^32 - 1 bytes": (header() + GOOD + packet((1 << 32) - 1, 1, b"x" * 50), 3),
    "a packet of 256 MiB": (header((1 << 32) - 1) + GOOD + packet(1 << 28, 1 << 28, b"x" * 50), 3),
    "bad magic": (header(magic=0xDEADBEEF) + GOOD, 3),
    "pcapng with a block of 2^31 bytes": (
        section() + interface() + enhanced(1, FRAME) + struct.pack("<II", 6, 1 << 31) + b"x" * 90, 3,
    ),
    "pcapng with a block of 2^32 - 4 bytes": (
        section() + interface() + enhanced(1, FRAME) + struct.pack("<II", 6, (1 << 32) - 4) + b"x" * 90, 3,
    ),
    "pcapng with a packet longer than its block": (
        section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 1 << 30, 1 << 30) + b"x" * 40), 3,
    ),
    "pcapng with 50,000 interfaces": (section() + interface() * 50_000 + enhanced(1, FRAME), 0),
}  # fmt: skip


def peak(path: Path, out: Path, *words: object) -> tuple[int, int, str]:
    """Exit status, KiB of memory at most, and what was said."""
    done = run_apart("-r", path, "-o", out, "--workers", 0, "--quiet", *words, code=PEAK)
    return done.status, int(done.out.split()[-1]), done.err


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> int:
    """KiB that a run on an ordinary capture takes."""
    folder = tmp_path_factory.mktemp("ordinary")
    return peak(write_pcap(folder / "a.pcap", packets()), folder / "out")[1]


@pytest.mark.parametrize("name", HOSTILE)
def test_lying_lengths_take_no_memory(name: str, ordinary: int, tmp_path: Path) -> None:
    """64 MiB more at most than an ordinary capture takes; what is whole in front of the lie is there."""
    data, status = HOSTILE[name]
    (tmp_path / "hostile").write_bytes(data)
    found, taken, said = peak(tmp_path / "hostile", tmp_path / "out")
    assert found == status, said
    assert taken - ordinary <= MOST_GROWTH
    assert "Traceback" not in said
    whole = any(FRAME in each for each in (data,)) and name != "bad magic" and "longer" not in name
    assert any(path.read_bytes() == b"x" * 100 for path in (tmp_path / "out").glob("10.*")) == whole


def test_a_capture_that_ends_early_names_the_place(tmp_path: Path) -> None:
    """Cut at bytes all over a capture of 10 kB: status 3 inside a packet, and the offset in the message."""
    data = header() + GOOD * 59
    assert len(data) > 10_000
    ends = {len(header()) + n * len(GOOD) for n in range(60)}
    for cut in (*range(25, len(data), 397), len(header()) + 5 * len(GOOD)):
        (tmp_path / "a.pcap").write_bytes(data[:cut])
        done = run_here("-r", tmp_path / "a.pcap", "-o", tmp_path / f"{cut}", "--workers", 0, "--quiet")
        assert done.status == (0 if cut in ends else 3), cut
        place = max(end for end in ends if end <= cut)
        assert cut in ends or f"{place:,}" in done.err, (cut, done.err)
