"""Floods: a capture made to fill memory, to burn time, to lay out files. What was there before stays whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.shard import flow_hash
from tests.faults.storms import ACK, EPOCH_NS, SYN, Rows, handshakes, merged, packets, stream_md5, write
from tests.runs import counters, flows, report_of, run_here
from workers.contract import KEY_WORDS, Key

SERVER = 0xC0000201
CLIENTS = 0x0A010000
SECOND = 10**9


def established(count: int, segments: int, size: int, *, gap: int = 1_000_000) -> Rows:
    """So many connections, each of which gets that many segments, all in turn, one every ``gap`` ns."""
    client, number = CLIENTS + np.arange(count), np.arange(count * segments)
    begins = EPOCH_NS + 1000 * np.arange(count)
    data = packets(
        len(number), source=SERVER, source_port=80, target=client[number % count], target_port=40_000, flags=ACK,
        seq=1 + number // count * size, ack=1, size=size, time=EPOCH_NS + SECOND + gap * number,
    )  # fmt: skip
    return merged(*handshakes(client, np.full(count, 40_000), SERVER, begins), data)


def syns(count: int, nanoseconds: int, seed: int = 1) -> Rows:
    """SYNs of random senders, spread evenly over a time that begins with the connections' data."""
    chance = np.random.default_rng(seed)
    return packets(
        count, source=chance.integers(1 << 28, 1 << 32, count), source_port=chance.integers(1024, 65536, count),
        target=SERVER, target_port=80, seq=chance.integers(0, 1 << 32, count), flags=SYN,
        time=EPOCH_NS + SECOND + (np.arange(count) * (nanoseconds / count)).astype(np.int64),
    )  # fmt: skip


def run(folder: Path, capture: Path, *words: object, workers: int = 0) -> dict[str, int]:
    """The counters of a run that went well."""
    done = run_here("-r", capture, "-o", folder, "-md5", "--quiet", "--workers", workers, *words)
    assert done.status == 0, done.err
    return counters(report_of(folder))


def digests(folder: Path) -> list[str | None]:
    """The MD5s of all streams."""
    return sorted(str(file.hashes["md5"]) for file, _ in flows(report_of(folder)))


# SYN flood


@pytest.mark.parametrize("memory", [[], ["--memory", "16M"]])
def test_a_flood_of_syns_harms_no_connection_that_is_there(memory: list[str], tmp_path: Path) -> None:
    """SYN flood: all bytes of the established connections are in their files, and who had to go was counted."""
    there = established(100, 30, 50)
    capture = write(tmp_path / "in.pcap", merged(there, syns(30_000, 3 * SECOND)))
    found = run(tmp_path / "out", capture, *memory)
    assert found["bytes.written"] == 100 * 30 * 50
    assert digests(tmp_path / "out") == [stream_md5(SERVER, 80, 1, 1500)] * 100
    assert (found["limit.connections"], found["limit.half_open"] > 20_000) == (0, bool(memory))


@pytest.mark.parametrize(
    "more",
    [("--workers", 2), pytest.param(("--workers", 0, "--batch-packets", 1000), marks=pytest.mark.slow)],
    ids=["processes", "batches"],
)
def test_what_a_flood_leaves_does_not_depend_on_workers(more: tuple[object, ...], tmp_path: Path) -> None:
    """SYN flood within --memory: the same evictions in one process and in several, in any batches."""
    capture = write(tmp_path / "in.pcap", merged(established(3_000, 2, 5), syns(8_000, 6 * SECOND)))
    words = ("--memory", "16M")
    one = run(tmp_path / "one", capture, *words)
    assert one["limit.half_open"] + one["limit.connections"] > 1_000
    done = run_here("-r", capture, "-o", tmp_path / "other", "-md5", "--quiet", *words, *more)
    assert done.status == 0, done.err
    assert counters(report_of(tmp_path / "other")) == one
    assert digests(tmp_path / "one") == digests(tmp_path / "other")


# Hash flooding


def test_no_choice_of_addresses_crowds_a_shard() -> None:
    """Hash flooding: a hundred thousand flows, at random or in patterns, spread within 5 % over 2 to 16 workers."""
    count = np.arange(100_000, dtype=np.uint64)
    chance = np.random.default_rng(3)
    for low, ports in (
        (chance.integers(0, 1 << 32, len(count)), chance.integers(0, 1 << 32, len(count))),
        (count, count * 0 + 80),  # neighbours
        (count << np.uint64(8) & np.uint64(0xFFFFFFFF), count * 0 + 80),  # the low bits alike
        (count * 0 + 7, count),  # one pair of hosts
        (count, count ^ np.uint64(0xFFFFFFFF)),  # what cancels in a sum
    ):
        keys = np.zeros((len(count), KEY_WORDS), np.uint64)
        keys[:, Key.A_LOW], keys[:, Key.B_LOW], keys[:, Key.PORTS] = low, low, ports
        keys[:, Key.NET] = 4
        shards = flow_hash(keys, 0x1234567) >> np.uint64(56)
        for workers in (2, 3, 4, 8):
            load = np.bincount((shards % np.uint64(workers)).astype(np.int64), minlength=workers)
            assert load.max() <= 1.05 * load.mean()


