"""Every arrangement of two and three segments, under every policy, in front of and behind a hole: whole runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import md5
from pathlib import Path

import pytest

from tests.build import ACK, EPOCH_NS, PSH, SYN, Conversation, Packet, disturb, in_turns, tcp4, write_pcap
from tests.forms import crossed
from tests.report.reader import read
from tests.runs import run_here
from tests.workers.overlap_oracle import POLICY_NAMES, Lost, Oracle, arrangements

SEGMENTS = [*arrangements(2), *arrangements(3)]
UNIT = 2  # bytes that a step of an arrangement stands for
HEAD = b"<head>"


def sent(arrangement: Sequence[tuple[int, int]], *, hole: bool) -> list[tuple[int, bytes]]:
    """(offset, payload) in order of arrival. ``hole``: the stream's first bytes come last, else first."""
    pieces = [
        (len(HEAD) + UNIT * low, b"ABC"[i : i + 1] * (UNIT * (high - low))) for i, (low, high) in enumerate(arrangement)
    ]
    return [*pieces, (0, HEAD)] if hole else [(0, HEAD), *pieces]


STREAMS = [sent(arrangement, hole=hole) for hole in (False, True) for arrangement in SEGMENTS]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each stream a connection of its own, by its port; a microsecond a packet, so that no hole is given up."""
    packets = []
    for number, pieces in enumerate(STREAMS):
        frames = [tcp4(sport=1000 + number, seq=2**32 - 8, flags=SYN)]
        frames += [
            tcp4(sport=1000 + number, seq=2**32 - 7 + offset, flags=ACK | PSH, payload=payload)
            for offset, payload in pieces
        ]
        packets += frames
    timed = [Packet(EPOCH_NS + 1000 * i, frame) for i, frame in enumerate(packets)]
    return write_pcap(tmp_path_factory.mktemp("matrix") / "all.pcap", timed)


def oracles(policy: str) -> dict[str, Oracle]:
    """What each stream should be, by the name of its file."""
    found = {}
    packet = 0
    for number, pieces in enumerate(STREAMS):
        oracle = found[f"10.0.0.1.{1000 + number}-10.0.0.2.80"] = Oracle(policy)
        packet += 1
        for offset, payload in pieces:
            packet += 1
            oracle.take(offset, payload, packet)
    return found


@pytest.mark.parametrize(("policy", "batch"), crossed([("first", 16_384)], POLICY_NAMES, [16_384, 3]))
def test_all_arrangements(capture: Path, tmp_path: Path, policy: str, batch: int) -> None:
    """422 arrangements in 2 contexts: bytes, MD5, conflicts and losing bytes are those of the table, in any cut."""
    assert len(STREAMS) == 844
    words = ["--overlap", policy, "--batch-packets", batch, "--workers", 0, "-md5", "--quiet"]
    finished = run_here("-r", capture, "-o", tmp_path, *words)
    assert finished.status == 0, finished.err
    expected = oracles(policy)
    files = {file.tags["filename"]: file for file in read((tmp_path / "report.xml").read_bytes()).files}
    assert files.keys() == expected.keys()
    for name, oracle in expected.items():
        content = (tmp_path / name).read_bytes()
        assert content == oracle.content(), (name, oracle.segments)
        assert files[name].hashes == {"md5": md5(content).hexdigest()}
        told = [attributes for tag, attributes in files[name].foreign if tag == "conflict"]
        assert told == said(oracle.lost), (name, oracle.segments)
        beside = tmp_path / f"conflicts-{name}"
        assert (beside.read_bytes() if oracle.lost else b"") == b"".join(lost.loses for lost in oracle.lost)
        assert beside.exists() is bool(oracle.lost)


def said(conflicts: Sequence[Lost]) -> list[dict[str, str]]:
    """Conflicts as the report has them: one for each later segment and maximal differing run."""
    made, at = [], 0
    for packet, offset, stays, loses in conflicts:
        made.append({
            "offset": str(offset), "length": str(len(stays)), "packet": str(packet),
            "winner_md5": md5(stays).hexdigest(), "loser_md5": md5(loses).hexdigest(), "side_offset": str(at),
        })  # fmt: skip
        at += len(loses)
    return made


@pytest.mark.parametrize("policy", crossed([("first",), ("linux",)], POLICY_NAMES))
def test_clean_traffic_has_no_conflict(tmp_path: Path, policy: str) -> None:
    """200 conversations, reordered, doubled, and sent again in other pieces: their bytes, and no conflict."""
    rng = random.Random(5)
    talks, said = [], {}
    for number in range(200):
        data = rng.randbytes(2_000)
        talk = Conversation(client=("10.0.0.1", 1000 + number), isn=(rng.getrandbits(32), 7), acknowledge=False)
        said[f"10.0.0.1.{1000 + number}-10.0.0.2.80"] = data
        opening, begin, high, pieces = talk.open(), talk.next_seq[0], 0, []
        while high < len(data):
            low, high = max(high - rng.randint(0, 40), 0), min(high + rng.randint(1, 300), len(data))
            pieces.append(talk.segment(0, data[low:high], seq=(begin + low) % 2**32, flags=ACK | PSH))
        talks.append([*opening, *disturb(pieces, rng, reorder=0.3, duplicate=0.1)])
    capture = write_pcap(tmp_path / "clean.pcap", in_turns(*talks))
    finished = run_here("-r", capture, "-o", tmp_path / "out", "--overlap", policy, "--workers", 0, "--quiet")
    assert finished.status == 0, finished.err
    names = {path.name for path in (tmp_path / "out").iterdir()} - {"report.xml"}
    assert names == said.keys()
    assert all((tmp_path / "out" / name).read_bytes() == data for name, data in said.items())
