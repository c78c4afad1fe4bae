"""What the options of parts and limits become, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import parse
from pipeline.config import Config, Rotation, Space
from pipeline.errors import UsageError
from tests.build import write_pcap

LIVE = ("-i", "eth0")


def parsed(*words: object) -> Config:
    config = parse([str(word) for word in words])
    assert isinstance(config, Config)
    return config


@pytest.mark.parametrize(("words", "rotation"), [
    (("30s",), Rotation(30, None)),
    (("10m", "500M"), Rotation(600, 500 << 20)),
    (("1d", "6h", "10G", "1G"), Rotation(6 * 3600, 1 << 30)),
])  # fmt: skip
@pytest.mark.parametrize("source", [LIVE, ("-r", "-")])
def test_the_first_to_come_counts(words: tuple[str, ...], rotation: Rotation, source: tuple[str, ...]) -> None:
    """Times and sizes, the smallest of each."""
    assert parsed(*source, *(each for word in words for each in ("--rotate", word))).rotation == rotation


def test_limits_arrive() -> None:
    """Stop is what is done unless delete is asked for."""
    assert parsed(*LIVE).space is None
    assert parsed(*LIVE, "--max-output", "1G").space == Space(1 << 30, None)
    words = ("--keep-free", "5G", "--when-full", "delete", "--rotate", "1h")
    assert parsed(*LIVE, *words).space == Space(None, 5 << 30, "delete")


@pytest.mark.parametrize(("words", "message"), [
    (("--rotate", "soon"), "--rotate: 'soon' is neither a time nor a size"),
    (("--rotate", "0s"), "--rotate: 0s is out of range"),
    (("--rotate", "999d"), "--rotate: 999d is out of range"),
    (("--rotate", "1K"), "--rotate: 1K is out of range"),
    (("--rotate", "1h", "-c"), "--rotate and -c exclude one another"),
    (("--rotate", "1h", "-R"), "--rotate and -R exclude one another"),
    (("--rotate", "1h", "-X", "x.xml"), "--rotate and -X exclude one another"),
    (("--rotate", "1h", "--no-report"), "--rotate and --no-report exclude one another"),
    (("--rotate", "1h", "-w", "rest.pcapng"), "--rotate and -w exclude one another"),
    (("--rotate", "1h", "--overwrite"), "--rotate and --overwrite exclude one another"),
    (("--rotate", "1h", "--flows", "a/b"), "--flows: with --rotate 'a/b' has to be a name without a folder"),
    (("--when-full", "stop"), "--when-full: there is no limit to reach"),
    (("--max-output", "1G", "--when-full", "delete"), "--when-full delete removes parts, and there are none"),
    (("--max-output", "1G", "--when-full", "burn"), "--when-full: unknown policy 'burn'"),
    (("--max-output", "1G", "-c"), "-c and limits on disk use exclude one another"),
    (("--max-output", "1G", "-R"), "-R and limits on disk use exclude one another"),
])  # fmt: skip
def test_what_cannot_be_is_refused(words: tuple[str, ...], message: str) -> None:
    """In one line, with a hint."""
    with pytest.raises(UsageError) as refused:
        parsed(*LIVE, *words)
    assert refused.value.message == message
    assert refused.value.hint


def test_files_have_one_report(tmp_path: Path) -> None:
    """What has an end need not be cut; where it is followed it has none."""
    capture = write_pcap(tmp_path / "x.pcap", [])
    with pytest.raises(UsageError, match="--rotate is for inputs that go on"):
        parsed("-r", capture, "--rotate", "1h")
    assert parsed("-r", capture, "--follow", "--rotate", "1h").rotation is not None
