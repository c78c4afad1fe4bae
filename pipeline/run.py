"""The coordinator: one run from its configuration to its report and its outcome.

Knows: the order of things. Does not know: how any of them is done.
Invariant: the report appears only when every byte it speaks of is on disk and the accounting identity
holds; until then the output folder is marked as incomplete.

It reads like the data's path:

    inputs -> capture -> workers -> writers -> fragments -> report
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.capture import check_inputs, first_batch
from pipeline.completing import complete
from pipeline.config import Config
from pipeline.console import Progress, error, warning
from pipeline.errors import CaptureError, InternalError, UsageError
from pipeline.inputs import input_name
from pipeline.output import Output, open_output
from pipeline.reading import UNKNOWN, is_endless, size_of
from pipeline.remarks import after, of_renamed
from pipeline.report.placing import beside, remove
from pipeline.report.reserve import hold
from pipeline.results import Results
from pipeline.settle import rename_plain
from pipeline.source.records import Fault
from pipeline.stats import Outcome, added, checked, summary

if TYPE_CHECKING:
    from pipeline.live.sensor import Sensor


def run(config: Config) -> Outcome:
    """Do what the configuration says. Raises FlowshardError."""
    started, begin = time.time_ns(), time.perf_counter()
    check_inputs(config)
    if config.console:  # one process prints, and what is printed cannot be taken back when a mapping fails
        config = replace(config, writers=1, mapped=False)
    if config.unprocessed is not None:
        config = replace(config, unfinished=beside(config.unprocessed))
    sensor = _sensor(config)
    folder = open_output(config)
    config = replace(config, part=folder.part)
    try:
        _make_keep_folder(config)
        quiet = config.quiet or config.console
        with sensor or nullcontext(), Progress(_total(config), quiet=quiet, bar=sensor is None) as progress:
            results, fragments = _stages(config, folder, progress, sensor)
        results, fragments, whole = _made_good(replace(config, output=folder.path), results, fragments)
        _refuse_no_capture(config, results)
        counters = account(results)
        _complete(config, folder, fragments, results, counters, (started, begin), whole=whole)
    except (NothingRead, UsageError):  # nothing was written
        _remove_unfinished(config)
        folder.withdraw()
        raise
    except BaseException:
        _remove_unfinished(config)
        folder.abandon()
        raise
    if config.manifest and config.rotation is None:
        _make_manifest(config, results, started)
    return _outcome(config, results, counters, begin)


def _complete(
    config: Config, folder: Output, fragments: Sequence[Path], results: Results, counters: dict[str, int],
    times: tuple[int, float], *, whole: bool,
) -> None:  # fmt: skip
    """The report and what stands beside it. ``times``: when the run began, by the clock and by the counter. ``whole``:
    no file of the run is in no report. What fails beside the report is counted."""
    started, begin = times
    if config.rotation is None:
        plain = rename_plain(config, fragments)
        from pipeline.provenance import report_head, report_tail  # its imports are made while the stages work

        head = report_head(config, started)
        tail = partial(report_tail, config, results.inputs, counters, time.perf_counter() - begin)
    with _uninterrupted():  # or there could be a report in a folder that is marked as incomplete
        if config.rotation is None:
            complete(config, fragments, counters, head, tail, plain)
        else:
            for name, count in _bind_last(config, fragments, results, started).items():
                counters[name] = counters.get(name, 0) + count
        made_good = whole and all(name.startswith("writer-") for name in results.lost)
        (folder.finished if made_good else folder.abandon)()  # or the marker stays


def _made_good(config: Config, results: Results, fragments: list[Path]) -> tuple[Results, list[Path], bool]:
    """What is known of a run once the files of writers that died have their rows, all fragments, and whether each file
    is in one."""
    if not any(name.startswith("writer-") for name in (*results.replaced, *results.lost)):
        return results, fragments, True
    from pipeline.recovery.salvage import salvage

    found = salvage(config, fragments, results)
    return found.results, found.fragments, found.whole


def _outcome(config: Config, results: Results, counters: Mapping[str, int], begin: float) -> Outcome:
    """What the run came to, and what is to be said of it."""
    for message, hint in of_renamed(results.renamed):
        warning(message, hint)
    for message, hint in after(config, {**counters, **_times(results)}, results.inputs, lambda: first_batch(config)):
        warning(message, hint)
    faults = _faults(config, results)
    lost, failed = [*results.replaced, *results.lost], counters.get("write_errors")
    status = InternalError.status if lost else 4 if failed else 3 if faults else 0
    if lost:
        error(f"{' and '.join(lost)} died", "the report says what was lost; what it claims is on disk")
    return Outcome(status, time.perf_counter() - begin, faults, counters, _inputs(config, results))


def _sensor(config: Config) -> Sensor | None:
    """The operator's side of a live run: from now on it acts as whom it is to become."""
    if config.live is None:
        return None
    from pipeline.live.sensor import Sensor

    return Sensor(config)


def _make_keep_folder(config: Config) -> None:
    if config.live is not None and config.live.keep is not None:
        from pipeline.live.kept import make_folder

        make_folder(config.live.keep)


