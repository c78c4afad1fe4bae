"""The coordinator with stub stages: the first that fails ends the run, and nothing is left of it."""

from __future__ import annotations

import gc
import os
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import coordinator, starting
from pipeline.config import Config
from pipeline.console import Progress
from pipeline.coordinator import MappingLost, run_processes
from pipeline.errors import CaptureError, FlowshardError, InternalError, OutputError
from pipeline.results import Results
from pipeline.stages.capture import STOP
from pipeline.stages.process import Outbox, Stage
from pipeline.supervise import start
from pipeline.transport import Sender, Wires
from tests.forms import crossed
from workers.wire import Note, encode_note

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where run folders are made."""
    made = Path(tempfile.mkdtemp(prefix="t"))  # a socket's name is at most 107 bytes long
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    yield made
    made.rmdir()  # fails when anything is left


def idle(*_: object) -> dict[str, Any]:
    time.sleep(600)
    return {}


def done(facts: dict[str, Any]) -> Stage:
    return lambda *_: facts


def raising(error: Exception) -> Stage:
    def stage(*_: object) -> dict[str, Any]:
        raise error

    return stage


def run(
    monkeypatch: pytest.MonkeyPatch, stopping: Callable[[Callable[[], None]], None] = lambda _: None, /, **stages: Stage
) -> Results:
    """One worker and one writer; those that are not given idle."""
    names = {"capture": "capture", "worker": "worker-0", "writer": "writer-0"}
    given = [(full, stages.get(name, idle)) for name, full in names.items()]
    monkeypatch.setattr(starting, "_stages", lambda *_: iter(given))
    collecting = gc.isenabled()
    try:
        return run_processes(Config(inputs=(), workers=1, writers=1), [], Progress(0, quiet=True), stopping)
    finally:
        if collecting:
            gc.enable()


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


@pytest.fixture(autouse=True)
def nothing_is_left(runs: Path) -> Iterator[None]:
    """Neither processes, nor descriptors, nor a run folder outlive a run."""
    gc.collect()  # what tests before this one left to it
    before, opened = children(), len(os.listdir("/proc/self/fd"))
    yield
    assert children() == before
    assert len(os.listdir("/proc/self/fd")) <= opened
    assert os.listdir(runs) == []


def test_last_words_become_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters by stage, the inputs' facts, the names that were taken."""
    results = run(
        monkeypatch,
        capture=done({"counters": {"read": 1}, "inputs": [{"size": 2}]}),
        worker=done({"counters": {"seen": 3}, "told": {0: [1, 2, 3]}}),
        writer=done({"counters": {"rows": 4}, "renamed": [["a", "a~1"]]}),
    )
    told = {0: {0: [1, 2, 3]}}
    assert results == Results({"read": 1}, [{"size": 2}], [{"seen": 3}], [{"rows": 4}], [("a", "a~1")], told=told)


STAGES = "capture", "worker", "writer"
ERRORS = OutputError("disk full", "free some"), CaptureError("cut", None), InternalError("odd", None)


@pytest.mark.parametrize(("who", "error"), crossed(zip(STAGES, ERRORS, strict=True), STAGES, ERRORS))
def test_a_failure_is_raised_as_it_was(monkeypatch: pytest.MonkeyPatch, who: str, error: FlowshardError) -> None:
    """Class, message, hint and status cross the process; the others are ended at once."""
    begin = time.monotonic()
    with pytest.raises(type(error)) as caught:
        run(monkeypatch, **{who: raising(error)})
    assert time.monotonic() - begin < 2
    found = caught.value
    assert (found.message, found.hint, found.status) == (error.message, error.hint, error.status)