# Clock jumps


@pytest.mark.parametrize(
    "jump", [0, 1, 4_294_967_295, EPOCH_NS // SECOND - 864_000, EPOCH_NS // SECOND + 315_576_000],
    ids=["1970", "one second after", "2106", "ten days back", "ten years on"],
)  # fmt: skip
def test_a_clock_that_jumps_once_ends_no_connection(jump: int, tmp_path: Path) -> None:
    """Clock jumps: one packet of another time, and of 300 connections none is cut in two, nor lasts less than 0."""
    there = established(300, 20, 10)
    there["time"][len(there) // 2] = jump * SECOND
    capture = write(tmp_path / "in.pcap", there)
    found = run(tmp_path / "out", capture)
    assert (found["connections"], found["streams"], found["bytes.written"]) == (300, 300, 300 * 20 * 10)
    for _, flow in flows(report_of(tmp_path / "out")):
        assert flow["startime"] <= flow["endtime"]


# Reordering, elephants, sparse files


@pytest.mark.parametrize("kind", ["reverse", "alternate", "random"])
def test_segments_of_a_byte_in_the_worst_order_are_a_stream(kind: str, tmp_path: Path) -> None:
    """Adversarial reordering: bytes one by one, backwards, every other first, or at random, come to the same file."""
    count = 4_000
    there = established(1, count, 1)
    order = {
        "reverse": np.arange(count)[::-1],
        "alternate": np.concatenate([np.arange(1, count, 2), np.arange(0, count, 2)]),
        "random": np.random.default_rng(2).permutation(count),
    }[kind]
    there["seq"][3:] = 1 + order
    found = run(tmp_path / "out", write(tmp_path / "in.pcap", there))
    assert (found["bytes.written"], found["limit.ranges"]) == (count, 0)
    assert digests(tmp_path / "out") == [stream_md5(SERVER, 80, 1, count)]


def test_ranges_that_wait_have_a_limit_over_all_streams(tmp_path: Path) -> None:
    """Adversarial reordering over many connections, within --memory: what is given up is a gap or outside, counted."""
    count, each = 300, 60
    there = established(count, each, 1)
    data = there["size"] > 0
    there["seq"][data] = 2 * there["seq"][data]  # every other byte never comes
    capture = write(tmp_path / "in.pcap", there)
    found = run(tmp_path / "out", capture, "--memory", "16M")
    assert found["bytes.written"] == count * each
    assert 0 < found["limit.ranges"] < count * each
    assert run(tmp_path / "b", capture, "--memory", "16M", "--batch-packets", 500) == found


def test_holes_lay_out_no_more_than_their_limit(tmp_path: Path) -> None:
    """Sparse-file amplification: a few bytes, each 100 MB further, lay out 16 MiB of holes at most in each file."""
    there = established(1, 9, 10)
    there["seq"][3:] = (1 + 100_000_000 * np.arange(9)) & 0xFFFF_FFFF
    run(tmp_path / "out", write(tmp_path / "in.pcap", there))
    sizes = [path.stat().st_size for path in (tmp_path / "out").iterdir() if path.name != "report.xml"]
    assert len(sizes) == 9
    assert sum(sizes) <= 9 * 10 + (16 << 20)


def test_one_elephant_is_one_file(tmp_path: Path) -> None:
    """An elephant flow: all packets on one shard of two workers, and nothing waits for the other."""
    capture = write(tmp_path / "in.pcap", established(1, 40_000, 100, gap=1000))
    found = run(tmp_path / "out", capture, workers=2)
    assert found["bytes.written"] == 4_000_000
    assert digests(tmp_path / "out") == [stream_md5(SERVER, 80, 1, 4_000_000)]


def cpu(folder: Path, capture: Path) -> float:
    """CPU seconds of a run in one process, its start included."""
    words = [sys.executable, "-m", "pipeline", "-r", capture, "-o", folder, "--quiet", "--workers", "0"]
    with subprocess.Popen(words) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_worst_order_costs_a_few_times_the_best(tmp_path: Path) -> None:
    """Adversarial reordering: 400,000 segments of a byte, in one stream and in 400, take four times the CPU of as many
    ordinary ones, less what a busy machine blurs; packet by packet it was 8 to 13 times."""
    count, chance = 400_000, np.random.default_rng(2)
    normal = cpu(tmp_path / "normal", write(tmp_path / "in.pcap", established(400, 1000, 100, gap=10_000)))
    for streams in (1, 400):
        each = count // streams
        for kind, order in (("reverse", np.arange(each)[::-1]), ("random", chance.permutation(each))):
            there = established(streams, each, 1, gap=10_000)
            data = there["size"] > 0
            there["seq"][data] = 1 + order[there["seq"][data] - 1]
            took = cpu(tmp_path / f"{kind}-{streams}", write(tmp_path / "in.pcap", there))
            assert took < 6 * normal, (kind, streams)
