"""The command line: every option, every refusal, every exit status; the run itself is a fake."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.cli import Answer, main, parse
from pipeline.config import DEFAULT_BATCH_PACKETS, DEFAULT_HASH_KEY, DEFAULT_SPOOL_BYTES, SMALL_INPUT, STDIN, Config
from pipeline.errors import CaptureError, InternalError, OutputError, PipeClosed, UsageError
from pipeline.options import option_parser
from pipeline.source.records import MOST_FAULTS
from tests import example
from tests.runs import environment

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are two, whatever there is."""
    monkeypatch.setattr("pipeline.config.known_protocols", lambda: ("one", "two"))


@pytest.fixture
def capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file called x.pcap in the current folder; what is in it does not matter here."""
    monkeypatch.chdir(tmp_path)
    Path("x.pcap").write_bytes(b"anything")
    return "x.pcap"


def config(*argv: str) -> Config:
    made = parse(argv)
    assert isinstance(made, Config)
    return made


def refusal(*argv: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(argv)
    return caught.value


# --------------------------------------------------------------------------- what is understood


def test_defaults(capture: str) -> None:
    """One -r is enough: output here, a report in it, one process for a small capture."""
    assert config("-r", capture) == Config(
        inputs=(Path(capture),),
        output=Path(),
        report=Path("report.xml"),
        workers=0,
        writers=1,
        command_line="flowshard -r x.pcap",
    )


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        (["-o", "out"], "output", Path("out")),
        (["-oout"], "output", Path("out")),
        (["--output", "out"], "output", Path("out")),
        (["--output=out"], "output", Path("out")),
        (["-o", "out"], "report", Path("out/report.xml")),
        (["-o", "out", "-X", "r.xml"], "report", Path("r.xml")),
        (["--report", "r.xml"], "report", Path("r.xml")),
        (["--no-report"], "report", None),
        (["-F", "%A%%"], "name_format", "%A%%"),
        (["--format", "%T"], "name_format", "%T"),
        (["-T"], "name_timestamp", True),
        (["--timestamp"], "name_timestamp", True),
        (["-md5"], "md5", True),
        (["--md5"], "md5", True),
        (["-v"], "verbose", True),
        (["--verbose"], "verbose", True),
        (["--quiet"], "quiet", True),
        (["--overwrite"], "overwrite", True),
        (["--overlap", "last"], "overlap", "last"),
        (["--overlap", "first"], "overlap", "first"),
        (["--overlap", "bsd"], "overlap", "bsd"),
        (["--overlap", "linux"], "overlap", "linux"),
        (["--overlap", "solaris"], "overlap", "solaris"),
        ([], "overlap", "first"),
        (["--verify-checksums"], "verify_checksums", True),
        ([], "verify_checksums", False),
        (["--workers", "3"], "workers", 3),
        (["--workers", "3"], "writers", 3),
        (["--workers", "3", "--writers", "1"], "writers", 1),
        (["--batch-packets", "7"], "batch_packets", 7),
        ([], "batch_packets", DEFAULT_BATCH_PACKETS),
        (["--hash-key", "0x10"], "hash_key", 16),
        (["--hash-key", "0"], "hash_key", 0),
        ([], "hash_key", DEFAULT_HASH_KEY),
        (["tcp", "port", "80"], "expression", "tcp port 80"),
        (["tcp port 80 and not host 10.0.0.1"], "expression", "tcp port 80 and not host 10.0.0.1"),
        (["port", "80", "-T", "or", "port", "81"], "expression", "port 80 or port 81"),
        (["--", "-1", "<", "len"], "expression", "-1 < len"),
        (["ip[6]", "-", "1", ">", "0"], "expression", "ip[6] - 1 > 0"),
        (["--", "-md5"], "md5", False),
        (["-Tv"], "verbose", True),
        (["-c"], "console", True),
        (["-c"], "report", None),
        (["-c", "-o", "out"], "report", None),
        (["-c", "-X", "r.xml"], "report", Path("r.xml")),
        (["-vc"], "verbose", True),
        (["-c", "-F", "%A", "-T", "-R"], "name_format", "%A"),
        (["-R"], "append", True),
        (["--no-duplicate-check"], "append", True),
        (["-w", "rest.pcapng"], "unprocessed", Path("rest.pcapng")),
        (["--flows", "f.jsonl"], "flows", Path("f.jsonl")),
        (["--packet-map"], "packet_map", True),
        (["--ignore-vlan"], "ignore_vlan", True),
        (["--strict"], "strict", True),
        (["--follow"], "follow", True),
        (["--start", "1714557600.5"], "start_ns", 1_714_557_600_500_000_000),
        (["--end", "2024-05-01 10:00:00.000000001"], "end_ns", 1_714_557_600_000_000_001),
        (["--start", "7", "--end", "7.000000001"], "end_ns", 7_000_000_001),
        (["--spool-dir", "."], "spool_folder", Path()),
        (["--spool-size", "32M"], "spool_bytes", 32 << 20),
        ([], "spool_bytes", DEFAULT_SPOOL_BYTES),
        ([], "spool_folder", None),
        (["-a"], "analyze", True),
        (["--analyze", "-c"], "analyze", True),
        ([], "protocols", ()),
        (["-e", "two"], "protocols", ("two",)),
        (["-e", "two", "-a"], "protocols", ("one", "two")),
        (["-e", "two", "--extract=one", "-etwo"], "extract", ("one", "two")),
        (["-F", "%A/%a"], "name_format", "%A/%a"),
        (["-F", "it's"], "command_line", """flowshard -r x.pcap -F 'it'"'"'s'"""),
    ],
)
def test_an_option_reaches_the_config(capture: str, words: Sequence[str], name: str, expected: object) -> None:
    """Short and long spellings, joined and apart, before, between and after the expression."""
    assert expected == getattr(config("-r", capture, *words), name)


@pytest.mark.parametrize("words", [["-C", "100"], ["-C100"], ["--max-bytes", "100"], ["--max-bytes=100"]])
def test_max_bytes_becomes_a_limit(capture: str, words: Sequence[str]) -> None:
    """-C N is the limit that the reassembly keeps for each stream."""
    assert config("-r", capture, *words).limits.stream_bytes == 100


@pytest.mark.parametrize(
    ("words", "decoded", "ratio"),
    [
        (["-a"], 64 << 20, 1000),
        (["-a", "--max-decoded", "1G"], 1 << 30, 1000),
        (["-e", "one", "--max-ratio", "0x10"], 64 << 20, 16),
    ],
)
def test_bounds_of_decoding_become_limits(capture: str, words: Sequence[str], decoded: int, ratio: int) -> None:
    """... that undoing a coding keeps to."""
    limits = config("-r", capture, *words).limits
    assert (limits.decoded_bytes, limits.decoded_ratio) == (decoded, ratio)


def test_several_captures_keep_their_order(capture: str) -> None:
    """Several -r are numbered as given; one that is given twice is read once."""
    Path("a.pcap").touch()
    assert config("-r", "x.pcap", "--read", "a.pcap", "-rx.pcap").inputs == (Path("x.pcap"), Path("a.pcap"))


def test_a_folder_and_a_pipe_are_inputs(capture: str) -> None:
    """-r takes a folder of captures, and pipes; a run of which nobody knows the size gets processes."""
    Path("caps").mkdir()
    Path("caps/y.pcap").write_bytes(bytes.fromhex("d4c3b2a1"))
    os.mkfifo("pipe")
    made = config("-r", "caps", "-r", "pipe", "-r", "-")
    assert made.inputs == (Path("caps/y.pcap"), Path("pipe"), STDIN)
    assert made.workers > 0


def test_a_compressed_capture_counts_as_larger(capture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What decides about processes is what comes out of it, about three times its size."""
    monkeypatch.setattr(cli, "_cores", lambda: 2)
    for size, workers in ((SMALL_INPUT // 3, 0), (SMALL_INPUT // 3 + 1, 1)):
        with Path("x.gz").open("wb") as file:
            file.write(b"\x1f\x8b\x08")
            file.truncate(size)
        assert config("-r", "x.gz").workers == workers


def test_the_size_of_all_inputs_decides_about_processes(capture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large input gets processes by itself, as many as the cores suggest."""
    monkeypatch.setattr(cli, "_cores", lambda: 2)
    for name in ("a.pcap", "b.pcap"):
        with Path(name).open("wb") as file:
            file.truncate(SMALL_INPUT // 2)
    one, both = config("-r", "a.pcap"), config("-r", "a.pcap", "-r", "b.pcap")
    assert [(one.workers, one.writers), (both.workers, both.writers)] == [(0, 1), (1, 2)]


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to read"),
        (["tcp"], "nothing to read"),
        (["-r"], "-r/--read: expected one argument"),
        (["-r", "missing.pcap"], "missing.pcap: no such file"),
        (["-r", "x.pcap/y"], "x.pcap/y: no such file"),
        (["-r", "."], ".: a folder without captures: other files: 1"),
        (["-r", "-", "-r", "-"], "-r -: standard input can be read only once"),
        (["-r", "n" * 300], "n" * 300 + ": file name too long"),
        (["-r", "x.pcap", "--workers", "-1"], "--workers: -1 is out of range"),
        (["-r", "x.pcap", "--workers", "65"], "--workers: 65 is out of range"),
        (["-r", "x.pcap", "--workers", "two"], "--workers: 'two' is not a whole number"),
        (["-r", "x.pcap", "--workers"], "--workers: expected one argument"),
        (["-r", "x.pcap", "--writers", "0"], "--writers: 0 is out of range"),
        (["-r", "x.pcap", "--batch-packets", "0"], "--batch-packets: 0 is out of range"),
        (["-r", "x.pcap", "--hash-key", "0x10000000000000000"], "--hash-key: '0x10000000000000000' is not"),
        (["-r", "x.pcap", "-C", "-1"], "-C: -1 is out of range"),
        (["-r", "x.pcap", "-C", "1k"], "-C: '1k' is not a whole number"),
        (["-r", "x.pcap", "-F", ""], "-F: the format is empty"),
        (["-r", "x.pcap", "-F", "%Q"], "-F: unknown code '%Q' in '%Q'"),
        (["-r", "x.pcap", "-F", "../%A"], "-F: '.' or '..' in '../%A' is a folder's name"),
        (["-r", "x.pcap", "-o", "x.pcap"], "x.pcap: not a folder"),
        (["-r", "x.pcap", "-X", "x.pcap"], "-X: x.pcap is an input of this run"),
        (["-r", "x.pcap", "-X", "./y/../x.pcap"], "-X: y/../x.pcap is an input of this run"),
        (["-r", "x.pcap", "-X", "."], "-X: '.' is not the name of a file"),
        (["-r", "x.pcap", "-X", ""], "-X: '' is not the name of a file"),
        (["-r", "x.pcap", "-X", "r.xml", "--no-report"], "-X and --no-report exclude one another"),
        (["-r", "x.pcap", "-X", "-"], "-X: '-' is not the name of a file"),
        (["-r", "x.pcap", "-w", "-"], "-w: '-' is not the name of a file"),
        (["-r", "x.pcap", "-w", "."], "-w: '.' is not the name of a file"),
        (["-r", "x.pcap", "-w", "x.pcap"], "-w: x.pcap is an input of this run"),
        (["-r", "x.pcap", "-c", "-w", "x.pcap"], "-w: x.pcap is an input of this run"),
        (["-r", "x.pcap", "--flows", "x.pcap"], "--flows: x.pcap is an input of this run"),
        (["-r", "x.pcap", "-w", "r", "-X", "r"], "-w: r is where the report goes"),
        (["-r", "x.pcap", "-w", "./no/../r", "--flows", "r"], "-w: no/../r is where the list of flows goes"),
        (
            ["-r", "x.pcap", "-o", "out", "--flows", "out/report.xml"],
            "--flows: out/report.xml is where the report goes",
        ),
        (
            ["-r", "x.pcap", "--packet-map", "-w", "packet-map.tsv"],
            "--packet-map: packet-map.tsv is where what is not processed goes",
        ),
        (["-r", "x.pcap", "-c", "--packet-map"], "-c and --packet-map exclude one another"),
        (["-r", "x.pcap", "-c", "-a", "-e", "one"], "-c and -e exclude one another"),
        (["-r", "x.pcap", "-e", "gopher"], "-e: unknown protocol 'gopher'"),
        (["-r", "x.pcap", "-e", "one,two"], "-e: unknown protocol 'one,two'"),
        (
            ["-r", "x.pcap", "-e", "one", "-w", "objects.jsonl"],
            "-e: objects.jsonl is where what is not processed goes",
        ),
        (["-r", "x.pcap", "--max-decoded", "1M"], "--max-decoded: nothing is decoded without -a or -e"),
        (["-r", "x.pcap", "--max-ratio", "9"], "--max-ratio: nothing is decoded without -a or -e"),
        (["-r", "x.pcap", "-a", "--max-decoded", "0"], "--max-decoded: 0 is out of range"),
        (["-r", "x.pcap", "-a", "--max-ratio", "0"], "--max-ratio: 0 is out of range"),
        (["-r", "x.pcap", "--start", "noon"], "--start: 'noon' is not a time"),
        (["-r", "x.pcap", "--end", "9999-01-01"], "--end: 9999-01-01 is not between 1970 and 2262"),
        (["-r", "x.pcap", "--start", "7", "--end", "7.0"], "--end 7.0 is not behind --start 7"),
        (
            ["-r", "x.pcap", "--start", "2024-05-01T10:00+02:00", "--end", "2024-05-01T08:00"],
            "--end 2024-05-01T08:00 is not behind --start 2024-05-01T10:00+02:00",
        ),
        (["-r", "x.pcap", "--spool-size", "31M"], "--spool-size: 31M is out of range"),
        (["-r", "x.pcap", "--spool-size", "a lot"], "--spool-size: 'a lot' is not a size"),
        (["-r", "x.pcap", "--spool-dir", "nowhere"], "--spool-dir: 'nowhere' is not a folder"),
        (["-r", "x.pcap", "--spool-dir", "x.pcap"], "--spool-dir: 'x.pcap' is not a folder"),
        (["-r", "x.pcap", "--overlap", "windows"], "--overlap: unknown policy 'windows'"),
        (["-r", "x.pcap", "--overlap", "newest"], "--overlap: unknown policy 'newest'"),
        (["-r", "x.pcap", "--wrokers", "2"], "unknown option --wrokers"),
        (["-r", "x.pcap", "--work", "2"], "unknown option --work"),
        (["-r", "x.pcap", "-m", "100"], "unknown option -m"),
        (["-r", "x.pcap", "-md"], "unknown option -md"),
        (["-r", "x.pcap", "-z"], "unknown option -z"),
        (["-r", "x.pcap", "-1"], "unknown option -1"),
        (["-r", "x.pcap", "x.pcap"], "x.pcap: a capture where a filter expression is expected"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    capture: str, words: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake gets one clear line, a hint, exit status 2, and leaves nothing behind."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert first.startswith(f"error: {message}")
    assert second.startswith("hint: ")
    assert os.listdir() == ["x.pcap"]


def test_a_spool_folder_must_be_writable(capture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at before anything is read (as root it is always writable: hence the patch)."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert refusal("-r", capture, "--spool-dir", ".").message == "--spool-dir: . may not be written"


def test_an_input_is_known_under_any_name(capture: str) -> None:
    """Nothing is written over an input through a hard or a soft link, or one that came from a folder."""
    os.link("x.pcap", "hard")
    Path("soft").symlink_to("x.pcap")
    Path("caps").mkdir()
    Path("caps/old.pcapng").write_bytes(bytes.fromhex("0a0d0d0a"))
    for words in (["-w", "hard"], ["-X", "soft"], ["-r", "caps", "-w", "caps/old.pcapng"]):
        assert refusal("-r", capture, *words).message.endswith("is an input of this run")


@pytest.mark.parametrize("name", ["y.pcap", "y.PCAP", "day.pcap12", "y.pcapng.gz", "y.snoop.zst"])
def test_a_capture_among_the_words_is_no_expression(capture: str, name: str) -> None:
    """``-r *.pcap`` is told as what it is; a word that names no file may look so."""
    Path(name).touch()
    assert refusal("-r", capture, name).message == f"{name}: a capture where a filter expression is expected"
    assert config("-r", capture, "host", "z.cap").expression == "host z.cap"


# --------------------------------------------------------------------------- words on standard output


def test_help_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """-h needs nothing else on the line."""
    assert main(["-h"]) == 0
    out, err = capsys.readouterr()
    assert out == option_parser().format_help()
    assert err == ""


@pytest.mark.parametrize("words", [["-V"], ["--version"], ["-r", "nowhere", "-V"], ["-vV"]])
def test_version_names_the_libraries(words: Sequence[str]) -> None:
    """-V shows flowshard's version and the libraries' that matter to its output."""
    answer = parse(words)
    assert isinstance(answer, Answer)
    shown = dict(line.split(" ", 1) for line in answer.text.splitlines())
    assert list(shown)[:2] == ["flowshard", "Python"]
    assert {"numpy", "pyzmq", "msgpack", "pcapy-ng"} <= set(shown)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """``flowshard -h | head -1`` ends without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "-h"],
            cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, b"")


def test_parsing_needs_no_numpy() -> None:
    """A mistake, -h and -V answer at once: numpy, zmq and rich are imported only for a run."""
    code = "import sys; from pipeline.cli import main; main(['-V']); main(['-r', 'nowhere']); "
    code += "print(sorted({'numpy', 'zmq', 'rich', 'pcapy', 'msgpack'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_who_does_not_analyze_imports_no_analyzer(tmp_path: Path) -> None:
    """Neither a mistake nor a whole run without -a and -e does."""
    example.main([str(tmp_path / "x.pcap")])
    code = "import sys; from pipeline.cli import main; "
    code += "print(main(['-r', 'x.pcap', '-C']), main(['-r', 'x.pcap', '-md5', '-o', 'out', '--quiet'])); "
    code += "print(sorted(name for name in sys.modules if name.startswith('workers.analyzers')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["2 0", "[]"]


# --------------------------------------------------------------------------- what a run's end becomes


@dataclass(frozen=True)
class FakeFault:
    path: Path
    offset: int
    problem: str
    length: int = 0


@dataclass(frozen=True)
class FakeOutcome:
    status: int = 0
    faults: Sequence[FakeFault] = ()
    seconds: float = 1.0
    counters: Mapping[str, int] = field(default_factory=dict)
    inputs: Sequence[str] = ()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Config], object]], None]:
    """Puts a function in the place of pipeline.run.run."""

    def install(run: Callable[[Config], object]) -> None:
        module = types.ModuleType("pipeline.run")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pipeline.run", module)

    return install


