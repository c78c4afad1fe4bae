"""Sequence numbers that begin just below 2**32: the output is that of numbers in the middle of the circle."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.build import Conversation, disturb, write_pcap
from tests.runs import differences, output, run_here

SAYS = random.Random(5).randbytes(200_000)


def rebuilt(folder: Path, isn: int, *words: object) -> dict[str, bytes]:
    """What comes of a connection whose packets were lost, doubled and disordered, the same ones for any ``isn``."""
    folder.mkdir()
    talk = Conversation(isn=(isn, isn))
    packets = talk.packets([(0, SAYS[:90_000]), (1, SAYS[90_000:]), (0, b"again" * 999)])
    made = disturb(packets, random.Random(6), reorder=0.1, lose=0.05, duplicate=0.1)
    write_pcap(folder / "in.pcap", made)
    done = run_here("-r", "in.pcap", "-o", "out", "--workers", 0, "-md5", *words, folder=folder)
    assert done.status == 0, done.err
    return output(folder / "out")


@pytest.mark.parametrize("overlap", ["first", "linux"])
def test_where_numbers_begin_does_not_matter(overlap: str, tmp_path: Path) -> None:
    """Sequence wrap: initial numbers of 2**32 - 1, - 2, - 100 and - 2**16 give the same files and the same report."""
    words = ("--overlap", overlap)
    plain = rebuilt(tmp_path / "middle", 1000, *words)
    for back in (1, 2, 100, 1 << 16):
        assert differences(plain, rebuilt(tmp_path / str(back), 2**32 - back, *words)) == []
