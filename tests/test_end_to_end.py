"""The whole: a golden folder, streams known in advance, a report by the schema, README's first command.

``python -m pytest tests/test_end_to_end.py --update-golden`` writes tests/golden anew; look at what
changed before it is committed. It refuses to where CI is set. Of the report only what must vary is left
out: the run itself (host, times, usage, processes) and what is installed (versions of libraries).
"""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from tests import example, rough
from tests.bench.generate import generate
from tests.forms import crossed
from tests.runs import (
    COMMAND,
    REPORT,
    ROOT,
    counters,
    differences,
    environment,
    files,
    flows,
    normalised,
    reads,
    report_of,
    run_apart,
    run_here,
)
from tests.shared import shared_or_skip

GOLDEN = Path(__file__).resolve().parent / "golden" / "rough"


@pytest.mark.parametrize("workers", [0, 2])
def test_the_golden_folder(workers: int, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """A small capture of every trouble gives the very names, bytes, rows and totals that were reviewed."""
    rough.write_small(tmp_path)
    runner = run_apart if workers else run_here
    words = ["-r", "rough.pcap", "-o", "out", "-md5", "--quiet", "--workers", workers]
    done = runner(*words, folder=tmp_path)
    assert (done.status, done.out, done.err) == (0, "", "")
    made = files(tmp_path / "out")
    made[REPORT] = normalised(made[REPORT], installation=True)
    if pytestconfig.getoption("--update-golden") and not workers:
        GOLDEN.mkdir(parents=True, exist_ok=True)
        for old in GOLDEN.iterdir():
            old.unlink()
        for name, data in made.items():
            (GOLDEN / name).write_bytes(data)
    assert differences(files(GOLDEN), made) == []


def test_golden_is_not_written_in_ci() -> None:
    """--update-golden refuses to run when CI is set."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--update-golden", "--collect-only", "tests/test_end_to_end.py"],
        cwd=ROOT, env=environment(CI="true"), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--update-golden: CI compares" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("workers", "kind"), crossed([(0, "web"), (0, "tiny"), (2, "disorder")], [0, 2], ["web", "disorder", "tiny"])
)
def test_streams_known_in_advance(kind: str, workers: int, tmp_path: Path) -> None:
    """Every stream that a generator put into a capture is there under its name, whole, with its MD5."""
    expected = generate(kind, 0.01, 5, tmp_path / "x.pcap")
    runner = run_apart if workers else run_here
    out = tmp_path / "out"
    done = runner("-r", tmp_path / "x.pcap", "-o", out, "-md5", "--workers", workers)
    assert done.status == 0, done.err
    found = files(out)
    del found[REPORT]
    assert {name: hashlib.md5(data).hexdigest() for name, data in found.items()} == {
        name: stream.md5 for name, stream in expected.streams.items()
    }
    report = report_of(out)
    assert {file.tags["filename"]: file.hashes["md5"] for file in report.files} == {
        name: stream.md5 for name, stream in expected.streams.items()
    }
    assert {flow["completeness"] for _, flow in flows(report)} == {""}
    assert counters(report)["packets"] == expected.packets


@pytest.mark.parametrize("words", [[], ["-F", "%B", "-T"], ["-C", 10], ["--overlap", "last"], ["-F", "<&'\">%A"]],
                         ids=lambda words: " ".join(map(str, words)) or "plain")  # fmt: skip
def test_the_report_validates(words: list[object], rough_captures: list[Path], tmp_path: Path) -> None:
    """A report with parts, conflicts, gaps, VLANs and several inputs is valid DFXML."""
    schema = etree.XMLSchema(etree.parse(str(shared_or_skip() / "dfxml" / "dfxml.xsd")))
    out = tmp_path / "out"
    done = run_here(*reads(rough_captures), "-o", out, "-md5", "--workers", 0, *words)
    assert done.status == 0, done.err
    if not words:
        text = (out / REPORT).read_bytes()
        for mark in (b"@20", b"<tcpflow:conflict ", b"fill='0'", b"vlan='10.20'", b"<tcpflow:image ", b"part_of"):
            assert mark in text, mark
    schema.assertValid(etree.parse(str(out / REPORT)))


def test_readmes_first_command(tmp_path: Path) -> None:
    """The example that README makes and rebuilds shows what it says: whole streams, IPv6, one with a gap."""
    [line, _] = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    [make, rebuild] = [part.strip() for part in line.split("&&")][2:]
    words = shlex.split(make)
    assert words[1:3] == ["-m", "tests.example"]
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, env=environment(), check=True, timeout=30)
    words = shlex.split(rebuild)
    assert words[0].endswith("/flowshard")
    for _ in range(2):  # --overwrite: it can be repeated
        done = subprocess.run(
            [*COMMAND, *words[1:]], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=30,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert f"packets      {len(example.packets())}, " in done.stderr
        out = tmp_path / "example-out"
        found = {file.tags["filename"]: flow["completeness"] for file, flow in flows(report_of(out))}
        assert len(found) == 10
        assert {name for name, flags in found.items() if flags} == {"192.0.2.80.80-198.51.100.9.50005"}
        asked = (out / "198.51.100.7.50001-192.0.2.80.80").read_bytes()
        assert asked == b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"
        assert (out / "2001:db8::80.80-2001:db8::7.50003").read_bytes().startswith(b"HTTP/1.1 200 OK\r\n")
        assert sorted(files(out)) == sorted([*found, REPORT])