def _bind_last(config: Config, fragments: Sequence[Path], results: Results, started: int) -> Mapping[str, int]:
    """The last part of a run in parts. What failed of the lists of all parts."""
    from pipeline.parts.binding import Binder

    binder = Binder(config, fragments, (), started)
    if results.parts is not None:
        binder.resume(results.parts)
    binder.bind_last(results, time.time_ns())
    return binder.failed


def _make_manifest(config: Config, results: Results, began: int) -> None:
    """All else is in its place, and stays there whatever happens to this."""
    from pipeline.manifest.making import make_of_run

    try:
        make_of_run(config, results.inputs, began)
    except KeyboardInterrupt:
        warning("the manifest was not finished, there is none", "streams and report are complete")
        raise


def _remove_unfinished(config: Config) -> None:
    """No process is left that could: -w was not finished."""
    if config.unfinished is not None:
        remove(config.unfinished)


class NothingRead(CaptureError):
    """No input is a capture. Found out late, since some were piped; nothing was written."""


def _refuse_no_capture(config: Config, results: Results) -> None:
    if any(facts["format"] != UNKNOWN for facts in results.inputs):
        return
    _, problem, _ = results.inputs[0]["faults"][0]
    raise NothingRead(
        f"{input_name(config.inputs[0])} {problem}", "flowshard reads pcap, pcapng and snoop captures, packed or not"
    )


def _stages(config: Config, folder: Output, progress: Progress, sensor: Sensor | None) -> tuple[Results, list[Path]]:
    """Everything from the inputs to the fragments."""
    fragments = [folder.scratch / folder.part / f"fragment-{m}" for m in range(config.writers if config.workers else 1)]
    stream_folder = replace(config, output=folder.path)
    _reserve(fragments)
    with _interrupts(config) as stopping, _hangups(config) as rotating:
        if not config.workers:
            from pipeline.inline import run_inline

            return run_inline(stream_folder, fragments[0], progress, stopping, rotating, sensor), fragments
        from pipeline.coordinator import run_processes
        from pipeline.recovery.anew import run_until_done

        def once(config: Config, begun: int) -> Results:
            return run_processes(config, fragments, progress, stopping, rotating, sensor, begun)

        def clear() -> None:
            _remove_unfinished(config)
            folder.restart()
            _reserve(fragments)

        return run_until_done(stream_folder, once, clear), fragments


def _reserve(fragments: Sequence[Path]) -> None:
    """What the report needs is taken before anything else is written."""
    from pipeline.report.fragments import files_made

    hold(fragments[0].parent, [*map(files_made, fragments)])


@contextmanager
def _interrupts(config: Config) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Where an input is piped or followed the first SIGINT or SIGTERM ends the input, the second one the run.

    Gives what is to be told how the reading is stopped.
    """
    if not is_endless(config):
        yield lambda _: None
        return
    stops: list[Callable[[], None]] = []

    def handle(*_: object) -> None:
        for number in before:
            signal.signal(number, _interrupt)
        for stop in stops:
            stop()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, handle)
    try:
        yield stops.append
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _hangups(config: Config) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Where an input is piped or followed SIGHUP ends the part of the output, if it has parts.

    Gives what is to be told how that is done.
    """
    if not is_endless(config):
        yield lambda _: None
        return
    rotations: list[Callable[[], None]] = []

    def handle(*_: object) -> None:
        for rotate in rotations:
            rotate()
        if config.rotation is None:
            with suppress(RuntimeError):  # it came while something else was written there
                warning("a hangup (SIGHUP) rotates nothing", "the output has no parts without --rotate")

    before = signal.signal(signal.SIGHUP, handle)
    try:
        yield rotations.append
    finally:
        signal.signal(signal.SIGHUP, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """The last step is done whole: SIGINT and SIGTERM do nothing meanwhile. A report of 60 MB takes 0.1 s."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _total(config: Config) -> int | None:
    """Bytes of all inputs; None when that is not known."""
    if config.live is not None:
        return None
    sizes = [size_of(path) for path in config.inputs]
    return None if config.follow or None in sizes else sum(size or 0 for size in sizes)


def account(results: Results) -> dict[str, int]:
    """Check the accounting identity; return the counters of the run."""
    worker, writer = added(results.workers), added(results.writers)
    checked(results.capture, worker, writer, lost=[*results.replaced, *results.lost])
    return summary(results.capture, worker, writer, sum(facts["bytes"] for facts in results.inputs))


def _times(results: Results) -> dict[str, int]:
    return {name: value for name, value in results.capture.items() if name.startswith("time.")}


def _faults(config: Config, results: Results) -> Sequence[Fault]:
    return [
        Fault(path, *fault)
        for path, facts in zip(config.inputs, results.inputs, strict=True)
        for fault in facts["faults"]
    ]


def _inputs(config: Config, results: Results) -> list[str]:
    """A line for people on each input."""
    return [
        f"{path}: {facts['format']}, {facts['bytes']:,} bytes, {facts['packets']:,} packets"
        for path, facts in zip(config.inputs, results.inputs, strict=True)
    ]
