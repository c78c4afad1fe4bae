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
from pipeline.config import DEFAULT_BATCH_PACKETS, DEFAULT_HASH_KEY, SMALL_INPUT, Config
from pipeline.errors import CaptureError, InternalError, OutputError, UsageError

ROOT = Path(__file__).resolve().parent.parent


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


def test_several_captures_keep_their_order(capture: str) -> None:
    """Several -r are read one after the other, as given."""
    Path("a.pcap").touch()
    assert config("-r", "x.pcap", "--read", "a.pcap", "-rx.pcap").inputs == (
        Path("x.pcap"),
        Path("a.pcap"),
        Path("x.pcap"),
    )


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
    "words",
    [
        [spelling + rest]
        for names, _ in cli.LATER
        for spelling in names
        for rest in ("", "=x" if spelling.startswith("--") else "x")
    ]
    + [["-i", "eth0"], ["-e", "http"], ["-s", "96"], ["-w", "rest.pcapng"], ["-vc"], ["-Ta"], ["-c", "tcp"]],
)
@pytest.mark.parametrize("readable", [True, False])
def test_options_of_later_versions_are_refused(capture: str, words: Sequence[str], readable: bool) -> None:
    """-i -a -e -c -R -w -s are refused plainly in whatever form they come, never silently accepted."""
    reading = ["-r", capture] if readable else []
    error = refusal(*reading, *words)
    assert error.message.endswith(" is not in this version yet")
    assert error.message[:2] in {names[0] for names, _ in cli.LATER}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to read"),
        (["tcp"], "nothing to read"),
        (["-r"], "-r/--read: expected one argument"),
        (["-r", "missing.pcap"], "missing.pcap: no such file"),
        (["-r", "x.pcap/y"], "x.pcap/y: no such file"),
        (["-r", "."], ".: a folder, not a capture"),
        (["-r", "-"], "-r -: cannot read standard input"),
        (["-r", "/dev/null"], "/dev/null: not a regular file"),
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
        (["-r", "x.pcap", "-F", "%A/%B"], "-F: '%A/%B' has a '/'"),
        (["-r", "x.pcap", "-o", "x.pcap"], "x.pcap: not a folder"),
        (["-r", "x.pcap", "-X", "x.pcap"], "-X: x.pcap is an input of this run"),
        (["-r", "x.pcap", "-X", "./y/../x.pcap"], "-X: y/../x.pcap is an input of this run"),
        (["-r", "x.pcap", "-X", "."], "-X: '.' is not the name of a file"),
        (["-r", "x.pcap", "-X", ""], "-X: '' is not the name of a file"),
        (["-r", "x.pcap", "-X", "r.xml", "--no-report"], "-X and --no-report exclude one another"),
        (["-r", "x.pcap", "--overlap", "bsd"], "--overlap bsd: not in this version yet"),
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


def test_an_unreadable_capture_is_refused(capture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission is looked at before anything is written (as root it is always there: hence the patch)."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert refusal("-r", capture).message == "x.pcap: permission denied"


# --------------------------------------------------------------------------- words on standard output


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """-h needs nothing else on the line, goes to standard output, and leaves no option out."""
    assert main(["-h"]) == 0
    out, err = capsys.readouterr()
    options = [name for action in cli._parser()._actions for name in action.option_strings]
    later = {name for names, _ in cli.LATER for name in names}
    assert [name for name in options if name not in later and name not in out] == []
    assert [names[0] for names, _ in cli.LATER if names[0] not in out.splitlines()[-1]] == []
    assert "-md5" in out
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


# --------------------------------------------------------------------------- what a run's end becomes


@dataclass(frozen=True)
class FakeFault:
    path: Path
    offset: int
    problem: str


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
        "hint: the other inputs were processed",
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