def test_a_crash_is_a_defect_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the process and asks for a report, with the trace."""
    with pytest.raises(InternalError, match="worker-0 failed: ZeroDivisionError") as caught:
        run(monkeypatch, worker=raising(ZeroDivisionError("1/0")))
    assert "Traceback" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("end", "fate"),
    [
        pytest.param(lambda: os._exit(0), "ended with exit code 0", marks=pytest.mark.slow),
        (lambda: os._exit(9), "ended with exit code 9"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was ended by SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "was ended by SIGSEGV"),
    ],
)
def test_a_silent_end_is_noticed(monkeypatch: pytest.MonkeyPatch, end: Callable[[], None], fate: str) -> None:
    """A process that ends without a word, were it with exit code 0, ends the run at once."""

    def stage(*_: object) -> dict[str, Any]:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        end()
        return idle()

    begin = time.monotonic()
    with pytest.raises(InternalError, match=rf"writer-0 \(process \d+\) {fate}"):
        run(monkeypatch, writer=stage)
    assert time.monotonic() - begin < 3


def test_progress_is_no_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage says on its way moves the progress on; the run goes on until all are done."""
    moved: list[int] = []
    monkeypatch.setattr(Progress, "moved_to", lambda _, far: moved.append(far))

    def capture(wires: Wires, outbox: Outbox, status: Sender) -> dict[str, Any]:
        for far in (10, 20):
            outbox.put(status, encode_note(Note("progress", {"bytes": far})))
        return {"counters": {}, "inputs": []}

    results = run(
        monkeypatch,
        capture=capture,
        worker=done({"counters": {}, "told": {}}),
        writer=done({"counters": {}, "renamed": []}),
    )
    assert moved == [10, 20]
    assert results.inputs == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_processes_are_started(
    monkeypatch: pytest.MonkeyPatch, runs: Path, number: signal.Signals
) -> None:
    """A signal between a fork and what follows it leaves no process and no folder behind."""
    begun = []

    def hit(*words: Any) -> Any:
        begun.append(start(*words))
        os.kill(os.getpid(), number)
        return begun[-1]

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    monkeypatch.setattr(starting, "start", hit)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, capture=idle, worker=idle, writer=idle)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(begun) > 1
    assert all(process.code == -signal.SIGKILL for process in begun)
    assert list(runs.iterdir()) == []


def test_the_run_folder_is_private(monkeypatch: pytest.MonkeyPatch, runs: Path) -> None:
    """While a run is at work all its sockets lie in one folder that nobody else can enter."""
    seen: list[tuple[int, set[bool]]] = []
    real = coordinator._Listener.listen

    def listen(listener: Any) -> Any:
        (folder,) = runs.iterdir()
        kinds = {stat.S_ISSOCK(path.lstat().st_mode) for path in folder.iterdir() if path.name != "lock"}
        seen.append((folder.stat().st_mode & 0o777, kinds))
        return real(listener)

    monkeypatch.setattr(coordinator._Listener, "listen", listen)
    with pytest.raises(OutputError):
        run(monkeypatch, capture=raising(OutputError("x")))
    assert seen == [(0o700, {True})]


def test_an_interrupt_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the coordinator leaves no process behind."""

    def interrupted(_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(coordinator._Listener, "listen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch)


def test_a_mapping_that_the_storage_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGBUS in a stage is no defect: reading copies instead may do."""

    def stage(*_: object) -> dict[str, Any]:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGBUS)
        return idle()

    with pytest.raises(MappingLost):
        run(monkeypatch, writer=stage)


def test_reading_is_stopped_where_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``stopping`` is told ends the reading in the capture process, and nothing when that is over."""
    stops: list[Callable[[], None]] = []

    def capture(wires: Wires, outbox: Outbox, status: Sender) -> dict[str, Any]:
        asked: list[int] = []
        signal.signal(STOP, lambda number, _: asked.append(number))
        outbox.put(status, encode_note(Note("progress", {"bytes": 1})))
        while not asked:
            time.sleep(0.001)
        return {"counters": {}, "inputs": []}

    monkeypatch.setattr(Progress, "moved_to", lambda *_: [stop() for stop in stops])
    results = run(
        monkeypatch, stops.append,
        capture=capture, worker=done({"counters": {}, "told": {}}), writer=done({"counters": {}, "renamed": []}),
    )  # fmt: skip
    assert results.inputs == []
    (stop,) = stops
    stop()