Running = Callable[[Callable[[Config], object]], None]


def test_a_run_ends_with_its_status_and_a_summary(
    capture: str, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damage is told with file and offset, the summary follows, and the status is the run's."""
    fault = FakeFault(Path("x.pcap"), 1234, "the file ends inside a packet record")
    running(lambda _: FakeOutcome(3, (fault,), 2.0, {"packets": 5}))
    assert main(["-r", capture]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        "warning: x.pcap: the file ends inside a packet record (at byte 1,234)\n"
        "hint: everything before it was processed\n"
        "packets      5, 0 of them TCP\n"
    )


FAULT = "a block has an impossible length"


@pytest.mark.parametrize(
    ("words", "faults", "expected"),
    [
        ([], [(0, "is no capture", 0)], ["warning: x.pcap: is no capture", "hint: there was nothing to process"]),
        (["-r", "-"], [(0, "is no capture", 0)],
         ["warning: x.pcap: is no capture", "hint: the other inputs were processed"]),
        ([], [(1234, FAULT, 1024)],
         [f"warning: x.pcap: {FAULT} (at byte 1,234, 1,024 bytes skipped)", "hint: the rest was processed"]),
        (["--strict"], [(1234, FAULT, 1024)],
         [f"warning: x.pcap: {FAULT} (at byte 1,234, 1,024 bytes skipped)",
          "hint: everything before it was processed; --strict stops there"]),
        ([], [(0, FAULT, 7), (100, "the file ends", 0)],
         [f"warning: x.pcap: {FAULT} (at byte 0, 7 bytes skipped)", "warning: x.pcap: the file ends (at byte 100)",
          "hint: the rest was processed"]),
        ([], [(at, FAULT, 1) for at in range(1, 5)],
         [f"warning: x.pcap: {FAULT} (at byte {at}, 1 bytes skipped)" for at in range(1, 4)]
         + ["warning: … and 1 more fault in x.pcap", "hint: the rest was processed"]),
        ([], [(at, FAULT, 1) for at in range(1, 16)],
         [f"warning: x.pcap: {FAULT} (at byte {at}, 1 bytes skipped)" for at in range(1, 4)]
         + ["warning: … and 12 more faults in x.pcap", "hint: the rest was processed"]),
        ([], [(at, FAULT, 1) for at in range(1, MOST_FAULTS + 1)],
         [f"warning: x.pcap: {FAULT} (at byte {at}, 1 bytes skipped)" for at in range(1, 4)]
         + [f"warning: … and at least {MOST_FAULTS - 3} more faults in x.pcap", "hint: the rest was processed"]),
    ],
)  # fmt: skip
def test_faults_are_told_the_first_of_each_input(
    capture: str, running: Running, capsys: pytest.CaptureFixture[str], words: list[str],
    faults: list[tuple[int, str, int]], expected: list[str],
) -> None:  # fmt: skip
    """Three of an input with place and size, then how many more; what was read stands in the hint."""
    running(lambda _: FakeOutcome(3, [FakeFault(Path("x.pcap"), *fault) for fault in faults]))
    assert main(["-r", capture, "--quiet", *words]) == 3
    assert capsys.readouterr().err.splitlines() == expected


def test_standard_input_is_called_so(capture: str, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """A dash says little in the middle of a message."""
    running(lambda _: FakeOutcome(3, [FakeFault(STDIN, 7, FAULT, 2)]))
    assert main(["-r", "-", "--quiet"]) == 3
    assert capsys.readouterr().err.startswith(f"warning: standard input: {FAULT} (at byte 7, 2 bytes skipped)\n")


def test_every_input_has_its_faults_told(capture: str, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """A capture with many does not hide another one's, and they are together whatever order they came in."""
    faults = [FakeFault(Path(name), 1, FAULT) for name in ("a", "b", "a", "a", "a")]
    running(lambda _: FakeOutcome(3, faults))
    assert main(["-r", capture, "--quiet"]) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert [line.split(":")[1].split()[-1] for line in lines] == ["a", "a", "a", "a", "b"]


def test_what_is_left_out_is_told_before_the_run(
    capture: str, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of a folder that are no captures, and captures given twice; both even with --quiet."""
    Path("y.pcap").write_bytes(bytes.fromhex("d4c3b2a1"))
    running(lambda _: FakeOutcome())
    assert main(["-r", "y.pcap", "-r", ".", "--quiet"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "warning: x.pcap is no capture and was left out", "hint: a file that -r names itself is tried all the same",
        "warning: y.pcap is given more than once", "hint: it is read once",
    ]  # fmt: skip


@pytest.mark.parametrize(("words", "shown"), [([], True), (["-c"], False), (["-c", "-v"], True), (["--quiet"], False)])
def test_the_console_is_for_streams(
    capture: str, running: Running, capsys: pytest.CaptureFixture[str], words: list[str], shown: bool
) -> None:
    """With -c the summary stays away unless -v asks for it: a pager shows standard error, too."""
    running(lambda _: FakeOutcome())
    assert main(["-r", capture, *words]) == 0
    assert ("packets " in capsys.readouterr().err) == shown


def test_a_closed_pipe_ends_the_run_without_a_word(
    capture: str, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """``flowshard -c … | head -1``: the status that SIGPIPE would give, and nothing on standard error."""

    def run(_: Config) -> object:
        raise PipeClosed

    running(run)
    assert main(["-r", capture, "-c"]) == 141
    assert capsys.readouterr() == ("", "")


def test_verbose_shows_every_counter(capture: str, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """-v says what was read and shows every counter that is not 0."""
    counters = {"packets": 5, "conflicts": 0, "limit.ranges": 1_234}
    running(lambda _: FakeOutcome(0, (), 1.0, counters, ("x.pcap: pcap, 5 packets", "a\x1bb")))
    assert main(["-r", capture, "-v", "--quiet"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "read x.pcap: pcap, 5 packets", "read a\\x1bb", "packets 5", "limit.ranges 1,234",
    ]  # fmt: skip


def test_quiet_keeps_faults_and_drops_the_summary(
    capture: str, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """--quiet hides what went well, not what went wrong."""
    running(lambda _: FakeOutcome(3, (FakeFault(Path("x.pcap"), 0, "odd"),)))
    assert main(["-r", capture, "--quiet"]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "warning: x.pcap: odd",
        "hint: there was nothing to process",
    ]


@pytest.mark.parametrize(
    ("raised", "status", "first"),
    [
        (UsageError("bad filter", "look"), 2, "error: bad filter"),
        (CaptureError("odd file"), 3, "error: odd file"),
        (OutputError("out: disk full"), 4, "error: out: disk full"),
        (InternalError("worker 1 died"), 70, "error: worker 1 died"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (ZeroDivisionError("a\nb"), 70, "error: internal error: ZeroDivisionError: a\\nb"),
        (BrokenPipeError(32, "Broken pipe"), 70, "error: internal error: BrokenPipeError"),
    ],
)
def test_errors_become_exit_statuses(
    capture: str,
    running: Running,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    status: int,
    first: str,
) -> None:
    """2 usage, 3 input, 4 output, 70 a defect, 130 interrupted: each in one line, and no traceback."""

    def run(_: Config) -> object:
        raise raised

    running(run)
    assert main(["-r", capture]) == status
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(first)
    assert all(line.startswith("hint: ") for line in lines[1:])


def test_an_interrupt_while_a_class_is_made(capture: str, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one, though Python 3.11 makes a RuntimeError of what comes while a module is imported just there."""

    class Interrupting:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    running(lambda _: type("Made", (), {"name": Interrupting()}))
    assert main(["-r", capture]) == 130
    assert capsys.readouterr().err.startswith("error: interrupted")


def test_verbose_shows_where_a_defect_is(capture: str, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """-v shows the traceback of a defect, and the one line still follows."""
    running(lambda _: 1 / 0)
    assert main(["-r", capture, "-v"]) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-2].startswith("error: internal error: ZeroDivisionError")


def test_the_run_gets_the_config(capture: str, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was parsed is what runs, with OpenBLAS's threads kept out."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    seen: list[Config] = []

    def run(asked: Config) -> FakeOutcome:
        seen.append(asked)
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
        return FakeOutcome()

    running(run)
    assert main(["-r", capture, "--quiet", "port", "80"]) == 0
    assert seen == [config("-r", capture, "--quiet", "port", "80")]
