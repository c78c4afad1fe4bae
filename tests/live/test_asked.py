"""What the options of live capture become, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import parse
from pipeline.config import (
    DEFAULT_HASH_KEY,
    DEFAULT_KEEP_BYTES,
    DEFAULT_SPOOL_BYTES,
    MOST_SNAP_LENGTH,
    Config,
    Keep,
    Live,
)
from pipeline.errors import UsageError
from pipeline.live import asked


def parsed(*words: str) -> Config:
    config = parse(words)
    assert isinstance(config, Config)
    return config


def test_an_interface_alone_is_enough() -> None:
    """All defaults: whole packets, both directions, until an interrupt."""
    config = parsed("-i", "eth0")
    assert config.live == Live(("eth0",), MOST_SNAP_LENGTH)
    assert config.inputs == (Path("eth0"),)
    assert not config.mapped
    assert config.workers >= 1


def test_every_option_arrives() -> None:
    """Interfaces together are one input; one that is named twice is captured on once."""
    words = "-i eth0 -i lo -i eth0 -s 96 --duration 60 --packets 1000 --bytes 2G --direction in --no-promiscuous"
    config = parsed(*words.split(), "--buffer-size", "16M", "tcp", "port", "80")
    assert config.live == Live(("eth0", "lo"), 96, 16 << 20, False, "in", 60, 1000, 2 << 30)
    assert config.inputs == (Path("eth0,lo"),)
    assert config.expression == "tcp port 80"


def test_what_is_to_be_kept() -> None:
    """Names that tell this run's files from others', and limits; no size is one, too."""
    some, all_ = (
        parsed("-i", "lo", "--keep-packets", "kept", *words.split()).live
        for words in ("--keep-size 64M", "--keep-seconds 60 --keep-files 9")
    )
    assert some is not None
    assert all_ is not None
    assert some.keep is not None
    assert all_.keep is not None
    assert some.keep == Keep(Path("kept").absolute(), some.keep.run, 64 << 20)
    assert all_.keep == Keep(Path("kept").absolute(), all_.keep.run, DEFAULT_KEEP_BYTES, 60, 9)
    assert some.keep.run != all_.keep.run


def test_the_hash_key_is_drawn_for_each_run() -> None:
    """Nobody can steer connections onto one worker; offline, and when it is given, it is what it was."""
    keys = {parsed("-i", "lo").hash_key for _ in range(3)}
    assert len(keys) == 3
    assert DEFAULT_HASH_KEY not in keys
    assert parsed("-i", "lo", "--hash-key", "7").hash_key == 7


@pytest.mark.parametrize(
    ("free", "size"), [(0, DEFAULT_SPOOL_BYTES), (2 << 30, 512 << 20), (1 << 40, asked.MOST_LIVE_SPOOL)]
)
def test_the_spool_takes_a_share_of_the_memory(monkeypatch: pytest.MonkeyPatch, free: int, size: int) -> None:
    """A quarter of what is free, within bounds; ``--spool-size`` has the last word."""
    monkeypatch.setattr(asked, "_available", lambda: free)
    assert parsed("-i", "lo").spool_bytes == size
    assert parsed("-i", "lo", "--spool-size", "64M").spool_bytes == 64 << 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-i lo --keep-files 3", "there are no packets to keep"),
        ("-i lo --keep-packets kept --keep-size 1K", "--keep-size: 1K is out of range"),
        ("-i lo --keep-packets kept --workers 0", "--keep-packets and --workers 0 exclude one another"),
        ("-r x.pcap --keep-packets kept", "--keep-packets is for live capture"),
        ("-i lo -r x.pcap", "-i and -r exclude one another"),
        ("-i lo --follow", "-i and --follow exclude one another"),
        ("-i lo --strict", "-i and --strict exclude one another"),
        ("-r x.pcap -s 96", "-s is for live capture"),
        ("-r x.pcap --direction in", "--direction is for live capture"),
        ("-r x.pcap --no-promiscuous", "--no-promiscuous is for live capture"),
        ("-i lo -s 63", "-s: 63 is out of range"),
        ("-i lo --packets 0", "--packets: 0 is out of range"),
        ("-i lo --bytes much", "--bytes: 'much' is not a size"),
        ("-i lo --duration 0", "--duration: 0 is out of range"),
        ("-i lo --direction up", "--direction: unknown direction 'up'"),
        ("-i ../eth0", "-i: '../eth0' is not the name of an interface"),
        ("-o out", "nothing to read"),
    ],
)
def test_what_cannot_be_is_refused(words: str, message: str) -> None:
    """In one line with a hint, before anything is opened."""
    with pytest.raises(UsageError) as refused:
        parse(words.split())
    assert refused.value.message == message
    assert refused.value.hint


def test_a_container_limits_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a control group still allows counts where it is less than what the machine has."""
    told = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  4000 kB\n", "/sys/fs/cgroup/memory.max": "3000000\n",
            "/sys/fs/cgroup/memory.current": "1000000\n"}  # fmt: skip
    monkeypatch.setattr(asked.Path, "read_text", lambda self: told[str(self)])
    assert asked._available() == 2_000_000
    told["/sys/fs/cgroup/memory.max"] = "max\n"
    assert asked._available() == 4_096_000
